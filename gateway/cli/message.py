"""`signalbox message ID`: where a message is and everything that happened to it; `message cancel ID`.

Deliberately not here: changing a message, many messages at once.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

_BESIDE_TABLES = ("parts", "timeline")
_SHOW = "show"


class OrShow(click.Group):
    """A first argument that is no verb is a message's id: `message 7` means `message show 7`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [_SHOW, *args])


@click.group(cls=OrShow, subcommand_metavar="ID | cancel ID")
def message() -> None:
    """State and timeline of the message ID; or cancel it."""


@message.command(_SHOW)
@click.argument("message_id", metavar="ID")
@place_options
@json_option
def show(message_id: str, place: Place, as_json: bool) -> None:
    """State and timeline of the message ID; `show` may be left out."""
    view = place.ask("message", id=message_id)
    if as_json:
        print_json(view)
    else:
        print_message(view)


@message.command()
@click.argument("message_id", metavar="ID")
@acting_options
@json_option
def cancel(message_id: str, place: Place, as_json: bool) -> None:
    """End the message ID, if no carrier has accepted it; its account is told DELETED."""
    answer = place.ask("message.cancel", id=message_id)
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "cancelled":
        click.echo(f"{message_id} is cancelled: DELETED.")
    else:
        click.echo(f"{message_id} is in a carrier's hands. If it comes back unsent, it is not sent again.")


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
