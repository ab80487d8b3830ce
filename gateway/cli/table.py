"""`signalbox table`: prefixes, ported numbers and rate cards from CSV files.

`import` reads and writes in this process, at a lower priority than the gateway's, and tells the gateway only
when the new version is whole; the other verbs go to the gateway, or to a stopped one's files.

Deliberately not here: what a cell may hold (gateway.table_rows), the file's layout (store.table_build).
"""

from __future__ import annotations

import os
import sys
import time
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.failure import FAILED, STORE, UNREACHABLE, USAGE, Failure
from gateway.cli.offline import store_failures
from gateway.cli.output import counted, print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

if TYPE_CHECKING:
    from gateway.table_rows import Report, Wish
    from store.tables import TableFacts, Tables

_KINDS = ("prefix", "mnp", "rates")
_USE_S = 600
_NICE = 10  # the gateway goes first
_EVERY_S = 0.5
_ROOM = 6  # times the file, while it is written: rows on their way and the table itself, at most
_LEFT_FREE = 512 << 20


@click.group()
def table() -> None:
    """Which network a number is of, which numbers were ported, what carriers charge."""


@table.command("import")
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--columns",
    default="",
    metavar="LIST",
    help="What they are, in order: prefix,-,price (- for one of no use); or prefix='Dial code',price=3.",
)
@click.option("--delimiter", default="", metavar="SIGN", help="Between columns; found out by default; \\t.")
@click.option("--currency", default="", metavar="EUR", help="Of prices without one.")
@click.option("--date-format", default="", metavar="FORMAT", help="Of valid_from, such as %d.%m.%Y.")
@click.option(
    "--errors", type=click.IntRange(0, 10_000), default=20, show_default=True, help="Bad rows to show."
)
@click.option(
    "--max-bad",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="More bad rows than that, and nothing changes.",
)
@click.option("--strict", is_flag=True, help="The same as --max-bad 0.")
@acting_options
@json_option
def import_table(
    kind: str,
    name: str,
    file: BufferedReader,
    columns: str,
    delimiter: str,
    currency: str,
    date_format: str,
    errors: int,
    max_bad: float,
    strict: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Import FILE (CSV; - for stdin) as table NAME; one of that name is replaced when all is written.

    KIND is prefix (prefix, mccmnc or mcc and mnc, operator), mnp (number, mccmnc or routing) or rates (prefix
    or mccmnc or mcc, price, currency, valid_from). Columns are told by a first line of headings or --columns.
    """
    from gateway.table_rows import Wish

    chosen = tuple(one.strip() for one in columns.split(",")) if columns else ()
    sign = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    if len(sign) > 1:
        raise Failure(f"--delimiter: {delimiter!r} is more than one sign", exit_code=USAGE)
    wish = Wish(kind, chosen, sign, currency, date_format, errors)
    with store_failures():
        facts, report = _import(wish, name, file, place, 0.0 if strict else max_bad)
    result = {
        **place.ask("table.show", name=name),
        "read": report.rows,
        "errors": [{"line": line, "error": error} for line, error in report.told],
    }
    if as_json:
        print_json(result)
        return
    click.echo(f"{name} has {counted(facts.rows, 'row')} now.")
    if facts.repeated:
        click.echo(f"{counted(facts.repeated, 'row')} repeated an earlier one; the last counts.")


def _import(
    wish: Wish, name: str, file: BufferedReader, place: Place, max_bad: float
) -> tuple[TableFacts, Report]:
    from gateway.table_rows import NotATable, Report, read_rows
    from store.table_build import Builder
    from store.tables import DIRECTORY, NAME, Tables

    if not NAME.fullmatch(name):
        raise Failure(f"{name!r} is no table's name", "up to 63 of A-Z a-z 0-9 _ . -", USAGE)
    directory = place.data_dir / DIRECTORY
    tables = Tables(directory)
    known = tables.facts(name)
    if known is not None and known.kind != wish.kind:
        raise Failure(f"{name} is a table of kind {known.kind}", "give another name, or drop it first", USAGE)
    os.nice(_NICE)
    version = time.time_ns() // 1_000_000
    source = getattr(file, "name", "-")
    shown = _Progress(file)
    report = Report()
    with Builder(directory, name, wish.kind, version, left_free=_LEFT_FREE) as builder:  # type: ignore[arg-type]
        _check_room(directory, shown.size)
        try:
            read_rows(file, wish, builder, report, shown.read)
        except NotATable as problem:
            shown.end()
            raise Failure(f"{source}: {problem.message}", problem.hint, USAGE) from None
        shown.end()
        _tell_errors(source, report)
        if report.bad * 100 > max_bad * report.rows or (report.bad and not builder.rows):
            share = f" of {report.rows:,} are more than {max_bad:g} %" if max_bad and builder.rows else ""
            raise Failure(
                f"nothing was imported: {counted(report.bad, 'bad row')}{share}",
                "mend the file; --max-bad PERCENT leaves more of them out",
                FAILED,
            )
        if not builder.rows:
            raise Failure(f"{source} has no rows", exit_code=FAILED)
        shown.total = builder.rows
        facts = builder.finish(str(source), report.bad, shown.written)
        shown.end()
        try:
            place.ask("table.use", timeout_s=_USE_S, name=name, version=version)
        except BaseException as problem:
            if not _undecided(problem) and not _in_use(tables, name, version):
                tables.path(name, version).unlink(missing_ok=True)
            raise
    return facts, report


def _undecided(problem: BaseException) -> bool:
    """Whether the gateway may still be taking it into use; if it does not, the next import sweeps it away."""
    if isinstance(problem, Failure):
        return problem.exit_code == UNREACHABLE
    return isinstance(problem, KeyboardInterrupt)


def _in_use(tables: Tables, name: str, version: int) -> bool:
    """Whether the record names this version, or may: what cannot be read is left alone."""
    from store.interface import StoreError

    try:
        facts = tables.facts(name)
    except (StoreError, OSError):
        return True
    return facts is not None and facts.version == version


def _check_room(directory: Path, size: int) -> None:
    """A gateway refuses new messages when its disk is nearly full: an import must not come to that."""
    from store.layout import free_disk

    free, needed = free_disk(directory), size * _ROOM + _LEFT_FREE
    if free < needed:
        raise Failure(
            f"the disk of {directory} has {free >> 20:,} MiB free, the import may need {needed >> 20:,}",
            "free space there: new messages are refused when it is full",
            STORE,
        )


def _tell_errors(source: str, report: Report) -> None:
    for line, error in report.told:
        click.echo(f"{source}:{line}: {error}", err=True)
    if report.bad > len(report.told):
        click.echo(f"… and {report.bad - len(report.told):,} more", err=True)
    if report.bad:
        click.echo(f"{counted(report.bad, 'bad row')} of {report.rows:,} left out", err=True)


class _Progress:
    """One line on a terminal's stderr: rows, share and rate. Nothing where stderr is no terminal."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size if file.seekable() else 0
        self._shown = sys.stderr.isatty()
        self._begun = self._told = time.monotonic()
        self.total = 0

    def read(self, rows: int) -> None:
        self._tell("read", rows, self._file.tell() / self.size if self.size else 0)

    def written(self, rows: int) -> None:
        self._tell("written", rows, rows / self.total if self.total else 0)

    def _tell(self, what: str, rows: int, share: float) -> None:
        now = time.monotonic()
        if not self._shown or now - self._told < _EVERY_S:
            return
        self._told = now
        rate = rows / max(now - self._begun, 0.001)
        percent = f"{share:4.0%}, " if share else ""
        click.echo(f"\r  {rows:,} rows {what}, {percent}{rate:,.0f} a second   ", nl=False, err=True)

    def end(self) -> None:
        if self._shown and self._told != self._begun:
            click.echo("\r" + " " * 70 + "\r", nl=False, err=True)
        self._begun = self._told = time.monotonic()


@table.command("list")
@place_options
@json_option
def list_tables(place: Place, as_json: bool) -> None:
    """All tables in use."""
    tables = place.ask("table.list")
    if as_json:
        print_json(tables)
    elif not tables:
        click.echo("No tables yet. Import one: signalbox table import prefix NAME FILE")
    else:
        rows = [
            (one["name"], one["kind"], one["rows"], one["bytes"] >> 20, one["imported_at"], one["used_by"])
            for one in tables
        ]
        print_table(("NAME", "KIND", "ROWS", "MIB", "IMPORTED", "USED BY"), rows)


@table.command()
@click.argument("name")
@click.argument("key", default="", metavar="[NUMBER|MCCMNC]")
@place_options
@json_option
def show(name: str, key: str, place: Place, as_json: bool) -> None:
    """What the table NAME says of a number, or of an MCC and MNC; without one, what is known of the table."""
    found = place.ask("table.show", name=name, key=key)
    if as_json:
        print_json(found)
        return
    if not key:
        print_pairs(found)
        return
    rows: list[dict[str, Any]] = found["rows"]
    if not rows:
        raise Failure(f"{name} says nothing of {found['key']}", exit_code=FAILED)
    if found["kind"] == "rates":
        cells = [
            (one["by"], one["price"], one["currency"], one["valid_from"], one["in_force"]) for one in rows
        ]
        print_table(("BY", "PRICE", "CURRENCY", "VALID FROM", "IN FORCE"), cells)
    else:
        named = [(one["by"], one["mcc_mnc"], one["operator"], one["routing"]) for one in rows]
        print_table(("BY", "MCCMNC", "OPERATOR", "ROUTING"), named)


@table.command()
@click.argument("name")
@acting_options
@json_option
def drop(name: str, place: Place, as_json: bool) -> None:
    """Remove the table NAME; refused while the configuration names it."""
    gone = place.ask("table.drop", timeout_s=_USE_S, name=name)
    if as_json:
        print_json(gone)
    else:
        click.echo(f"{gone['name']} is gone, with its {counted(gone['rows'], 'row')}.")
