"""`signalbox store`: figures, check, backup, restore, release, compact, salvage.

`stats`, `check`, `backup` and `release` work on a running gateway too; the others need it stopped, because
they replace files that it has open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.acting import need_reason, preview_option, print_preview
from gateway.cli.failure import FAILED, UNREACHABLE, USAGE, Failure
from gateway.cli.offline import STORE_DIRECTORY, store_failures
from gateway.cli.output import counted, print_json, print_pairs, print_table
from gateway.cli.place import Place, json_option, place_options, releasing_options

_LONG_S = 6 * 3600
_directory = click.Path(path_type=Path, file_okay=False)


@click.group()
def store() -> None:
    """Figures, check, backup, restore, release, compact."""


@store.command()
@place_options
@json_option
def stats(place: Place, as_json: bool) -> None:
    """How many messages are in which phase, and whether none got lost."""
    figures = place.ask("store.stats")
    if as_json:
        print_json(figures)
        return
    rows: list[list[Any]] = [
        [name, counts["messages"], counts["segments"]] for name, counts in figures["phases"].items()
    ]
    rows.append(["accepted", figures["accepted"]["messages"], figures["accepted"]["segments"]])
    print_table(("PHASE", "MESSAGES", "SEGMENTS"), rows)
    holds = figures["conserved"]
    click.echo("\nEvery accepted message is accounted for." if holds else "\nTHE TERMS DO NOT ADD UP.")
    if not holds:
        raise Failure("the conservation law does not hold", "run: signalbox store check", FAILED)


@store.command()
@place_options
@json_option
def check(place: Place, as_json: bool) -> int:
    """Verify every record, index and counter.

    On a running gateway the counters are compared as far as a moving store allows; stop it to have all of
    them compared.
    """
    findings = place.ask("store.check", timeout_s=_LONG_S)
    if as_json:
        print_json(findings)
    elif not findings:
        click.echo("The store is sound.")
    else:
        print_table(("WHERE", "WHAT"), [[finding["where"], finding["what"]] for finding in findings])
        click.echo(f"\n{len(findings):,} findings. Keep a backup: signalbox store backup DIRECTORY", err=True)
    return FAILED if findings else 0


@store.command()
@click.argument("target", type=_directory)
@place_options
@json_option
def backup(target: Path, place: Place, as_json: bool) -> None:
    """Copy the store into the new directory TARGET, while the gateway goes on."""
    if target.exists() and any(target.iterdir()):
        raise Failure(f"{target} is not empty", "give a directory that does not exist yet", USAGE)
    result = place.ask("store.backup", timeout_s=_LONG_S, target=str(target.resolve()))
    if as_json:
        print_json(result)
    else:
        click.echo(f"Copied to {target}. Put it back with: signalbox store restore {target}")


@store.command()
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
@place_options
@json_option
def restore(source: Path, place: Place, as_json: bool) -> None:
    """Start from the backup in SOURCE. What was ready then is HELD until `store release`."""
    from store.backup import restore as restore_into

    need_stopped(place, "restore")
    directory = place.data_dir / STORE_DIRECTORY
    if directory.is_dir() and any(directory.iterdir()):
        raise Failure(f"there is a store in {directory}", "move it away, or give another --data-dir", USAGE)
    with store_failures():
        restore_into(source, directory)
    if as_json:
        print_json({"source": str(source), "target": str(directory)})
    else:
        click.echo(
            f"Restored into {directory}. Nothing that waited then is sent until: signalbox store release"
        )


@store.command()
@click.option(
    "--reason",
    type=click.Choice(["restored", "unknown", "suspect", "refused"]),
    default="restored",
    show_default=True,
    help="Why they are held: a restore, an outcome that nobody knows, links that ended again and again, or a "
    "refusal.",
)
@click.option("--carrier", default="", help="With --reason unknown or suspect: only what this carrier had.")
@preview_option
@releasing_options
@json_option
def release(reason: str, carrier: str, preview: bool, place: Place, as_json: bool) -> None:
    """Let held messages be sent.

    `restored` are those that a restore held. `unknown` are those that a carrier had when the link or the
    process died: whether it took them is not known, so each may arrive twice. `suspect` are those whose links
    ended again and again, the last time with nothing else on it; each is sent alone once more. `refused` are
    those that a carrier refused with a status that its configuration holds. A single one is given up with
    `signalbox message cancel ID`.
    """
    if not preview:
        need_reason(place, "--because")
    result = place.ask("held.release", timeout_s=_LONG_S, held_as=reason, carrier=carrier, preview=preview)
    if preview and not as_json:
        print_preview(result)
    elif as_json:
        print_json(result)
    else:
        click.echo(released_text(result["released"], reason, carrier))


_HELD = {
    "restored": "by a restore",
    "unknown": "with an unknown outcome",
    "suspect": "for ending links",
    "refused": "after a refusal",
}


def released_text(count: int, reason: str, carrier: str) -> str:
    """How many, and what it means for the people who get them."""
    if not count:
        return f"No message is held {_HELD[reason]}{f' at {carrier}' if carrier else ''}."
    told = f"{counted(count, 'message')} released."
    if reason == "refused":
        return told
    if reason == "restored":
        return f"{told} What was sent after the backup was made goes out again."
    return (
        f"{told} Each may arrive twice: whether {carrier or 'its carrier'} took it before is not known. "
        "They are marked possible_duplicate."
    )


@store.command()
@click.option(
    "--archive/--no-archive", default=True, show_default=True, help="The archive's days, too, one by one."
)
@place_options
@json_option
def compact(archive: bool, place: Place, as_json: bool) -> None:
    """Write the files of a stopped gateway's store anew: smaller, and without a byte of what was erased.

    Takes some 20 seconds for a million messages, and as much room as the files have now.
    """
    from store.backup import compact as compact_in_place
    from store.options import wall_ms

    need_stopped(place, "compact")
    directory = existing(place)
    before = size_of(directory)
    with store_failures():
        compact_in_place(directory, wall_ms(), archive=archive)
    now = size_of(directory)
    if as_json:
        print_json({"bytes_before": before, "bytes_now": now})
    else:
        click.echo(f"{before:,} bytes before, {now:,} now.")


@store.command()
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("target", type=_directory)
@json_option
def salvage(source: Path, target: Path, as_json: bool) -> None:
    """Read what can be read of the damaged store in SOURCE into a new one in TARGET."""
    from store.salvage import salvage as salvage_into

    with store_failures():
        report = salvage_into(source, target)
    if as_json:
        print_json(report)
    else:
        print_pairs(report)


def need_stopped(place: Place, verb: str) -> None:
    if place.is_running():
        raise Failure(f"the gateway runs; {verb} needs it stopped", "stop it first", UNREACHABLE)


def existing(place: Place) -> Path:
    directory = place.data_dir / STORE_DIRECTORY
    if not directory.is_dir():
        raise Failure(f"there is no store in {directory}", "is --data-dir (or --config) right?")
    return directory


def size_of(directory: Path) -> int:
    """Bytes on disk: LMDB's files are sparse, so blocks count, not lengths."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
