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
from collections.abc import Callable
from typing import Any

import click

from bench import kannel, scenarios
from bench.load_tool import built

Figures = dict[str, Any]


def rounds(count: int, wanted: dict[str, Callable[[], Figures]]) -> dict[str, list[Figures]]:
    """Every scenario once in each round, in turn."""
    found: dict[str, list[Figures]] = {name: [] for name in wanted}
    for number in range(count):
        for name, scenario in wanted.items():
            figures = scenario()
            found[name].append(figures)
            print(f"round {number + 1} {name}: {_shown(figures)}", file=sys.stderr, flush=True)
    return found


def ratio(found: dict[str, list[Figures]], one: str, other: str) -> Figures | None:
    """The ratio of two rates, round by round: median, least, most."""
    if not found.get(one) or not found.get(other):
        return None
    each = [a["per_s"] / b["per_s"] for a, b in zip(found[one], found[other], strict=True) if b["per_s"]]
    if not each:
        return None
    return {"median": statistics.median(each), "least": min(each), "most": max(each)}


def _shown(figures: Figures) -> str:
    return ", ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in figures.items())


def table(found: dict[str, list[Figures]], ratios: dict[str, Figures | None]) -> str:
    """Markdown, for people and for docs/benchmarks.md."""
    lines = ["| scenario | per second: median | least | most |", "| --- | --- | --- | --- |"]
    for name, each in found.items():
        rates = [figures["per_s"] for figures in each if "per_s" in figures]
        if rates:
            lines.append(
                f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} |"
            )
    lines += ["", "| ratio | median | least | most |", "| --- | --- | --- | --- |"]
    for name, one in ratios.items():
        if one is not None:
            lines.append(f"| {name} | {one['median']:.2f} | {one['least']:.2f} | {one['most']:.2f} |")
    return "\n".join(lines)


@click.command("bench")
@click.option("--rounds", "count", default=5, show_default=True)
@click.option("--messages", default=40_000, show_default=True, help="In each scenario of each round.")
@click.option("--backlog", default=1_000_000, show_default=True, help="0 leaves the backlog out.")
@click.option("--throttle/--no-throttle", default=True, help="Limits of 10, 100 and 1,000 a second.")
def command(count: int, messages: int, backlog: int, throttle: bool) -> int:
    tool = built()
    wanted: dict[str, Callable[[], Figures]] = {
        "floor": lambda: scenarios.floor(tool, messages * 2),
        "floor, 32 in flight": lambda: scenarios.floor(tool, messages, 32),
        "http submit": lambda: scenarios.http_submit(tool, messages),
        "http batch of 100": lambda: scenarios.http_batch(tool, messages * 4),
        "full cycle, no callbacks": lambda: scenarios.full_cycle_without_callbacks(tool, messages),
        "full cycle, one callback each": lambda: scenarios.full_cycle(tool, messages, batch=1),
        "full cycle, batched callbacks": lambda: scenarios.full_cycle(tool, messages, batch=100),
    }
    if kannel.installed():
        wanted["kannel submit"] = lambda: scenarios.kannel_submit(tool, messages // 2)
        wanted["kannel full cycle"] = lambda: scenarios.kannel_full(tool, messages // 4)
    found = rounds(count, wanted)
    pairs = (
        ("http submit", "floor, 32 in flight"),
        ("http submit", "floor"),
        ("http submit", "kannel submit"),
        ("http batch of 100", "floor"),
        ("full cycle, one callback each", "kannel full cycle"),
        ("full cycle, batched callbacks", "kannel full cycle"),
        ("full cycle, no callbacks", "floor"),
    )
    ratios = {f"{one} / {other}": ratio(found, one, other) for one, other in pairs}
    cycle = "full cycle, no callbacks"
    closed = statistics.median(figures["per_s"] for figures in found[cycle])
    extra: Figures = {"overload": scenarios.overload(tool, messages * 2, closed)}
    extra |= {"half rate": scenarios.half_rate(tool, messages)}
    if backlog:
        extra["backlog"] = scenarios.backlog(tool, backlog)
    if throttle:
        extra["throttle"] = [scenarios.throttle(tool, tps, 10) for tps in (10, 100, 1000)]
    print(table(found, ratios))
    print()
    print(json.dumps({"machine": platform.platform(), "rounds": found, "ratios": ratios, **extra}))
    return 0


def main(arguments: list[str]) -> int | None:
    """The command's body, for gateway.cli.tools."""
    return int(command.main(arguments, prog_name="signalbox bench", standalone_mode=False) or 0)
