"""COMMIT C, receipts: match or park, fold the parts, tell the account once.

The order is exact id, learned form (both in `ids`), other variants only with the same recipient and a unique
hit, then a held unknown outcome that only this receipt can belong to, then parked. A final state wins once:
what comes after it is recorded as repeated or contradicting, and told only as a correction the account asked
for. A receipt about an earlier attempt's id is recorded and changes nothing.
"""

from __future__ import annotations

from itertools import chain, count, repeat
from typing import TYPE_CHECKING

import msgspec
from isal.isal_zlib import crc32

from router.causes import of_ending
from router.correlate import believable_done_ms
from router.correlate import variants as other_forms
from router.nouns import (
    Event,
    EventKind,
    MessageState,
    Outcome,
    Part,
    Phase,
    Progress,
    Reason,
    ReceiptFate,
    ReceiptIn,
    ReceiptsIn,
    ReceiptWish,
    Settle,
    Step,
    wants_final,
    wants_intermediate,
)
from store import correlation, fail_over, parked, wallets
from store.awaiting import end_by
from store.ending import WAITING, error_of, finalize, fold
from store.forms import OPEN, pieces_of
from store.groups import uncouple
from store.interface import OutboxRow, ReceiptResult, ReceiptRow
from store.lanes import lane_of
from store.outbox import RECEIPT_TEXT, STATE_NAMES, receipt_event, tell, way_of
from store.queues import first_due_ms
from store.records import BUCKET_MS, HELD_KEY, MESSAGE_KEY, MINUTE_MS, OUTBOX_KEY, TIMED_KEY, encode
from store.timeline import MAX_EVENTS, note
from store.values import VALUE_VERSION, pack_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.nouns import Message, Said
    from store.batch import Batch

    # id, recipient, what is said, its place in what came together, that
    _Row = tuple[str, str, Said | ReceiptIn, int, ReceiptIn | ReceiptsIn]

_FINAL, _AWAITING_RECEIPT = int(Phase.FINAL), int(Phase.AWAITING_RECEIPT)
_RECEIPT, _ENDED, _BY_RECEIPT = int(Step.RECEIPT), int(Step.FINAL), int(Reason.RECEIPT)
_DELIVERED, _KIND, _MATCHED = int(MessageState.DELIVERED), EventKind.RECEIPT, ReceiptFate.MATCHED
_WORDS = {state: name for state, name in STATE_NAMES.items() if state not in WAITING}
_DAY_MS = 86_400_000
_Kind = tuple[int, int, int, int, int, int, int, int, str, str, int, int, str, bool]
_outbox_key = OUTBOX_KEY.pack
# What a receipt's event has of its own among others that were sent and ended alike.
_OWN = (
    "message_id",
    "source",
    "destination",
    "client_ref",
    "tags",
    "text",
    "accepted_ms",
    "alias",
    "done_ms",
)
_LONG_HEAD = 3  # octets before the first field of an array of 16 and more


class _Alike:
    """Messages of one commit that are of one lane, one length, one end, and told one way."""

    __slots__ = ("between", "count", "endpoint", "fresh", "head", "said")

    def __init__(self, batch: Batch, said: Event, wanted: bool) -> None:
        """`said`: what is told of one of them, if that is `wanted`."""
        self.count = 0
        self.endpoint, over_smpp = way_of(batch, said) if wanted else (0, False)  # 0: nobody is told
        self.fresh = batch.told.setdefault(self.endpoint, []) if over_smpp else None
        self.said = said
        self.head = b""
        self.between: list[msgspec.Raw] = []  # of its event as it is stored, all but the _OWN fields
        if self.endpoint:
            self.head, *between = pieces_of(msgspec.structs.replace(said, **dict.fromkeys(_OWN, OPEN)))
            self.between += [msgspec.Raw(shared) for shared in between if shared]


