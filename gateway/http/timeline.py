"""A message and all that happened to it, as the JSON of GET /v1/messages/{id}.

Times are RFC 3339 in UTC with milliseconds. Names of states, phases, reasons and steps are the enums'.

Deliberately not here: looking it up, who may see it at all (messages.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.logs import mask_address
from router.nouns import (
    Encoding,
    Message,
    MessageClass,
    MessageState,
    Part,
    Phase,
    Progress,
    Reason,
    ReceiptWish,
    Step,
)

Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds",
        extra_json_schema={"format": "date-time"},
        examples=["2030-01-31T09:30:00.000Z"],
    ),
]


class PartOut(msgspec.Struct, omit_defaults=True):
    carrier: str
    carrier_message_id: str
    state: str
    error: str = ""
    cause: str = ""


class StepOut(msgspec.Struct, omit_defaults=True):
    at: Time
    step: str
    carrier: str = ""
    detail: str = ""


class WaitsOut(msgspec.Struct, omit_defaults=True):
    """Where a message waits, for the house. `why`: why its lane does not move, as GET /v1/queues says it;
    `before`: about how many go before it, `more` than that where counting ended there; None: it is not
    ready. `told`: all of it in words."""

    lane: str
    why: str
    told: str
    before: int | None = None
    more: bool = False


class MessageOut(msgspec.Struct, omit_defaults=True, rename={"sender": "from", "message_class": "class"}):
    """`phase` says where it is, `state` what SMPP would call it, `reason` why it waits or ended, `cause` why
    it was not delivered (router.causes)."""

    id: str
    state: str
    phase: str
    final: bool
    to: str
    sender: str
    encoding: str
    segments: int
    priority: int
    message_class: str
    receipt: str
    route: str
    accepted_at: Time
    expires_at: Time
    attempts: int
    timeline: list[StepOut]
    reason: str = ""
    cause: str = ""
    text: str | None = None
    data: str | None = None
    send_at: Time | None = None
    waiting_until: Time | None = None
    finished_at: Time | None = None
    done_at: Time | None = None
    possible_duplicate: bool = False
    cancel_wished: bool = False
    parts: list[PartOut] = []
    tags: tuple[str, ...] = ()
    client_ref: str = ""
    callback_url: str = ""
    erased_at: Annotated[
        Time | None, Meta(description="when its number and text were erased, on somebody's demand")
    ] = None
    not_counted: Annotated[
        str, Meta(description="refusals that are no attempts, in words: as throttled, for a full queue")
    ] = ""
    waits: Annotated[
        WaitsOut | None, Meta(description="where it waits and why its lane does not move; for operators only")
    ] = None


def not_counted(progress: Progress) -> str:
    """Refusals in its timeline that are no attempts, in words; "" none."""
    refused = [detail.split(" ")[0] for _, step, _, detail in progress.events if step == Step.REFUSED]
    told = [f"{_times(count)} {what}" for status, what in _NO_ATTEMPTS if (count := refused.count(status))]
    return f"refused {' and '.join(told)}, which does not count" if told else ""


def _times(count: int) -> str:
    return _FEW[count] if count < len(_FEW) else f"{count} times"


_FEW = ("never", "once", "twice")
_NO_ATTEMPTS = (("ESME_RTHROTTLED", "as throttled"), ("ESME_RMSGQFUL", "for a full queue"))
_NO_UNTIL = frozenset({Phase.READY, Phase.LEASED, Phase.FINAL})  # what is stored there is when it was due


def waiting_until_ms(progress: Progress) -> int:
    """Until when it waits; 0: for no time."""
    return 0 if progress.phase in _NO_UNTIL else progress.until_ms


def erased_ms(progress: Progress) -> int:
    """When its number and what it said were erased; 0: they were not."""
    return next((at_ms for at_ms, step, *_ in reversed(progress.events) if step == Step.ERASED), 0)


def rfc3339(at_ms: int) -> str:
    """2030-01-31T09:30:00.000Z"""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{_seconds(seconds)}.{milliseconds:03}Z"


@functools.lru_cache(maxsize=256)
def _seconds(since_epoch: int) -> str:
    try:
        return f"{datetime.fromtimestamp(since_epoch, UTC):%Y-%m-%dT%H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # beyond year 9999: validity at its limits
        return "9999-12-31T23:59:59"


def encoding_name(value: int) -> str:
    return _ENCODINGS[value] if 0 <= value < len(_ENCODINGS) else str(value)


def state_name(value: int) -> str:
    return _STATES[value] if 0 <= value < len(_STATES) else str(value)


def part_state(part: Part) -> str:
    """The state of a part in words: a message's, or, while no carrier has it, REFUSED or UNSENT."""
    if part.state == MessageState.SCHEDULED:
        return "REFUSED" if part.error else "UNSENT"
    return state_name(part.state)


