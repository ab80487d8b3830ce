"""The simulated carrier when it behaves badly: half-open links, cuts with a full window, receipts elsewhere.

A bare ESME on memory streams and MockClock, so that what is seen is the simulator alone.

Deliberately not here: what the gateway makes of it (tests/gateway/test_end_to_end.py).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from smpp import codec
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    Pdu,
    SubmitSm,
)
from tests.trio_case import trio_test

Bind = BindReceiver | BindTransceiver | BindTransmitter


class Esme:
    """One connection: `pdus` are all it was sent, deliver_sm are answered, `closed` once it was let go."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.pdus: list[Pdu] = []
        self.closed = False
        self._sequence = 0

    def of(self, command: str) -> list[Pdu]:
        return [pdu for pdu in self.pdus if pdu.command == command]

    @property
    def receipts(self) -> list[bytes]:
        return [pdu.short_message for pdu in self.pdus if isinstance(pdu, DeliverSm)]

    async def send(self, *pdus: Pdu) -> None:
        """In one write, numbered on."""
        data = b""
        for pdu in pdus:
            self._sequence += 1
            pdu.sequence_number = self._sequence
            data += codec.encode(pdu)
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def submit(self, count: int = 1) -> None:
        """Messages that want receipts, in one write."""
        await self.send(
            *(
                SubmitSm(destination_addr=b"44770090%04d" % number, registered_delivery=1)
                for number in range(count)
            )
        )

    async def read(self) -> None:
        data = b""
        while True:
            try:
                more = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                more = b""
            if not more:
                self.closed = True
                return
            data += more
            while len(data) >= 4 and len(data) >= (length := int.from_bytes(data[:4], "big")):
                pdu = codec.decode(data[:length])
                data = data[length:]
                self.pdus.append(pdu)
                if isinstance(pdu, DeliverSm):
                    answer = DeliverSmResp(sequence_number=pdu.sequence_number)
                    await self.stream.send_all(codec.encode(answer))


class Yard:
    """A simulator and the ESMEs that bind to it."""

    def __init__(self, smsc: SimulatedSmsc, nursery: trio.Nursery) -> None:
        self.smsc = smsc
        self._nursery = nursery

    async def bind(self, how: type[Bind] = BindTransceiver, system_id: bytes = b"acme") -> Esme:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.smsc.carry, theirs)
        esme = Esme(ours)
        self._nursery.start_soon(esme.read)
        await esme.send(how(system_id=system_id, interface_version=0x34))
        assert len(esme.pdus) == 1
        return esme


@asynccontextmanager
async def simulated(**behaviour: object) -> AsyncIterator[Yard]:
    settings: dict[str, object] = {"receipt_delay_s": (1, 1), **behaviour}
    smsc = SimulatedSmsc(Behaviour(**settings), rng=random.Random(1))  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(smsc.run_later)
        yield Yard(smsc, nursery)
        nursery.cancel_scope.cancel()


# a half-open link


@trio_test(mock_clock=True)
async def test_a_half_open_link_reads_on_and_answers_nothing() -> None:
    async with simulated(half_open_after=2) as yard:
        esme = await yard.bind()
        await esme.submit(2)
        assert len(esme.of("submit_sm_resp")) == 2
        await esme.submit(3)
        await esme.send(EnquireLink())
        await trio.sleep(30)
        assert len(esme.of("submit_sm_resp")) == 2
        assert esme.of("enquire_link_resp") == []
        assert yard.smsc.tally.submits == 5
        assert yard.smsc.tally.accepted == 2
        assert not esme.closed


@trio_test(mock_clock=True)
async def test_a_response_that_is_under_way_when_the_link_goes_half_open_never_comes() -> None:
    async with simulated(half_open_after=1, response_delay_s=(5, 5)) as yard:
        esme = await yard.bind()
        await esme.submit()
        await esme.submit()
        await trio.sleep(30)
        assert esme.of("submit_sm_resp") == []


@trio_test(mock_clock=True)
async def test_receipts_owed_on_a_half_open_link_come_on_the_next_bind() -> None:
    async with simulated(half_open_after=2) as yard:
        esme = await yard.bind()
        await esme.submit(3)
        await trio.sleep(10)
        assert esme.receipts == []
        await esme.stream.aclose()
        again = await yard.bind()
        await trio.sleep(10)
        assert len(again.receipts) == 2


# a cut with a full window


@trio_test(mock_clock=True)
async def test_a_cut_leaves_a_whole_window_unanswered_though_most_of_it_was_accepted() -> None:
    async with simulated(cut_every=10) as yard:
        esme = await yard.bind()
        await esme.submit(10)
        assert esme.closed
        assert esme.of("submit_sm_resp") == []
        assert yard.smsc.tally.cuts == 1
        assert yard.smsc.tally.accepted == 9
        again = await yard.bind()
        await trio.sleep(10)
        assert len(again.receipts) == 9
        assert len(set(again.receipts)) == 9


@trio_test(mock_clock=True)
async def test_nothing_after_a_cut_is_taken_from_the_link() -> None:
    async with simulated(cut_every=3) as yard:
        esme = await yard.bind()
        await esme.submit(8)
        assert esme.closed
        assert (yard.smsc.tally.submits, yard.smsc.tally.accepted) == (3, 2)
        assert yard.smsc.tally.cuts == 1


@trio_test(mock_clock=True)
async def test_the_link_is_cut_again_after_as_many_submits_on_the_next_bind() -> None:
    async with simulated(cut_every=4) as yard:
        await (await yard.bind()).submit(4)
        again = await yard.bind()
        await again.submit(3)
        assert len(again.of("submit_sm_resp")) == 3
        await again.submit(1)
        assert again.closed
        assert yard.smsc.tally.cuts == 2


# receipts on another bind


@trio_test(mock_clock=True)
async def test_receipts_come_on_the_other_bind_of_the_account() -> None:
    async with simulated(receipts_on="other") as yard:
        one, two = await yard.bind(), await yard.bind()
        stranger = await yard.bind(system_id=b"somebody")
        await one.submit(4)
        await two.submit(2)
        await trio.sleep(10)
        assert (len(one.receipts), len(two.receipts), len(stranger.receipts)) == (2, 4, 0)


@trio_test(mock_clock=True)
async def test_with_no_other_bind_receipts_come_on_the_one_there_is() -> None:
    async with simulated(receipts_on="other") as yard:
        one, two = await yard.bind(), await yard.bind()
        await one.submit(2)
        await two.stream.aclose()
        await trio.sleep(10)
        assert len(one.receipts) == 2


@trio_test(mock_clock=True)
async def test_receipts_of_a_transmitter_come_on_its_receiver_or_wait_for_one() -> None:
    async with simulated(receipts_on="same") as yard:
        transmitter = await yard.bind(BindTransmitter)
        await transmitter.submit(3)
        await trio.sleep(10)
        assert transmitter.receipts == []
        receiver = await yard.bind(BindReceiver)
        await trio.sleep(10)
        assert (len(transmitter.receipts), len(receiver.receipts)) == (0, 3)
        assert yard.smsc.tally.receipts_answered == 3
