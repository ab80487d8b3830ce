"""`signalbox audit`: who changed what, newest first, and whether all of it is still there as it was written.

Deliberately not here: log lines (they are the gateway's own), what customers submitted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.failure import FAILED, OK
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, limit_option, place_options

_LONG_S = 6 * 3600


@click.group()
def audit() -> None:
    """Who changed what; whether the trail is whole."""


@audit.command("list")
@click.option("--subject", default="", help="Of this account, system_id, operator, address or carrier.")
@click.option("--before", type=click.IntRange(1), help="Go on behind the entry with this number.")
@limit_option
@place_options
@json_option
def list_entries(subject: str, before: int | None, limit: int, place: Place, as_json: bool) -> None:
    """Changes that operators made, newest first."""
    entries = place.ask("audit.list", subject=subject, limit=limit, before=before or 0)
    if as_json:
        print_json(entries)
    elif not entries:
        click.echo("No entry.")
    else:
        rows = [
            (one["number"], one["at"], f"{one['who']} ({one['via']})", one["act"], one["subject"], _what(one))
            for one in entries
        ]
        print_table(("NUMBER", "AT", "WHO", "ACT", "SUBJECT", "WHAT"), rows)
        if len(entries) == limit:
            click.echo(f"\nOnly the newest {limit:,} are shown: --limit or --before shows more.")


@audit.command()
@click.option("--after", type=click.IntRange(0), default=0, help="Begin behind the entry with this number.")
@place_options
def export(after: int, place: Place) -> None:
    """All entries, oldest first, one JSON object a line.

    --after goes on where an earlier export ended.
    """
    while page := place.ask("audit.export", after=after):
        for one in page:
            click.echo(json.dumps(one, ensure_ascii=False))
        after = page[-1]["number"]


@audit.command()
@click.option("--noted", default="", metavar="NUMBER:HASH", help="The entry that an earlier verify printed.")
@click.option(
    "--heads",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A copy of the file of noted entries that was kept elsewhere.  [default: the gateway's own]",
)
@place_options
@json_option
def verify(noted: str, heads: Path | None, place: Place, as_json: bool) -> int:
    """Check that no entry was altered, removed or moved.

    Each entry carries the hash of the one before it. Somebody who can write the store's file could write all
    of the trail anew; so the newest entry is noted once a day in a file beside it ([audit] head_file), which
    is compared. Keep a copy of it, or of what this prints, elsewhere: --heads and --noted take them.
    """
    asked = {"heads": str(heads.absolute())} if heads else {}
    if heads is None and place.was_given and place.config.audit.head_file:
        asked = {"heads": str(place.config.audit.head_file)}
    state = place.ask("audit.verify", timeout_s=_LONG_S, noted=noted, **asked)
    if as_json:
        print_json(state)
    elif state["findings"]:
        for finding in state["findings"]:
            click.echo(f"{finding['where']}: {finding['what']}")
    elif not state["entries"]:
        click.echo("The audit trail is empty.")
    else:
        entries = "entry" if state["entries"] == 1 else "entries"
        compared = f" It agrees with {state['heads']:,} noted before." if state["heads"] else ""
        click.echo(f"The audit trail is whole: {state['entries']:,} {entries}.{compared}")
        click.echo(f"The newest is {state['last']}")
    return FAILED if state["findings"] else OK


def _what(one: dict[str, Any]) -> str:
    """`tps: 5 → 10; window: 100 → 10 (customer asked)`"""
    before, after = one["before"], one["after"]
    changes = [
        f"{name}: {_short(before[name])} → {_short(value)}" if name in before else f"{name}: {_short(value)}"
        for name, value in after.items()
    ]
    reason = f"({one['reason']})" if one["reason"] else ""
    return " ".join(filter(None, ("; ".join(changes), reason)))


def _short(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
