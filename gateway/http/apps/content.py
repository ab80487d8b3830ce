"""What other APIs say of a message's content, as a submission: octets or text, a header, a data_coding.

A text without a header stays text, so that each carrier may write it its own way; with a user data header of
the submitter's own, and where it is no text, it goes as the octets it is (as gateway.smpp_server.translate
does for what comes over SMPP).

Deliberately not here: which parameters an API has for it.
"""

from __future__ import annotations

from gateway.door import Submission
from gateway.smpp_server.translate import Content
from router.nouns import Encoding, Relay
from smpp.alphabet import DATA_CODING, Unencodable, encode, gsm7_encode
from smpp.segment import BadHeader, count

_ACTIVE = 0x08
_HAS_CLASS = 0x10


class BadContent(Exception):
    """It cannot be what it says; the message says why."""


def put_text(submission: Submission, text: str, data_coding: int = -1, udh: bytes = b"") -> None:
    """`data_coding` -1: what its alphabet has. `udh` with its length octet. Errors: BadContent."""
    if data_coding < 0 and not udh:  # the door finds out, and refuses what is too long before it looks
        submission.text = text
        return
    encoding = encoding_of(text)
    if udh:
        dcs = DATA_CODING[encoding] if data_coding < 0 else data_coding
        put_octets(submission, encode(text, encoding), dcs, udh)
        return
    submission.text = text
    if data_coding >= 0 and data_coding != DATA_CODING[encoding]:
        submission.planned = (encoding, count(text, encoding))
        relay_of(submission).data_coding = data_coding


def put_content(submission: Submission, content: Content) -> None:
    """What was understood as over SMPP, without parts."""
    if content.encoding == Encoding.BINARY:
        submission.data, submission.encoding, submission.udh = content.data, "binary", content.udh
    else:
        submission.text = content.text
    submission.planned = (content.encoding, content.segments)
    if content.data_coding >= 0:
        relay_of(submission).data_coding = content.data_coding


def put_octets(submission: Submission, octets: bytes, data_coding: int, udh: bytes = b"") -> None:
    """Bytes that go as they are. Errors: BadContent."""
    try:
        segments = count(octets, Encoding.BINARY, udh=udh)
    except BadHeader as error:
        raise BadContent(str(error)) from None
    submission.data, submission.encoding, submission.udh = octets, "binary", udh
    submission.planned = (int(Encoding.BINARY), segments)
    if data_coding != DATA_CODING[Encoding.BINARY]:
        relay_of(submission).data_coding = data_coding


def encoding_of(text: str) -> int:
    """GSM 7-bit where that carries it, else UCS-2."""
    try:
        gsm7_encode(text)
    except Unencodable:
        return int(Encoding.UCS2)
    return int(Encoding.GSM7)


def data_coding_of(
    encoding: int, message_class: int = -1, waiting: int = -1, alternative: bool = False
) -> int:
    """By 23.038 section 4. `message_class` 0 to 3; `waiting` 0 to 3 sets an indicator (voice, fax, e-mail,
    other), 4 to 7 ends it; -1: none. `alternative`: the class in group 1111 instead of 0001.
    """
    if waiting >= 0:
        if waiting > 3:
            return 0xC0 | waiting & 3
        group = {Encoding.UCS2: 0xE0, Encoding.GSM7: 0xD0}.get(Encoding(encoding), 0xC0)
        return group | _ACTIVE | waiting & 3
    plain = DATA_CODING[encoding]
    if message_class < 0:
        return plain
    if alternative and encoding != Encoding.UCS2:
        return 0xF0 | plain & 4 | message_class
    return _HAS_CLASS | plain | message_class


def relay_of(submission: Submission) -> Relay:
    """Its Relay, made where there is none."""
    if submission.relay is None:
        submission.relay = Relay()
    return submission.relay
