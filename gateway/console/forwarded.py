"""Where a browser is, when a proxy stands before us: X-Forwarded-For, of proxies that are named alone.

A proxy adds the address that it was asked from at the right end; what stands left of that came with the
request, and may be made up. So the list is read from the right, past proxies of ours, to the first address
that is none: that one was written by the last proxy of ours.

Invariant: a header from anybody who is not in [console] proxy_from changes nothing.

Deliberately not here: the Forwarded header (RFC 7239), which few proxies send; SMPP (PROXY protocol).
"""

from __future__ import annotations

from gateway.smpp_server.addresses import canonical
from gateway.smpp_server.networks import Networks

_LONGEST = 1_000
_MOST = 20


def address_of(peer: str, header: bytes | None, proxies: Networks) -> str:
    """The browser's address. `peer` is who is connected to us, `header` its X-Forwarded-For."""
    if header is None or peer not in proxies:
        return peer
    nearest = peer
    for text in reversed(header[-_LONGEST:].decode("latin-1").split(",")[-_MOST:]):
        try:
            nearest = canonical(text.strip())
        except ValueError:
            return nearest
        if nearest not in proxies:
            return nearest
    return nearest
