"""`signalbox queues`, `carriers`, `accounts`: what waits, and how both sides are, as the NOC asks for it.

On a running gateway with its rates and reasons, on a stopped one with what its store says.

Deliberately not here: changing anything (`signalbox carrier`, `account`), a live view (`signalbox top`).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.output import account_state, print_json, print_table
from gateway.cli.place import Place, json_option, place_options
from gateway.cli.status import short, takes_work
from gateway.cli.top_frame import counted_so_far

_PHASES = ("ready", "leased", "deferred", "scheduled", "held", "unknown")


@click.command()
@click.option("--lane", default="", help="Only this one.")
@click.option("--account", default="", help="Only queues of this account.")
@place_options
@json_option
def queues(lane: str, account: str, place: Place, as_json: bool) -> None:
    """What waits, by lane, priority and account, and why it does not move; the oldest first.

    A lane's figures are exact; a queue's depth is counted up to 1,000 (a + says that there is more).
    """
    found = place.ask("queues.list")
    lanes = [one for one in found["lanes"] if lane in ("", one["lane"])]
    if account:
        for one in lanes:
            one["queues"] = [queue for queue in one["queues"] if queue["account"] == account]
        lanes = [one for one in lanes if one["queues"]]
    if as_json:
        print_json(lanes)
    elif not lanes:
        click.echo("No message waits.")
    elif found["running"]:
        print_table(
            ("LANE", *(phase.upper() for phase in _PHASES), "OLDEST", "WHY"),
            [
                (one["lane"], *(one[phase] for phase in _PHASES), _age(one["oldest_age_s"]), one["detail"])
                for one in lanes
            ],
        )
        rows = [(one["lane"], queue) for one in lanes for queue in one["queues"]]
        if rows:
            click.echo()
            print_table(
                ("LANE", "PRIORITY", "ACCOUNT", "READY", "OLDEST", "WHY"),
                [
                    (
                        name,
                        one["priority"],
                        one["account"],
                        _depth(one),
                        _age(one["oldest_age_s"]),
                        one["detail"],
                    )
                    for name, one in rows
                ],
            )
    else:
        click.echo("The gateway is not running: nothing moves. Ready messages in its store:\n")
        print_table(
            ("LANE", "PRIORITY", "ACCOUNT", "READY", "OLDEST SINCE"),
            [
                (one["lane"], queue["priority"], queue["account"], _depth(queue), queue["oldest_at"])
                for one in lanes
                for queue in one["queues"]
            ],
        )


@click.command()
@place_options
@json_option
def carriers(place: Place, as_json: bool) -> None:
    """All carriers: whether they take work, binds, rates, windows, errors. `carrier show` knows more."""
    found = place.ask("carrier.list")
    figures = {one["name"]: one for one in _figures(place).get("carriers", [])}
    if as_json:
        print_json([{**one, "figures": figures.get(one["name"])} for one in found])
    elif not found:
        click.echo("No carrier yet: add a [[carriers]] table to the configuration.")
    elif not figures:
        click.echo("The gateway is not running.\n")
        print_table(
            ("CARRIER", "STORED"), [(one["name"], "suspended" if one["suspended"] else "") for one in found]
        )
    else:
        print_table(
            _CARRIERS, [_carrier(one, figures[one["name"]]) for one in found if one["name"] in figures]
        )


_CARRIERS = ("CARRIER", "BINDS", "TPS", "OF", "WINDOW", "P90", "ERRORS/s", "QUEUE", "DELIVERED", "TAKES WORK")


def _carrier(view: dict[str, Any], now: dict[str, Any]) -> tuple[object, ...]:
    p90, delivered = now["response_p90_s"], now["delivered_ratio"]
    return (
        view["name"],
        f"{now['binds']}/{now['binds_wanted']}",
        f"{now['sent_per_s']:g}",
        _limit(view, now),
        f"{now['window_used']}/{now['window']}",
        "" if p90 is None else f"{p90 * 1000:.1f} ms",
        f"{now['errors_per_s'] + now['throttled_per_s']:g}",
        now["waiting"],
        "" if delivered is None else f"{delivered:.1%}",
        takes_work(view),
    )


def _limit(view: dict[str, Any], now: dict[str, Any]) -> str:
    """Its TPS now; with what it would be where it is slowed down, or an operator ordered another one."""
    limit, configured = now["tps_limit"], now["tps_configured"]
    if not limit:
        return "no limit"
    if view.get("slowed"):
        of = view["tps"] if view.get("rate_order") else configured
        return f"{short(limit)} of {short(of)}, slowed" if of else f"{short(limit)}, slowed"
    if view.get("rate_order") is not None:
        return (
            f"{short(limit)} ({'configured ' + short(configured) if configured else 'no limit configured'})"
        )
    return short(limit)


@click.command()
@place_options
@json_option
def accounts(place: Place, as_json: bool) -> None:
    """All accounts: state, what they submit a second, what waits. `account show` knows more."""
    found = place.ask("account.list")
    top = _figures(place)
    figures = {one["name"]: one for one in top.get("accounts") or []}
    if as_json:
        print_json([{**one, "figures": figures.get(one["name"])} for one in found])
        return
    if not found:
        click.echo("No accounts yet. Make one: signalbox account create NAME")
        return
    if not top:
        click.echo("The gateway is not running.\n")
    print_table(
        ("ACCOUNT", "STATE", "IN/s", "1 MIN", "REFUSED/s", "WAITING", "EVENTS", "BINDS", "REFUSED FOR"),
        [_account(one, figures.get(one["name"], {})) for one in found],
    )
    if top.get("more_accounts"):
        click.echo(f"\nRates of {top['more_accounts']:,} more are not shown here: /metrics has them.")


def _account(view: dict[str, Any], now: dict[str, Any]) -> tuple[object, ...]:
    rates = [f"{now[name]:g}" if now else "" for name in ("accepted_per_s", "accepted_mean", "refused_per_s")]
    return (
        view["name"], account_state(view), *rates, view["queued"], counted_so_far(now.get("backlog", 0)),
        now.get("binds", 0), now.get("refused_for", ""),
    )  # fmt: skip


def _figures(place: Place) -> dict[str, Any]:
    """Those of a running gateway; of a stopped one none."""
    try:
        found = place.ask_running("top")
    except AdminAbsent:
        return {}
    assert isinstance(found, dict)
    return found


def _depth(queue: dict[str, Any]) -> str:
    return f"{queue['depth']:,}{'+' if queue['more'] else ''}"


def _age(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds else ""
