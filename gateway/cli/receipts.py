"""`signalbox receipts unmatched`: receipts that belong to none of our messages, newest first.

Deliberately not here: the receipts of a message (`signalbox message ID` has them in its timeline).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, limit_option, place_options, text_option


@click.group()
def receipts() -> None:
    """Receipts that belong to no message."""


@receipts.command()
@limit_option
@text_option
@place_options
@json_option
def unmatched(limit: int, with_text: bool, place: Place, as_json: bool) -> None:
    """Receipts that no message has claimed: those that still wait for theirs first.

    Many of one carrier mean that its ids come in a form that [[carriers]] receipt_id does not name, or that
    somebody else sends over its account.
    """
    found = place.ask("receipts.unmatched", limit=limit, text=with_text)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Every receipt belongs to a message.")
    else:
        print_receipts(found, with_text)
        if len(found) == limit:
            click.echo(f"\nOnly the newest {limit:,} are shown: --limit shows more.")


def print_receipts(found: list[dict[str, Any]], with_text: bool) -> None:
    columns = ["received_at", "carrier", "ids", "recipient", "sender", "state", "error", "waiting"]
    headings = ["RECEIVED", "CARRIER", "CARRIER ID", "RECIPIENT", "SENDER", "STATE", "ERROR", "WAITING"]
    if with_text:
        columns.append("text")
        headings.append("TEXT")
    print_table(headings, [[receipt[column] for column in columns] for receipt in found])
