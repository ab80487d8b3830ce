"""The duplicate guard: the same submit again is answered with the earlier id, over HTTP and SMPP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.door import Accepted, Refusal, Submission
from router.nouns import Login
from smpp import codec
from smpp.constants import Tlv
from smpp.fields import SmeAddress
from smpp.pdu import CancelSm, SubmitMulti
from smpp.segment import Concat, concat_element
from store.interface import StoreFull
from tests.gateway.house import MemoryWorld, Running, Script, carrier, route, running, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering, text_of
from tests.trio_case import trio_test

TOML = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")
TO = "447700900123"
WINDOW_S = 60
LATER = b"000001000000000R"  # in a day, relative


def settings(**account: Any) -> dict[str, Any]:
    login = Login("acme", (hashed("secret"),))
    return {"logins": (login,), "duplicate_guard_s": WINDOW_S, **account}


@asynccontextmanager
async def house(
    directory: Path, script: Script | None = None, **account: Any
) -> AsyncIterator[tuple[Running, Script]]:
    async with running_with(directory, TOML, script or Script(), **settings(**account)) as (gateway, peer):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.bound()
        yield gateway, peer


def asked(text: str = "Hello", to: str = TO, **fields: Any) -> Submission:
    return Submission("+" + to, "12345", text=text, **fields)


def submit(
    gateway: Running, requests: Sequence[Submission]
) -> tuple[list[list[Accepted | Refusal]], trio.Event]:
    """Hand them in at once: where the answer will be, and when."""
    answers: list[list[Accepted | Refusal]] = []
    there = trio.Event()

    def done(results: list[Accepted | Refusal]) -> None:
        answers.append(list(results))
        there.set()

    account = gateway.gateway.accounts.named("acme")
    gateway.gateway.door.submit(account, requests, done)
    return answers, there


def ids(results: Sequence[Accepted | Refusal]) -> list[int]:
    assert all(isinstance(one, Accepted) for one in results), results
    return [one.id for one in results if isinstance(one, Accepted)]


# over both edges


@trio_test(mock_clock=True)
async def test_the_same_over_http_has_the_same_id_and_is_sent_once(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script):
        first = await gateway.submit("+" + TO)
        assert await gateway.submit("+44 7700 900123") == first
        others = [
            await gateway.submit("+" + TO, "Hello!"),
            await gateway.submit("+447700900124"),
            await gateway.submit("+" + TO, client_ref="order 5"),
        ]
        assert len({first, *others}) == 4
        assert await gateway.submit("+" + TO, client_ref="order 5") == others[-1]
        await gateway.until(lambda: len(script.submits) == 4)
        await trio.sleep(5)
        assert len(script.submits) == 4
        assert gateway.gateway.store.totals().accepted == 4


@trio_test(mock_clock=True)
async def test_the_same_over_smpp_has_the_same_id_and_one_receipt(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        first = await esme.submit()
        await esme.until(lambda: esme.delivered)
        assert await esme.submit() == first  # long delivered
        reference = ((Tlv.USER_MESSAGE_REFERENCE, b"\x00\x01"),)
        second = await esme.submit(tlvs=reference)
        assert second != first
        assert await esme.submit(tlvs=reference) == second
        assert await esme.submit(tlvs=((Tlv.USER_MESSAGE_REFERENCE, b"\x00\x02"),)) not in (first, second)
        await esme.until(lambda: len(esme.delivered) == 3)
        await trio.sleep(5)
        assert (len(esme.delivered), len(script.submits)) == (3, 3)


@trio_test(mock_clock=True)
async def test_a_repetition_over_the_other_edge_is_one_too(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        first = await gateway.submit("+" + TO)
        assert await esme.submit(source_addr=b"12345", source_addr_ton=3) == first


@trio_test(mock_clock=True)
async def test_after_the_window_the_same_is_a_new_message(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        first = await gateway.submit("+" + TO)
        await trio.sleep(WINDOW_S - 1)
        assert await gateway.submit("+" + TO) == first
        await trio.sleep(2)
        second = await gateway.submit("+" + TO)
        assert second != first
        assert await gateway.submit("+" + TO) == second


@trio_test(mock_clock=True)
async def test_an_account_without_the_guard_repeats_as_it_likes_and_others_are_not_its_business(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, duplicate_guard_s=0) as (gateway, script):
        first = await gateway.submit("+" + TO)
        assert await gateway.submit("+" + TO) != first
        await gateway.gateway.accounts.update("acme", duplicate_guard_s=WINDOW_S)
        third = await gateway.submit("+" + TO)
        assert await gateway.submit("+" + TO) == third
        _, key = await gateway.gateway.accounts.create("other", 0, duplicate_guard_s=WINDOW_S)
        message = {"to": "+" + TO, "from": "12345", "text": "Hello"}
        status, answer = await gateway.http("POST", "/v1/messages", message, key=key)
        assert (status, answer["id"] == third) == (202, False)
        await gateway.until(lambda: len(script.submits) == 4)


@trio_test(mock_clock=True)
async def test_repetitions_are_counted_and_not_as_accepted(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        for _ in range(3):
            await gateway.submit("+" + TO)
        _, metrics = await gateway.http("GET", "/metrics")
        assert 'signalbox_messages_accepted_total{account="acme",api="http"} 1.0' in metrics
        assert 'signalbox_messages_repeated_total{account="acme",api="http"} 2.0' in metrics


# in time


@trio_test(mock_clock=True)
async def test_the_same_twice_in_one_batch_is_one_message(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script):
        message = {"to": "+" + TO, "from": "12345", "text": "Hello"}
        status, answer = await gateway.http(
            "POST", "/v1/messages/batch", [message, {**message, "text": "Bye"}, message]
        )
        assert status == 200
        first, other, again = (one["id"] for one in answer["results"])
        assert (first == again, first == other) == (True, False)
        await gateway.until(lambda: len(script.submits) == 2)


@trio_test(mock_clock=True)
async def test_a_repetition_of_what_is_being_committed_is_answered_after_that_commit(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        commits: list[int] = []
        gateway.gateway.committer.on_commit.append(lambda: commits.append(1))
        first, first_there = submit(gateway, [asked()])
        again, again_there = submit(gateway, [asked()])
        mixed, mixed_there = submit(gateway, [asked("other"), asked()])
        assert not first + again + mixed
        for there in (first_there, again_there, mixed_there):
            await there.wait()
        (id,) = ids(first[0])
        assert ids(again[0]) == [id]
        assert ids(mixed[0])[1] == id
        assert gateway.gateway.store.find(1, id)


@trio_test(mock_clock=True)
async def test_a_repetition_shares_the_fate_of_a_message_that_is_not_stored(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        store = gateway.gateway.store
        commit, refusals = store.commit, [StoreFull("the disk is full")]

        def failing(txn: Any) -> None:
            if refusals and txn.batch.accepted:
                raise refusals.pop()
            commit(txn)

        store.commit = failing  # type: ignore[method-assign]
        first, first_there = submit(gateway, [asked()])
        again, again_there = submit(gateway, [asked(), asked()])
        await first_there.wait()
        await again_there.wait()
        for one in (*first[0], *again[0]):
            assert isinstance(one, Refusal)
            assert one.code == "store-full"
        third, third_there = submit(gateway, [asked(), asked()])
        await third_there.wait()
        assert len(set(ids(third[0]))) == 1
        assert store.totals().accepted == 1


@trio_test(mock_clock=True)
async def test_a_burst_of_the_same_in_one_read_is_answered_with_one_id(tmp_path: Path) -> None:
    async with house(tmp_path, id_form="short") as (gateway, script), bound(gateway.world) as esme:
        pdus = [esme.number(esme.message()) for _ in range(20)]
        await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
        answers = [await esme.answer_to(pdu) for pdu in pdus]
        assert {(one.command_status, one.message_id) for one in answers} == {(0, b"00000001")}
        assert await esme.submit() == "00000001"
        await gateway.until(lambda: script.submits)
        assert len(script.submits) == 1


@trio_test
async def test_over_a_restart_what_was_submitted_within_the_window_is_known(tmp_path: Path) -> None:
    world = MemoryWorld()
    async with trio.open_nursery() as nursery:
        script = Script(delivering)
        nursery.start_soon(script.serve, await world.listen("127.0.0.1", 2790))
        async with running(tmp_path, TOML, world, **settings()) as before:
            await before.bound()
            first = await before.submit("+" + TO)
        async with running(tmp_path, TOML, world, **settings()) as after:
            assert await after.submit("+" + TO) == first
            assert await after.submit("+" + TO, "Other") != first
        nursery.cancel_scope.cancel()


# what is not a repetition


@trio_test(mock_clock=True)
async def test_parts_with_the_same_text_are_not_the_same_message(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        parts = [b"\x05" + concat_element(Concat(7, 3, index)) + b"same" for index in (1, 2, 3)]
        first = [await esme.submit(text=text, esm_class=0x40) for text in parts]
        again = [await esme.submit(text=text, esm_class=0x40) for text in parts]
        assert len(set(first)) == 3
        assert again == first
        await gateway.until(lambda: len(script.submits) == 3)
        await trio.sleep(15)
        assert len(script.submits) == 3


@trio_test(mock_clock=True)
async def test_what_was_cancelled_may_be_said_again(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        first = await esme.submit(schedule_delivery_time=LATER)
        assert await esme.submit(schedule_delivery_time=LATER) == first
        cancelled = await esme.ask(CancelSm(message_id=first.encode(), source_addr=b"ACME"))
        assert cancelled.command_status == 0
        second = await esme.submit(schedule_delivery_time=LATER)
        assert second != first
        assert await esme.submit(schedule_delivery_time=LATER) == second


@trio_test(mock_clock=True)
async def test_what_replaces_a_message_is_not_taken_for_it(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        soon = {"schedule_delivery_time": b"000000000010000R"}
        first = await esme.submit(**soon)  # type: ignore[arg-type]
        second = await esme.submit(replace_if_present_flag=1, **soon)  # type: ignore[arg-type]
        assert second != first
        await gateway.until(lambda: script.submits)
        await trio.sleep(30)
        assert [pdu.short_message for pdu in script.submits] == [b"Hello"]
        assert (await gateway.message(first))["state"] == "DELETED"


@trio_test(mock_clock=True)
@pytest.mark.parametrize("form", ["decimal", "short"])
async def test_a_submit_multi_sends_to_each_number_once_and_shows_one_id(tmp_path: Path, form: str) -> None:
    async with (
        house(tmp_path, Script(delivering), id_form=form) as (gateway, script),
        bound(gateway.world) as esme,
    ):

        def to(*numbers: str) -> SubmitMulti:
            return SubmitMulti(
                source_addr_ton=5,
                source_addr=b"ACME",
                dest_address=[SmeAddress(1, 1, number.encode()) for number in numbers],
                registered_delivery=1,
                short_message=b"Hello",
            )

        alone = await esme.submit(to="447700900101")
        response = await esme.ask(to("447700900101", "447700900102", "447700900103", "447700900102"))
        assert response.message_id.decode() == alone
        again = await esme.ask(to("447700900103", "447700900102"))
        assert again.message_id.decode() == alone
        await esme.until(lambda: len(esme.delivered) == 3)
        await trio.sleep(5)
        assert {pdu.source_addr for pdu in esme.delivered} == {
            b"447700900101",
            b"447700900102",
            b"447700900103",
        }
        assert all(text_of(pdu).startswith(f"id:{alone} ") for pdu in esme.delivered)
        assert sorted(pdu.destination_addr for pdu in script.submits) == sorted(
            {pdu.source_addr for pdu in esme.delivered}
        )


@trio_test(mock_clock=True)
@pytest.mark.parametrize("wrong", [{"to": "12"}, {"to": TO, "encoding": "gsm7", "text": "ж"}])
async def test_what_is_refused_is_refused_each_time(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with house(tmp_path) as (gateway, _):
        for _ in range(2):
            status, _ = await gateway.http("POST", "/v1/messages", {"from": "12345", "text": "x", **wrong})
            assert status == 422
        assert gateway.gateway.store.totals().accepted == 0
