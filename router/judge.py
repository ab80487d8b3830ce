"""What happens after each event: one table, event × class → settle, delay, pause, state.

An event is a submit_sm_resp status (SMPP 3.4 section 5.1.3, 5.0 section 4.7.6, vendor and reserved ranges,
any 32-bit number at all), a lost link, a response that never came, a segment that was never written, or a
message that this carrier cannot carry.
Each status has one `Fate`; a carrier's configuration may give single statuses and ranges of them another,
with waits, attempts and pauses of their own. `python -m router.judge` prints the whole table.

Invariants: every status gets a verdict, and the raw number is the caller's to keep; what is the carrier's
fault never counts against the message; a message that ends the links it is sent over does not do so for ever;
nothing retries at once in a circle: either the message waits or the carrier pauses; every delay is spread by
`chance`, so that nobody comes back in step.

Deliberately not here: the network, validity (the store ends what expires), rates that adapt.
"""

from __future__ import annotations

import math
from enum import Enum, IntEnum

import msgspec

from router.nouns import MessageClass, MessageState, Reason, Settle
from smpp.status import VENDOR_FIRST, VENDOR_LAST, Status, describe


class OnReceipt(msgspec.Struct, frozen=True):
    """A route's wish: what moves a message to the next carrier after one has accepted it."""

    undelivered: bool = False  # a receipt that says it was not delivered
    no_receipt_s: int = 0  # no final receipt so long after it was sent; 0 = that does not
    max_carriers: int = 3  # at most so many carriers are given it, one after the other
    again: bool = False  # once all have had it: also those that had it before


class Happening(IntEnum):
    STATUS = 0  # submit_sm_resp or generic_nack with this status
    TIMEOUT = 1  # no response in time
    LINK_LOST = 2  # written, then the link ended before the response
    NOT_WRITTEN = 3  # the link ended before it was written
    NOT_CARRIED = 4  # nothing was written: it is too long for this carrier, or cannot be put in its way


class Fate(Enum):
    """What a status says about a message. The values are what a configuration may write."""

    SENT = "sent"
    THROTTLED = "throttled"  # too fast: the carrier pauses a moment, the message stays at the head
    QUEUE_FULL = "queue-full"  # the recipient's: the message waits alone; the carrier's: a longer pause of it
    RETRY = "retry"  # temporary: back off, preferably to the next carrier
    HERE = "here"  # the same, and to this carrier again
    NEXT = "next"  # this carrier does not take it so, another may: soon, on the next carrier
    CARRIER = "carrier"  # the carrier refuses us, not the message: next carrier at once, this one pauses
    UNDELIVERABLE = "undeliverable"  # final
    REJECTED = "rejected"  # final
    HOLD = "hold"  # it waits until an operator releases it (`signalbox store release --reason refused`)


class Refusal(msgspec.Struct, frozen=True):
    """What a carrier's operator wants of the statuses `first` to `last`; 0 = as for its other refusals.

    `pause_s`: with a fate that pauses the carrier, for 1 to 2 times so long.
    """

    first: int
    last: int
    fate: Fate
    first_s: float = 0.0
    max_s: float = 0.0
    max_attempts: int = 0
    pause_s: float = 0.0


class Judging(msgspec.Struct, frozen=True):
    """One carrier's part of the table. Seconds; tuples are indexed by MessageClass."""

    max_attempts: int = 10  # that count; then UNDELIVERABLE, or hold if the outcome is unknown; 0 = no end
    retry_first_s: float = 5.0  # doubled for each attempt
    retry_max_s: float = 900.0
    throttled_pause_s: float = 1.0
    queue_full_pause_s: float = 15.0
    refused_pause_s: float = 30.0
    hold_unknown: tuple[bool, bool, bool, bool] = (False, False, False, False)
    resend_after_s: tuple[float, float, float, float] = (0.0, 60.0, 60.0, 60.0)
    fates: dict[int, Fate] = {}
    suspect_after: int = (
        3  # lost links in a row; then it is sent alone, and if that link ends, too, held. 0 = never
    )
    refusals: tuple[Refusal, ...] = ()  # the first that has a status decides; `fates` go before

    def for_status(self, status: int) -> Judging:
        """With the numbers of the refusal that has this status."""
        refusal = self.refusal(status)
        if refusal is None:
            return self
        pause_s = refusal.pause_s
        return msgspec.structs.replace(
            self,
            max_attempts=refusal.max_attempts or self.max_attempts,
            retry_first_s=refusal.first_s or self.retry_first_s,
            retry_max_s=max(refusal.max_s or self.retry_max_s, refusal.first_s),
            throttled_pause_s=pause_s or self.throttled_pause_s,
            queue_full_pause_s=pause_s or self.queue_full_pause_s,
            refused_pause_s=pause_s or self.refused_pause_s,
        )

    def refusal(self, status: int) -> Refusal | None:
        return next((one for one in self.refusals if one.first <= status <= one.last), None)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """`delay_s`: the message waits so long. `suspend_s`: the carrier (or bind) sends nothing for so long."""

    settle: Settle
    reason: Reason = Reason.NONE
    delay_s: float = 0.0
    count_attempt: bool = True
    mark_tried: bool = False
    suspend_s: float = 0.0
    state: MessageState = MessageState.ENROUTE


