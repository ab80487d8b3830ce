"""Addresses of peers as text: one spelling for one host, and what of the network one host can hold.

Deliberately not here: who may connect, who is locked out.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def canonical(address: str) -> str:
    """An address as everybody else here writes it: IPv4-mapped IPv6 as IPv4, no zone. Errors: ValueError."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def network_of(address: str) -> str:
    """A canonical IPv4 address as it is, the /64 of an IPv6 one, because a host usually has all of it.

    What is no address (a memory stream's "memory") stands for itself.
    """
    if ":" not in address:
        return address
    return str(IPv6Address(int(IPv6Address(address)) >> 64 << 64)) + "/64"
