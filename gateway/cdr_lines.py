"""Call detail records of one message that has ended: a line for each attempt, and one for its final state.

An attempt is one submit_sm as the timeline has it: taken by the carrier (`sent`), refused, or without an
answer (`unknown`); an unknown one that was resolved later is one line, `sent`. What a timeline has left
out, because it is bounded, has no line. Prices are exact text: of a segment in each line, in all in the
final one.

Invariant: the same message that has ended makes the same lines, as long as nobody changes rate cards.

Deliberately not here: files (store.cdr_files), following what ends (gateway.cdrs).
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from gateway.admin_shapes import iso
from router import money
from router.nouns import Message, MessageState, Part, Progress, Reason, Step
from router.rates import Rate

_WHICH = re.compile(r"(?s)(.*) part ([0-9]{1,3})/([0-9]{1,3})")
_RESULTS = {int(Step.SENT): "sent", int(Step.REFUSED): "refused", int(Step.OUTCOME_UNKNOWN): "unknown"}
_STATES = {int(state): state.name for state in MessageState}
_REASONS = {int(reason): reason.name for reason in Reason}
_MCC = 3


class Line(msgspec.Struct, rename={"sender": "from"}, gc=False):
    """One record. Fields are only appended: programs read the CSV by place."""

    at: str  # UTC
    type: str  # attempt | final
    message_id: str
    account: str
    carrier: str
    carrier_message_id: str
    part: int
    parts: int
    result: str  # of an attempt: sent | refused | unknown; of a final one: its state
    error: str  # the carrier's: a status, or the code of its receipt
    reason: str
    sender: str
    to: str
    mcc: str
    mnc: str
    segments: int
    buy_price: str
    buy_currency: str
    sell_price: str
    sell_currency: str
    buy_total: str  # final: of all attempts that carriers took, where they are in one currency
    sell_total: str  # final: what the account was charged
    route: str
    client_ref: str
    accepted_at: str


COLUMNS = tuple(field.encode_name for field in msgspec.structs.fields(Line))


class Known(Protocol):
    """What lines say beyond the message."""

    def account(self, id: int) -> str: ...
    def carrier(self, id: int) -> str: ...
    def bought(self, carrier: int, digits: str, at_ms: int) -> Rate | None: ...
    def sold(self, message: Message) -> Rate | None: ...
    def mcc_mnc(self, message: Message) -> str: ...


def lines_of(message: Message, progress: Progress, known: Known) -> list[Line]:
    """In the order of what happened, the final one last."""
    network, sold = known.mcc_mnc(message), known.sold(message)
    accepted_at = iso(message.accepted_ms)

    def line(at_ms: int, type: str, carrier: int, cid: str, part: int, parts: int) -> Line:
        return Line(
            iso(at_ms), type, str(message.id), known.account(message.account),
            known.carrier(carrier) if carrier else "", cid, part, parts, "", "", "", message.source,
            message.destination, network[:_MCC], network[_MCC:], 1, "", "",
            money.text(sold.price) if sold is not None else "", sold.currency if sold is not None else "",
            "", "", message.route, message.client_ref, accepted_at,
        )  # fmt: skip

    by_id = {part.carrier_message_id: part for part in progress.parts if part.carrier_message_id}
    found: list[Line] = []
    bought: dict[str, int] = {}
    for at_ms, step, carrier, detail in progress.events:
        result = _RESULTS.get(step)
        if step == Step.CLAIMED:
            _resolve(found)
        if result is None:
            continue
        what, part, parts = _which(detail)
        one = line(at_ms, "attempt", carrier, what if result == "sent" else "", part, parts)
        one.result = result
        if result == "sent":
            taken = by_id.get(what)
            one.error = taken.error if taken is not None else ""
            one.reason = _STATES.get(taken.state, "") if taken is not None else ""
            price = known.bought(carrier, message.destination, at_ms)
            if price is not None:
                one.buy_price, one.buy_currency = money.text(price.price), price.currency
                bought[price.currency] = bought.get(price.currency, 0) + price.price
        else:
            one.error = what
        found.append(one)
    last = found[-1] if found else None
    told = _told(progress)
    final = line(
        progress.finished_ms,
        "final",
        told.carrier if told is not None else 0,
        told.carrier_message_id if told is not None else "",
        0,
        len(progress.parts),
    )
    if told is None and last is not None:
        final.carrier = last.carrier
    final.result = _STATES.get(progress.state, str(progress.state))
    final.error = told.error if told is not None else ""
    final.reason = _REASONS.get(progress.reason, str(progress.reason))
    final.segments = message.segments
    if len(bought) == 1:
        ((currency, total),) = bought.items()
        final.buy_total, final.buy_currency = money.text(total), currency
    if message.bill is not None and message.bill.price:
        final.sell_total = money.text(money.owed(message, progress))
    return [*found, final]


def _which(detail: str) -> tuple[str, int, int]:
    """(the id or the status, part, parts) of an attempt in a timeline."""
    found = _WHICH.fullmatch(detail)
    return (found[1], int(found[2]), int(found[3])) if found is not None else (detail, 1, 1)


def _resolve(found: list[Line]) -> None:
    """The newest attempt was taken after all: the unknown one before it was the same."""
    if not found:
        return
    for at in range(len(found) - 2, -1, -1):
        if found[at].result == "unknown" and found[at].carrier == found[-1].carrier:
            del found[at]
            return


def _told(progress: Progress) -> Part | None:
    """The part that says how the message ended."""
    ended = [part for part in progress.parts if part.state == progress.state]
    return next(iter(ended or progress.parts), None)
