"""Silent sockets: who is told of, in what order, and that nobody is told of who has left."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from gateway.smpp_server.parking import Parking
from tests.gateway.smpp_server.listening import until
from tests.trio_case import trio_test

EVER = 1e9


class Lot:
    """A parking place; `pairs` are sockets (parked, its peer)."""

    def __init__(self) -> None:
        self.spoke: list[int] = []
        self.late: list[int] = []
        self.parking: Parking[int] = Parking(self._spoke, self.late.append)
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def _spoke(self, number: int) -> None:
        self.spoke.append(number)
        self.remove(number)

    def add(self, deadline: float = EVER) -> int:
        self.pairs.append(socket.socketpair())
        number = len(self.pairs) - 1
        self.parking.add(self.pairs[number][0].fileno(), deadline, number)
        return number

    def remove(self, number: int) -> None:
        self.parking.remove(self.pairs[number][0].fileno())

    def say(self, number: int) -> None:
        self.pairs[number][1].send(b"!")


@asynccontextmanager
async def lot() -> AsyncIterator[Lot]:
    made = Lot()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.parking.run)
            yield made
            nursery.cancel_scope.cancel()
    finally:
        made.parking.close()
        for pair in made.pairs:
            for end in pair:
                end.close()


@trio_test
async def test_who_speaks_is_told_of_and_nobody_else() -> None:
    async with lot() as here:
        first, second, third = (here.add() for _ in range(3))
        here.say(second)
        await until(lambda: here.spoke)
        here.say(first)
        await until(lambda: len(here.spoke) == 2)
        assert here.spoke == [second, first]
        assert len(here.parking) == 1
        here.pairs[third][1].close()
        await until(lambda: len(here.spoke) == 3)


@trio_test
async def test_any_number_may_speak_at_once() -> None:
    async with lot() as here:
        everybody = [here.add() for _ in range(200)]
        for number in everybody:
            here.say(number)
        await until(lambda: len(here.spoke) == 200)
        assert sorted(here.spoke) == everybody


@trio_test
async def test_who_is_taken_out_between_turns_is_not_told_of() -> None:
    async with lot() as here:
        everybody = [here.add() for _ in range(200)]
        for number in everybody:
            here.say(number)
        await until(lambda: here.spoke)
        left = sorted(set(everybody) - set(here.spoke))
        assert left
        for number in left[1:]:
            here.remove(number)
        await until(lambda: left[0] in here.spoke)
        await trio.testing.wait_all_tasks_blocked()
        assert not set(left[1:]) & set(here.spoke)


@trio_test(mock_clock=True)
async def test_deadlines_are_met_in_turn_and_who_is_late_is_no_longer_parked() -> None:
    async with lot() as here:
        now = trio.current_time()
        first, second, third = (here.add(now + seconds) for seconds in (10, 20, 20))
        here.remove(second)
        await trio.sleep(9.9)
        assert here.late == []
        await trio.sleep(0.2)
        assert here.late == [first]
        await trio.sleep(10)
        assert here.late == [first, third]
        assert len(here.parking) == 0


@trio_test(mock_clock=True)
async def test_hundreds_may_be_late_at_once() -> None:
    async with lot() as here:
        for _ in range(200):
            here.add(trio.current_time() + 10)
        await trio.sleep(10.1)
        assert here.late == list(range(200))


@trio_test(mock_clock=True)
async def test_who_comes_and_leaves_before_anybody_looked_ends_nothing() -> None:
    async with lot() as here:
        await trio.testing.wait_all_tasks_blocked()
        here.remove(here.add())
        await trio.testing.wait_all_tasks_blocked()
        late = here.add(trio.current_time() + 1)
        await trio.sleep(2)
        assert here.late == [late]
