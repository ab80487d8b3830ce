"""Whether a callback comes from the gateway: Standard Webhooks signatures, for whoever receives them.

Deliberately not here: making them (gateway.callbacks.signature).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from gateway.callbacks.signature import BadSecret, BadSignature
from gateway.callbacks.signature import verify as verify_signature


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: float | None = None
) -> None:
    """Return when the body was signed with one of the secrets within the last five minutes.

    `headers` by any case; `secrets`: `whsec_…`, both while one is being rotated. Errors: BadSignature.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signature = (found[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise BadSignature(f"there is no header {missing.args[0]}") from None
    verify_signature(secrets, id, timestamp, body, signature, time.time() if now_s is None else now_s)


__all__ = ["BadSecret", "BadSignature", "verify"]
