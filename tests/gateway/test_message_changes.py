"""Cancelling a message that waits, and changing what it says, over HTTP; both on a full disk, SMPP too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from smpp.pdu import CancelSm, Pdu, ReplaceSm, SubmitSm, SubmitSmResp
from smpp.status import Status
from store.interface import StoreFull
from tests.gateway.house import START_MS, Running, Script, carrier, route, running_with
from tests.gateway.http.test_accounts import Operator, operator
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.test_server import LATER, house
from tests.trio_case import trio_test

TOML = carrier("north", 2790) + route("north")
TO = "447700900123"


def in_s(seconds: float) -> str:
    return datetime.fromtimestamp(START_MS / 1000 + trio.current_time() + seconds, UTC).isoformat()


def silent(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
    """A carrier that does not answer submits."""
    if isinstance(pdu, SubmitSm):
        yield b""


async def cancel(house: Running, id: str, **more: Any) -> tuple[int, Any]:
    return await house.http("POST", f"/v1/messages/{id}/cancel", **more)


async def change(house: Running, id: str, **fields: object) -> tuple[int, Any]:
    return await house.http("PATCH", f"/v1/messages/{id}", fields)


def code(answer: Any) -> str:
    return str(answer["type"]).removeprefix("urn:signalbox:problem:")


@trio_test(mock_clock=True)
async def test_a_cancelled_message_is_not_sent_and_a_second_cancel_says_the_same(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, script):
        id = await house.submit(TO, send_at=in_s(60))
        assert await cancel(house, id) == (200, {"id": id, "state": "DELETED", "phase": "final"})
        assert (await cancel(house, id))[0] == 200
        shown = await house.message(id)
        assert (shown["state"], shown["reason"]) == ("DELETED", "cancelled")
        await trio.sleep(100)
        assert script.submits == []


@trio_test(mock_clock=True)
async def test_what_a_carrier_has_in_hand_is_answered_so_and_the_wish_is_kept(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script(silent)) as (house, script):
        await house.bound()
        id = await house.submit(TO)
        await house.until(lambda: script.submits)
        status, answer = await change(house, id, text="Other")
        assert (status, code(answer)) == (409, "with-a-carrier")
        status, answer = await cancel(house, id)
        assert (status, code(answer)) == (409, "with-a-carrier")
        shown = await house.message(id)
        assert (shown["cancel_wished"], shown["text"]) == (True, "Hello")
        refused = SubmitSmResp(
            command_status=Status.ESME_RMSGQFUL, sequence_number=script.submits[0].sequence_number
        )
        await script.send(refused)
        assert (await house.final(id))["state"] == "DELETED"


@trio_test(mock_clock=True)
async def test_what_was_sent_or_has_ended_stays_as_it_is(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, _):
        await house.bound()
        sent = await house.submit(TO, receipt="final")
        await house.when(sent, "awaiting_receipt")
        assert [code(one[1]) for one in (await cancel(house, sent), await change(house, sent, text="x"))] == [
            "already-sent",
            "already-sent",
        ]
        ended = await house.submit(TO, receipt="none")
        await house.final(ended)
        assert [
            code(one[1]) for one in (await cancel(house, ended), await change(house, ended, text="x"))
        ] == [
            "already-final",
            "already-final",
        ]
        for odd in ("1", "x", "9" * 30):
            assert (await cancel(house, odd))[0] == (await change(house, odd, text="x"))[0] == 404


@trio_test(mock_clock=True)
async def test_a_changed_message_carries_the_new_text_and_its_timeline_says_so(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, script):
        id = await house.submit(TO, send_at=in_s(60), validity_s=600)
        status, answer = await change(house, id, text="Привет " * 20)
        assert status == 200
        assert (answer["encoding"], answer["segments"], answer["phase"]) == ("ucs2", 3, "scheduled")
        assert answer["state"] == "SCHEDULED"
        assert "replaced" in [step["step"] for step in answer["timeline"]]
        assert (await house.message(id))["text"] == "Привет " * 20
        status, answer = await change(house, id, text="Short", receipt="none")
        assert (answer["encoding"], answer["segments"], answer["receipt"]) == ("gsm7", 1, "none")
        assert house.gateway.store.totals().accepted_segments == 1
        await trio.sleep(100)
        assert [pdu.short_message for pdu in script.submits] == [b"Short"]
        assert house.gateway.store.check() == []


@trio_test(mock_clock=True)
async def test_its_time_moves_with_its_validity(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, script):
        id = await house.submit(TO, send_at=in_s(60), validity_s=600)
        was = await house.message(id)
        status, answer = await change(house, id, send_at=in_s(3660))
        assert status == 200
        assert answer["text"] == "Hello"
        gone = [
            (datetime.fromisoformat(answer[name]) - datetime.fromisoformat(was[name])).total_seconds()
            for name in ("send_at", "expires_at")
        ]
        assert 3599 < min(gone) <= max(gone) < 3601
        await trio.sleep(120)
        assert script.submits == []
        assert (await change(house, id, validity_s=30))[1]["expires_at"] < answer["expires_at"]
        await trio.sleep(3600)
        assert len(script.submits) == 1


@trio_test(mock_clock=True)
async def test_what_cannot_be_is_refused_by_field(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, _):
        id = await house.submit(TO, send_at=in_s(60))
        for fields, named in (
            ({"text": ""}, {"text"}),
            ({"text": "a", "data": "00"}, {"text"}),
            ({"to": "447700900999"}, {"to"}),
            ({"send_at": in_s(-5)}, {"send_at"}),
            ({"text": "x" * 40_000}, {"text"}),
            ({"text": "x" * 30_000}, {"text"}),
            ({"text": "ё", "encoding": "gsm7"}, {"text"}),
            ({"topic": "x"}, {"topic"}),
        ):
            status, answer = await change(house, id, **fields)
            assert (status, {one["field"] for one in answer["errors"]}) == (422, named), answer
        assert (await house.message(id))["text"] == "Hello"
        assert "replaced" not in [step["step"] for step in (await house.message(id))["timeline"]]


@trio_test(mock_clock=True)
async def test_a_text_that_is_longer_goes_to_who_can_carry_it(ram_path: Path) -> None:
    toml = carrier("short", 2790, max_parts=1) + carrier("long", 2791) + route("short", "long")
    async with running_with(ram_path, toml, Script()) as (house, short):
        world, long = house.world, Script()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(long.serve, await world.listen("127.0.0.1", 2791))
            id = await house.submit(TO, send_at=in_s(60))
            assert (await change(house, id, text="x" * 300))[0] == 200
            await house.until(lambda: len(long.submits) == 2)
            assert short.submits == []
            assert house.gateway.store.check() == []
            nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_another_accounts_message_is_as_good_as_none_and_operators_are_in_the_trail(
    tmp_path: Path,
) -> None:
    async with operator(tmp_path) as ann:
        one, two = await ann.made("one"), await ann.made("two")
        mine = f"Bearer {one['api_key']}"
        sent = await ann.ask(
            "POST",
            "/v1/messages",
            {"to": TO, "from": "ACME", "text": "Hello", "send_at": in_s(60)},
            authorization=mine,
        )
        path = f"/v1/messages/{sent.json['id']}"
        foreign = f"Bearer {two['api_key']}"
        assert (await ann.ask("POST", path + "/cancel", authorization=foreign)).status == 404
        assert (await ann.ask("PATCH", path, {"text": "x"}, authorization=foreign)).status == 404
        assert (await ann.ask("PATCH", path, {"text": "x"})).code == "account-key-needed"
        assert (await ann.ask("POST", path + "/cancel", audit_reason="spam")).status == 200
        (told,) = [entry for entry in await ann.told() if entry["act"] == "message.cancelled"]
        assert (told["subject"], told["who"], told["reason"]) == (
            f"message:{sent.json['id']}",
            "ann",
            "spam",
        )


@trio_test(mock_clock=True)
async def test_a_cancel_can_be_sent_again_with_its_key(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await made_and_cancelled(ann)


async def made_and_cancelled(ann: Operator) -> None:
    one = await ann.made("one")
    mine = f"Bearer {one['api_key']}"
    sent = await ann.ask(
        "POST",
        "/v1/messages",
        {"to": TO, "from": "ACME", "text": "Hello", "send_at": in_s(60)},
        authorization=mine,
    )
    path = f"/v1/messages/{sent.json['id']}/cancel"
    for owner in (mine, f"Bearer {ann.key}"):
        first = await ann.ask("POST", path, authorization=owner, idempotency_key="k")
        again = await ann.ask("POST", path, authorization=owner, idempotency_key="k")
        assert (first.status, again.raw) == (200, first.raw)
    other = await ann.ask("POST", "/v1/messages/1/cancel", authorization=mine, idempotency_key="k")
    assert (other.status, other.code) == (422, "idempotency-key-reused")


def without_room(house: Running) -> Callable[[], None]:
    """From now on nothing fits; what it returns ends that."""
    store, full = house.gateway.store, [True]
    commit = store.commit

    def failing(txn: Any) -> None:
        if full:
            raise StoreFull("the disk is full", "free space on the data directory's disk")
        commit(txn)

    store.commit = failing  # type: ignore[method-assign]
    return full.clear


@trio_test(mock_clock=True)
async def test_on_a_full_disk_both_are_refused_at_once_and_work_again_later(ram_path: Path) -> None:
    async with running_with(ram_path, TOML, Script()) as (house, _):
        id = await house.submit(TO, send_at=in_s(6000))
        room = without_room(house)
        with trio.fail_after(5):
            for status, answer in (await cancel(house, id), await change(house, id, text="x")):
                assert (status, code(answer)) == (503, "store-full")
        room()
        shown = await house.message(id)
        assert (shown["state"], shown["text"]) == ("SCHEDULED", "Hello")
        assert (await change(house, id, text="x"))[0] == 200
        assert (await cancel(house, id))[0] == 200


@trio_test(mock_clock=True)
async def test_on_a_full_disk_cancel_sm_and_replace_sm_are_answered_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        id = (await esme.submit(schedule_delivery_time=LATER)).encode()
        room = without_room(gateway)
        asked: list[Pdu] = [
            CancelSm(message_id=id, source_addr=b"ACME"),
            CancelSm(source_addr_ton=5, source_addr=b"ACME", dest_addr_ton=1, destination_addr=TO.encode()),
            ReplaceSm(message_id=id, source_addr=b"ACME", short_message=b"x"),
        ]
        with trio.fail_after(5):
            for pdu in asked:
                assert (await esme.ask(pdu)).command_status == Status.ESME_RSYSERR
        room()
        assert (await gateway.message(id.decode()))["state"] == "SCHEDULED"
        assert (await esme.ask(asked[2])).command_status == 0
        assert (await esme.ask(asked[0])).command_status == 0
