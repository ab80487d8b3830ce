"""Writes a golden store: `python -m tests.store.golden.build format-1`.

NAME.tar.xz is a data directory with a row in every table and a message in every phase, as the code that is
checked out writes them; NAME.json says in words of today's structs what is in it. tests/store/test_golden.py
holds every later version to both.

A golden store of a release is never built again: what it holds lies on customers' disks. After a change of
what is stored add another one, under the new format's number or, within a format, with a letter behind it.
Only before 0.1.0 is released may format-1 itself be built anew.

Deliberately not here: what a later version must do with it.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from router.judge import OnReceipt
from router.money import LedgerEntry
from router.nouns import (
    ALIAS_WANTED,
    Bill,
    Charge,
    InboundMessage,
    Leased,
    Login,
    Message,
    Outcome,
    ReceiptWish,
    Relay,
    Settle,
)
from store import recipients
from store.interface import AuditEntry, MoPart, Notice, Remembered
from store.layout import DATA
from store.lmdb_store import LmdbStore
from tests.store.golden.words import KEY, words_of
from tests.store.records_for_tests import (
    Clock,
    claim,
    commit,
    lane_of,
    message,
    open_store,
    outcome,
    receipt,
    sent,
    with_account,
)

HERE = Path(__file__).parent
HOUR_MS = 3_600_000
TO = "447700900001"


class Builder:
    """One store, filled verb by verb."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.store = open_store(directory, self.clock, map_size=16 << 20, archive_map_size=1 << 20)
        self.number = 0
        self.ids: list[int] = []
        with_account(self.store, 1, numbers=("12345",), tps=5.0, key_hashes=("hash",), senders=("TEST",))
        with_account(self.store, 2, logins=(Login("shop", ("hash",)),), receipts_via="smpp")
        self.lane = lane_of(self.store, "a", "b", weights=(3, 1))
        self.gone = lane_of(self.store, "c")

    def do(self, *verbs: Any) -> Any:
        return commit(self.store, *verbs)[-1]

    def accept(self, lane: int = 0, account: int = 1, **fields: Any) -> Message:
        made = message(self.store, lane or self.lane, account, **{"destination": TO, **fields})
        self.do(lambda txn: txn.accept([made]))
        self.ids.append(made.id)
        return made

    def leased(self, **fields: Any) -> Leased:
        self.accept(**fields)
        asked = claim(self.store, self.lane, "a")
        leased: list[Leased] = self.do(lambda txn: txn.claim([asked]))[0].leased
        return leased[-1]

    def settle(self, *outcomes: Outcome) -> None:
        self.do(lambda txn: txn.settle(outcomes, self.clock.now_ms))

    def send(self, **fields: Any) -> str:
        """Accepted by the carrier; the id it gave."""
        leased = self.leased(**fields)
        self.number += 1
        cid = f"c{self.number}"
        self.settle(sent(self.store, leased, "a", cid))
        return cid

    def receive(self, cid: str, to: str = TO, state: int = 2, **fields: Any) -> None:
        arrived = [receipt(self.store, "a", cid, to, state, raw=b"id:1 stat:DELIVRD", **fields)]
        self.do(lambda txn: txn.receipts(arrived, self.clock.now_ms))

    def wait(self, ms: int) -> None:
        self.clock.now_ms += ms

    # the parts of the whole, in an order in which none disturbs another

    def archived(self) -> None:
        self.receive(self.send(text="archived"))
        self.receive("nobody")
        self.wait(2 * HOUR_MS)
        self.do(lambda txn: txn.housekeep(self.clock.now_ms, 100))
        rows = self.store.pick_finished(self.clock.now_ms, 100)
        self.store.write_finished(rows)
        self.do(lambda txn: txn.forget(rows))

    def ended(self) -> None:
        """Events: waiting, retried, given up, for a callback and for sessions."""
        for text in ("told", "retried", "given up"):
            self.receive(self.send(text=text))
        self.receive(self.send(account=2, text="told over SMPP", via=1))
        endpoint = min(self.store.outbox_endpoints())
        _, retried, given_up = self.store.outbox_page(endpoint, 0, 10)[-3:]
        retried.event.attempts, retried.event.last_error = 1, "503"
        self.do(
            lambda txn: txn.outbox_retry([retried], self.clock.now_ms + HOUR_MS),
            lambda txn: txn.outbox_give_up([given_up], self.clock.now_ms),
        )

    def ended_together(self) -> None:
        """By one commit; one of them is archived already."""
        cids = [self.send(text=text) for text in ("first", "second", "third")]
        arrived = [receipt(self.store, "a", cid, TO) for cid in cids]
        self.do(lambda txn: txn.receipts(arrived, self.clock.now_ms))
        *_, first = self.store.finished_after(b"", self.clock.now_ms // 1000, 100)[:-2]
        self.store.write_finished([first])
        self.do(lambda txn: txn.forget([first]))

    def sent(self) -> None:
        self.send(text="sent", alias=ALIAS_WANTED)
        leased = self.leased(text="sent in two parts", segments=2)
        self.settle(*(sent(self.store, leased, "a", f"two-{part}", part, 2) for part in range(2)))
        self.receive("two-1")

    def unknown(self) -> None:
        leased = self.leased(text="unknown outcome", destination="447700900002")
        self.settle(outcome(self.store, leased, "a", Settle.UNKNOWN_HOLD, detail="link lost"))

    def deferred(self) -> None:
        leased = self.leased(text="deferred")
        until_ms = self.clock.now_ms + HOUR_MS
        self.settle(
            outcome(self.store, leased, "a", Settle.RETRY, until_ms=until_ms, mark_tried=True, detail="later")
        )

    def quarantined(self) -> None:
        made = self.accept(text="damaged")
        with self.store._env.begin(write=True) as tx, tx.cursor(self.store.tables.message.handle) as cursor:
            assert cursor.set_key(made.account.to_bytes(4, "big") + made.id.to_bytes(8, "big"))
            key, value = cursor.item()
            cursor.put(key, value[:-1] + bytes((value[-1] ^ 1,)))
        self.store.memory.recent.clear()  # as after a restart: the record itself is read
        self.do(lambda txn: txn.claim([claim(self.store, self.lane, "a")]))

    def held(self) -> None:
        self.accept(self.gone, text="no lane any more")
        self.do(lambda txn: txn.replan(self.gone, lambda one: 0, 10))

    def parts_of_customers(self) -> None:
        """A group that is whole and stands in the queue, one that waits for its second part."""
        for reference, indexes in ((7, (2, 1)), (8, (1,))):
            for index in indexes:
                relay = Relay("VMN", reference=reference, total=2, index=index, tlvs=((0x1400, b"x"),))
                self.accept(text=f"part {index} of {reference}", relay=relay, account=2, via=1)

    def waiting(self) -> None:
        binary: dict[str, Any] = {"text": "", "data": b"\x00\xff", "encoding": 3, "udh": b"\x05\x00\x03"}
        self.accept(**binary, priority=3, tags=("x", "y"), client_ref="ref", receipt=ReceiptWish.ALL)
        self.accept(text="Grüße 你好", encoding=2, source="12345", source_ton=3, message_class=3, priority=0)
        self.accept(text="tomorrow", send_at_ms=self.clock.now_ms + 20 * HOUR_MS)

    def leased_at_the_end(self) -> None:
        self.leased(text="in a carrier's hands", destination="447700900003", priority=3)
        leased = self.leased(text="half answered", segments=2, priority=3)
        self.settle(sent(self.store, leased, "a", "half-1", 1, 2))

    def inbound(self) -> None:
        carrier, now_ms = self.store.carrier_id("a"), self.clock.now_ms
        first = self.store.next_ids(2)
        messages = [
            InboundMessage(first, 1, carrier, now_ms, TO, "12345", 0, "answer", b"", in_reply_to=1, parts=2),
            InboundMessage(first + 1, 0, carrier, now_ms, TO, "99999", 3, "", b"\x01", udh=b"\x02"),
        ]
        part = MoPart(carrier, TO, "12345", 7, 2, 1, 0, b"first half", now_ms)
        self.do(
            lambda txn: txn.inbound(messages, now_ms),
            lambda txn: txn.inbound_parts([part], now_ms),
            lambda txn: txn.put_meta("learner:a", b"hex"),
        )

    def parked(self) -> None:
        self.receive("early", variants=("EARLY",), text="in a carrier's hands", error="000")

    def audited(self) -> None:
        told = AuditEntry(
            self.clock.now_ms, "ann", "cli", "account.changed", "account:shop", {"tps": 5.0}, {"tps": 9.0}
        )
        self.do(lambda txn: txn.audit(told))
        self.do(
            lambda txn: txn.audit(
                AuditEntry(self.clock.now_ms, "bob", "http", "lock.released", "lock:192.0.2.7")
            )
        )

    def noticed(self) -> None:
        told = Notice(
            self.clock.now_ms, "carrier.opened", "carrier:a", "too many errors", {"errors": 7}, True
        )
        self.do(lambda txn: txn.notice([told]))

    def remembered(self) -> None:
        """A request that its customer gave a key."""
        kept = Remembered(b"asked".ljust(16), self.clock.now_ms, b"answered")
        self.do(lambda txn: txn.remember(1, KEY, kept))

    def awaited(self) -> None:
        """A message whose route sends it elsewhere if no receipt comes."""
        self.store.fail_over({"r": OnReceipt(no_receipt_s=60)})
        self.send(text="awaited")
        self.store.fail_over({})


def paid(made: Builder) -> None:
    """An account that pays: what it put in, a message that was charged, one that has its money reserved."""
    with_account(made.store, 3, billing="prepaid", currency="EUR", rate_card="retail", low_balance=1_000_000)
    entry = LedgerEntry(made.clock.now_ms, 1_030_000, "EUR", "invoice 7", "ann")
    made.do(lambda txn: txn.credit(3, entry))
    bill = Bill(32_500, "EUR", Charge.DELIVERED, "23410")
    for text in ("charged", "reserved"):
        one = message(made.store, made.lane, 3, destination=TO, text=text, bill=bill)
        made.do(lambda txn, one=one: txn.accept(txn.reserve([one], {})))
        made.ids.append(one.id)
        if text == "charged":
            leased = made.do(lambda txn: txn.claim([claim(made.store, made.lane, "a")]))[0].leased
            made.settle(sent(made.store, leased[-1], "a", "paid-1"))
            made.receive("paid-1")


def build(directory: Path) -> Builder:
    """With its store still open."""
    usual, recipients.SMALL = recipients.SMALL, 4
    try:
        made = Builder(directory)
        made.archived()
        made.ended()
        made.ended_together()
        made.sent()
        paid(made)
        made.awaited()
        made.unknown()
        made.deferred()
        made.quarantined()
        made.held()
        made.do(lambda txn: txn.housekeep(made.clock.now_ms, 100))
        made.send(text="sent after the merge")
        made.leased_at_the_end()
        made.parts_of_customers()
        made.waiting()
        made.inbound()
        made.parked()
        made.audited()
        made.noticed()
        made.remembered()
    finally:
        recipients.SMALL = usual
    return made


def empty_tables(store: LmdbStore) -> list[str]:
    with store.reading() as tx:
        return [table.name for table in store.tables.all if not tx.stat(table.handle)["entries"]]


def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = build(Path(scratch))
        store = made.store
        empty = empty_tables(store)
        if empty:
            raise SystemExit(
                f"nothing is in {', '.join(empty)}: teach tests/store/golden/build.py to fill it"
            )
        findings = store.check()
        assert findings == [], findings
        words = {"now_ms": made.clock.now_ms, **words_of(store, made.ids)}
        days = store.archive.days()
        store.close()
        directory = Path(scratch) / "store"
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            for path in (DATA, *(f"archive/{day}/{DATA}" for day in days)):
                add(archive, path, (directory / path).read_bytes())
    (HERE / f"{name}.json").write_text(json.dumps(words, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def add(archive: tarfile.TarFile, path: str, data: bytes) -> None:
    """Without owner and time, which would differ from build to build."""
    entry = tarfile.TarInfo(path)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main(sys.argv[1])
