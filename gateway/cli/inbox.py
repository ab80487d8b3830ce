"""`signalbox inbox`: what came in from handsets, newest first.

Deliberately not here: answering, deleting, the callbacks that told the accounts (`signalbox callbacks`).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, limit_option, place_options, text_option


@click.command()
@click.option("--account", default="", help="Only what belongs to this account.")
@click.option("--unowned", is_flag=True, help="Only what was sent to numbers that no account owns.")
@click.option("--before", default="", metavar="ID", help="Go on behind this one, the last of a listing.")
@limit_option
@text_option
@place_options
@json_option
def inbox(
    account: str, unowned: bool, before: str, limit: int, with_text: bool, place: Place, as_json: bool
) -> None:
    """Inbound messages, newest first."""
    messages = place.ask(
        "inbox", account=account, unowned=unowned, before=before, limit=limit, text=with_text
    )
    if as_json:
        print_json(messages)
    elif not messages:
        click.echo("No inbound messages.")
    else:
        print_inbox(messages, with_text)
        if len(messages) == limit:
            click.echo(f"\nThere may be more: --before {messages[-1]['id']}")


def print_inbox(messages: list[dict[str, Any]], with_text: bool) -> None:
    columns = ["received_at", "id", "account", "carrier", "from", "to", "parts"]
    rows = [
        [*(message[column] for column in columns), *([content(message)] if with_text else [])]
        for message in messages
    ]
    headings = ("RECEIVED", "ID", "ACCOUNT", "CARRIER", "FROM", "TO", "PARTS")
    print_table((*headings, "TEXT") if with_text else headings, rows)


def content(message: dict[str, Any]) -> str:
    """The text, or the bytes of a binary one; what is missing of it is said."""
    text = str(message["text"] or message["data"])
    return text if message["complete"] else f"{text} [parts are missing]"
