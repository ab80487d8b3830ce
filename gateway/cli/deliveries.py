"""`signalbox deliveries`: receipts and inbound messages for customers' SMPP sessions that are not there yet.

Deliberately not here: callbacks (`signalbox callbacks`), what was given up (the same).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

_LONG_S = 6 * 3600


@click.group()
def deliveries() -> None:
    """Who is behind over SMPP; receipts again; move to HTTP."""


@deliveries.command("list")
@click.option("--account", default="", help="That of this account.")
@click.option("--all", "everything", is_flag=True, help="Also accounts that are up to date.")
@place_options
@json_option
def list_backlogs(account: str, everything: bool, place: Place, as_json: bool) -> None:
    """What waits for customers' sessions, by account and age; those most behind first.

    The columns < 1 MIN to OLDER are how long ago it happened. GIVEN UP is what the customer refused for good,
    or did not fetch within its deliver_expiry_s: `signalbox callbacks replay --account NAME` sends it again.
    """
    found = place.ask("deliveries.list", timeout_s=_LONG_S, account=account, all=everything)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nothing waits for a session. `--all` lists the accounts that are up to date, too.")
    else:
        print_backlogs(found)


@deliveries.command()
@click.option("--account", required=True, help="Whose receipts.")
@click.option("--from", "since", default="", metavar="TIME", help="Of messages accepted from then on (UTC).")
@click.option("--to", "until", default="", metavar="TIME", help="Of messages accepted before then (UTC).")
@click.option("--id", "message_id", default="", metavar="ID", help="Of this message.")
@click.option("--state", default="", help="Of messages that ended so: DELIVERED, UNDELIVERABLE, EXPIRED…")
@click.option("--resume", is_flag=True, help="Go on with the replay that was cut off.")
@click.option("--abandon", is_flag=True, help="Forget the replay that was cut off, and begin this one.")
@acting_options
@json_option
def replay(
    account: str,
    since: str,
    until: str,
    message_id: str,
    state: str,
    resume: bool,
    abandon: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Tell an account again how its messages ended, from the queue and the archive.

    Only of messages whose submitter asked for a receipt. They go where the account wants its receipts now,
    over SMPP or HTTP, and may be repeated to a customer who had them.
    """
    done = place.ask(
        "deliveries.replay",
        timeout_s=_LONG_S,
        account=account,
        since=since,
        until=until,
        id=message_id,
        state=state,
        resume=resume,
        abandon=abandon,
    )
    if as_json:
        print_json(done)
    else:
        messages = counted(done["messages"], "finished message")
        click.echo(f"{counted(done['receipts'], 'receipt')} of {messages} queued.")


@deliveries.command()
@click.option("--account", required=True, help="Whose events.")
@click.option("--to", "target", required=True, type=click.Choice(("http", "smpp")), help="Where they go.")
@acting_options
@json_option
def move(account: str, target: str, place: Place, as_json: bool) -> None:
    """Send what waits to the account's callback URL instead of its sessions, or the other way round.

    What comes later goes as before: `signalbox account set NAME --receipts-via … --mos-via …` changes that.
    """
    done = place.ask("deliveries.move", timeout_s=_LONG_S, account=account, to=target)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{counted(done['moved'], 'event')} moved to {target.upper()}.")


def print_backlogs(found: list[dict[str, Any]]) -> None:
    headings = (
        "ACCOUNT", "RECEIVERS", "BACKLOG", "UNDER WAY", "RETRYING", "< 1 MIN", "< 1 H", "< 1 DAY", "OLDER",
        "GIVEN UP", "OLDEST", "LAST ERROR",
    )  # fmt: skip
    rows = [
        (
            one["account"],
            one["receivers"],
            one["backlog"],
            one["under_way"],
            one["retrying"],
            *one["ages"].values(),
            one["given_up"],
            one["oldest_at"],
            one["last_error"],
        )
        for one in found
    ]
    print_table(headings, rows)
    for one in found:
        if one["replay"]:
            click.echo(f"\nA replay was cut off after {counted(one['replay']['messages'], 'message')}:")
            click.echo(f"  signalbox deliveries replay --account {one['account']} --resume")
