"""Requests that must not be carried out twice, known by their Idempotency-Key.

After draft-ietf-httpapi-idempotency-key-header-07: the same key with the same request is answered as before,
with another request refused (422), and while the first is still under way refused, too (409). That a request
was carried out is written in the commit that carries it out, so that no crash makes a retry do it again. Its
answer is kept in memory alone, because it may hold what is shown once: a retry after ANSWER_S, or after a
restart, is told that it is done (409), and not what was answered.

A request may say a password, so no plain hash of it is stored: keys and requests are hashed under the secret
of whoever asks, which the store does not have.

Invariants: what was refused is not remembered, so that it may be tried again; memory and the store's value
have an end (MOST_REMEMBERED, REMEMBERED_MS).

Deliberately not here: which requests need a key, what they do (gateway.http.accounts), requests whose answers
are no secrets (once.py: answers of those are kept, too).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from gateway.accounts import in_the_same_commit
from gateway.committer import Keeping
from gateway.http.problems import BadRequest, Headers
from gateway.http.timeline import rfc3339
from store.interface import Transaction
from store.values import Damaged

ANSWER_MS = 15 * 60_000
REMEMBERED_MS = 24 * 3_600_000
MOST_REMEMBERED = 1_000

_DIGEST_BYTES = 16
_LONGEST_KEY = 255
_NAME = "Idempotency-Key"


class Answered(NamedTuple):
    """Arguments for `respond`."""

    status: int
    headers: Headers
    body: bytes


class _Done(msgspec.Struct, frozen=True, array_like=True):
    """A request that was carried out; its fields only grow at the end."""

    key: bytes
    request: bytes
    at_ms: int


class Retries:
    """`once` is the whole of it. The acts must be changes of accounts or operators."""

    def __init__(self, store: Keeping, wall_ms: Callable[[], int], row: str = "idempotency") -> None:
        """`row`: where it is kept. Requests that customers make have one of their own, so that theirs never
        push out what operators did."""
        self._row = row
        self._wall_ms = wall_ms
        self._under_way: set[bytes] = set()
        self._answers: dict[bytes, Answered] = {}
        try:
            known = store.meta(row)
            kept = msgspec.msgpack.decode(known, type=list[_Done]) if known else []
        except (Damaged, msgspec.DecodeError):
            kept = []  # `store check` names it; the next request that is carried out writes it anew
        self._done = {one.key: one for one in kept}  # oldest first

    async def once(
        self, who: str, key: str, request: bytes, act: Callable[[], Awaitable[Answered]]
    ) -> Answered:
        """What `act` answers, or what it answered to the same request. Errors: BadRequest, those of `act`.

        `key` "": there is none, and nothing is remembered. `who` is a secret of at least 128 bits of
        whoever asks, and has keys of its own.
        """
        if not key:
            return await act()
        now_ms = self._wall_ms()
        self._forget(now_ms)
        secret = blake2b(who.encode()).digest()
        known = _digest(secret, b"key", key.encode())
        one = _Done(known, _digest(secret, b"request", request), now_ms)
        if known in self._under_way:
            raise still_running()
        done = self._done.get(known)
        if done is not None:
            return self._answer_again(done, one)
        self._under_way.add(known)
        written = False

        def write(txn: Transaction) -> None:
            nonlocal written
            written = True
            rows = [*self._done.values(), one][-MOST_REMEMBERED:]
            txn.put_meta(self._row, msgspec.msgpack.encode(rows))

        try:
            with in_the_same_commit(write):
                answer = await act()
        finally:
            self._under_way.discard(known)
        if written:
            self._done[known] = one
            self._answers[known] = answer
        return answer

    def _answer_again(self, done: _Done, asked: _Done) -> Answered:
        if done.request != asked.request:
            raise reused()
        answer = self._answers.get(done.key)
        if answer is None:
            raise BadRequest(
                409,
                "already-done",
                f"this request was carried out at {rfc3339(done.at_ms)}; what it answered is not kept "
                f"any more. GET what it was about; to do it once more, send another {_NAME}",
            )
        return answer

    def _forget(self, now_ms: int) -> None:
        while self._done:
            oldest = next(iter(self._done.values()))
            if len(self._done) < MOST_REMEMBERED and oldest.at_ms > now_ms - REMEMBERED_MS:
                break
            del self._done[oldest.key]
            self._answers.pop(oldest.key, None)
        for key in list(self._answers):
            if self._done[key].at_ms > now_ms - ANSWER_MS:
                break
            del self._answers[key]


def key_of(header: bytes | None, *, needed: str = "") -> str:
    """The value of an Idempotency-Key header. Errors: BadRequest; `needed`: why it must be there."""
    key = (header or b"").decode("latin-1").strip()
    if header is None and not needed:
        return ""
    if not 0 < len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        why = f"; {needed}" if needed else ""
        raise BadRequest(
            400,
            "idempotency-key-needed",
            f"send a header {_NAME} of 1 to {_LONGEST_KEY} visible characters, such as a UUID: "
            f"a new one for each request, the same one when you repeat it{why}",
        )
    return key


def still_running() -> BadRequest:
    """Its first request has no answer yet."""
    return BadRequest(
        409,
        "still-running",
        f"the request with this {_NAME} is still under way; ask again for its answer",
        headers=(("Retry-After", "1"),),
    )


def reused() -> BadRequest:
    """It came with something else."""
    return BadRequest(
        422,
        "idempotency-key-reused",
        f"this {_NAME} came with another request before; every request needs one of its own",
    )


def _digest(secret: bytes, what: bytes, said: bytes) -> bytes:
    return blake2b(said, digest_size=_DIGEST_BYTES, key=secret, person=what).digest()
