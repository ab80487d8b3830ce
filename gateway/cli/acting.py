"""What commands that act on live traffic share: --for, --until, --preview, --reason, a preview in print.

Deliberately not here: any command, which acts there are (gateway.acts).
"""

from __future__ import annotations

import functools
import re
import sys
from datetime import UTC, datetime
from typing import Any

import click

from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import as_text, counted, print_json
from gateway.cli.place import Command, Place, acting_options, json_option
from gateway.ends import seconds_until

_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d|)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(click.ParamType[float]):
    """Seconds from `90`, `90s`, `15m`, `2h`, `1d`."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = _SPAN.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no time; write it as 90s, 15m, 2h or 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class End(click.ParamType[float]):
    """Seconds until `14:30`, `14:30Z` (the next one) or an ISO 8601 time; UTC."""

    name = "end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return seconds_until(str(value), now())
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def now() -> datetime:
    """By the wall clock."""
    return datetime.now(UTC)


def for_option(command: Command) -> Command:
    """--for: how long; or --until: which time. Either comes as `for_s`."""

    @click.option(
        "--for", "for_s", type=Span(), default=0.0, metavar="TIME", help="As 30m or 2h; else until ended."
    )
    @click.option(
        "--until", "until_s", type=End(), metavar="UTC", help="Instead: as 14:30, or 2030-01-31T14:30Z."
    )
    @functools.wraps(command)
    def with_end(*args: Any, for_s: float, until_s: float | None, **kwargs: Any) -> Any:
        if for_s and until_s is not None:
            raise click.UsageError("give --for or --until, and not both")
        return command(*args, for_s=for_s if until_s is None else until_s, **kwargs)

    return with_end  # type: ignore[return-value]


def preview_option(command: Command) -> Command:
    """--preview: what it would touch."""
    return click.option("--preview", is_flag=True, help="Only say what it would touch; change nothing.")(
        command
    )


def act_options(command: Command) -> Command:
    """--preview, --reason, --json and where the gateway is."""
    return preview_option(acting_options(json_option(command)))


def act(
    place: Place,
    verb: str,
    *,
    preview: bool,
    as_json: bool,
    timeout_s: float | None = None,
    **args: Any,
) -> Any:
    """The verb's result; None when only its preview was asked for, which is printed. Raises Failure."""
    if preview:
        told = place.ask(verb, timeout_s=timeout_s, preview=True, **args)
        if as_json:
            print_json(told)
        else:
            print_preview(told)
        return None
    need_reason(place)
    return place.ask(verb, timeout_s=timeout_s, **args)


def need_reason(place: Place, flag: str = "--reason") -> None:
    """No act without one: whoever sits at a terminal is asked, else the command fails. Raises Failure."""
    if not place.reason.strip() and asks():
        place.reason = click.prompt("Why (for the audit trail)", default="", show_default=False, err=True)
    if not place.reason.strip():
        raise Failure(
            f"say why, for the audit trail: {flag} TEXT", "--preview only says what it would touch", USAGE
        )


def asks() -> bool:
    """Whether somebody sits there."""
    return sys.stdin.isatty()


def print_preview(told: dict[str, Any]) -> None:
    """For people."""
    click.echo("Nothing was changed. It would touch:")
    for one in told["touches"]:
        click.echo(f"  {as_text(one)}")
    if told["messages"]:
        click.echo(f"Concerned: {'more than ' if told['more'] else ''}{counted(told['messages'], 'message')}")
    for one in told["warnings"]:
        click.echo(f"  ! {as_text(one)}")
