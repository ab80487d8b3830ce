"""COMMIT B: what carriers answered, or failed to answer, for leased messages.

A message of several parts settles part by part and stays LEASED until each part it was leased with has an
outcome; then the worst outcome decides: a final refusal, an unknown outcome, a retry, a return, sent. Parts
already accepted stay accepted: the rest goes to the same carrier again (`first_part`) unless the outcome says
"another carrier" or none is left to continue, when the whole message goes and the timeline says so.

An outcome for a message that is no longer leased is a late answer: it may resolve an unknown outcome or stop
a resend, and otherwise is recorded only.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from router.lanes import MAX_CARRIERS, all_had, drains
from router.nouns import (
    LaneSpec,
    Leased,
    MessageState,
    Outcome,
    Part,
    Phase,
    Progress,
    Reason,
    ReceiptWish,
    Settle,
    Step,
    Taken,
)
from store import correlation, fail_over, limits, parked, receipts
from store.awaiting import Sending, Sent
from store.ending import error_of, finalize, fold
from store.lanes import lane_of
from store.outbox import tell_sent
from store.queues import FORCED, entry_of, first_due_ms, locate, put_due, put_held, put_ready
from store.records import (
    BUCKET_MS,
    CORRELATION,
    CORRELATION_KEY,
    KEEPS_PLACE,
    MESSAGE_KEY,
    UnknownHeld,
    encode,
    id_bytes,
)
from store.timeline import note
from store.values import VALUE_VERSION, pack_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from store.batch import Batch
    from store.memory import Lease

SEVERITY = {
    Settle.SENT: 0,
    Settle.RETURNED: 1,
    Settle.RETRY: 2,
    Settle.UNKNOWN_RESEND: 3,
    Settle.UNKNOWN_HOLD: 4,
    Settle.HOLD: 5,
    Settle.FINAL: 6,
}
TEXT_PREFIX = 20
_CARRIER_WAITS = (Reason.THROTTLED, Reason.QUEUE_FULL)
_LEASED, _AWAITING_RECEIPT = int(Phase.LEASED), int(Phase.AWAITING_RECEIPT)
_ENROUTE, _SENT = int(MessageState.ENROUTE), int(Step.SENT)
_NO_RECEIPT = int(ReceiptWish.NONE)
_NONE_LEFT: dict[int, Leased] = {}
_SHORT = 66  # characters of an id, which is its own key whatever they are


def settle(batch: Batch, outcomes: Sequence[Outcome | Taken], now_ms: int) -> None:
    """Apply each outcome once, in order; repeated ones change nothing but the timeline.

    The hot path: the commonest case is written out here, and does what `settle_one` does of it. A message was
    accepted at the first try, under an id, its receipt to come; nothing has happened to it while it was
    leased, else it has a progress already.
    """
    memory, tables = batch.memory, batch.tables
    put_progress, put_hit = batch.putter(tables.progress), batch.putter(tables.correlation)
    awaiting = memory.awaiting
    by_key = awaiting.by_key
    at_once: list[Message] = []
    owners: list[int] = []  # their accounts
    lane = segments = run = 0  # of those of `at_once` from `run` on
    watches_silence = memory.watches_silence
    message_key, hit_key, hit = MESSAGE_KEY.pack, CORRELATION_KEY.pack, CORRELATION.pack
    lease, left, settled = -1, _NONE_LEFT, set[int]()  # of the message before
    for taken in outcomes:
        if not isinstance(taken, Taken):
            settle_alone(batch, taken, now_ms)
            continue
        carrier, group = taken.carrier, taken.group
        a, b, c, d, after = awaiting.form(carrier, group)  # of the progress
        parked_here = parked.waiting(batch, group)  # fewer from here on, never more
        awaiting.make_room(len(taken.ids))
        by_name = awaiting.of_group(group)
        sent_ms = -1
        for at, (leased, cid) in enumerate(zip(taken.leased, taken.ids, strict=True)):
            message = leased.message
            account, id = message.account, message.id
            if leased.lease != lease:
                lease = leased.lease
                known = batch.lease_of(lease)
                left = known.left if known is not None else _NONE_LEFT
                settled = batch.settled.setdefault(lease, set())
                sent_ms = -1
            if left.get(id) is not leased or not leased.fresh or not cid or message.receipt == _NO_RECEIPT:
                settle_alone(batch, taken.outcome(at), now_ms)
                continue
            if leased.sent_ms != sent_ms:
                sent_ms = leased.sent_ms
                bucket = hit_key(group, sent_ms // BUCKET_MS)
                sending = Sending(carrier, group, lease, sent_ms)
                before, between = a + sending.lease_octets + b, c + sending.sent_octets + d
            key, named = message_key(account, id), encode(cid)
            payload = b"".join((before, named, between, named, after))
            # True, False: where there is a row, nothing is done.
            if not put_progress(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload, True, False):
                settle_alone(batch, taken.outcome(at), now_ms)
                continue
            recipient = message.destination.encode()
            row = bucket + (cid.encode() if len(cid) <= _SHORT else id_bytes(cid))
            payload = hit(account, id, 0, 1, len(recipient)) + recipient
            if not put_hit(row, pack_head(VALUE_VERSION, crc32(row + payload)) + payload, True, False):
                correlation.put_before(batch, row, payload)
            by_key[key] = by_name[cid] = Sent(key, cid, message, sending)
            if message.lane != lane or message.segments != segments:
                batch.move_in_lane(lane, segments, _LEASED, _AWAITING_RECEIPT, len(at_once) - run)
                lane, segments, run = message.lane, message.segments, len(at_once)
            owners.append(account)
            at_once.append(message)
            settled.add(id)
            if message.callback is not None and message.callback.tells_sent:
                tell_sent(batch, message, sending.progress(cid), sent_ms)
            if watches_silence:
                fail_over.watch(batch, message, taken.outcome(at), lease)
            if parked_here:
                receipts.claim_parked(batch, taken.outcome(at), now_ms)
    batch.sent += at_once
    batch.move_in_lane(lane, segments, _LEASED, _AWAITING_RECEIPT, len(at_once) - run)
    for account, count in Counter(owners).items():
        batch.move_of_account(account, _LEASED, _AWAITING_RECEIPT, count)


def settle_alone(batch: Batch, outcome: Outcome, now_ms: int) -> None:
    """`settle_one`, and the receipts that came before it."""
    settle_one(batch, outcome, now_ms)
    if outcome.settle == Settle.SENT and parked.waiting(batch, outcome.group):
        receipts.claim_parked(batch, outcome, now_ms)


def settle_one(batch: Batch, outcome: Outcome, now_ms: int) -> None:
    key = MESSAGE_KEY.pack(outcome.account, outcome.id)
    lease = batch.lease_of(outcome.lease)
    entry = lease.left.get(outcome.id) if lease is not None else None
    if outcome.id in batch.settled.get(outcome.lease, ()):
        entry = None
    progress = batch.progress(key)
    if lease is None or entry is None or (progress is not None and progress.lease >= outcome.lease):
        late(batch, key, progress, outcome, now_ms)
        return
    message = entry.message
    if progress is None:
        progress = Progress(_LEASED, _ENROUTE, attempts=entry.attempts, tried=entry.tried)
    simple = outcome.total == 1 and outcome.settle == Settle.SENT and outcome.receipt_expected
    if simple and not progress.parts and not progress.delivered_by:
        batch.put_progress(key, note_sent(progress, outcome))
        sent_whole(batch, message, progress, outcome)
        if outcome.carrier_message_id:
            batch.memory.awaiting.add(key, outcome, message, progress)
        return
    settle_part(batch, key, progress, lease, entry, outcome, now_ms)


def note_sent(progress: Progress, outcome: Outcome) -> Progress:
    """One part, with a carrier now, its receipt to come."""
    cid = outcome.carrier_message_id
    progress.phase = _AWAITING_RECEIPT
    progress.state = _ENROUTE
    progress.reason = 0
    progress.until_ms = 0
    progress.attempts += 1
    progress.lease = outcome.lease
    progress.group = outcome.group
    progress.parts = [Part(outcome.carrier, cid)]
    note(progress, outcome.sent_ms, _SENT, outcome.carrier, cid)
    return progress


def sent_whole(batch: Batch, message: Message, progress: Progress, outcome: Outcome) -> None:
    """What goes with `note_sent`, but for the progress itself."""
    lane = progress.lane or message.lane
    batch.move(message.account, lane, message.segments, _LEASED, _AWAITING_RECEIPT)
    if outcome.carrier_message_id:
        correlation.put(batch, outcome, message)
    batch.sent.append(message)
    batch.mark_settled(outcome.lease, outcome.id)
    if message.callback is not None and message.callback.tells_sent:
        tell_sent(batch, message, progress, outcome.sent_ms)
    if batch.memory.watches_silence:
        fail_over.watch(batch, message, outcome, outcome.lease)


def settle_part(
    batch: Batch,
    key: bytes,
    progress: Progress,
    lease: Lease,
    entry: Leased,
    outcome: Outcome,
    now_ms: int,
) -> None:
    message = entry.message
    answered = lease.outcomes.get(outcome.id, []) + batch.part_outcomes.get((outcome.lease, outcome.id), [])
    if any(other.part == outcome.part for other in answered):
        return
    record_part(batch, progress, message, entry, outcome, now_ms)
    answered.append(outcome)
    if len(answered) < outcome.total - entry.first_part:
        progress.phase = Phase.LEASED
        batch.part_outcomes.setdefault((outcome.lease, outcome.id), []).append(outcome)
        batch.put_progress(key, progress)
        return
    progress.lease = outcome.lease
    conclude(batch, key, message, progress, answered, now_ms)
    batch.mark_settled(outcome.lease, outcome.id)


def record_part(
    batch: Batch, progress: Progress, message: Message, entry: Leased, outcome: Outcome, now_ms: int
) -> None:
    """Write one part's answer into the progress, its id into the correlation table."""
    parts = progress.parts
    whole_again = entry.first_part == 0 and progress.phase != Phase.LEASED
    if len(parts) != outcome.total or whole_again:
        fresh = [Part(outcome.carrier, "", MessageState.SCHEDULED) for _ in range(outcome.total)]
        fresh[: entry.first_part] = parts[: entry.first_part]
        progress.parts = parts = fresh
    part = parts[outcome.part]
    part.carrier = outcome.carrier
    part.error = part.cause = ""
    progress.group = outcome.group
    at_ms = outcome.sent_ms or now_ms
    which = f" part {outcome.part + 1}/{outcome.total}" if outcome.total > 1 else ""
    if outcome.settle == Settle.SENT:
        cid = outcome.carrier_message_id
        part.carrier_message_id = cid
        part.state = MessageState.ENROUTE
        note(progress, at_ms, Step.SENT, outcome.carrier, cid + which)
        if cid:
            correlation.put(batch, outcome, message)
        batch.sent.append(message)
        return
    part.carrier_message_id = ""
    part.state = outcome.state if outcome.settle == Settle.FINAL else MessageState.SCHEDULED
    if outcome.settle != Settle.RETURNED:  # else nobody has refused it
        part.error = outcome.detail
        part.cause = outcome.cause
    if outcome.settle in (Settle.UNKNOWN_HOLD, Settle.UNKNOWN_RESEND):
        part.state = MessageState.UNKNOWN
        note(progress, now_ms, Step.OUTCOME_UNKNOWN, outcome.carrier, outcome.detail + which)
    elif outcome.settle != Settle.RETURNED:
        note(progress, now_ms, Step.REFUSED, outcome.carrier, outcome.detail + which)


