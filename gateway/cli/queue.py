"""`signalbox queue`: move what waits to another route or carrier; bounce it.

Deliberately not here: what waits, and why (`signalbox queues`), one message (`signalbox message`).
"""

from __future__ import annotations

import sys
from typing import Any

import click

from gateway.cli.acting import Span, act, act_options, print_preview
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import counted, print_json
from gateway.cli.place import Command, Place

_LONG_S = 120.0  # of one call, which ends by itself after less


@click.group()
def queue() -> None:
    """Move what waits to another route or carrier; bounce it."""


def filter_options(command: Command) -> Command:
    """Which messages, handed to the command by the names of the acts' arguments."""
    phases = click.Choice(("ready", "deferred", "scheduled", "held"))
    for option in reversed(
        (
            click.option("--lane", default="", help="In this lane, as `signalbox queues` shows it."),
            click.option("--carrier", default="", metavar="NAME", help="In lanes that have this carrier."),
            click.option("--route", default="", metavar="NAME", help="That came by this route."),
            click.option("--account", default="", metavar="NAME", help="Of this account."),
            click.option("--prefix", default="", metavar="DIGITS", help="To numbers that begin so."),
            click.option("--country", default="", metavar="XX", help="To this country: GB, DE…"),
            click.option("--priority", type=click.IntRange(0, 3), help="Of this priority; 3 is the first."),
            click.option("--older-than", type=Span(), metavar="TIME", help="Accepted so long ago: 10m, 2h."),
            click.option("--phase", type=phases, help="Only these."),
            click.option("--first-id", default="", metavar="ID", help="From this message on."),
            click.option("--last-id", default="", metavar="ID", help="Up to this message."),
            click.option("--all", "every", is_flag=True, help="Everything that waits."),
        )
    ):
        command = option(command)
    return command


def _sure_option(command: Command) -> Command:
    return click.option("--yes", is_flag=True, help="Do not ask before it is done.")(command)


@queue.command()
@filter_options
@click.option("--to", default="", metavar="ROUTE", help="To this route: planned anew through it.")
@click.option("--to-carrier", default="", metavar="NAME", help="To this carrier alone.")
@_sure_option
@act_options
def move(
    to: str, to_carrier: str, preview: bool, yes: bool, place: Place, as_json: bool, **which: Any
) -> None:
    """Give waiting messages that fit another lane; those that cannot go there stay, and are told of.

    They keep their place by age, their priority, validity and price. What carriers have in hand stays there.
    """
    if not (to or to_carrier):
        carrier = which.get("carrier")
        hint = f"--carrier {carrier} says which messages: those in lanes that have it" if carrier else ""
        raise Failure("say where to: --to ROUTE or --to-carrier NAME", hint, USAGE)
    done = _act(place, "queue.move", _arguments(which, to=to, to_carrier=to_carrier), preview, yes, as_json)
    if done is not None:
        click.echo(f"{counted(done['count'], 'message')} moved to {done['to']}.")
        _tell_stayed(done)


@queue.command()
@filter_options
@click.option(
    "--state",
    type=click.Choice(("undeliverable", "rejected")),
    default="undeliverable",
    show_default=True,
    help="What their senders are told.",
)
@_sure_option
@act_options
def bounce(state: str, preview: bool, yes: bool, place: Place, as_json: bool, **which: Any) -> None:
    """End waiting messages that fit, for good; who asked for receipts is told.

    What a carrier has in hand, and what may have been sent already, is not touched.
    """
    done = _act(place, "queue.bounce", _arguments(which, state=state), preview, yes, as_json)
    if done is not None:
        click.echo(f"{counted(done['count'], 'message')} ended as {done['state']}.")
        _tell_stayed(done)


def _arguments(which: dict[str, Any], **more: Any) -> dict[str, Any]:
    renamed = {"older_than": "older_than_s", "every": "all"}
    return {
        renamed.get(name, name): value for name, value in {**which, **more}.items() if value not in (None, "")
    }


def _act(
    place: Place, verb: str, arguments: dict[str, Any], preview: bool, yes: bool, as_json: bool
) -> dict[str, Any] | None:
    """What was done, for people to be told; None: they have been told."""
    if preview:
        act(place, verb, preview=True, as_json=as_json, **arguments)
        return None
    if not yes and place.reason.strip():
        if as_json or not sys.stdin.isatty():
            raise Failure("nothing was done: nobody could be asked", "--yes does it", USAGE)
        print_preview(place.ask(verb, preview=True, **arguments))
        click.confirm("Go on?", abort=True)
    total = _until_complete(place, verb, arguments)
    if as_json:
        print_json(total)
        return None
    return total


def _until_complete(place: Place, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A call ends after some time; the next one goes on where it ended."""
    name = "moved" if verb == "queue.move" else "bounced"
    count = segments = 0
    stayed: dict[str, int] = {}
    while True:
        done: dict[str, Any] = act(place, verb, preview=False, as_json=False, timeout_s=_LONG_S, **arguments)
        count, segments = count + done[name], segments + done["segments"]
        arguments = {**arguments, "after": done["next"]}
        for why, one in done["stayed"].items():
            stayed[why] = stayed.get(why, 0) + one
        if done["complete"]:
            return {**done, name: count, "count": count, "segments": segments, "stayed": stayed}
        click.echo(f"{count:,} so far", err=True)


def _tell_stayed(done: dict[str, Any]) -> None:
    for why, count in done["stayed"].items():
        click.echo(f"{counted(count, 'message')} stay: {why}.")
