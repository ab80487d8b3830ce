"""COMMIT C, receipts: match or park, fold the parts, tell the account once.

The order is exact id, learned form (both in `ids`), other variants only with the same recipient and a unique
hit, then a held unknown outcome that only this receipt can belong to, then parked. A final state wins once:
what comes after it is recorded as repeated or contradicting, and told only as a correction the account asked
for. A receipt about an earlier attempt's id is recorded and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.correlate import believable_done_ms
from router.correlate import variants as other_forms
from router.nouns import (
    MessageState,
    Outcome,
    Part,
    Phase,
    Progress,
    Reason,
    ReceiptFate,
    ReceiptIn,
    ReceiptWish,
    Settle,
    Step,
    wants_intermediate,
)
from store import correlation, fail_over, parked
from store.ending import WAITING, error_of, finalize, fold
from store.interface import ReceiptResult
from store.lanes import lane_of
from store.outbox import STATE_NAMES, receipt_event, tell
from store.queues import first_due_ms
from store.records import BUCKET_MS, HELD_KEY, MESSAGE_KEY
from store.timeline import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Event, Message
    from store.batch import Batch

_FINAL, _AWAITING_RECEIPT = int(Phase.FINAL), int(Phase.AWAITING_RECEIPT)
_RECEIPT, _BY_RECEIPT = int(Step.RECEIPT), int(Reason.RECEIPT)


def receipts(batch: Batch, arrived: Sequence[ReceiptIn], now_ms: int) -> list[ReceiptResult]:
    """The fate of each, in order."""
    oldest_ms = correlation.oldest_bucket(batch, now_ms) * BUCKET_MS
    return [take_receipt(batch, receipt, now_ms, oldest_ms) for receipt in arrived]


def take_receipt(batch: Batch, receipt: ReceiptIn, now_ms: int, oldest_ms: int) -> ReceiptResult:
    """`oldest_ms`: ids given before it are not matched any more."""
    group = receipt.group
    recipient = receipt.recipient
    find = batch.memory.awaiting.find
    for id in receipt.ids:
        sent = find(group, id)
        if sent is not None and sent.sent_ms >= oldest_ms:
            number = sent.message.destination
            if number == recipient or correlation.same_number(number, recipient):
                return apply_to(batch, sent.key, sent.message, sent.progress, id, receipt, now_ms)
        hit = correlation.find(batch, group, id, now_ms, receipt.recipient)
        if hit is not None and (
            receipt.flagged or correlation.same_number(hit.recipient.decode(), receipt.recipient)
        ):
            result = apply(batch, hit.account, hit.id, id, hit.part, receipt, now_ms)
            if result is not None:
                return result
    result = by_variant(batch, receipt, now_ms) or by_unknown(batch, receipt, now_ms)
    if result is not None:
        return result
    parked.park(batch, receipt, now_ms)
    return ReceiptResult(ReceiptFate.PARKED)


def by_variant(batch: Batch, receipt: ReceiptIn, now_ms: int) -> ReceiptResult | None:
    """Other forms of the id, worked out only now that the exact one missed."""
    found = {}
    forms = receipt.variants or [form for id in receipt.ids[:2] for form in other_forms(id)]
    for id in forms:
        hit = correlation.find(batch, receipt.group, id, now_ms, receipt.recipient)
        if hit is not None and correlation.same_number(hit.recipient.decode(), receipt.recipient):
            found[(hit.account, hit.id)] = (id, hit.part)
    if len(found) != 1:
        return None
    (account, message_id), (id, part) = next(iter(found.items()))
    return apply(batch, account, message_id, id, part, receipt, now_ms)


def by_unknown(batch: Batch, receipt: ReceiptIn, now_ms: int) -> ReceiptResult | None:
    """Claim a held message whose outcome was unknown: the receipt proves that it was sent."""
    found = correlation.find_unknown(batch, receipt)
    if found is None or not receipt.ids:
        return None
    key = MESSAGE_KEY.pack(*found)
    message, progress = batch.message(*found), batch.progress(key)
    if message is None or progress is None or progress.phase != Phase.UNKNOWN or len(progress.parts) != 1:
        return None
    batch.delete(batch.tables.held, HELD_KEY.pack(progress.reason, *found))
    correlation.drop_unknown(batch, receipt.group, message)
    id = receipt.ids[0]
    claimed = Outcome(*found, 0, receipt.carrier, receipt.group, 0, 1, Settle.SENT, id, sent_ms=now_ms)
    correlation.put(batch, claimed, message)
    note(progress, now_ms, Step.SENT, receipt.carrier, id)
    note(progress, now_ms, Step.CLAIMED, receipt.carrier, "by its receipt")
    progress.parts = [Part(receipt.carrier, id)]
    progress.phase = Phase.AWAITING_RECEIPT
    progress.reason = Reason.NONE
    progress.until_ms = 0
    lane = lane_of(message, progress)
    batch.move(message.account, lane, message.segments, Phase.UNKNOWN, Phase.AWAITING_RECEIPT)
    if batch.memory.watches_silence:
        fail_over.watch(batch, message, claimed, progress.lease)
    result = apply_to(batch, key, message, progress, id, receipt, now_ms)
    result.fate = ReceiptFate.CLAIMED
    return result


def claim_parked(batch: Batch, outcome: Outcome, now_ms: int) -> None:
    """A carrier id has just been stored: apply the receipts that waited for it."""
    cid = outcome.carrier_message_id
    message = batch.message(outcome.account, outcome.id) if cid else None
    if message is None:
        return
    for receipt in parked.take(batch, outcome.group, cid, other_forms(cid), message.destination):
        result = apply(batch, outcome.account, outcome.id, cid, outcome.part, receipt, now_ms)
        if result is not None and result.fate == ReceiptFate.MATCHED and receipt.state not in WAITING:
            batch.claimed_parked.append(receipt.carrier)


def apply(
    batch: Batch, account: int, id: int, cid: str, part: int, receipt: ReceiptIn, now_ms: int
) -> ReceiptResult | None:
    """None when the message is not here any more (moved to its archive): no match then."""
    key = MESSAGE_KEY.pack(account, id)
    progress = batch.progress(key)
    message = batch.message(account, id)
    if progress is None or message is None:
        return None
    return apply_to(batch, key, message, progress, cid, receipt, now_ms)


def apply_to(
    batch: Batch, key: bytes, message: Message, progress: Progress, cid: str, receipt: ReceiptIn, now_ms: int
) -> ReceiptResult:
    state = receipt.state
    final = state not in WAITING
    if receipt.done_ms:
        receipt.done_ms = believable_done_ms(receipt.done_ms, receipt.at_ms, first_due_ms(message))
    detail = STATE_NAMES.get(state, str(state))
    if receipt.error:
        detail = f"{detail} err={receipt.error}"
    result = ReceiptResult(ReceiptFate.MATCHED, message.account, message.id, cid, False, state)
    parts = progress.parts
    if progress.passed_on and progress.phase != _FINAL and not _of_now(progress, receipt, cid):
        return fail_over.from_earlier(batch, key, message, progress, cid, receipt)
    if len(parts) == 1 and parts[0].carrier_message_id == cid:
        ended = parts[0].state not in WAITING
    else:
        parts = [part for part in parts if part.carrier_message_id == cid or _nameless(part)]
        ended = bool(parts) and all(part.state not in WAITING for part in parts)
    if ended or progress.phase == _FINAL:
        after_final(batch, message, progress, parts, receipt, result, detail)
        batch.put_progress(key, progress)
        return result
    note(progress, receipt.at_ms, _RECEIPT, receipt.carrier, detail)
    if final and parts:
        progress.done_ms = max(progress.done_ms, receipt.done_ms)
        for part in parts:
            part.state = state
            part.error = receipt.error
            part.cause = receipt.cause
    if parts and final and progress.phase == _AWAITING_RECEIPT:
        whole, ended = fold(progress.parts)
        if len(progress.parts) > 1:
            tell_part(batch, message, progress, parts[0], receipt, now_ms)
        if ended:
            error, cause = error_of(progress.parts, whole)
            fails_over = whole != MessageState.DELIVERED and batch.memory.on_receipt
            if fails_over and fail_over.pass_on(batch, key, message, progress, whole, cause, now_ms):
                return result
            finalize(
                batch, message, progress, _AWAITING_RECEIPT, whole, _BY_RECEIPT, now_ms, error, cause, key
            )
            result.final = True
            result.state = whole
            return result
    elif not final and wants_intermediate(message.receipt):
        tell(batch, event_of(message, progress, receipt, now_ms))
    batch.put_progress(key, progress)
    return result


def _of_now(progress: Progress, receipt: ReceiptIn, cid: str) -> bool:
    """Whether the attempt that the message is at now has this id: another carrier may have given the same."""
    return receipt.group == progress.group and any(part.carrier_message_id == cid for part in progress.parts)


def _nameless(part: Part) -> bool:
    """Accepted without an id: no receipt can name it, so it ends with its siblings."""
    return not part.carrier_message_id and part.state == MessageState.ENROUTE


def event_of(message: Message, progress: Progress, receipt: ReceiptIn, at_ms: int, part: int = 0) -> Event:
    """What one receipt says, where it is not the final word about the message."""
    event = receipt_event(
        message,
        progress,
        receipt.state,
        at_ms,
        receipt.error,
        final=False,
        part=part,
        done_ms=receipt.done_ms,
    )
    event.cause = receipt.cause
    return event


def after_final(
    batch: Batch,
    message: Message,
    progress: Progress,
    parts: list[Part],
    receipt: ReceiptIn,
    result: ReceiptResult,
    detail: str,
) -> None:
    """The first final state stands; what follows is recorded, and told only as a correction."""
    state = receipt.state
    known = next((part.state for part in parts if part.state not in WAITING), progress.state)
    if state in WAITING or state == known:
        result.fate = ReceiptFate.REPEATED
        note(progress, receipt.at_ms, Step.RECEIPT_REPEATED, receipt.carrier, detail)
        return
    result.fate = ReceiptFate.CONTRADICTS
    note(progress, receipt.at_ms, Step.RECEIPT_CONTRADICTS, receipt.carrier, detail)
    account = batch.memory.accounts.get(message.account)
    if account is not None and account.correction_events and message.receipt != ReceiptWish.NONE:
        tell(batch, event_of(message, progress, receipt, receipt.at_ms))


def tell_part(
    batch: Batch, message: Message, progress: Progress, part: Part, receipt: ReceiptIn, now_ms: int
) -> None:
    """One part's own final state, for accounts that want them."""
    account = batch.memory.accounts.get(message.account)
    if account is None or not account.per_part_receipts or message.receipt == ReceiptWish.NONE:
        return
    number = progress.parts.index(part) + 1
    tell(batch, event_of(message, progress, receipt, now_ms, number))
