"""How a message ends: once, with one final event, whoever ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.causes import of_ending
from router.nouns import MessageState, Part, Phase, Reason, Step, wants_final
from store import wallets
from store.groups import uncouple
from store.outbox import STATE_NAMES, receipt_event, tell
from store.queues import expiry_key
from store.records import MESSAGE_KEY
from store.timeline import note

if TYPE_CHECKING:
    from router.nouns import Message, Progress
    from store.batch import Batch

WAITING = frozenset(map(int, (MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED)))
_FINAL, _ENDED, _RECEIPT = int(Phase.FINAL), int(Step.FINAL), int(Reason.RECEIPT)
_DELIVERED = int(MessageState.DELIVERED)
_IN_QUEUE = int(Reason.EXPIRED_IN_QUEUE)


def finalize(
    batch: Batch,
    message: Message,
    progress: Progress,
    before: int,
    state: int,
    reason: int,
    now_ms: int,
    error: str = "",
    cause: str = "",
    key: bytes = b"",
) -> None:
    """End a message that was in phase `before`. The caller has taken its row out of the queues.

    `error` is the carrier's own code, `cause` what it means; both "" where no carrier said why. `key`: its
    MESSAGE_KEY, where the caller has it.
    """
    account = message.account
    if now_ms < batch.memory.sealed_ms:  # the clock stepped back; those before are read already
        now_ms = batch.memory.sealed_ms
    if reason == _IN_QUEUE and progress.failed_state:  # a receipt said so, and nobody else could try
        state, reason, cause = progress.failed_state, _RECEIPT, progress.cause
    key = key or MESSAGE_KEY.pack(account, message.id)
    if not batch.young.leave(key):
        batch.deleter(batch.tables.expiry)(expiry_key(message, progress))
    batch.move(account, progress.lane or message.lane, message.segments, before, _FINAL)
    progress.phase = _FINAL
    progress.state = state
    progress.reason = reason
    progress.until_ms = 0
    progress.finished_ms = now_ms
    progress.cause = "" if state == _DELIVERED else of_ending(state, reason, cause)
    if reason != _RECEIPT:
        progress.done_ms = 0
    note(progress, now_ms, _ENDED, 0, STATE_NAMES.get(state, str(state)))
    batch.put_progress(key, progress)
    if message.bill is not None:
        wallets.settle(batch, message, progress)
    batch.ended.append((message, progress, now_ms))
    batch.ends_at(now_ms).append(key)
    relay = message.relay
    if relay is not None and relay.total > 1:
        uncouple(batch, message, now_ms)
    if wants_final(message.receipt, state):
        event = receipt_event(message, progress, state, now_ms, error, done_ms=progress.done_ms)
        event.cause = progress.cause
        tell(batch, event)


def fold(parts: list[Part]) -> tuple[int, bool]:
    """(state, final) from the parts: delivered when all are, else the first failure once all ended."""
    if len(parts) == 1:
        state = parts[0].state
        return state, state not in WAITING
    states = [part.state for part in parts]
    if any(state in WAITING for state in states):
        return MessageState.ENROUTE, False
    return next(
        (state for state in states if state != MessageState.DELIVERED), int(MessageState.DELIVERED)
    ), True


def error_of(parts: list[Part], state: int) -> tuple[str, str]:
    """(the carrier's code, what it means) of the state a message ended in: the first part's that ended so."""
    if len(parts) == 1:
        return (parts[0].error, parts[0].cause) if parts[0].state == state else ("", "")
    ended = [part for part in parts if part.state == state]
    told = next((part for part in ended if part.error), ended[0] if ended else None)
    return (told.error, told.cause) if told is not None else ("", "")
