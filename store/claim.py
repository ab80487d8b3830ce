"""COMMIT L: a carrier with room takes messages from the lanes that name it.

Inside one (lane, tried) queue, router.turns says whose turn it is; a turn reads forward through one group of
ready rows. A message longer than what is left of the budget is taken only as the first of its claim, so that
a window of 1 works. What has expired on the way ends here. One lease record for each chunk of 200.

What a claim reserves for other carriers of a lane concerns only queues of messages that one of those has not
had yet: what they all refused is taken without waiting for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import Leased, MessageState, Phase, Progress, Reason
from store.batch import scan
from store.ending import finalize
from store.groups import take_train
from store.interface import ClaimResult
from store.memory import Lease, LeaseEntry
from store.records import (
    ENTRY,
    LEASE_HEAD,
    LEASE_KEY,
    LEASE_ROW,
    MESSAGE_KEY,
    POSSIBLE_DUPLICATE,
    READY_KEY,
    READY_PREFIX,
)
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Message
    from router.turns import Turns
    from store.batch import Batch
    from store.interface import Claim

CHUNK = 200
_NOTHING_RESERVED = (0, 0)


class _Taking:
    """One claim under way."""

    __slots__ = ("claim", "expired", "left", "rows", "taken")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.left = claim.segments
        self.taken: list[Leased] = []
        self.rows: list[LeaseEntry] = []
        self.expired = 0


def claim(batch: Batch, claims: Sequence[Claim]) -> list[ClaimResult]:
    """What each carrier got, in order."""
    results = []
    for one in claims:
        taking = _Taking(one)
        for lane, index, most in one.lanes:
            _from_lane(batch, taking, lane, 1 << index, most)
            if taking.left <= 0:
                break
        _write_leases(batch, taking)
        results.append(ClaimResult(taking.taken, taking.expired))
    return results


def _from_lane(batch: Batch, taking: _Taking, lane: int, bit: int, most: int) -> None:
    queues = batch.memory.active.queues
    others, unseen = taking.claim.reserved.get(lane, _NOTHING_RESERVED)
    for tried in sorted(queues.get(lane, ()), reverse=True):  # what was tried elsewhere has waited longest
        if tried & bit:
            continue
        reserved = tried & others != others
        budget = min(most, unseen) if reserved else most
        left = budget
        while left > 0 and taking.left > 0:
            turns = queues.get(lane, {}).get(tried)
            turn = turns.next() if turns is not None else None
            if turns is None or turn is None:
                break
            took = _take_turn(batch, taking, turns, lane, tried, turn, min(left, taking.left))
            if took == 0:
                break
            left -= took
        most -= budget - left
        if reserved:
            unseen -= budget - left


def _take_turn(
    batch: Batch,
    taking: _Taking,
    turns: Turns,
    lane: int,
    tried: int,
    turn: tuple[int, int, int],
    budget: int,
) -> int:
    """Take up to the turn's quantum from one group. Returns segments taken, 0 when nothing fits any more."""
    priority, account, quantum = turn
    prefix = READY_PREFIX.pack(lane, tried, 3 - priority, account)
    budget = min(budget, quantum) if quantum else budget
    ready = batch.tables.ready
    gone: list[bytes] = []
    damaged: list[tuple[bytes, bytes]] = []
    took = 0
    exhausted = True
    fits = True
    with batch.tx.cursor(ready.handle) as cursor:
        for key, value in scan(cursor, prefix, prefix):
            if took >= budget:
                exhausted = False
                break
            try:
                entry = ENTRY.unpack(unseal(key, value))
            except Damaged:
                damaged.append((key, value))
                continue
            segments, attempts, flags, expires_ms, first_part = entry
            if expires_ms <= taking.claim.now_ms:
                gone.append(key)
                _expire(batch, account, READY_KEY.unpack(key)[5], lane, segments, taking)
                continue
            wire = max(1, segments - first_part)  # a carrier's own segments may be more than the message's
            if wire > taking.left and taking.taken:
                exhausted = fits = False
                break
            id = READY_KEY.unpack(key)[5]
            gone.append(key)
            message = batch.message(account, id)
            if message is None:  # its record is in quarantine
                batch.move(account, lane, segments, Phase.READY, Phase.FINAL)
                continue
            taking.taken.append(
                Leased(message, 0, attempts, bool(flags & POSSIBLE_DUPLICATE), first_part, lane, tried)
            )
            taking.rows.append(LeaseEntry(message, tried, attempts, flags, first_part))
            batch.move(account, lane, segments, Phase.READY, Phase.LEASED)
            took += wire
            taking.left -= wire
            relay = message.relay
            if relay is not None and relay.total > 1:
                took += _take_others(batch, taking, message, lane, tried)
    delete = batch.deleter(ready)
    for key in gone:
        delete(key)
    for key, value in damaged:
        batch.quarantine(ready, key, value)
    turns.took(priority, account, took)
    if exhausted:
        batch.memory.active.discard(prefix)
        return max(took, 1)
    return took if fits else 0


def _take_others(batch: Batch, taking: _Taking, message: Message, lane: int, tried: int) -> int:
    """The parts that come along with the first one of a customer's long message. Returns segments."""
    took = 0
    for other in take_train(batch, message):
        if other.lane != lane:  # the first part was planned anew: this one must come back there too
            elsewhere = Progress(Phase.LEASED, MessageState.ENROUTE, tried=tried, lane=lane)
            batch.put_progress(MESSAGE_KEY.pack(other.account, other.id), elsewhere)
            batch.change_lane(other.lane, lane, Phase.LEASED)
        taking.taken.append(Leased(other, 0, 0, False, 0, lane, tried))
        taking.rows.append(LeaseEntry(other, tried, 0, 0, 0))
        took += other.segments
    taking.left -= took
    return took


def _expire(batch: Batch, account: int, id: int, lane: int, segments: int, taking: _Taking) -> None:
    taking.expired += 1
    message = batch.message(account, id)
    if message is None:
        batch.move(account, lane, segments, Phase.READY, Phase.FINAL)
        return
    progress = batch.progress(MESSAGE_KEY.pack(account, id)) or Progress(Phase.READY, MessageState.ENROUTE)
    finalize(
        batch,
        message,
        progress,
        Phase.READY,
        MessageState.EXPIRED,
        Reason.EXPIRED_IN_QUEUE,
        taking.claim.now_ms,
    )


def _write_leases(batch: Batch, taking: _Taking) -> None:
    memory = batch.memory
    for start in range(0, len(taking.taken), CHUNK):
        chunk = taking.rows[start : start + CHUNK]
        lease = memory.next_lease()
        payload = LEASE_HEAD.pack(memory.epoch, taking.claim.carrier, taking.claim.now_ms)
        left: dict[int, LeaseEntry] = {}
        for row in chunk:
            message = row.message
            left[message.id] = row
            payload += LEASE_ROW.pack(
                message.account,
                message.id,
                message.segments,
                row.tried,
                row.attempts,
                row.flags,
                row.first_part,
            )
        for leased in taking.taken[start : start + CHUNK]:
            leased.lease = lease
        batch.put(batch.tables.lease, LEASE_KEY.pack(lease), payload)
        batch.new_leases[lease] = Lease(taking.claim.carrier, left)
