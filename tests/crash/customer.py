"""A customer over SMPP for the crash tests: submits while the gateway lives, remembers what was answered.

Plain blocking sockets in a thread of its own; one instance for all lives of the gateway.

Deliberately not here: what is asserted.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading

from smpp import codec
from smpp.pdu import (
    BindTransceiver,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    Pdu,
    SubmitSm,
    SubmitSmResp,
)

SYSTEM_ID, PASSWORD = "crash", "secret"
_WINDOW = 20


class Customer:
    """`answered` message id → text; `told` message id → the final states of its receipts."""

    def __init__(self, port: int) -> None:
        self.answered: dict[str, str] = {}
        self.told: dict[str, set[str]] = {}
        self._port = port
        self._texts = itertools.count()
        self._submitting = True
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, submitting: bool = True) -> None:
        """One life: until the gateway's socket is gone, or `stop`."""
        self._submitting = submitting
        self._stop.clear()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _live(self) -> None:
        while not self._stop.is_set():  # the gateway listens for HTTP first
            try:
                peer = socket.create_connection(("127.0.0.1", self._port), 10)
            except OSError:
                self._stop.wait(0.01)
                continue
            with contextlib.suppress(OSError), peer:
                self._carry(peer)
            return

    def _carry(self, peer: socket.socket) -> None:
        peer.settimeout(0.05)
        numbers = itertools.count(2)
        waiting: dict[int, str] = {}
        self._send(
            peer,
            BindTransceiver(
                system_id=SYSTEM_ID.encode(),
                password=PASSWORD.encode(),
                interface_version=0x34,
                sequence_number=1,
            ),
        )
        data = b""
        is_bound = False
        while not self._stop.is_set():
            while is_bound and self._submitting and len(waiting) < _WINDOW:
                number, text = next(numbers), f"over smpp {next(self._texts)}"
                waiting[number] = text
                self._send(peer, self._message(text, number))
            try:
                more = peer.recv(65_536)
            except TimeoutError:
                continue
            if not more:
                return
            data += more
            while len(data) >= 4 and len(data) >= (length := int.from_bytes(data[:4], "big")):
                pdu, data = codec.decode(data[:length]), data[length:]
                is_bound = True
                self._take(peer, pdu, waiting)

    def _take(self, peer: socket.socket, pdu: Pdu, waiting: dict[int, str]) -> None:
        if isinstance(pdu, SubmitSmResp):
            text = waiting.pop(pdu.sequence_number)
            if pdu.command_status == 0:
                self.answered[pdu.message_id.decode()] = text
        elif isinstance(pdu, DeliverSm):
            words = pdu.short_message.decode("latin-1")
            id, state = words.split()[0].removeprefix("id:"), words.split("stat:")[1].split()[0]
            self.told.setdefault(id, set()).add(state)
            self._send(peer, DeliverSmResp(sequence_number=pdu.sequence_number))
        elif isinstance(pdu, EnquireLink):
            self._send(peer, EnquireLinkResp(sequence_number=pdu.sequence_number))

    @staticmethod
    def _message(text: str, number: int) -> SubmitSm:
        return SubmitSm(
            source_addr_ton=5,
            source_addr=b"CRASH",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=b"447700900124",
            registered_delivery=1,
            short_message=text.encode(),
            sequence_number=number,
        )

    @staticmethod
    def _send(peer: socket.socket, pdu: Pdu) -> None:
        peer.sendall(codec.encode(pdu))
