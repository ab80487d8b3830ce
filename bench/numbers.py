"""What knowing about numbers costs: reading one, country and type, look-ups in tables of a million rows.

No traffic and no store. Tables are written to a temporary directory, by the same code as `signalbox table
import`, from rows drawn with a fixed seed. Costs are CPU time, so that what else runs hardly counts.

Deliberately not here: whole imports from CSV under traffic (docs/numbers.md has them, as they were tried).
"""

from __future__ import annotations

import io
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.table_rows import Report, Wish, read_rows
from router.numbers import normalise
from router.plans import facts
from router.rates import price
from store.table_build import Builder
from store.tables import Kind, Table, Tables

ROWS = 1_000_000
_SEED = 4
_NUMBERS = 20_000
_ROUNDS = 5
_AT_MS = 1_795_402_800_000
_NETWORKS = 600
_PRICES = 300
_HEADS = {
    "mnp": "number,mccmnc",
    "prefix": "prefix,mccmnc,operator",
    "rates": "prefix,price,currency,valid_from",
}


def knowledge(rows: int = ROWS) -> dict[str, Any]:
    """Microseconds of CPU for each number, and seconds of CPU for each import."""
    draw = random.Random(_SEED)
    mobiles = [f"447{draw.choice('4578')}{draw.randrange(10**8):08d}" for _ in range(_NUMBERS)]
    mixed = [draw.choice(("1", "33", "49", "91", "86")) + str(draw.randrange(10**9, 10**10)) for _ in mobiles]
    found: dict[str, Any] = {
        "normalise_us": _each(normalise, mobiles),
        "national_us": _each(lambda text: normalise(text, "GB"), ["0" + one[2:] for one in mobiles]),
        "country_and_type_us": _each(facts, mobiles),
        "country_and_type_mixed_us": _each(facts, mixed),
    }
    with tempfile.TemporaryDirectory() as directory:
        for kind in ("mnp", "prefix", "rates"):
            found |= _table(Path(directory), kind, rows)
    return found


def _table(directory: Path, kind: Kind, rows: int) -> dict[str, Any]:
    draw = random.Random(_SEED)
    lines = list(_lines(draw, kind, rows))
    begun = time.process_time()
    with Builder(directory, kind, kind, 1) as builder:
        data = io.BytesIO("".join(lines).encode())
        read_rows(io.BufferedReader(data), Wish(kind), builder, Report())
        size = builder.finish("bench").size
    imported_s = time.process_time() - begun
    table = Table(Tables(directory).path(kind, 1))
    numbers = [line.partition(",")[0] for line in draw.sample(lines[1:], min(_NUMBERS, rows))]
    if kind != "mnp":
        numbers = [one.ljust(12, "5") for one in numbers]
    look: Callable[[str], object] = table.of_number if kind == "mnp" else table.of_prefix
    if kind == "rates":
        look = lambda digits: price(table, digits, "", _AT_MS)  # noqa: E731
    found = {
        f"{kind}_us": _each(look, numbers),
        f"{kind}_import_s": imported_s,
        f"{kind}_mib": size / (1 << 20),
    }
    table.close()
    return found


def _lines(draw: random.Random, kind: str, rows: int) -> Iterator[str]:
    yield _HEADS[kind] + "\n"
    for _ in range(rows):
        network = draw.randrange(_NETWORKS)
        if kind == "mnp":
            yield f"44{draw.randrange(7 * 10**9, 8 * 10**9)},234{network % 100:02d}\n"
            continue
        prefix = f"{draw.randrange(1, 10)}{draw.randrange(10 ** draw.randrange(3, 8))}"
        if kind == "prefix":
            yield f"{prefix},234{network % 100:02d},Operator {network}\n"
        else:
            yield f"{prefix},0.{draw.randrange(_PRICES):04d},EUR,2026-0{draw.randrange(1, 9)}-01\n"


def _each(ask: Callable[[str], object], numbers: list[str]) -> float:
    """The median of several rounds, the first of which is thrown away."""
    rounds = []
    for _ in range(_ROUNDS + 1):
        begun = time.process_time()
        for one in numbers:
            ask(one)
        rounds.append((time.process_time() - begun) / len(numbers) * 1e6)
    return sorted(rounds[1:])[_ROUNDS // 2]
