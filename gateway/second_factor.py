"""The second factor: codes by time (TOTP, RFC 6238), and recovery codes for who lost what makes them.

Six digits, a new one every 30 s, one step early or late is taken. A code counts once: whoever asks gives the
last step that was used, and gets the one that this code is of.

A recovery code has 80 random bits, so that its plain SHA-256 is enough; each works once.

Deliberately not here: keeping secrets (gateway.sealing, gateway.operators), counting wrong codes
(gateway.sign_in), pictures (gateway.console).
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256

import pyotp
from pyotp.exceptions import OTPVerificationError

ISSUER = "Signalbox"
SECRET_BYTES = 20  # RFC 4226 section 4, R6
RECOVERY_CODES = 10

_WINDOW = 1
_DIGITS = 6
_RECOVERY_BYTES = 10


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def as_text(secret: bytes) -> str:
    """Base32, as people type it into an app that has no camera."""
    return base64.b32encode(secret).decode()


def uri(secret: bytes, name: str, issuer: str = ISSUER) -> str:
    """`otpauth://totp/…`, for a QR code. It is the secret."""
    return str(_totp(secret).provisioning_uri(name=name, issuer_name=issuer))


def step_of(secret: bytes, code: str, now_s: float, last: int = 0) -> int | None:
    """The time step whose code this is, if it is later than `last`; None: it is none, or was used."""
    digits = "".join(code.split())
    if len(digits) != _DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    try:
        step = int(_totp(secret).verify_and_get_timecode(digits, for_time=now_s, valid_window=_WINDOW))
    except OTPVerificationError:
        return None
    return step if step > last else None


def _totp(secret: bytes) -> pyotp.TOTP:
    return pyotp.TOTP(as_text(secret), digits=_DIGITS)


def new_recovery_codes() -> tuple[list[str], tuple[str, ...]]:
    """(codes, to be shown this once; what is kept of them)"""
    codes = [
        base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)
    ]
    return [f"{code[:8]}-{code[8:]}" for code in codes], tuple(_hash(code) for code in codes)


def recovery_of(code: str, kept: Sequence[str]) -> str | None:
    """The one of `kept` that this code is, None: none. Looks at all of them."""
    given = _hash("".join(code.split()).replace("-", "").lower()[:64])
    found = [one for one in kept if hmac.compare_digest(one, given)]
    return found[0] if found else None


def _hash(code: str) -> str:
    return sha256(code.encode()).hexdigest()