def conclude(
    batch: Batch, key: bytes, message: Message, progress: Progress, outcomes: list[Outcome], now_ms: int
) -> None:
    """Every leased part has its outcome: the worst decides."""
    worst = max(outcomes, key=lambda outcome: (SEVERITY[outcome.settle], outcome.until_ms))
    kind = worst.settle
    if progress.delivered_by:
        fail_over.end_delivered(batch, key, message, progress, now_ms)
        return
    if kind != Settle.RETURNED and worst.count_attempt:
        progress.attempts += 1
    if kind == Settle.SENT:
        conclude_sent(batch, key, message, progress, outcomes, now_ms)
    elif kind == Settle.FINAL:
        finalize(
            batch,
            message,
            progress,
            Phase.LEASED,
            worst.state,
            worst.reason,
            now_ms,
            worst.detail,
            worst.cause,
        )
    elif kind == Settle.UNKNOWN_HOLD:
        hold_unknown(batch, key, message, progress, worst, now_ms)
    else:
        again(batch, key, message, progress, worst, now_ms)


def conclude_sent(
    batch: Batch, key: bytes, message: Message, progress: Progress, outcomes: list[Outcome], now_ms: int
) -> None:
    state, final = fold(progress.parts)
    if message.callback is not None and message.callback.tells_sent:
        tell_sent(batch, message, progress, now_ms)
    if final:  # the parts' receipts were faster than the last answer
        error = error_of(progress.parts, state)
        fails_over = state != MessageState.DELIVERED and batch.memory.on_receipt
        if fails_over and fail_over.pass_on(batch, key, message, progress, state, error[1], now_ms):
            return
        finalize(batch, message, progress, Phase.LEASED, state, Reason.RECEIPT, now_ms, *error)
    elif not any(outcome.receipt_expected for outcome in outcomes):
        progress.state = MessageState.ACCEPTED
        finalize(
            batch, message, progress, Phase.LEASED, MessageState.ACCEPTED, Reason.NO_RECEIPT_WANTED, now_ms
        )
    else:
        progress.phase = Phase.AWAITING_RECEIPT
        progress.state = MessageState.ENROUTE
        progress.reason = Reason.NONE
        progress.until_ms = 0
        batch.move(
            message.account,
            lane_of(message, progress),
            message.segments,
            Phase.LEASED,
            Phase.AWAITING_RECEIPT,
        )
        batch.put_progress(key, progress)
        if batch.memory.watches_silence:
            fail_over.watch(batch, message, outcomes[0], progress.lease)


