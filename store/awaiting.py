"""Sent messages whose receipt is awaited, decoded: a receipt that comes soon reads nothing.

Each entry is a copy of what the transaction under way, or the last commit, says of one message of one part;
what messages that were sent together have in common is there once for all of them.
Whatever else writes or removes a message's records makes its copy go (Batch.put_progress, Batch.delete), and
when a transaction is dropped all of them go, because its verbs have changed them. Bounded: the oldest go
first, so memory follows `MOST`, never how many receipts are missing.

Deliberately not here: what a receipt does (receipts.py), ids in other forms and older ones (correlation.py).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from router.causes import of_ending
from router.nouns import Message, MessageState, Part, Phase, Progress, Reason, Step
from store.forms import OPEN, pieces_of
from store.records import encode

if TYPE_CHECKING:
    from router.nouns import Outcome, ReceiptIn, Said

MOST = 16_384  # about 25 MiB
_MOST_FORMS = 1_024
_AWAITING_RECEIPT, _FINAL = int(Phase.AWAITING_RECEIPT), int(Phase.FINAL)
_SENT, _RECEIPT, _ENDED = int(Step.SENT), int(Step.RECEIPT), int(Step.FINAL)
_ENROUTE, _DELIVERED = int(MessageState.ENROUTE), int(MessageState.DELIVERED)
_BY_RECEIPT = int(Reason.RECEIPT)


class Sending:
    """What messages have in common that one carrier was sent at one moment, of one lease, and accepted at the
    first try: with the id of each that is their whole progress."""

    __slots__ = ("carrier", "group", "lease", "lease_octets", "sent_ms", "sent_octets")

    def __init__(self, carrier: int, group: int, lease: int, sent_ms: int) -> None:
        self.carrier, self.group, self.lease, self.sent_ms = carrier, group, lease, sent_ms
        self.lease_octets, self.sent_octets = encode(lease), encode(sent_ms)  # as a progress has them

    def progress(self, cid: str) -> Progress:
        """Of the message that its carrier calls so."""
        return sent_at_once(self.carrier, self.group, self.lease, self.sent_ms, cid)


def sent_at_once(carrier: int, group: int, lease: int, sent_ms: int, cid: str) -> Progress:
    """The progress of a message of one segment that was accepted at the first try, its receipt to come."""
    return Progress(
        _AWAITING_RECEIPT, _ENROUTE, attempts=1, lease=lease, parts=[Part(carrier, cid)],
        events=[(sent_ms, _SENT, carrier, cid)], group=group,
    )  # fmt: skip


def end_by(
    progress: Progress, said: Said | ReceiptIn, by: int, word: str, at_ms: int, ended_ms: int, done_ms: int
) -> Progress:
    """The same progress after a final receipt about its only part; `by`: whose bind it came on, `word`: its
    state's."""
    state, error = said.state, said.error
    (part,) = progress.parts
    part.state = progress.state = state
    part.error = error
    part.cause = said.cause
    detail = f"{word} err={error}" if error else word
    progress.events += (at_ms, _RECEIPT, by, detail), (ended_ms, _ENDED, 0, word)
    progress.phase = _FINAL
    progress.reason = _BY_RECEIPT
    progress.finished_ms = ended_ms
    progress.done_ms = done_ms
    progress.cause = "" if state == _DELIVERED else of_ending(state, _BY_RECEIPT, said.cause)
    return progress


class Sent(msgspec.Struct, gc=False):
    """One message: its key in the message and progress tables, the id its carrier gave it, its records."""

    key: bytes
    cid: str
    message: Message
    sending: Sending
    own: Progress | None = None  # its progress, where it says more than `sending`

    @property
    def progress(self) -> Progress:
        """To be changed only where it is written, too."""
        return self.own or self.sending.progress(self.cid)


class Awaiting:
    """By receipt group and carrier id, and by key. Of two with the same carrier id the newer is known by it.
    Invariant: what `by_name` has is the very object that `by_key` has under its key; whoever takes it out of
    one takes it out of the other.

    COMMIT B adds what it has written to both (`settle`, after it has made room, and `add`).
    """

    __slots__ = ("_end_forms", "_forms", "by_key", "by_name")

    def __init__(self) -> None:
        self.by_name: dict[int, dict[str, Sent]] = {}
        self.by_key: dict[bytes, Sent] = {}
        self._forms: dict[tuple[int, int], list[bytes]] = {}  # as many as carriers
        self._end_forms: dict[tuple[int, int, int, int, str, str], list[bytes]] = {}

    def make_room(self, count: int) -> None:
        """The oldest go, where `count` more are too many."""
        for key in list(islice(self.by_key, max(0, len(self.by_key) + count - MOST))):
            self.forget(key)

    def add(self, key: bytes, outcome: Outcome, message: Message, progress: Progress) -> None:
        """COMMIT B has written these records."""
        self.make_room(1)
        group, cid = outcome.group, outcome.carrier_message_id
        sending = Sending(outcome.carrier, group, outcome.lease, outcome.sent_ms)
        self.by_key[key] = self.of_group(group)[cid] = Sent(key, cid, message, sending, progress)

    def of_group(self, group: int) -> dict[str, Sent]:
        """By carrier id."""
        named = self.by_name.get(group)
        if named is None:
            named = self.by_name[group] = {}
        return named

    def form(self, carrier: int, group: int) -> list[bytes]:
        """Pieces of what `sent_at_once` gives, between them: lease, id, sent_ms, id."""
        pieces = self._forms.get((carrier, group))
        if pieces is None:
            pieces = pieces_of(sent_at_once(carrier, group, OPEN, OPEN, OPEN))
            self._forms[carrier, group] = pieces
        return pieces

    def end_form(self, carrier: int, group: int, said: Said | ReceiptIn, by: int, word: str) -> list[bytes]:
        """The same after `end_by`: lease, finished_ms, id, sent_ms, id, at_ms, finished_ms, done_ms."""
        kind = (carrier, group, by, said.state, said.error, said.cause)
        pieces = self._end_forms.get(kind)
        if pieces is None:
            progress = sent_at_once(carrier, group, OPEN, OPEN, OPEN)
            end_by(progress, said, by, word, OPEN, OPEN, OPEN)
            pieces = pieces_of(progress)
            if len(self._end_forms) >= _MOST_FORMS:
                self._end_forms.clear()
            self._end_forms[kind] = pieces
        return pieces

    def find(self, group: int, cid: str) -> Sent | None:
        """The newest message that was given this id, if it is still known here."""
        return self.of_group(group).get(cid)

    def forget(self, key: bytes) -> None:
        """Its records are written, or gone, otherwise."""
        sent = self.by_key.pop(key, None)
        if sent is not None and self.find(sent.sending.group, sent.cid) is sent:
            del self.by_name[sent.sending.group][sent.cid]

    def clear(self) -> None:
        """What is here may never have been committed."""
        self.by_name.clear()
        self.by_key.clear()

    def __len__(self) -> int:
        return len(self.by_key)
