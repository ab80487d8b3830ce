"""Secrets that must be readable again, sealed under a key that is not in the store.

AES-256-GCM under a key of 32 random bytes in a file of its own beside the store, mode 0600, made when it is
first needed: a backup of the store alone opens nothing. What a secret is for is bound to it, so that a sealed
value that was copied to somebody else's row does not open there.

Deliberately not here: secrets that need only be compared, which are hashed (gateway.keys, gateway.passwords).
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE = "seal.key"

_KEY_BYTES = 32
_NONCE_BYTES = 12


class SealProblem(Exception):
    """The key file is missing, unusable, or not the one that it was sealed with; says what to do."""


class Seal:
    """`seal` and `unseal`. The key file is read once, when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: bytes | None = None

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """Errors: SealProblem."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher(make=True).encrypt(nonce, secret, purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """Errors: SealProblem."""
        from cryptography.exceptions import InvalidTag

        try:
            nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher(make=False).decrypt(nonce, text, purpose.encode())
        except (InvalidTag, ValueError):
            raise SealProblem(f"{self._path} is not the key that this was sealed with") from None

    def _cipher(self, *, make: bool) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 25 ms, and few commands need it

        if self._key is None:
            self._key = self._read(make=make)
        return AESGCM(self._key)

    def _read(self, *, make: bool) -> bytes:
        try:
            if make:
                with suppress(FileExistsError):
                    self._make()
            with self._path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise SealProblem(f"others may read {self._path}: chmod 600 it")
                key = file.read(_KEY_BYTES + 1)
        except OSError as error:
            raise SealProblem(
                f"{self._path}: {error.strerror}; bring it back from where it was kept"
            ) from None
        if len(key) != _KEY_BYTES:
            raise SealProblem(f"{self._path} does not hold a key of {_KEY_BYTES} bytes; bring it back")
        return key

    def _make(self) -> None:
        """Written aside and linked into place, so that no half of a key is ever there. Errors: OSError."""
        aside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, self._path)
        finally:
            aside.unlink()
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
