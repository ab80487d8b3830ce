"""`signalbox cdr`: call detail records, from the files that the gateway writes, whether it runs or not.

Deliberately not here: writing them (gateway.cdrs), comparing them with a carrier's invoice (reconcile).
"""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from gateway.cdr_lines import Line
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, limit_option, place_options

_SHOWN = ("at", "type", "account", "to", "carrier", "carrier_message_id", "result", "error", "buy", "sell")


@click.group()
def cdr() -> None:
    """Records of each attempt and each final state."""


@cdr.command("list")
@click.option("--since", default="", metavar="TIME", help="From then on: 2026-09-21, or with a time, UTC.")
@click.option("--until", default="", metavar="TIME", help="Before then.")
@click.option("--account", default="", help="Of this account.")
@click.option("--carrier", default="", help="Of this carrier.")
@click.option("--to", default="", metavar="DIGITS", help="To numbers that begin so.")
@click.option("--message", default="", metavar="ID", help="Of this message.")
@click.option("--type", "kind", default="", type=click.Choice(["", "attempt", "final"]), help="Only these.")
@limit_option
@place_options
@json_option
def list_records(
    since: str,
    until: str,
    account: str,
    carrier: str,
    to: str,
    message: str,
    kind: str,
    limit: int,
    place: Place,
    as_json: bool,
) -> None:
    """Records, oldest first."""
    from gateway.cdr_query import Wish, find
    from store.cdr_files import BEGINNING, DIRECTORY, files

    directory = place.data_dir / DIRECTORY
    wish = Wish(
        time_ms("--since", since),
        time_ms("--until", until),
        account,
        carrier,
        to.removeprefix("+"),
        message,
        kind,
    )
    if not files(directory):
        raise Failure(f"there are no records in {directory}", "[cdrs] enabled = true has them written")
    lines: list[Line] = []
    at = BEGINNING
    while len(lines) < limit + 1:
        found = find(directory, wish, limit + 1 - len(lines), at)
        lines += found.lines
        if found.place is None:
            break
        at = found.place
    shown = [msgspec.to_builtins(line) for line in lines[:limit]]
    if as_json:
        print_json(shown)
        return
    if not shown:
        click.echo("No record.")
        return
    rows = []
    for one in shown:
        one["buy"] = _money(one["buy_total"] or one["buy_price"], one["buy_currency"])
        one["sell"] = _money(one["sell_total"] or one["sell_price"], one["sell_currency"])
        rows.append([one[name] for name in _SHOWN])
    print_table([name.upper() for name in _SHOWN], rows)
    if len(lines) > limit:
        click.echo(f"\nOnly the oldest {limit:,} are shown: --since, or a higher --limit, shows others.")


def _money(amount: str, currency: str) -> str:
    return f"{amount} {currency}" if amount else ""


def time_ms(option: str, text: str) -> int:
    """UTC where it names no zone; 0 for "". Errors: Failure."""
    if not text:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f"{option}: {text!r} is no time", "write it as 2026-09-21 or 2026-09-21T14:00:00", USAGE
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
