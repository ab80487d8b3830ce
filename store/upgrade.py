"""The format of a store, and the steps that bring an older one up to this release's.

FORMAT is the number of what records.py and layout.py say. It changes when an older row, or an older release
that opens the store again, would be misread. A field appended with a default and a new table that nothing
older touches need no new number.

A step leads from its number to the next in portions, each one write transaction that ends with a note of how
far it came. A crash between two portions costs nothing: the next opening goes on from the note. The first
portion writes the new number already, so that no older release opens what is half changed. There is no way
back: an operator who may want one makes a backup first.

Invariants: nothing else reads or writes rows before the last step is done; a number with no way to FORMAT is
refused untouched.

To add a step: raise FORMAT, put the step into STEPS, keep a store of the old format in tests/store/golden.

Deliberately not here: archives of past days (a reader of them knows every layout they ever had), tables that
are new (opening makes them).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from store.interface import StoreFormat
from store.values import seal, unseal

if TYPE_CHECKING:
    import lmdb

    from store.layout import Tables

FORMAT = 2
FORMAT_NAME = b"format"
MARK_NAME = b"upgrade"  # how far the step under way came

# (transaction, tables, mark of the last portion or b"") → the next mark; None: that was the last portion.
# A few thousand rows each; a mark is mostly the last key handled.
Portion = Callable[["lmdb.Transaction[bytes]", "Tables", bytes], bytes | None]


class Step(NamedTuple):
    """The way from one format to the next."""

    what: str  # for the log: "queues know their account"
    portion: Portion


def _as_it_is(tx: lmdb.Transaction[bytes], tables: Tables, mark: bytes) -> bytes | None:
    """Older rows are read as they are: only older releases must not open the store any more."""
    return None


STEPS: Final[dict[int, Step]] = {  # by the format they lead away from
    1: Step("rows of many messages: that were accepted together, that ended together", _as_it_is)
}


def bring_up(env: lmdb.Environment, tables: Tables, path: Path, announce: Callable[[str], None]) -> None:
    """Make the store of format FORMAT. Errors: StoreFormat, Damaged, lmdb.Error; going on later is safe."""
    with env.begin() as tx:
        written = format_of(tx, tables, path)
        begun = _meta(tx, tables, MARK_NAME) is not None
    if written is None:
        with env.begin(write=True) as tx:
            _put_format(tx, tables, FORMAT)
        return
    first = written - begun
    refuse_unknown(written, first, path)
    for number in range(first, FORMAT):
        step = STEPS[number]
        goes = "goes on" if begun and number == first else "goes"
        announce(f"the store in {path} {goes} from format {number} to {number + 1}: {step.what}")
        while _portion(env, tables, number, step):
            pass
    if first < FORMAT:
        announce(f"the store in {path} has format {FORMAT} now; older releases cannot open it any more")


def format_of(tx: lmdb.Transaction[bytes], tables: Tables, path: Path) -> int | None:
    """The number a store says it has; None: it is new. Errors: StoreFormat, Damaged."""
    written = _meta(tx, tables, FORMAT_NAME)
    if written is not None:
        return int(written)
    if any(tx.stat(table.handle)["entries"] for table in tables.all):
        raise StoreFormat(
            f"{path} has records, but does not say in which format",
            f"if it is a Signalbox store: signalbox store salvage {path} NEW_DIRECTORY",
        )
    return None


def refuse_unknown(written: int, first: int, path: Path) -> None:
    """StoreFormat unless steps lead from `first` to FORMAT; `written` is what the store says it has."""
    if written > FORMAT:
        raise StoreFormat(
            f"{path} has format {written}; this Signalbox knows formats up to {FORMAT}",
            "start the newer Signalbox that wrote it, or restore a backup",
        )
    oldest = FORMAT
    while oldest - 1 in STEPS:
        oldest -= 1
    if first < oldest:
        raise StoreFormat(
            f"{path} has format {first}; this Signalbox upgrades from format {oldest} on",
            f"start a release that knows formats {first} and {oldest} once, then this one",
        )


def _portion(env: lmdb.Environment, tables: Tables, number: int, step: Step) -> bool:
    """One transaction of a step. Returns whether there is more to do."""
    with env.begin(write=True) as tx:
        mark = step.portion(tx, tables, _meta(tx, tables, MARK_NAME) or b"")
        _put_format(tx, tables, number + 1)
        if mark is None:
            tx.delete(MARK_NAME, db=tables.meta.handle)
        else:
            tx.put(MARK_NAME, seal(MARK_NAME, mark), db=tables.meta.handle)
    return mark is not None


def _meta(tx: lmdb.Transaction[bytes], tables: Tables, name: bytes) -> bytes | None:
    value = tx.get(name, None, tables.meta.handle)
    return None if value is None else unseal(name, value)


def _put_format(tx: lmdb.Transaction[bytes], tables: Tables, number: int) -> None:
    tx.put(FORMAT_NAME, seal(FORMAT_NAME, b"%d" % number), db=tables.meta.handle)
