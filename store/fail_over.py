"""Fail over after a carrier has accepted: by a negative receipt, or by none in time, where the route opts in.

The message goes back to its lane, for a carrier that has not had it: those that have are in the mask of its
queue. What earlier carriers' ids were stays matchable: a receipt of theirs that comes later is recorded, and
one that says DELIVERED ends the message at once, wherever it is. So there is one final receipt, whoever gives
it. Where no other carrier takes it while it is valid, it ends as the receipt said that it was passed on for,
not EXPIRED.

When a receipt is overdue is a row of the table `silence`, written with the answer of the carrier, for
messages of routes that ask for it and for no others. Nothing takes it out: when it is due, it is looked at
whether the message still waits for that very attempt.

Not failed over: parts of customers' own long messages (their siblings are elsewhere), messages of which a
part was delivered, long messages of accounts that are told of each part, cancelled ones, ones for which no
receipt was asked.

Deliberately not here: what opts in, and which receipts count (router.judge.after_receipt).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.judge import after_receipt
from router.lanes import all_had
from router.nouns import MessageState, Part, Phase, Reason, ReceiptFate, Step
from store import correlation, limits
from store.ending import WAITING, finalize
from store.interface import ReceiptResult
from store.lanes import lane_of
from store.outbox import STATE_NAMES
from store.queues import entry_of, first_due_ms, locate, put_ready
from store.records import MESSAGE_KEY, SILENCE, SILENCE_KEY
from store.timeline import note

if TYPE_CHECKING:
    from router.judge import OnReceipt
    from router.nouns import LaneSpec, Message, Outcome, Progress, ReceiptIn
    from store.batch import Batch

_DELIVERED = int(MessageState.DELIVERED)


def watch(batch: Batch, message: Message, outcome: Outcome, lease: int) -> None:
    """A carrier has accepted the message: when its receipt is overdue, if its route says so.

    `lease`: what its progress names, the attempt that is looked at then.
    """
    policy = batch.memory.on_receipt.get(message.route)
    if policy is None or not policy.no_receipt_s or not outcome.receipt_expected:
        return
    key = SILENCE_KEY.pack(outcome.sent_ms + policy.no_receipt_s * 1000, message.account, message.id)
    batch.put(batch.tables.silence, key, SILENCE.pack(lease))


def after_silence(batch: Batch, now_ms: int, limit: int) -> int:
    """Messages whose receipts are overdue go on; how many rows were looked at, at most `limit`."""
    looked_at = 0
    for key, payload in batch.scan(batch.tables.silence, b"\0", limit):
        due_ms, account, id = SILENCE_KEY.unpack(key)
        if due_ms > now_ms:
            break
        batch.delete(batch.tables.silence, key)
        looked_at += 1
        message_key = MESSAGE_KEY.pack(account, id)
        progress = batch.progress(message_key)
        (lease,) = SILENCE.unpack(payload)
        if progress is None or progress.phase != Phase.AWAITING_RECEIPT or progress.lease != lease:
            continue
        message = batch.message(account, id)
        if message is not None:
            pass_on(batch, message_key, message, progress, MessageState.ENROUTE, "", now_ms)
    return looked_at


def pass_on(
    batch: Batch, key: bytes, message: Message, progress: Progress, state: int, cause: str, now_ms: int
) -> bool:
    """Back to its lane for the next carrier; False, and nothing done, where there is none to go to.

    `state`, `cause`: what its receipts say; ENROUTE: there is none.
    """
    policy = batch.memory.on_receipt.get(message.route)
    if policy is None or not after_receipt(state, cause, policy, progress.passed_on + 1):
        return False
    relay = message.relay
    if (
        (relay is not None and relay.total > 1)
        or progress.cancel_wished
        or message.expires_ms <= now_ms
        or any(part.state == _DELIVERED for part in progress.parts)
        or _told_by_parts(batch, message, progress)
    ):
        return False
    spec = batch.core.names.lane(lane_of(message, progress))
    mask = _next(spec, progress, policy)
    if mask is None:
        return False
    carrier = progress.parts[0].carrier if progress.parts else 0
    silent = state in WAITING
    if not silent:
        batch.passed_on.append((message, carrier, cause))
    why = "no receipt in time" if silent else STATE_NAMES.get(state, str(state))
    note(progress, now_ms, Step.PASSED_ON, carrier, f"{why}: to the next carrier")
    before = progress.phase
    progress.passed_on += 1
    progress.failed_state, progress.cause = (0, "") if silent else (state, cause)
    progress.parts = []
    progress.tried = progress.queue_mask = mask
    progress.phase, progress.state = Phase.READY, MessageState.ENROUTE
    progress.reason = Reason.NO_RECEIPT if silent else Reason.RECEIPT
    progress.possible_duplicate = progress.possible_duplicate or silent
    progress.until_ms = first_due_ms(message)
    progress.done_ms = 0
    if batch.memory.other_limits is not None:
        limits.follow(batch, message, progress, before)
    put_ready(batch, entry_of(message, progress), progress.until_ms)
    batch.move(message.account, lane_of(message, progress), message.segments, before, Phase.READY)
    batch.put_progress(key, progress)
    return True


def kept_out(batch: Batch, message: Message, spec: LaneSpec, progress: Progress, carrier: int) -> int:
    """What was tried, with the carriers that accepted the message before and are not to have it again.

    `carrier` did not take it now, or not all of it: where all others had it, it stays there.
    """
    had = had_by(spec, progress)
    mask = progress.tried | had
    if not all_had(mask, spec):
        return mask
    policy = batch.memory.on_receipt.get(message.route)
    if policy is not None and policy.again:
        return progress.tried
    return had & ~_bits(spec, {carrier})


def had(progress: Progress, carrier: int) -> bool:
    """Whether this carrier accepted the message once."""
    return any(event[1] == Step.SENT and event[2] == carrier for event in progress.events)


def from_earlier(
    batch: Batch, key: bytes, message: Message, progress: Progress, cid: str, receipt: ReceiptIn
) -> ReceiptResult:
    """A receipt of a carrier that the message has left: recorded, and the end of it if it was delivered."""
    state = receipt.state
    result = ReceiptResult(ReceiptFate.MATCHED, message.account, message.id, cid, False, state)
    detail = STATE_NAMES.get(state, str(state))
    note(progress, receipt.at_ms, Step.RECEIPT, receipt.carrier, f"{detail} of an earlier attempt")
    if state != _DELIVERED or message.segments > 1:
        batch.put_progress(key, progress)
        return result
    phase, table, row = locate(batch.has, batch.tables, message, progress)
    if phase == Phase.LEASED:  # the answer to the attempt under way ends it
        progress.delivered_by = receipt.carrier
        progress.done_ms = receipt.done_ms
        batch.put_progress(key, progress)
        return result
    if table is not None:
        batch.delete(table, row)
    if phase == Phase.UNKNOWN:
        correlation.drop_unknown(batch, progress.group, message)
    progress.parts = [Part(receipt.carrier, cid, state)]
    progress.done_ms = receipt.done_ms
    finalize(batch, message, progress, phase, state, Reason.RECEIPT, receipt.at_ms, key=key)
    result.final = True
    return result


def end_delivered(batch: Batch, key: bytes, message: Message, progress: Progress, now_ms: int) -> None:
    """An earlier carrier delivered it while another one had it in hand."""
    progress.parts = [Part(progress.delivered_by, "", _DELIVERED)]
    finalize(batch, message, progress, Phase.LEASED, _DELIVERED, Reason.RECEIPT, now_ms, key=key)


def _next(spec: LaneSpec, progress: Progress, policy: OnReceipt) -> int | None:
    """The mask of carriers that are not to have it; None: nobody is left."""
    mask = had_by(spec, progress)
    if not all_had(mask, spec):
        return mask
    mask = _bits(spec, {progress.parts[0].carrier} if progress.parts else set())
    return mask if policy.again and mask and not all_had(mask, spec) else None


def _told_by_parts(batch: Batch, message: Message, progress: Progress) -> bool:
    """Whether its account is told what became of each part: the next carrier could only contradict that."""
    account = batch.memory.accounts.get(message.account)
    return len(progress.parts) > 1 and account is not None and account.per_part_receipts


def had_by(spec: LaneSpec, progress: Progress) -> int:
    """The carriers that accepted it once, whatever became of it then."""
    had = {event[2] for event in progress.events if event[1] == Step.SENT}
    return _bits(spec, had)


def _bits(spec: LaneSpec, carriers: set[int]) -> int:
    return sum(1 << index for index, carrier in enumerate(spec.carriers) if carrier in carriers)
