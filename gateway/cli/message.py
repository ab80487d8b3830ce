"""`signalbox message ID`: where a message is and everything that happened to it; `message cancel ID`,
`message force ID`, `message reroute ID`; `message list` (or `find`): those that fit filters.

Deliberately not here: changing what a message says, many messages at once (`signalbox queue`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from gateway.cli.acting import act, act_options
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Command, Place, json_option, place_options

_BESIDE_TABLES = ("parts", "timeline", "lane", "lane_waits", "before", "before_more", "not_counted")
_SHOW = "show"
_TIME = "RFC 3339, or an age such as 90s, 30m, 2h, 7d"
_PAGE = 1_000


class OrShow(click.Group):
    """A first argument that is no verb is a message's id: `message 7` means `message show 7`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [_SHOW, *args])


@click.group(
    cls=OrShow, subcommand_metavar="ID | cancel|force|reroute ID | list [--to NUMBER] [--account NAME]…"
)
def message() -> None:
    """State and timeline of the message ID; cancel it, send it now or elsewhere; list those that fit."""


@message.command(_SHOW)
@click.argument("message_id", metavar="ID")
@click.option(
    "--text/--no-text", "with_text", default=True, help="With its text: the audit trail tells of it."
)
@place_options
@json_option
def show(message_id: str, with_text: bool, place: Place, as_json: bool) -> None:
    """State and timeline of the message ID; `show` may be left out."""
    view = place.ask("message", id=message_id, **({} if with_text else {"text": False}))
    if as_json:
        print_json(view)
    else:
        print_message(view)


@message.command()
@click.argument("message_id", metavar="ID")
@act_options
def cancel(message_id: str, preview: bool, place: Place, as_json: bool) -> None:
    """End the message ID, if no carrier has accepted it; its account is told DELETED."""
    answer = act(place, "message.cancel", preview=preview, as_json=as_json, id=message_id)
    if answer is None:
        return
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "cancelled":
        click.echo(f"{message_id} is cancelled: DELETED.")
    else:
        click.echo(f"{message_id} is in a carrier's hands. If it comes back unsent, it is not sent again.")


@message.command()
@click.argument("message_id", metavar="ID")
@click.option("--carrier", default="", metavar="NAME", help="Over this one; else whichever can soonest.")
@act_options
def force(message_id: str, carrier: str, preview: bool, place: Place, as_json: bool) -> None:
    """Send the message ID now, before all others of its lane.

    It waits for no back-off, no schedule and no higher choice; for TPS, window and suspensions it does.
    """
    answer = act(place, "message.force", preview=preview, as_json=as_json, id=message_id, carrier=carrier)
    if answer is None:
        return
    if as_json:
        print_json(answer)
    else:
        first = f" First: {answer['waits_for']}." if answer["waits_for"] else ""
        click.echo(f"{message_id} is the next that {answer['carrier']} takes of its lane.{first}")


@message.command()
@click.argument("message_id", metavar="ID")
@click.option("--to", default="", metavar="ROUTE", help="To this route: planned anew through it.")
@click.option("--to-carrier", "--carrier", "carrier", default="", metavar="NAME", help="To it alone.")
@act_options
def reroute(message_id: str, to: str, carrier: str, preview: bool, place: Place, as_json: bool) -> None:
    """Give the message ID, while it waits, another route or carrier."""
    if not (to or carrier):
        raise Failure("say where to: --to ROUTE or --to-carrier NAME", "", USAGE)
    answer = act(
        place,
        "message.reroute",
        preview=preview,
        as_json=as_json,
        id=message_id,
        to=to,
        to_carrier=carrier,
    )
    if answer is None:
        return
    if as_json:
        print_json(answer)
    else:
        what = "is there already" if answer["outcome"] == "there" else f"goes to {answer['to']}"
        click.echo(f"{message_id} {what}: lane {answer['lane']}.")


def filter_options(command: Command) -> Command:
    """What a message must have to be listed; handed to the command by the names of GET /v1/messages."""
    for option in reversed(
        (
            click.option("--to", default="", metavar="NUMBER", help="Recipient: +44…, 0044… or national."),
            click.option("--from", "sender", default="", metavar="SENDER", help="A number or a name."),
            click.option("--account", default="", metavar="NAME[,NAME]", help="Only these accounts'."),
            click.option("--state", default="", metavar="STATE[,STATE]", help="DELIVERED, EXPIRED…"),
            click.option("--client-ref", default="", metavar="REF", help="The customer's own reference."),
            click.option("--tag", default="", help="With this tag."),
            click.option("--since", default="", metavar="TIME", help=f"Accepted from then on: {_TIME}."),
            click.option("--until", default="", metavar="TIME", help="Accepted before then."),
        )
    ):
        command = option(command)
    return command


@message.command("list")
@filter_options
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="At most so many."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180), for spreadsheets.")
@place_options
@json_option
def list_messages(place: Place, limit: int, as_csv: bool, as_json: bool, **filters: str) -> None:
    """Messages, newest first: waiting, sent, ended and archived ones, by any of these. `find` is the same."""
    asked = {"from" if name == "sender" else name: value for name, value in filters.items() if value}
    if as_csv:
        _print_csv(place, asked, limit)
        return
    pages = list(_pages(place, asked, limit))
    messages = [one for page in pages for one in page["messages"]]
    more = bool(pages[-1]["next"])
    if as_json:
        print_json({"messages": messages, "more": more})
        return
    if messages:
        columns = ("accepted_at", "id", "account", "from", "to", "state", "phase", "reason", "carriers")
        rows = [[one.get(column, "") for column in columns] for one in messages]
        print_table([column.removesuffix("_at").upper() for column in columns], rows)
    else:
        click.echo("No message fits.")
    if more:
        click.echo("\nThere may be more: --limit")


message.add_command(list_messages, "find")


def _pages(place: Place, asked: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    """Pages until there are `limit` rows."""
    cursor = ""
    while limit > 0:
        page = place.ask("message.list", **asked, limit=min(limit, _PAGE), cursor=cursor)
        yield page
        limit -= len(page["messages"])
        cursor = page["next"]
        if not cursor:
            return


def _print_csv(place: Place, asked: dict[str, Any], limit: int) -> None:
    """Line by line as pages come; bytes as they are, so that line ends stay CR LF."""
    from gateway.finding import CSV_HEAD, csv_of

    click.echo(CSV_HEAD.encode(), nl=False)
    for page in _pages(place, asked, limit):
        click.echo("".join(csv_of(one) for one in page["messages"]).encode(), nl=False)


def print_message(view: dict[str, Any]) -> None:
    facts = {name: value for name, value in view.items() if name not in _BESIDE_TABLES}
    if view.get("not_counted"):
        facts["attempts"] = f"{view['attempts']}, {view['not_counted']}"
    print_pairs({**facts, "id": view["id"]})
    if view["parts"]:
        click.echo()
        columns = ("carrier", "carrier_message_id", "state", "error")
        rows = [[index, *(part[c] for c in columns)] for index, part in enumerate(view["parts"], 1)]
        print_table(("PART", "CARRIER", "CARRIER ID", "STATE", "ERROR"), rows)
    if view["timeline"]:
        click.echo()
        rows = [[event[c] for c in ("at", "step", "carrier", "detail")] for event in view["timeline"]]
        print_table(("AT", "STEP", "CARRIER", "DETAIL"), rows)
