"""What routing costs traffic: a large table on the whole cycle, the import of a million rows, a reload.

Each scenario goes with and without, in turn, because machines drift.

Deliberately not here: what one decision costs (routing.py), processes (rig.py).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.rig import Carrier, Gateway, final_json, gateway, scratch, smsc
from bench.scenarios_smpp import ONE, ONE_CARRIER, customers, submitted, told

Figures = dict[str, Any]

RULES, PREFIXES, CARRIERS = 1_000, 100_000, 50
_SEED = 4
_BEGINNINGS = ("44", "49", "33", "34", "39", "1", "91", "55", "27", "61")
_STEADY_PER_S = 1_000


def large_table(prefixes: int = PREFIXES) -> str:
    """RULES routes of every kind as TOML, PREFIXES spread over three quarters of them, over 49 further
    carriers. None takes what the load tool's customer sends, so that all is asked about each message.
    """
    draw = random.Random(_SEED)
    drawn: set[str] = set()
    while len(drawn) < prefixes:
        drawn.add(draw.choice(_BEGINNINGS) + "".join(draw.choices("0123456789", k=draw.randint(3, 7))))
    ordered = sorted(drawn)
    draw.shuffle(ordered)
    with_prefixes = RULES * 3 // 4
    each = -(-len(ordered) // with_prefixes)
    rules = []
    for index in range(RULES):
        asked = [_condition(index)]
        if mine := ordered[index * each : (index + 1) * each] if index < with_prefixes else []:
            asked.append("prefix = [" + ", ".join(f'"{prefix}"' for prefix in mine) + "]")
        first, second = (f"far{(index + step) % (CARRIERS - 1)}" for step in (0, 1))
        rules.append(
            f'[[routes]]\nname = "rule{index}"\nlane = ["{first}", "{second}"]\n'
            f"match = {{ {', '.join(asked)} }}\n"
        )
    draw.shuffle(rules)
    return "".join(rules)


def _condition(index: int) -> str:
    return (
        f'account = ["other{index}"]',
        f'sender = ["S{index}"], class = ["otp"]',
        f'text = ["code {index}*"], group = ["g{index % 20}"]',
        f'hours = ["0{index % 8}:00-1{index % 9}:00"], zone = "Europe/London", group = ["h{index}"]',
        f'tag = ["t{index}"]',
        f'mcc_mnc = ["23415"], account = ["further{index}"]',
        f'country = ["GB"], sender = ["X{index}*"]',
        f'not = {{ account = ["{ONE.names[0]}"] }}, class = ["bulk"], group = ["z{index}"]',
    )[index % 8]


FAR = tuple(
    Carrier(f"far{n}", system_id=f"f{n}", sessions=1, prefix=f"99{n:02}") for n in range(CARRIERS - 1)
)


def with_a_large_table(tool: Path, count: int, rounds: int) -> Figures:
    """The headline with RULES rules, PREFIXES prefixes and CARRIERS carriers, and with one default route."""
    small: list[Figures] = []
    large: list[Figures] = []
    table = large_table()
    for _ in range(rounds):
        for carriers, more, found in ((ONE_CARRIER, "", small), ((*ONE_CARRIER, *FAR), table, large)):
            with scratch() as path, smsc(tool), gateway(path, carriers, groups=[ONE], more=more) as signalbox:
                submitted(tool, ONE, "--n", count // 20)  # the links are up
                before = signalbox.cpu_s()
                figures = submitted(tool, ONE, "--n", count)
                found.append({**figures, "cpu_us": (signalbox.cpu_s() - before) / count * 1e6})
    ratios = [one["per_s"] / other["per_s"] for one, other in zip(large, small, strict=True)]
    return {
        "per_s": statistics.median(figures["per_s"] for figures in large),
        "per_s_one_route": statistics.median(figures["per_s"] for figures in small),
        "cpu_us": statistics.median(figures["cpu_us"] for figures in large),
        "cpu_us_one_route": statistics.median(figures["cpu_us"] for figures in small),
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "lost": sum(figures["lost"] for figures in large),
    }


def beside_an_import(tool: Path, rows: int, rounds: int) -> Figures:
    """The slowest answer of steady traffic while a rate card of `rows` rows is imported, and without."""
    with scratch() as path, smsc(tool), gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox:
        card = path / "card.csv"
        _write_card(card, rows)
        verb = ("table", "import", "rates", "card", card, "--currency", "EUR")
        return {"rows": rows, **_beside(tool, signalbox, lambda: verb, rounds, within_s=60)}


def beside_a_reload(tool: Path, rounds: int) -> Figures:
    """The same while a large table replaces another one."""
    carriers = (*ONE_CARRIER, *FAR)
    with (
        scratch() as path,
        smsc(tool),
        gateway(path, carriers, groups=[ONE], more=large_table()) as signalbox,
    ):
        config = path / "gateway.toml"
        text = config.read_text()

        def verb() -> tuple[object, ...]:
            was = config.read_text()
            config.write_text(text if was != text else text.replace('sender = ["S', 'sender = ["Q'))
            return ("reload", "--reason", "measured")

        return _beside(tool, signalbox, verb, rounds, within_s=30)


def _beside(
    tool: Path,
    signalbox: Gateway,
    verb: Callable[[], tuple[object, ...]],
    rounds: int,
    within_s: float,
) -> Figures:
    """In turn: a `signalbox` verb under steady traffic, and nothing but the traffic for as long."""
    alone: list[Figures] = []
    beside: list[Figures] = []
    took: list[float] = []
    load = ("--rate", _STEADY_PER_S, "--duration", within_s)
    for _ in range(rounds):
        with customers(tool, ONE, *load) as process:
            time.sleep(2)
            started = time.monotonic()
            signalbox.command(*map(str, verb()))
            took.append(time.monotonic() - started)
            beside.append(told(final_json(process, within_s + 60)))
        alone.append(submitted(tool, ONE, *load))
    return {
        "offered_per_s": _STEADY_PER_S,
        "seconds": statistics.median(took),
        "max_ms": [figures["max_ms"] for figures in beside],
        "max_ms_alone": [figures["max_ms"] for figures in alone],
        "p99_ms": statistics.median(figures["p99_ms"] for figures in beside),
        "p99_ms_alone": statistics.median(figures["p99_ms"] for figures in alone),
        "lost": sum(figures["lost"] for figures in beside),
    }


def _write_card(path: Path, rows: int) -> None:
    draw = random.Random(_SEED)
    with path.open("w") as file:
        file.write("prefix,price\n")
        for number in range(rows):
            prefix = f"{_BEGINNINGS[number % len(_BEGINNINGS)]}{number // len(_BEGINNINGS):06}"
            file.write(f"{prefix},0.{draw.randrange(1, 1000):04}\n")
