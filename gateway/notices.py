"""What the gateway notices or decides by itself, as entries of the event log (store.notices).

`KINDS` is the closed list of what an entry may be; the gateway's log, `signalbox events`, GET /v1/events and
the metrics tell of the same ones.

Deliberately not here: keeping them (store.notices), what people do (gateway.audit), the decisions themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.admin_shapes import iso
from store.interface import Notice, NoticeRow

KINDS: dict[str, str] = {
    "carrier.opened": "taken out by its circuit breaker",
    "carrier.half_open": "tried again with a few messages",
    "carrier.closed": "takes messages again as usual",
    "carrier.would_open": "bad enough to be taken out, and was not",
    "carrier.no_bind": "lost its last bind, or has none since the start",
    "carrier.bound": "has a bind again",
    "carrier.slowed": "sent less than is configured, because of how it answers",
    "carrier.full_rate": "sent as much as is configured again",
    "carrier.resumed": "a suspension by an operator ended by itself",
    "order.ended": "what an operator ordered for a time ended by itself",
    "carrier.maintenance": "a maintenance window began",
    "carrier.maintained": "a maintenance window ended",
    "carrier.country_opened": "left out for one country by its circuit breaker",
    "carrier.country_half_open": "tried again with a few messages to that country",
    "carrier.country_closed": "takes messages to that country again as usual",
    "carrier.country_bad": "bad for one country, and was not left out for it",
    "carrier.country_good": "good again for that country",
    "carrier.false_receipts": "its receipts look made up",
    "carrier.worse": "worse than in the same hour a week ago",
    "key.wrong_address": "a key was used from an address that it may not be used from",
    "key.revoked_used": "a key was used after it was revoked, or replaced",
    "key.expired": "a key was used after its end",
    "key.over_scope": "a key was used for what it, or its role, may not",
    "sign_in.locked": "too many wrong passwords or codes of people: locked for a while",
    "callbacks.gone": "its callback URL said 410 Gone, and is not called any more",
    "callbacks.failing": "a callback endpoint is tried only now and then: its circuit breaker opened",
    "callbacks.well": "its callback endpoints take events again",
    "session.lost": "a customer's SMPP session ended by a time-out or an error",
    "probe.failed": "a test message was not delivered in time",
    "probe.passed": "a test message was delivered again",
    "account.low_balance": "an account's balance fell below what it is told at",
}


def notice(
    at_ms: int,
    kind: str,
    subject: str,
    text: str,
    figures: Mapping[str, Any] | None = None,
    *,
    warning: bool = False,
) -> Notice:
    """One entry. `kind` is of KINDS; `subject` is kind:name."""
    assert kind in KINDS, kind
    return Notice(at_ms, kind, subject, text, dict(figures or {}), warning)


def notice_view(row: NoticeRow) -> dict[str, object]:
    """Plain JSON values; times ISO 8601 UTC."""
    one = row.notice
    return {
        "number": row.number,
        "at": iso(one.at_ms),
        "kind": one.kind,
        "subject": one.subject,
        "warning": one.warning,
        "text": one.text,
        "figures": one.figures,
    }
