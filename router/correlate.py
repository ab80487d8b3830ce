"""Which ids a receipt's id may stand for, and what the parts' states make of the whole message.

A carrier writes one id into submit_sm_resp and, often, another form of it into the receipt: upper or lower
case, zeros in front gone or added, hexadecimal for decimal, a UUID with or without dashes. Looked up are, in
this order: the id as it came, the form the carrier has proved to use (`FormLearner`), and, only where the
recipient fits and the hit is unique, every other form (`variants`). Trying those blindly would hand the
receipt for decimal 20000001 to whoever owns that id in hexadecimal.

Also here: our 16-bit reference of a message, and which done dates are to be believed.

Deliberately not here: the looking up and the parking (store), reading receipts (smpp.receipt).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from router.nouns import MessageState, Part

_DECIMAL: Final = frozenset("0123456789")
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
_MAX_BITS: Final = 128
_UUID_DASHES: Final = (8, 4, 4, 4, 12)


# ---------------------------------------------------------------------------------------------- forms

# A form is a chain of steps, "dec>hex,strip,upper": another writing of an id, or "" where it makes no sense.


def _hex_to_dec(id: str) -> str:
    if not id or not _HEXADECIMAL.issuperset(id):
        return ""
    number = int(id, 16)
    return str(number) if number.bit_length() <= _MAX_BITS else ""


def _dec_to_hex(id: str) -> str:
    if not id or len(id) > 40 or not _DECIMAL.issuperset(id):
        return ""
    number = int(id)
    return f"{number:x}" if number.bit_length() <= _MAX_BITS else ""


def _strip(id: str) -> str:
    return id.lstrip("0") or ("0" if id else "")


def _dash(id: str) -> str:
    if len(id) != 32 or not _HEXADECIMAL.issuperset(id):
        return ""
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def _uuid(id: str) -> str:
    """A number of more than 96 bits in hexadecimal as a UUID."""
    return _dash(id.zfill(32)) if 24 < len(id) <= 32 else ""


def _undash(id: str) -> str:
    groups = id.split("-")
    if tuple(map(len, groups)) != _UUID_DASHES or not _HEXADECIMAL.issuperset("".join(groups)):
        return ""
    return "".join(groups)


_STEPS: Final[dict[str, Callable[[str], str]]] = {
    "hex>dec": _hex_to_dec,
    "dec>hex": _dec_to_hex,
    "lower": str.lower,
    "upper": str.upper,
    "strip": _strip,
    "dash": _dash,
    "undash": _undash,
    "uuid": _uuid,
}
_RADIX: Final = ("", "hex>dec", "dec>hex", "undash", "dash", "undash,hex>dec", "dec>hex,uuid")
_FORMS: Final = tuple(
    ",".join(filter(None, (radix, zeros, case)))
    for radix in _RADIX
    for zeros in (("",) if radix.endswith(("dash", "uuid")) else ("", "strip"))
    for case in ("", "lower", "upper")
)
# Widths that SMSCs pad to: 32, 40, 64 and 128 bits in hexadecimal, 32 and 64 bits in decimal.
_WIDTHS: Final = (8, 10, 16, 20, 32)
_NEAR: Final = 5  # and one to four zeros more
_FAST_MS: Final = 5 * 60_000  # a carrier's clock may be so far ahead of ours
_EARLY_MS: Final = 86_400_000  # its dates have whole minutes, its zone may be set wrong


def _applied(form: str, id: str) -> str:
    """`id` in that form, "" where the form makes no sense for it."""
    for step in form.split(","):
        if step.startswith("pad"):
            id = id.zfill(int(step[3:])) if id else ""
        elif step:
            id = _STEPS[step](id)
        if not id:
            return ""
    return id


def variants(id: str) -> tuple[str, ...]:
    """Other ids that `id` may stand for, likeliest first, without itself; some 30 for a number.

    Letter case; zeros in front taken off, or added up to the usual widths; hexadecimal and decimal both ways,
    up to 128 bits; a UUID with and without dashes. To be tried only with the same recipient and a unique hit.
    """
    bases = _bases(id)
    found = {base: None for pair in bases for base in pair}
    for pair in bases:
        for base in dict.fromkeys(pair):
            length = len(base)
            if length < 40 and base.isalnum():
                for width in range(length + 1, length + _NEAR):
                    found[base.zfill(width)] = None
                for width in _WIDTHS:
                    if width > length:
                        found[base.zfill(width)] = None
    found.pop(id, None)
    return tuple(found)


def _bases(id: str) -> list[tuple[str, str]]:
    """Writings of the same id without zeros in front, each in lower and upper case; `id`'s own case first."""
    bases = [(id.lower(), id.upper())]
    bare = id.lstrip("0")
    if bare and bare != id:
        bases.append((bare.lower(), bare.upper()))
    digits = _undash(id) or id
    if digits != id:
        bases.append((digits.lower(), digits.upper()))
    elif dashed := _dash(id):
        bases.append((dashed.lower(), dashed.upper()))
    if hexadecimal := _dec_to_hex(id):
        bases.append((hexadecimal, hexadecimal.upper()))
        if uuid := _uuid(hexadecimal):
            bases.append((uuid, uuid.upper()))
    if decimal := _hex_to_dec(digits):
        bases.append((decimal, decimal))
    return bases


