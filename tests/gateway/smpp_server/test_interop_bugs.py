"""What foreign clients found (tests/interop), each as a small test of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from router.nouns import Phase
from smpp.pdu import (
    BindReceiver,
    BindReceiverResp,
    BindTransmitter,
    BindTransmitterResp,
    DeliverSmResp,
    Pdu,
    SubmitSmResp,
    Unbind,
    UnbindResp,
)
from smpp.status import Status
from store.interface import Transaction
from tests.gateway.house import Running, Script, carrier, route
from tests.gateway.smpp_server.esme import Esme, bound
from tests.gateway.smpp_server.test_server import delivering, house, receipt
from tests.trio_case import trio_test


def of(esme: Esme, kind: type[Pdu]) -> list[Any]:
    return [pdu for pdu in esme.pdus if isinstance(pdu, kind)]


class Gate:
    """Stands before a gateway's commits: none is done while it is shut."""

    def __init__(self, gateway: Running) -> None:
        writer = gateway.gateway.committer._writer
        commit = writer.commit
        self.open = trio.Event()

        async def wait(txn: Transaction, more: Callable[[], bool]) -> None:
            await self.open.wait()
            await commit(txn, more)

        writer.commit = wait  # type: ignore[method-assign]


@trio_test(mock_clock=True)
async def test_a_submit_that_crosses_our_unbind_is_refused_for_now_not_for_good(tmp_path: Path) -> None:
    """Kannel drops a message that is answered ESME_RINVBNDSTS, and sends it again after ESME_RMSGQFUL."""
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        gateway.gateway.stop()
        await esme.until(lambda: of(esme, Unbind))
        response = await esme.ask(esme.message())
        assert response.command_status == Status.ESME_RMSGQFUL


@trio_test(mock_clock=True)
async def test_a_receipt_that_crosses_our_unbind_is_taken(tmp_path: Path) -> None:
    """A carrier that is answered ESME_RINVBNDSTS may not send it again."""

    def crossing(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, Unbind):
            yield receipt(script, script.submits[0], 1)
        elif isinstance(pdu, DeliverSmResp):
            (unbind,) = [one for one in script.pdus if isinstance(one, Unbind)]
            yield UnbindResp(sequence_number=unbind.sequence_number)

    async with house(tmp_path, Script(crossing)) as (gateway, script):
        async with bound(gateway.world) as esme:
            await esme.submit()
            await gateway.until(lambda: script.submits)
        await gateway.until(lambda: not gateway.gateway.carriers[0].in_flight)
        gateway.gateway.stop()
        await gateway.gateway.finished.wait()
        (answer,) = [pdu for pdu in script.pdus if isinstance(pdu, DeliverSmResp)]
        assert answer.command_status == 0
        assert gateway.gateway.store.totals().messages[0] == 1


@trio_test(mock_clock=True)
async def test_submits_that_are_being_committed_are_answered_before_we_unbind(tmp_path: Path) -> None:
    """Clients close as soon as they have answered an unbind; what is answered after it they send again."""
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        gate = Gate(gateway)
        for _ in range(3):
            await esme.send(esme.number(esme.message()))
        (connection,) = gateway.gateway.smpp.connections
        await gateway.until(lambda: connection.unanswered == 3)
        gateway.gateway.stop()
        await trio.sleep(1)
        gate.open.set()
        await esme.until(lambda: of(esme, Unbind))
        assert [pdu.command_status for pdu in of(esme, SubmitSmResp)] == [0, 0, 0]


@trio_test(mock_clock=True)
async def test_a_message_that_was_being_leased_at_a_stop_is_not_of_unknown_outcome(tmp_path: Path) -> None:
    """Nothing was sent, so it goes out at once after the start, and never twice."""
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        gate = Gate(gateway)
        await esme.send(esme.number(esme.message()))
        (connection,) = gateway.gateway.smpp.connections
        await gateway.until(lambda: connection.unanswered == 1)
        gateway.gateway.stop()
        await trio.sleep(1)
        gate.open.set()
        await gateway.gateway.finished.wait()
        phases = gateway.gateway.store.totals().messages
        assert (phases[Phase.READY], phases[Phase.LEASED]) == (1, 0)
        assert not script.submits


@trio_test(mock_clock=True)
async def test_what_is_handed_over_is_answered_before_we_unbind(tmp_path: Path) -> None:
    """Otherwise it is handed over once more after the start."""
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        esme.take = lambda pdu: None
        for _ in range(3):
            await esme.submit()
        await esme.until(lambda: len(esme.delivered) == 3)
        gateway.gateway.stop()
        await trio.sleep(1)
        assert not of(esme, Unbind)
        for pdu in esme.delivered:
            await esme.send(DeliverSmResp(sequence_number=pdu.sequence_number))
        await esme.until(lambda: of(esme, Unbind))
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_a_customer_that_answers_nothing_holds_a_stop_up_for_seconds_only(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        esme.take = lambda pdu: None
        await esme.submit()
        await esme.until(lambda: esme.delivered)
        started = trio.current_time()
        gateway.gateway.stop()
        await gateway.gateway.finished.wait()
        assert trio.current_time() - started < 12
        assert of(esme, Unbind)


@pytest.mark.parametrize(
    ("wish", "asked"), [(0, 0), (1, 1), (2, 1), (0x10, 0x11), (0x11, 0x11), (0x12, 0x11), (0x0D, 0x0D)]
)
@trio_test(mock_clock=True)
async def test_a_carrier_is_asked_for_what_a_customer_wants_to_be_told(
    wish: int, asked: int, tmp_path: Path
) -> None:
    """Kannel asks for intermediate notifications by default; no carrier sends them unasked."""
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(registered_delivery=wish)
        await gateway.until(lambda: script.submits)
        assert script.submits[0].registered_delivery == asked


@trio_test(mock_clock=True)
async def test_a_carrier_of_3_3_is_asked_for_a_receipt_and_no_more(tmp_path: Path) -> None:
    """Its registered_delivery_flag is 0 or 1."""
    north = carrier("north", 2790, interface_version="3.3", bind="transmitter+receiver")
    toml = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + north + route("north")

    def binding(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, BindTransmitter):
            yield BindTransmitterResp(sequence_number=pdu.sequence_number)
        elif isinstance(pdu, BindReceiver):
            yield BindReceiverResp(sequence_number=pdu.sequence_number)

    async with house(tmp_path, Script(binding), toml) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(registered_delivery=0x11)
        await gateway.until(lambda: script.submits)
        assert script.submits[0].registered_delivery == 1
