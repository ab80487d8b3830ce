"""How long one routing decision takes: a large mixed table, and the small ones that must stay as cheap as
they are.

No traffic and no store: `router.routes` alone, in one process, on numbers drawn with a fixed seed. Each
figure is the median of several rounds over the same messages, in CPU time, so that what else runs does not
count.

Deliberately not here: what a table costs a whole cycle (scenarios).
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from router.routes import Route, RouteTable
from router.rules import Facts, Match, Window

RULES, PREFIXES, CARRIERS = 1_000, 100_000, 50
_ROUNDS = 5
_SEED = 4
_AT_MS = 1_795_402_800_000

_COUNTRIES = ("GB", "DE", "FR", "ES", "IT", "US", "IN", "BR", "ZA", "AU")
_BEGINNINGS = ("44", "49", "33", "34", "39", "1", "91", "55", "27", "61")


class Book:
    """router.knowledge.Knowledge by the beginning of a number: as quick as a look-up can be."""

    def country(self, digits: str) -> str:
        return next((c for c, b in zip(_COUNTRIES, _BEGINNINGS, strict=True) if digits.startswith(b)), "")

    def number_type(self, digits: str) -> str:
        return "mobile" if digits[-1] < "5" else "fixed"

    def mcc_mnc(self, digits: str) -> str:
        return f"2{digits[:2]:0<2}{digits[-2:]}"

    def ported(self, digits: str) -> bool:
        return digits[-1] == "0"


def mixed(rules: int = RULES, prefixes: int = PREFIXES, carriers: int = CARRIERS) -> RouteTable:
    """Rules of every kind, the last one taking the rest; all prefixes spread over three quarters of the
    rules.
    """
    draw = random.Random(_SEED)
    zone = ZoneInfo("Europe/London")
    with_prefixes = max(1, rules * 3 // 4)
    drawn = sorted({_number(draw)[: draw.randint(4, 9)] for _ in range(prefixes * 2)})
    draw.shuffle(drawn)
    each = prefixes // with_prefixes
    made = []
    for index in range(rules - 1):
        match: dict[str, Any] = {}
        if index < with_prefixes:
            match["prefixes"] = tuple(drawn[index * each : (index + 1) * each])
        match |= _condition(draw, index, zone)
        made.append(Route(f"rule-{index}", index % carriers + 1, Match(**match)))
    draw.shuffle(made)
    return RouteTable([*made, Route("rest", 1)], Book())


def _condition(draw: random.Random, index: int, zone: ZoneInfo) -> dict[str, Any]:
    kind = index % 12
    if kind == 0:
        return {"accounts": (f"account-{draw.randrange(500)}",)}
    if kind == 1:
        return {"senders": (f"SENDER{draw.randrange(200)}",), "classes": (draw.randrange(4),)}
    if kind == 2:
        return {"countries": (draw.choice(_COUNTRIES),), "groups": (f"group-{draw.randrange(20)}",)}
    if kind == 3:
        return {"texts": (f"code {draw.randrange(100)}*end",), "classes": (draw.randrange(4),)}
    if kind == 4:
        begin = draw.randrange(24) * 60
        return {
            "window": Window(zone, "Europe/London", ((begin, (begin + 480) % 1440),)),
            "groups": (f"group-{draw.randrange(20)}",),
        }
    if kind == 5:
        return {"tags": (f"tag-{draw.randrange(100)}",)}
    if kind == 6:
        return {
            "mcc_mncs": (f"2{draw.choice(_BEGINNINGS):0<2}",),
            "accounts": (f"account-{draw.randrange(500)}",),
        }
    if kind == 7:
        return {"senders": (f"S{draw.randrange(100)}*",), "min_segments": 2}
    if kind == 8:
        return {"none_of": Match(accounts=(f"account-{draw.randrange(500)}",)), "encodings": (2,)}
    return {"classes": (draw.randrange(4),)}


def _number(draw: random.Random) -> str:
    return draw.choice(_BEGINNINGS) + "".join(draw.choices("0123456789", k=9))


def messages(count: int = 5_000) -> list[Facts]:
    draw = random.Random(_SEED + 1)
    return [
        Facts(
            _number(draw),
            f"SENDER{draw.randrange(200)}",
            5,
            f"account-{draw.randrange(500)}",
            f"group-{draw.randrange(20)}",
            draw.randrange(4),
            (f"tag-{draw.randrange(1_000)}",) if draw.random() < 0.2 else (),
            f"Your code {draw.randrange(1_000)} is valid until the end",
            0,
            1,
            _AT_MS + number * 10,
        )
        for number in range(count)
    ]


def decision() -> dict[str, Any]:
    """Microseconds a decision: the large table, and tables of prefixes alone."""
    table, sent = mixed(), messages()
    taken = sum(decide(table, one) is not table.routes[-1] for one in sent)
    small = RouteTable([Route("uk", 1, Match(("44",))), Route("default", 2)])
    single = RouteTable([Route("default", 1)])
    return {
        "rules": len(table.routes),
        "prefixes": sum(len(route.match.prefixes) for route in table.routes),
        "taken_by_a_rule": taken / len(sent),
        "mixed_us": _microseconds(lambda one: decide(table, one), sent),
        "prefixes_us": _microseconds(lambda one: small.match(one.destination), sent),
        "default_us": _microseconds(lambda one: single.match(one.destination), sent),
        "nothing_us": _microseconds(lambda one: None, sent),
    }


def decide(table: RouteTable, facts: Facts) -> Route | None:
    return table.decide(
        facts.destination, facts.source, facts.source_ton, facts.account, facts.group, facts.message_class,
        facts.tags, facts.text, facts.encoding, facts.segments, facts.at_ms,
    )  # fmt: skip


def _microseconds(ask: Callable[[Facts], object], sent: list[Facts]) -> float:
    each = []
    for _ in range(_ROUNDS):
        begin = time.process_time()
        for one in sent:
            ask(one)
        each.append((time.process_time() - begin) * 1e6 / len(sent))
    return statistics.median(each)
