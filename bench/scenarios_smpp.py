"""Customers who bind to Signalbox over SMPP: each scenario starts its own processes and returns figures.

Rates are of the full cycle: submit_sm, fsync, carrier, receipt, fsync, deliver_sm answered by the customer.
Every figure of loss or repetition is exact, by message id (bench/load/ids.h).

Deliberately not here: rounds, medians and ratios over rounds (main.py), processes (rig.py), the floor.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.customers import PASSWORD, Customers
from bench.rig import (
    SMPP,
    SMSC,
    Carrier,
    Gateway,
    final_json,
    gateway,
    last_json,
    post_load,
    running,
    scratch,
    smsc,
)
from bench.scenarios import quantile

Figures = dict[str, Any]

ONE = Customers(count=1, binds=1, window=500)
ONE_CARRIER = (Carrier(sessions=1, window=500),)
MANY = Customers(count=50, binds=2, window=50)  # 5,000 in flight


def ten_carriers(window: int) -> tuple[Carrier, ...]:
    """2 binds each, of such a window: 10,000 in flight with 500, 2,000 with 100."""
    return tuple(Carrier(f"c{n}", system_id=f"u{n}", sessions=2, window=window) for n in range(10))


TEN_CARRIERS = ten_carriers(100)  # less than the customers have in flight: most messages wait in a queue
ROOMY_CARRIERS = ten_carriers(500)  # as with one bind each, where nobody's window is smaller than the others'
COMMITS = "signalbox_store_commit_duration_seconds"


@contextmanager
def customers(
    tool: Path, group: Customers, *options: object, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The group bound to the gateway and submitting."""
    with running(
        tool, "esme", "--port", SMPP, "--system-id", group.pattern, "--password", PASSWORD,
        "--customers", group.count, "--binds", group.binds, "--window", group.window, *options, log=log,
    ) as process:  # fmt: skip
        yield process


def submitted(tool: Path, group: Customers, *options: object, within_s: float = 300) -> Figures:
    """The group's run to its end."""
    with customers(tool, group, *options) as process:
        return told(final_json(process, within_s))


def told(found: Figures) -> Figures:
    """What is reported of an `esme` run."""
    names = ("lost", "duplicated", "unknown", "ids_differ", "refused", "unanswered", "closed")
    return {
        "per_s": found["e2e_per_s"],
        "submit_per_s": found["submit_per_s"],
        "p50_ms": found["latency"]["p50_ms"],
        "p99_ms": found["latency"]["p99_ms"],
        "max_ms": found["latency"]["max_ms"],
        **{name: found[name] for name in names},
    }


def headline(tool: Path, count: int) -> Figures:
    """One customer's bind with 500 in flight, one bind at one carrier: to be set beside the floor's."""
    with scratch() as path, smsc(tool), gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox:
        before = signalbox.cpu_s()
        found = submitted(tool, ONE, "--n", count)
        return {**found, "cpu_us": (signalbox.cpu_s() - before) / count * 1e6}


def many(tool: Path, count: int, carriers: tuple[Carrier, ...] = TEN_CARRIERS) -> Figures:
    """50 customers with 2 binds each, 10 carriers with 2 binds each; how far the customers' shares differ."""
    with scratch() as path, smsc(tool), gateway(path, carriers, groups=[MANY]) as signalbox:
        before = signalbox.cpu_s()
        with customers(tool, MANY, "--n", count) as process:
            found = final_json(process, 300)
        return {
            **told(found),
            "cpu_us": (signalbox.cpu_s() - before) / count * 1e6,
            "least_of_a_customer": found["least_of_a_customer"],
            "most_of_a_customer": found["most_of_a_customer"],
        }


