"""Passwords: argon2id, hashed off the event loop, and not at all for one that was right before.

Those of customers, and, dearer and never remembered, those of people of the house (gateway.sign_in).

The parameters: an SMPP password has at most 8 characters (3.4 section 5.2.2), so no hash saves a chosen one
from an attacker who has the store, and locks (gateway.smpp_server.locks) stop guessing over the wire. The
hash has to make a drawn one (8 letters and digits, 47 bits) too dear to search for, and let 1,000 customers
bind within seconds after a restart, while traffic runs, on one core: a client that waits longer than its own
timeout comes back and asks again. 4 MiB × 2 passes take 3.8 ms: 1,000 binds cost 5 s of a core with all that
is around them (0.04 s when remembered), and a search through all drawn passwords 26,000 core-years. What
OWASP recommends at least for web logins with 7 MiB, 5 passes, would take more than 20 s.

A right password is remembered as a keyed BLAKE2b of (system_id, password) under a key that no other process
has, with the hash it verified against; it counts only while that hash is one of the login's. The same
question asked many times at once is hashed once. Verifications take turns: those of peers known to be good
come first, and each of the two queues has an end.

Invariants: a failure is never remembered; `check` of a wrong password, of an unknown login (no hashes) and of
a damaged hash take the same time; whoever waits for somebody else's verification gets its result, or asks
itself when the other gave up.

Deliberately not here: which hashes a login has, who waits in which queue, locks (gate, locks).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import string
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

import trio
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret

MOST_CHARACTERS = 8
MOST_VALID = 2  # passwords of one login at a time

_LONGEST_OF_AN_APP = 128
_OF_MD5 = "md5+"  # before a hash of a password's MD5
_DRAWN_FROM = string.ascii_letters + string.digits
_LEAST_OF_A_PERSON = 12
_LONGEST_OF_A_PERSON = 128
_OF_A_PERSON = {"passes": 2, "memory_kib": 19 * 1024}  # what OWASP recommends for web logins
_PASSES = 2
_MEMORY_KIB = 4 * 1024
_LANES = 1
_SALT_BYTES = 16
_HASH_BYTES = 32
_REMEMBERED = 20_000
_WAITING = 1_000
_SAMPLES = 16

Verify = Callable[[str, bytes], bool]
Verification = Callable[[], str | None]


class TooBusy(Exception):
    """The queue of waiting verifications is full."""


class NoLongerWanted(Exception):
    """When its turn came, nobody wanted the answer any more."""


def hash_password(password: bytes, passes: int = _PASSES, memory_kib: int = _MEMORY_KIB) -> str:
    """`$argon2id$v=19$m=…,t=…,p=…$salt$hash`, as `Login.hashes` has it. Takes milliseconds."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return hash_secret(password, salt, passes, memory_kib, _LANES, _HASH_BYTES, Type.ID).decode("ascii")


def hash_of_a_person(password: bytes) -> str:
    """The same, dearer: people sign in a few times a day, and choose passwords themselves."""
    return hash_password(password, **_OF_A_PERSON)


def hash_digest(digest: bytes) -> str:
    """The hash of a password of which there is only its MD5, as another gateway kept it: that goes on being
    right until it is changed."""
    return _OF_MD5 + hash_password(digest)


def password_problem(password: str) -> str:
    """Why it can be nobody's SMPP password; "" where it can."""
    if password.isascii() and password.isprintable() and 1 <= len(password) <= MOST_CHARACTERS:
        return ""
    return f"an SMPP password has 1 to {MOST_CHARACTERS} printable ASCII characters, SMPP 3.4 §5.2.2"


def app_password_problem(password: str) -> str:
    """Why it can be no app's password; "" where it can."""
    if password.isascii() and password.isprintable() and 1 <= len(password) <= _LONGEST_OF_AN_APP:
        return ""
    return f"an app's password has 1 to {_LONGEST_OF_AN_APP} printable ASCII characters"


def person_password_problem(password: str, name: str) -> str:
    """Why it can be no password of the operator `name`; "" where it can. Length is what counts
    (NIST SP 800-63B 3.1.1.2): nothing is asked of its characters."""
    if not _LEAST_OF_A_PERSON <= len(password) <= _LONGEST_OF_A_PERSON:
        return f"a password has {_LEAST_OF_A_PERSON} to {_LONGEST_OF_A_PERSON} characters; some words will do"
    if not password.isprintable():
        return "a password has printable characters only"
    plain = password.casefold()
    if len(set(plain)) < 5:
        return "this password repeats the same few characters; take some words"
    if len(name) > 3 and name.casefold() in plain:
        return "the password must not have the name in it"
    return ""


def draw_password() -> str:
    """8 letters and digits: as good a password as SMPP can carry."""
    return "".join(secrets.choice(_DRAWN_FROM) for _ in range(MOST_CHARACTERS))


def draw_app_password() -> str:
    """32 hexadecimal digits, as other APIs' tokens are."""
    return secrets.token_hex(16)


def verifies(hashed: str, password: bytes) -> bool:
    """Whether the password has this hash. Errors: InvalidHashError, VerificationError if it is none."""
    if hashed.startswith(_OF_MD5):
        hashed = hashed.removeprefix(_OF_MD5)
        password = hashlib.md5(password, usedforsecurity=False).digest()
    try:
        return verify_secret(hashed.encode(), password, Type.ID)
    except VerifyMismatchError:
        return False


async def inline(verification: Verification) -> str | None:
    """Hash in the loop: for a clock that jumps while a thread is busy."""
    await trio.lowlevel.checkpoint()
    return verification()


