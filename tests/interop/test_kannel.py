"""Our SMSC side against Kannel 1.4.5: its bearerbox bound to us, its smsbox in front, HTTP at both ends.

Messages go in by sendsms, reports come back to a dlr-url, MOs to an sms-service. Needs Debian's kannel.

Deliberately not here: what other clients do (test_clients.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
import trio

from smpp.status import Status
from tests.interop.house import HANDSET, PASSWORD, House, Sink, get, house, tls, until
from tests.interop.kannel import Kannel, kannel, needs_kannel
from tests.trio_case import trio_test

pytestmark = needs_kannel

TRANSCEIVER = "transceiver-mode = true\n"
GSM7 = "Grüße für 5 €: {@} [~]"
LONG = "".join(f"{number:03} the quick brown fox; " for number in range(17))


@asynccontextmanager
async def serving(
    directory: Path, account: dict[str, Any], **settings: Any
) -> AsyncIterator[tuple[House, Sink]]:
    """A gateway with an account, and a web server."""
    async with house(directory / "gateway", **settings) as ours, trio.open_nursery() as nursery:
        await ours.account(**account)
        sink = Sink()
        await nursery.start(sink.serve)
        yield ours, sink
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def bound(
    directory: Path, smsc: str = TRANSCEIVER, level: int = 1, **account: Any
) -> AsyncIterator[tuple[House, Kannel]]:
    async with (
        serving(directory, account) as (ours, sink),
        kannel(directory, sink, ours.smpp, smsc, level=level) as it,
    ):
        await until(lambda: ours.bound, "Kannel is bound")
        yield ours, it


async def reported(it: Kannel, kind: int, count: int) -> list[int]:
    await until(lambda: len(it.reports(kind)) >= count, f"{count} reports of type {kind}")
    return sorted(it.reports(kind))


@trio_test
async def test_a_thousand_messages_are_accepted_delivered_and_reported_once_each(tmp_path: Path) -> None:
    everyone = list(range(1000))
    async with bound(tmp_path, TRANSCEIVER + "max-pending-submits = 100") as (ours, it):
        await it.send([it.target(f"message {number}", number) for number in everyone])
        assert await reported(it, 1, 1000) == everyone
        assert await reported(it, 8, 1000) == everyone
        assert sorted(ours.texts()) == sorted(f"message {number}" for number in everyone)
        assert len({hit.query["id"] for hit in it.replies(1)}) == 1000
        await until(lambda: not ours.untold, "everything was told")
    assert len(it.sink.of("/dlr")) == 2000


@trio_test
async def test_texts_reach_the_carrier_as_written(tmp_path: Path) -> None:
    async with bound(tmp_path) as (ours, it):
        for number, (text, coding) in enumerate(((GSM7, 0), ("Привет, 世界", 2), (LONG, 0), ("Я" * 150, 2))):
            await it.send([it.target(text, number, coding=coding)])
            await reported(it, 1, number + 1)
            assert ours.texts()[-1] == text
        assert await reported(it, 1, 4) == [0, 1, 2, 3]
        assert len(ours.sent) == 1 + 1 + 3 + 3
        (told,) = [hit for hit in it.replies(1) if hit.query["n"] == "2"]
        assert "stat:DELIVRD err:000 text:000 the quick" in told.query["reply"]


@trio_test
async def test_handsets_reach_a_service_and_its_replies_reach_them(tmp_path: Path) -> None:
    async with bound(tmp_path) as (ours, it):
        it.sink.answer = lambda hit: b"Thanks!" if hit.path == "/mo" else b""
        texts = [GSM7, "Привет, 世界", LONG, "Я" * 150]
        for number, text in enumerate(texts, 1):
            ours.mo(text)
            await until(lambda number=number: len(it.sink.of("/mo")) >= number, text)  # type: ignore[misc]
        hits = it.sink.of("/mo")
        assert [hit.query["charset"] for hit in hits] == ["UTF-8", "UTF-16BE", "UTF-8", "UTF-16BE"]
        seen = [hit.text("text") for hit in hits]
        assert seen == texts
        assert {hit.query["from"] for hit in hits} == {"+" + HANDSET}
        assert {hit.query["to"] for hit in hits} == {"12345"}
        await until(lambda: len(ours.sent) == 4, "the replies are sent")
        assert set(ours.texts()) == {"Thanks!"}


@trio_test
async def test_a_wrong_password_makes_kannel_give_up_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as (ours, sink):
        async with kannel(tmp_path, sink, ours.smpp, TRANSCEIVER, password="wrong") as it:
            await it.bearerbox.until("SMSC rejected login to transmit, code 0x0000000e")

            async def dead() -> bool:
                ((_, page),) = await get(it.admin, ["/status.txt?password=admin"])
                return b"(dead," in page

            while not await dead():
                await trio.sleep(0.05)
            assert it.bearerbox.count("rejected login") == 1
        assert not ours.bound


@trio_test
async def test_a_suspended_account_s_kannel_keeps_trying_and_is_in_once_it_may(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, {"suspended": True}) as (ours, sink),
        kannel(tmp_path, sink, ours.smpp, TRANSCEIVER) as it,
    ):
        await it.bearerbox.until("SMSC rejected login to transmit, code 0x0000000d", times=2)
        await ours.gateway.accounts.update("acme", suspended=False)
        await until(lambda: ours.bound, "Kannel is bound")


@trio_test
async def test_either_side_asks_whether_the_link_is_alive(tmp_path: Path) -> None:
    async with serving(tmp_path, {}, enquire_link_s=0.5) as (ours, sink):
        smsc = TRANSCEIVER + "enquire-link-interval = 1"
        async with kannel(tmp_path, sink, ours.smpp, smsc, level=0) as it:
            await it.bearerbox.until("type_name: enquire_link_resp", times=4)
            assert it.bearerbox.count("Sending enquire link") >= 1
            assert it.bearerbox.count("Got PDU:") >= 2
            assert ours.bound == ["transceiver"]


@trio_test
async def test_sigterm_ends_the_bind_with_an_unbind(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with bound(tmp_path, level=0) as (ours, it):
            assert await it.bearerbox.stop() == 0
            await it.bearerbox.until("type_name: unbind_resp")
            await until(lambda: not ours.bound, "it is gone")
    assert [line["reason"] for line in logs if line["event"] == "customer left"] == ["unbound"]


@trio_test
async def test_a_restart_of_ours_under_load_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    async with bound(tmp_path, TRANSCEIVER + "max-pending-submits = 50") as (ours, it):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.send, [it.target(f"message {number}", number) for number in range(300)])
            await until(lambda: len(ours.sent) >= 100, "some are through")
            await ours.stop()
        await it.send([it.target(f"meanwhile {number}", number) for number in range(300, 350)])
        await ours.start()
        assert await reported(it, 1, 350) == list(range(350))
        assert await reported(it, 8, 350) == list(range(350))
        assert len(set(ours.texts())) == len(ours.sent) == 350
        assert not it.reports(16)


@pytest.mark.parametrize(("pending", "window"), [(5, 100), (60, 5)])
@trio_test
async def test_a_full_window_makes_kannel_wait_and_nothing_is_lost(
    pending: int, window: int, tmp_path: Path
) -> None:
    """Its own, max-pending-submits, or ours."""
    async with bound(tmp_path, f"{TRANSCEIVER}max-pending-submits = {pending}", window=window) as (ours, it):
        ours.hold()
        await it.send([it.target(f"message {number}", number) for number in range(60)])
        await until(lambda: ours.unanswered >= 5, "the window is full")
        assert not it.reports(8)
        assert ours.unanswered <= pending
        ours.release()
        assert await reported(it, 1, 60) == list(range(60))
        assert len(set(ours.texts())) == 60


@trio_test
async def test_what_is_refused_for_now_kannel_sends_again_and_what_is_refused_for_good_it_reports(
    tmp_path: Path,
) -> None:
    async with bound(tmp_path, TRANSCEIVER + "max-pending-submits = 50", tps=20) as (_, it):
        await it.send([it.target("to no number", 99, to="12")])
        assert await reported(it, 16, 1) == [99]
        (refused,) = it.replies(16)
        assert refused.query["reply"] == "NACK/0x0000000b/Invalid Destination Address"
        await it.send([it.target(f"message {number}", number) for number in range(30)])
        assert await reported(it, 1, 30) == list(range(30))
        assert it.bearerbox.count(f"error code 0x{int(Status.ESME_RTHROTTLED):08x}") >= 1
        assert len(it.reports(16)) == 1


@trio_test
async def test_at_an_account_s_own_pace_kannel_is_never_throttled(tmp_path: Path) -> None:
    """After an ESME_RTHROTTLED it sends nothing for a second."""
    smsc = TRANSCEIVER + "max-pending-submits = 50"
    async with bound(tmp_path, smsc, tps=50, tps_mode="pace") as (_, it):
        await it.send([it.target(f"message {number}", number) for number in range(60)])
        assert await reported(it, 1, 60) == list(range(60))
        assert it.bearerbox.count("error code") == 0


@trio_test
async def test_what_a_full_queue_refuses_kannel_sends_again(tmp_path: Path) -> None:
    async with bound(tmp_path, TRANSCEIVER + "max-pending-submits = 50", max_queued=10) as (ours, it):
        ours.hold_carrier()
        await it.send([it.target(f"message {number}", number) for number in range(10)])
        await reported(it, 8, 10)
        await it.send([it.target(f"message {number}", number) for number in range(10, 20)])
        await it.bearerbox.until(f"error code 0x{int(Status.ESME_RMSGQFUL):08x}")
        ours.release_carrier()
        assert await reported(it, 1, 20) == list(range(20))
        assert not it.reports(16)


@trio_test
async def test_kannel_binds_over_tls(tmp_path: Path) -> None:
    secured = tls(tmp_path)
    smsc = TRANSCEIVER + "use-ssl = true"
    async with (
        serving(tmp_path, {}, smpp_more=secured.toml) as (ours, sink),
        kannel(tmp_path, sink, secured.port, smsc) as it,
    ):
        await until(lambda: ours.bound, "Kannel is bound")
        await it.send([it.target("in private", 1)])
        assert await reported(it, 1, 1) == [1]


@trio_test
async def test_a_failed_message_is_reported_as_failed(tmp_path: Path) -> None:
    async with bound(tmp_path) as (_, it):
        await it.send(
            [it.target("nobody there", 1, to="447700909901"), it.target("expired", 2, to="447700909902")]
        )
        assert await reported(it, 2, 2) == [1, 2]
        seen = {
            hit.query["n"]: (hit.query["type"], hit.query["reply"].split("stat:")[1]) for hit in it.replies(2)
        }
        assert seen == {
            "1": ("2", "UNDELIV err:001 text:nobody there"),
            "2": ("34", "EXPIRED err:001 text:expired"),
        }
        assert not it.reports(1)


def receiver(port: int) -> str:
    """A second connection, for what comes in; the first is a transmitter then."""
    return f"""
