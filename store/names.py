"""Names that rows refer to by number, kept for ever: carriers, receipt groups, lanes, callback endpoints.

A new name is usable at once and rides with the next transaction: any row that uses its number is committed
with it or after it, and a failed commit puts it back in line. Numbers start at 1; 0 means none. A name may be
taken on the loop while a commit is under way in another thread: the line is a deque, and never replaced.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from router.nouns import LaneSpec
from store.interface import SMPP_ORIGIN, Endpoint, StoreError
from store.records import NAME_KEY, encode
from store.values import unseal

if TYPE_CHECKING:
    import lmdb

CARRIER, GROUP, LANE, ENDPOINT = 1, 2, 3, 4
MAX_U16 = 0xFFFF
_decode_name = msgspec.msgpack.Decoder(str).decode
_decode_lane = msgspec.msgpack.Decoder(LaneSpec).decode
_decode_endpoint = msgspec.msgpack.Decoder(Endpoint).decode


class Names:
    """All interned names, both ways, and the rows not yet committed."""

    def __init__(self, max_endpoints: int) -> None:
        self._max_endpoints = max_endpoints
        self._carriers: dict[str, int] = {}
        self._carrier_names: dict[int, str] = {}
        self._groups: dict[str, int] = {}
        self._group_names: dict[int, str] = {}
        self._lanes: dict[LaneSpec, int] = {}
        self._lane_specs: dict[int, LaneSpec] = {}
        self.endpoints: dict[int, Endpoint] = {}
        self._endpoint_ids: dict[tuple[int, str], int] = {}
        self._per_account: dict[int, int] = {}
        self._by_url: dict[tuple[int, str], int] = {}
        self.pending: deque[tuple[bytes, bytes]] = deque()  # (key, payload) for the next transaction

    def load(self, cursor: lmdb.Cursor[bytes]) -> None:
        for key, value in cursor.iternext():
            payload = unseal(key, value)
            kind, id = NAME_KEY.unpack(key)
            if kind == CARRIER:
                self._know_carrier(id, _decode_name(payload))
            elif kind == GROUP:
                self._know_group(id, _decode_name(payload))
            elif kind == LANE:
                self._know_lane(id, _decode_lane(payload))
            elif kind == ENDPOINT:
                self._know_endpoint(_decode_endpoint(payload))

    def carrier_id(self, name: str) -> int:
        id = self._carriers.get(name)
        if id is None:
            id = self._next(self._carrier_names, "carrier names")
            self._know_carrier(id, name)
            self._remember(CARRIER, id, name)
        return id

    def carrier_name(self, id: int) -> str:
        return self._carrier_names.get(id, f"carrier-{id}")

    def carriers(self) -> dict[str, int]:
        return dict(self._carriers)

    def group_id(self, name: str) -> int:
        id = self._groups.get(name)
        if id is None:
            id = self._next(self._group_names, "receipt groups")
            self._know_group(id, name)
            self._remember(GROUP, id, name)
        return id

    def group_ids(self) -> list[int]:
        return list(self._group_names)

    def lane_id(self, spec: LaneSpec) -> int:
        id = self._lanes.get(spec)
        if id is None:
            if len(spec.carriers) > 16:
                raise StoreError(
                    f"a lane of {len(spec.carriers)} carriers", "a lane holds at most 16 carriers"
                )
            id = self._next(self._lane_specs, "lanes")
            self._know_lane(id, spec)
            self._remember(LANE, id, spec)
        return id

    def lane(self, id: int) -> LaneSpec:
        """The lane's rule; a lane nobody knows has no carriers."""
        return self._lane_specs.get(id) or LaneSpec(carriers=())

    def lanes(self) -> dict[int, LaneSpec]:
        return dict(self._lane_specs)

    def endpoint_for(self, account: int, url: str) -> int:
        """The endpoint of a callback URL; StoreError when the account has too many origins."""
        id = self._by_url.get((account, url))
        if id is not None:
            return id
        origin = origin_of(url)
        id = self._endpoint_ids.get((account, origin))
        if id is None:
            if self._per_account.get(account, 0) >= self._max_endpoints:
                raise StoreError(
                    f"account {account} has more than {self._max_endpoints} callback origins",
                    "reuse one host for callbacks and put what varies into the path",
                )
            id = self._next(self.endpoints, "endpoints", 0xFFFFFFFF)
            endpoint = Endpoint(id, account, origin)
            self._know_endpoint(endpoint)
            self._remember(ENDPOINT, id, endpoint)
        if len(self._by_url) >= 10_000:
            self._by_url.clear()
        self._by_url[(account, url)] = id
        return id

    def endpoint_at_event(self, account: int, url: str) -> int:
        """As endpoint_for, but an event is never refused: past the cap it takes the account's first one."""
        try:
            return self.endpoint_for(account, url)
        except StoreError:
            return min(id for id, endpoint in self.endpoints.items() if endpoint.account == account)

    def take_pending(self) -> list[tuple[bytes, bytes]]:
        return [self.pending.popleft() for _ in range(len(self.pending))]

    def put_back(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Their transaction failed: they are next in line again."""
        self.pending.extendleft(reversed(rows))

    def _remember(self, kind: int, id: int, value: str | LaneSpec | Endpoint) -> None:
        self.pending.append((NAME_KEY.pack(kind, id), encode(value)))

    def _know_carrier(self, id: int, name: str) -> None:
        self._carriers[name] = id
        self._carrier_names[id] = name

    def _know_group(self, id: int, name: str) -> None:
        self._groups[name] = id
        self._group_names[id] = name

    def _know_lane(self, id: int, spec: LaneSpec) -> None:
        self._lanes[spec] = id
        self._lane_specs[id] = spec

    def _know_endpoint(self, endpoint: Endpoint) -> None:
        self.endpoints[endpoint.id] = endpoint
        self._endpoint_ids[(endpoint.account, endpoint.origin)] = endpoint.id
        self._per_account[endpoint.account] = self._per_account.get(endpoint.account, 0) + 1

    @staticmethod
    def _next(
        known: dict[int, str] | dict[int, LaneSpec] | dict[int, Endpoint], what: str, limit: int = MAX_U16
    ) -> int:
        id = max(known, default=0) + 1
        if id > limit:
            raise StoreError(f"no numbers left for {what}", "restore into a new store")
        return id


def origin_of(url: str) -> str:
    """scheme://host:port of a URL, lower case, with the default port written out."""
    if url == SMPP_ORIGIN:
        return url
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").lower()
    try:
        port = parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        port = 0
    return f"{scheme}://{host}:{port}"
