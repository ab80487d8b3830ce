"""The JSON of events, and ids that stay the same over attempts."""

from __future__ import annotations

import msgspec
import pytest

from gateway.callbacks.formats.standard import batch_id, event_id, render_batch, render_one
from router.nouns import Relay
from tests.gateway.callbacks.outside import event

BIG = 2**63 - 1


def test_a_receipt_says_what_became_of_the_message() -> None:
    body = msgspec.json.decode(
        render_one(event(BIG, error="000", reason=12, client_ref="r", tags=("a", "b")))
    )
    assert body == {
        "id": f"rcpt_{BIG}_2_1760000000000",
        "type": "message.receipt",
        "timestamp": "2025-10-09T08:53:20.000Z",
        "data": {
            "message_id": str(BIG),
            "state": "DELIVERED",
            "final": True,
            "reason": "RECEIPT",
            "error": "000",
            "from": "447700900001",
            "to": "447700900123",
            "segments": 1,
            "client_ref": "r",
            "tags": ["a", "b"],
            "part": None,
            "done_at": None,
            "cause": None,
        },
    }


def test_a_receipt_says_why_in_our_words_beside_the_carriers_code() -> None:
    data = msgspec.json.decode(render_one(event(5, state=5, error="027", cause="absent_subscriber")))["data"]
    assert (data["state"], data["error"], data["cause"]) == ("UNDELIVERABLE", "027", "absent_subscriber")


def test_a_received_text_names_the_message_it_answers() -> None:
    body = msgspec.json.decode(
        render_one(event(5, kind=1, text="STOP ✓", encoding=2, in_reply_to=BIG, segments=2))
    )
    assert body["id"] == "mo_5"
    assert body["type"] == "message.received"
    assert body["data"] == {
        "message_id": "5",
        "from": "447700900001",
        "to": "447700900123",
        "encoding": "ucs2",
        "text": "STOP ✓",
        "data": None,
        "segments": 2,
        "in_reply_to": str(BIG),
        "kind": "message",
    }


@pytest.mark.parametrize(
    ("esm_class", "kind"),
    [
        (0x80, "message"),
        (0x08, "delivery_acknowledgement"),
        (0x90, "user_acknowledgement"),
        (0x18, "conversation_abort"),
    ],
)
def test_what_a_handset_acknowledges_is_told_apart_from_what_it_writes(esm_class: int, kind: str) -> None:
    data = msgspec.json.decode(render_one(event(5, kind=1, relay=Relay(esm_class=esm_class))))["data"]
    assert data["kind"] == kind


def test_received_bytes_are_hex() -> None:
    data = msgspec.json.decode(render_one(event(5, kind=1, data=b"\x00\xff", encoding=3)))["data"]
    assert (data["encoding"], data["text"], data["data"], data["in_reply_to"]) == (
        "binary",
        None,
        "00ff",
        None,
    )


def test_a_value_of_a_later_version_is_rendered_all_the_same() -> None:
    data = msgspec.json.decode(render_one(event(5, state=99, reason=99)))["data"]
    assert (data["state"], data["reason"]) == ("UNKNOWN", "NONE")


def test_an_attempt_does_not_change_the_id_but_what_is_told_does() -> None:
    first = event(5)
    assert event_id(first) == event_id(event(5, attempts=3, last_error="HTTP 500"))
    others = [
        event(6),
        event(5, state=5),
        event(5, at_ms=1),
        event(5, part=1),
        event(5, part=2),
        event(5, kind=1),
    ]
    assert len({event_id(one) for one in [first, *others]}) == 7


def test_a_batch_is_in_order_and_its_id_depends_on_its_events() -> None:
    events = [event(n) for n in range(3)]
    body = msgspec.json.decode(render_batch(events))
    assert [one["data"]["message_id"] for one in body["events"]] == ["0", "1", "2"]
    assert batch_id(events) == batch_id([event(n, attempts=2) for n in range(3)])
    assert batch_id(events) != batch_id(events[:2])
