"""Peers that mean harm, or know no better: what one does must not reach the others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.committer import Committer
from router.nouns import MessageState
from smpp import codec
from smpp.fields import SmeAddress
from smpp.pdu import EnquireLink, Pdu, SubmitMulti, SubmitSm
from smpp.status import Status
from store.interface import StoreFull
from tests.gateway.house import Script
from tests.gateway.smpp_server.esme import bound, connected
from tests.gateway.smpp_server.test_server import LATER, delivering, house, receipt, text_of, together
from tests.trio_case import trio_test

UNKNOWN = bytes.fromhex("00000010000000990000000000000001")


@trio_test(mock_clock=True)
async def test_the_first_thing_that_is_not_smpp_ends_a_connection_that_is_not_bound(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), connected(gateway.world) as esme:
        started = trio.current_time()
        await esme.send(UNKNOWN * 100)
        await esme.until(lambda: esme.closed)
        assert trio.current_time() - started < 2
        assert gateway.gateway.smpp.violations <= 100


@trio_test(mock_clock=True)
async def test_four_kibibytes_are_all_that_is_read_before_a_bind(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), connected(gateway.world) as esme:
        enquiry = codec.encode(EnquireLink(sequence_number=1))
        await esme.send(enquiry * 300)
        await esme.until(lambda: esme.closed)


@trio_test(mock_clock=True)
async def test_a_bound_customer_may_break_the_protocol_many_times_and_the_log_stays_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        for _ in range(10):
            await esme.send(UNKNOWN * 50)
        assert await esme.submit()
        assert capsys.readouterr().out.count("customer broke the protocol") == 1
        for _ in range(12):
            await esme.send(UNKNOWN * 50)
        await esme.until(lambda: esme.closed)


@trio_test(mock_clock=True)
async def test_more_tlvs_than_a_carrier_may_take_are_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        for tlvs in (((0x1400, b"x" * 60_000),), ((0x1400, b""),) * 33):
            response = await esme.ask(esme.message(tlvs=tlvs))
            assert response.command_status == Status.ESME_RINVOPTPARSTREAM
        await esme.submit(tlvs=((0x1400, b"x" * 1000),))
        await gateway.until(lambda: script.submits)
        assert len(script.submits) == 1


@trio_test(mock_clock=True)
async def test_a_paced_customer_goes_on_being_heard(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tps": 5.0, "tps_mode": "pace", "window": 200}
    async with house(tmp_path, Script(delivering), **settings) as (gateway, _), bound(gateway.world) as esme:
        answers = await together(esme, 200)
        assert answers == [0] * 200
        await esme.until(lambda: len(esme.delivered) >= 200)
        await trio.sleep(60)
        assert len({text_of(pdu).split()[0] for pdu in esme.delivered}) == len(esme.delivered) == 200
        assert not esme.closed


def multi(*numbers: str) -> SubmitMulti:
    return SubmitMulti(
        source_addr_ton=5,
        source_addr=b"ACME",
        dest_address=[SmeAddress(1, 1, number.encode()) for number in numbers],
        short_message=b"Hello",
    )


@trio_test(mock_clock=True)
async def test_a_paced_customers_submit_multi_waits_its_turn_and_pays_for_each_number(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tps": 5.0, "burst": 1, "tps_mode": "pace", "window": 200}
    numbers = [f"4477009001{number:02d}" for number in range(20)]
    async with house(tmp_path, **settings) as (gateway, script), bound(gateway.world) as esme:
        started = trio.current_time()
        pdus = [esme.number(multi(*numbers)) for _ in range(3)]
        await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
        assert [(await esme.answer_to(pdu)).command_status for pdu in pdus] == [0, 0, 0]
        assert trio.current_time() - started > 7.5  # 40 before the third one
        last = esme.number(esme.message())
        await esme.send(last)
        assert (await esme.answer_to(last)).command_status == 0
        assert trio.current_time() - started > 11.5
        await gateway.until(lambda: len(script.submits) == 61)


@trio_test(mock_clock=True)
async def test_a_submit_multi_does_not_overtake_what_is_paced(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tps": 5.0, "burst": 1, "tps_mode": "pace", "window": 200}
    async with house(tmp_path, **settings) as (gateway, _), bound(gateway.world) as esme:
        before = [esme.number(esme.message()) for _ in range(10)]
        behind = esme.number(multi("447700900123"))
        await esme.send(b"".join(codec.encode(pdu) for pdu in (*before, behind)))
        assert (await esme.answer_to(behind)).command_status == 0
        numbers = [pdu.sequence_number for pdu in esme.pdus if pdu.command_id & 0x80000000][1:]
        assert sorted(numbers[:-1]) == [pdu.sequence_number for pdu in before]


@trio_test(mock_clock=True)
async def test_more_than_two_windows_are_not_paced_but_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tps": 5.0, "tps_mode": "pace", "window": 10}
    async with house(tmp_path, **settings) as (gateway, _), bound(gateway.world) as esme:
        pdus = [esme.number(esme.message()) for _ in range(40)]
        await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
        answers = [(await esme.answer_to(pdu)).command_status for pdu in pdus]
        assert answers.count(Status.ESME_RTHROTTLED) >= 10
        assert answers.count(0) >= 20


@trio_test(mock_clock=True)
async def test_a_seconds_worth_may_come_at_once(tmp_path: Path) -> None:
    async with house(tmp_path, tps=10.0) as (gateway, _), bound(gateway.world) as esme:
        assert await together(esme, 10) == [0] * 10


@trio_test(mock_clock=True)
@pytest.mark.parametrize(("burst", "at_once"), [(1, 2), (4, 5), (30, 31)])
async def test_an_accounts_burst_says_how_many_may_come_at_once(
    tmp_path: Path, burst: int, at_once: int
) -> None:
    async with house(tmp_path, tps=10.0, burst=burst) as (gateway, _), bound(gateway.world) as esme:
        answers = await together(esme, 50)
        assert answers == [0] * at_once + [Status.ESME_RTHROTTLED] * (50 - at_once)


@trio_test(mock_clock=True)
async def test_a_burst_that_is_changed_counts_for_the_binds_there_are(tmp_path: Path) -> None:
    async with house(tmp_path, tps=10.0, burst=1) as (gateway, _), bound(gateway.world) as esme:
        await esme.submit()
        await gateway.gateway.accounts.update("acme", burst=20)
        await trio.sleep(30)
        assert (await together(esme, 50)).count(0) == 21


@trio_test(mock_clock=True)
async def test_submit_multi_counts_against_the_window(tmp_path: Path) -> None:
    async with house(tmp_path, window=1) as (gateway, _), bound(gateway.world) as esme:
        multi = [
            esme.number(
                SubmitMulti(
                    source_addr_ton=5,
                    source_addr=b"ACME",
                    dest_address=[SmeAddress(1, 1, b"4477009001%02d" % n) for n in range(50)],
                )
            )
            for _ in range(3)
        ]
        await esme.send(b"".join(codec.encode(pdu) for pdu in multi))
        answers = [(await esme.answer_to(pdu)).command_status for pdu in multi]
        assert answers == [0, Status.ESME_RTHROTTLED, Status.ESME_RTHROTTLED]
        assert (await esme.ask(multi[0])).command_status == 0


@trio_test(mock_clock=True)
async def test_what_is_replaced_stays_when_the_new_message_cannot_be_kept(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        later: dict[str, Any] = {"schedule_delivery_time": LATER}
        old = await esme.submit(text=b"old", **later)
        store, full = gateway.gateway.store, [True]
        commit = store.commit

        def failing(txn: Any) -> None:
            if full and txn.batch.accepted:
                full.pop()
                raise StoreFull("the disk is full")
            commit(txn)

        store.commit = failing  # type: ignore[method-assign]
        refused = await esme.ask(esme.message(text=b"new", replace_if_present_flag=1, **later))
        assert refused.command_status == Status.ESME_RMSGQFUL
        await trio.sleep(1)
        assert (await gateway.message(old))["state"] == MessageState.SCHEDULED.name
        assert isinstance(gateway.gateway.committer, Committer)


@trio_test(mock_clock=True)
async def test_one_refused_event_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        refuse = iter([0x64])
        esme.take = lambda pdu: next(refuse, 0)
        started = trio.current_time()
        for _ in range(20):
            await esme.submit()
        await esme.until(lambda: len(esme.delivered) >= 20)
        assert trio.current_time() - started < 0.9
        await esme.until(lambda: len(esme.delivered) == 21)


@trio_test(mock_clock=True)
async def test_an_intermediate_state_never_comes_after_the_final_one(tmp_path: Path) -> None:
    def enroute_first(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, SubmitSm):
            yield from script.usual(pdu)
            yield receipt(script, pdu, len(script.submits), "ENROUTE")

    async with house(tmp_path, Script(enroute_first)) as (gateway, script), bound(gateway.world) as esme:
        refuse = iter([0x64])
        esme.take = lambda pdu: next(refuse, 0)
        await esme.submit(registered_delivery=0x11)
        await esme.until(lambda: esme.delivered)
        await script.send(receipt(script, script.submits[0], 1, "DELIVRD"))
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
        await trio.sleep(10)
        assert ["ENROUTE" in text_of(pdu) for pdu in esme.delivered] == [True, False]
