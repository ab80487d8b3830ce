"""Whose queue is full: a recipient's, or the carrier's."""

from __future__ import annotations

from router.full_queues import FullQueues


def test_one_recipients_queue_is_not_the_carriers_however_often_it_is_said() -> None:
    full = FullQueues()
    assert not any(full.refused(at * 0.1, "447700900123", 0) for at in range(100))


def test_two_recipients_in_turns_are_not_the_carrier_either() -> None:
    full = FullQueues()
    assert not any(full.refused(at * 0.1, f"44770090012{at % 2}", 0) for at in range(100))


def test_the_third_recipient_in_a_row_says_that_it_is_the_carriers() -> None:
    full = FullQueues()
    assert [full.refused(0.1 * at, f"4477009001{at:02}", 7) for at in range(5)] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_refusals_among_many_that_were_accepted_are_their_recipients() -> None:
    full = FullQueues()
    assert not any(full.refused(at * 0.01, f"44770090{at:04}", at * 4) for at in range(1000))
    assert any(full.refused(10 + at * 0.01, f"44770090{at:04}", 5000 + at) for at in range(3))


def test_refusals_far_apart_say_nothing_of_the_carrier() -> None:
    full = FullQueues()
    assert not any(full.refused(at * 6.0, f"44770090{at:04}", 0) for at in range(100))


def test_what_is_remembered_is_bounded() -> None:
    full = FullQueues()
    for at in range(10_000):
        full.refused(0.0, str(at), 0)
    assert full.known <= 3
