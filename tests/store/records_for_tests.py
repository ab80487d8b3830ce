"""Messages and stores for tests: short, valid, and told apart by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from router.nouns import Account, LaneSpec, Leased, Message, Outcome, ReceiptIn, ReceiptWish, Settle
from store.interface import Claim, ReceiptResult, Store
from store.lmdb_store import LmdbStore
from store.options import StoreOptions

NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000


class Clock:
    """UTC milliseconds that move only when told."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def open_store(path: Path, clock: Clock | None = None, **options: object) -> LmdbStore:
    settings = {"map_size": 256 << 20, "min_free_disk": 0, "archive_map_size": 64 << 20, **options}
    return LmdbStore(path / "store", StoreOptions(clock=clock or Clock(), **settings))  # type: ignore[arg-type]


def commit(store: Store, *verbs: Callable[[Any], Any]) -> list[Any]:
    """Run verbs, each a function of the transaction, in one commit; their results in order."""
    txn = store.begin()
    try:
        results = [verb(txn) for verb in verbs]
    except BaseException:
        store.abort(txn)
        raise
    store.commit(txn)
    return results


def account(id: int = 1, **fields: object) -> Account:
    made = Account(id=id, name=f"account-{id}", callback_url=f"http://127.0.0.1:9000/{id}")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def with_account(store: Store, id: int = 1, **fields: object) -> Account:
    made = account(id, **fields)
    commit(store, lambda txn: txn.put_account(made))
    return made


def lane_of(store: Store, *carriers: str, weights: tuple[int, ...] = ()) -> int:
    return store.lane_id(LaneSpec(tuple(store.carrier_id(name) for name in carriers), weights))


def message(store: Store, lane: int, account: int = 1, **fields: Any) -> Message:
    id = store.next_ids(1)
    now_ms = store.options.clock()
    made = Message(
        id=id, account=account, accepted_ms=now_ms, source="TEST", source_ton=5, source_npi=0,
        destination=f"4477009{id % 100_000:05d}", encoding=0, text="hello", data=b"", segments=1, lane=lane,
        priority=2, message_class=1, send_at_ms=0, expires_ms=now_ms + DAY_MS, receipt=ReceiptWish.FINAL,
        route="r",
    )  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def claim(store: Store, lane: int, carrier: str, segments: int = 100, index: int = 0) -> Claim:
    return Claim(store.carrier_id(carrier), ((lane, index, segments),), segments, store.options.clock())


def sent(store: Store, leased: Leased, carrier: str, cid: str, part: int = 0, total: int = 1) -> Outcome:
    return outcome(store, leased, carrier, Settle.SENT, carrier_message_id=cid, part=part, total=total)


def outcome(store: Store, leased: Leased, carrier: str, settle: Settle, **fields: object) -> Outcome:
    made = Outcome(
        account=leased.message.account,
        id=leased.message.id,
        lease=leased.lease,
        carrier=store.carrier_id(carrier),
        group=store.group_id(carrier),
        part=0,
        total=1,
        settle=settle,
        sent_ms=store.options.clock(),
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def submitted(
    store: Store, lane: int, carrier: str = "a", count: int = 1, **fields: Any
) -> tuple[list[Message], list[Leased]]:
    """Accepted and claimed."""
    made = [message(store, lane, **fields) for _ in range(count)]
    commit(store, lambda txn: txn.accept(made))
    return made, commit(store, lambda txn: txn.claim([claim(store, lane, carrier)]))[0][0].leased


def settle(store: Store, one: Outcome) -> None:
    commit(store, lambda txn: txn.settle([one], NOW_MS))


def receipt(
    store: Store, carrier: str, cid: str, recipient: str, state: int = 2, **fields: object
) -> ReceiptIn:
    made = ReceiptIn(
        group=store.group_id(carrier), carrier=store.carrier_id(carrier), ids=(cid,), variants=(),
        recipient=recipient, sender="TEST", state=state, error="000", at_ms=store.options.clock(), done_ms=0,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def receive(store: Store, arrived: list[ReceiptIn]) -> list[ReceiptResult]:
    results: list[ReceiptResult] = commit(store, lambda txn: txn.receipts(arrived, NOW_MS))[0]
    return results
