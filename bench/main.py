"""`signalbox bench`: rates as ratios measured in the same run, medians of alternating rounds.

Machines drift by a factor of two within an hour, so each round measures the floor, Signalbox and Kannel one
after the other and every ratio is taken inside its round. Prints a table, then JSON.

Deliberately not here: the scenarios, gating (figures are reported).
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench import (
    kannel,
    numbers,
    routing,
    scenarios,
    scenarios_backlog,
    scenarios_http,
    scenarios_noc,
    scenarios_routing,
    scenarios_smpp,
    searching,
)
from bench.load_tool import built

Figures = dict[str, Any]
Found = dict[str, list[Figures]]
Scenarios = dict[str, Callable[[], Figures]]

FLOOR, FLOOR_32 = "floor", "floor, 32 in flight"
CYCLE = "full cycle, no callbacks"
SUBMIT_200 = "http submit, 200 in flight"
SENDSMS = "kannel's sendsms here"
_OTPS = 60
HEADLINE, MANY = "smpp, one bind", "smpp, 50 customers, 10 carriers"
ROOMY = "smpp, 50 customers, 10 carriers with room"
# Rates to be compared; below, latencies and CPU a message, which other programs on the machine disturb less.
PAIRS = (
    ("http submit", FLOOR_32),
    ("http submit", FLOOR),
    (SUBMIT_200, FLOOR),
    ("http submit", "kannel submit"),
    (SENDSMS, "kannel submit"),
    ("http batch of 100", FLOOR),
    ("full cycle, one callback each", "kannel full cycle"),
    ("full cycle, batched callbacks", "kannel full cycle"),
    (CYCLE, FLOOR),
    (HEADLINE, FLOOR),
    (MANY, FLOOR),
    (ROOMY, FLOOR),
)
COST_PAIRS = (
    (HEADLINE, FLOOR, "p99_ms"),
    (HEADLINE, FLOOR, "cpu_us"),
    (MANY, FLOOR, "cpu_us"),
    (ROOMY, FLOOR, "cpu_us"),
)


def rounds(count: int, wanted: Scenarios) -> Found:
    """Every scenario once in each round, in turn."""
    found: Found = {name: [] for name in wanted}
    for number in range(count):
        for name, scenario in wanted.items():
            found[name].append(shown(f"round {number + 1} {name}", scenario))
    return found


def shown(name: str, scenario: Callable[[], Figures]) -> Figures:
    """Its figures, printed as they come."""
    figures = scenario()
    texts = (f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
    print(f"{name}: {', '.join(texts)}", file=sys.stderr, flush=True)
    return figures


def ratio(found: Found, one: str, other: str, figure: str = "per_s") -> Figures | None:
    """The ratio of two scenarios' figures, round by round: median, least, most."""
    if not found.get(one) or not found.get(other):
        return None
    each = [a[figure] / b[figure] for a, b in zip(found[one], found[other], strict=True) if b[figure]]
    if not each:
        return None
    return {"median": statistics.median(each), "least": min(each), "most": max(each)}


def ratios_of(found: Found) -> dict[str, Figures]:
    """Every pair of which both were measured."""
    rates = {f"{one} / {other}": ratio(found, one, other) for one, other in PAIRS}
    costs = {f"{one} / {other}, {cost}": ratio(found, one, other, cost) for one, other, cost in COST_PAIRS}
    return {name: one for name, one in (rates | costs).items() if one is not None}


def table(found: Found, ratios: dict[str, Figures]) -> str:
    """Markdown, for people and for docs/benchmarks.md."""
    lines = ["| scenario | per second: median | least | most |", "| --- | --- | --- | --- |"]
    for name, each in found.items():
        rates = [figures["per_s"] for figures in each if "per_s" in figures]
        if rates:
            lines.append(
                f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |"
            )
    lines += ["", "| ratio | median | least | most |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {one['median']:.2f} | {one['least']:.2f} | {one['most']:.2f} |"
        for name, one in ratios.items()
    ]
    return "\n".join(lines)