_ENCODINGS = tuple(encoding.name.lower() for encoding in Encoding)
_STATES = tuple(state.name for state in MessageState)


def message_json(
    message: Message,
    progress: Progress,
    carrier_name: Callable[[int], str],
    scopes: Container[str],
    waits: WaitsOut | None = None,
) -> bytes:
    """The whole answer body, for somebody with these scopes (router.roles)."""
    return msgspec.json.encode(message_out(message, progress, carrier_name, scopes, waits))


def message_out(
    message: Message,
    progress: Progress,
    carrier_name: Callable[[int], str],
    scopes: Container[str],
    waits: WaitsOut | None = None,
) -> MessageOut:
    """The same before it is JSON."""
    final = progress.phase == Phase.FINAL
    binary = message.encoding == Encoding.BINARY
    told = "messages.text" in scopes
    number = str if "messages.numbers" in scopes else mask_address
    return MessageOut(
        id=str(message.id),
        state=state_name(progress.state),
        phase=_name(Phase, progress.phase),
        final=final,
        to=number(message.destination),
        sender=number(message.source),
        encoding=encoding_name(message.encoding),
        segments=message.segments,
        priority=message.priority,
        message_class=_name(MessageClass, message.message_class),
        receipt=_name(ReceiptWish, message.receipt),
        route=message.route,
        accepted_at=rfc3339(message.accepted_ms),
        expires_at=rfc3339(message.expires_ms),
        attempts=progress.attempts,
        timeline=_timeline(message, progress, carrier_name),
        reason=_name(Reason, progress.reason) if progress.reason else "",
        cause=progress.cause,
        text=message.text if told and not binary else None,
        data=message.data.hex() if told and binary else None,
        send_at=rfc3339(message.send_at_ms) if message.send_at_ms else None,
        waiting_until=rfc3339(until) if (until := waiting_until_ms(progress)) else None,
        finished_at=rfc3339(progress.finished_ms) if progress.finished_ms else None,
        done_at=rfc3339(progress.done_ms) if progress.done_ms and final else None,
        possible_duplicate=progress.possible_duplicate,
        cancel_wished=progress.cancel_wished,
        parts=[
            PartOut(
                carrier_name(part.carrier),
                part.carrier_message_id,
                part_state(part),
                part.error,
                part.cause,
            )
            for part in progress.parts
        ],
        tags=message.tags,
        client_ref=message.client_ref,
        callback_url=message.callback_url,
        erased_at=rfc3339(erased) if (erased := erased_ms(progress)) else None,
        not_counted=not_counted(progress),
        waits=waits,
    )


def _timeline(message: Message, progress: Progress, carrier_name: Callable[[int], str]) -> list[StepOut]:
    steps = [
        StepOut(rfc3339(at_ms), _name(Step, step), carrier_name(carrier) if carrier else "", detail)
        for at_ms, step, carrier, detail in progress.events
    ]
    if not any(event[1] == Step.ACCEPTED for event in progress.events):
        steps.insert(0, StepOut(rfc3339(message.accepted_ms), "accepted"))
    return steps


def _name(
    names: type[Phase] | type[MessageClass] | type[ReceiptWish] | type[Reason] | type[Step], value: int
) -> str:
    """An enum's name in lower case; a value from a newer Signalbox stays a number."""
    try:
        return names(value).name.lower()
    except ValueError:
        return str(value)
