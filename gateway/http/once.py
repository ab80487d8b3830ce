"""Requests of accounts that an Idempotency-Key lets be sent again: done once, answered alike for a day.

After draft-ietf-httpapi-idempotency-key-header-07, as retries.py is, with the same refusals; but here an
answer tells no secret, so it is written, with the key, in the commit that carries the request out. No crash
makes a retry send a message twice, and a retry after a restart gets the ids that the first one got.

Invariants: a request without a key costs nothing here; what was refused as a whole is not remembered, so that
it may be tried again; a key belongs to an account, whichever of its API keys is used.

Deliberately not here: the rows and their end (store.once), requests whose answers are secrets (retries.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from hashlib import blake2b

import msgspec

from gateway.http.ports import RememberingPort
from gateway.http.problems import BadRequest
from gateway.http.request import Request
from gateway.http.retries import Answered, key_of, reused, still_running
from store.interface import Remembered, Transaction

# What answers have in common, so that the few hundred bytes of one shrink to its ids and numbers. Rows that
# lie in stores were written with it: it never changes.
_ALIKE = (
    b'","title":"","status":422,"detail":"{"type":"urn:signalbox:problem:'
    b'"errors":[{"field":"to"text"{"accepted":,"refused":,"results":[{"id":"'
    b'SCHEDULED","send_at":","client_ref":""smart_encoding":true"encoding":"ucs2"'
    b"application/json\xa8Location\xd9/v1/messages/"
    b'{"id":"","state":"ENROUTE","segments":1,"encoding":"gsm7","to":"","from":"","expires_at":"2026-","status":202}'
)
_DIGEST_BYTES = 16
_LEVEL = 1  # a batch of a thousand takes a millisecond


class Asked:
    """A request under way that came with a key. `end` it, once, whatever became of it."""

    def __init__(self, once: Once, account: int, key: bytes, request: bytes) -> None:
        self._once = once
        self._place = account, key
        self._request = request
        self._at_ms = once.wall_ms()

    def begun(self, txn: Transaction) -> None:
        """Remember that it is carried out, by what `txn` does; what it answers is not known yet."""
        txn.remember(*self._place, Remembered(self._request, self._at_ms))

    def kept(self, answer: Answered) -> Callable[[Transaction], None]:
        """What remembers it with this answer, in the transaction that carries it out."""
        row = Remembered(self._request, self._at_ms, _packed(answer))
        return partial(_remember, *self._place, row)

    def end(self) -> None:
        """It is answered, or refused."""
        self._once.under_way.discard(self._place)


class Once:
    """`asked` for each request that came with a key."""

    def __init__(self, store: RememberingPort, wall_ms: Callable[[], int]) -> None:
        self.wall_ms = wall_ms
        self.under_way: set[tuple[int, bytes]] = set()
        self._store = store

    def asked(self, account: int, header: bytes, request: Request, who: str = "") -> Asked | Answered:
        """A request to be carried out now, or what it was answered before. `who`: has keys of its own.

        Errors: BadRequest 400 for a key that is none, 409 while it is under way, 422 where the key belongs to
        another request.
        """
        key = _digest(b"key", f"{who}\n{key_of(header, needed='this one is empty')}".encode())
        said = _digest(b"request", b"\n".join((request.method.encode(), request.path.encode(), request.body)))
        return self._asked(account, key, said)

    def line(self, account: int, key: str, number: int, said: bytes) -> Asked | Answered:
        """The same for one line of a stream, whose key is that of its stream and its number there."""
        return self._asked(
            account, _digest(b"line", f"{number}\n{key}".encode()), _digest(b"request", said.strip())
        )

    def _asked(self, account: int, key: bytes, said: bytes) -> Asked | Answered:
        place = account, key
        if place in self.under_way:
            raise still_running()
        row = self._store.remembered(account, key)
        if row is not None:
            if row.request != said:
                raise reused()
            return _unpacked(row.answer)
        self.under_way.add(place)
        return Asked(self, account, key, said)


def mentions(is_in: Callable[[bytes], bool], row: bytes) -> bool:
    """Whether what was answered has something in it; a row that cannot be read may."""
    if not row:
        return False
    try:
        return is_in(zlib.decompressobj(wbits=-15, zdict=_ALIKE).decompress(row))
    except zlib.error:
        return True


def _remember(account: int, key: bytes, row: Remembered, txn: Transaction) -> None:
    txn.remember(account, key, row)


def _digest(what: bytes, said: bytes) -> bytes:
    return blake2b(said, digest_size=_DIGEST_BYTES, person=what).digest()


def _packed(answer: Answered) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=-15, zdict=_ALIKE)
    return packer.compress(msgspec.msgpack.encode(answer)) + packer.flush()


def _unpacked(row: bytes) -> Answered:
    """Errors: BadRequest where it was not kept, or by a release that wrote it otherwise."""
    try:
        plain = zlib.decompressobj(wbits=-15, zdict=_ALIKE).decompress(row)
        return msgspec.msgpack.decode(plain, type=Answered)
    except (zlib.error, msgspec.DecodeError):
        raise BadRequest(
            409,
            "already-done",
            "this request was carried out, at least in part; what it answered is not kept",
        ) from None
