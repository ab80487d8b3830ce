"""What a customer is, and does to messages of its own that still wait: find them by address, replace them.

A message that a carrier has, or has had, stays as it is. Ids of 32 bits, for customers that can keep no more,
are given out here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from router.nouns import MessageState, Phase, Progress, Reason, Relay, Step
from store import wallets
from store.ids import ms_of
from store.queues import (
    entry_of,
    expiry_key,
    first_due_ms,
    locate,
    put_due,
    put_held,
    put_ready,
    unpack_place,
)
from store.records import (
    ACCOUNT_KEY,
    ALIAS_KEY,
    DUE_KEY,
    HELD_KEY,
    MESSAGE_KEY,
    READY_KEY,
    READY_PREFIX,
    TIMED_KEY,
    alias_name,
    decode_message,
    encode,
    expiry_minute,
)
from store.timeline import note
from store.values import Damaged, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import lmdb

    from router.nouns import Account, Message
    from store.batch import Batch
    from store.interface import Replacement
    from store.layout import Tables

_MOST_ALIAS = 0xFFFFFFFF
_ALIAS_KEPT_MS = 40 * 86_400_000


def put_account(batch: Batch, account: Account) -> None:
    """New, or as it is from now on. What a suspended one has waiting stands still until it is resumed."""
    known = batch.accounts_put.get(account.id) or batch.memory.accounts.get(account.id)
    batch.put(batch.tables.account, ACCOUNT_KEY.pack(account.id), encode(account))
    batch.accounts_put[account.id] = account
    if account.suspended:
        batch.memory.active.suspend(account.id)
    elif known is not None and known.suspended:
        with batch.tx.cursor(batch.tables.ready.handle) as cursor:
            batch.memory.active.resume(account.id, cursor)


def waiting(
    tx: lmdb.Transaction[bytes],
    tables: Tables,
    groups: Iterable[bytes],
    leased: Iterable[Message],
    wanted: tuple[int, str, str, str | None],
) -> list[int]:
    """Ids of an account's messages with this source, destination and service_type (None: any) that no carrier
    has taken yet; those in a carrier's hands are among them, since they may come back.

    Looks at every waiting message of the account, so it may take a second where a million wait.
    """
    account = wanted[0]
    found = {message.id for message in leased if _is(message, wanted)}
    for id in _ids(tx, tables, groups, account):
        key = MESSAGE_KEY.pack(account, id)
        value = tx.get(key, None, tables.message.handle)
        if value is None:
            continue
        try:
            message = decode_message(unseal(key, value))
        except Damaged:
            continue
        if _is(message, wanted):
            found.add(id)
    return sorted(found)


def _is(message: Message, wanted: tuple[int, str, str, str | None]) -> bool:
    *addresses, service_type = wanted
    if [message.account, message.source, message.destination] != addresses:
        return False
    kind = message.relay.service_type if message.relay is not None else ""
    return service_type is None or kind == service_type


def _ids(tx: lmdb.Transaction[bytes], tables: Tables, groups: Iterable[bytes], account: int) -> Iterator[int]:
    with tx.cursor(tables.ready.handle) as cursor:
        for prefix in groups:
            if READY_PREFIX.unpack(prefix)[3] != account or not cursor.set_range(prefix):
                continue
            for key in cursor.iternext(values=False):
                if not key.startswith(prefix):
                    break
                yield READY_KEY.unpack(key)[5]
    with tx.cursor(tables.held.handle) as cursor:
        for reason in Reason:
            start = HELD_KEY.pack(reason, account, 0)
            if cursor.set_range(start):
                for key in cursor.iternext(values=False):
                    if key[:5] != start[:5]:
                        break
                    yield HELD_KEY.unpack(key)[2]
    with tx.cursor(tables.due.handle) as cursor:
        for key, value in cursor.iternext():
            try:
                entry, _ = unpack_place(DUE_KEY.unpack(key)[1], unseal(key, value))
            except Damaged:
                continue
            if entry.account == account:
                yield entry.id


def replace(batch: Batch, account: int, id: int, wish: Replacement, now_ms: int) -> str:
    """`replaced`, or why not: `leased`, `sent`, `final`, `unknown`, `unpaid`."""
    key = MESSAGE_KEY.pack(account, id)
    message, progress = batch.message(account, id), batch.progress(key)
    if message is None:
        return "unknown"
    phase, table, row = locate(batch.has, batch.tables, message, progress)
    if phase == Phase.FINAL:
        return "final"
    if phase == Phase.LEASED:
        return "leased"
    if table is None or phase == Phase.UNKNOWN or (progress is not None and progress.parts):
        return "sent"
    changed = _changed(message, wish, now_ms)
    if message.bill is not None and not wallets.change(batch, message, changed, now_ms):
        return "unpaid"
    if wish.lane and phase != Phase.HELD and (progress is None or not (progress.lane or progress.tried)):
        batch.change_lane(message.lane, wish.lane, phase)
        changed.lane = wish.lane
    batch.delete(table, row)
    if not batch.young.leave(key):
        batch.delete(batch.tables.expiry, expiry_key(message, progress))
    batch.put(batch.tables.message, key, encode(changed))
    batch.put(batch.tables.expiry, TIMED_KEY.pack(expiry_minute(changed.expires_ms), account, id), b"")
    more = changed.segments - message.segments
    batch.segments[phase] += more
    batch.accepted_segments += more
    progress = progress or Progress(phase, MessageState.ENROUTE)
    note(progress, now_ms, Step.REPLACED, 0, "")
    _queue(batch, changed, progress, phase, now_ms)
    batch.put_progress(key, progress)
    return "replaced"


def redact(batch: Batch, account: int, id: int, now_ms: int, detail: str) -> str:
    """`redacted`, or why not: `waits` (it has not ended), `unknown` (it may be archived)."""
    key = MESSAGE_KEY.pack(account, id)
    message, progress = batch.message(account, id), batch.progress(key)
    if message is None:
        return "unknown"
    if progress is None or progress.phase != Phase.FINAL:
        return "waits"
    changed, told = redacted(message, progress, now_ms, detail)
    batch.put(batch.tables.message, key, encode(changed))
    batch.put_progress(key, told)
    return "redacted"


def redacted(message: Message, progress: Progress, now_ms: int, detail: str) -> tuple[Message, Progress]:
    """A message without what it said, and a timeline that says so."""
    changed = msgspec.structs.replace(message, text="", data=b"", udh=b"")
    told = msgspec.structs.replace(progress, events=list(progress.events))
    note(told, now_ms, Step.REDACTED, 0, detail)
    return changed, told


def _changed(message: Message, wish: Replacement, now_ms: int) -> Message:
    send_at_ms = wish.send_at_ms if wish.send_at_ms > now_ms else message.send_at_ms
    changed: Message = msgspec.structs.replace(
        message,
        encoding=wish.encoding,
        segments=wish.segments,
        text=wish.text,
        data=wish.data,
        send_at_ms=send_at_ms,
        expires_ms=max(wish.expires_ms or message.expires_ms, send_at_ms + 1000),
        valid_until_ms=0 if wish.expires_ms else message.valid_until_ms,
        receipt=message.receipt if wish.receipt < 0 else wish.receipt,
    )
    if wish.acks >= 0 and wish.acks != (changed.relay.registered if changed.relay is not None else 0):
        changed.relay = msgspec.structs.replace(changed.relay or Relay(), registered=wish.acks)
    return changed


def _queue(batch: Batch, message: Message, progress: Progress, phase: int, now_ms: int) -> None:
    """Back to where it waited; a new time makes it wait until then."""
    entry = entry_of(message, progress if progress.lane or progress.queue_mask else None)
    entry = entry._replace(attempts=min(progress.attempts, 0xFFFF))
    if phase == Phase.HELD:
        put_held(batch, entry, progress.reason, phase)
        return
    due_ms = progress.until_ms
    if message.send_at_ms > now_ms or not due_ms:
        due_ms = first_due_ms(message)
    after = Phase.READY
    if due_ms > now_ms:
        after = Phase.SCHEDULED if message.send_at_ms > now_ms else Phase.DEFERRED
        put_due(batch, entry, due_ms, after)
    else:
        put_ready(batch, entry, due_ms)
    progress.phase, progress.until_ms = after, due_ms
    batch.move(message.account, entry.lane, message.segments, phase, after)


# ids of 32 bits


def alias_of(batch: Batch, message: Message) -> int:
    """A new one, or that of the message under whose id its submitter knows it (submit_multi)."""
    shown = message.relay.shown if message.relay is not None else 0
    first = batch.message(message.account, shown) if shown else None
    return (
        first.alias if first is not None and first.alias else next_alias(batch, message.account, message.id)
    )


def next_alias(batch: Batch, account: int, id: int) -> int:
    """A number of this account that is free, from 1 to 0xFFFFFFFF, after the newest one; it is `id`'s now."""
    table = batch.tables.alias
    last = batch.aliases.get(account)
    if last is None:
        last = int.from_bytes(batch.get(batch.tables.meta, alias_name(account)) or b"\0", "big")
    while True:
        last = last % _MOST_ALIAS + 1
        key = ALIAS_KEY.pack(account, last)
        if not batch.has(table, key):
            break
    batch.aliases[account] = last
    batch.put(table, key, id.to_bytes(8, "big"))
    _drop_oldest(batch, account, id)
    return last


def _drop_oldest(batch: Batch, account: int, id: int) -> None:
    """For each alias given out up to two are forgotten that are older than any message is kept."""
    prefix = ACCOUNT_KEY.pack(account)
    for key, payload in batch.scan(batch.tables.alias, prefix, 2, prefix):
        if ms_of(id) - ms_of(int.from_bytes(payload, "big")) > _ALIAS_KEPT_MS:
            batch.delete(batch.tables.alias, key)


def find_alias(tx: lmdb.Transaction[bytes], tables: Tables, account: int, alias: int) -> int:
    """The id behind an alias, 0 when there is none."""
    key = ALIAS_KEY.pack(account, alias)
    value = tx.get(key, None, tables.alias.handle)
    try:
        return int.from_bytes(unseal(key, value), "big") if value is not None else 0
    except Damaged:
        return 0
