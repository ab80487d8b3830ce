"""API10:2023 Unsafe consumption of APIs: what carriers and customers' servers say is a stranger's word.

Octets that are no PDU are the fuzzers' and test_session.py's; here it is good PDUs that say bad things.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from smpp.pdu import DeliverSm, Pdu, SubmitSm, SubmitSmResp
from tests.gateway.house import NUMBER, Running, Script, carrier, route, running_with
from tests.trio_case import trio_test

TOML = carrier("north", 2790) + route("north")
TO = "447700900123"
HOSTILE = b"<script>alert(1)</script>\x1b[2J\x00'; DROP TABLE--\r\nX: y"


@asynccontextmanager
async def house_with(directory: Path, message_id: bytes = b"") -> AsyncIterator[tuple[Running, Script]]:
    """A carrier that gives every message this id; "": one of its own."""

    def answer(script: Script, pdu: Pdu) -> Iterable[Pdu]:
        if isinstance(pdu, SubmitSm) and message_id:
            yield SubmitSmResp(message_id=message_id, sequence_number=pdu.sequence_number)

    async with running_with(directory, TOML, Script(answer)) as (house, script):
        await house.bound()
        yield house, script


def receipt(id: bytes, stat: str = "DELIVRD", number: int = 1) -> DeliverSm:
    text = b"id:%b sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 stat:%b err:000 text:" % (
        id,
        stat.encode(),
    )
    return DeliverSm(
        source_addr=TO.encode(),
        destination_addr=NUMBER.encode(),
        esm_class=4,
        short_message=text,
        sequence_number=number,
    )


@pytest.mark.parametrize(
    "id", [b"<script>", b"\x1b[31m", b"a" * 64, b"'; --", b"../../etc", b"\xff\xfe", b"%00%0d%0a"]
)
@trio_test(mock_clock=True)
async def test_a_carriers_id_is_shown_as_text_and_does_nothing(tmp_path: Path, id: bytes) -> None:
    async with house_with(tmp_path, id) as (house, _):
        one = await house.submit(TO)
        await house.when(one, "awaiting_receipt")
        shown = await house.message(one)
        assert shown["parts"][0]["carrier_message_id"]
        json.dumps(shown)


@trio_test(mock_clock=True)
async def test_a_receipt_for_what_nobody_sent_changes_nothing(tmp_path: Path) -> None:
    async with house_with(tmp_path) as (house, script):
        one = await house.submit(TO)
        before = await house.when(one, "awaiting_receipt")
        for number, id in enumerate((b"id999", one.encode(), b"", HOSTILE.replace(b"\x00", b"")[:60]), 1):
            await script.send(receipt(id, number=number))
        await trio.sleep(1)
        after = await house.message(one)
        assert (after["phase"], after["state"]) == (before["phase"], before["state"])


@trio_test(mock_clock=True)
async def test_a_carrier_that_gives_one_id_to_many_ends_none_of_them_twice(tmp_path: Path) -> None:
    async with house_with(tmp_path, b"same") as (house, script):
        ids = [await house.submit(TO, f"Hello {at}") for at in range(5)]
        for id in ids:
            await house.when(id, "awaiting_receipt")
        for number in range(1, 11):
            await script.send(receipt(b"same", "DELIVRD" if number % 2 else "UNDELIV", number))
        await trio.sleep(5)
        for id in ids:
            finals = [one for one in house.customer.of(id) if one["state"] in ("DELIVERED", "UNDELIVERABLE")]
            assert len(finals) <= 1


@trio_test(mock_clock=True)
async def test_what_an_inbound_message_says_reaches_the_customer_as_text(tmp_path: Path) -> None:
    async with house_with(tmp_path) as (house, script):
        await script.send(
            DeliverSm(
                source_addr=b"447700900123", destination_addr=NUMBER.encode(), short_message=HOSTILE,
                data_coding=3, sequence_number=9,
            )
        )  # fmt: skip
        await house.until(lambda: house.customer.events)
        (event,) = house.customer.events
        assert event["data"]["text"] == HOSTILE.decode("latin-1")
        headers = house.customer.posts[0][0]
        assert "x" not in headers
        shown = await house.http("GET", "/v1/mos")
        assert shown[1]["mos"][0]["text"] == HOSTILE.decode("latin-1")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"SMTP 220 hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 999 \x00\r\n\r\n",
    ],
    ids=["endless", "long header", "another protocol", "a chunk of any size", "no status"],
)
@trio_test(mock_clock=True)
async def test_a_customers_server_may_answer_anything_and_traffic_goes_on(
    tmp_path: Path, answer: bytes
) -> None:
    async with house_with(tmp_path, b"n1") as (house, script):
        house.customer.answer = answer
        one = await house.submit(TO)
        await house.when(one, "awaiting_receipt")
        await script.send(receipt(b"n1"))
        await house.final(one)
        await trio.sleep(30)
        house.customer.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        assert (await house.message(one))["state"] == "DELIVERED"
        await house.submit(TO, "and another")