# ---------------------------------------------------------------------------------------------- learning


class FormLearner:
    """The form in which one carrier writes ids into receipts, learned from matches that `variants` found.

    A form counts once `CONFIDENT` matches in a row agree on it; from then on apply() gives it, right after
    the id as it came. Matches that contradict it make it be forgotten again. str() persists it.
    """

    CONFIDENT: Final = 3

    def __init__(self, persisted: str = "", configured: str = "auto") -> None:
        """`persisted`: an earlier str(); nonsense is ignored. `configured`: the carrier's receipt_id, "auto",
        "exact", "hex" (receipts are hexadecimal, responses decimal), "dec" (the other way), or a form."""
        self._fixed = _configured(configured)
        self._forms: tuple[str, ...] = ()
        self._agreed = 0
        self._contradicted = 0
        agreed, _, forms = persisted.partition(":")
        kept = tuple(form for form in forms.split(";") if form and _is_form(form))
        if agreed.isascii() and agreed.isdigit() and kept:
            self._forms, self._agreed = kept, min(int(agreed), self.CONFIDENT)

    def __str__(self) -> str:
        """ "3:dec>hex,upper;strip,upper": matches that agree, and the forms they allow; "" for none."""
        return f"{self._agreed}:{';'.join(self._forms)}" if self._forms else ""

    @property
    def form(self) -> str:
        """What an operator may read: the form in use, "" while ids are taken as they come."""
        if self._fixed is not None:
            return self._fixed[0] if self._fixed else ""
        return self._forms[0] if self._agreed >= self.CONFIDENT else ""

    def apply(self, id: str) -> tuple[str, ...]:
        """Ids to look up, in order: as it came, then the form configured or learned. At most three."""
        if self._fixed is not None:
            forms: Sequence[str] = self._fixed
        elif self._agreed >= self.CONFIDENT:
            forms = self._forms
        else:
            return (id,)
        found = {id: None}
        for form in forms:
            other = _applied(form, id)
            if other:
                found[other] = None
            if len(found) == 3:
                break
        return tuple(found)

    def observe_all(self, receipt_ids: Sequence[str], matched_ids: Sequence[str]) -> None:
        """`observe` for each of them; "" where there was none, or none was matched."""
        if not self._forms and receipt_ids == matched_ids:
            return
        for receipt_id, matched_id in zip(receipt_ids, matched_ids, strict=True):
            self.observe(receipt_id, matched_id)

    def observe(self, receipt_id: str, matched_id: str) -> None:
        """A receipt with `receipt_id` was matched, beyond doubt, to the submit answered with `matched_id`."""
        if receipt_id == matched_id and not self._forms:
            return
        if not receipt_id or not matched_id or self._fixed is not None:
            return
        kept = tuple(form for form in self._forms if _applied(form, receipt_id) == matched_id)
        if kept:
            self._forms, self._contradicted = kept, 0
            self._agreed = min(self._agreed + 1, self.CONFIDENT)
        elif self._forms:
            self._contradicted += 1
            if self._contradicted >= self.CONFIDENT:
                self._forms, self._agreed, self._contradicted = (), 0, 0
        if not self._forms and receipt_id != matched_id:
            self._forms = tuple(_forms_between(receipt_id, matched_id))
            self._agreed = 1 if self._forms else 0


