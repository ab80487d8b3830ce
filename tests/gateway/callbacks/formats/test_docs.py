"""docs/callbacks.md shows every format as it is: the examples there are these events, rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.callbacks.choice import Callbacks, jasmin, kannel, twilio, vonage
from gateway.callbacks.formats import BY_NAME, FORMATS, Terms
from gateway.callbacks.formats.kannel import _ESCAPES
from router.nouns import CallbackFormat, Event, EventKind, MessageState, Reason

DOCS = (Path(__file__).resolve().parents[4] / "docs" / "callbacks.md").read_text()
AT_MS = 1_760_000_000_123
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = 4_611_686_018_427_387_905
RECEIPT = Event(
    EventKind.RECEIPT, 1, ID, AT_MS, "ACME", "447700900123", MessageState.DELIVERED, Reason.RECEIPT, "000",
    client_ref="order 5", tags=("shop",), text="Your order is on its", accepted_ms=AT_MS - 60_000,
    done_ms=1_759_999_980_000, source_type=0x50,
)  # fmt: skip
RECEIVED = Event(
    EventKind.MO,
    1,
    ID + 94,
    AT_MS,
    "447700900123",
    "12345",
    MessageState.DELIVERED,
    text="YES",
    in_reply_to=ID,
)
LOW = Event(
    EventKind.ACCOUNT, 1, AT_MS, AT_MS, "", "", error="low_balance",
    data=b'{"account":"shop","balance":"4.20","below":"5.00","currency":"EUR"}',
)  # fmt: skip
KANNEL = kannel("https://shop.example/dlr?id=%I&status=%d&to=%P&reply=%A", 31, service="alice")
EXAMPLES: list[tuple[CallbackFormat, Event, str, Callbacks | None]] = [
    (CallbackFormat.STANDARD, RECEIPT, "https://shop.example/sms", None),
    (CallbackFormat.STANDARD, RECEIVED, "https://shop.example/sms", None),
    (CallbackFormat.STANDARD, LOW, "https://shop.example/sms", None),
    (CallbackFormat.CLOUDEVENTS, RECEIPT, "https://shop.example/sms", None),
    (CallbackFormat.KANNEL, RECEIPT, KANNEL.url, KANNEL),
    (CallbackFormat.KANNEL, RECEIVED, "https://shop.example/mo?from=%p&to=%P&word=%k&text=%b&at=%T", None),
    (CallbackFormat.JASMIN, RECEIPT, "https://shop.example/dlr", jasmin("https://shop.example/dlr", 3)),
    (CallbackFormat.JASMIN, RECEIVED, "https://shop.example/mo", None),
    (CallbackFormat.TWILIO, RECEIPT, "https://shop.example/status", twilio("https://shop.example/status")),
    (CallbackFormat.TWILIO, RECEIVED, "https://shop.example/sms", None),
    (CallbackFormat.VONAGE, RECEIPT, "https://shop.example/dlr", vonage("https://shop.example/dlr")),
    (CallbackFormat.VONAGE, RECEIVED, "https://shop.example/mo", None),
]


def shown(format: CallbackFormat, event: Event, url: str, chosen: Callbacks | None) -> str:
    """The request as the page shows it: its first line, the headers that the format makes, the body."""
    choice = chosen.choice if chosen is not None else None
    made = FORMATS[format].render([event], Terms(url, AT_MS, 1, "shop", choice, secrets=(SECRET,)))
    assert made is not None
    path = made.url.removeprefix("https://shop.example")
    lines = [f"{made.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in made.headers)]
    if made.body:
        lines += ["", made.body.decode()]
    return "\n".join(f"    {line}".rstrip() for line in lines)


@pytest.mark.parametrize(("format", "event", "url", "chosen"), EXAMPLES)
def test_the_page_shows_what_is_sent(
    format: CallbackFormat, event: Event, url: str, chosen: Callbacks | None
) -> None:
    assert shown(format, event, url, chosen) in DOCS


def test_every_format_and_every_escape_is_on_the_page() -> None:
    assert {one for one, *_ in EXAMPLES} == set(CallbackFormat)
    assert all(f"### {name}" in DOCS for name in BY_NAME)
    table = DOCS.partition("| escape |")[2].partition("\n\n")[0]
    assert all(f"`%{letter}`" in table for letter in _ESCAPES)


if __name__ == "__main__":  # the examples, to be pasted
    for example in EXAMPLES:
        print(shown(*example), end="\n\n")
