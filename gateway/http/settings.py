"""The HTTP server's limits. Everything a peer can make grow has one."""

from __future__ import annotations

import msgspec

from config.model import HttpConfig


class HttpSettings(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds. At worst max_connections x (head + body + unsent) of memory."""

    max_connections: int = 1000
    max_connections_per_address: int = 200  # IPv6: per /64
    max_pipelined: int = 64  # unanswered requests on one connection; reading pauses there
    max_head_bytes: int = 16_384
    max_target_bytes: int = 8_192
    max_headers: int = 100
    max_body_bytes: int = 1_048_576
    max_unsent_bytes: int = 1_048_576  # answers a peer has not taken; reading pauses there
    head_timeout_s: float = 10.0  # from the first byte of a request (or the connect) to the end of its head
    body_timeout_s: float = 30.0  # from there to the end of its body
    idle_timeout_s: float = 75.0  # between requests
    write_timeout_s: float = 30.0  # for a peer to take 64 KiB of answers
    stop_timeout_s: float = 10.0  # for answers under way at shutdown
    linger_s: float = 2.0  # reading on after the last answer, so that a reset does not destroy it


def settings_of(config: HttpConfig) -> HttpSettings:
    """The limits of the `[http]` table; what it does not set keeps its default here."""
    names = set(HttpSettings.__struct_fields__)
    return HttpSettings(**{name: value for name, value in vars(config).items() if name in names})