def _forms_between(receipt_id: str, matched_id: str) -> Iterator[str]:
    """Every form that turns one into the other, simplest first."""
    for form in _FORMS:
        if form and _applied(form, receipt_id) == matched_id:
            yield form
    if matched_id.startswith("0"):
        for form in _FORMS:
            padded = f"{form},pad{len(matched_id)}".lstrip(",")
            if _applied(padded, receipt_id) == matched_id:
                yield padded


def _is_form(form: str) -> bool:
    return all(step in _STEPS or (step[:3] == "pad" and step[3:].isdigit()) for step in form.split(","))


def _configured(receipt_id: str) -> tuple[str, ...] | None:
    if receipt_id in ("", "auto"):
        return None
    if receipt_id == "exact":
        return ()
    if receipt_id == "hex":
        return ("hex>dec",)
    if receipt_id == "dec":
        return ("dec>hex", "dec>hex,upper", "dec>hex,pad8")
    if not _is_form(receipt_id):
        raise ValueError(
            f"receipt_id {receipt_id!r}: auto, exact, hex, dec, or steps of {', '.join(_STEPS)}, padN"
        )
    return (receipt_id,)


# -------------------------------------------------------------------------------------------- references


def reference_of(message_id: int) -> int:
    """16 bits of a message of ours, the same whenever it is sent: its concatenation reference, and what we
    give as user_message_reference. The id's own low bits would not do: they count inside a millisecond."""
    return (message_id ^ (message_id >> 20) ^ (message_id >> 36)) & 0xFFFF


# ------------------------------------------------------------------------------------------------- dates


def believable_done_ms(done_ms: int, came_ms: int, submitted_ms: int) -> int:
    """A receipt's done date, or 0 where it cannot be true. All in UTC ms.

    Not believed: what lies in the future of `came_ms`, when the receipt came (a clock a few minutes fast is
    taken for that moment), and what lies more than a day before the message was submitted.
    """
    if done_ms > came_ms:
        return came_ms if done_ms <= came_ms + _FAST_MS else 0
    return done_ms if done_ms >= submitted_ms - _EARLY_MS else 0


# ---------------------------------------------------------------------------------------------- folding

# Of several failures the first here is told. ACCEPTED is an intermediate word: DELIVRD may follow it.
_WORST_FIRST: Final = (
    MessageState.UNDELIVERABLE,
    MessageState.REJECTED,
    MessageState.EXPIRED,
    MessageState.DELETED,
    MessageState.SKIPPED,
    MessageState.UNKNOWN,
)
_OPEN: Final = frozenset({MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED})


def fold(parts: list[Part], *, first_decides: bool = False) -> tuple[MessageState, bool]:
    """(state of the message, is it final) from its parts' states.

    Final only when every part is: DELIVERED if all are, else the worst part's state, in the order
    UNDELIVERABLE, REJECTED, EXPIRED, DELETED, SKIPPED, UNKNOWN. Before that ACCEPTED if every part is at
    least that, else ENROUTE. Some carriers send one receipt, for the first part's id: `first_decides`.
    """
    if len(parts) == 1 or (first_decides and parts):
        state = MessageState(parts[0].state)
        return state, state not in _OPEN
    states = {part.state for part in parts}
    if not states or states & {MessageState.SCHEDULED, MessageState.ENROUTE}:
        return MessageState.ENROUTE, False
    if MessageState.ACCEPTED in states:
        return MessageState.ACCEPTED, False
    for state in _WORST_FIRST:
        if state in states:
            return state, True
    return MessageState.DELIVERED, True