group = smsc
smsc = smpp
smsc-id = signalbox
host = 127.0.0.1
receive-port = {port}
smsc-username = acme
smsc-password = {PASSWORD}
system-type = ""
reconnect-delay = 1
"""


@trio_test
async def test_a_transmitter_and_a_receiver_share_an_account(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, {}) as (ours, sink),
        kannel(tmp_path, sink, ours.smpp, receiver(ours.smpp)) as it,
    ):
        await until(lambda: ours.bound == ["receiver", "transmitter"], "both are bound")
        await it.send([it.target(f"message {number}", number) for number in range(20)])
        assert await reported(it, 1, 20) == list(range(20))


@pytest.mark.parametrize(
    ("account", "smsc"),
    [
        ({"id_form": "hex"}, "msg-id-type = 0x03"),
        ({"id_form": "short"}, "msg-id-type = 0x03"),
        ({"id_form": "short"}, "interface-version = 33"),
        ({"id_form": "decimal"}, "msg-id-type = 0x00"),
        ({"receipt_tlvs": False}, ""),
        ({"receipt_layout": "seconds"}, ""),
        ({"deliver_with": "data_sm"}, ""),
        ({"alphabet": "latin1"}, 'alt-charset = "ISO-8859-1"'),
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
@trio_test
async def test_receipts_are_matched_in_every_form_an_account_can_have(
    account: dict[str, Any], smsc: str, tmp_path: Path
) -> None:
    async with bound(tmp_path, TRANSCEIVER + smsc, **account) as (ours, it):
        await it.send([it.target("Grüße", number) for number in range(10)])
        assert await reported(it, 1, 10) == list(range(10))
        assert await reported(it, 8, 10) == list(range(10))
        assert ours.texts() == ["Grüße"] * 10
        assert it.bearerbox.count("could not find message") == 0
