"""Whose business a carrier's trouble is, ours or the carrier's, in words, with its figures.

Deliberately not here: the reasons (router.waiting), the figures (gateway.figures), pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.figures import CarrierFigures
from router.waiting import Wait

if TYPE_CHECKING:
    from gateway.app import Gateway

_WHOSE = {"theirs": "their side", "ours": "our side", "": "well"}
_GRAVE = frozenset({"no_bind", "circuit_open", "window_stuck"})


class Verdict(NamedTuple):
    """Us or them, in words. `severity`: critical, warning or good, as a badge has it."""

    severity: str
    whose: str
    words: str


class Row(NamedTuple):
    now: CarrierFigures
    verdict: Verdict


def rows(gateway: Gateway) -> list[Row]:
    """Every carrier, by name."""
    return [Row(one, verdict(one)) for one in gateway.figures.snapshot().carriers]


def verdict(one: CarrierFigures) -> Verdict:
    """What keeps a carrier from sending, and whose business that is."""
    words = one.detail or Wait[one.why.upper()].value
    if one.side:
        return Verdict("critical" if one.why in _GRAVE else "warning", _WHOSE[one.side], words)
    if one.binds < one.binds_wanted:
        return Verdict("warning", _WHOSE["theirs"], f"{one.binds} of {one.binds_wanted} binds are up")
    return Verdict("good", _WHOSE[""], words)


def worst_first(carriers: list[Row]) -> list[Row]:
    """Then those with most that waits."""
    ranks = {"critical": 0, "warning": 1}
    return sorted(carriers, key=lambda row: (ranks.get(row.verdict.severity, 2), -row.now.waiting))
