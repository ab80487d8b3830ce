"""What the endpoints over admin verbs have in common: who acts, why, refusals as problems.

Deliberately not here: any endpoint (accounts.py, carriers.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from gateway.admin import AdminError
from gateway.audit import LONGEST_REASON, Actor, acting
from gateway.http.fields import check_json, invalid, read_object
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered
from gateway.http.routes import Respond
from store.interface import StoreError, StoreFull

PRIVATE: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

Act = Callable[[Request], Awaitable[Answered]]

log = structlog.get_logger("http")


def handler(
    act: Act, refused: Callable[[AdminError], BadRequest]
) -> Callable[[Request, Respond], Awaitable[None]]:
    """`act` done by whoever asks, its refusals as problems."""

    async def handle(request: Request, respond: Respond) -> None:
        try:
            reason = reason_of(request.headers.get(b"audit-reason"))
            with acting(Actor(request.caller.name, "http", reason)):
                answer = await act(request)
        except BadRequest as refusal:
            respond(*refusal.answer(request.path))
        except AdminError as error:
            respond(*refused(error).answer(request.path))
        except StoreError as error:
            respond(*not_kept(error).answer(request.path))
        else:
            respond(*answer)

    return handle


def body_of(request: Request, wanted: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The body's fields; what is null is left out. Errors: BadRequest."""
    if may_be_empty and not request.body.strip():
        return {}
    check_json(request.headers.get(b"content-type"))
    return {name: value for name, value in read_object(request.body, wanted).items() if value is not None}


def reason_of(header: bytes | None) -> str:
    """What an Audit-Reason header says, for the trail. Errors: BadRequest."""
    try:
        reason = (header or b"").decode()
    except UnicodeDecodeError:
        reason = "\0"
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        allowed = f"at most {LONGEST_REASON} printable characters, in UTF-8"
        raise invalid([FieldError("Audit-Reason", allowed)])
    return reason


def not_kept(error: StoreError) -> BadRequest:
    """503: the store has no room, or failed."""
    if isinstance(error, StoreFull):
        return BadRequest(503, "store-full", f"{error}; nothing was changed", headers=(("Retry-After", "5"),))
    log.error("change not kept", error=str(error), hint=error.hint)
    return BadRequest(503, "store-failed", "the change could not be kept; the gateway's log says why")
