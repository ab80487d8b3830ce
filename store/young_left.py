"""What was young when the last process ended gets its rows in the expiry index while the store is opened.

Invariants: whatever a crash has interrupted is done once more, and changes nothing then; memory is bounded by
a portion; a damaged row of `young` keeps no store from opening, and no message from ending.

Deliberately not here: who is young, and until when (young.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.nouns import Phase
from store.holding import in_one_commit
from store.queues import expiry_key
from store.records import MESSAGE_KEY, MINUTE
from store.values import Damaged, unseal
from store.young import rows_of

if TYPE_CHECKING:
    from store.batch import Batch
    from store.lmdb_store import LmdbStore

_CHUNKS, _MESSAGES = 16, 2_000  # in one transaction


def write_all(store: LmdbStore) -> None:
    """A row in `expiry` for each that has not ended and is in a chunk; no chunk is left.

    Where one is damaged, for each of the store's messages that lacks it. Errors: StoreError.
    """
    there, damaged = _look(store)
    if damaged:
        store.options.announce(
            f"the store in {store.path} has a damaged row of messages that were accepted just before it was "
            "closed: looks whether each message has an end"
        )
        after: bytes | None = b""
        while after is not None:
            after = _some_messages(store, after)
    while there:
        there = bool(in_one_commit(store, _some_chunks))


def _look(store: LmdbStore) -> tuple[bool, bool]:
    """(whether there are chunks, whether one of them is damaged)"""
    there = False
    with store.reading() as tx, tx.cursor(store.tables.young.handle) as cursor:
        for key, value in cursor.iternext():
            there = True
            try:
                unseal(key, value)
            except Damaged:
                return True, True
    return there, False


def _some_messages(store: LmdbStore, after: bytes) -> bytes | None:
    """Returns where to go on; None: those were the last."""
    keys: list[bytes] = []

    def portion(batch: Batch) -> int:
        keys.extend(key for key, _ in batch.scan(batch.tables.message, after, _MESSAGES))
        for key in keys:
            _give_row(batch, key)
        return len(keys)

    full = in_one_commit(store, portion) == _MESSAGES
    return keys[-1] + b"\0" if full else None


def _some_chunks(batch: Batch) -> int:
    chunks = batch.scan(batch.tables.young, b"", _CHUNKS)
    for key, payload in chunks:
        for row in rows_of(payload):
            _give_row(batch, row[MINUTE.size :])
        batch.delete(batch.tables.young, key)
    return len(chunks)


def _give_row(batch: Batch, key: bytes) -> None:
    """In `expiry`, where a message is there and has not ended."""
    progress = batch.progress(key)
    if progress is not None and progress.phase == Phase.FINAL:
        return
    message = batch.message(*MESSAGE_KEY.unpack(key))
    if message is None:
        return
    row = expiry_key(message, progress)
    if not batch.has(batch.tables.expiry, row):
        batch.put(batch.tables.expiry, row, b"")
