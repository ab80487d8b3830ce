"""Who failed to bind how often, who is locked out for it, and who did well before.

A failure counts for the pair (network, system_id) and for the network: an IPv4 address or the /64 of an IPv6
one (addresses.network_of). Too many in a row lock the pair, or the network for every system_id; each further
failure after a lock has ended locks again, until a success, or an hour without a failure, forgets them.
A success forgives what its own pair has failed, not what others on the same network have.

Invariants: a lock ends by itself at the time it was set to, whatever is tried meanwhile; the failures of a
spared peer lock neither it nor its network; every table has an end, where what happened longest ago goes
first, and one account cannot push another's good networks out.

Networks that never get as far as a bind are counted beside (strikes.py), and shown and released here.

Deliberately not here: who is spared, what a locked peer is answered (gate). What is remembered lasts as long
as the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from gateway.smpp_server.strikes import Strikes

KINDS = ("login", "address", "never_asked")  # a pair, a network, a network that never asked for a bind
DELAYS_S = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # before the answer to the first failure, the second…

_FORGET_S = 3_600.0
_ENTRIES = 16_384
_GOOD_S = 30 * 86_400.0
_GOOD_NETWORKS = 64

K = TypeVar("K", bound=Hashable)
Pair = tuple[str, str]  # (network, system_id)


class Lock(msgspec.Struct, frozen=True):
    """For operators. `system_id` "" stands for every one."""

    network: str
    system_id: str
    failures: int
    left_s: float


class Locks:
    """`failed` and `succeeded` after every verified bind, `left_s` before."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        pair_failures: int,
        network_failures: int,
        lock_s: float,
        entries: int = _ENTRIES,
    ) -> None:
        self._now = now
        self._pair_failures = pair_failures
        self._network_failures = network_failures
        self._lock_s = lock_s
        self._pairs: _Tallies[Pair] = _Tallies(now, entries)
        self._networks: _Tallies[str] = _Tallies(now, entries)
        self.strikes = Strikes(now, lock_s=lock_s, entries=entries)
        self._locked_pairs = self._locked_networks = 0  # ever

    def left_s(self, network: str, system_id: str) -> float:
        """Seconds until this pair may try again; 0 = now."""
        return max(self._pairs.left_s((network, system_id)), self._networks.left_s(network))

    def crowded(self, network: str, system_id: str) -> bool:
        """Whether this pair, spared or not, has failed as often as locks another."""
        return self._pairs.failures((network, system_id)) >= self._pair_failures

    def failed(self, network: str, system_id: str, *, spared: bool) -> tuple[float, bool]:
        """Count it. Returns (seconds to wait before the answer, whether this failure locked)."""
        pair = self._pairs.count((network, system_id))
        failures, locked = pair.failures, False
        if not spared:
            pair.charged += 1
            whole = self._networks.count(network)
            failures = max(failures, whole.failures)
            pair_locked = self._lock(pair, self._pair_failures)
            whole_locked = self._lock(whole, self._network_failures)
            self._locked_pairs += pair_locked
            self._locked_networks += whole_locked
            locked = pair_locked or whole_locked
        return DELAYS_S[min(failures, len(DELAYS_S)) - 1], locked

    def _lock(self, tally: _Tally, allowed: int) -> bool:
        now = self._now()
        if tally.failures < allowed or tally.until > now:
            return False
        tally.until = now + self._lock_s
        return True

    def succeeded(self, network: str, system_id: str) -> None:
        self._forgive((network, system_id))
        self.strikes.forget(network)

    def _forgive(self, pair: Pair) -> None:
        tally = self._pairs.drop(pair)
        if tally is not None and tally.charged:
            self._networks.forgive(pair[0], tally.charged)

    def status(self) -> list[Lock]:
        """The locks there are now, those that last longest first."""
        networks = self._networks.locked() + self.strikes.shut_out_now()
        whole = [Lock(network, "", failures, left) for network, failures, left in networks]
        pairs = [Lock(*pair, failures, left) for pair, failures, left in self._pairs.locked()]
        return sorted(whole + pairs, key=lambda lock: -lock.left_s)

    def counts(self) -> dict[str, tuple[int, int]]:
        """By kind (KINDS): locks there are now, locks there have been."""
        there = len(self._pairs.locked()), len(self._networks.locked()), len(self.strikes.shut_out_now())
        ever = self._locked_pairs, self._locked_networks, self.strikes.shut_outs
        return {kind: (now, count) for kind, now, count in zip(KINDS, there, ever, strict=True)}

    def release(self, network_or_system_id: str) -> int:
        """Forget the failures of a network or of a system_id. Returns how many locks ended by it."""
        ended = int(self.strikes.forget(network_or_system_id))
        pairs = [pair for pair in self._pairs if network_or_system_id in pair]
        for pair in pairs:
            ended += self._pairs.left_s(pair) > 0
            self._forgive(pair)
        ended += self._networks.left_s(network_or_system_id) > 0
        self._networks.drop(network_or_system_id)
        return ended


