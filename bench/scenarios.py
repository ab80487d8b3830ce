"""What is measured: each scenario starts its own processes, runs once and returns figures.

Deliberately not here: rounds, medians and ratios (main.py), processes (rig.py).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench import kannel
from bench.rig import (
    FLOOR,
    GATEWAY_CORE,
    ROOT,
    SINK,
    SMSC,
    Carrier,
    cpu_s,
    final_json,
    gateway,
    last_json,
    post_load,
    running,
    scratch,
    smsc,
    wait_for_port,
)

Figures = dict[str, Any]


def floor(tool: Path, count: int, window: int = 500) -> Figures:
    """The bare loop with `window` requests in flight: messages a second over the full cycle."""
    python = ROOT / ".venv" / "bin" / "python"
    with (
        scratch() as path,
        smsc(tool),
        running(python, "-P", "-m", "bench.floor", path, FLOOR, SMSC, core=GATEWAY_CORE) as loop,
    ):
        wait_for_port(FLOOR)
        before = cpu_s(loop)
        with running(tool, "esme", "--port", FLOOR, "--n", count, "--window", window) as esme:
            found = final_json(esme, within_s=200)
        cpu_us = (cpu_s(loop) - before) / count * 1e6
    return {"per_s": found["e2e_per_s"], "p99_ms": found["latency"]["p99_ms"], "cpu_us": cpu_us}


def http_submit(tool: Path, count: int, connections: int = 32) -> Figures:
    """Single submits, one at a time on each connection, accepted and fsynced; the carrier is down, so that
    nothing else runs."""
    with scratch() as path, gateway(path) as signalbox:
        found = post_load(tool, signalbox.key, count, connections=connections)
        return {"per_s": found["req_per_s"], "p99_ms": found["latency"]["p99_ms"]}


def http_batch(tool: Path, count: int) -> Figures:
    """Batches of 100 over 8 connections, in messages a second."""
    with scratch() as path, gateway(path) as signalbox:
        found = post_load(tool, signalbox.key, count // 100, connections=8, batch=100)
        return {"per_s": found["req_per_s"] * 100, "p99_ms": found["latency"]["p99_ms"]}


def full_cycle(tool: Path, count: int, *, batch: int) -> Figures:
    """HTTP submit → carrier → receipt → callback, `batch` events in one POST: messages a second."""
    with scratch() as path, smsc(tool), running(tool, "sink", "--port", SINK) as sink:
        wait_for_port(SINK)
        with gateway(path, batch=batch) as signalbox:
            before = signalbox.cpu_s()
            started = time.monotonic()
            submitted = post_load(tool, signalbox.key, count)
            signalbox.wait_final(count)
            elapsed = time.monotonic() - started
            cpu_us = (signalbox.cpu_s() - before) / count * 1e6
            told = last_json(sink)
        return {
            "per_s": count / elapsed,
            "submit_per_s": submitted["req_per_s"],
            "callback_posts": told["requests"],
            "callback_events": told["events"],
            "cpu_us": cpu_us,
        }


def full_cycle_without_callbacks(tool: Path, count: int) -> Figures:
    """HTTP submit → carrier → receipt, everything durable, nobody to call back."""
    with scratch() as path, smsc(tool), gateway(path) as signalbox:
        started = time.monotonic()
        found = post_load(tool, signalbox.key, count)
        signalbox.wait_final(count)
        return {"per_s": count / (time.monotonic() - started), "p99_ms": found["latency"]["p99_ms"]}


def half_rate(tool: Path, count: int) -> Figures:
    """p99 of a submit with half the connections' load, beside the p99 of a commit in the same run."""
    with scratch() as path, gateway(path) as signalbox:
        found = post_load(tool, signalbox.key, count, connections=8)
        commit_p99 = quantile(signalbox.metrics(), "signalbox_store_commit_duration_seconds", 0.99)
        return {
            "per_s": found["req_per_s"],
            "p99_ms": found["latency"]["p99_ms"],
            "commit_p99_ms_at_most": commit_p99 * 1e3,
        }


def backlog(tool: Path, count: int) -> Figures:
    """Start with `count` queued messages: first send, memory while it drains, rate."""
    with scratch() as path:
        with gateway(path) as signalbox:
            post_load(tool, signalbox.key, count // 100, connections=8, batch=100)
        with smsc(tool, log=path / "smsc.log"):
            started = time.monotonic()
            with gateway(path) as signalbox:
                final = 'signalbox_messages_by_state{state="final"}'
                first_s = 0.0
                memory: list[float] = []
                while (done := signalbox.metrics()[final]) < count:
                    if done and not first_s:
                        first_s = time.monotonic() - started
                    memory.append(signalbox.anonymous_memory_mib())
                    time.sleep(0.1)
                elapsed = time.monotonic() - started
        return {
            "first_final_s": first_s,
            "per_s": count / elapsed,
            "rss_anon_mib_least": min(memory),
            "rss_anon_mib_most": max(memory),
        }


def throttle(tool: Path, tps: int, seconds: int) -> Figures:
    """A backlog behind a limit: the highest count in any sliding second as the carrier saw it."""
    with scratch() as path:
        with gateway(path) as signalbox:
            post_load(tool, signalbox.key, max(1, tps * (seconds + 5) // 100), connections=4, batch=100)
        with smsc(tool) as carrier:
            with gateway(path, (Carrier(tps=tps),)):
                time.sleep(seconds)
            seen = last_json(carrier)
    return {
        "limit": tps,
        "most_in_a_second": seen["most_in_a_second"],
        "submits": seen["submits"],
        "share_of_limit": (seen["submits"] - 1) / seen["span_s"] / tps,
        "seconds": seconds,
    }


def overload(tool: Path, count: int, closed_per_s: float) -> Figures:
    """Open loop at 120 % of what a closed loop reached: does the writer keep up while the loop is busy?"""
    rate = closed_per_s * 1.2
    with scratch() as path, smsc(tool), gateway(path) as signalbox:
        sent = post_load(tool, signalbox.key, count, connections=200, rate_per_s=rate)
        signalbox.wait_final(count)
    return {
        "closed_per_s": closed_per_s,
        "offered_per_s": rate,
        "accepted_per_s": sent["req_per_s"],
        "share_of_closed": sent["req_per_s"] / closed_per_s,
        "p99_ms": sent["latency"]["p99_ms"],
    }


def kannel_submit(tool: Path, count: int) -> Figures:
    """Kannel's HTTP submit with its spool store (no fsync), the carrier up."""
    return kannel.run(tool, count, callbacks=False)


def kannel_full(tool: Path, count: int) -> Figures:
    """Kannel with receipts and one dlr-url callback each, on both cores."""
    return kannel.run(tool, count, callbacks=True)


def quantile(metrics: dict[str, float], name: str, share: float) -> float:
    """The upper bound of the bucket in which this share of a histogram lies."""
    total = metrics[f"{name}_count"]
    for key, value in metrics.items():
        if key.startswith(f"{name}_bucket") and value >= total * share:
            bound = key.split('le="')[1].split('"')[0]
            return float(bound)
    return float("inf")
