"""What the HTTP surface costs beside single submits: other gateways' API, idle connections, slow clients.

Deliberately not here: rounds and ratios (main.py), processes (rig.py).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.rig import HTTP, LOAD_CORE, Gateway, final_json, gateway, last_json, post_load, running, scratch

Figures = dict[str, Any]

_USER, _PASSWORD = "u", "p"


def sendsms(tool: Path, count: int) -> Figures:
    """Kannel's GET, as it is measured of Kannel itself: over 32 connections, each message on disk."""
    with scratch() as path, gateway(path, http='apis = ["kannel"]\n') as signalbox:
        signalbox.command("account", "set", "demo", "--apis", "kannel")
        signalbox.command("account", "app", "set", "demo", _USER, "--password", _PASSWORD)
        target = f"/cgi-bin/sendsms?username={_USER}&password={_PASSWORD}&from=BENCH&to={{to}}&text={{text}}"
        with running(
            tool, "http", "--port", HTTP, "--n", count, "--conns", 32, "--target", target, "--ok", "202"
        ) as load:
            found = final_json(load, within_s=300)
    if found["bad"] or found["unanswered"]:
        raise RuntimeError(f"{found['bad']} requests were refused: {found['first_bad']}")
    return {"per_s": found["req_per_s"], "p99_ms": found["latency"]["p99_ms"]}


def idle_connections(count: int, seconds: float) -> Figures:
    """Kept-alive connections without requests: the gateway's memory, and CPU."""
    with scratch() as path, gateway(path, http=_room(count)) as signalbox:
        time.sleep(2)
        before = signalbox.anonymous_memory_mib()
        with _sockets("idle", count) as process:
            cpu_s = signalbox.cpu_s()
            time.sleep(seconds)
            cpu_percent = (signalbox.cpu_s() - cpu_s) / seconds * 100
            memory = signalbox.anonymous_memory_mib()
            ended = last_json(process)
    return {
        "connections": count,
        "still_open": ended["open"],
        "rss_anon_mib_without": before,
        "rss_anon_mib": memory,
        "kib_each": (memory - before) * 1024 / count,
        "cpu_percent": cpu_percent,
    }


def slow_clients(tool: Path, count: int, rate_per_s: float, rounds: int) -> Figures:
    """The p99 of single submits at a steady rate beside clients that never finish a head, and without."""
    alone: list[Figures] = []
    beside: list[Figures] = []
    messages = int(rate_per_s * 15)
    with scratch() as path, gateway(path, http=_room(count)) as signalbox:
        for _ in range(rounds):
            alone.append(_steady(tool, signalbox, messages, rate_per_s))
            with _sockets("slow", count) as process:
                beside.append(_steady(tool, signalbox, messages, rate_per_s))
                last_json(process)
    return {
        "clients": count,
        "offered_per_s": rate_per_s,
        "p99_ms_alone": statistics.median(one["p99_ms"] for one in alone),
        "p99_ms": statistics.median(one["p99_ms"] for one in beside),
        "accepted_per_s": statistics.median(one["req_per_s"] for one in beside),
    }


def _steady(tool: Path, signalbox: Gateway, count: int, rate_per_s: float) -> Figures:
    found = post_load(tool, signalbox.key, count, rate_per_s=rate_per_s)
    return {"p99_ms": found["latency"]["p99_ms"], "req_per_s": found["req_per_s"]}


def _room(count: int) -> str:
    return f"max_connections = {count + 500}\nmax_connections_per_address = {count + 500}\n"


@contextmanager
def _sockets(kind: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """So many of them, once all are there."""
    with running(sys.executable, "-P", "-m", "bench.sockets", kind, HTTP, count, core=LOAD_CORE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline() or "{}")
        if ready.get("open") != count:
            raise RuntimeError(f"not every connection was let in: {ready}")
        yield process