_NEXT_FIRST_S = 1.0
_OF_ITS_AGE = 0.1
_SPECIAL = {
    Status.ESME_ROK: Fate.SENT,
    Status.ESME_RTHROTTLED: Fate.THROTTLED,
    Status.ESME_RMSGQFUL: Fate.QUEUE_FULL,
}
_BY_FATE = {
    Fate.RETRY: (
        Status.ESME_RSYSERR,
        Status.ESME_RINVMSGID,
        Status.ESME_RSUBMITFAIL,
        Status.ESME_RX_T_APPN,
        Status.ESME_RUNKNOWNERR,
        Status.ESME_RSERTYPUNAVAIL,
    ),
    Fate.CARRIER: (
        Status.ESME_RINVCMDID,
        Status.ESME_RINVBNDSTS,
        Status.ESME_RALYBND,
        Status.ESME_RBINDFAIL,
        Status.ESME_RINVPASWD,
        Status.ESME_RINVSYSID,
        Status.ESME_RINVSYSTYP,
        Status.ESME_RPROHIBITED,
    ),
    Fate.UNDELIVERABLE: (
        Status.ESME_RINVDSTADR,
        Status.ESME_RX_P_APPN,
        Status.ESME_RDELIVERYFAILURE,
    ),
    Fate.REJECTED: (
        Status.ESME_RINVMSGLEN,
        Status.ESME_RINVSRCADR,
        Status.ESME_RX_R_APPN,
    ),
}
# Every other status a specification names blames a field of the PDU, or another operation: another
# carrier, or the same one after its settings were put right, may take it.
FATES: dict[int, Fate] = {
    **{int(status): Fate.NEXT for status in Status},
    **{int(status): fate for status, fate in _SPECIAL.items()},
    **{int(status): fate for fate, statuses in _BY_FATE.items() for status in statuses},
}
_NOT_DELIVERED = frozenset(
    (MessageState.UNDELIVERABLE, MessageState.REJECTED, MessageState.EXPIRED, MessageState.UNKNOWN)
)
_FINAL_CAUSES = frozenset(
    ("unknown_subscriber", "invalid_number", "barred", "opted_out", "cancelled", "absent_subscriber",
     "memory_full")
)  # fmt: skip
DEFAULT_FATE = Fate.RETRY  # vendor codes, reserved codes, 0xFFFFFFFF


def fate_of(status: int, judging: Judging) -> Fate:
    """The carrier's own choice, else the table, else RETRY."""
    own = judging.fates.get(status)
    if own is None and judging.refusals:
        refusal = judging.refusal(status)
        own = refusal.fate if refusal is not None else None
    return own or FATES.get(status, DEFAULT_FATE)


