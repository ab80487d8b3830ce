"""Where a callback may go: the defence against server-side request forgery.

A URL is parsed strictly (http and https only, no user name, no host that merely looks like an address),
its name is resolved once, every address of the answer is checked, and the connection is made to a checked
address, so that a name that answers differently the second time gains nothing. One bad address refuses
the whole name.

Loopback, RFC 1918, shared (100.64/10) and unique local (fc00::/7) addresses are allowed only to an account
with `private_callbacks` or by configuration. Link-local, metadata services, multicast, unspecified and
reserved addresses are never allowed, nor are our own listeners. An IPv6 address that carries an IPv4
address (mapped, compatible, NAT64, 6to4, ISATAP) is judged by both; Teredo is refused.

Deliberately not here: connecting, DNS, redirects (there are none).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol
from urllib.parse import SplitResult, quote, urlsplit

MAX_URL_CHARS = 2048
MAX_FILLED_URL_CHARS = 32 * 1024
MAX_ADDRESSES = 16

Address = IPv4Address | IPv6Address


class Refused(Exception):
    """This URL or address is not called. The text is for the account's owner and names the reason."""


class Resolver(Protocol):
    """The part of `gateway.world.World` that is needed here."""

    async def resolve(self, host: str, port: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """One parsed callback URL: where to connect and what to ask for."""

    scheme: str
    host: str  # lower case, ASCII, without brackets
    port: int
    path: bytes  # path and query, percent-encoded, starts with "/"
    host_header: bytes

    @property
    def origin(self) -> str:
        """`scheme://host:port`: what events are grouped by, so that a dead one delays nobody else."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"0x[0-9a-f]*|[0-9]+")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_PATH_SAFE = "/%:@!$&'()*+,;=-._~?"


@lru_cache(maxsize=4096)
def parse_url(url: str) -> Target:
    """Parse and check the form of a callback URL, as somebody configured it. Errors: Refused."""
    return parse_filled_url(url, MAX_URL_CHARS)


def parse_filled_url(url: str, most_chars: int = MAX_FILLED_URL_CHARS) -> Target:
    """The same for one that says what happened, and so is another one each time. Errors: Refused."""
    if len(url) > most_chars:
        raise Refused(f"the URL has more than {most_chars} characters")
    if _UNSAFE.search(url):
        raise Refused("the URL holds a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("the URL cannot be parsed") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise Refused("only http and https URLs are called")
    if "@" in parts.netloc:
        raise Refused("the URL names a user; credentials do not belong in it")
    if port == 0:
        raise Refused("port 0 cannot be called")
    host = _host(parts)
    default = _DEFAULT_PORTS[parts.scheme]
    port = port or default
    shown = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_PATH_SAFE + "[]")
    header = shown if port == default else f"{shown}:{port}"
    return Target(parts.scheme, host, port, path.encode(), header.encode())


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if not host:
        raise Refused("the URL has no host")
    if parts.netloc.startswith("["):
        return _literal_v6(host)
    host = _ascii(host).removesuffix(".")
    labels = host.split(".")
    # WHATWG URL "ends in a number": 2130706433, 0177.1, 0x7f000001 and 127.1 are addresses to some resolvers.
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise Refused("write the address as four decimal numbers") from None
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise Refused("the host is not a valid name")
    return host


def _literal_v6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError:
        raise Refused("the host is not a valid IPv6 address") from None
    if address.scope_id:
        raise Refused("an address with a zone cannot be called")
    return str(address)


def _ascii(host: str) -> str:
    """IDNA, after which full-width digits and dots are plain ones and are judged as such."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise Refused("the host is not a valid name") from None


# addresses

_V4_PRIVATE = tuple(
    map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
)
_V4_NEVER = {
    IPv4Network("0.0.0.0/8"): "an unspecified address",
    IPv4Network("169.254.0.0/16"): "a link-local or metadata address",
    IPv4Network("192.0.0.0/24"): "a reserved address",
    IPv4Network("192.0.2.0/24"): "a documentation address",
    IPv4Network("192.88.99.0/24"): "a reserved address",
    IPv4Network("198.18.0.0/15"): "a benchmarking address",
    IPv4Network("198.51.100.0/24"): "a documentation address",
    IPv4Network("203.0.113.0/24"): "a documentation address",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
    # Metadata services of clouds that put them into ranges which may be allowed.
    IPv4Network("100.100.100.200/32"): "a metadata address",
    IPv4Network("168.63.129.16/32"): "a metadata address",
}
_V6_PRIVATE = (IPv6Network("fc00::/7"), IPv6Network("::1/128"))
_V6_NEVER = {
    IPv6Network("fd00:ec2::/32"): "a metadata address",
    IPv6Network("fd20:ce::/32"): "a metadata address",
    IPv6Network("fe80::/10"): "a link-local address",
    IPv6Network("ff00::/8"): "a multicast address",
    IPv6Network("2001::/23"): "a reserved or tunnelled address",
    IPv6Network("2001:db8::/32"): "a documentation address",
    IPv6Network("3fff::/20"): "a documentation address",
}
_V6_GLOBAL = IPv6Network("2000::/3")
_V6_TAIL_V4 = tuple(map(IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")))
_V6_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_V6_6TO4 = IPv6Network("2002::/16")
_ISATAP = (0x00005EFE, 0x02005EFE)


def check_address(text: str, allow_private: bool) -> Address:
    """The address, if it may be called (a mapped one as IPv4). Errors: Refused."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Refused("the name resolves to something that is not an address") from None
    if isinstance(address, IPv4Address):
        return _check_v4(address, allow_private)
    if address.scope_id:
        raise Refused("a link-local address is never called")
    return _check_v6(address, allow_private)


def _check_v4(address: IPv4Address, allow_private: bool) -> IPv4Address:
    for network, what in _V4_NEVER.items():
        if address in network:
            raise Refused(f"{what} is never called")
    if not allow_private and any(address in network for network in _V4_PRIVATE):
        raise Refused("a loopback or private address is called only where the account allows it")
    return address


def _check_v6(address: IPv6Address, allow_private: bool) -> Address:
    if address.ipv4_mapped is not None:
        return _check_v4(address.ipv4_mapped, allow_private)
    for network, what in _V6_NEVER.items():
        if address in network:
            raise Refused(f"{what} is never called")
    if any(address in network for network in _V6_PRIVATE):
        if not allow_private:
            raise Refused("a loopback or private address is called only where the account allows it")
        return address
    if address in _V6_LOCAL_NAT64:
        # RFC 8215 leaves the position of the IPv4 address to the operator, so it cannot be judged.
        raise Refused("a locally translated address is never called")
    embedded = _embedded_v4(address)
    if embedded is not None:
        _check_v4(embedded, allow_private)
        if address not in _V6_GLOBAL and address not in _V6_TAIL_V4[3]:
            raise Refused("a reserved address is never called")
        return address
    if address not in _V6_GLOBAL:
        raise Refused("a reserved address is never called")
    return address


def _embedded_v4(address: IPv6Address) -> IPv4Address | None:
    number = int(address)
    if any(address in network for network in _V6_TAIL_V4):
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _V6_6TO4:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    return None


@dataclass
class Guard:
    """The rules of one gateway: who may call private addresses, and which sockets are our own."""

    allow_private: bool = False
    own: set[tuple[str, int]] = field(default_factory=set)

    def own_listeners(self, listeners: Iterable[tuple[str, int]]) -> None:
        """Add (address, port) pairs of sockets the gateway itself listens on; 0.0.0.0 and :: mean all."""
        self.own.update(listeners)

    def check(self, addresses: Sequence[str], port: int, allow_private: bool) -> list[str]:
        """The addresses to try, in order, all of them checked. Errors: Refused."""
        if not addresses:
            raise Refused("the name has no address")
        if len(addresses) > MAX_ADDRESSES:
            raise Refused(f"the name has more than {MAX_ADDRESSES} addresses")
        allowed = allow_private or self.allow_private
        checked = [check_address(text, allowed) for text in addresses]
        for address in checked:
            if self._is_own(address, port):
                raise Refused("this is one of the gateway's own listeners")
        return [str(address) for address in checked]

    def is_own_port(self, port: int) -> bool:
        """Does any listener of ours use this port? Then a connection to this very machine is refused."""
        return any(listening == port for _, listening in self.own)

    def _is_own(self, address: Address, port: int) -> bool:
        for host, listening in self.own:
            if listening != port:
                continue
            if host == str(address) or (address.is_loopback and host in ("0.0.0.0", "::", "", "localhost")):
                return True
        return False

    def check_literal(self, target: Target, allow_private: bool) -> None:
        """Judge a host that is an address; a name is not judged before it is resolved. Errors: Refused."""
        if _is_address(target.host):
            self.check([target.host], target.port, allow_private)

    async def addresses(self, world: Resolver, target: Target, allow_private: bool) -> list[str]:
        """Resolve once and check. Errors: Refused, OSError."""
        if _is_address(target.host):
            found = [target.host]
        else:
            found = await world.resolve(target.host, target.port)
        return self.check(found, target.port, allow_private)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
