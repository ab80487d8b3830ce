"""What carriers' receipts say beyond a state: when it happened, and which message they mean.

Deliberately not here: matching ids (tests/store, tests/router), MOs (tests/gateway/test_end_to_end.py).
"""

from __future__ import annotations

from datetime import timedelta, timezone
from pathlib import Path

import pytest

from gateway.http.timeline import rfc3339
from router.correlate import reference_of
from router.nouns import Message, ReceiptIn, Relay
from smpp import receipt
from smpp.constants import Tlv
from smpp.pdu import DeliverSm, Pdu
from store.correlation import agrees, customer_reference
from store.records import UnknownHeld
from tests.gateway.house import START_MS, Running, Script, carrier, route, running_with
from tests.trio_case import trio_test

BERLIN_SUMMER = timezone(timedelta(hours=2))
HANDSET = "447700900123"
NOW_MS = START_MS // 60_000 * 60_000  # receipts' dates have whole minutes
HOUR_MS = 3_600_000
MESSAGE = (
    5 << 20,
    1,
    START_MS,
    "12345",
    3,
    0,
    HANDSET,
    0,
    "Hello",
    b"",
    1,
    1,
    1,
    1,
    0,
    START_MS + 1,
    1,
    "all",
)
TOML = carrier("odd", 2790, receipt_zone="Europe/Berlin") + route("odd")


def told(
    id: str, done_ms: int, sequence: int = 1, tlvs: tuple[tuple[int, bytes], ...] = (), text: str = ""
) -> DeliverSm:
    """A receipt of a carrier in Berlin: delivered."""
    return DeliverSm(
        source_addr=HANDSET.encode(),
        destination_addr=b"12345",
        esm_class=0x04,
        short_message=receipt.format(
            id, receipt.DELIVERED, submit_ms=done_ms, done_ms=done_ms, text=text, zone=BERLIN_SUMMER
        ),
        sequence_number=sequence,
        tlvs=tlvs,
    )


async def sent(house: Running, script: Script, text: str = "Hello") -> str:
    await house.bound()
    message_id = await house.submit(HANDSET, text)
    await house.when(message_id, "awaiting_receipt")
    return message_id


@trio_test(mock_clock=True)
async def test_a_done_date_is_read_in_the_carriers_time_zone_and_told(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script)
        await script.send(told("id1", NOW_MS))
        message = await house.final(message_id)
        assert message["done_at"] == rfc3339(NOW_MS)
        assert message["finished_at"] > message["done_at"]
        await house.until(lambda: house.customer.events)
        assert house.customer.of(message_id)[0]["done_at"] == rfc3339(NOW_MS)


@trio_test(mock_clock=True)
@pytest.mark.parametrize("wrong_by_ms", [HOUR_MS, -49 * HOUR_MS])
async def test_a_done_date_that_cannot_be_true_is_left_out(tmp_path: Path, wrong_by_ms: int) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script)
        await script.send(told("id1", NOW_MS + wrong_by_ms))
        message = await house.final(message_id)
        assert message["state"] == "DELIVERED"
        assert "done_at" not in message
        await house.until(lambda: house.customer.events)
        assert house.customer.of(message_id)[0]["done_at"] is None


@trio_test(mock_clock=True)
async def test_a_long_message_is_done_when_its_last_part_was(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script, "A long message. " * 20)
        for number, minutes in enumerate((3, 9, 6), start=1):
            await script.send(told(f"id{number}", NOW_MS - minutes * 60_000, number))
        message = await house.final(message_id)
        assert message["done_at"] == rfc3339(NOW_MS - 3 * 60_000)


# our own reference


def mute(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
    return [b""] if pdu.command == "submit_sm" else []


@trio_test(mock_clock=True)
async def test_a_receipt_with_our_reference_claims_one_of_two_alike_with_unknown_outcome(
    tmp_path: Path,
) -> None:
    toml = carrier(
        "odd", 2790, response_timeout_s=1, user_message_reference=True, unknown={"transactional": "hold"}
    ) + route("odd")
    async with running_with(tmp_path, toml, Script(mute)) as (house, script):
        await house.bound()
        ids = [await house.submit(HANDSET) for _ in range(2)]
        for one in ids:
            await house.when(one, "unknown")
        references = [pdu.tlv(Tlv.USER_MESSAGE_REFERENCE) for pdu in script.submits]
        assert references == [reference_of(int(one)).to_bytes(2, "big") for one in ids]
        assert references[0] != references[1]
        reference = ((int(Tlv.USER_MESSAGE_REFERENCE), references[1] or b""),)
        await script.send(told("never-told", NOW_MS, tlvs=reference, text="Hello"))
        message = await house.final(ids[1])
        assert message["state"] == "DELIVERED"
        assert "claimed" in [step["step"] for step in message["timeline"]]
        assert (await house.message(ids[0]))["phase"] == "unknown"


def test_a_customers_own_reference_is_what_a_receipt_must_repeat() -> None:
    tlvs = ((int(Tlv.USER_MESSAGE_REFERENCE), b"\x12\x34"),)
    for given, reference in ((Relay(tlvs=tlvs), 0x1234), (Relay(), reference_of(5 << 20))):
        message = Message(*MESSAGE, relay=given)
        held = UnknownHeld("12345", START_MS, "", 1, customer_reference(message))
        came = ReceiptIn(
            1, 1, ("x",), (), HANDSET, "12345", 2, "", START_MS, 0, user_message_reference=reference
        )
        assert agrees(held, message.id, came, HOUR_MS)
        came.user_message_reference ^= 1
        assert not agrees(held, message.id, came, HOUR_MS)


@trio_test(mock_clock=True)
async def test_carriers_are_sent_no_reference_unless_they_want_it(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        await sent(house, script)
        assert script.submits[0].tlvs == ()
