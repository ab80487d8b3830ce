"""What would become of a message, without sending it: preview of its parts, and the way it would go,
explained.

`preview` knows only the text. `explain` asks the routes as the door would, says of each rule why it did not
take the message, and in which order the carriers would be tried at this moment. `explain_offline` does the
same on a configuration alone, where nobody knows how carriers are.

Results are plain JSON values, the same for the HTTP API, the admin socket and the command line. Invariants:
nothing is stored, counted or sent; a condition on accounts is told without naming other accounts.

Deliberately not here: deciding (router.routes, gateway.door), why a carrier takes nothing (router.waiting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from config.routing import table_of
from gateway.admin_shapes import iso
from gateway.carriers.standing import code_of
from gateway.door import CLASSES, Refusal, Submission, content_of
from gateway.watchdog import lane_facts
from router.knowledge import PLAIN, Knowledge
from router.nouns import Account, Encoding, Message, MessageClass
from router.numbers import NumberProblem, normalise, sender_of
from router.rates import amount
from router.rates import told as price_told
from router.routes import Considered, Route
from router.rules import LATEST_MS, Facts
from router.waiting import Queue, Wait, why_lane
from smpp.describe import describe

if TYPE_CHECKING:
    from config.model import Config
    from gateway.app import Gateway
    from gateway.carriers.choices import Margin

NOBODY = Account(0, "")
MOST_RULES = 1_000  # of those that were asked, the last ones are told
_UNITS = {
    Encoding.GSM7: "septet",
    Encoding.LATIN1: "octet",
    Encoding.UCS2: "utf-16 unit",
    Encoding.BINARY: "octet",
}


def preview(request: Submission, account: Account, max_parts: int) -> dict[str, object] | Refusal:
    """Encoding, parts, what is used and left, what makes it UCS-2, and the text where smart encoding changed
    it. Units: septets of GSM (two for a character of the extension table), UTF-16 code units of UCS-2 (two
    for an emoji), octets of data."""
    content = content_of(request, account, max_parts)
    if isinstance(content, Refusal):
        return content
    encoding, parts, text, data = content
    told = describe(data if encoding == Encoding.BINARY else text, encoding)
    return {
        "encoding": Encoding(encoding).name.lower(),
        "parts": parts,
        "unit": _UNITS[Encoding(encoding)],
        "units": told.used,
        "units_in_a_part": told.each,
        "used_in_last_part": told.each - told.left,
        "left_in_last_part": told.left,
        "forces_ucs2": [
            {
                "position": one.position,
                "character": one.character,
                "code_point": f"U+{ord(one.character):04X}",
                "likeness": one.likeness,
            }
            for one in (told.forcing if encoding == Encoding.UCS2 else ())
        ],
        "parts_with_smart_encoding": told.smart_segments or None,
        "text_sent": text if text != (request.text or "") else None,
        "cost": None,
    }


def previewed(gateway: Gateway, account: Account | None, request: Submission) -> dict[str, object] | Refusal:
    """`preview`, and what the account would pay, where it says to whom (`to` not "") and has a rate card."""
    told = preview(request, account or NOBODY, gateway.config.messages.max_parts)
    if isinstance(told, Refusal) or account is None or not account.rate_card or not request.to:
        return told
    try:
        digits = gateway.door.recipient(account, request.to)
    except NumberProblem:
        return told
    at_ms = max(gateway.world.wall_ms(), request.send_at_ms)
    told["cost"] = _cost(gateway, account.rate_card, digits, at_ms, int(str(told["parts"])))
    return told


def explain(
    gateway: Gateway, account: Account | None, request: Submission, at_ms: int
) -> dict[str, Any] | Refusal:
    """The way of a message that `account` (None = nobody in particular) would submit at `at_ms`, UTC."""
    door, table = gateway.door, gateway.routes
    region = (account.default_region if account is not None else "") or door.limits.default_region
    facts = facts_of(request, account or NOBODY, region, door.limits.max_parts, at_ms)
    if isinstance(facts, Refusal):
        return facts
    asked = table.explain(facts)
    route = _taking(asked)
    would = door.would(account or NOBODY, request, at_ms)
    lane = would.lane if isinstance(would, Message) else route.lane if route is not None else 0
    carriers = (
        []
        if route is None
        else _carriers(gateway, route, lane, facts, request.data or b"", account or NOBODY)
    )
    refused = would if isinstance(would, Refusal) else None
    told = _explained(facts, asked, table.numbers, carriers, refused, running=True)
    if account is not None:
        told["cost"] = _cost(gateway, account.rate_card, facts.destination, facts.at_ms, facts.segments)
    return told


def explain_offline(
    config: Config, account: str, group: str, request: Submission, at_ms: int
) -> dict[str, Any] | Refusal:
    """The same by a configuration alone: no account's rules, no tables of numbers, no carrier's state."""
    owner = Account(0, account, group=group)
    facts = facts_of(request, owner, config.gateway.default_region, config.messages.max_parts, at_ms)
    if isinstance(facts, Refusal):
        return facts
    table = table_of(config, range(1, len(config.routes) + 1), PLAIN)
    asked = table.explain(facts)
    route = _taking(asked)
    carriers: list[dict[str, object]] = []
    if route is not None:
        chosen = config.routes[route.lane - 1]
        weights = chosen.weights or (None,) * len(chosen.carriers)
        carriers = [
            {"carrier": name, "weight": weight, "order": None, "reason": "unknown", "detail": "not running"}
            for name, weight in zip(chosen.carriers, weights, strict=True)
        ]
    return _explained(facts, asked, PLAIN, carriers, None, running=False)


def facts_of(
    request: Submission, account: Account, region: str, max_parts: int, at_ms: int
) -> Facts | Refusal:
    """What routes see of it, or what is wrong with it whoever sends it."""
    field = "to"
    try:
        destination = normalise(request.to, region)
        field = "from"
        source, ton, _ = sender_of(request.sender, region)
    except NumberProblem as problem:
        return Refusal(422, problem.code, field, str(problem))
    content = content_of(request, account, max_parts)
    if isinstance(content, Refusal):
        return content
    encoding, segments, text, _ = content
    leaves_ms = max(at_ms, request.send_at_ms)
    if leaves_ms >= LATEST_MS:
        field = "send_at" if request.send_at_ms == leaves_ms else "at"
        return Refusal(422, "invalid-fields", field, f"{field} must lie before the last day of the year 9999")
    return Facts(
        destination,
        source,
        ton,
        account.name,
        account.group,
        CLASSES[request.message_class],
        request.tags,
        text,
        encoding,
        segments,
        leaves_ms,
    )


def _taking(asked: list[Considered]) -> Route | None:
    return asked[-1].route if asked and not asked[-1].why_not else None


def _explained(
    facts: Facts,
    asked: list[Considered],
    numbers: Knowledge,
    carriers: list[dict[str, object]],
    refused: Refusal | None,
    *,
    running: bool,
) -> dict[str, Any]:
    route = _taking(asked)
    if route is None and refused is None:
        detail = f"no route for numbers like {facts.destination[:4]}…; add one to [[routes]]"
        refused = Refusal(422, "no-route", "to", detail)
    return {
        "to": facts.destination,
        "from": facts.source,
        "account": facts.account or None,
        "class": MessageClass(facts.message_class).name.lower(),
        "at": iso(facts.at_ms),
        "number": {
            "country": numbers.country(facts.destination) or None,
            "type": numbers.number_type(facts.destination),
            "mcc_mnc": numbers.mcc_mnc(facts.destination) or None,
            "ported": numbers.ported(facts.destination),
        },
        "route": route.name if route is not None else None,
        "rules": [
            {"route": one.route.name, "matches": not one.why_not, "why_not": one.why_not or None}
            for one in asked[-MOST_RULES:]
        ],
        "rules_left_out": max(0, len(asked) - MOST_RULES),
        "lane": [one["carrier"] for one in carriers],
        "carriers": sorted(carriers, key=_turn),
        "encoding": Encoding(facts.encoding).name.lower(),
        "parts": facts.segments,
        "refused": None if refused is None else _refusal(refused),
        "running": running,
        "cost": None,
    }


def _cost(gateway: Gateway, rate_card: str, digits: str, at_ms: int, parts: int) -> dict[str, object] | None:
    """What a rate card ("" = none) says of a message; None: nothing."""
    found = gateway.known.price(rate_card, digits, at_ms) if rate_card else None
    if found is None:
        return None
    whole = msgspec.structs.replace(found.rate, price=found.rate.price * parts)
    return {
        "price": amount(found.rate),
        "total": amount(whole),
        "currency": found.rate.currency,
        "by": found.by,
        "rate_card": rate_card,
    }


def _margin(gateway: Gateway, route: Route, digits: str, account: Account) -> Margin | None:
    """What the route's margin guard does for this account; None: there is none."""
    written = next((one for one in gateway.config.routes if one.name == route.name), None)
    if written is None or not written.guarded:
        return None
    return gateway.choices.margin(gateway.store.lane(route.lane), digits, account.rate_card)


