"""One account has a million messages in the queue of a carrier; another one sends an OTP a second.

On real time, with a real gateway and store. The carrier is the simulator, in this process, so that one clock
tells when an OTP was submitted and when the carrier got it.

Deliberately not here: the same on simulated time, which is a test (tests/simulation/test_throttles.py).
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench.rig import HTTP, SMSC, Carrier, Gateway, gateway, post_load, scratch
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from smpp.pdu import SubmitSm

Figures = dict[str, Any]

TPS = 200
CARRIER = Carrier(sessions=1, window=50, tps=TPS)
_BOUND_S = 60.0
_PATIENCE_S = 30.0
_SETTLED_S = 3.0  # after the idle time before the bind


def otp_beside_a_backlog(tool: Path, count: int, otps: int) -> Figures:
    """`count` bulk messages wait; then the carrier comes, and with it an OTP a second."""
    with scratch() as path, gateway(path, (CARRIER,)) as signalbox:
        started = time.monotonic()
        post_load(tool, signalbox.key, count // 100, connections=8, batch=100, within_s=1800)
        posted_s = time.monotonic() - started
        made = json.loads(signalbox.command("account", "create", "otp", "--json"))
        took, in_between, waiting = trio.run(partial(_send, signalbox, made["api_key"], otps))
        memory = signalbox.anonymous_memory_mib()
    took.sort()
    return {
        "backlog": count,
        "posted_s": posted_s,
        "waiting_at_the_end": waiting,
        "carrier_per_s": in_between,
        "otps": len(took),
        "lost": otps - len(took),
        "p50_ms": statistics.median(took) * 1e3,
        "p99_ms": took[-1 - len(took) // 100] * 1e3,
        "max_ms": took[-1] * 1e3,
        "rss_anon_mib": memory,
    }


async def _send(signalbox: Gateway, key: str, otps: int) -> tuple[list[float], float, float]:
    """(seconds from each OTP's submit to the carrier, what the carrier got a second, messages left)."""
    arrived: dict[str, float] = {}
    smsc = SimulatedSmsc(Behaviour(response_delay_s=(0.02, 0.05)))

    def on_submit(pdu: SubmitSm, message_id: bytes) -> None:
        arrived.setdefault(pdu.destination_addr.decode(), time.monotonic())

    smsc.on_submit = on_submit
    asked: dict[str, float] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(smsc.serve, await trio.open_tcp_listeners(SMSC, host="127.0.0.1"))
        with trio.fail_after(_BOUND_S):
            while not smsc.tally.submits:
                await trio.sleep(0.1)
        await trio.sleep(_SETTLED_S)
        began, before = time.monotonic(), smsc.tally.submits
        for number in range(otps):
            to = f"49151234{number:05}"
            asked[to] = time.monotonic()
            nursery.start_soon(trio.to_thread.run_sync, _post, key, to)
            await trio.sleep_until(trio.current_time() + max(0.0, began + number + 1 - time.monotonic()))
        rate = (smsc.tally.submits - before) / (time.monotonic() - began)
        with trio.move_on_after(_PATIENCE_S):
            while not asked.keys() <= arrived.keys():
                await trio.sleep(0.1)
        waiting = signalbox.metrics()['signalbox_messages_by_state{state="ready"}']
        nursery.cancel_scope.cancel()
    return [arrived[to] - at for to, at in asked.items() if to in arrived], rate, waiting


def _post(key: str, to: str) -> None:
    body = {"to": f"+{to}", "from": "BENCH", "text": "Your code is 123456", "class": "otp"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{HTTP}/v1/messages",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
        answer.read()
