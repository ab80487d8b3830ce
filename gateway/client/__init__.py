"""A small client of the HTTP API, typed, for programs that wait (`Signalbox`) and for trio (`TrioSignalbox`).

    from gateway.client import Signalbox

    with Signalbox("http://127.0.0.1:8080", "sbk_…") as signalbox:
        sent = signalbox.send("+447700900123", "ACME", "Your code is 123456", message_class="otp")
        print(sent.id, signalbox.message(sent.id).state)

Both try again what is to be tried again: a connection that broke, 429 and 503, after Retry-After. Each submit
carries an Idempotency-Key of its own, so that trying again never sends twice. Whatever is refused for good is
a `Refused` with the problem's code, detail and fields. `verify` checks a callback's signature.

Deliberately not here: the operators' part of the API, which `signalbox` commands and the console do.
"""

from gateway.client.calls import Refused
from gateway.client.clients import Signalbox, TrioSignalbox, Unreachable
from gateway.client.types import Accepted, Balance, Inbound, Message, Preview, Problem, Row
from gateway.client.webhooks import BadSignature, verify

__all__ = [
    "Accepted", "BadSignature", "Balance", "Inbound", "Message", "Preview", "Problem", "Refused", "Row",
    "Signalbox", "TrioSignalbox", "Unreachable", "verify",
]  # fmt: skip
