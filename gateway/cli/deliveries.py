"""`signalbox deliveries`: receipts and inbound messages that customers do not have yet.

Deliberately not here: which callback endpoint is shut (`signalbox callbacks`), what was given up (the same).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.acting import act, act_options
from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, json_option, place_options

_LONG_S = 6 * 3600


@click.group()
def deliveries() -> None:
    """Who is behind over SMPP and HTTP; receipts again; move to the other one."""


@deliveries.command("list")
@click.option("--account", default="", help="That of this account.")
@click.option("--all", "everything", is_flag=True, help="Also accounts that are up to date.")
@place_options
@json_option
def list_backlogs(account: str, everything: bool, place: Place, as_json: bool) -> None:
    """What waits for customers, by account, channel and age; those most behind first.

    OLDEST is how long ago the oldest that waits happened, the columns < 1 MIN to OLDER how many are how old.
    Of the channel http `signalbox callbacks list` tells more. GIVEN UP is what the customer refused for good,
    or did not fetch within its deliver_expiry_s: `signalbox callbacks replay --account NAME` sends it again.
    """
    found = place.ask("deliveries.list", timeout_s=_LONG_S, account=account, all=everything)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nothing waits for a customer. `--all` lists the accounts that are up to date, too.")
    else:
        print_backlogs(found)


@deliveries.command()
@click.option("--account", required=True, help="Whose receipts.")
@click.option("--from", "since", default="", metavar="TIME", help="Of messages accepted from then on (UTC).")
@click.option("--to", "until", default="", metavar="TIME", help="Of messages accepted before then (UTC).")
@click.option("--id", "message_id", default="", metavar="ID", help="Of this message.")
@click.option("--state", default="", help="Of messages that ended so: DELIVERED, UNDELIVERABLE, EXPIRED…")
@click.option("--received", is_flag=True, help="Inbound messages, and not receipts.")
@click.option("--resume", is_flag=True, help="Go on with the replay that was cut off.")
@click.option("--abandon", is_flag=True, help="Forget the replay that was cut off, and begin this one.")
@act_options
def replay(
    account: str,
    since: str,
    until: str,
    message_id: str,
    state: str,
    received: bool,
    resume: bool,
    abandon: bool,
    preview: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Tell an account again how its messages ended, from the queue and the archive.

    Receipts only of messages whose submitter asked for one; with --received inbound messages. They go where
    the account wants them now, over SMPP or HTTP, and may be repeated to a customer who had them.
    """
    done = act(
        place,
        "deliveries.replay",
        preview=preview,
        as_json=as_json,
        timeout_s=_LONG_S,
        account=account,
        since=since,
        until=until,
        id=message_id,
        state=state,
        kind="received" if received else "receipts",
        resume=resume,
        abandon=abandon,
    )
    if done is None:
        return
    if as_json:
        print_json(done)
    else:
        messages = counted(done["messages"], "inbound message" if received else "finished message")
        told = counted(done["receipts"], "event" if received else "receipt")
        click.echo(f"{told} of {messages} queued.")


@deliveries.command()
@click.option("--account", required=True, help="Whose events.")
@click.option("--to", "target", required=True, type=click.Choice(("http", "smpp")), help="Where they go.")
@act_options
def move(account: str, target: str, preview: bool, place: Place, as_json: bool) -> None:
    """Send what waits to the account's callback URL instead of its sessions, or the other way round.

    What comes later goes as before: `signalbox account set NAME --receipts-via … --mos-via …` changes that.
    """
    done = act(
        place,
        "deliveries.move",
        preview=preview,
        as_json=as_json,
        timeout_s=_LONG_S,
        account=account,
        to=target,
    )
    if done is None:
        return
    if as_json:
        print_json(done)
    else:
        click.echo(f"{counted(done['moved'], 'event')} moved to {target.upper()}.")


def print_backlogs(found: list[dict[str, Any]]) -> None:
    headings = (
        "ACCOUNT", "CHANNEL", "RECEIVERS", "BACKLOG", "OLDEST", "UNDER WAY", "RETRYING", "< 1 MIN", "< 1 H",
        "< 1 DAY", "OLDER", "GIVEN UP", "WHY",
    )  # fmt: skip
    rows = [
        (
            one["account"],
            one["channel"],
            one["receivers"],
            one["backlog"],
            age_text(one["oldest_age_s"]),
            one["under_way"],
            one["retrying"],
            *one["ages"].values(),
            one["given_up"],
            one["reason"] or one["last_error"],
        )
        for one in found
    ]
    print_table(headings, rows)
    for one in {one["account"]: one for one in found}.values():
        if one["replay"]:
            click.echo(f"\nA replay was cut off after {counted(one['replay']['messages'], 'message')}:")
            click.echo(f"  signalbox deliveries replay --account {one['account']} --resume")


def age_text(age_s: int | None) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`; "" where there is nothing."""
    if age_s is None:
        return ""
    minutes, hours, days = age_s // 60, age_s // 3600, age_s // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{age_s} s"
