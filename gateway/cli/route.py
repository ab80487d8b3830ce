"""`signalbox route explain`: the way a message would go, rule by rule and carrier by carrier, without sending
it.

On a running gateway by its carriers as they are now; else by the configuration alone.

Deliberately not here: deciding, changing routes.
"""

from __future__ import annotations

import time
from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import as_text, print_json, print_pairs, print_table
from gateway.cli.place import Place, json_option, place_options

_CLASSES = ("otp", "transactional", "promotional", "bulk")


@click.group()
def route() -> None:
    """Routes: why a message goes where it goes."""


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
