"""`signalbox carrier`: how carriers are, and taking one out by hand; `signalbox events`: what was decided.

A suspended carrier takes nothing new; its binds stay, receipts go on coming, and its messages go to the other
carriers of their lanes. A drained one is unbound as well. What is ordered survives a restart, and ends by
itself when --for was given.

Deliberately not here: lanes and what waits in them (`signalbox status`), who did what (`signalbox audit`).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.acting import act, act_options, for_option
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, limit_option, place_options
from gateway.cli.status import takes_work


@click.group()
def carrier() -> None:
    """Carriers: how they are; suspend, drain, rebind, another rate."""


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
@for_option
@act_options
def suspend(name: str, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """NAME takes nothing new; its binds stay, its messages go to the other carriers of their lanes.

    Of one of its links (as north/2): the others go on.
    """
    verb = "link.suspend" if "/" in name else "carrier.suspend"
    view = act(place, verb, preview=preview, as_json=as_json, name=name, for_s=for_s)
    _print(view, as_json, name)


@carrier.command()
@click.argument("name")
@act_options
def resume(name: str, preview: bool, place: Place, as_json: bool) -> None:
    """NAME takes messages again, also after a drain; or one of its links does."""
    verb = "link.resume" if "/" in name else "carrier.resume"
    view = act(place, verb, preview=preview, as_json=as_json, name=name)
    _print(view, as_json, name)


@carrier.command()
@click.argument("name")
@for_option
@act_options
def drain(name: str, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """NAME takes nothing new, finishes what is in flight, then unbinds. `carrier resume` binds it again."""
    view = act(place, "carrier.drain", preview=preview, as_json=as_json, name=name, for_s=for_s)
    _print(view, as_json, name)


@carrier.command()
@click.argument("name")
@act_options
def rebind(name: str, preview: bool, place: Place, as_json: bool) -> None:
    """The binds of NAME (or one: north/2) finish what is in flight, unbind, and bind again at once."""
    view = act(place, "carrier.rebind", preview=preview, as_json=as_json, name=name)
    if view is None:
        return
    if as_json:
        print_json(view)
    else:
        click.echo(f"{name} is being bound anew.")


@carrier.command()
@click.argument("name")
@click.argument("tps", type=click.FloatRange(0))
@for_option
@act_options
def rate(name: str, tps: float, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """NAME is sent at most TPS segments a second; 0: as many as the configuration says."""
    view = act(place, "carrier.rate", preview=preview, as_json=as_json, name=name, tps=tps, for_s=for_s)
    if view is None:
        return
    if as_json:
        print_json(view)
        return
    order = view["rate_order"]
    if order is None:
        click.echo(f"{name} has its configured rate.")
    else:
        end = f"until {order['until']}" if order["until"] else "until it is changed"
        click.echo(f"{name} has {order['value']} {end}. `signalbox carrier rate {name} 0` ends it.")


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


def _print(view: dict[str, Any] | None, as_json: bool, name: str) -> None:
    """None: it was a preview, which is printed already."""
    if view is None:
        return
    if as_json:
        print_json(view)
        return
    if "/" in name:
        link = view.get("links", {}).get(name, {})
        click.echo(f"{name} is {'suspended' if link.get('suspended') else 'not suspended'}.")
    elif view["suspended"]:
        order, what = view["order"], "drained" if view["drained"] else "suspended"
        end = f"until {order['until']}" if order["until"] else "until it is resumed"
        click.echo(f"{view['name']} is {what} {end}. `signalbox carrier resume {view['name']}` ends it.")
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
