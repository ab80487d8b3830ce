"""What was in carriers' hands when the last process ended: each such message gets one outcome.

A lease record names the messages it was made of. One whose progress names that lease, or a later one, was
settled; the outcome of every other is decided by the caller, part by part where some were answered.

Invariant: the record goes in the transaction that settles its messages, so a crash here only repeats work.

Deliberately not here: what to do about an unknown outcome (`decide`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from router.nouns import Leased, Message, Outcome, Phase, Progress, Settle
from store import settle as settling
from store.memory import Lease
from store.records import LEASE_HEAD, LEASE_KEY, LEASE_ROW, LOST, MESSAGE_KEY, POSSIBLE_DUPLICATE
from store.values import unseal

if TYPE_CHECKING:
    import lmdb

    from store.batch import Batch
    from store.layout import Tables

Decide = Callable[[Message, Progress | None, int], Outcome]  # (message, its progress, carrier id)
Orphan = tuple[int, bytes]  # lease, its record


def read_orphans(tx: lmdb.Transaction[bytes], tables: Tables) -> list[Orphan]:
    """Every lease record of a store that is being opened."""
    with tx.cursor(tables.lease.handle) as cursor:
        return [(LEASE_KEY.unpack(key)[0], unseal(key, value)) for key, value in cursor.iternext()]


def recover_lease(batch: Batch, orphan: Orphan, decide: Decide, now_ms: int) -> int:
    """Settle what is left of one lease and forget it. Returns how many outcomes were unknown."""
    lease_id, payload = orphan
    _, carrier, _ = LEASE_HEAD.unpack_from(payload)
    lease = Lease(carrier, {})
    batch.new_leases[lease_id] = lease
    unsettled = []
    for at in range(LEASE_HEAD.size, len(payload), LEASE_ROW.size):
        account, id, _, tried, attempts, flags, first_part = LEASE_ROW.unpack_from(payload, at)
        progress = batch.progress(MESSAGE_KEY.pack(account, id))
        if progress is not None and progress.lease >= lease_id:  # leases only grow: it was settled,
            continue  # and perhaps leased again
        message = batch.message(account, id)
        if message is None:
            continue
        lease.left[id] = Leased(
            message,
            lease_id,
            attempts,
            bool(flags & POSSIBLE_DUPLICATE),
            first_part,
            tried=tried,
            lost=flags >> LOST,
        )
        unsettled.append((message, progress))
    for message, progress in unsettled:
        _settle_orphan(batch, lease_id, lease, message, progress, decide, now_ms)
    batch.delete(batch.tables.lease, LEASE_KEY.pack(lease_id))
    return len(unsettled)


def _settle_orphan(
    batch: Batch,
    lease_id: int,
    lease: Lease,
    message: Message,
    progress: Progress | None,
    decide: Decide,
    now_ms: int,
) -> None:
    """Parts answered before the crash keep their answer; each other part's outcome is unknown."""
    first = lease.left[message.id].first_part
    outcome = decide(message, progress, lease.carrier)
    outcome.lease = lease_id
    known = progress.parts if progress is not None and progress.phase == Phase.LEASED else []
    outcome.total = len(known) or outcome.total
    answered = [part < len(known) and bool(known[part].carrier_message_id) for part in range(outcome.total)]
    # Answered parts first: the last one, whatever it is, goes the usual way and concludes the message.
    order = sorted(range(first, outcome.total), key=lambda part: not answered[part])
    for part in order:
        one = msgspec.structs.replace(outcome, part=part, lost=lease.left[message.id].lost)
        if answered[part]:
            one.settle = Settle.SENT
            one.carrier_message_id = known[part].carrier_message_id
            one.detail = ""
            if part != order[-1]:
                batch.part_outcomes.setdefault((lease_id, message.id), []).append(one)
                continue
        settling.settle_one(batch, one, now_ms)
