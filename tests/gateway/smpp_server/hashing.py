"""Hashing for tests: costs nothing, counts, and waits when it is told to.

Deliberately not here: argon2id itself, which test_passwords tries as it is.
"""

from __future__ import annotations

import trio

from gateway.passwords import Passwords, Verification


def hashed(password: str) -> str:
    return f"hash of {password}"


class Hashing:
    """`passwords` verify here: `computed` hashes so far, none while `hold` is closed."""

    def __init__(self, *, at_once: int = 1, most_waiting: int = 1_000, most_remembered: int = 1_000) -> None:
        self.computed = 0
        self.asked: list[bytes] = []  # passwords in the order in which they were verified
        self.hold = trio.Event()
        self.hold.set()
        self.seconds = 0.0
        self.passwords = Passwords(
            run=self._run,
            verify=self._verify,
            at_once=at_once,
            most_waiting=most_waiting,
            most_remembered=most_remembered,
            clock=lambda: self.seconds,
        )

    async def _run(self, verification: Verification) -> str | None:
        await self.hold.wait()
        await trio.lowlevel.checkpoint()
        return verification()

    def _verify(self, hash_: str, password: bytes) -> bool:
        self.computed += 1
        self.seconds += 0.004
        if not self.asked or self.asked[-1] != password:
            self.asked.append(password)
        return hash_ == hashed(password.decode())