def judge(
    happening: Happening,
    status: int,
    message_class: MessageClass,
    attempts: int,
    chance: float,
    judging: Judging,
    left_s: float = math.inf,
    lost: int = 0,
    *,
    age_s: float = 0.0,
    everywhere: bool = False,
) -> Verdict:
    """The verdict on one segment.

    `status` matters with Happening.STATUS only. `attempts`: those counted before this one. `chance` in
    [0, 1) spreads delays. `left_s`: validity left, which bounds the delay. `lost`: links in a row that ended
    while it was unanswered, before this one; from `suspect_after` on it had this one for itself. `age_s`: of
    the message; what waits for a full queue is asked for the less often the older it is. `everywhere`: a full
    queue is the carrier's (router.full_queues).
    """
    if happening is Happening.STATUS:
        fate = fate_of(status, judging)
        if judging.refusals and fate is not Fate.SENT:
            judging = judging.for_status(status)
        if fate is Fate.QUEUE_FULL:
            verdict = _after_full_queue(chance, judging, age_s, everywhere)
        else:
            verdict = _after_status(fate, attempts, chance, judging)
    elif happening is Happening.NOT_WRITTEN:
        return Verdict(Settle.RETURNED, Reason.LINK_LOST, count_attempt=False)
    elif happening is Happening.NOT_CARRIED:
        verdict = _after_status(Fate.NEXT, attempts, chance, judging)
    else:
        links_lost = lost + 1 if happening is Happening.LINK_LOST else 0
        verdict = _after_silence(message_class, attempts, chance, judging, links_lost)
    if verdict.delay_s > left_s:
        return msgspec.structs.replace(verdict, delay_s=max(0.0, left_s))
    return verdict


def after_receipt(state: int, cause: str, policy: OnReceipt, had: int) -> bool:
    """Whether a message goes to the next carrier, which `had` carriers have accepted and none has delivered.

    `state` is its final receipt's, with what it means (router.causes); ENROUTE: none came in time. What
    blames the recipient, or was asked for, is final with any carrier.
    """
    if had >= policy.max_carriers:
        return False
    if state == MessageState.ENROUTE:
        return policy.no_receipt_s > 0
    return policy.undelivered and state in _NOT_DELIVERED and cause not in _FINAL_CAUSES


def back_off_s(first_s: float, most_s: float, attempts: int, chance: float) -> float:
    """Exponential, at least half of it kept: [½, 1) of first_s x 2^attempts, at most `most_s`."""
    return min(most_s, first_s * 2.0 ** min(attempts, 30)) * (0.5 + chance / 2)


def _after_status(fate: Fate, attempts: int, chance: float, judging: Judging) -> Verdict:
    if fate is Fate.SENT:
        return Verdict(Settle.SENT)
    if fate is Fate.THROTTLED:
        return Verdict(
            Settle.RETRY,
            Reason.THROTTLED,
            count_attempt=False,
            suspend_s=judging.throttled_pause_s * (1 + chance),
        )
    if fate is Fate.CARRIER:
        return Verdict(
            Settle.RETRY,
            Reason.RETRY,
            count_attempt=False,
            mark_tried=True,
            suspend_s=judging.refused_pause_s * (1 + chance),
        )
    if fate is Fate.UNDELIVERABLE or fate is Fate.REJECTED:
        state = MessageState.REJECTED if fate is Fate.REJECTED else MessageState.UNDELIVERABLE
        return Verdict(Settle.FINAL, Reason.REFUSED_BY_CARRIER, state=state)
    if fate is Fate.HOLD:
        return Verdict(Settle.HOLD, Reason.REFUSED_HELD)
    if 0 < judging.max_attempts <= attempts + 1:
        return Verdict(Settle.FINAL, Reason.TOO_MANY_ATTEMPTS, state=MessageState.UNDELIVERABLE)
    first_s = min(_NEXT_FIRST_S, judging.retry_first_s) if fate is Fate.NEXT else judging.retry_first_s
    delay_s = back_off_s(first_s, judging.retry_max_s, attempts, chance)
    return Verdict(Settle.RETRY, Reason.RETRY, delay_s=delay_s, mark_tried=fate is not Fate.HERE)


def _after_full_queue(chance: float, judging: Judging, age_s: float, everywhere: bool) -> Verdict:
    pause_s = judging.queue_full_pause_s * (1 + chance)
    if everywhere:
        return Verdict(Settle.RETRY, Reason.QUEUE_FULL, count_attempt=False, suspend_s=pause_s)
    delay_s = max(pause_s, min(age_s * _OF_ITS_AGE, judging.retry_max_s))
    return Verdict(Settle.RETRY, Reason.QUEUE_FULL, delay_s=delay_s, count_attempt=False)


def _after_silence(
    message_class: MessageClass, attempts: int, chance: float, judging: Judging, lost: int
) -> Verdict:
    """Outcome unknown. Past the last attempt it is held, not failed: it may have been delivered."""
    suspect = 0 < judging.suspect_after <= lost
    if suspect and lost > judging.suspect_after:
        return Verdict(Settle.UNKNOWN_HOLD, Reason.SUSPECT)
    if judging.hold_unknown[message_class] or 0 < judging.max_attempts <= attempts + 1:
        return Verdict(Settle.UNKNOWN_HOLD, Reason.OUTCOME_UNKNOWN)
    return Verdict(
        Settle.UNKNOWN_RESEND,
        Reason.SUSPECT if suspect else Reason.OUTCOME_UNKNOWN,
        delay_s=judging.resend_after_s[message_class] * (1 + chance / 10),
    )


