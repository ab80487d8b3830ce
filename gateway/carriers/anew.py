"""Customers' long messages that one carrier cannot take in the parts their customers cut.

Where the carrier's alphabet lacks a character, or its header leaves too little room, all parts are cut anew
under a reference of ours. Each part stays a message of its own: it gets the segments that begin in it, at
least one, and its receipt is theirs folded. A part that comes back after a refusal comes alone, so what it
was given is kept here, whatever a reload changes meanwhile; a process that starts has forgotten it, and such
a part then goes as it came, or to the next carrier.

Invariants: only a message whose parts are all here, in order, is cut anew; at most `_MOST_KEPT` parts are
kept.

Deliberately not here: where to cut (smpp.segment), whether parts need it (render), which parts leave together
(store.groups).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.carriers.render import Renderer
from router.nouns import Message
from smpp.segment import Segment

_MOST_KEPT = 10_000


class Anew:
    def __init__(self) -> None:
        self._kept: dict[int, tuple[str, list[Segment]]] = {}  # message id → its text then, its segments

    def shares(self, parts: Sequence[Message], renderer: Renderer, max_parts: int) -> list[Sequence[Segment]]:
        """For each of these parts of one message, leased together, the segments of ours that stand for it;
        () = it goes as it came."""
        known = [self._known(part) for part in parts]
        if any(known) or not _complete(parts):
            return known
        shares = renderer.anew(parts, max_parts)
        if shares is None:
            return known
        for part, share in zip(parts, shares, strict=True):
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[part.id] = part.text, share
        return list(shares)

    def _known(self, part: Message) -> Sequence[Segment]:
        text, share = self._kept.get(part.id, ("", ()))
        return share if text == part.text else ()


def _complete(parts: Sequence[Message]) -> bool:
    """Whether these are all parts of the message, in order."""
    relays = [part.relay for part in parts]
    return all(
        relay is not None and relay.total == len(parts) and relay.index == index
        for index, relay in enumerate(relays, 1)
    )
