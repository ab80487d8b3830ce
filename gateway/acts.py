"""The acts: everything an operator does to live traffic, each declared once. The table.

Of it follow `POST /v1/acts/<verb>` (gateway.http.table.acts), the console's dialog and the tests that hold
API, console and command line to the same list. An act is the admin verb of its name: `arguments` is what the
verb takes (or the part of it that an act may give), and the first of its fields says which one is meant. A
verb that is called with `preview` changes nothing and returns a Preview; `for_s`, where there is one, is how
long it lasts, 0: until somebody ends it. Why it is done is no argument: it comes with gateway.audit.acting.

To add one: let the verb take `preview`, add a line here, a command in gateway.cli (named in
tests/gateway/test_acts.py) and a row in docs/acts.md.

Deliberately not here: doing anything, counting what is touched (gateway.previews), who may (router.roles).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gateway.admin_accounts import AccountResumption, AccountSuspension
from gateway.admin_binds import Ban, Drop, Unban, Unlock
from gateway.admin_callbacks import ReplayOf
from gateway.admin_carriers import Rate, Rebinding, Resumption, Suspension
from gateway.admin_config import GoBack, Reread
from gateway.admin_deliveries import Move, Replay
from gateway.admin_held import HeldRelease
from gateway.admin_privacy import Erase
from gateway.admin_queues import Cancellation, Force, QueueBounce, QueueMove, Reroute
from gateway.admin_routes import RouteRate, RouteResumption, RouteSuspension, RouteWeights
from gateway.previews import Preview

__all__ = ["ACTS", "BY_VERB", "Act", "Preview", "acts_of"]


class Act(NamedTuple):
    """`title` is a button's, `does` a sentence; `subject` the kind of thing it is done to; `example` is good
    arguments, as an operator would give them."""

    verb: str
    scope: str  # of router.roles
    arguments: type[msgspec.Struct]
    title: str
    does: str
    subject: str
    example: Mapping[str, Any] = {}

    @property
    def ends(self) -> bool:
        """Whether it can be given an end, `for_s`."""
        return "for_s" in self.arguments.__struct_fields__


ACTS: Final[tuple[Act, ...]] = (
    Act(
        "carrier.suspend",
        "carriers.write",
        Suspension,
        "Suspend a carrier",
        "It takes nothing new; its binds stay, and its messages go to the other carriers of their lanes.",
        "carrier",
        {"name": "north", "for_s": 7200},
    ),
    Act(
        "carrier.resume",
        "carriers.write",
        Resumption,
        "Resume a carrier",
        "It takes messages again, also where its circuit breaker took it out.",
        "carrier",
        {"name": "north"},
    ),
    Act(
        "carrier.drain",
        "carriers.write",
        Suspension,
        "Drain a carrier",
        "It takes nothing new, what is in flight is finished, then its binds end until it is resumed.",
        "carrier",
        {"name": "north", "for_s": 7200},
    ),
    Act(
        "carrier.rebind",
        "carriers.write",
        Rebinding,
        "Bind a carrier anew",
        "Its binds, or one of them, finish what is in flight, unbind, and bind again at once.",
        "carrier",
        {"name": "north"},
    ),
    Act(
        "carrier.rate",
        "carriers.write",
        Rate,
        "Change a carrier's rate",
        "It is sent so many segments a second at most; 0: as many as the configuration says.",
        "carrier",
        {"name": "north", "tps": 50, "for_s": 3600},
    ),
    Act(
        "link.suspend",
        "carriers.write",
        Suspension,
        "Suspend one bind to a carrier",
        "It takes nothing new and stays bound; the carrier's other binds go on.",
        "link",
        {"name": "north/1", "for_s": 7200},
    ),
    Act(
        "link.resume",
        "carriers.write",
        Resumption,
        "Resume one bind to a carrier",
        "It takes messages again.",
        "link",
        {"name": "north/1"},
    ),
    Act(
        "route.suspend",
        "routes.write",
        RouteSuspension,
        "Suspend a route",
        "Its messages are taken, and wait in a queue of its own; none is given to a carrier.",
        "route",
        {"name": "all", "for_s": 7200},
    ),
    Act(
        "route.resume",
        "routes.write",
        RouteResumption,
        "Resume a route",
        "Its messages are given to carriers again.",
        "route",
        {"name": "all"},
    ),
    Act(
        "route.rate",
        "routes.write",
        RouteRate,
        "Change a route's rate",
        "So many segments a second at most of its messages; 0: as many as the configuration says.",
        "route",
        {"name": "all", "tps": 50, "for_s": 3600},
    ),
    Act(
        "route.weights",
        "routes.write",
        RouteWeights,
        "Change a route's weights",
        "Its carriers share its messages otherwise; empty: as the configuration says.",
        "route",
        {"name": "all", "weights": {"north": 30}, "for_s": 3600},
    ),
    Act(
        "account.suspend",
        "accounts.write",
        AccountSuspension,
        "Suspend an account",
        "Nothing is taken from it, its sessions end, and what waits of it stands still.",
        "account",
        {"name": "acme", "for_s": 7200},
    ),
    Act(
        "account.resume",
        "accounts.write",
        AccountResumption,
        "Resume an account",
        "Its messages are taken and sent again.",
        "account",
        {"name": "acme"},
    ),
    Act(
        "binds.drop",
        "binds.write",
        Drop,
        "Disconnect a bind",
        "A customer's session is asked to leave; its customer may bind again.",
        "bind",
        {"id": "1"},
    ),
    Act(
        "binds.ban",
        "binds.write",
        Ban,
        "Ban a bind",
        "Its sessions end, and whoever binds with this system_id is refused, from everywhere or one network.",
        "bind",
        {"system_id": "acme-1", "address": "192.0.2.0/24", "for_s": 3600},
    ),
    Act(
        "binds.unban",
        "binds.write",
        Unban,
        "End a ban",
        "It may bind again.",
        "bind",
        {"who": "acme-1"},
    ),
    Act(
        "locks.release",
        "binds.write",
        Unlock,
        "End a lock",
        "Whoever was locked out after wrong passwords may try again.",
        "lock",
        {"who": "192.0.2.7"},
    ),
    Act(
        "callbacks.replay",
        "queues.write",
        ReplayOf,
        "Replay given-up events",
        "Events that nobody took go out again.",
        "callbacks",
        {"account": "acme"},
    ),
    Act(
        "deliveries.replay",
        "queues.write",
        Replay,
        "Replay receipts",
        "Receipts of finished messages, or inbound messages, are told once more.",
        "account",
        {"account": "acme", "since": "2030-01-31T09:30:00Z"},
    ),
    Act(
        "deliveries.move",
        "queues.write",
        Move,
        "Move deliveries",
        "What waits for an account's sessions goes to its callback URL, or the other way round.",
        "account",
        {"account": "acme", "to": "http"},
    ),
    Act(
        "held.release",
        "queues.write",
        HeldRelease,
        "Release held messages",
        "Messages that were held for one reason are sent.",
        "messages",
        {"held_as": "restored"},
    ),
    Act(
        "queue.move",
        "queues.write",
        QueueMove,
        "Move what waits",
        "Waiting messages that fit a filter go to another route, or to one carrier alone.",
        "messages",
        {"carrier": "north", "older_than_s": 600, "to": "all"},
    ),
    Act(
        "queue.bounce",
        "queues.write",
        QueueBounce,
        "Bounce what waits",
        "Waiting messages that fit a filter end for good, and who asked for receipts is told.",
        "messages",
        {"account": "acme", "older_than_s": 86400},
    ),
    Act(
        "message.force",
        "queues.write",
        Force,
        "Send a message now",
        "It goes before all others of its lane, as soon as TPS and window let it.",
        "message",
        {"id": "1876946124800000000"},
    ),
    Act(
        "message.reroute",
        "queues.write",
        Reroute,
        "Send a message elsewhere",
        "While it waits, it gets another route, or one carrier alone.",
        "message",
        {"id": "1876946124800000000", "to": "all"},
    ),
    Act(
        "message.cancel",
        "messages.cancel",
        Cancellation,
        "Cancel a message",
        "It ends, if no carrier has accepted it, and its account is told.",
        "message",
        {"id": "1876946124800000000"},
    ),
    Act(
        "config.reload",
        "config.write",
        Reread,
        "Reload the configuration",
        "The gateway's file is read again, and what changed is applied at once.",
        "config",
        {},
    ),
    Act(
        "config.rollback",
        "config.write",
        GoBack,
        "Roll the configuration back",
        "A revision that was in force is applied again, until the next reload.",
        "config",
        {"number": 1},
    ),
    Act(
        "privacy.erase",
        "store.write",
        Erase,
        "Erase a number",
        "Everything that is kept about a number loses the number and what was said; for good.",
        "number",
        {"number": "+447700900123"},
    ),
)

BY_VERB: Final[Mapping[str, Act]] = {one.verb: one for one in ACTS}


def acts_of(scopes: Iterable[str]) -> list[Act]:
    """Those that somebody with these scopes may do."""
    allowed = frozenset(scopes)
    return [one for one in ACTS if one.scope in allowed]
