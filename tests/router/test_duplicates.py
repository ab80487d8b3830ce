"""router.duplicates: the same message again is known within its window, and memory is bounded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.duplicates import Guard, key_of
from router.nouns import Message, Relay

NOW_MS = 1_790_000_000_000


def message(**fields: Any) -> Message:
    made = Message(
        1, 1, NOW_MS, "ACME", 5, 0, "447700900123", 0, "Hello", b"", 1, 1, 1, 1, 0, NOW_MS + 1, 1, "all"
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def reference(value: bytes) -> Relay:
    return Relay(tlvs=((0x0204, value),))


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "OTHER"},
        {"destination": "447700900124"},
        {"text": "Hello!"},
        {"text": "", "data": b"Hello"},
        {"udh": b"\x01\x00"},
        {"client_ref": "order 5"},
        {"relay": reference(b"\x00\x01")},
        {"relay": Relay(reference=7, total=2, index=1)},
    ],
)
def test_any_difference_in_what_is_said_to_whom_makes_another_message(fields: dict[str, Any]) -> None:
    assert key_of(message(**fields)) != key_of(message())
    assert key_of(message(**fields)) == key_of(message(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 99},
        {"accepted_ms": NOW_MS + 5000, "expires_ms": NOW_MS + 9000},
        {"priority": 3, "message_class": 0, "receipt": 0},
        {"tags": ("a",), "callback_url": "https://shop.example/"},
        {"send_at_ms": NOW_MS + 60_000},
        {"via": 1},
        {"relay": Relay(service_type="CMT", protocol_id=1, priority=2, shown=7, tlvs=((0x1400, b"v"),))},
    ],
)
def test_when_and_how_it_is_sent_makes_no_other_message(fields: dict[str, Any]) -> None:
    assert key_of(message(**fields)) == key_of(message())


def test_parts_of_long_messages_are_the_same_only_in_the_same_place_of_the_same_one() -> None:
    keys = {
        key_of(message(relay=Relay(reference=ref, total=3, index=index)))
        for ref in (1, 2)
        for index in (1, 2, 3)
    }
    assert len(keys) == 6


def test_fields_do_not_run_into_each_other() -> None:
    assert key_of(message(source="ab", destination="c")) != key_of(message(source="a", destination="bc"))
    assert key_of(message(text="ab", client_ref="")) != key_of(message(text="a", client_ref="b"))


def id_at(ms: int, n: int = 0) -> int:
    return ms << 20 | n


def test_the_same_is_known_for_the_window_and_not_longer() -> None:
    guard = Guard()
    guard.remember(b"key", id_at(NOW_MS), 60)
    assert guard.find(b"key", NOW_MS, 60) == id_at(NOW_MS)
    assert guard.find(b"key", NOW_MS + 59_999, 60) == id_at(NOW_MS)
    assert guard.find(b"key", NOW_MS + 60_000, 60) == 0
    assert guard.find(b"other", NOW_MS, 60) == 0


def test_a_later_one_takes_the_place_of_one_that_is_too_old() -> None:
    guard = Guard()
    guard.remember(b"key", id_at(NOW_MS), 60)
    guard.remember(b"key", id_at(NOW_MS + 61_000), 60)
    assert guard.find(b"key", NOW_MS + 62_000, 60) == id_at(NOW_MS + 61_000)


def test_what_was_not_stored_is_forgotten_and_nothing_else() -> None:
    guard = Guard()
    guard.remember(b"key", id_at(NOW_MS), 60)
    guard.forget(b"key", id_at(NOW_MS, 1))
    assert guard.find(b"key", NOW_MS, 60)
    guard.forget(b"key", id_at(NOW_MS))
    guard.forget(b"key", id_at(NOW_MS))
    assert not guard.find(b"key", NOW_MS, 60)


def test_memory_is_bounded_and_the_newest_half_is_always_known() -> None:
    guard = Guard(most=100)
    for n in range(1_000):
        guard.remember(b"%d" % n, id_at(NOW_MS, n), 3600)
        assert len(guard) <= 100
        assert all(guard.find(b"%d" % old, NOW_MS, 3600) for old in range(max(0, n - 49), n + 1))


def test_after_a_pause_what_is_too_old_is_let_go() -> None:
    guard = Guard()
    for n in range(10):
        guard.remember(b"%d" % n, id_at(NOW_MS, n), 60)
    guard.remember(b"later", id_at(NOW_MS + 3_600_000), 60)
    assert len(guard) == 1


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 5)), max_size=60),
    st.integers(1, 60),
)
def test_a_guard_agrees_with_a_list_of_everything(steps: list[tuple[int, int]], window_s: int) -> None:
    guard, everything, at_ms = Guard(), list[tuple[int, bytes]](), NOW_MS
    for n, (wait_ms, name) in enumerate(steps):
        at_ms += wait_ms
        key = b"%d" % name
        fits = [id for id, known in everything if known == key and at_ms - (id >> 20) < window_s * 1000]
        assert guard.find(key, at_ms, window_s) == (fits[-1] if fits else 0)
        if not fits:
            everything.append((id_at(at_ms, n), key))
            guard.remember(key, id_at(at_ms, n), window_s)
