"""A customer for tests: a plain SMPP client over any stream; it sends what the test says, keeps what came.

Deliberately not here: anything automatic but answers to enquire_link and (unless told otherwise) deliver_sm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from gateway.world import World
from smpp import codec
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
)

P = TypeVar("P", bound=Pdu)
BINDS = {"transceiver": BindTransceiver, "transmitter": BindTransmitter, "receiver": BindReceiver}


class Esme:
    """`pdus` is all that came; `delivered` its deliver_sm and data_sm; `take` says how those are answered."""

    def __init__(self, stream: trio.abc.Stream, version: int = 0x34) -> None:
        self.stream = stream
        self.version = version
        self.pdus: list[Pdu] = []
        self.closed = False
        self.take: Callable[[Pdu], int | None] = lambda pdu: 0  # a command_status, None = no answer
        self._number = 0
        self._sending = trio.Lock()
        self._came = trio.Event()

    @property
    def delivered(self) -> list[Any]:
        return [pdu for pdu in self.pdus if isinstance(pdu, DeliverSm | DataSm)]

    async def run(self) -> None:
        data = b""
        while True:
            try:
                more = await self.stream.receive_some(65_536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                more = b""
            if not more:
                self.closed = True
                self._tell()
                return
            data += more
            while len(data) >= 4 and len(data) >= (length := int.from_bytes(data[:4], "big")):
                pdu = codec.decode(data[:length])
                data = data[length:]
                self.pdus.append(pdu)
                await self._answer(pdu)
                self._tell()

    def _tell(self) -> None:
        self._came.set()
        self._came = trio.Event()

    async def _answer(self, pdu: Pdu) -> None:
        if isinstance(pdu, EnquireLink):
            await self.send(EnquireLinkResp(sequence_number=pdu.sequence_number))
        elif isinstance(pdu, DeliverSm | DataSm):
            status = self.take(pdu)
            response = DeliverSmResp if isinstance(pdu, DeliverSm) else DataSmResp
            if status is not None:
                await self.send(response(sequence_number=pdu.sequence_number, command_status=status))

    async def send(self, pdu: Pdu | bytes) -> None:
        data = pdu if isinstance(pdu, bytes) else codec.encode(pdu, self.version)
        async with self._sending:
            await self.stream.send_all(data)

    def number(self, pdu: P) -> P:
        self._number += 1
        pdu.sequence_number = self._number
        return pdu

    async def ask(self, pdu: Pdu) -> Any:
        """Send a request and return its response."""
        self.number(pdu)
        await self.send(pdu)
        return await self.answer_to(pdu)

    async def answer_to(self, pdu: Pdu) -> Any:
        def found() -> list[Pdu]:
            return [
                one
                for one in self.pdus
                if one.sequence_number == pdu.sequence_number and one.command_id & 0x80000000
            ]

        await self.until(lambda: found() or self.closed)
        assert found(), "closed before the answer"
        return found()[-1]

    async def until(self, is_so: Callable[[], object], patience_s: float = 900) -> None:
        with trio.fail_after(patience_s):
            while not is_so():
                await self._came.wait()

    async def bind(
        self, system_id: str = "acme", password: str = "secret", kind: str = "transceiver", **fields: Any
    ) -> Any:
        pdu = BINDS[kind](
            system_id=system_id.encode(),
            password=password.encode(),
            interface_version=self.version,
            **fields,
        )
        return await self.ask(pdu)

    async def submit(self, to: str = "447700900123", text: bytes = b"Hello", **fields: Any) -> str:
        """An accepted message's id."""
        response = await self.ask(self.message(to, text, **fields))
        assert isinstance(response, SubmitSmResp)
        assert response.command_status == 0, hex(response.command_status)
        return response.message_id.decode()

    def message(self, to: str = "447700900123", text: bytes = b"Hello", **fields: Any) -> SubmitSm:
        chosen: dict[str, Any] = {
            "source_addr_ton": 5,
            "source_addr": b"ACME",
            "dest_addr_ton": 1,
            "dest_addr_npi": 1,
            "destination_addr": to.encode(),
            "short_message": text,
            "registered_delivery": 1,
        }
        return SubmitSm(**{**chosen, **fields})


@asynccontextmanager
async def connected(world: World, port: int = 2775, version: int = 0x34) -> AsyncIterator[Esme]:
    """A connection of a customer, not bound yet."""
    stream = await world.connect("127.0.0.1", port)
    esme = Esme(stream, version)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(esme.run)
        yield esme
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)


@asynccontextmanager
async def bound(
    world: World, kind: str = "transceiver", *, port: int = 2775, version: int = 0x34, system_id: str = "acme"
) -> AsyncIterator[Esme]:
    async with connected(world, port, version) as esme:
        response = await esme.bind(system_id, kind=kind)
        assert response.command_status == 0, hex(response.command_status)
        yield esme
