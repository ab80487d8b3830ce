"""The admin verbs of privacy: what is kept about one number, taking it out, and the proof of that.

On a stopped gateway they work on its store and files; nothing is delivered then, so what waits to be
delivered is erased only with `now`.

Deliberately not here: finding and erasing (gateway.privacy), text for people (gateway.cli.privacy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from gateway.admin import Verb, bad_arguments, typed
from gateway.previews import Preview
from gateway.privacy import CDR, Counted, Privacy
from router.numbers import NumberProblem, normalise
from store.person import ARCHIVED, INDEXES, Number

_ENOUGH = 200  # records in one answer
_LOOKS = 40  # portions at most in one answer

Spelling = Annotated[str, msgspec.Meta(min_length=3, max_length=20, pattern="^[+0-9]+$")]


class Whom(msgspec.Struct, forbid_unknown_fields=True):
    """A number, and further spellings of it (as a national form) that carriers may have used."""

    number: str
    also: Annotated[tuple[Spelling, ...], msgspec.Meta(max_length=10)] = ()


class Export(Whom, forbid_unknown_fields=True):
    """`after`: where to go on, as the portion before said; "": from the beginning."""

    after: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


class Erase(Whom, forbid_unknown_fields=True):
    """`cancel_unfinished`: messages that have not ended end. `now`: events that wait for their receivers are
    dropped."""

    cancel_unfinished: bool = False
    now: bool = False
    preview: bool = False


class Erased(msgspec.Struct):
    """Rows by kind; `left` what stayed, by why. `subject`: how the audit trail calls the number."""

    subject: str
    erased: dict[str, int]
    left: dict[str, int]


class Exported(msgspec.Struct):
    """A portion; `after` goes into the next call, "": that was all."""

    records: list[dict[str, object]]
    after: str


class PrivacyVerbs:
    """The verbs as methods."""

    def __init__(self, privacy: Privacy, region: Callable[[], str]) -> None:
        """`region`: the house's, for national numbers."""
        self.privacy = privacy
        self._region = region

    def table(self) -> dict[str, Verb]:
        return {
            "privacy.export": typed(Export, self.export),
            "privacy.erase": typed(Erase, self.erase),
            "privacy.proof": typed(Whom, self.proof),
        }

    def number(self, text: str) -> str:
        """Its digits. Errors: WrongArguments."""
        try:
            return normalise(text.replace(" ", ""), self._region())
        except NumberProblem as problem:
            raise bad_arguments(
                "number", str(problem), "write it with its country code: +447700900123"
            ) from None

    async def export(self, wish: Export) -> Exported:
        """A portion; the audit trail hears of the first."""
        number = self.number(wish.number)
        if not wish.after:
            await self.privacy.begin_export(number)
        return await self.exported(Number(number, wish.also), wish.after)

    async def exported(self, number: Number, after: str) -> Exported:
        """A portion behind `after`. Errors: WrongArguments."""
        records: list[dict[str, object]] = []
        for _ in range(_LOOKS):
            try:
                found, after = await self.privacy.portion(number, after)
            except ValueError:
                raise bad_arguments("after", "is not what a portion said") from None
            records += found
            if not after or len(records) >= _ENOUGH:
                break
        return Exported(records, after)

    async def erase(self, wish: Erase) -> Preview | Erased:
        number = self.number(wish.number)
        if wish.preview:
            return _preview(await self.privacy.count(Number(number, wish.also)), wish)
        mark = await self.privacy.erase(number, wish.also, cancel=wish.cancel_unfinished, now=wish.now)
        return Erased(await self.privacy.subject(number), mark.erased, mark.left)

    async def proof(self, wish: Whom) -> dict[str, object]:
        return await self.privacy.proof(self.number(wish.number))


_SAID = {
    "message": "messages lose number and text",
    ARCHIVED: "archived messages lose number and text",
    "inbound": "inbound messages lose number and text",
    "inbound_part": "parts of inbound messages go",
    "waiting_receipt": "receipts that wait for their message go",
    "unmatched_receipt": "receipts that belong to no message go",
    "waiting_event": "events wait to be delivered",
    "event_to_retry": "events wait to be delivered again",
    "given_up_event": "events that nobody took go",
    "unknown_outcome": "messages have an unknown outcome",
    "answered_request": "remembered answers go",
    "notice": "entries of the event log get stars",
    "damaged": "damaged rows go",
    CDR: "call detail records get stars",
    "audit": "entries of the audit trail name it, and stay",
}


def _preview(counted: Counted, wish: Erase) -> Preview:
    kinds = counted.kinds
    touches = [f"{said}: {kinds[kind]:,}" for kind, said in _SAID.items() if kinds[kind]]
    rows = sum(kinds[kind] for kind in INDEXES)
    if rows:
        touches.append(f"rows by which it is found go: {rows:,}")
    if not touches:
        touches.append("nothing is kept about this number")
    warnings = []
    if counted.unfinished:
        have = f"messages that have not ended, {len(counted.unfinished):,}: "
        warnings.append(
            have
            + (
                "they end, and nobody else gets them"
                if wish.cancel_unfinished
                else "as long as there are any, it is refused"
            )
        )
    if counted.waiting:
        have = f"events that wait to be delivered, {counted.waiting:,}: "
        warnings.append(
            have
            + (
                "they are dropped, and nobody is told"
                if wish.now
                else "refused, if they still wait after 20 s"
            )
        )
    warnings.append("its bytes stay in free pages of store/data.mdb until: signalbox store compact")
    return Preview(touches, kinds["message"] + kinds[ARCHIVED], warnings=warnings)