def hold_unknown(
    batch: Batch, key: bytes, message: Message, progress: Progress, outcome: Outcome, now_ms: int
) -> None:
    """Held until validity ends; a receipt or a late answer can still claim it."""
    if message.expires_ms <= now_ms:
        finalize(
            batch,
            message,
            progress,
            Phase.LEASED,
            MessageState.UNKNOWN,
            Reason.OUTCOME_UNKNOWN,
            now_ms,
            outcome.detail,
        )
        return
    progress.phase = Phase.UNKNOWN
    progress.state = MessageState.ENROUTE
    suspect = outcome.reason == Reason.SUSPECT
    progress.reason = reason = Reason.SUSPECT if suspect else Reason.OUTCOME_UNKNOWN
    progress.until_ms = message.expires_ms
    progress.possible_duplicate = True  # true of any later copy: the first may have been sent
    progress.queue_mask = progress.tried
    if suspect:
        note(progress, now_ms, Step.HELD, outcome.carrier, reason.name)
    put_held(batch, entry_of(message, progress, lost=outcome.lost), reason, Phase.UNKNOWN)
    row = UnknownHeld(
        message.source,
        outcome.sent_ms or now_ms,
        message.text[:TEXT_PREFIX],
        outcome.carrier,
        correlation.customer_reference(message),
    )
    batch.put(batch.tables.unknown, correlation.unknown_key(outcome.group, message), encode(row))
    correlation.count_unknown(batch, outcome.group, outcome.carrier, 1)
    batch.move(message.account, lane_of(message, progress), message.segments, Phase.LEASED, Phase.UNKNOWN)
    batch.put_progress(key, progress)


