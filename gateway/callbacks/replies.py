"""What the answer to an inbound message starts: replies, through the one door, as the account.

Invariant: a reply is accepted in the very commit in which its inbound message is done. What is lost before
that is told and answered again, so that nothing is sent twice and nothing is forgotten.

Deliberately not here: reading the answer (twiml), which answers are read (formats).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from gateway.callbacks.twiml import replies_in
from gateway.door import Accepted, Door, Refusal, Submission
from router.nouns import Account, CallbackFormat
from store.interface import OutboxRow, Transaction

log = structlog.get_logger("callbacks")

_UNAVAILABLE = 503


class Outbox(Protocol):
    """The part of `gateway.committer.Committer` that is used here."""

    def add_outbox_done(self, rows: Sequence[OutboxRow]) -> None: ...


class Replies:
    """`pump.answered` of a gateway."""

    def __init__(self, door: Door, outbox: Outbox) -> None:
        self._door = door
        self._outbox = outbox

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

        def done(results: list[Accepted | Refusal]) -> None:
            refused = [one for one in results if isinstance(one, Refusal)]
            for one in refused:
                log.warning(
                    "reply refused", account=account.name, message_id=event.message_id, why=one.detail
                )
            if len(refused) < len(results):
                settled(True)
            elif any(one.status == _UNAVAILABLE for one in refused):
                settled(False)  # the store is full, or we are stopping: the event comes again
            else:
                self._outbox.add_outbox_done([row])
                settled(True)

        def finish(txn: Transaction) -> None:
            txn.outbox_done([row])

        self._door.submit(account, wanted, done, finish)
        return True
