"""`signalbox carrier`: how carriers are, and taking one out by hand; `signalbox events`: what was decided.

A suspended carrier takes nothing new; its binds stay, receipts go on coming, and its messages go to the other
carriers of their lanes. It survives a restart and ends by itself when --for was given.

Deliberately not here: lanes and what waits in them (`signalbox status`), who did what (`signalbox audit`).
"""

from __future__ import annotations

import re
from typing import Any

import click

from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, acting_options, json_option, limit_option, place_options
from gateway.cli.status import takes_work

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


@click.group()
def carrier() -> None:
    """Carriers: how they are, suspend, resume."""


@carrier.command("list")
@place_options
@json_option
def list_carriers(place: Place, as_json: bool) -> None:
    """All carriers: whether they take work, and how healthy they are."""
    carriers = place.ask("carrier.list")
    if as_json:
        print_json(carriers)
    elif not carriers:
        click.echo("No carrier yet: add a [[carriers]] table to the configuration.")
    elif "able" not in carriers[0]:  # no gateway runs
        rows = [(one["name"], "suspended" if one["suspended"] else "") for one in carriers]
        print_table(("CARRIER", "STORED"), rows)
    else:
        print_table(_HEADINGS, [(one["name"], takes_work(one), *_figures(one["health"])) for one in carriers])


_HEADINGS = ("CARRIER", "TAKES WORK", "ERRORS", "RESPONSE P90", "DELIVERED", "RECEIPT AFTER")


@carrier.command()
@click.argument("name")
@click.option(
    "--for", "for_s", type=Span(), default=0.0, metavar="TIME", help="As 30m or 2h; else until resumed."
)
@acting_options
@json_option
def suspend(name: str, for_s: float, place: Place, as_json: bool) -> None:
    """NAME takes nothing new; its binds stay, its messages go to the other carriers of their lanes."""
    _print(place.ask("carrier.suspend", name=name, for_s=for_s), as_json)


@carrier.command()
@click.argument("name")
@acting_options
@json_option
def resume(name: str, place: Place, as_json: bool) -> None:
    """NAME takes messages again."""
    _print(place.ask("carrier.resume", name=name), as_json)


@click.command()
@click.option("--subject", default="", help="Of this carrier or route.")
@click.option("--before", type=click.IntRange(1), help="Go on behind the entry with this number.")
@limit_option
@place_options
@json_option
def events(subject: str, before: int | None, limit: int, place: Place, as_json: bool) -> None:
    """What the gateway decided by itself and noticed, newest first; the newest 10,000 are kept."""
    rows = place.ask("events.list", subject=subject, limit=limit, before=before or 0)
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("No event.")
    else:
        print_table(
            ("NUMBER", "AT", "", "EVENT", "SUBJECT", "WHAT"),
            [
                (one["number"], one["at"], _mark(one), one["kind"], one["subject"], one["text"])
                for one in rows
            ],
        )


def _print(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    if view["suspended"]:
        order = view["order"]
        end = f"until {order['until']}" if order["until"] else "until it is resumed"
        click.echo(f"{view['name']} is suspended {end}. `signalbox carrier resume {view['name']}` ends it.")
    else:
        click.echo(f"{view['name']} is not suspended.")
        if view.get("out"):
            click.echo(f"It takes nothing all the same: {takes_work(view)}")


def _mark(event: dict[str, Any]) -> str:
    """Somebody should look."""
    return "!" if event["warning"] else ""


def _figures(health: dict[str, Any]) -> tuple[str, ...]:
    return (
        _share(health["error_ratio"]),
        _seconds(health["response_p90_s"]),
        _share(health["delivered_ratio"]),
        _seconds(health["receipt_p50_s"]),
    )


def _share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1%}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g} s"
