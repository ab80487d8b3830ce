"""`signalbox reconcile`: a carrier's invoice, a CSV file, against our records of what it took.

It reads the files of records, whether the gateway runs or not, at a lower priority than the gateway's.

Deliberately not here: reading and comparing (gateway.reconcile).
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import click

from gateway.cli.cdr import time_ms
from gateway.cli.failure import FAILED, OK, USAGE, Failure
from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, json_option, place_options

_NICE = 10
_NAMES = 50
_FIELDS = ("kind", "line", "id", "number", "at", "theirs", "ours", "message_id")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--carrier", required=True, help="Whose invoice it is.")
@click.option(
    "--columns",
    default="",
    metavar="LIST",
    help="Where they are called otherwise: id='Msg Ref',price=5. Of: id, number, date, price, segments.",
)
@click.option("--delimiter", default="", metavar="SIGN", help="Between columns; found out by default.")
@click.option("--date-format", default="", metavar="FORMAT", help="Such as '%d.%m.%Y %H:%M'; UTC.")
@click.option("--since", default="", metavar="TIME", help="Its period; by default from its first date's day…")
@click.option("--until", default="", metavar="TIME", help="…to the end of its last date's.")
@click.option(
    "--show", type=click.IntRange(0, 10_000), default=20, show_default=True, help="How many of each kind."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="All of them, as CSV.")
@place_options
@json_option
def reconcile(
    file: Path,
    carrier: str,
    columns: str,
    delimiter: str,
    date_format: str,
    since: str,
    until: str,
    show: int,
    output: Path | None,
    place: Place,
    as_json: bool,
) -> int:
    """Compare the invoice FILE with the records (CDRs) of what the carrier took.

    Exit code 0: they agree; 1: they do not, or rows could not be read; 2: a wrong option, carrier or file.
    """
    from gateway.reconcile import KINDS, Books, Difference, Invoice, InvoiceProblem, amount
    from store.cdr_files import DIRECTORY, files

    directory = place.data_dir / DIRECTORY
    if not files(directory):
        raise Failure(f"there are no records in {directory}", "[cdrs] enabled = true has them written")
    os.nice(_NICE)
    shown: list[Difference] = []
    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="signalbox-") as scratch,
        closing(Books(Path(scratch) / "books.sqlite")) as books,
    ):
        with file.open(newline="", encoding="utf-8-sig", errors="replace") as text:
            try:
                invoice = Invoice(text, _columns(columns), date_format, delimiter.replace("\\t", "\t"))
            except InvoiceProblem as problem:
                raise Failure(f"{file}: {problem}", exit_code=USAGE) from None
            books.take_theirs(invoice)
        since_ms, until_ms = time_ms("--since", since), time_ms("--until", until)
        period = (since_ms, until_ms) if since_ms and until_ms else books.period()
        if period is None:
            raise Failure(
                f"{file} has no dates",
                "say its period with --since and --until, or --columns date=NAME",
                USAGE,
            )
        books.take_ours(directory, carrier, since_ms or period[0], until_ms or period[1])
        books.match()
        if not books.totals()[1].rows:
            _check_name(place, directory, carrier)
        writer = None
        if output is not None:
            handle = output.open("w", newline="", encoding="utf-8")
            writer = csv.writer(handle)
            writer.writerow(_FIELDS)
        for one in books.differences():
            counts[one.kind] += 1
            if counts[one.kind] <= show:
                shown.append(one)
            if writer is not None:
                writer.writerow(one)
        if output is not None:
            handle.close()
        theirs, ours = books.totals()
        unpriced = books.unpriced()
    bad = invoice.bad[:show]
    told = {
        "carrier": carrier,
        "invoice": {**theirs._asdict(), "price": amount(theirs.price), "bad_rows": invoice.bad_rows},
        "records": {**ours._asdict(), "price": amount(ours.price), "without_price": unpriced},
        "difference": amount(theirs.price - ours.price),
        "counts": {kind: counts[kind] for kind in KINDS},
        "differences": [one._asdict() for one in shown],
        "bad_rows": [one._asdict() for one in bad],
    }
    if as_json:
        print_json(told)
    else:
        print_table(
            ("", "LINES", "SEGMENTS", "PRICE"),
            [
                ("invoice", theirs.rows, theirs.segments, amount(theirs.price)),
                ("records", ours.rows, ours.segments, amount(ours.price)),
            ],
        )
        if unpriced:
            click.echo(f"{counted(unpriced, 'attempt')} have no price: has {carrier} a rate_card?")
        for kind, what in KINDS.items():
            if not counts[kind]:
                continue
            click.echo(f"\n{kind}: {counted(counts[kind], 'line')}, {what}")
            of_kind = [one for one in shown if one.kind == kind]
            if of_kind:
                print_table(
                    ("LINE", "ID", "NUMBER", "AT", "THEIRS", "OURS", "MESSAGE"),
                    [(str(one.line or ""), *one[2:]) for one in of_kind],
                )
        for row in bad:
            click.echo(f"{file}:{row.line}: {row.why}", err=True)
        if not counts and not invoice.bad_rows:
            click.echo("\nThey agree.")
    return FAILED if counts or invoice.bad_rows else OK


def _check_name(place: Place, directory: Path, carrier: str) -> None:
    """Errors: Failure for a carrier that neither configuration, nor gateway, nor store, nor records know."""
    from gateway.reconcile import is_recorded

    names: set[str] = set()
    with suppress(Failure):  # records may lie where there is no gateway
        names.update(one.name for one in place.config.carriers)
    with suppress(Failure):
        names.update(one["name"] for one in place.ask("carrier.list"))
    if carrier in names or is_recorded(directory, carrier):
        return
    raise Failure(
        f"no carrier {carrier} is known, and no record names it",
        f"known: {', '.join(sorted(names)[:_NAMES]) or 'none'}",
        USAGE,
    )


def _columns(text: str) -> dict[str, str]:
    """`id='Msg Ref',price=5`. Errors: Failure."""
    from gateway.reconcile import COLUMNS

    found = {}
    for one in filter(None, (one.strip() for one in text.split(","))):
        field, equals, name = one.partition("=")
        if field.strip() not in COLUMNS or not equals or not name.strip():
            raise Failure(f"--columns: {one!r} is not FIELD=NAME", f"fields: {', '.join(COLUMNS)}", USAGE)
        found[field.strip()] = name.strip().strip("'\"")
    return found
