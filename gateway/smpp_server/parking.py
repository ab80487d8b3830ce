"""Sockets that have said nothing yet: any number of them, watched by two tasks.

A task, a session and buffers are made for a socket when its first octet comes. Until then it is an entry in
one selector, whose own descriptor is what trio waits for, so that a crowd that only connects costs next to
nothing.

Invariants: of a socket that was taken out nothing is told any more; deadlines are met in the order of
parking, up to _COARSE_S late; no more than _AT_ONCE are told of before everybody else has had a turn.

Deliberately not here: reading, closing, who they are (listener.py).
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

import trio

_AT_ONCE = 64
_COARSE_S = 0.05

T = TypeVar("T")


class Parking(Generic[T]):
    """`run` once; `spoke` and `late` are called with what was parked.

    `spoke`: there is something to read, or the peer has left. It is called again while that stays so and the
    socket is parked. `late`: its deadline has passed, and it is no longer parked.
    """

    def __init__(self, spoke: Callable[[T], None], late: Callable[[T], None]) -> None:
        self._spoke = spoke
        self._late = late
        self._selector = selectors.DefaultSelector()
        self._parked: dict[int, tuple[float, T]] = {}  # by descriptor, earliest deadline first
        self._some = trio.Event()

    def __len__(self) -> int:
        return len(self._parked)

    def add(self, descriptor: int, deadline: float, who: T) -> None:
        """`deadline` (trio's clock) is not before that of anybody parked earlier."""
        self._selector.register(descriptor, selectors.EVENT_READ)
        self._parked[descriptor] = (deadline, who)
        self._some.set()

    def remove(self, descriptor: int) -> None:
        """Before it is closed or read by somebody else."""
        del self._parked[descriptor]
        self._selector.unregister(descriptor)

    async def run(self) -> None:
        """Until cancelled; then everybody still parked is the caller's to remove and close."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._expire)

    def close(self) -> None:
        """After `run`, with nobody parked any more."""
        self._selector.close()

    async def _watch(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            ready = [(key.fd, self._parked[key.fd]) for key, _ in self._selector.select(0)]
            for first in range(0, len(ready), _AT_ONCE):
                for descriptor, place in ready[first : first + _AT_ONCE]:
                    if self._parked.get(descriptor) is place:
                        self._spoke(place[1])
                await trio.lowlevel.checkpoint()

    async def _expire(self) -> None:
        while True:
            while not self._parked:  # it may have left again before we get our turn
                self._some = trio.Event()
                await self._some.wait()
            earliest, _ = next(iter(self._parked.values()))
            await trio.sleep_until(max(earliest, trio.current_time() + _COARSE_S))
            now = trio.current_time()
            while due := [item for item in islice(self._parked.items(), _AT_ONCE) if item[1][0] <= now]:
                for descriptor, (_, who) in due:
                    self.remove(descriptor)
                    self._late(who)
                await trio.lowlevel.checkpoint()