def tenth(tool: Path, count: int, closed_per_s: float) -> Figures:
    """p99 of a submit at a tenth of the load, beside the p99 of a commit in the same run."""
    rate = closed_per_s / 10
    with scratch() as path, smsc(tool), gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox:
        found = submitted(tool, ONE, "--n", count, "--rate", rate)
        commit_p99 = quantile(signalbox.metrics(), COMMITS, 0.99)
    return {**found, "offered_per_s": rate, "commit_p99_ms_at_most": commit_p99 * 1e3}


def stored(tool: Path, count: int, messages: int, rounds: int) -> Figures:
    """The headline with so many messages in the store, and without, in turn."""
    hot = "[store]\narchive_after_s = 86400\n"  # none of them leaves for the archive meanwhile
    full: list[Figures] = []
    empty: list[Figures] = []
    with scratch() as path, smsc(tool):
        with gateway(path, ONE_CARRIER, groups=[ONE], more=hot) as signalbox:
            post_load(tool, signalbox.key, messages // 100, connections=8, batch=100, within_s=1800)
            signalbox.wait_final(messages, within_s=1800)
        for _ in range(rounds):
            with scratch() as fresh, gateway(fresh, ONE_CARRIER, groups=[ONE]):
                empty.append(submitted(tool, ONE, "--n", count))
            with gateway(path, ONE_CARRIER, groups=[ONE], more=hot):
                full.append(submitted(tool, ONE, "--n", count))
    ratios = [one["per_s"] / other["per_s"] for one, other in zip(full, empty, strict=True)]
    return {
        "messages": messages,
        "per_s": statistics.median(figures["per_s"] for figures in full),
        "p99_ms": statistics.median(figures["p99_ms"] for figures in full),
        "per_s_empty": statistics.median(figures["per_s"] for figures in empty),
        "p99_ms_empty": statistics.median(figures["p99_ms"] for figures in empty),
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "lost": sum(figures["lost"] for figures in full),
        "duplicated": sum(figures["duplicated"] for figures in full),
    }


# --- others' trouble -------------------------------------------------------------------------------------

OTHERS = Customers("other", count=8, binds=2, window=50)
STALLED = Customers("stall", count=1, binds=2, window=100)
TO_SILENT = Customers("silent", count=1, binds=1, window=100)
TO_SLOW = Customers("slow", count=1, binds=1, window=100)
GROUPS = (OTHERS, STALLED, TO_SILENT, TO_SLOW)
SILENT_PREFIX, SLOW_PREFIX = "44770091", "44770092"
TROUBLED_CARRIERS = (
    Carrier("good", sessions=2),
    Carrier("silent", port=SMSC + 100, prefix=SILENT_PREFIX),
    Carrier("slow", port=SMSC + 101, prefix=SLOW_PREFIX),
)
TROUBLE_PER_S = 50  # little, so that what the others lose is not just its share of the CPU


def troubled(tool: Path, seconds: float, rounds: int) -> Figures:
    """What 8 customers lose while another one does not read, one's carrier is silent and one's throttles.

    In turn without and with the trouble; the others send as fast as they can.
    """
    alone: list[Figures] = []
    beside: list[Figures] = []
    with (
        scratch() as path,
        smsc(tool),
        smsc(tool, "--silent-after", 1, port=SMSC + 100),
        smsc(tool, "--throttle", 20, port=SMSC + 101),
        gateway(path, TROUBLED_CARRIERS, groups=GROUPS),
    ):
        for _ in range(rounds):
            alone.append(submitted(tool, OTHERS, "--duration", seconds))
            with trouble(tool, seconds * 10):
                time.sleep(1)
                beside.append(submitted(tool, OTHERS, "--duration", seconds))
    shares = [one["per_s"] / other["per_s"] for one, other in zip(beside, alone, strict=True)]
    return {
        "per_s_alone": statistics.median(figures["per_s"] for figures in alone),
        "per_s": statistics.median(figures["per_s"] for figures in beside),
        "p99_ms_alone": statistics.median(figures["p99_ms"] for figures in alone),
        "p99_ms": statistics.median(figures["p99_ms"] for figures in beside),
        "share_kept": {"median": statistics.median(shares), "least": min(shares), "most": max(shares)},
        "lost": sum(figures["lost"] for figures in beside),
        "duplicated": sum(figures["duplicated"] for figures in beside),
    }


@contextmanager
def trouble(tool: Path, at_most_s: float) -> Iterator[None]:
    """A customer that does not read, and two whose carriers do not keep up with what they submit."""
    with ExitStack() as stack:
        stack.enter_context(customers(tool, STALLED, "--stall", STALLED.count, "--duration", at_most_s))
        for group, prefix in ((TO_SILENT, SILENT_PREFIX), (TO_SLOW, SLOW_PREFIX)):
            flow = ("--prefix", prefix, "--rate", TROUBLE_PER_S, "--duration", at_most_s)
            stack.enter_context(customers(tool, group, *flow))
        yield


# --- idle sessions and attackers -------------------------------------------------------------------------


@contextmanager
def idle(tool: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """Sockets that do nothing, once all of them are there. Raises RuntimeError when some were refused."""
    with running(tool, "idle", "--port", SMPP, *options) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline() or "{}")
        if ready.get("not_bound", 1):
            raise RuntimeError(f"not every idle session was let in: {ready}")
        yield process


def idle_sessions(tool: Path, sessions: int, seconds: float) -> Figures:
    """Bound sessions without traffic: memory of each, and a core's share for all, enquire_link included."""
    group = Customers("idle", count=max(1, sessions // 10), binds=10)
    options = ("--system-id", group.pattern, "--password", PASSWORD, "--customers", group.count)
    with scratch() as path, smsc(tool), gateway(path, groups=[group]) as signalbox:
        time.sleep(2)
        before = signalbox.anonymous_memory_mib()
        with idle(tool, "--sessions", sessions, *options) as process:
            settled = signalbox.anonymous_memory_mib()
            cpu_s = signalbox.cpu_s()
            time.sleep(seconds)
            cpu_percent = (signalbox.cpu_s() - cpu_s) / seconds * 100
            after = signalbox.anonymous_memory_mib()
            ended = last_json(process)
    return {
        "sessions": sessions,
        "rss_anon_mib_without": before,
        "rss_anon_mib": after,
        "rss_anon_kib_each": (after - before) * 1024 / sessions,
        "rss_anon_mib_growth_while_idle": after - settled,
        "cpu_percent": cpu_percent,
        "enquire_links": ended["enquire_links"],
        "ended": ended["ended"],
        "seconds": seconds,
    }


def unbound(tool: Path, sockets: int, rate_per_s: float, seconds: float) -> Figures:
    """What a customer notices of sockets from 100 addresses that never bind and always come back."""
    load = ("--rate", rate_per_s, "--duration", seconds)
    with scratch() as path, smsc(tool), gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox:
        alone = submitted(tool, ONE, *load)
        before = signalbox.anonymous_memory_mib()
        with idle(tool, "--unbound", sockets, "--addresses", 100, "--redial") as process:
            beside = submitted(tool, ONE, *load)
            memory = signalbox.anonymous_memory_mib()
            attack = last_json(process)
    return {
        "sockets": sockets,
        "held_at_the_end": attack["unbound"],
        "redialled": attack["redialled"],
        "offered_per_s": rate_per_s,
        "p99_ms_alone": alone["p99_ms"],
        "p99_ms": beside["p99_ms"],
        "max_ms_alone": alone["max_ms"],
        "max_ms": beside["max_ms"],
        "per_s": beside["per_s"],
        "lost": beside["lost"],
        "rss_anon_mib_alone": before,
        "rss_anon_mib": memory,
    }


# --- soak ------------------------------------------------------------------------------------------------

SOAK_CUSTOMERS = Customers(count=20, binds=2, window=50)
SOAK_CARRIERS = tuple(Carrier(f"c{n}", system_id=f"u{n}", sessions=2, window=100) for n in range(4))
CALIBRATION = 50_000  # messages


def soak(tool: Path, seconds: float, rate_per_s: float = 0) -> Figures:
    """Hours of steady load: memory must stay flat, nothing may be lost or told twice.

    20 customers with 2 binds each, 4 carriers with 2 binds each whose receipts take a second. `rate_per_s` 0:
    half of what a closed loop reached just before.
    """
    with (
        scratch() as path,
        smsc(tool, "--dlr-delay", 1000),
        gateway(path, SOAK_CARRIERS, groups=[SOAK_CUSTOMERS]) as signalbox,
    ):
        log = path / "soak.log"
        closed = submitted(tool, SOAK_CUSTOMERS, "--n", CALIBRATION, "--wait", 60)
        rate = rate_per_s or closed["per_s"] / 2
        memory = Memory(signalbox)
        cpu_s = signalbox.cpu_s()
        load = ("--rate", rate, "--duration", seconds, "--wait", 60)
        with customers(tool, SOAK_CUSTOMERS, *load, log=log) as process:
            found = final_json(process, seconds + 300, memory.sample)
        cpu_percent = (signalbox.cpu_s() - cpu_s) / seconds * 100
        left = conservation(signalbox)
        series = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {
        "seconds": seconds,
        "closed_per_s": closed["per_s"],
        "offered_per_s": rate,
        "sent": found["sent"],
        **told(found),
        "cpu_percent": cpu_percent,
        **memory.figures(),
        **over_time(series),
        **left,
    }


class Memory:
    """RssAnon of the gateway, once a second; a line on stderr once a minute."""

    def __init__(self, signalbox: Gateway) -> None:
        self._signalbox = signalbox
        self._started = time.monotonic()
        self._shown = 0
        self.samples: list[tuple[float, float]] = []

    def sample(self) -> None:
        at = time.monotonic() - self._started
        self.samples.append((at, self._signalbox.anonymous_memory_mib()))
        if at // 60 > self._shown:
            self._shown = int(at // 60)
            print(f"{self._shown} min: RssAnon {self.samples[-1][1]:.1f} MiB", file=sys.stderr, flush=True)

    def figures(self) -> Figures:
        """Medians of the second and the last tenth (the first one warms up), the most, and the trend."""
        steady = self.samples[len(self.samples) // 10 :]
        tenth = max(1, len(self.samples) // 10)
        values = [value for _, value in steady]
        slope = statistics.linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 1 else 0.0
        first, last = statistics.median(values[:tenth]), statistics.median(values[-tenth:])
        return {
            "rss_anon_mib_first": first,
            "rss_anon_mib_last": last,
            "rss_anon_mib_most": max(values),
            "rss_anon_mib_an_hour": slope * 3600,
        }


def over_time(series: list[Figures]) -> Figures:
    """Of the load tool's seconds: the worst, and whether the last tenth was slower than the first."""
    answered = [second["answered"] for second in series] or [0]
    p99 = [second["p99_ms"] for second in series] or [0.0]
    tenth = max(1, len(p99) // 10)
    return {
        "p99_ms_worst_second": max(p99),
        "p99_ms_first_tenth": statistics.median(p99[:tenth]),
        "p99_ms_last_tenth": statistics.median(p99[-tenth:]),
        "seconds_without_an_answer": sum(not count for count in answered),
    }


def conservation(signalbox: Gateway) -> Figures:
    """Whether accepted is still the sum of all states, and how many messages are not final."""
    name = "signalbox_messages_by_state{state="
    states = {key: value for key, value in signalbox.metrics().items() if key.startswith(name)}
    accepted = states.pop(f'{name}"accepted"}}')
    final = states[f'{name}"final"}}']
    return {"not_final": accepted - final, "conserved": accepted == sum(states.values())}
