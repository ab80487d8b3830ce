"""Rows of the outbox over an account's sessions: whose turn it is, what a commit and a read bring together.

Deliberately not here: what is written (test_deliver), whole customers (test_server, test_mo).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smpp_server import deliveries
from gateway.smpp_server.deliver import short
from gateway.smpp_server.deliveries import Deliveries, Port
from router.nouns import Account, Event, EventKind, MessageState
from smpp.codec import encode
from smpp.constants import CommandId
from smpp.pdu import BindReceiver
from smpp.session import Role, Session, SessionSettings
from smpp.status import Status
from store.interface import FreshRow, OutboxRow
from tests.trio_case import trio_test

NOW_MS = 1_760_000_030_000
DELIVER_SM = int(CommandId.DELIVER_SM)


class Receiver:
    """A bound session that sends nowhere."""

    def __init__(self, window: int) -> None:
        bind = BindReceiver(system_id=b"u", interface_version=0x34, sequence_number=1)
        self.session = Session(Role.SMSC, SessionSettings(window=window), 0.0)
        self.session.receive(encode(bind), 0.0)
        self.session.accept_bind()
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1

    def got(self) -> list[int]:
        """The rows under way there, by number."""
        return [context.seq for context in self.session.unanswered() if isinstance(context, FreshRow)]


class Outbox:
    """A store's outbox and what was committed of it."""

    def __init__(self) -> None:
        self.on_commit: list[Any] = []
        self.fresh: Sequence[FreshRow] = []
        self.kept: list[OutboxRow] = []
        self.done: list[int] = []
        self.retried: list[int] = []
        self.given_up: list[int] = []
        self.store: Any = SimpleNamespace(
            watch_events=lambda: None,
            take_fresh_events=self._take,
            outbox_page=self._page,
            outbox_endpoints=dict,
            has_event=lambda row: False,
        )

    def _take(self) -> dict[int, list[FreshRow]]:
        fresh, self.fresh = sorted(self.fresh, key=attrgetter("endpoint")), []
        return {endpoint: list(rows) for endpoint, rows in groupby(fresh, attrgetter("endpoint"))}

    def _page(self, endpoint: int, after: int, limit: int) -> list[OutboxRow]:
        return [row for row in self.kept if row.endpoint == endpoint and row.seq > after][:limit]

    def add_outbox_done(self, rows: Sequence[FreshRow]) -> None:
        self.done += [row.seq for row in rows]

    def add_outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        self.retried += [row.seq for row in rows]

    def add_outbox_given_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None:
        self.given_up += [row.seq for row in rows]


def row(seq: int, message: int = 0, endpoint: int = 5, final: bool = True) -> OutboxRow:
    state = MessageState.DELIVERED if final else MessageState.ENROUTE
    event = Event(
        EventKind.RECEIPT, endpoint - 4, message or seq, NOW_MS, "ACME", "447700900123", state, final=final
    )
    return OutboxRow(endpoint, seq, event)


def joined(windows: Sequence[int], account: int = 1) -> tuple[Deliveries, Port, list[Receiver], Outbox]:
    """An account with a bound receiver of each window, up to date."""
    outbox = Outbox()
    world: Any = SimpleNamespace(wall_ms=lambda: NOW_MS)
    deliveries = Deliveries(outbox, world, lambda id: None)
    receivers = [Receiver(window) for window in windows]
    for receiver in receivers:
        port = deliveries.join(Account(account, "acme"), receiver)
    return deliveries, port, receivers, outbox


@trio_test(mock_clock=True)
async def test_receivers_take_turns_as_far_as_their_windows_have_room() -> None:
    deliveries, port, receivers, _ = joined([2, 1, 3])
    port.ready.extend(row(seq) for seq in (1, 2))
    deliveries.pump(port)
    assert [one.got() for one in receivers] == [[1], [2], []]
    port.ready.extend(row(seq) for seq in range(3, 9))
    deliveries.pump(port)
    assert [one.got() for one in receivers] == [[1, 4], [2], [3, 5, 6]]
    assert [one.seq for one in port.ready] == [7, 8]
    assert port.in_flight == 6


@trio_test(mock_clock=True)
async def test_a_long_text_among_receipts_takes_the_room_it_needs() -> None:
    deliveries, port, (receiver,), _ = joined([4])
    long = OutboxRow(5, 2, Event(EventKind.MO, 1, 2, NOW_MS, "447700900123", "12345", text="x" * 400))
    port.ready.extend([row(1), long, row(3)])
    deliveries.pump(port)
    assert receiver.got() == [1]
    assert receiver.session.outstanding == 4
    assert [one.seq for one in port.ready] == [3]


