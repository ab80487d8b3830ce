"""What is true after an act, in one sentence: `north is suspended until 04:30 UTC by ann: fibre cut`.

What lasts is said from the order that is in force now, everything else from what the verb answered.

Deliberately not here: doing it (pages/acts.py), figures in full (`details`, which the page folds away).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.acts import Act
from gateway.orders import (
    ACCOUNT,
    BANNED,
    CARRIER,
    DRAINED,
    KINDS,
    LINK,
    RATE,
    ROUTE,
    ROUTE_RATE,
    WEIGHTS,
    Order,
    Orders,
)
from gateway.previews import of
from gateway.smpp_server.bans import subject

_ORDERED = {
    "carrier.suspend": (CARRIER, "is suspended"),
    "carrier.drain": (DRAINED, "is drained"),
    "carrier.rate": (RATE, "is sent at most {value}"),
    "link.suspend": (LINK, "is suspended"),
    "route.suspend": (ROUTE, "is suspended"),
    "route.rate": (ROUTE_RATE, "sends at most {value}"),
    "route.weights": (WEIGHTS, "has the weights {value}"),
    "account.suspend": (ACCOUNT, "is suspended"),
    "binds.ban": (BANNED, "may not bind"),
}
_ENDED = {
    "carrier.resume": "{name} takes messages again",
    "link.resume": "{name} takes messages again",
    "route.resume": "the messages of {name} go again",
    "account.resume": "{name} may submit and bind again",
    "carrier.rebind": "{name} ends its binds and binds again",
    "binds.drop": "bind {id} was asked to leave",
}
Facts = Mapping[str, Any]


def _forced(said: Facts) -> str:
    first = f"; first: {said['waits_for']}" if said["waits_for"] else ""
    return f"message {said['id']} is the next that {said['carrier']} takes of its lane{first}"


def _cancelled(said: Facts) -> str:
    if said["outcome"] == "leased":
        return f"a carrier has message {said['id']} in hand; it is not sent again"
    return f"message {said['id']} has ended, and its account is told"


def _applied(said: Facts) -> str:
    restart = f"; {', '.join(said['needs_restart'])} needs a restart" if said["needs_restart"] else ""
    return ("the configuration is in force" if said["applied"] else "nothing was applied") + restart


_ANSWERED: Mapping[str, Callable[[Facts], str]] = {
    "binds.unban": lambda said: f"{of(said['ended'], 'ban')} of {said['who']} ended",
    "locks.release": lambda said: f"{said['who']} is locked out no longer",
    "callbacks.replay": lambda said: f"{of(said['replayed'], 'event')} queued to go out again",
    "deliveries.replay": lambda said: (
        f"{of(said['receipts'], 'receipt')} of {of(said['messages'], 'message')} of {said['account']}"
        " queued to be told again"
    ),
    "deliveries.move": lambda said: (
        f"{of(said['moved'], 'event')} of {said['account']} moved to its"
        f" {'callback URL' if said['to'] == 'http' else 'SMPP sessions'}"
    ),
    "held.release": lambda said: f"{of(said['released'], 'message')} held as {said['reason']} released",
    "queue.move": lambda said: (
        f"{of(said['moved'], 'message')} moved to {said['to']}{_stayed(said)}{_unfinished(said)}"
    ),
    "queue.bounce": lambda said: (
        f"{of(said['bounced'], 'message')} ended as {said['state']}{_stayed(said)}{_unfinished(said)}"
    ),
    "message.force": _forced,
    "message.reroute": lambda said: f"message {said['id']} waits in the lane {said['lane']} now",
    "message.cancel": _cancelled,
    "config.reload": _applied,
    "config.rollback": _applied,
    "privacy.erase": lambda said: (
        f"{of(sum(said['erased'].values()), 'record')} lost the number and what was said{_left(said)}"
    ),
}


def sentence(act: Act, given: Facts, result: object, orders: Orders, now: datetime) -> str:
    """What is true now. `given`: the act's arguments; `result`: what its verb answered."""
    return _capital(_told(act, given, result, orders, now)) + "."


def _told(act: Act, given: Facts, result: object, orders: Orders, now: datetime) -> str:
    if act.verb in _ORDERED:
        kind, what = _ORDERED[act.verb]
        name = subject(given["system_id"], given.get("address", "")) if kind == BANNED else given["name"]
        order = orders.find(kind, name)
        return f"{name} {KINDS[kind].over}" if order is None else _in_force(order, what, now)
    if act.verb in _ENDED:
        return _ENDED[act.verb].format_map(given)
    if act.verb in _ANSWERED:
        return _ANSWERED[act.verb](msgspec.to_builtins(result))
    return act.does.rstrip(".")


def _in_force(order: Order, what: str, now: datetime) -> str:
    value = order.value
    if isinstance(value, dict):
        value_text = " ".join(f"{name}={weight}" for name, weight in value.items())
    else:
        value_text = f"{value:g} segment{'' if value == 1 else 's'} a second" if value is not None else ""
    why = f": {order.reason}" if order.reason else ""
    end = f"until {clock(order.until_ms, now)}" if order.until_ms else "until somebody ends it,"
    return f"{order.subject} {what.format(value=value_text)} {end} by {order.who}{why}"


def clock(ms: int, now: datetime) -> str:
    """04:30 UTC; with its day where that is not today's"""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    today = at.date() == now.astimezone(UTC).date()
    return at.strftime("%H:%M UTC" if today else "%Y-%m-%d %H:%M UTC")


def _stayed(said: Facts) -> str:
    return _these(said["stayed"])


def _left(said: Facts) -> str:
    return _these(said["left"])


def _these(stayed: Mapping[str, int]) -> str:
    why = "; ".join(f"{count:,}: {words}" for words, count in stayed.items())
    return f"; {sum(stayed.values()):,} stayed ({why})" if stayed else ""


def _unfinished(said: Facts) -> str:
    return "" if said["complete"] else ". Not all were looked at: do it again, and it goes on with the rest"


def _capital(text: str) -> str:
    """Names stay as they are; a sentence that begins with a word of ours has a capital."""
    first = text.partition(" ")[0]
    return text[0].upper() + text[1:] if first in _OURS else text


_MOST_WARNINGS = 20
_OURS = frozenset({"the", "message", "bind", "a", "nothing"})


def details(act: Act, result: object) -> list[tuple[str, str]]:
    """What a verb answered, in lines: plain values, and how often what was the case. Nothing of what lasts:
    the sentence says it all."""
    if not isinstance(result, dict) or act.verb in _ORDERED or act.verb in _ENDED:
        return []
    lines = [
        (name.replace("_", " ").capitalize(), _counted(value) if isinstance(value, dict) else str(value))
        for name, value in result.items()
        if isinstance(value, str | int | float | dict) and value != "" and not isinstance(value, bool)
    ]
    return [line for line in lines if line[1]][:20]


def warnings(result: object) -> list[str]:
    """What a verb did and warns of, as its preview did before."""
    said = result.get("warnings") if isinstance(result, dict) else None
    return [str(line) for line in said][:_MOST_WARNINGS] if isinstance(said, list | tuple) else []


def _counted(value: dict[str, Any]) -> str:
    """`12: too long; 1: …` of a dictionary of counts, else nothing."""
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in value.values()):
        return ""
    return "; ".join(f"{count:,}: {what}" for what, count in value.items())
