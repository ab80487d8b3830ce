"""`signalbox route`: the way a message would go, rule by rule and carrier by carrier, without sending it; and
what operators order for routes.

On a running gateway by its carriers as they are now; else by the configuration alone.

Deliberately not here: deciding, doing what is ordered.
"""

from __future__ import annotations

import time
from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.acting import act, act_options, for_option
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import as_text, print_json, print_pairs, print_table
from gateway.cli.place import Place, json_option, place_options

_CLASSES = ("otp", "transactional", "promotional", "bulk")


@click.group()
def route() -> None:
    """Routes: why a message goes where it goes; suspend, another rate, other weights."""


@route.command()
@click.argument("name")
@for_option
@act_options
def suspend(name: str, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """Messages of NAME are taken and wait; none is given to a carrier until `resume`."""
    view = act(place, "route.suspend", preview=preview, as_json=as_json, name=name, for_s=for_s)
    _print_orders(view, as_json)


@route.command()
@click.argument("name")
@act_options
def resume(name: str, preview: bool, place: Place, as_json: bool) -> None:
    """Messages of NAME are given to carriers again."""
    _print_orders(act(place, "route.resume", preview=preview, as_json=as_json, name=name), as_json)


@route.command()
@click.argument("name")
@click.argument("tps", type=click.FloatRange(0))
@for_option
@act_options
def rate(name: str, tps: float, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """At most TPS segments a second of NAME's messages; 0: as many as the configuration says."""
    view = act(place, "route.rate", preview=preview, as_json=as_json, name=name, tps=tps, for_s=for_s)
    _print_orders(view, as_json)


@route.command()
@click.argument("name")
@click.argument("weights", nargs=-1, metavar="[CARRIER=WEIGHT]…")
@for_option
@act_options
def weights(
    name: str, weights: tuple[str, ...], for_s: float, preview: bool, place: Place, as_json: bool
) -> None:
    """How the carriers of NAME share its messages; without any: as the configuration says."""
    given: dict[str, int] = {}
    for one in weights:
        carrier, equals, weight = one.partition("=")
        if not equals or not (weight.isascii() and weight.isdigit()):
            raise Failure(f"{one!r} is no weight", "such as north=70", USAGE)
        given[carrier] = int(weight)
    view = act(
        place, "route.weights", preview=preview, as_json=as_json, name=name, weights=given, for_s=for_s
    )
    _print_orders(view, as_json)


def _print_orders(view: dict[str, Any] | None, as_json: bool) -> None:
    """None: it was a preview, which is printed already."""
    if view is None:
        return
    if as_json:
        print_json(view)
        return
    said = [
        f"{what} {order['value']} by {order['by']} {end(order)}".replace("  ", " ")
        for what, key in (("suspended", "order"), ("rate", "rate_order"), ("weights", "weights_order"))
        if (order := view[key]) is not None
    ]
    click.echo(f"{view['name']}: {'; '.join(said) if said else 'as it is configured'}")


def end(order: dict[str, Any]) -> str:
    """Until when, for people."""
    return f"until {order['until']}" if order["until"] else "until it is ended"


@route.command()
@click.option("--to", required=True, help="The recipient, E.164: +447700900123.")
@click.option(
    "--from", "sender", default="Signalbox", show_default=True, help="A number, a short code, or a name."
)
@click.option("--account", default="", help="Which account sends.  [default: nobody in particular]")
@click.option(
    "--group",
    default="",
    help="The account's group, when no gateway runs.  [default: as the store has it]",
)
@click.option(
    "--class", "message_class", type=click.Choice(_CLASSES), default="transactional", show_default=True
)
@click.option("--text", default="", help="What it says; by it go encoding and parts, too.")
@click.option("--tag", "tags", multiple=True, help="A tag of it; repeatable.")
@click.option("--at", default="", help="When, as 2026-11-23T03:00:00Z.  [default: now]")
@place_options
@json_option
def explain(
    to: str,
    sender: str,
    account: str,
    group: str,
    message_class: str,
    text: str,
    tags: tuple[str, ...],
    at: str,
    place: Place,
    as_json: bool,
) -> None:
    """Which rule takes a message, why the ones before it do not, and which carriers would be tried, in order.

    Nothing is sent. Without a running gateway the configuration alone is asked.
    """
    wish: dict[str, Any] = {
        "to": to,
        "sender": sender,
        "account": account,
        "message_class": message_class,
        "text": text,
        "tags": list(tags),
        "at_ms": _at_ms(at),
    }
    try:
        told = place.ask_running("route.explain", **wish)
    except AdminAbsent:
        told = ask_configuration(place, group, wish)
    if as_json:
        print_json(told)
    else:
        print_explained(told)


def ask_configuration(place: Place, group: str, wish: dict[str, Any]) -> dict[str, Any]:
    """Raises Failure."""
    import msgspec

    from gateway.admin_routes import Explain, submission_of
    from gateway.door import Refusal
    from gateway.explain import explain_offline

    try:
        asked = msgspec.convert(wish, Explain)
    except msgspec.ValidationError as error:
        raise Failure(str(error), exit_code=USAGE) from None
    at_ms = asked.at_ms or time.time_ns() // 1_000_000
    group = group or _stored_group(place, asked.account)
    told = explain_offline(place.config, asked.account, group, submission_of(asked), at_ms)
    if isinstance(told, Refusal):
        raise Failure(f"{told.field}: {told.detail}", exit_code=USAGE)
    return told


def _stored_group(place: Place, account: str) -> str:
    """The account's group, where there is a store that has it."""
    if not account:
        return ""
    try:
        return str(place.ask("account.show", name=account).get("group", ""))
    except Failure:
        return ""


def _at_ms(text: str) -> int:
    from config.rules import instant_of

    if not text:
        return 0
    at_ms = instant_of(text)
    if at_ms is None or at_ms <= 0:
        raise Failure(f"--at: {text!r} is no time with a zone", "for instance 2026-11-23T03:00:00Z", USAGE)
    return at_ms


def print_explained(told: dict[str, Any]) -> None:
    number = told["number"]
    words = (number["country"], number["type"], number["mcc_mnc"], "ported" if number["ported"] else "")
    known = ", ".join(word for word in words if word)
    print_pairs(
        {
            "to": f"{told['to']} ({known})",
            "from": told["from"],
            "account": told["account"] or "nobody in particular",
            "class": told["class"],
            "at": told["at"],
            "encoding": f"{told['encoding']}, {told['parts']} part{'' if told['parts'] == 1 else 's'}",
        }
    )
    click.echo()
    if told["rules_left_out"]:
        click.echo(f"{told['rules_left_out']:,} rules before these did not take it either.")
    rows = [
        [one["route"], "takes it" if one["matches"] else "no", one["why_not"] or ""] for one in told["rules"]
    ]
    print_table(["ROUTE", "", "WHY NOT"], rows)
    click.echo()
    if told["refused"]:
        click.echo(as_text(f"It would be refused: {told['refused']['detail']}"))
    if told["carriers"]:
        print_carriers(told)


def print_carriers(told: dict[str, Any]) -> None:
    if not told["running"]:
        click.echo(f"Lane: {', '.join(told['lane'])}. No gateway runs, so nobody knows how its carriers are.")
        return
    rows = [
        [
            one["order"] if one["order"] is not None else "-",
            one["carrier"],
            one["weight"] or "",
            one["parts"] or "",
            _written(one, told["from"]),
            _cost(one),
            _margin(one),
            one["detail"],
        ]
        for one in told["carriers"]
    ]
    print_table(["TURN", "CARRIER", "WEIGHT", "PARTS", "AS", "COST", "MARGIN", "NOW"], rows)


def _cost(one: dict[str, Any]) -> str:
    cost = one.get("cost")
    return f"{cost['total']} {cost['currency']}" if cost else ""


def _margin(one: dict[str, Any]) -> str:
    """What a segment costs there and what the account pays for it, where a guard looks at that."""
    margin = one.get("margin")
    return f"{margin['costs'] or 'unknown'} of {margin['account_pays']}" if margin else ""


def _written(one: dict[str, Any], sender: str) -> str:
    """What that carrier would get: the encoding, national tables, another text or sender."""
    words = [one["encoding"] or "", one["tables"] or "", "other text" if one["text_sent"] else ""]
    if one["from"] not in (None, sender):
        words.append(f"from {one['from']}")
    return as_text(", ".join(word for word in words if word))
