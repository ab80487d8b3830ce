"""`signalbox binds`, `locks`, `unlock`: customers' SMPP sessions of the running gateway, and who is kept out.

Deliberately not here: our own binds to carriers (`signalbox store stats`, /metrics).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

_LIST = "list"


class OrList(click.Group):
    """Without a verb it lists: `binds --account shop` means `binds list --account shop`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [_LIST, *args])


@click.group(cls=OrList, subcommand_metavar="[list | drop ID]")
def binds() -> None:
    """Who is bound over SMPP; or end one bind."""


@binds.command(_LIST)
@click.option("--account", default="", help="Those of this account.")
@place_options
@json_option
def list_binds(account: str, place: Place, as_json: bool) -> None:
    """Customers' sessions, the longest bound first; `list` may be left out.

    UNANSWERED are submits that wait for their commit, of the window. DELIVERING are receipts and messages
    sent on this session and not answered yet; OUTBOX those that wait for any session of the account (counted
    up to 10,000).
    """
    found = place.ask("binds.list", account=account)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nobody is bound.")
    else:
        print_binds(found)


@binds.command()
@click.argument("bind_id", metavar="ID")
@acting_options
@json_option
def drop(bind_id: str, place: Place, as_json: bool) -> None:
    """Unbind the session ID of `signalbox binds`. Its customer may bind again: see `account suspend`."""
    dropped = place.ask("binds.drop", id=bind_id)
    if as_json:
        print_json(dropped)
    else:
        click.echo(f"{dropped['system_id']} of {dropped['account']} is asked to leave.")


@click.command()
@place_options
@json_option
def locks(place: Place, as_json: bool) -> None:
    """Who is locked out after wrong passwords, those for longest first. Each lock ends by itself."""
    found = place.ask("locks.list")
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nobody is locked out.")
    else:
        rows = [
            (lock["network"], lock["system_id"] or "(all)", lock["failures"], lock["until"]) for lock in found
        ]
        print_table(("ADDRESS", "SYSTEM ID", "FAILURES", "UNTIL"), rows)


@click.command()
@click.argument("who", metavar="ADDRESS|SYSTEM_ID")
@acting_options
@json_option
def unlock(who: str, place: Place, as_json: bool) -> None:
    """End the locks of an address, or of a system_id wherever it binds from."""
    ended = place.ask("locks.release", who=who)
    if as_json:
        print_json(ended)
    else:
        click.echo(f"{counted(ended['released'], 'lock')} ended.")


def print_binds(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["id"],
            one["account"],
            one["system_id"],
            one["bind"],
            one["address"] + (" TLS" if one["tls"] else ""),
            one["version"],
            one["since"],
            one["last_active"],
            one["submits"],
            f"{one['unanswered']}/{one['window']}",
            one["delivering"],
            one["outbox"],
        )
        for one in found
    ]
    headings = (
        "ID", "ACCOUNT", "SYSTEM ID", "BIND", "ADDRESS", "VERSION", "SINCE", "LAST ACTIVE", "SUBMITS",
        "UNANSWERED", "DELIVERING", "OUTBOX",
    )  # fmt: skip
    print_table(headings, rows)
