"""Kannel 1.4's callbacks: a GET of a URL in which escapes such as %d stand for what happened.

Source: Kannel's user guide, tables of escape codes and of dlr-mask, and what gw/urltrans.c does where
the guide is silent. Values are percent-encoded from their bytes, a blank becomes +; what has no value is
left out; an escape that nobody knows stays as it is.

A text in UCS-2 is UTF-16BE, bytes are bytes, all others UTF-8, as %c and %C say. Of a receipt, the text is
what the carrier said (%A). Unlike Kannel, a failure inside the gateway (16) is told as 2 to those who asked
for 2 alone, so that they hear the end of every message. Carriers have no names here: %i is the smsc that the
submitter asked for.

Deliberately not here: sendsms parameters, X-Kannel headers and POST services.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote_from_bytes

from gateway.callbacks.formats.outgoing import Format, Outgoing, Terms
from gateway.ids import uuid_of
from router.nouns import Encoding, Event, EventKind, MessageState, Reason
from smpp.receipt import format as receipt_text
from smpp.status import Status, describe

DELIVERED, FAILED, QUEUED, SMSC_ACCEPTED, SMSC_REJECTED = 1, 2, 4, 8, 16
ALL = 31

_WAITING = frozenset(map(int, (MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED)))
_BY_RECEIPT = frozenset(map(int, (Reason.RECEIPT, Reason.NO_RECEIPT)))
_CODINGS: dict[int, tuple[int, str]] = {Encoding.UCS2: (2, "UTF-16BE"), Encoding.BINARY: (1, "8-BIT")}
_DCS = {0: 0, 1: 4, 2: 8}
_REASONS = {int(reason): reason.name for reason in Reason}


def render(events: Sequence[Event], terms: Terms) -> Outgoing | None:
    """None for what dlr-mask does not ask for, and for what Kannel does not know."""
    event = events[0]
    if event.kind == EventKind.ACCOUNT:
        return None
    what = -1
    if event.kind != EventKind.MO:
        what = kind_of(event, terms.choice.mask if terms.choice is not None else ALL)
        if not what:
            return None
    return Outgoing("GET", fill(terms.url, _Filling(event, terms, what)))


def kind_of(event: Event, mask: int) -> int:
    """Which one of dlr-mask's bits an event is; 0: one that was not asked for."""
    if event.kind == EventKind.SENT:
        what = SMSC_ACCEPTED
    elif event.state == MessageState.DELIVERED:
        what = DELIVERED
    elif event.state in _WAITING:
        what = QUEUED
    elif not event.final or event.reason in _BY_RECEIPT or not mask & SMSC_REJECTED:
        what = FAILED
    else:
        what = SMSC_REJECTED
    return what & mask


def fill(template: str, filling: _Filling) -> str:
    """A template with its escapes filled in."""
    done: list[str] = []
    at = 0
    while (found := template.find("%", at)) >= 0 and found + 1 < len(template):
        done.append(template[at:found])
        letter = template[found + 1]
        value = _ESCAPES.get(letter)
        done.append(f"%{letter}" if value is None else value(filling))
        at = found + 2
    done.append(template[at:])
    return "".join(done)


class _Filling:
    """What escapes stand for; %s takes words one by one."""

    def __init__(self, event: Event, terms: Terms, what: int) -> None:
        self.event = event
        self.what = what
        self.terms = terms
        self.given = dict(terms.choice.given) if terms.choice is not None else {}
        is_mo = event.kind == EventKind.MO
        self.coding, self.charset = _CODINGS.get(event.encoding, (0, "UTF-8")) if is_mo else (0, "UTF-8")
        self.content = _content(event) if is_mo else reply_of(event, what).encode()
        words = event.text.split() if self.coding == 2 else self.content.split()
        self.words = [one.encode("utf-16-be", "replace") if isinstance(one, str) else one for one in words]
        self.next = 1
        self.udh = event.relay.udh if is_mo and event.relay is not None else b""

    def sender(self) -> str:
        return self.given.get("from") or self.event.source

    def recipient(self) -> str:
        return self.given.get("to") or self.event.destination

    def word(self) -> bytes:
        word = self.words[self.next] if self.next < len(self.words) else b""
        self.next += 1
        return word

    def joined(self, words: Sequence[bytes]) -> str:
        """With a blank between them."""
        return ("%00+" if self.coding == 2 else "+").join(map(_coded, words))

    def said(self, name: str) -> str:
        return _coded(self.given.get(name, "").encode())


