"""A list of networks as an operator writes it (CIDR, IPv4 and IPv6), compiled for asking often.

IPv4-mapped IPv6 networks (::ffff:10.0.0.0/104) are the IPv4 networks they stand for, as peers' addresses are.

Invariant: asking costs one look for each length of prefix in the list, however long the list is.

Deliberately not here: what it means to be in the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED = IPv6Network("::ffff:0:0/96")
_SMALL_V4 = int(IPv4Network("0.0.0.0/24").netmask)
_SMALL_V6 = int(IPv6Network("::/56").netmask)
_Entries = dict[int, set[int]]  # netmask → networks


class Networks:
    """`address in networks`. `unreadable` are the entries that are no network; nothing is in them."""

    __slots__ = ("_v4", "_v6", "unreadable")

    def __init__(self, texts: Iterable[str]) -> None:
        self._v4: _Entries = {}
        self._v6: _Entries = {}
        unreadable = []
        for text in texts:
            try:
                network = _network(text)
            except ValueError:
                unreadable.append(text)
                continue
            entries = self._v4 if isinstance(network, IPv4Network) else self._v6
            entries.setdefault(int(network.netmask), set()).add(int(network.network_address))
        self.unreadable = tuple(unreadable)

    @classmethod
    def small_ones(cls, lists: Iterable[Networks]) -> Networks:
        """Those of all the lists that hold at most 256 peers: IPv4 from /24 on, IPv6 from /56 on (a peer has
        a /64 there). Whoever lists one of these means these peers, and not half the world."""
        found = cls(())
        for one in lists:
            for into, entries, least in ((found._v4, one._v4, _SMALL_V4), (found._v6, one._v6, _SMALL_V6)):
                for netmask, networks in entries.items():
                    if netmask >= least:
                        into.setdefault(netmask, set()).update(networks)
        return found

    def __contains__(self, address: str) -> bool:
        """Of an address in any spelling; what is no address is in no network."""
        if not self._v4 and not self._v6:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address):
            mapped = parsed.ipv4_mapped
            if mapped is None:
                return _any(self._v6, int(parsed))
            return _any(self._v4, int(mapped))
        return _any(self._v4, int(parsed))


def _any(entries: _Entries, address: int) -> bool:
    return any(address & netmask in networks for netmask, networks in entries.items())


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text.strip(), strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network
