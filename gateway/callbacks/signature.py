"""Standard Webhooks signatures: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

Source: the Standard Webhooks specification 1.0. Signed is `id.timestamp.body`, with HMAC-SHA256, written as
`v1,<base64>`. While a secret is being rotated the header carries one signature for each secret, separated
by spaces; a receiver accepts any one of them and skips versions it does not know.

Deliberately not here: v1a (ed25519), storage of secrets, a clock: the time is an argument.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

PREFIX = "whsec_"
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
TOLERANCE_S = 300


class BadSecret(ValueError):
    """Not `whsec_` and the base64 of 24 to 64 bytes. The text never shows the secret."""


class BadSignature(Exception):
    """A webhook that must not be believed; the text says which check failed."""


def encode_secret(raw: bytes) -> str:
    """24 to 64 random bytes → `whsec_…`. Errors: BadSecret."""
    if not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise BadSecret(f"a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(raw)}")
    return PREFIX + b64encode(raw).decode()


def decode_secret(secret: str) -> bytes:
    """`whsec_…` → the key's bytes. Errors: BadSecret."""
    if not secret.startswith(PREFIX):
        raise BadSecret(f"a secret starts with {PREFIX}")
    try:
        raw = b64decode(secret[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret(f"what follows {PREFIX} is not base64") from None
    if not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise BadSecret(f"a secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, not {len(raw)}")
    return raw


def sign(keys: Iterable[bytes], webhook_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """The value of `webhook-signature`: one `v1,…` for each key, newest first; b"" without keys.

    `timestamp` is UTC seconds since the epoch, in decimal.
    """
    content = b"%b.%b.%b" % (webhook_id, timestamp, body)
    signatures = [
        b"v1," + binascii.b2a_base64(hmac.digest(key, content, "sha256"), newline=False) for key in keys
    ]
    return b" ".join(signatures)


def verify(
    secrets: Sequence[str],
    webhook_id: str,
    timestamp: str,
    body: bytes,
    signature: str,
    now_s: float | None,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Return when one `v1` signature fits one secret and the time is near `now_s`.

    `now_s` None skips the check of the time. Errors: BadSignature, BadSecret.
    """
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        raise BadSignature("webhook-timestamp is not a number of seconds")
    if now_s is not None and abs(now_s - int(timestamp)) > tolerance_s:
        raise BadSignature(f"webhook-timestamp is more than {tolerance_s:g} s away")
    expected = [
        sign((decode_secret(secret),), webhook_id.encode(), timestamp.encode(), body) for secret in secrets
    ]
    given = [part.encode() for part in signature.split(" ") if part.startswith("v1,")]
    # Every pair is compared, so that the time taken does not tell which of them came close.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given):
        raise BadSignature("no v1 signature fits")
