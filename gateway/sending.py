"""How fast what accounts have accepted may leave: an account's own limits at the sending side.

`tps` of an account is what it may submit; `send_tps`, `send_per_minute`, `send_per_hour` and `send_per_day`
are what carriers may take of it, in segments, over all lanes. An account at its limit has no turn until some
of it is free again, so it stands in front of nobody (store.active). It is counted when a carrier leases.

Invariants: accounts without such limits cost nothing; each account that waits costs its queues, never its
backlog.

Deliberately not here: turns among accounts (router.turns), what was spent before a restart (gateway.spent).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from functools import partial

import structlog
import trio

from gateway.committer import Committer
from gateway.spent import Spent
from router.nouns import Account
from router.throttle import UNLIMITED, Limits, Throttle
from store.interface import StoreError, Transaction

log = structlog.get_logger("sending")

_BREATH_S = 0.005  # accounts that are free again within so long go together
_BURST_S = 0.02  # of send_tps: what may come at once, so that the rate is reached


class Sending:
    """store.interface.Paced. `accounts` is read again with each `rebuild`."""

    def __init__(self, accounts: Mapping[int, Account], committer: Committer, spent: Spent) -> None:
        self._committer = committer
        self._spent = spent
        self._limits: dict[int, Throttle] = {}
        self._waiting: dict[int, float] = {}  # accounts without a turn → until when
        self._heap: list[tuple[float, int]] = []
        self._wake = trio.Event()
        self.rebuild(accounts)

    def __bool__(self) -> bool:
        """Whether any account has such limits."""
        return bool(self._limits)

    @property
    def waiting(self) -> bool:
        """Whether some account has no turn now."""
        return bool(self._waiting)

    def rebuild(self, accounts: Mapping[int, Account]) -> None:
        """Accounts have changed: limits change in place, what was taken still counts."""
        limited: dict[int, Throttle] = {}
        for account in accounts.values():
            horizons = Limits(account.send_per_minute, account.send_per_hour, account.send_per_day)
            if account.closed or not (account.send_tps or any(horizons)):
                continue
            burst = max(1, math.ceil(account.send_tps * _BURST_S))
            throttle = self._limits.get(account.id)
            if throttle is None:
                throttle = Throttle(account.send_tps, burst, horizons)
                self._spent.keep(f"account:{account.id}", throttle)
            else:
                throttle.change(account.send_tps, burst, horizons)
            limited[account.id] = throttle
        self._limits = limited
        now = trio.current_time()
        for account_id in self._waiting:  # perhaps more is allowed now
            self._wait(account_id, now)

    # store.interface.Paced

    def left(self, account: int) -> int:
        """Segments that carriers may lease of it now."""
        throttle = self._limits.get(account)
        return UNLIMITED if throttle is None else throttle.available(trio.current_time())

    def took(self, account: int, segments: int) -> None:
        """So many were leased, or will be by the transaction under way."""
        throttle = self._limits.get(account)
        if throttle is not None:
            throttle.take(segments, trio.current_time())

    def paused(self, account: int) -> None:
        """It has no turn any more, until `resume_paced`."""
        now = trio.current_time()
        throttle = self._limits.get(account)
        self._wait(account, now if throttle is None else throttle.next_at(1, now))

    def _wait(self, account: int, until: float) -> None:
        self._waiting[account] = until
        heapq.heappush(self._heap, (until, account))
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: who waited long enough has turns again."""
        task_status.started()
        while True:
            wait_s = self._heap[0][0] - trio.current_time() if self._heap else math.inf
            self._wake = trio.Event()
            if wait_s > 0:
                with trio.move_on_after(max(wait_s, _BREATH_S)):
                    await self._wake.wait()
                    continue
            due = self._due(trio.current_time())
            if due:
                try:
                    await self._committer.execute(partial(_resume, due))
                except StoreError as error:
                    log.error("accounts wait longer", error=str(error), hint=error.hint)
                    await trio.sleep(1)
                    for account in due:
                        self._wait(account, trio.current_time())

    def _due(self, now: float) -> list[int]:
        due: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            until, account = heapq.heappop(self._heap)
            if self._waiting.get(account) == until:
                del self._waiting[account]
                due.append(account)
        return due


def _resume(accounts: list[int], txn: Transaction) -> None:
    txn.resume_paced(accounts)
