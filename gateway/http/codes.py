"""Every problem code that the API answers: its status, what to do about it.

Codes are stable. docs/http-api.md has this list as a table, and tests hold both to each other and to what is
answered; a new code is a new line here.

Deliberately not here: which endpoint answers which (gateway.http.table), problems as JSON (problems.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Code(NamedTuple):
    status: int
    todo: str


_READ = "send what `detail` says; the request could not be read"
_ASK = "ask the operator"
_UNSENDABLE = "the message is well formed but cannot be sent so; `errors` names the field"
_WAIT = "wait for `Retry-After` seconds, then send it again"
_PAY = "the account cannot pay for it: top up, or wait for `Retry-After` seconds"
_PERIOD = "wait for `Retry-After` seconds: the day or the month is over then"
_FRAMING = "HTTP/1.1, chunked or with a length"
_SHORTER = "shorter header fields"
_UNKNOWN = "nothing there has that name or id, or it is not yours"

CODES: Mapping[str, Code] = {
    "malformed-json": Code(400, _READ),
    "bad-request": Code(400, _READ),
    "bad-chunk": Code(400, _READ),
    "bad-gzip": Code(400, _READ),
    "idempotency-key-needed": Code(400, "send a header `Idempotency-Key` of 1 to 255 visible characters"),
    "not-authenticated": Code(401, "send a valid key"),
    "insufficient-balance": Code(402, _PAY),
    "daily-cap-reached": Code(402, _PAY),
    "monthly-cap-reached": Code(402, _PAY),
    "operator-key-needed": Code(403, "this is for operators: send an operator's key"),
    "account-key-needed": Code(403, "messages are sent with an account's key"),
    "scope-needed": Code(403, "send a key whose role and scopes allow it; `detail` names the scope"),
    "account-suspended": Code(403, _ASK),
    "account-closed": Code(403, _ASK),
    "sender-not-allowed": Code(403, _ASK),
    "destination-not-allowed": Code(403, _ASK),
    "no-such-message": Code(404, _UNKNOWN),
    "no-such-mo": Code(404, _UNKNOWN),
    "no-such-account": Code(404, _UNKNOWN),
    "no-such-login": Code(404, _UNKNOWN),
    "no-such-key": Code(404, _UNKNOWN),
    "no-such-operator": Code(404, _UNKNOWN),
    "no-such-carrier": Code(404, _UNKNOWN),
    "no-such-endpoint": Code(404, _UNKNOWN),
    "no-such-subject": Code(404, _UNKNOWN),
    "nothing-to-trace": Code(404, _UNKNOWN),
    "not-found": Code(404, "GET / lists what there is"),
    "method-not-allowed": Code(405, "`Allow` has the methods that go"),
    "timeout": Code(408, "the request did not arrive in time; send it again"),
    "account-conflict": Code(
        409, "another account has it, or this one is closed for good; `errors` names the field, if one"
    ),
    "with-a-carrier": Code(409, "a carrier has it in hand: look at it again in a moment"),
    "already-sent": Code(409, "a carrier has it: what was sent cannot be taken back or changed"),
    "already-final": Code(409, "it has ended; look at the message"),
    "key-conflict": Code(409, "there are too many keys, or the account is closed for good"),
    "carrier-conflict": Code(409, "look at the carrier"),
    "callbacks-conflict": Code(409, "look at the account's callbacks; `detail` says what stands in the way"),
    "act-refused": Code(409, "look at what it is about; `detail` says what stands in the way"),
    "needs-restart": Code(409, "restart the gateway, or reload with `partial`"),
    "still-running": Code(
        409, "the request with this `Idempotency-Key` is under way: wait for `Retry-After`, ask again"
    ),
    "already-done": Code(409, "it was carried out; look at what it was about"),
    "body-too-large": Code(413, "fewer messages in one request"),
    "line-too-long": Code(413, "a shorter line"),
    "target-too-long": Code(414, "a shorter path and query"),
    "not-json": Code(415, "`Content-Type: application/json`"),
    "not-ndjson": Code(415, "`Content-Type: application/x-ndjson`, one JSON object a line"),
    "content-encoding": Code(415, "send the body as it is, or with `Content-Encoding: gzip`"),
    "expectation": Code(417, _FRAMING),
    "invalid-fields": Code(422, "correct the named fields"),
    "bad-config": Code(422, "correct the configuration file as `detail` says"),
    "idempotency-key-reused": Code(422, "another request had this `Idempotency-Key`: send a new one"),
    "no-number": Code(422, _UNSENDABLE),
    "not-a-number": Code(422, _UNSENDABLE),
    "unknown-country": Code(422, _UNSENDABLE),
    "impossible-length": Code(422, _UNSENDABLE),
    "number-type-not-allowed": Code(422, _UNSENDABLE),
    "bad-sender": Code(422, _UNSENDABLE),
    "no-route": Code(422, _UNSENDABLE),
    "no-margin": Code(422, _UNSENDABLE),
    "no-price": Code(422, _UNSENDABLE),
    "too-long": Code(422, _UNSENDABLE),
    "unencodable": Code(422, _UNSENDABLE),
    "no-content": Code(422, _UNSENDABLE),
    "bad-encoding": Code(422, _UNSENDABLE),
    "bad-validity": Code(422, _UNSENDABLE),
    "too-far-ahead": Code(422, _UNSENDABLE),
    "bad-callback-url": Code(422, _UNSENDABLE),
    "queue-full": Code(429, _WAIT),
    "daily-quota-reached": Code(429, _PERIOD),
    "monthly-quota-reached": Code(429, _PERIOD),
    "too-many-failures": Code(429, _WAIT),
    "too-many-questions": Code(429, _WAIT),
    "too-many-submits": Code(429, _WAIT),
    "too-many-traces": Code(429, "each ends by itself; ask again later"),
    "header-too-large": Code(431, _SHORTER),
    "too-many-headers": Code(431, _SHORTER),
    "internal": Code(500, "tell the operator; the gateway's log has the cause"),
    "transfer-encoding": Code(501, _FRAMING),
    "store-failed": Code(503, "the change could not be kept; tell the operator"),
    "store-full": Code(503, _WAIT),
    "route-down": Code(503, _WAIT),
    "shutting-down": Code(503, _WAIT),
    "search-unavailable": Code(503, _WAIT),
    "too-many-connections": Code(503, _WAIT),
    "http-version": Code(505, _FRAMING),
}
