"""Knowledge of numbers from tables that the configuration names: networks, ported numbers, prices.

`Known` is router.knowledge.Knowledge: what a web service answered lately (gateway.lookup) goes first, then a
ported number's own network, else that of its prefix. A table
is looked up by name each time, so a new import counts from the next message on.

Invariant: a missing or damaged table makes numbers unknown, never a message fail; it is said once in the log.

Deliberately not here: files (store.tables), importing (gateway.cli.table), what a price is used for.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from gateway.lookup import Lookup
from router.knowledge import Network
from router.plans import facts
from router.rates import Priced, price
from store.interface import StoreError
from store.tables import Tables

log = structlog.get_logger("numbers")


class Known:
    """`prefix_table`, `mnp_table` and `rate_cards` are names of tables, "" = none."""

    def __init__(
        self,
        tables: Tables,
        prefix_table: str = "",
        mnp_table: str = "",
        lookup: Lookup | None = None,
        rate_cards: Iterable[str] = (),
    ) -> None:
        self.tables = tables
        self._lookup = lookup
        self._prefix_table = prefix_table
        self._mnp_table = mnp_table
        self._rate_cards = frozenset(rate_cards)

    def change(self, prefix_table: str, mnp_table: str, rate_cards: Iterable[str]) -> None:
        """By these from now on; those that are not there are said."""
        before = self._prefix_table, self._mnp_table, self._rate_cards
        self._prefix_table, self._mnp_table = prefix_table, mnp_table
        self._rate_cards = frozenset(rate_cards)
        if (self._prefix_table, self._mnp_table, self._rate_cards) != before:
            self.check()

    def check(self) -> None:
        """Open what is configured, and say what is not there. At start, so that no message pays for it."""
        wanted = {
            self._prefix_table: "prefix",
            self._mnp_table: "mnp",
            **dict.fromkeys(sorted(self._rate_cards), "rates"),
        }
        for name, kind in wanted.items():
            try:
                table = self.tables.get(name) if name else None
            except StoreError as error:
                self._broken(name, error)
                continue
            if table is not None:
                table.prepare()
            if name and (table is None or table.facts.kind != kind):
                there = "none" if table is None else table.facts.kind
                hint = f"signalbox table import {kind} {name} FILE"
                log.warning("configured table missing", table=name, wanted=kind, there=there, hint=hint)

    # router.knowledge.Knowledge

    def country(self, digits: str) -> str:
        return facts(digits).country

    def number_type(self, digits: str) -> str:
        return facts(digits).kind

    def mcc_mnc(self, digits: str) -> str:
        if self._lookup is not None:
            answered = self._lookup.answer(digits)
            if answered:
                return answered
        row = self._ported(digits)
        if row is not None:
            if row.mcc_mnc:
                return row.mcc_mnc
            found = self._by_prefix(row.routing)
            if found:
                return found
        return self._by_prefix(digits)

    def ported(self, digits: str) -> bool:
        if self._lookup is not None:
            answered = self._lookup.answer(digits)
            if answered:
                return answered != self._by_prefix(digits)
        row = self._ported(digits)
        if row is None:
            return False
        home = self._by_prefix(digits)
        return not row.mcc_mnc or row.mcc_mnc != home

    # prices

    def price(self, card: str, digits: str, at_ms: int) -> Priced | None:
        """What a segment to this number costs by the rate card of this name; None where that is not known."""
        try:
            table = self.tables.get(card)
            if table is None or table.facts.kind != "rates":
                return None
            return price(table, digits, self.mcc_mnc(digits), at_ms)
        except StoreError as error:
            self._broken(card, error)
            return None

    def _ported(self, digits: str) -> Network | None:
        name = self._mnp_table
        try:
            table = self.tables.get(name) if name else None
            return None if table is None else table.of_number(digits)
        except StoreError as error:
            self._broken(name, error)
            return None

    def _by_prefix(self, digits: str) -> str:
        name = self._prefix_table
        try:
            table = self.tables.get(name) if name else None
            row = None if table is None else table.of_prefix(digits)
        except StoreError as error:
            self._broken(name, error)
            return ""
        return "" if row is None else row.mcc_mnc

    def _broken(self, name: str, error: StoreError) -> None:
        """Nobody asks it again until it is imported."""
        log.error("a table cannot be used; import it again", table=name, problem=str(error))
        broken = self.tables.forget(name)
        if broken is not None:
            broken.close()
