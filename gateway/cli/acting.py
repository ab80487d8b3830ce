"""What commands that act on live traffic share: --for, --preview, --reason, and how a preview is printed.

Deliberately not here: any command, which acts there are (gateway.acts).
"""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import as_text, counted, print_json
from gateway.cli.place import Command, Place, acting_options, json_option

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


def for_option(command: Command) -> Command:
    """--for: how long."""
    return click.option(
        "--for", "for_s", type=Span(), default=0.0, metavar="TIME", help="As 30m or 2h; else until ended."
    )(command)


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
