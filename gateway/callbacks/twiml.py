"""TwiML that answers an inbound message: the texts that it wants sent back.

Source: Twilio's guide to TwiML for messaging. `<Response>` with `<Message>` (also under its older name,
`<Sms>`), whose text is its own or that of its `<Body>`; its attributes `to` and `from` are other numbers than
the inbound message's. XML comes from strangers: no document type, no entities, at most MOST_MESSAGES of them.

Deliberately not here: other verbs (Redirect, …), media, status callbacks of replies, sending.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MOST_MESSAGES = 10
LONGEST_TEXT = 1_600

_VERBS = ("Message", "Sms")


class Reply(NamedTuple):
    """`to` and `sender` "": the handset that wrote, from the number that it wrote to."""

    text: str
    to: str = ""
    sender: str = ""


def replies_in(body: bytes) -> list[Reply]:
    """[] for what is no TwiML, or asks for nothing that is known here."""
    if b"<Response" not in body:
        return []
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return []
    if root.tag != "Response":
        return []
    found = [_reply(one) for one in root if one.tag in _VERBS]
    return [one for one in found if one.text][:MOST_MESSAGES]


def _reply(verb: Element) -> Reply:
    body = verb.find("Body")
    text = (verb.text if body is None else body.text) or ""
    return Reply(text.strip()[:LONGEST_TEXT], verb.get("to", ""), verb.get("from", ""))