@trio_test(mock_clock=True)
async def test_a_commit_brings_each_port_its_rows_in_order_and_none_twice() -> None:
    deliveries, port, (receiver,), outbox = joined([9])
    other = Receiver(9)
    deliveries.join(Account(2, "other"), other)
    port.cursor = 2
    outbox.fresh = [row(seq, endpoint=5 + seq % 2) for seq in range(1, 8)] + [row(8, endpoint=99)]
    deliveries.on_commit()
    assert receiver.got() == [4, 6]
    assert other.got() == [1, 3, 5, 7]
    assert port.cursor == 6
    assert not port.behind


@trio_test(mock_clock=True)
async def test_what_a_port_has_no_room_for_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "_READY_MOST", 3)
    handed, port, (receiver,), outbox = joined([4])
    outbox.kept = [row(seq) for seq in range(1, 9)]
    outbox.fresh = outbox.kept[:6]
    handed.on_commit()
    assert receiver.got() == [1, 2, 3, 4]
    assert [one.seq for one in port.ready] == [5, 6, 7, 8]
    outbox.fresh = [*outbox.kept[6:], row(9)]
    outbox.kept.append(row(9))
    handed.on_commit()
    assert [one.seq for one in port.ready] == [5, 6, 7, 8]
    assert port.behind


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.booleans(), st.sampled_from([0, 0, 0, -86_400_000])), max_size=20
    ),
    st.lists(st.integers(0, 12), min_size=1, max_size=3),
    st.sampled_from([0, 0, 3]),
    st.lists(st.integers(0, 12), max_size=6),
)
def test_receipts_that_a_commit_hands_over_go_as_those_that_are_read(
    drawn: list[tuple[int, bool, int]], windows: list[int], rate: int, answered: list[int]
) -> None:
    @trio_test(mock_clock=True)
    async def compare() -> None:
        seen = []
        for fresh in (True, False):
            deliveries, port, receivers, outbox = joined(windows)
            account = Account(1, "acme", deliver_rate=rate, deliver_expiry_s=3600)
            deliveries.change(account)
            rows: list[FreshRow] = []
            for seq, (message, final, later_ms) in enumerate(drawn, 1):
                rows.append(row(seq, message, final=final))
                rows[-1].whole().event.at_ms += later_ms
            outbox.fresh = list(map(short, rows)) if fresh else rows  # type: ignore[arg-type]
            deliveries.on_commit()
            told = []
            for number in answered:
                session = receivers[number % len(receivers)].session
                contexts = session.unanswered()[:number]
                for waiting in list(session._window.in_flight)[:number]:
                    session._window.take(waiting)
                done: list[FreshRow] = []
                deliveries.answered_all(port, [(one, 0.1, b"") for one in contexts], done)
                deliveries.finish(port, done)
                told.append([one.seq for one in done])
            written = [receiver.session.data_to_send() for receiver in receivers]
            kept = [(one.seq, one.whole().event) for one in port.ready]
            parked = {id: [one.seq for one in some] for id, some in port.parked.items()}
            went = outbox.done, outbox.retried, outbox.given_up, port.delivered
            under_way = [receiver.got() for receiver in receivers], port.busy, port.turn % len(windows)
            seen.append((told, written, kept, parked, went, under_way))
        assert seen[0] == seen[1]

    compare()


@given(
    st.lists(st.sampled_from([0, 0, 0, int(Status.ESME_RX_T_APPN), int(Status.ESME_RX_P_APPN)]), max_size=12),
    st.sets(st.integers(1, 12)),
    st.sets(st.integers(1, 12)),
)
def test_answers_of_one_read_are_those_one_by_one(
    statuses: list[int], intermediate: set[int], again: set[int]
) -> None:
    @trio_test(mock_clock=True)
    async def compare() -> None:
        seen = []
        for together in (True, False):
            deliveries, port, (receiver,), outbox = joined([20])
            rows = [row(seq, final=seq not in intermediate) for seq in range(1, len(statuses) + 1)]
            port.ready.extend(rows)
            port.ready.extend(row(20 + seq, message=seq) for seq in again)
            deliveries.pump(port)
            port.refusals = 3
            answers = list(zip(rows, statuses, strict=True))
            done: list[FreshRow] = []
            for status, some in groupby(answers, key=lambda answer: answer[1]):
                if together and not status:
                    deliveries.answered_all(port, [(one, 0.1, b"") for one, _ in some], done)
                else:
                    for one, _ in some:
                        deliveries.answered(port, one, status, done)
            told = outbox.done, outbox.retried, outbox.given_up
            left = port.busy, port.later, port.overtaken, list(port.parked), port.in_flight
            counts = port.refusals, port.delivered, port.refused, port.retried, port.paused_until
            waiting = [one.seq for one in port.ready]
            seen.append(([one.seq for one in done], told, left, counts, waiting, receiver.got()))
        assert seen[0] == seen[1]

    compare()
