"""A simulated carrier in a process of its own, which outlives every kill of the gateway.

`python -m tests.crash.carrier PORT LOG`: each accepted submit is one line of LOG, written before its answer.
"""

from __future__ import annotations

import os
import sys
import time

import trio

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from smpp.pdu import SubmitSm


async def main(port: int, path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(pdu: SubmitSm, message_id: bytes) -> None:
        os.write(log, pdu.short_message + b"\n")

    behaviour = Behaviour(receipt_delay_s=(0.0, 0.05), early_receipts=0.05, duplicate_receipts=0.05)
    smsc = SimulatedSmsc(behaviour, wall_ms=lambda: time.time_ns() // 1_000_000)
    smsc.on_submit = note
    await smsc.serve(list(await trio.open_tcp_listeners(port, host="127.0.0.1")))


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2])
