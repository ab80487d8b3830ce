"""`signalbox reload`: the changed configuration into the running gateway, and what changes by it.

Deliberately not here: configurations that were in force (gateway.cli.revisions).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.admin_client import SOCKET_NAME, AdminAbsent
from gateway.cli.acting import need_reason
from gateway.cli.failure import FAILED, OK, UNREACHABLE, Failure
from gateway.cli.output import counted, print_json
from gateway.cli.place import Place, acting_options, json_option

TIMEOUT_S = 120.0
_MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}

trial_option = click.option(
    "--preview", "--dry-run", "preview", is_flag=True, help="Only show what would change."
)


@click.command()
@trial_option
@click.option("--partial", is_flag=True, help="Apply what needs no restart, and leave the rest as it is.")
@acting_options
@json_option
def reload(preview: bool, partial: bool, place: Place, as_json: bool) -> int:
    """Read the configuration file again and apply it to the running gateway, as one.

    A file with anything wrong in it, or with changes that need a restart, changes nothing (--partial applies
    the rest). Without --config it is the file that the gateway was started with; another file is in force
    until the next reload or restart. On a stopped gateway it ends a roll-back: the next start reads the file.
    """
    path = str(place.config_path.absolute()) if place.was_given else ""
    if not preview:
        need_reason(place)
    try:
        done = place.ask_running(
            "config.reload", timeout_s=TIMEOUT_S, path=path, dry_run=preview, partial=partial
        )
    except AdminAbsent:
        return _stopped(place, preview)
    if as_json:
        print_json(done)
    else:
        print_done(done, preview)
    return FAILED if preview and done["needs_restart"] and not partial else OK


def _stopped(place: Place, preview: bool) -> int:
    ended = False
    if not preview and (place.data_dir / "store").is_dir():
        ended = bool(place.ask("config.end_rollback")["ended"])
    if not ended:
        raise Failure(
            f"no gateway runs on {place.data_dir / SOCKET_NAME}",
            "it reads its file when it starts; `signalbox check` says whether that is right",
            UNREACHABLE,
        )
    click.echo("The roll-back has ended: the next start reads the file.")
    return OK


def print_done(done: dict[str, Any], preview: bool) -> None:
    """What changed, or would change, and what comes of it."""
    for change in done["changes"]:
        print_change(change)
    restart = ", ".join(done["needs_restart"])
    if not done["changes"]:
        click.echo(f"{Path(done['file'])}: nothing changes.")
    elif preview:
        click.echo(f"\n{counted(len(done['changes']), 'change')}; this was a trial: nothing was changed.")
        if restart:
            click.echo(f"needs a restart: {restart}. Refused without --partial, which applies the rest.")
    elif done["applied"]:
        click.echo(
            f"\n{counted(len(done['changes']), 'change')} applied. Revision {done['revision']} is in force."
        )
    for lane in done["waiting"]:
        if not lane["planned_anew"]:
            click.echo(f"lane {lane['lane']}: {counted(lane['messages'], 'message')} waiting, to stay there")
    if done["planned_anew"] and not preview:
        click.echo(
            f"{counted(done['planned_anew'], 'message')} being planned anew; the log says when it is done."
        )
    if restart and not preview:
        click.echo(f"left as it was, needs a restart: {restart}")
    for warning in done["warnings"]:
        click.echo(f"warning: {warning}")


def print_change(change: dict[str, Any]) -> None:
    """`~ carriers north` with a line for each key below."""
    what = "" if change["what"] in ("added", "removed", "changed") else f" {change['what']}"
    binds = ", its binds are drained and replaced" if change["rebinds"] else ""
    click.echo(f"{_MARKS[change['what']]} {change['section']} {change['name']}".rstrip() + what + binds)
    for key in change["keys"]:
        old, new = _short(key["old"]), _short(key["new"])
        if change["what"] == "added":
            click.echo(f"    {key['key']} = {new}")
        elif change["what"] == "removed":
            click.echo(f"    {key['key']} was {old}")
        else:
            click.echo(f"    {key['key']}: {old} → {new}")


def _short(value: object) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
