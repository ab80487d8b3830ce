"""`signalbox status`: is it ready, which binds are up, what waits in each lane and why it does not move.

Deliberately not here: figures over time (/metrics), one message (`signalbox message ID`).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import FAILED, OK, UNREACHABLE, Failure
from gateway.cli.output import print_json, print_table
from gateway.cli.place import Place, json_option, place_options

_COUNTRIES = 5  # of a carrier's that are told
_SEARCH_LAG_S = 60.0
_NO_BIND = {"": {"state": "unbound", "host": "", "last_error": ""}}  # of a carrier that is drained
_WAITING = ("ready", "leased", "deferred", "scheduled", "held", "unknown")


@click.command()
@place_options
@json_option
def status(place: Place, as_json: bool) -> int:
    """How the running gateway is. Exit code 1 when it is not ready, or when something stands still."""
    try:
        facts = place.ask_running("ping")
    except AdminAbsent:
        raise Failure(
            f"no gateway runs on {place.data_dir}", "start it: signalbox run", UNREACHABLE
        ) from None
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)
    return FAILED if facts["not_ready"] or facts["stalled"] else OK


def print_facts(facts: dict[str, Any]) -> None:
    click.echo(f"Signalbox {facts['version']}, {facts['not_ready'] or 'ready'}")
    click.echo()
    rows = [
        [
            name,
            takes_work(one),
            window(one),
            one["tps"] or "",
            link,
            state["state"] + (", suspended" if state.get("suspended") else ""),
            state["host"],
            error(state),
        ]
        for name, one in facts["carriers"].items()
        for link, state in (one["links"] or _NO_BIND).items()
    ]
    headings = ["CARRIER", "TAKES WORK", "WINDOW", "TPS", "BIND", "STATE", "HOST", "LAST ERROR"]
    print_table(headings, rows)
    click.echo()
    print_customers(facts["customers"])
    lanes = facts["lanes"]
    if lanes:
        headings = ["LANE", *(phase.upper() for phase in _WAITING), "WHY IT WAITS"]
        print_table(
            headings,
            [[name, *(one.get(phase, 0) for phase in _WAITING), why(one)] for name, one in lanes.items()],
        )
    else:
        click.echo("No message waits.")
    if facts["backlog"]["events"]:
        click.echo(
            f"\n{facts['backlog']['events']:,} events wait for customers (signalbox callbacks, binds)."
        )
    search = facts.get("search", {})
    if search.get("problem") or search.get("days_to_build") or search.get("lag_s", 0) > _SEARCH_LAG_S:
        left = f", {len(search['days_to_build'])} days to build" if search["days_to_build"] else ""
        why_not = f": {search['problem']}" if search["problem"] else ""
        click.echo(
            f"\nSEARCH  the index is {search['lag_s']:,.0f} s behind{left}{why_not}; searches take longer"
        )
    config = facts["config"]
    if config["differs_from_file"]:
        restart = f": {', '.join(config['needs_restart'])}" if config["needs_restart"] else ""
        click.echo(
            f"\nCONFIG  differs from the file {config['file']}: {config['differs_from_file']}{restart} "
            "(signalbox reload --preview shows how)"
        )
    for stall in facts["stalled"]:
        what = f"{stall['part']} {stall['name']}".strip()
        click.echo(
            f"\nSTALLED  {what}: {stall['waiting']:,} since {stall['since']}, {stall['reason']}; see the log"
        )


def print_customers(customers: dict[str, Any]) -> None:
    if not customers:
        return
    print_table(
        ["CUSTOMER", "BINDS", "OF"],
        [[name, one["binds"], one["max_binds"]] for name, one in customers.items()],
    )
    click.echo()


def takes_work(carrier: dict[str, Any]) -> str:
    if carrier["suspended"]:
        order = carrier["order"] or {"by": "nobody", "until": "", "reason": ""}
        end = f" until {order['until']}" if order["until"] else ""
        what = "drained" if carrier.get("drained") else "suspended"
        return f"no: {what}{end} by {order['by']}" + (f": {order['reason']}" if order["reason"] else "")
    if carrier["able"] and carrier["out"]:  # half-open, with some left of its trial
        return f"on trial: {carrier['out']['reason']}"
    if carrier["out"]:
        end = f" until {carrier['out']['until']}" if carrier["out"]["until"] else ""
        return f"no: {words(carrier['out']['why'])}{end}: {carrier['out']['reason']}"
    if carrier["able"] and carrier["paused_until"]:
        return f"paused until {carrier['paused_until']}" + _slowed(carrier) + _out_for(carrier)
    if not carrier["able"]:
        return "no"
    return "yes" + _bad(carrier) + _slowed(carrier) + _ordered(carrier) + _out_for(carrier)


def _bad(carrier: dict[str, Any]) -> str:
    """Why it would be out, and is not."""
    bad = carrier.get("health", {}).get("bad")
    return f", but {bad}" if bad else ""


def _out_for(carrier: dict[str, Any]) -> str:
    """Countries to which it takes nothing now, or a few messages on trial; the first of many."""
    told = []
    for one in carrier.get("out_for", ())[:_COUNTRIES]:
        end = f" until {one['until']}" if one["until"] else ""
        how = "on trial for" if one["why"] == "trial" else "out for"
        told.append(f", {how} +{one['code']}{end}: {one['reason']}")
    left = len(carrier.get("out_for", ())) - len(told)
    return "".join(told) + (f", and {left} countries more" if left else "")


def _slowed(carrier: dict[str, Any]) -> str:
    """Where it takes less than its TPS, because of what it answered."""
    return f", {carrier['slowed']}" if carrier.get("slowed") else ""


def _ordered(carrier: dict[str, Any]) -> str:
    """Its rate, where an operator ordered it."""
    order = carrier.get("rate_order")
    if not order:
        return ""
    end = f" until {order['until']}" if order["until"] else ""
    reason = f": {order['reason']}" if order["reason"] else ""
    return f", {order['value']} ordered by {order['by']}{end}{reason}"


def short(rate: float) -> str:
    """1.8, 2, 12, 1,500: of a limit, as much as people read."""
    return f"{rate:,.1f}".removesuffix(".0") if rate < 10 else f"{rate:,.0f}"


def window(carrier: dict[str, Any]) -> str:
    return f"{carrier['window_used']}/{carrier['window']}"


def error(link: dict[str, Any]) -> str:
    """What went wrong last, where it matters still."""
    return "" if link["state"] == "bound" else str(link["last_error"])


def why(lane: dict[str, Any]) -> str:
    """The lane's reason, and its carriers' where they have other ones. A lane that moves needs none."""
    line = str(lane.get("line", ""))
    if "carrier " in line:
        return line
    reason = words(lane["reason"])
    others = [
        f"{carrier}: {words(wait)}" for carrier, wait in lane["carriers"].items() if wait != lane["reason"]
    ]
    return f"{reason} ({', '.join(others)})" if others else reason


def words(reason: str) -> str:
    return {"free": "moves", "nothing": ""}.get(reason, reason.replace("_", " "))
