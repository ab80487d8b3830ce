"""`signalbox callbacks`: which customers' servers do not take their callbacks, and sending them again.

Deliberately not here: where callbacks go (`signalbox account set NAME --callback-url`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gateway.cli.acting import act, act_options
from gateway.cli.failure import FAILED, OK
from gateway.cli.output import counted, print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, limit_option, place_options

_LONG_S = 6 * 3600
Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def callbacks() -> None:
    """Endpoints that are behind, events that were given up."""


def which_options(command: Command) -> Command:
    """--endpoint and --account: which callbacks are meant."""
    account = click.option("--account", default="", help="Those of this account.")
    return click.option("--endpoint", type=click.IntRange(1), help="Those of this endpoint, by its number.")(
        account(command)
    )


_all = click.option("--all", "everything", is_flag=True, help="Those of all endpoints.")


@callbacks.command("list")
@which_options
@click.option("--all", "everything", is_flag=True, help="Also endpoints that are up to date.")
@place_options
@json_option
def list_endpoints(endpoint: int | None, account: str, everything: bool, place: Place, as_json: bool) -> None:
    """Endpoints that are behind, shut or have given-up events; those most behind first.

    BACKLOG counts what is not delivered yet, GIVEN UP what is not tried any more, OLDEST is the oldest of
    both. The state is the running gateway's: good, failing, open (only probed after many failures), paused
    (the server said Retry-After), disabled (it said 410).
    """
    endpoints = place.ask(
        "callbacks.list", timeout_s=_LONG_S, endpoint=endpoint or 0, account=account, all=everything
    )
    if as_json:
        print_json(endpoints)
    elif not endpoints:
        click.echo("Every callback was taken. `--all` lists the endpoints that are up to date, too.")
    else:
        print_endpoints(endpoints)


@callbacks.command("given-up")
@which_options
@limit_option
@place_options
@json_option
def given_up(endpoint: int | None, account: str, limit: int, place: Place, as_json: bool) -> None:
    """Events that are not tried any more, the last given up first."""
    events = place.ask("callbacks.given_up", endpoint=endpoint or 0, account=account, limit=limit)
    if as_json:
        print_json(events)
    elif not events:
        click.echo("No event was given up.")
    else:
        print_events(events)
        if len(events) == limit:
            click.echo(f"\nOnly the last {limit:,} are shown: --limit shows more.")


@callbacks.command()
@which_options
@_all
@act_options
def replay(
    endpoint: int | None, account: str, everything: bool, preview: bool, place: Place, as_json: bool
) -> None:
    """Send given-up events again, now and with all their attempts before them.

    Each goes to the URL that its account has now, or to the message's own. Its id is the one it had, so that
    a receiver that took it after all drops it.
    """
    done = act(
        place,
        "callbacks.replay",
        preview=preview,
        as_json=as_json,
        timeout_s=_LONG_S,
        endpoint=endpoint or 0,
        account=account,
        all=everything,
    )
    if done is None:
        return
    if as_json:
        print_json(done)
        return
    if done["replayed"]:
        click.echo(f"{counted(done['replayed'], 'event')} put back, due now.")
    else:
        click.echo("No event was given up there.")
    for shut in done["shut"]:
        click.echo(
            f"But {shut['origin']} is {state_text(shut)}. "
            f"To try it now: signalbox callbacks enable --endpoint {shut['endpoint']}"
        )


@callbacks.command()
@which_options
@_all
@acting_options
@json_option
def enable(endpoint: int | None, account: str, everything: bool, place: Place, as_json: bool) -> None:
    """Try endpoints that are disabled, paused or open now, and not when their time comes."""
    done = place.ask("callbacks.enable", endpoint=endpoint or 0, account=account, all=everything)
    if as_json:
        print_json(done)
        return
    if not done["enabled"]:
        click.echo("No endpoint there is shut.")
    if done["replayed"]:
        click.echo(f"{counted(done['replayed'], 'event')} that 410 held up put back, due now.")
    for one in done["enabled"]:
        click.echo(f"{one['origin']} was {one['state']}; it is tried now.")


@callbacks.command()
@click.argument("endpoint", type=click.IntRange(1))
@click.option(
    "--state", type=click.Choice(["ready", "retrying", "given_up"]), default="retrying", show_default=True
)
@limit_option
@place_options
@json_option
def events(endpoint: int, state: str, limit: int, place: Place, as_json: bool) -> None:
    """What the endpoint number ENDPOINT has not taken, oldest first."""
    found: list[dict[str, Any]] = []
    after = ""
    while len(found) < limit:
        page = place.ask(
            "callbacks.events",
            endpoint=endpoint,
            state=state,
            after=after,
            limit=min(limit - len(found), 1000),
        )
        found += page["events"]
        after = page["after"]
        if not after:
            break
    if as_json:
        print_json(found)
    elif not found:
        click.echo("There are none.")
    else:
        columns = ("at", "id", "type", "state", "attempts", "due_at", "given_up_at", "last_error")
        headings = ("HAPPENED", "EVENT", "TYPE", "STATE", "ATTEMPTS", "DUE", "GIVEN UP", "LAST ERROR")
        print_table(headings, [[event[column] for column in columns] for event in found])


@callbacks.command()
@click.argument("endpoint", type=click.IntRange(1))
@place_options
@json_option
def attempts(endpoint: int, place: Place, as_json: bool) -> None:
    """How the last requests to the endpoint number ENDPOINT ended, newest first."""
    found = place.ask("callbacks.attempts", endpoint=endpoint)
    if as_json:
        print_json(found)
    elif not found:
        click.echo("Nothing was sent there since the gateway started.")
    else:
        columns = ("at", "message_id", "events", "outcome", "duration_s", "error")
        headings = ("AT", "MESSAGE", "EVENTS", "OUTCOME", "SECONDS", "ERROR")
        print_table(headings, [[attempt[column] for column in columns] for attempt in found])


@callbacks.command()
@click.argument("account")
@click.option("--kind", type=click.Choice(["receipt", "received"]), default="receipt", show_default=True)
@acting_options
@json_option
def test(account: str, kind: str, place: Place, as_json: bool) -> int:
    """Send ACCOUNT one made-up event, as its own ones are sent, and show what comes back.

    Exits with 1 where it was not taken.
    """
    told = place.ask("callbacks.test", timeout_s=120, account=account, kind=kind)
    if as_json:
        print_json(told)
    else:
        request = told["request"]
        click.echo(f"{request['method']} {request['url']}")
        for name, value in request["headers"].items():
            click.echo(f"{name}: {value}")
        click.echo(f"\n{request['body']}\n" if request["body"] else "")
        click.echo(
            f"Answer after {told['duration_s']:.3f} s: {told['status'] or 'none'} {told['answer']}".rstrip()
        )
        click.echo("Taken." if told["taken"] else f"Not taken: {told['error']}")
    return OK if told["taken"] else FAILED


def print_endpoints(endpoints: list[dict[str, Any]]) -> None:
    headings = ("ENDPOINT", "ACCOUNT", "ORIGIN", "STATE", "BACKLOG", "GIVEN UP", "OLDEST", "WHY")
    rows = [
        (
            str(one["endpoint"]),
            one["account"],
            one["origin"],
            state_text(one),
            one["backlog"],
            one["given_up"],
            one["oldest_at"],
            one["reason"] or one["last_error"],
        )
        for one in endpoints
    ]
    print_table(headings, rows)


def state_text(one: dict[str, Any]) -> str:
    """`open until 2026-01-01T00:00:00.000Z`"""
    return f"{one['state']} until {one['tried_again_at']}" if one["tried_again_at"] else str(one["state"])


def print_events(events: list[dict[str, Any]]) -> None:
    columns = ("given_up_at", "account", "origin", "id", "state", "attempts", "last_error")
    headings = ("GIVEN UP", "ACCOUNT", "ORIGIN", "EVENT", "STATE", "ATTEMPTS", "LAST ERROR")
    print_table(headings, [[event[column] for column in columns] for event in events])
