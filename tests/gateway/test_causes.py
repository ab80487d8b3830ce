"""Why a message was not delivered, from a carrier's code to what its customer is told."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.http.timeline import part_state
from router.nouns import MessageState, Part
from smpp.pdu import DeliverSm, Pdu, SubmitSmResp
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.trio_case import trio_test

HANDSET = "447700900123"
MAPPED = carrier(
    "north", 2790, error_map={"err:001": "absent_subscriber", "status:0x42E": "spam", "net:3:1": "barred"}
) + route("north")
PLAIN = carrier("north", 2790) + route("north")
NETWORK_ERROR_CODE = 0x0423


def failing(
    script: Script, pdu: Pdu, err: str = "000", stat: str = "UNDELIV", network: bytes = b""
) -> Iterable[Pdu | bytes]:
    """Accept each submit and send a receipt with this code at once."""
    if pdu.command != "submit_sm":
        return
    yield from script.usual(pdu)
    number = len(script.submits)
    dates = "submit date:2601010000 done date:2601010001"
    text = f"id:id{number} sub:001 dlvrd:000 {dates} stat:{stat} err:{err} text:"
    yield DeliverSm(
        source_addr=HANDSET.encode(),
        esm_class=4,
        short_message=text.encode(),
        sequence_number=1000 + number,
        tlvs=((NETWORK_ERROR_CODE, network),) if network else (),
    )


def refusing(script: Script, pdu: Pdu, status: int = 0x0B) -> Iterable[Pdu | bytes]:
    if pdu.command == "submit_sm":
        yield SubmitSmResp(command_status=status, sequence_number=pdu.sequence_number)


async def ended(house: Running) -> tuple[str | None, str | None]:
    """The cause of one message: as GET tells it, and as its callback did."""
    await house.bound()
    message_id = await house.submit(HANDSET)
    message = await house.final(message_id)
    await house.until(lambda: house.customer.of(message_id))
    (told,) = house.customer.of(message_id)
    return message.get("cause"), told["cause"]


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("toml", "err", "network", "cause"),
    [
        (PLAIN, "001", b"", "unknown_subscriber"),
        (MAPPED, "001", b"", "absent_subscriber"),
        (MAPPED, "005", b"", "unknown_subscriber"),
        (PLAIN, "000", b"\x03\x00\x1b", "absent_subscriber"),
        (MAPPED, "001", b"\x03\x00\x01", "barred"),
        (PLAIN, "999", b"", "unknown"),
    ],
)
async def test_a_failed_receipt_is_told_with_what_its_code_means(
    tmp_path: Path, toml: str, err: str, network: bytes, cause: str
) -> None:
    script = Script(partial(failing, err=err, network=network))
    async with running_with(tmp_path, toml, script) as (house, _):
        assert await ended(house) == (cause, cause)


@trio_test(mock_clock=True)
async def test_a_refused_submit_is_told_with_what_its_status_means(tmp_path: Path) -> None:
    async with running_with(tmp_path, PLAIN, Script(refusing)) as (house, _):
        assert await ended(house) == ("invalid_number", "invalid_number")


@trio_test(mock_clock=True)
async def test_after_the_last_attempt_the_last_refusal_says_why(tmp_path: Path) -> None:
    toml = MAPPED.replace("[[routes]]", "retry = { max_attempts = 2, first_s = 1 }\n[[routes]]")
    async with running_with(tmp_path, toml, Script(partial(refusing, status=0x42E))) as (house, _):
        assert await ended(house) == ("spam", "spam")


@trio_test(mock_clock=True)
async def test_a_delivered_message_has_no_cause(tmp_path: Path) -> None:
    async with running_with(tmp_path, PLAIN, Script(partial(failing, stat="DELIVRD"))) as (house, _):
        assert await ended(house) == (None, None)


@trio_test(mock_clock=True)
async def test_a_receipt_that_came_before_its_response_keeps_its_cause(tmp_path: Path) -> None:
    def early(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if pdu.command == "submit_sm":
            response, receipt = failing(script, pdu, err="006")
            yield receipt
            yield response

    async with running_with(tmp_path, PLAIN, Script(early)) as (house, _):
        assert await ended(house) == ("absent_subscriber", "absent_subscriber")


@trio_test(mock_clock=True)
async def test_a_long_message_has_the_cause_of_the_part_that_failed(tmp_path: Path) -> None:
    def second_fails(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        fails = len(script.submits) == 2
        return failing(script, pdu, "027" if fails else "000", "UNDELIV" if fails else "DELIVRD")

    async with running_with(tmp_path, PLAIN, Script(second_fails)) as (house, _):
        await house.bound()
        message = await house.final(await house.submit(HANDSET, "A long message. " * 20))
        assert (message["state"], message["cause"]) == ("UNDELIVERABLE", "absent_subscriber")
        assert [part.get("cause") for part in message["parts"]] == [None, "absent_subscriber", None]


@trio_test(mock_clock=True)
async def test_what_no_carrier_took_in_time_expired(tmp_path: Path) -> None:
    async with running_with(tmp_path, PLAIN, Script(partial(refusing, status=0x14))) as (house, _):
        await house.bound()
        message = await house.final(await house.submit(HANDSET, validity_s=60))
        assert (message["state"], message["cause"]) == ("EXPIRED", "expired")


@trio_test(mock_clock=True)
async def test_a_part_that_was_refused_or_not_sent_is_shown_as_that(tmp_path: Path) -> None:
    def second_is_refused(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if len(script.submits) == 2:
            return refusing(script, pdu, status=0x08)
        return script.usual(pdu)

    async with running_with(tmp_path, PLAIN, Script(second_is_refused)) as (house, _):
        await house.bound()
        id = await house.submit(HANDSET, "A long message. " * 20)
        message = await house.when(id, "deferred")
        shown = [(part["state"], part.get("error", "")) for part in message["parts"]]
        assert shown == [("ENROUTE", ""), ("REFUSED", "ESME_RSYSERR"), ("ENROUTE", "")]
        view: Any = await house.gateway.verbs.table()["message"]({"id": id})
        assert [part["state"] for part in view["parts"]] == ["ENROUTE", "REFUSED", "ENROUTE"]


def test_a_part_that_no_carrier_has_had_is_unsent() -> None:
    parts = [Part(1, "", MessageState.SCHEDULED), Part(1, "", MessageState.SCHEDULED, "ESME_RSYSERR")]
    assert [part_state(one) for one in (*parts, Part(1, "abc"))] == ["UNSENT", "REFUSED", "ENROUTE"]
