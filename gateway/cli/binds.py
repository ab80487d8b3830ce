"""`signalbox binds`, `locks`, `unlock`: customers' SMPP sessions of the running gateway, and who is kept out.

Deliberately not here: our own binds to carriers (`signalbox store stats`, /metrics).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.acting import act, act_options, for_option
from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, json_option, place_options

_LIST = "list"


class OrList(click.Group):
    """Without a verb it lists: `binds --account shop` means `binds list --account shop`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [_LIST, *args])


@click.group(cls=OrList, subcommand_metavar="[list | drop ID | ban SYSTEM_ID | unban WHO]")
def binds() -> None:
    """Who is bound over SMPP; end one bind; keep a system_id out."""


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
@act_options
def drop(bind_id: str, preview: bool, place: Place, as_json: bool) -> None:
    """Unbind the session ID of `signalbox binds`. Its customer may bind again: see `binds ban`."""
    dropped = act(place, "binds.drop", preview=preview, as_json=as_json, id=bind_id)
    if dropped is None:
        return
    if as_json:
        print_json(dropped)
    else:
        click.echo(f"{dropped['system_id']} of {dropped['account']} is asked to leave.")


@binds.command()
@click.argument("system_id", metavar="SYSTEM_ID")
@click.option("--address", default="", help="Only from this address or network.")
@for_option
@act_options
def ban(system_id: str, address: str, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """End the binds of SYSTEM_ID and refuse new ones; `signalbox locks` shows it, `binds unban` ends it."""
    made = act(
        place,
        "binds.ban",
        preview=preview,
        as_json=as_json,
        system_id=system_id,
        address=address,
        for_s=for_s,
    )
    if made is None:
        return
    if as_json:
        print_json(made)
    else:
        end = f"until {made['until']}" if made["until"] else "until it is unbanned"
        click.echo(f"{system_id} may not bind {end}; {counted(made['dropped'], 'session')} ended.")


@binds.command()
@click.argument("who")
@act_options
def unban(who: str, preview: bool, place: Place, as_json: bool) -> None:
    """Let WHO bind again: a system_id, or one ban of it as `signalbox locks` shows it."""
    ended = act(place, "binds.unban", preview=preview, as_json=as_json, who=who)
    if ended is None:
        return
    if as_json:
        print_json(ended)
    else:
        click.echo(f"{counted(ended['ended'], 'ban')} ended.")


@click.command()
@place_options
@json_option
def locks(place: Place, as_json: bool) -> None:
    """Who is banned; who is locked out after wrong passwords, those for longest first."""
    found = place.ask("locks.list")
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nobody is locked out.")
    else:
        rows = [
            (
                lock["network"] or "(all)",
                lock["system_id"] or "(all)",
                lock["failures"],
                lock["until"] or "unbanned",
                f"banned by {lock['banned_by']}: {lock['reason']}" if lock.get("banned_by") else "",
            )
            for lock in found
        ]
        print_table(("ADDRESS", "SYSTEM ID", "FAILURES", "UNTIL", "WHY"), rows)


@click.command()
@click.argument("who", metavar="ADDRESS|SYSTEM_ID")
@act_options
def unlock(who: str, preview: bool, place: Place, as_json: bool) -> None:
    """End the locks of an address, or of a system_id wherever it binds from."""
    ended = act(place, "locks.release", preview=preview, as_json=as_json, who=who)
    if ended is None:
        return
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
