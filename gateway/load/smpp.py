"""SMPP load: an ESME that binds, keeps its window full of submit_sm and counts responses and receipts.

Deliberately not here: retries, storage. What is unanswered at the end is reported, not sent again.
"""

from __future__ import annotations

import time

import msgspec
import trio

from gateway.outlet import Outlet
from smpp import events
from smpp.constants import CommandId
from smpp.pdu import BindTransceiver, submit_sm_body
from smpp.session import Role, Session, SessionSettings, SessionState


class SmppLoad(msgspec.Struct, frozen=True):
    host: str
    port: int
    system_id: str
    password: str
    count: int
    window: int = 100
    sessions: int = 1
    prefix: str = "4477009"
    wait_receipts_s: float = 5.0


class SmppOutcome(msgspec.Struct):
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    receipts: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        shown: dict[str, float] = msgspec.structs.asdict(self)
        shown["per_second"] = round(self.accepted / self.seconds, 1) if self.seconds else 0
        return shown


async def run(load: SmppLoad) -> SmppOutcome:
    """Bind `sessions` times, send `count` messages between them. Errors: OSError, ConnectionError."""
    outcome = SmppOutcome()
    numbers = iter(range(load.count))
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(load.sessions):
            nursery.start_soon(_Client(load, numbers, outcome, started).run)
    return outcome


class _Client:
    def __init__(self, load: SmppLoad, numbers: object, outcome: SmppOutcome, started: float) -> None:
        self._load = load
        self._numbers = numbers
        self._outcome = outcome
        self._started = started
        self._session = Session(Role.ESME, SessionSettings(window=load.window), trio.current_time())
        self._exhausted = False

    async def run(self) -> None:
        load = self._load
        stream = await trio.open_tcp_stream(load.host, load.port)
        outlet = Outlet(stream)
        session = self._session
        bind = BindTransceiver(
            system_id=load.system_id.encode(), password=load.password.encode(), interface_version=0x34
        )
        session.bind(bind, trio.current_time())
        outlet.write(session.data_to_send())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outlet.run)
            while session.state is not SessionState.CLOSED:
                data = b""
                idle = self._exhausted and not session.outstanding
                with trio.move_on_after(load.wait_receipts_s if idle else 60):
                    data = bytes(await stream.receive_some(262_144))
                if not data:
                    break
                for event in session.receive(data, trio.current_time()):
                    self._handle(event)
                outlet.write(session.data_to_send())
            self._outcome.unanswered += session.outstanding
            nursery.cancel_scope.cancel()
        outlet.close()
        await stream.aclose()

    def _handle(self, event: events.Event) -> None:
        outcome = self._outcome
        if isinstance(event, events.Response):
            if event.pdu.command_status:
                outcome.refused += 1
            else:
                outcome.accepted += 1
            outcome.seconds = time.perf_counter() - self._started
            self._fill()
        elif isinstance(event, events.Bound):
            self._fill()
        elif isinstance(event, events.BindRefused):
            raise ConnectionError(f"bind refused: {event.status_name}")
        elif isinstance(event, events.Request):
            outcome.receipts += 1
            answer = int(event.pdu.command_id) | 0x80000000
            self._session.respond_raw(answer, 0, event.pdu.sequence_number, b"\0")

    def _fill(self) -> None:
        now = trio.current_time()
        while self._session.window_free and not self._exhausted:
            number = next(self._numbers, None)  # type: ignore[call-overload]
            if number is None:
                self._exhausted = True
                return
            destination = f"{self._load.prefix}{number % 90_000 + 10_000}".encode()
            text = b"hello %d" % number
            body = submit_sm_body(b"", 5, 0, b"LOAD", 1, 1, destination, 0, 0, 0, b"", b"", 1, 0, 0, 0, text)
            self._session.submit_raw(body, int(CommandId.SUBMIT_SM), now, number)
            self._outcome.sent += 1
