"""`signalbox privacy`: everything that is kept about one number; take it out; prove that it was.

Deliberately not here: how long things are kept by themselves ([retention], docs/privacy.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from gateway.cli.acting import need_reason
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options

_LONG_S = 6 * 3600

also_option = click.option(
    "--also",
    multiple=True,
    metavar="SPELLING",
    help="A further spelling that carriers may have used, as a national form. Can be given again.",
)


@click.group()
def privacy() -> None:
    """One number: export what is kept, erase it, prove it."""


@privacy.command()
@click.argument("number")
@also_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file, readable by you alone.  [default: the standard output]",
)
@acting_options
def export(number: str, also: tuple[str, ...], output: Path | None, place: Place) -> None:
    """Everything that is kept about NUMBER as recipient or sender, one JSON object a line.

    Messages, also archived ones, inbound messages, receipts, events, call detail records and entries of the
    audit trail; each says what it is in `kind`. A text that only mentions the number is not its own.
    """
    count = 0
    with _opened(output) as file:
        after = ""
        while True:
            portion = place.ask("privacy.export", timeout_s=_LONG_S, number=number, also=also, after=after)
            for record in portion["records"]:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
            after = portion["after"]
            if not after:
                break
    if output is not None:
        click.echo(f"{count:,} {'record' if count == 1 else 'records'} written to {output}.")


@privacy.command()
@click.argument("number")
@also_option
@click.option("--preview", is_flag=True, help="Only tell what it would touch.")
@click.option(
    "--cancel-unfinished",
    is_flag=True,
    help="Messages to the number that have not ended end now; what a carrier has taken ends as UNKNOWN.",
)
@click.option("--now", is_flag=True, help="Drop events that still wait to be delivered to customers.")
@acting_options
@json_option
def erase(
    number: str,
    also: tuple[str, ...],
    preview: bool,
    cancel_unfinished: bool,
    now: bool,
    place: Place,
    as_json: bool,
) -> None:
    """Take NUMBER, and what was said to and by it, out of everything that is kept.

    Messages stay without number and text, so that counts and bills stay right. The audit trail stays, and
    gets an entry that does not name the number. Bytes of the hot store are gone after `signalbox store
    compact`.
    """
    if not preview:
        need_reason(place)
    result = place.ask(
        "privacy.erase",
        timeout_s=_LONG_S,
        number=number,
        also=also,
        cancel_unfinished=cancel_unfinished,
        now=now,
        preview=preview,
    )
    if as_json:
        print_json(result)
    elif preview:
        for line in result["touches"]:
            click.echo(line)
        for line in result["warnings"]:
            click.echo(f"note: {line}", err=True)
    else:
        erased = {kind: count for kind, count in result["erased"].items() if count}
        if erased:
            print_table(("KIND", "ERASED"), [[kind, count] for kind, count in sorted(erased.items())])
        else:
            click.echo("Nothing was kept about this number.")
        for why, count in result["left"].items():
            click.echo(f"left: {count:,} {why}; erase again later", err=True)
        click.echo(f"\nThe audit trail calls it {result['subject']}.")
        click.echo("Old bytes of the hot store go with: signalbox store compact (on the stopped gateway)")


@privacy.command()
@click.argument("number")
@place_options
@json_option
def proof(number: str, place: Place, as_json: bool) -> None:
    """What the audit trail knows of exporting and erasing NUMBER, which it does not name."""
    told = place.ask("privacy.proof", number=number)
    if as_json:
        print_json(told)
        return
    click.echo(f"{told['subject']}{', an erasing is under way' if told['under_way'] else ''}")
    if told["entries"]:
        rows = [(one["number"], one["at"], one["who"], one["act"], one["reason"]) for one in told["entries"]]
        print_table(("NUMBER", "AT", "WHO", "ACT", "REASON"), rows)
    else:
        click.echo("Never exported, never erased.")
    click.echo(f"The store was compacted last: {told['compacted_at'] or 'never'}")


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Failure(f"{output} exists", "name a file that does not", USAGE) from None
    except OSError as error:
        raise Failure(f"cannot write {output}: {error.strerror}", exit_code=USAGE) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yield file