class Passwords:
    """`check` is the whole of it; `keep` whenever accounts changed."""

    def __init__(
        self,
        *,
        run: Callable[[Verification], Awaitable[str | None]] | None = None,
        verify: Verify = verifies,
        at_once: int = 0,
        most_waiting: int = _WAITING,
        most_remembered: int = _REMEMBERED,
        make: Callable[[bytes], str] = hash_password,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`at_once`: verifications at a time, each in a thread; 0: one, or two on three cores or more.

        `most_waiting`: in each of the two queues. `run`: where a verification runs instead of a thread.
        `make`: how the hashes are made that it is asked about.
        """
        at_once = at_once or (2 if (os.cpu_count() or 1) > 2 else 1)
        self._run = run or partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(at_once))
        self._verify = verify
        self._make = make
        self._clock = clock
        self._turns = _Turns(at_once, most_waiting)
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, str] = OrderedDict()
        self._most_remembered = most_remembered
        self._flights: dict[tuple[bytes, tuple[str, ...], bool], _Flight] = {}
        began = clock()
        self._nobody = make(secrets.token_bytes(MOST_CHARACTERS))
        self._took: deque[float] = deque([clock() - began], maxlen=_SAMPLES)  # what a failure takes

    @property
    def waiting(self) -> int:
        """Verifications that wait for their turn."""
        return self._turns.waiting

    @property
    def remembered(self) -> int:
        """Passwords that need no hashing."""
        return len(self._remembered)

    def known(self, system_id: bytes, password: bytes, hashes: tuple[str, ...]) -> bool:
        """Whether it was right before, by one of these hashes; False says nothing."""
        return self._recall(self._digest(system_id, password), hashes) is not None

    async def check(
        self,
        system_id: bytes,
        password: bytes,
        hashes: tuple[str, ...],
        *,
        rounds: int = 1,
        first: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> str | None:
        """The one of `hashes` that the password has, or None.

        `rounds`: hashes computed for a failure, however few the login has. `wanted` is asked when the turn
        comes. Errors: TooBusy, NoLongerWanted.
        """
        digest = self._digest(system_id, password)
        known = self._recall(digest, hashes)
        if known is not None:
            return known
        key = (digest, hashes, first)
        while (ahead := self._flights.get(key)) is not None:
            await ahead.landed.wait()
            if ahead.done:
                return ahead.matched
        flight = self._flights[key] = _Flight()
        try:
            async with self._turns.turn(first):
                if not wanted():
                    raise NoLongerWanted
                flight.matched = await self._run(partial(self._matching, password, hashes, rounds))
                flight.done = True
        finally:
            del self._flights[key]
            flight.landed.set()
        if flight.matched is not None:
            self._remember(digest, flight.matched)
        return flight.matched

    async def hashed(self, password: bytes) -> str:
        """A new password's hash, made off the loop."""
        made = await self._run(partial(self._make, password))
        assert made is not None
        return made

    async def pretend(self, *, first: bool = False) -> float:
        """Wait as a check would, and hash nothing. Returns the seconds that hashing would have taken.

        Errors: TooBusy.
        """
        async with self._turns.turn(first):
            self._took.rotate()
            return self._took[0]

    def keep(self, hashes: Collection[str]) -> None:
        """Forget what was verified against any other hash."""
        gone = [digest for digest, hashed in self._remembered.items() if hashed not in hashes]
        for digest in gone:
            del self._remembered[digest]

    def _digest(self, system_id: bytes, password: bytes) -> bytes:
        said = len(system_id).to_bytes(4, "big") + system_id + password
        return hashlib.blake2b(said, key=self._key, digest_size=32).digest()

    def _recall(self, digest: bytes, hashes: tuple[str, ...]) -> str | None:
        known = self._remembered.get(digest)
        if known is None:
            return None
        self._remembered.move_to_end(digest)
        matches = [hashed for hashed in hashes if hmac.compare_digest(hashed.encode(), known.encode())]
        return matches[0] if matches else None

    def _remember(self, digest: bytes, hashed: str) -> None:
        self._remembered[digest] = hashed
        self._remembered.move_to_end(digest)
        if len(self._remembered) > self._most_remembered:
            self._remembered.popitem(last=False)

    def _matching(self, password: bytes, hashes: tuple[str, ...], rounds: int) -> str | None:
        """In the thread: newest first; a failure computes `rounds` hashes."""
        began = self._clock()
        computed = 0
        for hashed in hashes:
            try:
                if self._verify(hashed, password):
                    return hashed
            except (InvalidHashError, VerificationError):
                continue  # damaged: it costs what the others cost
            computed += 1
        for _ in range(max(rounds, len(hashes)) - computed):
            self._verify(self._nobody, password)
        self._took.append(self._clock() - began)
        return None


class _Flight:
    """A verification under way; `done` unless whoever asked gave up."""

    __slots__ = ("done", "landed", "matched")

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.done = False
        self.matched: str | None = None


class _Turns:
    """At most so many at a time; the first queue before the second, each in order and with an end."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self._first = trio.lowlevel.ParkingLot()
        self._second = trio.lowlevel.ParkingLot()

    @property
    def waiting(self) -> int:
        return len(self._first) + len(self._second)

    @asynccontextmanager
    async def turn(self, first: bool) -> AsyncIterator[None]:
        """Errors: TooBusy."""
        queue = self._first if first else self._second
        if self._free:
            self._free -= 1
        elif len(queue) >= self._most_waiting:
            raise TooBusy
        else:
            await queue.park()  # whoever wakes us hands the turn over
        try:
            yield
        finally:
            behind = self._first or self._second
            if behind:
                behind.unpark()
            else:
                self._free += 1