def wanted_over_http(tool: Path, messages: int) -> Scenarios:
    wanted: Scenarios = {
        FLOOR: lambda: scenarios.floor(tool, messages * 2),
        FLOOR_32: lambda: scenarios.floor(tool, messages, 32),
        "http submit": lambda: scenarios.http_submit(tool, messages),
        SUBMIT_200: lambda: scenarios.http_submit(tool, messages, 200),
        "http batch of 100": lambda: scenarios.http_batch(tool, messages * 4),
        CYCLE: lambda: scenarios.full_cycle_without_callbacks(tool, messages),
        SENDSMS: lambda: scenarios_http.sendsms(tool, messages),
        "full cycle, one callback each": lambda: scenarios.full_cycle(tool, messages, batch=1),
        "full cycle, batched callbacks": lambda: scenarios.full_cycle(tool, messages, batch=100),
    }
    if kannel.installed():
        wanted["kannel submit"] = lambda: scenarios.kannel_submit(tool, messages // 2)
        wanted["kannel full cycle"] = lambda: scenarios.kannel_full(tool, messages // 4)
    return wanted


def wanted_over_smpp(tool: Path, messages: int) -> Scenarios:
    return {
        FLOOR: lambda: scenarios.floor(tool, messages * 2),
        HEADLINE: lambda: scenarios_smpp.headline(tool, messages * 2),
        MANY: lambda: scenarios_smpp.many(tool, messages * 2),
        ROOMY: lambda: scenarios_smpp.many(tool, messages * 2, scenarios_smpp.ROOMY_CARRIERS),
    }


def further_over_http(tool: Path, messages: int, backlog: int, throttle: bool, found: Found) -> Scenarios:
    """What is measured once, by name."""
    closed_per_s = median(found, CYCLE)
    further: Scenarios = {
        "overload": lambda: scenarios.overload(tool, messages * 2, closed_per_s),
        "half rate": lambda: scenarios.half_rate(tool, messages),
        "10,000 idle connections": lambda: scenarios_http.idle_connections(10_000, 20),
        "1,000 slow clients": lambda: scenarios_http.slow_clients(
            tool, 1_000, median(found, "http submit") / 4, 3
        ),
    }
    if backlog:
        further["backlog"] = lambda: scenarios.backlog(tool, backlog)
    if throttle:
        for tps in (10, 100, 1000):
            further[f"throttle at {tps}"] = partial(scenarios.throttle, tool, tps, 10)
    return further


def further_over_smpp(tool: Path, messages: int, stored: int, found: Found) -> Scenarios:
    """What is measured once, by name."""
    closed_per_s = median(found, HEADLINE)
    seconds = max(5.0, messages / 4000)
    further: Scenarios = {
        "smpp, a tenth of the load": lambda: scenarios_smpp.tenth(tool, messages // 4, closed_per_s),
        "smpp, others in trouble": lambda: scenarios_smpp.troubled(tool, seconds, 3),
        "smpp, 1,000 idle sessions": lambda: scenarios_smpp.idle_sessions(tool, 1000, 60),
        "smpp, 5,000 unbound sockets": lambda: scenarios_smpp.unbound(tool, 5000, closed_per_s / 4, 20),
    }
    if stored:
        further["smpp, messages stored"] = lambda: scenarios_smpp.stored(tool, messages * 2, stored, 3)
    return further


def of_tables(messages: int, count: int) -> Scenarios:
    """What traffic notices of large tables, by name."""
    tool = built()
    return {
        "a large table": lambda: scenarios_routing.with_a_large_table(tool, messages * 2, count),
        "beside an import": lambda: scenarios_routing.beside_an_import(tool, 1_000_000, min(count, 3)),
        "beside a reload": lambda: scenarios_routing.beside_a_reload(tool, count),
    }


def median(found: Found, name: str) -> float:
    return float(statistics.median(figures["per_s"] for figures in found[name]))


@click.command("bench")
@click.option(
    "--part",
    "parts",
    type=click.Choice(("http", "smpp", "routing", "tables", "numbers", "search", "otp", "noc")),
    multiple=True,
    default=("http", "smpp"),
    show_default=True,
    help="How customers come in; large tables beside traffic; an OTP a second beside --backlog of another "
    "account; with consoles and a trace watching; routing, numbers or search alone. Repeatable.",
)
@click.option("--rounds", "count", default=5, show_default=True)
@click.option("--messages", default=40_000, show_default=True, help="In each scenario of each round.")
@click.option("--backlog", default=1_000_000, show_default=True, help="0 leaves the backlog out.")
@click.option("--stored", default=2_000_000, show_default=True, help="0 leaves the full store out.")
@click.option("--throttle/--no-throttle", default=True, help="Limits of 10, 100 and 1,000 a second.")
@click.option(
    "--soak",
    type=float,
    is_flag=False,
    flag_value=3600.0,
    metavar="[SECONDS]",
    help="Only steady SMPP load, for an hour or so long.",
)
@click.option("--soak-rate", default=0.0, help="Messages a second of it.  [default: half of the most]")
def command(
    parts: Sequence[str],
    count: int,
    messages: int,
    backlog: int,
    stored: int,
    throttle: bool,
    soak: float | None,
    soak_rate: float,
) -> int:
    """Measure this machine: rates beside a bare loop's and Kannel's, then what is measured once."""
    result: Figures = {"machine": platform.platform()}
    if "routing" in parts:
        result["routing"] = shown("routing", routing.decision)
    if "numbers" in parts:
        result["numbers"] = shown("numbers", numbers.knowledge)
    if "tables" in parts:
        result["tables"] = {
            name: shown(name, measure) for name, measure in of_tables(messages, count).items()
        }
    if "search" in parts:
        result["search"] = shown("search", lambda: searching.search(messages))
    if "otp" in parts:
        beside = partial(scenarios_backlog.otp_beside_a_backlog, built(), backlog, _OTPS)
        result["otp"] = shown("otp beside a backlog", beside)
    if "noc" in parts:
        result["noc"] = shown("noc", lambda: scenarios_noc.watched(built(), messages * 2, count))
    if set(parts) <= {"routing", "numbers", "tables", "search", "otp", "noc"}:
        print(json.dumps(result))
        return 0
    tool = built()
    if soak is not None:
        result["soak"] = shown("soak", lambda: scenarios_smpp.soak(tool, soak, soak_rate))
        print(json.dumps(result))
        return 0
    wanted: Scenarios = {}
    if "http" in parts:
        wanted |= wanted_over_http(tool, messages)
    if "smpp" in parts:
        wanted |= wanted_over_smpp(tool, messages)
    found = rounds(count, wanted)
    further: Scenarios = {}
    if "http" in parts:
        further |= further_over_http(tool, messages, backlog, throttle, found)
    if "smpp" in parts:
        further |= further_over_smpp(tool, messages, stored, found)
    ratios = ratios_of(found)
    once = {name: shown(name, scenario) for name, scenario in further.items()}
    print(table(found, ratios))
    print()
    print(json.dumps({**result, "rounds": found, "ratios": ratios, "once": once}))
    return 0


def main(arguments: list[str]) -> int | None:
    """The command's body, for gateway.cli.tools."""
    return int(command.main(arguments, prog_name="signalbox bench", standalone_mode=False) or 0)
