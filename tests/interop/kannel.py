"""Kannel's bearerbox and smsbox as a customer of ours: configuration files, processes, sendsms.

Deliberately not here: what is expected of either side (test_kannel.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.interop.house import HANDSET, PASSWORD, Hit, Program, Sink, free_port, get, needs, program, running

BEARERBOX, SMSBOX = program("bearerbox"), program("smsbox")
needs_kannel = needs(BEARERBOX and SMSBOX, "bearerbox and smsbox (apt-get install kannel)")

_CONFIG = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = admin
smsbox-port = {box}
smsbox-interface = 127.0.0.1
box-allow-ip = "127.0.0.1"
dlr-storage = internal
sms-resend-freq = 1
sms-combine-concatenated-mo = true

group = smsc
smsc = smpp
smsc-id = signalbox
host = 127.0.0.1
port = {smpp}
smsc-username = {system_id}
smsc-password = {password}
system-type = ""
reconnect-delay = 1
{smsc}

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
http-request-retry = 10
http-queue-delay = 1

group = sendsms-user
username = me
password = me
concatenation = true
max-messages = 10

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{sink}/mo?from=%p&to=%P&text=%b&coding=%c&charset=%C"
catch-all = true
concatenation = true
max-messages = 10
"""


class Kannel:
    """Both boxes. `smsc`: further lines of its connection to us."""

    def __init__(self, directory: Path, sink: Sink, smpp: int, smsc: str, password: str) -> None:
        self.sink = sink
        self.sendsms = free_port()
        self.admin = free_port()
        self.file = directory / "kannel.conf"
        self.file.write_text(
            _CONFIG.format(
                admin=self.admin,
                box=free_port(),
                sendsms=self.sendsms,
                sink=sink.port,
                smpp=smpp,
                smsc=smsc,
                system_id="acme",
                password=password,
            )
        )
        self.bearerbox: Program
        self.smsbox: Program

    def target(self, text: str, number: int = 0, **fields: str | int) -> str:
        """A sendsms request; its reports come to /dlr with `number`."""
        report = f"http://127.0.0.1:{self.sink.port}/dlr?n={number}&type=%d&id=%F&reply=%A&sent=%b"
        chosen = {
            "username": "me",
            "password": "me",
            "to": HANDSET,
            "from": "ACME",
            "charset": "UTF-8",
            "dlr-mask": 31,
            "dlr-url": report,
            "text": text,
            **fields,
        }
        return "/cgi-bin/sendsms?" + urlencode({key: value for key, value in chosen.items() if value != ""})

    async def send(self, targets: Sequence[str]) -> None:
        assert not self.smsbox.ended, self.smsbox.said[-20:]
        answers = await get(self.sendsms, targets)
        assert {status for status, _ in answers} == {202}, answers[:3]

    def reports(self, kind: int) -> list[int]:
        """The numbers of the messages that a report of this kind came for: 1 delivered, 2 failed, 8 accepted
        by us, 16 refused by us."""
        return [int(hit.query["n"]) for hit in self.replies(kind)]

    def replies(self, kind: int) -> list[Hit]:
        return [hit for hit in self.sink.of("/dlr") if int(hit.query["type"]) & kind]


@asynccontextmanager
async def kannel(
    directory: Path,
    sink: Sink,
    smpp: int,
    smsc: str = "transceiver-mode = true",
    password: str = PASSWORD,
    level: int = 1,
) -> AsyncIterator[Kannel]:
    """Both boxes running and joined. `level` 0 shows every PDU in what the bearerbox says."""
    assert BEARERBOX is not None, "CI is set, but kannel is missing"
    assert SMSBOX is not None, "CI is set, but kannel is missing"
    one = Kannel(directory, sink, smpp, smsc, password)
    async with AsyncExitStack() as stack:
        one.bearerbox = await stack.enter_async_context(running([BEARERBOX, "-v", str(level), one.file]))
        await one.bearerbox.until("MAIN: Start-up done")
        one.smsbox = await stack.enter_async_context(running([SMSBOX, "-v", "0", one.file]))
        await one.smsbox.until("heartbeat_thread")  # earlier, a request would crash it
        yield one