def _content(event: Event) -> bytes:
    if event.encoding == Encoding.BINARY:
        return event.data
    return event.text.encode("utf-16-be" if event.encoding == Encoding.UCS2 else "utf-8", "replace")


def reply_of(event: Event, what: int) -> str:
    """What the carrier said: %A, and the text of a receipt."""
    if what == SMSC_ACCEPTED:
        return "ACK/"
    if what == SMSC_REJECTED:
        return f"NACK/{_why(event)}"
    return receipt_text(
        event.carrier_message_id or str(event.message_id),
        event.state,
        submit_ms=event.accepted_ms,
        done_ms=event.done_ms or event.at_ms,
        err=event.error or "000",
        text=event.text,
        sub=event.segments,
    ).decode("ascii")


def _why(event: Event) -> str:
    if event.error in Status.__members__:
        status = int(Status[event.error])
        return f"0x{status:08x}/{describe(status).partition('(')[2].rstrip(')')}"
    return event.error or _REASONS.get(event.reason, "")


def _coded(raw: bytes) -> str:
    return quote_from_bytes(raw, safe=" ").replace(" ", "+")


def _plus(number: str) -> str:
    return _coded(b"+" + number[2:].encode() if number.startswith("00") else number.encode())


def _at(filling: _Filling) -> str:
    return datetime.fromtimestamp(filling.event.at_ms // 1000, UTC).strftime("%Y-%m-%d+%H:%M:%S")


def _rest(filling: _Filling) -> str:
    return filling.joined(filling.words[filling.next :])


def _udh(filling: _Filling) -> str:
    return _coded(bytes((len(filling.udh),)) + filling.udh) if filling.udh else ""


_ESCAPES: dict[str, Callable[[_Filling], str]] = {
    "a": lambda one: one.joined(one.words),
    "A": lambda one: _coded(one.content),
    "b": lambda one: _coded(one.content),
    "B": lambda one: one.said("binfo"),
    "c": lambda one: str(one.coding),
    "C": lambda one: one.charset,
    "d": lambda one: str(one.what),
    "D": lambda one: one.said("meta-data"),
    "e": lambda one: one.content.hex(),
    "F": lambda one: _coded(one.event.carrier_message_id.encode()),
    "i": lambda one: one.said("smsc"),
    "I": lambda one: uuid_of(one.event.message_id),
    "k": lambda one: one.joined(one.words[:1]),
    "m": lambda one: one.given.get("mclass", "-1"),
    "M": lambda one: one.given.get("mwi", "-1"),
    "n": lambda one: one.said("service") or _coded(one.terms.name.encode()),
    "o": lambda one: one.said("account"),
    "O": lambda one: f"{_DCS[one.coding]:02d}",
    "p": lambda one: _coded(one.sender().encode()),
    "P": lambda one: _coded(one.recipient().encode()),
    "q": lambda one: _plus(one.sender()),
    "Q": lambda one: _plus(one.recipient()),
    "r": _rest,
    "R": lambda one: _coded(one.terms.url.encode()) if one.event.kind != EventKind.MO else "",
    "s": lambda one: _coded(one.word()),
    "S": lambda one: _coded(one.word().replace(b"*", b"~")),
    "t": _at,
    "T": lambda one: str(one.event.at_ms // 1000),
    "u": _udh,
    "v": lambda one: one.given.get("validity", ""),
    "V": lambda one: one.given.get("deferred", ""),
    "%": lambda one: "%",
}

FORMAT = Format(render)
