"""What POST /v1/messages takes: JSON decoded into typed values, or every wrong field named.

The common case is one decode into a struct. Only when that fails is the body looked at again, field by
field, so that the answer can say for each one what is allowed. Nothing wrong gets through to the door.

Deliberately not here: what only the gateway knows (numbers, routes, parts, how far ahead is too far).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.door import Submission
from gateway.http.problems import BadRequest, FieldError

BATCH_MAX = 1000

_TEXT_MAX = 39_015  # 255 parts of 153: beyond any configuration
_DATA_MAX = 34_170  # 255 parts of 134 octets
_DAYS_MAX = 36_500 * 86_400

Encoding = Literal["auto", "gsm7", "ucs2", "latin1", "binary"]
MessageClass = Literal["otp", "transactional", "promotional", "bulk"]
Receipt = Literal["none", "final", "all"]
Number = Annotated[str, Meta(min_length=1, max_length=32)]
Text = Annotated[str, Meta(min_length=1, max_length=_TEXT_MAX)]
Hex = Annotated[str, Meta(max_length=2 * _DATA_MAX, pattern=r"^(?:[0-9A-Fa-f]{2})+\Z")]
Seconds = Annotated[int, Meta(ge=1, le=_DAYS_MAX)]
Instant = Annotated[datetime, Meta(tz=True)]
Priority = Annotated[int, Meta(ge=0, le=3)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=10)]
Url = Annotated[str, Meta(max_length=2048)]
Reference = Annotated[str, Meta(max_length=64)]


class MessageIn(
    msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"sender": "from", "message_class": "class"}
):
    """The fields, under their JSON names. null means the same as leaving a field out."""

    to: Number
    sender: Number
    text: Text | None = None
    data: Hex | None = None
    encoding: Encoding | None = None
    validity_s: Seconds | None = None
    send_at: Instant | None = None
    priority: Priority | None = None
    message_class: MessageClass | None = None
    tags: Tags | None = None
    callback_url: Url | None = None
    client_ref: Reference | None = None
    receipt: Receipt | None = None
    smart_encoding: bool | None = None


class ChangeIn(msgspec.Struct, forbid_unknown_fields=True):
    """null means the same as leaving a field out; of text and data at most one."""

    text: Text | None = None
    data: Hex | None = None
    encoding: Encoding | None = None
    smart_encoding: bool | None = None
    send_at: Instant | None = None
    validity_s: Seconds | None = None
    receipt: Receipt | None = None


# JSON name → (type, what is allowed)
_FIELDS: dict[str, tuple[Any, str]] = {
    "to": (
        Number,
        'required: the recipient\'s number as a string, with country code, such as "447700900123"',
    ),
    "from": (Number, "required: the sender as a string: a number, or up to 11 letters and digits"),
    "text": (Text | None, f"a string of 1 to {_TEXT_MAX} characters; give either text or data"),
    "data": (
        Hex | None,
        f'1 to {_DATA_MAX} bytes in hexadecimal, such as "0605040B84"; give either text or data',
    ),
    "encoding": (Encoding | None, "one of auto, gsm7, ucs2, latin1, binary"),
    "validity_s": (Seconds | None, "a whole number of seconds, at least 1"),
    "send_at": (Instant | None, 'a time with its zone (RFC 3339), such as "2030-01-31T09:30:00Z"'),
    "priority": (Priority | None, "a whole number from 0 to 3; 3 goes first"),
    "class": (MessageClass | None, "one of otp, transactional, promotional, bulk"),
    "tags": (Tags | None, "a list of at most 10 strings of 1 to 64 characters"),
    "callback_url": (Url | None, "a URL of at most 2048 characters"),
    "client_ref": (Reference | None, "a string of at most 64 characters"),
    "receipt": (Receipt | None, "one of none, final, all"),
    "smart_encoding": (bool | None, "true or false"),
}
_REQUIRED = ("to", "from")
ALLOWED = {name: allowed for name, (_, allowed) in _FIELDS.items()}
_CHANGEABLE = ChangeIn.__struct_fields__
RESERVED = frozenset({"topic", "recipient_zone", "template", "variables", "campaign"})

_one = msgspec.json.Decoder(MessageIn)
_many = msgspec.json.Decoder(list[MessageIn])
_change = msgspec.json.Decoder(ChangeIn)
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_object = msgspec.json.Decoder(dict[str, Any])
# RecursionError: nested deeper than any message could be. UnicodeDecodeError: not UTF-8.
_MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def read_one(body: bytes) -> Submission:
    """The message in a body. Errors: BadRequest, with every wrong field."""
    try:
        return _submission(_one.decode(body))
    except _MALFORMED as error:
        raise _explain(body, error) from None
    except _Contradiction as error:
        raise invalid(error.errors) from None


def read_many(body: bytes, max_batch: int = BATCH_MAX) -> list[Submission | BadRequest]:
    """The messages in a batch, each on its own: [...] or {"messages": [...]}. Errors: BadRequest."""
    array = _array(body)
    try:
        decoded: Sequence[MessageIn | msgspec.Raw] = _many.decode(array)
    except _MALFORMED:
        decoded = _raw_items(array)
    if not 1 <= len(decoded) <= max_batch:
        raise invalid(
            [FieldError("messages", f"1 to {max_batch} messages in one request; these are {len(decoded)}")]
        )
    return [_item(item) for item in decoded]


def read_object(body: bytes, wanted: str) -> dict[str, Any]:
    """A JSON object's fields, as they are. Errors: BadRequest, which asks for `wanted`."""
    try:
        return _any_object.decode(body)
    except _MALFORMED as error:
        raise _not_an_object(body, error, wanted) from None