def receipts(
    batch: Batch, arrived: Sequence[ReceiptIn | ReceiptsIn], now_ms: int
) -> list[ReceiptResult | None]:
    """The fate of each, in order.

    The hot path: the commonest case is written out here, and does what `take_receipt` does of it. The message
    was sent a moment ago, has one part, and ends by this receipt. What is awaited is as COMMIT B left it: one
    part, ENROUTE, with this id, and no until_ms.
    """
    memory, tables, putter = batch.memory, batch.tables, batch.putter
    put_progress, put_event = putter(tables.progress), putter(tables.outbox)
    no_expiry = batch.deleter(tables.expiry)
    by_key = memory.awaiting.by_key
    pop_young, left_young = memory.young.chunk_of.pop, batch.young.left
    oldest_ms = correlation.oldest_bucket(batch, now_ms) * BUCKET_MS
    ended_ms = max(now_ms, memory.sealed_ms)
    note_end = batch.ends_at(ended_ms).append
    fails_over = bool(memory.on_receipt)
    ended, words = batch.ended, _WORDS
    groups: dict[_Kind, _Alike] = {}
    last, alike = None, None  # of the message before
    results: list[ReceiptResult | None] = []
    of_read = wording = None
    end_form, ended_at_once, ended_octets = memory.awaiting.end_form, batch.ended_at_once, encode(ended_ms)
    for cid, recipient, heard, at, read in chain.from_iterable(map(_rows, arrived)):
        if read is not of_read:
            of_read, at_ms, by, group, carrier = read, read.at_ms, read.carrier, read.group, -1
            by_name, at_octets = memory.awaiting.of_group(group), encode(at_ms)
        if heard is not wording:
            wording, state, error, cause, carrier = heard, heard.state, heard.error, "", -1
            word = words.get(state)
            if word is not None and state != _DELIVERED:
                cause = of_ending(state, _BY_RECEIPT, heard.cause)
        sent = by_name.get(cid)
        if (
            sent is None
            or word is None
            or (sending := sent.sending).sent_ms < oldest_ms
            or (message := sent.message).destination != recipient
            or ((progress := sent.own) is not None and len(progress.events) > MAX_EVENTS - 2)
            or (fails_over and state != _DELIVERED)
        ):
            receipt = read.one(at) if isinstance(read, ReceiptsIn) else read
            results.append(take_receipt(batch, receipt, now_ms, oldest_ms))
            continue
        account, id, key, accepted_ms = message.account, message.id, sent.key, message.accepted_ms
        done_ms = heard.done_ms
        if done_ms and (done_ms > at_ms or done_ms < accepted_ms - _DAY_MS or message.send_at_ms):
            done_ms = believable_done_ms(done_ms, at_ms, first_due_ms(message))
        if sending.carrier != carrier:
            carrier = sending.carrier
            p, q, r, s, t, u, v, w, end = end_form(carrier, group, heard, by, word)
            to_id, to_done = q + ended_octets + r, u + at_octets + v + ended_octets + w
        if progress is None:
            named = encode(cid)
            lease, sent_at, done = sending.lease_octets, sending.sent_octets, encode(done_ms)
            payload = b"".join((p, lease, to_id, named, s, sent_at, t, named, to_done, done, end))
            ended_at_once.append((message, carrier, state, cause, sending.sent_ms, ended_ms))
        else:
            done_ms = max(done_ms, progress.done_ms)
            payload = encode(end_by(progress, heard, by, word, at_ms, ended_ms, done_ms))
            ended.append((message, progress, ended_ms))
        chunk = pop_young(key, None)
        if chunk is None:
            batch.young.others.add(key)
            no_expiry(TIMED_KEY.pack(-(-message.expires_ms // MINUTE_MS), account, id))
        else:
            left_young[key] = chunk
        del by_name[cid]  # as Batch.put_progress does: its copy is not awaited any more
        by_key.pop(key, None)
        put_progress(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
        note_end(key)
        results.append(ReceiptResult(_MATCHED, account, id, cid, True, state) if heard is read else None)
        relay, segments, wish = message.relay, message.segments, message.receipt
        plain = relay is None and message.callback is None and segments == 1
        kind = (
            account, message.lane if progress is None else progress.lane or message.lane, segments,
            message.source_ton, message.source_npi, message.destination_type, wish, state, error, cause,
            carrier, message.via, message.callback_url, plain,
        )  # fmt: skip
        if kind != last:
            last, alike = kind, groups.get(kind)
        if progress is None and (alike is None or not plain or message.bill is not None):
            progress = end_by(sending.progress(cid), heard, by, word, at_ms, ended_ms, done_ms)
        if message.bill is not None:
            assert progress is not None
            wallets.settle(batch, message, progress)
        if relay is not None and relay.total > 1:
            uncouple(batch, message, ended_ms)

        if alike is None:
            assert progress is not None
            event = receipt_event(message, progress, state, ended_ms, error, done_ms=done_ms)
            event.cause = cause
            alike = groups[kind] = _Alike(batch, event, wants_final(wish, state))
        alike.count += 1
        endpoint = alike.endpoint
        if not endpoint:
            continue
        seq = batch.outbox_seq = batch.outbox_seq + 1
        key = _outbox_key(endpoint, seq)
        if plain:
            text, (a, b, c, d, e, f, g) = message.text[:RECEIPT_TEXT], alike.between
            own = (
                id, a, message.source, message.destination, b, message.client_ref, message.tags, c, text, d,
                accepted_ms, e, message.alias, f, done_ms, g,
            )  # fmt: skip
            payload = alike.head + encode(own)[_LONG_HEAD:]
            if alike.fresh is not None:
                alike.fresh.append(ReceiptRow(endpoint, seq, id, alike.said, message, text, done_ms))
        else:
            assert progress is not None
            event = receipt_event(message, progress, state, ended_ms, error, done_ms=done_ms)
            event.cause = cause
            payload = encode(event)
            if alike.fresh is not None:
                alike.fresh.append(OutboxRow(endpoint, seq, event))
        put_event(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)
    for (account, lane, segments, *_), alike in groups.items():
        batch.move_many(account, lane, segments, _AWAITING_RECEIPT, _FINAL, alike.count)
    return results


def _rows(read: ReceiptIn | ReceiptsIn) -> Iterable[_Row]:
    if isinstance(read, ReceiptIn):
        return ((read.ids[0] if read.ids else "", read.recipient, read, 0, read),)
    return zip(read.ids, read.recipients, read.said, count(), repeat(read))


def take_receipt(batch: Batch, receipt: ReceiptIn, now_ms: int, oldest_ms: int) -> ReceiptResult:
    """`oldest_ms`: ids given before it are not matched any more."""
    group = receipt.group
    recipient = receipt.recipient
    find = batch.memory.awaiting.find
    for id in receipt.ids:
        sent = find(group, id)
        if sent is not None and sent.sending.sent_ms >= oldest_ms:
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
