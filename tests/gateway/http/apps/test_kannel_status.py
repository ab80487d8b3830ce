"""/status.xml: a bearerbox's elements, with the figures of a gateway that sent something.

The structure was taken from bearerbox 1.4.5 (Debian), as kannel_exporter and Zabbix templates read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import trio

from router.roles import Role
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

SMSC = [
    "name", "admin-id", "id", "status", "failed", "queued",
    "sms", "received", "sent", "inbound", "outbound", "dlr", "received", "sent", "inbound", "outbound",
]  # fmt: skip
TOML = '[http]\napis = ["kannel"]\n' + simulator("sim", 2776) + carrier("north", 2776) + route("north")


async def asked(house: Running, password: str) -> tuple[int, bytes]:
    stream = await house.world.connect("127.0.0.1", 8080)
    async with stream:
        await stream.send_all(f"GET /status.xml?password={password} HTTP/1.0\r\n\r\n".encode())
        said = b""
        while data := await stream.receive_some(65_536):
            said += data
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def tree(body: bytes) -> Any:
    return ElementTree.fromstring(body)


@trio_test(mock_clock=True)
async def test_it_tells_what_was_sent_and_how_carriers_are(ram_path: Path) -> None:
    async with running(ram_path, TOML) as house:
        await house.bound()
        _, key = await house.gateway.operators.create("noc", Role.AUDITOR)
        assert (await asked(house, key))[0] == 200
        await trio.sleep(30)
        for number in range(6):
            await house.final(await house.submit(f"44770090000{number}"))
        status, body = await asked(house, key)
        assert status == 200
        root = tree(body)
        assert [one.tag for one in root] == ["version", "status", "wdp", "sms", "dlr", "boxes", "smscs"]
        assert root.findtext("status").startswith("running, uptime 0d 0h 0m ")
        assert root.findtext("sms/sent/total") == "6"
        assert root.findtext("dlr/received/total") == "6"
        assert root.findtext("smscs/count") == "1"
        (smsc,) = root.findall("smscs/smsc")
        assert [one.tag for one in smsc.iter()][1:] == SMSC
        assert (smsc.findtext("id"), smsc.findtext("sms/sent"), smsc.findtext("failed")) == (
            "north",
            "6",
            "0",
        )
        assert smsc.findtext("status").startswith("online ")
        minute, five, whole = map(float, smsc.findtext("sms/outbound").split(","))
        assert 0.1 < minute == five < 0.3
        assert whole > 0


@trio_test(mock_clock=True)
async def test_a_carrier_that_is_not_bound_reconnects_and_has_a_queue(ram_path: Path) -> None:
    toml = '[http]\napis = ["kannel"]\n' + carrier("north", 2776) + route("north")
    async with running(ram_path, toml) as house:
        _, key = await house.gateway.operators.create("noc", Role.AUDITOR)
        for number in range(3):
            await house.submit(f"44770090000{number}")
        root = tree((await asked(house, key))[1])
        (smsc,) = root.findall("smscs/smsc")
        assert smsc.findtext("status").startswith("re-connecting ")
        assert (smsc.findtext("queued"), root.findtext("sms/sent/queued")) == ("3", "3")


@trio_test(mock_clock=True)
async def test_a_wrong_password_is_denied(ram_path: Path) -> None:
    async with running(ram_path, TOML) as house:
        for password in ("", "wrong", house.key):
            assert await asked(house, password) == (403, b"Denied")