def again(
    batch: Batch, key: bytes, message: Message, progress: Progress, outcome: Outcome, now_ms: int
) -> None:
    """Back to a queue: retried later, resent though it may have gone out, returned unsent, or held."""
    if progress.cancel_wished:
        finalize(batch, message, progress, Phase.LEASED, MessageState.DELETED, Reason.CANCELLED, now_ms)
        return
    if message.expires_ms <= now_ms:
        finalize(
            batch,
            message,
            progress,
            Phase.LEASED,
            MessageState.EXPIRED,
            Reason.EXPIRED_IN_QUEUE,
            now_ms,
            outcome.detail,
        )
        return
    forced = progress.queue_mask
    if outcome.lane and outcome.lane != lane_of(message, progress):
        forced = 0
        batch.change_lane(lane_of(message, progress), outcome.lane, Phase.LEASED)
        progress.lane = outcome.lane
    spec = batch.core.names.lane(lane_of(message, progress))
    if outcome.settle == Settle.UNKNOWN_RESEND:
        progress.possible_duplicate = True
    if outcome.mark_tried:
        progress.tried = tried_with(progress.tried, spec, outcome.carrier)
    if progress.passed_on:
        progress.tried = fail_over.kept_out(batch, message, spec, progress, outcome.carrier)
    first_part = accepted_parts(progress.parts)
    others = all_but(spec, outcome.carrier)
    if first_part and outcome.mark_tried and others & ~(drains(spec) | progress.tried):
        note(
            progress,
            now_ms,
            Step.RESENT,
            outcome.carrier,
            whole_elsewhere(first_part),
        )
        first_part = 0
    progress.queue_mask = others if first_part else progress.tried
    if outcome.settle == Settle.RETURNED:
        due_ms, phase, reason = first_due_ms(message), Phase.READY, outcome.reason or Reason.LINK_LOST
    elif outcome.reason in _CARRIER_WAITS and outcome.until_ms <= now_ms:  # the message does not
        due_ms, phase, reason = first_due_ms(message), Phase.READY, outcome.reason
        if forced and forced == alone(spec, outcome.carrier):
            progress.queue_mask = forced
    else:
        due_ms = max(outcome.until_ms, 1)
        phase = Phase.DEFERRED if due_ms > now_ms else Phase.READY
        reason = outcome.reason or (
            Reason.OUTCOME_UNKNOWN if outcome.settle == Settle.UNKNOWN_RESEND else Reason.RETRY
        )
    if outcome.settle == Settle.HOLD:
        due_ms, phase = message.expires_ms, Phase.HELD
    progress.phase = phase
    progress.state = MessageState.ENROUTE
    progress.reason = reason
    progress.until_ms = due_ms
    if phase == Phase.READY and batch.memory.other_limits is not None:
        limits.follow(batch, message, progress, Phase.LEASED)
    entry = entry_of(message, progress, first_part, outcome.lost)
    if phase == Phase.READY:
        put_ready(batch, entry, due_ms)
    elif phase == Phase.HELD:
        put_held(batch, entry, reason, phase)
        note(progress, now_ms, Step.HELD, outcome.carrier, Reason(reason).name)
    else:
        if outcome.reason == Reason.QUEUE_FULL:
            entry = entry._replace(flags=entry.flags | KEEPS_PLACE)
        put_due(batch, entry, due_ms, Phase.DEFERRED)
        note(progress, now_ms, Step.DEFERRED, outcome.carrier, Reason(reason).name)
    batch.move(message.account, lane_of(message, progress), message.segments, Phase.LEASED, phase)
    batch.put_progress(key, progress)


