"""Replies that an answer to an inbound message starts: when it is settled, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.callbacks.replies import MOST_A_MINUTE, Replies
from gateway.door import Accepted, Refusal, Submission
from router.nouns import Account, Event, EventKind
from store.interface import OutboxRow
from tests.gateway.house import accepted

ACCOUNT = Account(7, "shop", callback_format="twilio")
TWIML = b"<Response><Message>Thanks</Message></Response>"
TWO = b"<Response><Message>One</Message><Message>Two</Message></Response>"


class Door:
    """Takes what `verdict` lets it."""

    def __init__(self) -> None:
        self.verdicts: list[Refusal | None] = []
        self.asked: list[Submission] = []

    def submit(
        self,
        account: Account,
        requests: Sequence[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
        before: Any = None,
    ) -> None:
        self.asked += requests
        done([self._one() for _ in requests])

    def _one(self) -> Accepted | Refusal:
        refusal = self.verdicts.pop(0) if self.verdicts else None
        return refusal or accepted(1, "12345", "447700900001")


class Outbox:
    def __init__(self) -> None:
        self.done: list[OutboxRow] = []

    def add_outbox_done(self, rows: Sequence[OutboxRow]) -> None:
        self.done += rows


class House:
    def __init__(self) -> None:
        self.door, self.outbox = Door(), Outbox()
        self.now = 0.0
        self.replies = Replies(self.door, self.outbox, lambda: self.now)
        self.settled: list[bool] = []

    def answer(self, body: bytes = TWIML, handset: str = "447700900001") -> bool:
        event = Event(EventKind.MO, 7, 9, 1, handset, "12345", text="Hello")
        return self.replies(ACCOUNT, OutboxRow(1, 1, event), body, self.settled.append)


def refusal(status: int) -> Refusal:
    return Refusal(status, "no", "", "no")


def test_a_reply_goes_back_to_the_handset_and_settles_it() -> None:
    house = House()
    assert house.answer()
    (one,) = house.door.asked
    assert (one.to, one.sender, one.text) == ("447700900001", "12345", "Thanks")
    assert (house.settled, house.outbox.done) == ([True], [])


@pytest.mark.parametrize("status", [429, 503])
def test_what_is_refused_for_now_is_told_and_answered_again(status: int) -> None:
    house = House()
    house.door.verdicts = [refusal(status)]
    assert house.answer()
    assert (house.settled, house.outbox.done) == ([False], [])


def test_what_is_refused_for_good_is_done_with() -> None:
    house = House()
    house.door.verdicts = [refusal(422)]
    assert house.answer()
    assert (house.settled, len(house.outbox.done)) == ([True], 1)


def test_one_of_two_that_is_accepted_settles_it() -> None:
    house = House()
    house.door.verdicts = [refusal(503), None]
    assert house.answer(TWO)
    assert house.settled == [True]


def test_two_machines_do_not_talk_for_ever() -> None:
    house = House()
    assert [house.answer() for _ in range(MOST_A_MINUTE + 2)] == [True] * MOST_A_MINUTE + [False] * 2
    assert len(house.door.asked) == MOST_A_MINUTE
    assert house.answer(handset="447700900002"), "others are not held up"
    house.now += 60
    assert house.answer()
