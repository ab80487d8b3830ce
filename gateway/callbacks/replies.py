"""What the answer to an inbound message starts: replies, through the one door, as the account.

Invariants: a reply is accepted in the very commit in which its inbound message is done. What is lost before
that, and what is refused for now, is told and answered again, so that nothing is sent twice and nothing is
forgotten; of several replies the first that is accepted settles it, and the log names the others. A handset
that answers every answer gets MOST_A_MINUTE replies a minute, so that two machines do not talk for ever.

Deliberately not here: reading the answer (twiml), which answers are read (formats).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
import trio

from gateway.callbacks.twiml import replies_in
from gateway.door import Accepted, Refusal, Submission
from router.nouns import Account, CallbackFormat
from store.interface import OutboxRow, Transaction

log = structlog.get_logger("callbacks")

MOST_A_MINUTE = 10  # of one number of ours to one handset
_MINUTE_S = 60.0
_HANDSETS = 10_000
_FOR_NOW = frozenset((429, 503))


class Admitting(Protocol):
    """The door."""

    def submit(
        self,
        account: Account,
        requests: Sequence[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
        before: Callable[[Transaction], None] | None = None,
    ) -> None: ...


class Outbox(Protocol):
    """The part of `gateway.committer.Committer` that is used here."""

    def add_outbox_done(self, rows: Sequence[OutboxRow]) -> None: ...


class Replies:
    """`pump.answered` of a gateway."""

    def __init__(self, door: Admitting, outbox: Outbox, now: Callable[[], float] = trio.current_time) -> None:
        """`now`: monotonic seconds."""
        self._door = door
        self._outbox = outbox
        self._now = now
        self._lately: dict[
            tuple[int, str, str], tuple[float, int]
        ] = {}  # account, number, handset: since, count

    def __call__(
        self, account: Account, row: OutboxRow, body: bytes, settled: Callable[[bool], None]
    ) -> bool:
        """False where the answer starts nothing. `settled` comes after the commit."""
        event = row.event
        if event.again or account.callback_format != CallbackFormat.TWILIO.name.lower():
            return False
        wanted = [
            Submission(one.to or event.source, one.sender or event.destination, one.text)
            for one in replies_in(body)
        ]
        if not wanted:
            return False
        if self._too_many(account.id, event.destination, event.source, len(wanted)):
            log.warning(
                "replies refused: too many to one handset",
                account=account.name,
                message_id=event.message_id,
                most_a_minute=MOST_A_MINUTE,
            )
            return False

        def done(results: list[Accepted | Refusal]) -> None:
            refused = [one for one in results if isinstance(one, Refusal)]
            for one in refused:
                log.warning(
                    "reply refused", account=account.name, message_id=event.message_id, why=one.detail
                )
            if len(refused) < len(results):
                settled(True)
            elif any(one.status in _FOR_NOW for one in refused):
                settled(False)  # the store or a queue is full, or we are stopping: the event comes again
            else:
                self._outbox.add_outbox_done([row])
                settled(True)

        def finish(txn: Transaction) -> None:
            txn.outbox_done([row])

        self._door.submit(account, wanted, done, finish)
        return True

    def _too_many(self, account: int, number: str, handset: str, count: int) -> bool:
        """Counts them. The memory has an end: it begins anew when it is full."""
        if len(self._lately) >= _HANDSETS:
            self._lately.clear()
        pair, now = (account, number, handset), self._now()
        since, before = self._lately.get(pair, (now, 0))
        if now - since >= _MINUTE_S:
            since, before = now, 0
        if before + count > MOST_A_MINUTE:
            return True
        self._lately[pair] = since, before + count
        return False