def accepted_parts(parts: list[Part]) -> int:
    """How many leading parts a carrier has accepted: where to go on."""
    count = 0
    for part in parts:
        if not part.carrier_message_id and part.state in (MessageState.SCHEDULED, MessageState.UNKNOWN):
            break
        count += 1
    return 0 if count == len(parts) else count


def whole_elsewhere(accepted: int) -> str:
    """What the timeline says of a long message that leaves the carrier of its first parts."""
    return f"whole again elsewhere, {accepted} parts were accepted"


def tried_with(tried: int, spec: LaneSpec, carrier: int) -> int:
    """The mask with this carrier in it; when nobody is left outside it but those that drain, the round starts
    anew."""
    for index, id in enumerate(spec.carriers):
        if id == carrier:
            tried |= 1 << index
    return 0 if all_had(tried, spec) else tried


def all_but(spec: LaneSpec, carrier: int) -> int:
    """The mask that leaves only this carrier."""
    return sum(1 << index for index, id in enumerate(spec.carriers) if id != carrier)


def alone(spec: LaneSpec, carrier: int) -> int:
    """The mask of what an operator forced to this carrier: in front of all that has another one."""
    return all_but(spec, carrier) | (FORCED if len(spec.carriers) < MAX_CARRIERS else 0)


def late(batch: Batch, key: bytes, progress: Progress | None, outcome: Outcome, now_ms: int) -> None:
    """An answer for a message that is not leased (any more)."""
    if progress is None or outcome.settle != Settle.SENT:
        return
    if any(part.carrier_message_id == outcome.carrier_message_id for part in progress.parts):
        return
    message = batch.message(outcome.account, outcome.id)
    if message is None:
        return
    if outcome.carrier_message_id:
        correlation.put(batch, outcome, message)
    note(progress, outcome.sent_ms, Step.SENT, outcome.carrier, outcome.carrier_message_id)
    note(progress, now_ms, Step.CLAIMED, outcome.carrier, "by a late answer")
    phase, table, row = locate(batch.has, batch.tables, message, progress)
    if (
        table is not None
        and outcome.total == 1
        and Step.OUTCOME_UNKNOWN in [event[1] for event in progress.events]
    ):
        batch.delete(table, row)
        if phase == Phase.UNKNOWN:
            correlation.drop_unknown(batch, progress.group, message)
        progress.parts = [Part(outcome.carrier, outcome.carrier_message_id)]
        progress.group = outcome.group
        progress.phase = Phase.AWAITING_RECEIPT
        progress.state = MessageState.ENROUTE
        progress.reason = Reason.NONE
        progress.until_ms = 0
        batch.move(
            message.account, lane_of(message, progress), message.segments, phase, Phase.AWAITING_RECEIPT
        )
        if not outcome.receipt_expected:
            finalize(
                batch, message, progress, Phase.AWAITING_RECEIPT,
                MessageState.ACCEPTED, Reason.NO_RECEIPT_WANTED, now_ms,
            )  # fmt: skip
            return
        if batch.memory.watches_silence:
            fail_over.watch(batch, message, outcome, progress.lease)
    batch.put_progress(key, progress)