class _Tally:
    """Failures in a row. `charged`: those of a pair that count for its network too."""

    __slots__ = ("charged", "failures", "last", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.charged = 0
        self.last = 0.0
        self.until = 0.0


class _Tallies(Generic[K]):
    """At most so many, forgotten after an hour's peace; the one that failed longest ago makes room."""

    def __init__(self, now: Callable[[], float], entries: int) -> None:
        self._now = now
        self._entries = entries
        self._by_key: OrderedDict[K, _Tally] = OrderedDict()

    def __iter__(self) -> Iterator[K]:
        return iter(self._by_key)

    def _get(self, key: K) -> _Tally | None:
        tally = self._by_key.get(key)
        if tally is not None and self._now() - max(tally.last, tally.until) > _FORGET_S:
            del self._by_key[key]
            return None
        return tally

    def count(self, key: K) -> _Tally:
        tally = self._get(key)
        if tally is None:
            if len(self._by_key) >= self._entries:
                self._by_key.popitem(last=False)
            tally = self._by_key[key] = _Tally()
        else:
            self._by_key.move_to_end(key)
        tally.failures += 1
        tally.last = self._now()
        return tally

    def failures(self, key: K) -> int:
        tally = self._get(key)
        return tally.failures if tally is not None else 0

    def left_s(self, key: K) -> float:
        tally = self._get(key)
        return max(0.0, tally.until - self._now()) if tally is not None else 0.0

    def drop(self, key: K) -> _Tally | None:
        return self._by_key.pop(key, None)

    def forgive(self, key: K, failures: int) -> None:
        """Take so many off; a lock that was set for them stays until its end."""
        tally = self._get(key)
        if tally is None:
            return
        tally.failures = max(0, tally.failures - failures)
        if not tally.failures and tally.until <= self._now():
            del self._by_key[key]

    def locked(self) -> list[tuple[K, int, float]]:
        """(key, failures, seconds left) of each that is locked."""
        now = self._now()
        return [
            (key, tally.failures, tally.until - now)
            for key, tally in self._by_key.items()
            if tally.until > now
        ]


class GoodNetworks:
    """From where each account showed a right password within 30 days: at most 64 networks of each."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._by_account: dict[int, OrderedDict[str, float]] = {}

    def add(self, account_id: int, network: str) -> None:
        networks = self._by_account.setdefault(account_id, OrderedDict())
        networks[network] = self._now()
        networks.move_to_end(network)
        if len(networks) > _GOOD_NETWORKS:
            networks.popitem(last=False)

    def has(self, account_id: int, network: str) -> bool:
        networks = self._by_account.get(account_id)
        seen = networks.get(network) if networks is not None else None
        return seen is not None and self._now() - seen <= _GOOD_S

    def remembered(self) -> list[tuple[int, str, float]]:
        """(account id, network, seconds since) of all, to be written down over a restart."""
        now = self._now()
        return [
            (account, network, now - seen)
            for account, networks in self._by_account.items()
            for network, seen in networks.items()
        ]

    def remember(self, rows: Iterable[tuple[int, str, float]]) -> None:
        """What `remembered` told an earlier process."""
        now = self._now()
        for account, network, since_s in sorted(rows, key=lambda row: -row[2]):
            networks = self._by_account.setdefault(account, OrderedDict())
            networks[network] = now - since_s

    def any_has(self, network: str) -> bool:
        """Whether it is good for some account."""
        return any(self.has(id, network) for id in self._by_account)

    def keep(self, account_ids: Collection[int]) -> None:
        """Forget every other account."""
        for gone in self._by_account.keys() - account_ids:
            del self._by_account[gone]