def _prices(margin: Margin, carrier: int) -> dict[str, object]:
    """Of a segment."""
    asked = margin.asked[carrier]
    return {
        "left_out": carrier in margin.left_out,
        "costs": price_told(asked) if asked is not None else None,
        "account_pays": price_told(margin.sold),
    }


def _turn(carrier: dict[str, object]) -> int:
    order = carrier["order"]
    return order if isinstance(order, int) else MOST_RULES


def _refusal(refused: Refusal) -> dict[str, object]:
    return {
        "status": refused.status,
        "code": refused.code,
        "field": refused.field or None,
        "detail": refused.detail,
    }


def _carriers(
    gateway: Gateway, route: Route, lane: int, facts: Facts, data: bytes, account: Account
) -> list[dict[str, object]]:
    """The carriers of the route's lane, in its order, each with its turn now and what keeps it from it.

    `lane` is that of the message: without those that it is too long for, or that the margin guard leaves out.
    """
    spec, chosen = gateway.store.lane(route.lane), gateway.store.lane(lane or route.lane)
    now, now_ms = trio.current_time(), gateway.world.wall_ms()
    by_id = {carrier.id: carrier for carrier in gateway.carriers}
    states = {one: by_id[one].facts(now) for one in spec.carriers if one in by_id}
    seen = lane_facts(gateway, lane or route.lane, states, now, now_ms)
    fresh = max((queue.age_s for queue in seen.queues if not queue.tried), default=0.0)
    waits = why_lane(msgspec.structs.replace(seen, ready=1, queues=(Queue(0, fresh),)), now).carriers
    order = gateway.board.order(lane or route.lane, now)
    turns = {index: turn for turn, (index, _) in enumerate(order, 1)}
    over = {index for index, is_over in order if is_over}
    margin = _margin(gateway, route, facts.destination, account)
    left_out = margin.left_out if margin is not None else {}
    told: list[dict[str, object]] = []
    for place, identity in enumerate(spec.carriers):
        carrier = by_id.get(identity)
        index = chosen.carriers.index(identity) if identity in chosen.carriers and lane else -1
        if identity in left_out:
            index = -1
        wait = waits[index] if index >= 0 else Wait.LANE_GONE
        if wait is Wait.FREE and index in over:
            wait = Wait.SHARE_WAIT
        parts = carrier.parts(facts.encoding, facts.segments, facts.text or data, b"") if carrier else 0
        too_long = carrier is not None and index < 0
        written = None
        if carrier is not None:
            encoding = int(Encoding.BINARY) if data else facts.encoding
            written = carrier.renderer.written(
                facts.text, encoding, facts.source, facts.source_ton, facts.destination
            )
        refusal = written.refusal if written is not None else ""
        reason, detail = wait.name.lower(), refusal or wait.value
        if identity in left_out:
            reason, detail = "margin", f"left out by the margin guard: {left_out[identity]}"
        elif too_long and carrier is not None:
            reason, detail = "too_long", f"it takes {carrier.max_parts} parts, this has {parts}"
        elif refusal:
            reason = "sender_refused"
        elif wait in (Wait.COUNTRY_OUT, Wait.COUNTRY_TRIAL):
            detail = gateway.health.told_for(identity, code_of(facts.destination)) or detail
        told.append(
            {
                "carrier": gateway.store.carrier_name(identity),
                "weight": spec.weights[place] if spec.weights else None,
                "order": turns.get(index),
                "reason": reason,
                "detail": detail,
                "parts": parts,
                "cost": None
                if carrier is None
                else _cost(gateway, carrier.settings.rate_card, facts.destination, facts.at_ms, parts),
                "margin": None if margin is None else _prices(margin, identity),
                "encoding": written.encoding if written is not None else None,
                "tables": written.tables or None if written is not None else None,
                "from": written.source if written is not None else None,
                "text_sent": written.text if written is not None and written.text != facts.text else None,
            }
        )
    return told
