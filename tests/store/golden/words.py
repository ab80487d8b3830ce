"""What is in a store, as plain JSON values: fields by name, bytes in hexadecimal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from store.interface import Store

MOST = 1_000
KEY = b"key of a request"


def plain(value: Any) -> Any:
    """A struct as a mapping of its fields, all the way down."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def words_of(store: Store, ids: Iterable[int]) -> dict[str, Any]:
    """Everything that can be read through the store's interface, and these messages."""
    endpoints = sorted(store.outbox_endpoints())
    accounts = sorted(store.accounts())
    events = [row for endpoint in endpoints for row in store.outbox_page(endpoint, 0, MOST)]
    return {
        "messages": {str(id): plain(store.find_any(id)) for id in ids},
        "accounts": plain(store.accounts()),
        "carriers": plain(store.carriers()),
        "lanes": plain(store.lanes()),
        "endpoints": plain(store.outbox_endpoints()),
        "totals": plain(store.totals()),
        "lane_totals": plain(store.lane_totals()),
        "queued": {str(account): store.queued(account) for account in accounts},
        "events": [plain(row.event) for row in events],
        "given_up": [plain(row.event) for row in store.given_up(endpoints, MOST)],
        "events_in_all": store.outbox_backlog(),
        "inbox": plain(store.inbox((0, *accounts), MOST)),
        "parked": plain(store.parked(MOST)),
        "unmatched": plain(store.unmatched(MOST)),
        "next_due_ms": store.next_due_ms(),
        "audit": plain(store.audit_log(MOST)),
        "notices": plain(store.notices(MOST)),
        "wallets": {str(account): plain(store.wallet(account)) for account in accounts},
        "ledger": {str(account): plain(store.ledger(account, MOST)) for account in accounts},
        "learner": plain(store.meta("learner:a")),
        "remembered": plain(store.remembered(1, KEY)),
    }


def agrees(was: Any, now: Any) -> bool:
    """Whether all that was there is there; fields may have been added since."""
    if isinstance(was, dict):
        return isinstance(now, dict) and all(key in now and agrees(was[key], now[key]) for key in was)
    if isinstance(was, list):
        return isinstance(now, list) and len(was) == len(now) and all(map(agrees, was, now))
    return bool(was == now)
