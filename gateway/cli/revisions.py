"""`signalbox config`: the configurations that were in force, what differs between them, and the way back.

Deliberately not here: taking in a changed file (gateway.cli.reload).
"""

from __future__ import annotations

import click

from gateway.cli.acting import need_reason
from gateway.cli.failure import FAILED, OK
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options
from gateway.cli.reload import TIMEOUT_S, print_change, print_done, trial_option

_NUMBER = click.IntRange(1)


@click.group()
def config() -> None:
    """Configurations that were in force; go back to one."""


@config.command("revisions")
@place_options
@json_option
def list_revisions(place: Place, as_json: bool) -> None:
    """Every configuration that was accepted, newest first; the newest 100 are kept."""
    revisions = place.ask("config.revisions")
    if as_json:
        print_json(revisions)
    elif not revisions:
        click.echo("No revision yet: the first one is kept when the gateway starts.")
    else:
        rows = [
            (
                one["number"],
                one["at"],
                f"{one['who']} ({one['via']})",
                f"rollback to {one['back_to']}" if one["back_to"] else one["how"],
                one["changes"],
                one["digest"][:12] if one["has_text"] else "not kept",
                one["reason"],
            )
            for one in revisions
        ]
        print_table(("NUMBER", "AT", "WHO", "HOW", "CHANGES", "TEXT", "WHY"), rows)


@config.command()
@click.argument("number", type=_NUMBER)
@place_options
@json_option
def show(number: int, place: Place, as_json: bool) -> None:
    """The text of a revision; secrets that were written out in it are kept out."""
    revision = place.ask("config.show", number=number)
    if as_json:
        print_json(revision)
    else:
        click.echo(revision["text"], nl=not revision["text"].endswith("\n"))


@config.command()
@click.argument("older", type=_NUMBER)
@click.argument("newer", type=_NUMBER, required=False)
@place_options
@json_option
def diff(older: int, newer: int | None, place: Place, as_json: bool) -> None:
    """What changes from revision OLDER to NEWER, or to what is in force. Needs a running gateway.

    Secrets that were written out are compared as they are now, so they never differ.
    """
    found = place.ask("config.diff", older=older, newer=newer or 0)
    if as_json:
        print_json(found)
        return
    for change in found["changes"]:
        print_change(change)
    if not found["changes"]:
        click.echo("Nothing differs.")


@config.command()
@click.argument("number", type=_NUMBER)
@trial_option
@click.option("--partial", is_flag=True, help="Apply what needs no restart, and leave the rest as it is.")
@acting_options
@json_option
def rollback(number: int, preview: bool, partial: bool, place: Place, as_json: bool) -> int:
    """Put revision NUMBER in force again, as `reload` does with a file. Needs a running gateway.

    It stays in force over restarts, whatever the file says, until the next `signalbox reload`. Secrets that
    were written out in it are taken from the configuration in force.
    """
    if not preview:
        need_reason(place)
    done = place.ask("config.rollback", timeout_s=TIMEOUT_S, number=number, dry_run=preview, partial=partial)
    if as_json:
        print_json(done)
    else:
        print_done(done, preview)
        if not preview:
            click.echo("The file is not in force until the next `signalbox reload`.")
    return FAILED if preview and done["needs_restart"] and not partial else OK
