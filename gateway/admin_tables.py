"""The admin verbs of tables of numbers: take an import into use, list, look up, drop.

`signalbox table import` reads and writes the new version in its own process; what comes here is only that it
is there. Opening, fsync, unmapping and unlinking are done in a thread; on the loop the new table takes the
place of the old one between two look-ups.

Deliberately not here: reading CSV (gateway.table_rows), look-ups for messages (gateway.known).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from gateway.admin import AdminError, Execute, Named, Nothing, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.audit import entry
from router.knowledge import Network
from router.plans import facts as plan_of
from router.rates import Rate, amount, price
from store.interface import Transaction
from store.tables import NAME, Table, TableFacts, Tables


class Use(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: int


class Show(msgspec.Struct, forbid_unknown_fields=True):
    """`key`: a number with country code, or an MCC and MNC; "" = only the facts."""

    name: str
    key: str = ""


class TableVerbs:
    """The verbs as methods. `where_used` says what names a table, a key or an account, "" = nothing."""

    def __init__(
        self,
        tables: Tables,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        where_used: Callable[[str], str] = lambda name: "",
        may_hold: Callable[[str, frozenset[str]], None] = lambda name, currencies: None,
    ) -> None:
        """`may_hold`: a table of rates by name, and the currencies of its prices. Errors: AdminError."""
        self._may_hold = may_hold
        self._tables = tables
        self._execute = execute
        self._wall_ms = wall_ms
        self._where_used = where_used
        self._changing = trio.Lock()

    def table(self) -> dict[str, Verb]:
        return {
            "table.use": typed(Use, self.table_use),
            "table.list": typed(Nothing, self.table_list),
            "table.show": typed(Show, self.table_show),
            "table.drop": typed(Named, self.table_drop),
        }

    async def table_use(self, wish: Use) -> object:
        """Take a finished import into use; its version before goes."""
        _check_name(wish.name)
        async with self._changing:
            before = self._tables.facts(wish.name)
            if before is None or before.version != wish.version:
                await self._swap(wish, before)
        after = self._facts_of(wish.name)
        return self._view(after)

    async def _swap(self, wish: Use, before: TableFacts | None) -> None:
        """The audit trail goes first: once the record names the version, nothing may fail that matters."""
        table = await trio.to_thread.run_sync(self._opened, wish, before)
        try:
            await self._tell("table.imported", wish.name, before, table.facts)
            await trio.to_thread.run_sync(self._tables.record, table)
        except BaseException:
            table.close()
            raise
        old = self._tables.use(table)
        await trio.to_thread.run_sync(self._clean, wish.name, old)

    def _opened(self, wish: Use, before: TableFacts | None) -> Table:
        """In a thread: the new version, not yet the one in use."""
        path = self._tables.path(wish.name, wish.version)
        if not path.exists():
            raise AdminError(
                "not_found",
                f"there is no {path}",
                "import with the data directory of this gateway: --data-dir or --config",
            )
        table = Table(path)
        if before is not None and before.kind != table.facts.kind:
            table.close()
            raise AdminError(
                "conflict",
                f"{wish.name} is a table of kind {before.kind}, the import of kind {table.facts.kind}",
                "give another name, or drop it first",
            )
        try:
            if table.facts.kind == "rates":
                self._may_hold(wish.name, table.currencies())
        except AdminError:
            table.close()
            raise
        table.prepare()
        return table

    async def table_list(self, _: Nothing) -> object:
        return [self._view(facts) for facts in self._tables.all()]

    async def table_show(self, wish: Show) -> object:
        """The table's facts; with a key what it says, best first, and what its number's plan says."""
        facts = self._facts_of(wish.name)
        view = self._view(facts)
        if not wish.key:
            return view
        key = "".join(one for one in wish.key.removeprefix("+") if one not in " -/")
        if not (key.isascii() and key.isdigit()):
            raise bad_arguments(
                "key", f"{wish.key!r} is neither a number nor an MCC and MNC", "such as 447400123456"
            )
        table = self._tables.get(wish.name)
        if table is None:
            raise _absent(wish.name)
        return {**view, "key": key, "country": plan_of(key).country, "rows": self._rows(table, key)}

    def _rows(self, table: Table, key: str) -> list[dict[str, object]]:
        if table.facts.kind == "mnp":
            row = table.of_number(key)
            return [] if row is None else [_row_view(key, row)]
        found = [*table.by_network(key), *table.by_prefix(key)]
        rows = [_row_view(by, row) for by, row in found]
        if table.facts.kind == "rates":
            mcc_mnc = key if any(table.by_network(key)) else ""
            now = price(table, key, mcc_mnc, self._wall_ms())
            for (by, rate), row_view in zip(found, rows, strict=True):
                row_view["in_force"] = now is not None and (now.by, now.rate) == (by, rate)
        return rows

    async def table_drop(self, wish: Named) -> object:
        facts = self._facts_of(wish.name)
        where = self._where_used(wish.name)
        if where:
            raise AdminError(
                "conflict", f"{where} uses {wish.name}", "take it out of the configuration first"
            )
        async with self._changing:
            old = self._tables.forget(wish.name)
            await trio.to_thread.run_sync(self._tables.unlink, wish.name)
            await self._tell("table.dropped", wish.name, facts, None)
            await trio.to_thread.run_sync(self._clean, wish.name, old, facts.version)
        return self._view(facts)

    def _clean(self, name: str, old: Table | None, dropped: int = 0) -> None:
        """In a thread: unmapping and unlinking take their time."""
        if old is not None:
            old.close()
        self._tables.sweep(name, dropped=dropped)

    async def _tell(self, act: str, name: str, before: TableFacts | None, after: TableFacts | None) -> None:
        told_of = entry(self._wall_ms(), act, f"table:{name}", _audited(before), _audited(after))

        def tell(txn: Transaction) -> None:
            txn.audit(told_of)

        await self._execute(tell)

    def _facts_of(self, name: str) -> TableFacts:
        _check_name(name)
        facts = self._tables.facts(name)
        if facts is None:
            raise _absent(name)
        return facts

    def _view(self, facts: TableFacts) -> dict[str, object]:
        return {
            "name": facts.name,
            "kind": facts.kind,
            "rows": facts.rows,
            "bad": facts.bad,
            "repeated": facts.repeated,
            "prefixes": facts.prefixes,
            "networks": facts.networks,
            "numbers": facts.numbers,
            "imported_at": iso(facts.version),
            "version": str(facts.version),
            "source": facts.source,
            "bytes": facts.size,
            "used_by": self._where_used(facts.name),
        }


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise bad_arguments("name", f"{name!r} is no table's name", "up to 63 of A-Z a-z 0-9 _ . -")


def _absent(name: str) -> AdminError:
    return AdminError("not_found", f"there is no table {name!r}", "signalbox table list")


def _audited(facts: TableFacts | None) -> dict[str, object]:
    if facts is None:
        return {}
    return {
        "kind": facts.kind,
        "version": facts.version,
        "rows": facts.rows,
        "bad": facts.bad,
        "source": facts.source,
    }


def _row_view(by: str, row: Network | Rate) -> dict[str, object]:
    if isinstance(row, Rate):
        return {
            "by": by,
            "price": amount(row),
            "currency": row.currency,
            "valid_from": iso(row.from_ms) if row.from_ms else "",
        }
    return {"by": by, "mcc_mnc": row.mcc_mnc, "operator": row.operator, "routing": row.routing}
