"""What the service manager (systemd) is told: ready, how it goes, that it lives, reloading, stopping.

The messages of sd_notify(3), one datagram each, to the socket that NOTIFY_SOCKET names. The watchdog is fed
from the loop, and only while the committer moves: a loop that is blocked, or commits that never end, are
answered by systemd's WatchdogSec with a restart, which loses nothing.

Invariants: nothing here waits for, or fails by, a manager that is not there or does not read; without
NOTIFY_SOCKET nothing is done at all.

Deliberately not here: what stands still without a reason (gateway.watchdog), the unit file (ops/systemd).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from gateway.overview import CRITICAL, problems
from router.nouns import Phase

if TYPE_CHECKING:
    from gateway.app import Gateway

_STATUS_S = 5.0
_LONGEST_STATUS = 300
_FEEDS = 4  # while systemd's patience lasts


def notify(address: str, *lines: str) -> None:
    """One datagram to the manager's socket; `@name` is an abstract one. Nobody there: nothing happens."""
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ours:
        ours.setblocking(False)
        ours.sendto("\n".join(lines).encode(), name)


class Service:
    """`run` tells until it is cancelled. `address` "" (no manager): nothing is told."""

    def __init__(self, gateway: Gateway, address: str, watchdog_s: float) -> None:
        """`watchdog_s`: what WatchdogSec says; 0: it does not ask for signs of life."""
        self._gateway = gateway
        self._address = address
        self._watchdog_s = watchdog_s
        self._reloads = 0  # under way
        self._mark: tuple[int, int] = (-1, -1)
        self._accepted = (0.0, 0)  # at (s, messages) the last status was made

    @classmethod
    def of_environment(cls, gateway: Gateway, environment: Mapping[str, str]) -> Service:
        """As systemd starts us: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID."""
        usec = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_s = int(usec) / 1e6 if usec.isdigit() and meant else 0.0
        return cls(gateway, environment.get("NOTIFY_SOCKET", ""), watchdog_s)

    async def run(self) -> None:
        """From the moment the gateway is ready."""
        if not self._address:
            return
        self._accepted = (trio.current_time(), self._gateway.store.totals().accepted)
        self._tell("READY=1", f"STATUS={self.status()}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_how_it_goes)
            nursery.start_soon(self._say_stopping)
            if self._watchdog_s:
                nursery.start_soon(self._feed)

    @asynccontextmanager
    async def reloading(self) -> AsyncIterator[None]:
        """Around a reload that a signal asked for; several at a time are one."""
        self._reloads += 1
        if self._reloads == 1:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self._reloads -= 1
            if not self._reloads:
                self._tell("READY=1", f"STATUS={self.status()}")

    def status(self) -> str:
        """One line: how much is accepted, what waits, the worst problem."""
        gateway = self._gateway
        now, totals = trio.current_time(), gateway.store.totals()
        since, before = self._accepted
        self._accepted = (now, totals.accepted)
        rate = (totals.accepted - before) / (now - since) if now > since else 0.0
        waiting = sum(totals.messages[phase] for phase in (Phase.READY, Phase.DEFERRED, Phase.HELD))
        if gateway.stopping.is_set():
            return f"stopping; {totals.messages[Phase.LEASED]:,} in flight"
        wrong = problems(gateway)
        words = f"{rate:,.0f} accepted/s, {waiting:,} waiting"
        if wrong:
            critical = sum(one.severity == CRITICAL for one in wrong)
            words += f", {len(wrong)} problems ({critical} critical): {wrong[0].subject} {wrong[0].what}"
        return " ".join(words.split())[:_LONGEST_STATUS]

    def alive(self) -> bool:
        """Whether the committer has moved since this was asked last, or has nothing to do."""
        committer = self._gateway.committer
        before, self._mark = self._mark, (committer.ticks, committer.failures)
        return not committer.pending or self._mark != before

    async def _say_how_it_goes(self) -> None:
        while True:
            await trio.sleep(_STATUS_S)
            self._tell(f"STATUS={self.status()}")

    async def _say_stopping(self) -> None:
        await self._gateway.stopping.wait()
        self._tell("STOPPING=1", f"STATUS={self.status()}")

    async def _feed(self) -> None:
        while True:
            if self.alive():
                self._tell("WATCHDOG=1")
            await trio.sleep(self._watchdog_s / _FEEDS)

    def _tell(self, *lines: str) -> None:
        if self._address:
            notify(self._address, *lines)
