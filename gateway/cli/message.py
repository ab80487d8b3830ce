"""`signalbox message ID`: where a message is and everything that happened to it; `message cancel ID`;
`message find --to NUMBER`.

Deliberately not here: changing a message.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

_BESIDE_TABLES = ("parts", "timeline")
_SHOW = "show"
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class OrShow(click.Group):
    """A first argument that is no verb is a message's id: `message 7` means `message show 7`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [_SHOW, *args])


@click.group(cls=OrShow, subcommand_metavar="ID | cancel ID | find --to NUMBER")
def message() -> None:
    """State and timeline of the message ID; cancel it; find those to a number."""


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


@message.command()
@click.option("--to", required=True, metavar="NUMBER", help="With its country code.")
@click.option("--account", default="", help="Only this account's.")
@click.option(
    "--since", default="24h", show_default=True, metavar="TIME", help="How long ago: 90s, 30m, 2h, 7d."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most.")
@place_options
@json_option
def find(to: str, account: str, since: str, limit: int, place: Place, as_json: bool) -> None:
    """Messages to a number, newest first: waiting, sent and archived ones."""
    answer = place.ask("message.find", to=to, account=account, since_s=seconds(since), limit=limit)
    if as_json:
        print_json(answer)
        return
    messages = answer["messages"]
    if messages:
        columns = ("accepted_at", "id", "account", "from", "state", "phase", "reason", "carriers")
        rows = [[*(one[c] for c in columns[:-1]), ", ".join(one["carriers"])] for one in messages]
        print_table([column.removesuffix("_at").upper() for column in columns], rows)
    else:
        click.echo(f"No message to {to} was accepted within {since}.")
    if not answer["complete"]:
        click.echo("\nToo many messages to look at all: give --account, or a shorter --since.")
    elif len(messages) == limit:
        click.echo("\nThere may be more: --limit")


def seconds(text: str) -> float:
    """90s, 30m, 2h, 7d. Errors: click.BadParameter."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not (number.isascii() and number.isdigit()) or len(number) > 6:
        raise click.BadParameter(f"{text!r} is no time: write 90s, 30m, 2h or 7d", param_hint="--since")
    return float(int(number) * _UNITS_S[unit])


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
