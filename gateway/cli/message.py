"""`signalbox message ID`: where a message is and everything that happened to it."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, json_option, place_options

_BESIDE_TABLES = ("parts", "timeline")


@click.command()
@click.argument("message_id", metavar="ID")
@place_options
@json_option
def message(message_id: str, place: Place, as_json: bool) -> None:
    """State and timeline of the message ID."""
    view = place.ask("message", id=message_id)
    if as_json:
        print_json(view)
    else:
        print_message(view)


def print_message(view: dict[str, Any]) -> None:
    print_pairs(
        {**{name: value for name, value in view.items() if name not in _BESIDE_TABLES}, "id": view["id"]}
    )
    if view["parts"]:
        click.echo()
        columns = ("carrier", "carrier_message_id", "state", "error")
        rows = [[index, *(part[c] for c in columns)] for index, part in enumerate(view["parts"], 1)]
        print_table(("PART", "CARRIER", "CARRIER ID", "STATE", "ERROR"), rows)
    if view["timeline"]:
        click.echo()
        rows = [[event[c] for c in ("at", "step", "carrier", "detail")] for event in view["timeline"]]
        print_table(("AT", "STEP", "CARRIER", "DETAIL"), rows)
