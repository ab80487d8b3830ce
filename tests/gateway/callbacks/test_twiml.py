"""TwiML as servers write it, and XML that is meant to hurt."""

from __future__ import annotations

import pytest

from gateway.callbacks.twiml import LONGEST_TEXT, MOST_MESSAGES, Reply, replies_in

BOMB = b'<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Response><Message>&b;</Message></Response>'
LEAK = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response><Message>&x;</Message></Response>'


@pytest.mark.parametrize(
    ("body", "replies"),
    [
        (b"<Response><Message>Hello</Message></Response>", [Reply("Hello")]),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n<Response>\n  <Message>\n Hi \n</Message></Response>',
         [Reply("Hi")]),
        ("<Response><Message>né ✓</Message></Response>".encode(), [Reply("né ✓")]),
        (b"<Response><Message><Body>A &amp; B</Body></Message></Response>", [Reply("A & B")]),
        (b"<Response><Message><Body>A</Body><Media>http://x</Media></Message></Response>", [Reply("A")]),
        (b"<Response><Sms>old</Sms></Response>", [Reply("old")]),
        (b'<Response><Message to="+447700900999" from="12345">x</Message></Response>',
         [Reply("x", "+447700900999", "12345")]),
        (b"<Response><Message>1</Message><Message>2</Message></Response>", [Reply("1"), Reply("2")]),
        (b"<Response/>", []),
        (b"<Response></Response>", []),
        (b"<Response><Message/></Response>", []),
        (b"<Response><Redirect>http://x</Redirect></Response>", []),
        (b"<html><Response><Message>x</Message></Response></html>", []),
        (b"<Response><Message>x</Response>", []),
        (b"OK", []),
        (b"", []),
        (b"\xff<Response><Message>x</Message></Response>", []),
        (b'<?xml version="1.0" encoding="nonsense"?><Response><Message>x</Message></Response>', []),
        (BOMB, []),
        (LEAK, []),
    ],
)  # fmt: skip
def test_the_replies_that_an_answer_asks_for(body: bytes, replies: list[Reply]) -> None:
    assert replies_in(body) == replies


def test_there_are_limits() -> None:
    many = b"<Response>" + b"<Message>x</Message>" * 50 + b"</Response>"
    assert len(replies_in(many)) == MOST_MESSAGES
    long = b"<Response><Message>" + b"x" * 5000 + b"</Message></Response>"
    assert [len(one.text) for one in replies_in(long)] == [LONGEST_TEXT]
    deep = b"<Response>" + b"<Message>" * 5000 + b"x" + b"</Message>" * 5000 + b"</Response>"
    assert replies_in(deep) == []
