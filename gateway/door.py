"""The single door: every message, from whatever edge, enters through `submit()`.

account → policy → plan (number, encoding, route, lane) → COMMIT A → answer. Every request ends as
`Accepted`, after the commit, or as `Refusal`, which names the field and what is allowed.

Deliberately not here: HTTP or SMPP vocabulary (the edges translate), sending, I/O.
"""

from __future__ import annotations

import msgspec


class Submission(msgspec.Struct, gc=False):
    """One message as an edge hands it in. Texts are str, `data` is bytes; one of the two is None."""

    to: str
    sender: str
    text: str | None = None
    data: bytes | None = None
    encoding: str = "auto"  # auto | gsm7 | latin1 | ucs2 | binary
    validity_s: int | None = None
    send_at_ms: int = 0
    priority: int | None = None  # 0..3, 3 first; None = by class
    message_class: str = "transactional"  # otp | transactional | promotional | bulk
    tags: tuple[str, ...] = ()
    callback_url: str = ""
    client_ref: str = ""
    receipt: str | None = None  # none | final | all; None = the account's default


class Accepted(msgspec.Struct, gc=False):
    """Fsynced. `state` is a MessageState, `encoding` an Encoding."""

    id: int
    state: int
    segments: int
    encoding: int
    source: str
    destination: str
    send_at_ms: int
    expires_ms: int


class Refusal(msgspec.Struct, gc=False):
    """Not accepted, nothing stored. `status` is the HTTP status that fits; `code` a stable word."""

    status: int
    code: str
    field: str
    detail: str
    retry_after_s: float = 0