def read_change(body: bytes) -> ChangeIn:
    """What is to change of a message. Errors: BadRequest, with every wrong field."""
    try:
        change = _change.decode(body)
    except _MALFORMED as error:
        raise _explain(body, error, _CHANGEABLE, ()) from None
    if change.text is not None and change.data is not None:
        raise invalid([FieldError("text", "give either text or data, and not both")])
    return change


def check_json(content_type: bytes | None) -> None:
    """Errors: BadRequest 415, for a body that says it is something else."""
    if content_type is None or content_type == b"application/json":
        return
    media = content_type.split(b";", 1)[0].strip().lower()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        shown = media[:80].decode("latin-1")
        raise BadRequest(
            415,
            "not-json",
            f"send the body as JSON, with 'Content-Type: application/json'; this is {shown!r}",
        )


def invalid(errors: Sequence[FieldError]) -> BadRequest:
    """422 with these fields; the detail repeats the first ones for those who read only that."""
    detail = "; ".join(f"{error.field}: {error.detail}" for error in errors[:3])
    if len(errors) > 3:
        detail += f"; and {len(errors) - 3} more"
    return BadRequest(422, "invalid-fields", detail, errors)


class _Contradiction(Exception):
    """Each field is fine, together they are not."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.errors = [FieldError(field, detail)]


def _submission(given: MessageIn) -> Submission:
    data = None if given.data is None else bytes.fromhex(given.data)
    if (given.text is None) == (data is None):
        raise _Contradiction("text", "give either text or data, and not both")
    return Submission(
        given.to,
        given.sender,
        given.text,
        data,
        given.encoding or "auto",
        given.validity_s,
        0 if given.send_at is None else round(given.send_at.timestamp() * 1000),
        given.priority,
        given.message_class or "transactional",
        given.tags or (),
        given.callback_url or "",
        given.client_ref or "",
        given.receipt,
        smart_encoding=given.smart_encoding,
    )


def _array(body: bytes) -> bytes | msgspec.Raw:
    """The JSON text of the list. Errors: BadRequest."""
    if body.lstrip(b" \t\r\n")[:1] == b"[":
        return body
    try:
        given = _raw_object.decode(body)
    except _MALFORMED as error:
        raise _not_an_object(body, error, "a list of messages") from None
    if set(given) == {"messages"}:
        return given["messages"]
    errors = [unknown_field(name, ("messages",)) for name in given if name != "messages"]
    if "messages" not in given:
        errors.append(FieldError("messages", f"required: a list of 1 to {BATCH_MAX} messages"))
    raise invalid(errors)


def _raw_items(array: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _raw_list.decode(array)
    except _MALFORMED as error:
        if isinstance(error, msgspec.ValidationError):
            raise invalid([FieldError("messages", f"a list of 1 to {BATCH_MAX} messages")]) from None
        raise _malformed(error) from None


def _item(item: MessageIn | msgspec.Raw) -> Submission | BadRequest:
    try:
        return _submission(item) if isinstance(item, MessageIn) else read_one(bytes(item))
    except _Contradiction as error:
        return invalid(error.errors)
    except BadRequest as error:
        return error


# the second look


def _explain(
    body: bytes,
    error: Exception,
    known: Sequence[str] = tuple(_FIELDS),
    required: Sequence[str] = _REQUIRED,
) -> BadRequest:
    """Why `body` is no message: JSON itself, or each wrong field."""
    try:
        given = _raw_object.decode(body)
    except _MALFORMED as problem:
        wanted = "an object with at least to, from and text" if required else "an object with what changes"
        return _not_an_object(body, problem, wanted)
    errors = [found for name, value in given.items() if (found := _check(name, value, known)) is not None]
    errors += [FieldError(name, _FIELDS[name][1]) for name in required if name not in given]
    if not errors:  # the two looks disagree: say what the first one saw
        return BadRequest(422, "invalid-fields", reason(error))
    return invalid(errors)


def _check(name: str, value: msgspec.Raw, known: Sequence[str]) -> FieldError | None:
    if name in RESERVED:
        return FieldError(name, "not enabled: this name is reserved for a feature that is not there yet")
    if name not in known:
        return unknown_field(name, known)
    wanted, allowed = _FIELDS[name]
    try:
        msgspec.json.decode(value, type=wanted)
    except _MALFORMED as error:
        return FieldError(name, f"{allowed} ({reason(error)})")
    return None


def unknown_field(name: str, known: Sequence[str]) -> FieldError:
    near = difflib.get_close_matches(name[:64], known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return FieldError(name[:64], f"unknown field; {hint}Allowed: {', '.join(known)}")


def _not_an_object(body: bytes, error: Exception, wanted: str) -> BadRequest:
    if not body.strip():
        return BadRequest(400, "malformed-json", f"the body is empty; send {wanted}, as JSON")
    if isinstance(error, msgspec.ValidationError):
        return BadRequest(422, "invalid-fields", f"the body must be {wanted}")
    return _malformed(error)


def _malformed(error: Exception) -> BadRequest:
    return BadRequest(400, "malformed-json", f"the body is not JSON (UTF-8): {reason(error)}")


def reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    return str(error)[:200]