# the table, for people


def markdown(judging: Judging | None = None) -> str:
    """The table with a first attempt's figures, delays as `from - to` seconds."""
    judging = judging or Judging()
    lines = [
        "| event | class | fate | settle | waits s | carrier pauses s | counts | next carrier | state |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for status in sorted(FATES):
        event = f"0x{status:08x} {describe(status)}"
        lines.append(_row(event, "all", Happening.STATUS, status, MessageClass.OTP, judging))
        if FATES[status] is Fate.QUEUE_FULL:
            event += ", for several recipients in a row"
            lines.append(
                _row(event, "all", Happening.STATUS, status, MessageClass.OTP, judging, everywhere=True)
            )
    for name, status in (
        (f"vendor 0x{VENDOR_FIRST:08x}-0x{VENDOR_LAST:08x}", VENDOR_FIRST),
        ("any other status, 0xffffffff included", 0xFFFFFFFF),
    ):
        lines.append(_row(name, "all", Happening.STATUS, status, MessageClass.OTP, judging))
    for happening in (Happening.LINK_LOST, Happening.TIMEOUT):
        for message_class in MessageClass:
            name = happening.name.lower().replace("_", " ")
            lines.append(_row(name, message_class.name.lower(), happening, 0, message_class, judging))
    for lost, name in (
        (judging.suspect_after - 1, f"link lost {judging.suspect_after} times in a row: goes alone"),
        (judging.suspect_after, "link lost while it was alone on it"),
    ):
        if judging.suspect_after:
            lines.append(
                _row(name, "all but otp", Happening.LINK_LOST, 0, MessageClass.BULK, judging, lost=lost)
            )
    lines.append(_row("not written", "all", Happening.NOT_WRITTEN, 0, MessageClass.OTP, judging))
    lines.append(_row("not carried", "all", Happening.NOT_CARRIED, 0, MessageClass.OTP, judging))
    lines.extend(_receipt_rows())
    return "\n".join(lines) + "\n"


def _row(
    event: str,
    classes: str,
    happening: Happening,
    status: int,
    message_class: MessageClass,
    judging: Judging,
    lost: int = 0,
    *,
    everywhere: bool = False,
) -> str:
    low = judge(happening, status, message_class, 0, 0.0, judging, lost=lost, everywhere=everywhere)
    high = judge(happening, status, message_class, 0, 1.0, judging, lost=lost, everywhere=everywhere)
    fate = fate_of(status, judging).value if happening is Happening.STATUS else "unknown"
    if happening is Happening.NOT_WRITTEN:
        fate = "returned"
    elif happening is Happening.NOT_CARRIED:
        fate = Fate.NEXT.value
    cells = (
        event,
        classes,
        fate,
        low.settle.name.lower(),
        _span(low.delay_s, high.delay_s),
        _span(low.suspend_s, high.suspend_s),
        "yes" if low.count_attempt else "no",
        "yes" if low.mark_tried else "",
        low.state.name if low.settle is Settle.FINAL else "",
    )
    return "| " + " | ".join(cells) + " |"


def _receipt_rows() -> list[str]:
    """What comes after a carrier has accepted a message, where its route opts in; else it is final."""
    wish = OnReceipt(undelivered=True, no_receipt_s=120)
    rows = []
    for state in MessageState:
        if state in (MessageState.SCHEDULED, MessageState.ACCEPTED, MessageState.SKIPPED):
            continue
        moves = after_receipt(state, "", wish, 1)
        name = "no receipt within no_receipt_s" if state is MessageState.ENROUTE else f"receipt {state.name}"
        fate, moved, end = ("next", "yes", "") if moves else ("final", "", state.name)
        rows.append(f"| {name}, the route opted in | all | {fate} | {fate} | 0 | 0 | no | {moved} | {end} |")
    causes = ", ".join(sorted(_FINAL_CAUSES))
    rows.append(f"| the same, by {causes} | all | final | final | 0 | 0 | no |  | as received |")
    return rows


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} - {high:g}"


if __name__ == "__main__":
    print(markdown(), end="")
