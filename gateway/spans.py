"""Spans of one message, from submit to receipt, as OpenTelemetry's conventions for messaging name them.

A message's root span lasts from accept to its end. Below it are one for each attempt (from the moment when
the message could go, or from the attempt before, to the carrier's answer: waiting in the queue is part of it,
as the timeline does not keep when a submit_sm was written), one from the last accepted part to the receipt,
and one for each callback that is still remembered. Ids are made of the message's id (gateway.traces); a
customer's `traceparent` makes the root a child of the customer's span.

Invariant: no number, no text and no word of a person is in a span.

Deliberately not here: reading messages, sampling, sending (gateway.telemetry).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.callbacks.endpoint import Attempt
from gateway.traces import span_id_of, trace_id_of
from router.nouns import Message, MessageClass, MessageState, Phase, Progress, Step, Via

INTERNAL, SERVER, PRODUCER = "internal", "server", "producer"

_ANSWERS = {Step.SENT: "", Step.REFUSED: "refused", Step.OUTCOME_UNKNOWN: "outcome_unknown"}
_TOLD = {
    Step.DEFERRED: "deferred",
    Step.HELD: "held",
    Step.RELEASED: "released",
    Step.RESENT: "resent",
    Step.CLAIMED: "claimed",
    Step.REPLANNED: "replanned",
    Step.PASSED_ON: "passed_on",
    Step.MOVED: "moved",
    Step.FORCED: "forced",
}
_RECEIPTS = (Step.RECEIPT, Step.RECEIPT_REPEATED, Step.RECEIPT_CONTRADICTS)
_GOOD = (MessageState.DELIVERED, MessageState.ACCEPTED)

Attributes = dict[str, str | int | bool]


class Event(NamedTuple):
    at_ms: int
    name: str
    attributes: Attributes


class Span(NamedTuple):
    """Ids in hex; `parent` "" for none. `error`: what went wrong, "" for nothing. Times in UTC ms."""

    name: str
    trace: str
    id: str
    parent: str
    parent_is_remote: bool
    kind: str
    start_ms: int
    end_ms: int
    attributes: Attributes
    events: tuple[Event, ...] = ()
    error: str = ""


def spans_of(
    message: Message,
    progress: Progress,
    account: str,
    carrier_name: Callable[[int], str],
    callbacks: Iterable[Attempt] = (),
) -> list[Span]:
    """Of a message that has ended, the root first."""
    trace, parent = trace_id_of(message.id), ""
    if message.trace is not None:
        trace, parent = message.trace[:16].hex(), message.trace[16:24].hex()
    root = span_id_of(message.id)
    common: Attributes = {"messaging.system": "smpp", "messaging.message.id": str(message.id)}
    told = list(callbacks)
    end_ms = max([progress.finished_ms, *(one.at_ms for one in told)])
    state = MessageState(progress.state)
    whole = Span(
        f"send {message.route}".strip(),
        trace,
        root,
        parent,
        bool(parent),
        SERVER if parent else INTERNAL,
        message.accepted_ms,
        max(end_ms, message.accepted_ms),
        {
            **common,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": message.route,
            "signalbox.account": account,
            "signalbox.api": Via(message.via).name.lower(),
            "signalbox.class": MessageClass(message.message_class).name.lower(),
            "signalbox.segments": message.segments,
            "signalbox.state": state.name,
            "signalbox.attempts": progress.attempts,
            "signalbox.trace_id": trace_id_of(message.id),
            **({"signalbox.cause": progress.cause} if progress.cause else {}),
        },
        tuple(
            Event(at_ms, _TOLD[Step(step)], _carrier(carrier, carrier_name))
            for at_ms, step, carrier, _ in progress.events
            if step in _TOLD
        ),
        "" if state in _GOOD else state.name,
    )
    return [
        whole,
        *_attempts(message, progress, trace, root, common, carrier_name),
        *_receipts(message, progress, trace, root, common, carrier_name),
        *_callbacks(message, trace, root, common, told),
    ]


def _attempts(
    message: Message,
    progress: Progress,
    trace: str,
    root: str,
    common: Attributes,
    carrier_name: Callable[[int], str],
) -> Iterable[Span]:
    """An answer for each part: those of one carrier without anything between are one attempt."""
    begin_ms = max(message.accepted_ms, message.send_at_ms)
    number = 0
    for at_ms, step, carrier, detail in progress.events:
        if step not in _ANSWERS:
            continue
        number += 1
        error = _ANSWERS[Step(step)]
        if step == Step.REFUSED:
            error = detail.split(" ")[0]
        name = carrier_name(carrier)
        yield Span(
            f"submit_sm {name}",
            trace,
            span_id_of(message.id, f"attempt {number}"),
            root,
            False,
            PRODUCER,
            min(begin_ms, at_ms),
            at_ms,
            {
                **common,
                "messaging.operation.name": "submit_sm",
                "messaging.operation.type": "send",
                "messaging.destination.name": name,
                "signalbox.carrier": name,
                **({"error.type": error} if error else {}),
            },
            (),
            error,
        )
        begin_ms = at_ms


def _receipts(
    message: Message,
    progress: Progress,
    trace: str,
    root: str,
    common: Attributes,
    carrier_name: Callable[[int], str],
) -> Iterable[Span]:
    sent = [(at_ms, carrier) for at_ms, step, carrier, _ in progress.events if step == Step.SENT]
    if not sent or progress.phase != Phase.FINAL:
        return
    begin_ms, carrier = sent[-1]
    came = [
        Event(at_ms, Step(step).name.lower(), {"signalbox.receipt": detail.split(" ")[0]})
        for at_ms, step, _, detail in progress.events
        if step in _RECEIPTS and at_ms >= begin_ms
    ]
    yield Span(
        f"await receipt {carrier_name(carrier)}",
        trace,
        span_id_of(message.id, "receipt"),
        root,
        False,
        INTERNAL,
        begin_ms,
        max(begin_ms, progress.finished_ms),
        {
            **common,
            "messaging.operation.name": "receipt",
            "messaging.operation.type": "receive",
            "signalbox.carrier": carrier_name(carrier),
        },
        tuple(came),
        "" if came else "no receipt",
    )


def _callbacks(
    message: Message, trace: str, root: str, common: Attributes, told: Iterable[Attempt]
) -> Iterable[Span]:
    for number, one in enumerate(told, 1):
        yield Span(
            "callback",
            trace,
            span_id_of(message.id, f"callback {number}"),
            root,
            False,
            PRODUCER,
            one.at_ms - int(one.duration_s * 1000),
            one.at_ms,
            {
                **common,
                "messaging.operation.name": "callback",
                "messaging.operation.type": "process",
                "messaging.batch.message_count": one.events,
                "signalbox.outcome": one.outcome,
                **({"error.type": one.outcome} if one.error else {}),
            },
            (),
            one.outcome if one.error else "",
        )


def _carrier(carrier: int, carrier_name: Callable[[int], str]) -> Attributes:
    return {"signalbox.carrier": carrier_name(carrier)} if carrier else {}
