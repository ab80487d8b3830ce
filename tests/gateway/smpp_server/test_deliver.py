"""The dates of receipts to bound customers."""

from __future__ import annotations

import pytest

from gateway.smpp_server.deliver import bodies
from router.nouns import Account, Event, EventKind, MessageState

SUBMITTED_MS = 1_760_000_030_000  # 2025-10-09T08:53:50Z
TOLD_MS = SUBMITTED_MS + 600_000


@pytest.mark.parametrize(
    ("done_ms", "shown"),
    [
        (0, b"done date:251009090350"),  # the carrier said nothing to believe: when it told us
        (SUBMITTED_MS + 370_000, b"done date:251009090000"),
        (SUBMITTED_MS - 50_000, b"done date:251009085350"),  # its dates have whole minutes
    ],
)
def test_a_receipt_says_when_the_carrier_was_done_and_never_before_the_submit(
    done_ms: int, shown: bytes
) -> None:
    event = Event(
        EventKind.RECEIPT, 1, 7, TOLD_MS, "ACME", "447700900123", MessageState.DELIVERED,
        accepted_ms=SUBMITTED_MS, done_ms=done_ms,
    )  # fmt: skip
    (body,) = bodies(event, Account(1, "acme", receipt_layout="seconds"), 0x34)
    assert shown in body
    assert b"submit date:251009085350" in body
