"""What an operator may set for callbacks, with the defaults.

Deliberately not here: reading TOML (config), what an account chooses itself (its URL, secrets, batch size).
"""

from __future__ import annotations

from dataclasses import dataclass

# An attempt at once, then after each of these: 5 s, 30 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
RETRY_S: tuple[float, ...] = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


@dataclass(frozen=True)
class CallbackSettings:
    """Limits and times; seconds, bytes, counts."""

    concurrency_per_endpoint: int = 8
    connections: int = 256  # over all endpoints
    connect_timeout_s: float = 5.0
    timeout_s: float = 15.0  # from the first byte sent to the whole answer
    idle_s: float = 15.0  # an unused connection is closed after it
    connection_age_s: float = 300.0  # then the name is resolved and checked anew
    turn_s: float = 1.0  # a busy worker makes way after it when others wait for a connection
    page: int = 256  # rows read from the store at a time
    max_unsettled: int = 50_000  # answered rows waiting for their commit; above it nothing new is sent
    retry_s: tuple[float, ...] = RETRY_S
    jitter: float = 0.1  # each delay times 1 ± this
    retry_after_cap_s: float = 86_400.0
    breaker_failures: int = 5
    probe_max_s: float = 300.0
    gone_s: float = 86_400.0  # a 410 disables the endpoint for this long, then it is asked once
    max_answer_bytes: int = 64 * 1024
    allow_private: bool = False  # loopback and private ranges for every account
    ca_file: str = ""
    user_agent: str = "Signalbox"
