"""What must be true of the disk image of any moment, and the process that opens images to see.

An image opens; `store check` finds nothing; everything promised before its moment is in it; after recovery
and some carriers' work every message in it reaches its one final state and its account is told once; and its
archives take what has finished.

`python -m tests.crash.judge LOG SCRATCH` reads Cuts from stdin and writes two lines for each: the cut with
the image's digest, then the complaints. A process of its own: a corrupt image may kill who opens it.

Deliberately not here: which moments (images.py).
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from gateway.recovery import decider
from router.nouns import EventKind, Leased, Message, Phase, Progress, Step
from store.check import check
from store.interface import StoreError
from store.lmdb_store import LmdbStore
from store.records import decode_part
from store.values import unseal
from tests.crash.disk import Disk, Image, Record, records
from tests.crash.marks import GRACE_MS, LANES, MINUTE_MS, OPTIONS, Promises
from tests.store.records_for_tests import DAY_MS, Clock, claim, commit, lane_of, open_store, receipt, sent

MARKS = "marks"
_MOST = 1_000_000
_PORTION = 1000
_RECEIPT_STEPS = (Step.RECEIPT, Step.RECEIPT_REPEATED, Step.RECEIPT_CONTRADICTS)
_LOCK_SIZE = 65_664  # of 1,024 readers


class Cut(NamedTuple):
    """The power fails right before the log's record number `at`; seed 0: only what is certain is on the disk.

    Another seed: also any part of what is not, the record's own effect included.
    """

    at: int
    seed: int


def images(log: Path, cuts: list[Cut]) -> Iterator[tuple[Cut, Image, Promises]]:
    """The disk at each cut, in order, and what had been promised. `cuts` ascend."""
    disk, promises = Disk(), Promises()
    wanted = {at: list(group) for at, group in groupby(cuts, key=lambda cut: cut.at)}
    end = Record("S", True, ".", 0, b"")
    for at, record in enumerate(chain(records(log), [end])):
        here = wanted.get(at, [])
        for cut in here:
            if not cut.seed:
                yield cut, disk.certain(), promises
        if any(cut.seed for cut in here) and record.kind != "S":
            disk.feed(record._replace(lasting=False))
        for cut in here:
            if cut.seed:
                yield cut, disk.some(random.Random(cut.at << 32 | cut.seed)), promises
        disk.feed(record)
        if record.kind == "W" and record.path == MARKS:
            promises.add(record.data)


def lay_out(image: Image, directory: Path, rng: random.Random) -> None:
    """Make the image real. Of LMDB's lock files a power cut leaves nothing, or anything."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for path, octets in image.items():
        if octets is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(octets)
            if path.endswith("/data.mdb") and rng.random() < 0.5:
                (directory / path).with_name("lock.mdb").write_bytes(rng.randbytes(_LOCK_SIZE))


def judge(directory: Path, promises: Promises, seed: int) -> list[str]:
    """What is wrong with the image in `directory`; nothing = []."""
    clock = Clock()
    clock.now_ms = promises.now_ms
    try:
        store = open_store(directory, clock, **OPTIONS)
    except StoreError as error:
        return [f"does not open: {error}"]
    try:
        return _Judge(store, clock, promises, random.Random(seed)).run()
    except StoreError as error:
        return [f"does not work: {error}"]
    finally:
        store.close()


class _Judge:
    def __init__(self, store: LmdbStore, clock: Clock, promises: Promises, rng: random.Random) -> None:
        self.store = store
        self.clock = clock
        self.promises = promises
        self.rng = rng
        self.complaints: list[str] = []

    def run(self) -> list[str]:
        self._sound("as it is")
        self._kept()
        decide = decider({}, {}, self.rng, self.clock.now_ms)
        self.store.recover(decide, self.clock.now_ms)
        self._sound("after recovery")
        self._finish()
        self._all_final()
        self._archive()
        self._sound("at the end")
        for id in self._finished():
            self._find(id)
        return self.complaints

    def _say(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def _sound(self, when: str) -> None:
        for finding in check(self.store):
            self._say(f"store check {when}: {finding.where} {finding.what}")

    # what was promised

    def _find(self, id: int) -> tuple[Message, Progress] | None:
        found = self.store.find(self.promises.accepted[id], id)
        if found is None:
            self._say(f"message {id} was accepted and is not there")
        return found

    def _finished(self) -> list[int]:
        """Accepted messages that retention cannot have dropped yet."""
        oldest_ms = self.promises.dropped_before_ms
        return [id for id in self.promises.accepted if id >> 20 >= oldest_ms]

    def _kept(self) -> None:
        promises = self.promises
        found = {id: pair for id in self._finished() if (pair := self._find(id)) is not None}
        for id, state in promises.finals.items():
            if id in found and (found[id][1].phase, found[id][1].state) != (Phase.FINAL, state):
                self._say(f"message {id} had ended as {state} and has state {found[id][1].state}")
        self._kept_receipts(found)
        self._kept_mos()
        if promises.accepted and self.store.next_ids(1) <= max(promises.accepted):
            self._say("ids of accepted messages are given out again")

    def _kept_receipts(self, found: dict[int, tuple[Message, Progress]]) -> None:
        """Each answered receipt waits for its message, is given up as unmatched, or stands in a timeline."""
        rows = [*self.store.parked(_MOST), *self.store.unmatched(_MOST)]
        apart = Counter(id for row in rows for id in row.ids)
        answered: Counter[int] = Counter()
        for (cid, id), times in self.promises.kept.items():
            if id:
                answered[id] += max(0, times - apart[cid])
            elif apart[cid] < times:
                self._say(f"receipt {cid} of nobody's was answered and is not there")
        for id, times in answered.items():
            if id not in found:  # dropped by age, or complained of already
                continue
            noted = sum(step in _RECEIPT_STEPS for _, step, *_ in found[id][1].events)
            if noted < times:
                self._say(f"message {id}: of {times} answered receipts {times - noted} is not there")

    def _kept_mos(self) -> None:
        mos = self.store.inbox(1, _MOST)
        ids = {mo.id for mo in mos}
        here = {mo.text for mo in mos}
        with self.store.reading() as tx, tx.cursor(self.store.tables.part.handle) as cursor:
            here |= {
                f"joined {decode_part(unseal(key, value)).reference}" for key, value in cursor.iternext()
            }
        oldest_ms = self.promises.kept_from_ms
        for id in self.promises.mos - ids:
            if id >> 20 >= oldest_ms:
                self._say(f"MO {id} was answered and is not there")
        for reference, came_ms in self.promises.parts.items():
            if came_ms >= oldest_ms and f"joined {reference}" not in here:
                self._say(f"MO part {reference} was answered and is not there")

    # after a restart everything ends

    def _finish(self) -> None:
        """Carriers that take and deliver everything for a while; then validity and grace pass."""
        for _ in range(3):
            self.clock.now_ms += 2 * MINUTE_MS
            self._portions(self._move_due)
            for carriers in LANES:
                for carrier in carriers:
                    self._send(lane_of(self.store, *carriers), carrier, carriers.index(carrier))
        for _ in range(2):
            self.clock.now_ms += 3 * DAY_MS
            self._portions(self._expire)

    def _move_due(self, now_ms: int) -> int:
        moved: int = commit(self.store, lambda txn: txn.move_due(now_ms, _PORTION))[0]
        return moved

    def _expire(self, now_ms: int) -> int:
        ended: int = commit(self.store, lambda txn: txn.expire(now_ms, _PORTION, GRACE_MS))[0]
        return ended

    def _portions(self, work: Callable[[int], int]) -> None:
        while work(self.clock.now_ms) >= _PORTION:
            pass

    def _send(self, lane: int, carrier: str, index: int) -> None:
        """All that this carrier may have, answered and receipted at once."""
        asked = claim(self.store, lane, carrier, _PORTION, index)
        while leased := commit(self.store, lambda txn: txn.claim([asked]))[0][0].leased:
            self._answer(carrier, leased)

    def _answer(self, carrier: str, leased: list[Leased]) -> None:
        store, now_ms = self.store, self.clock.now_ms
        outcomes, receipts = [], []
        for one in leased:
            message = one.message
            for part in range(one.first_part, message.segments):
                cid = f"again-{one.lease}-{message.id}-{part}"
                outcomes.append(sent(store, one, carrier, cid, part, message.segments))
                receipts.append(receipt(store, carrier, cid, message.destination))
        commit(store, lambda txn: txn.settle(outcomes, now_ms), lambda txn: txn.receipts(receipts, now_ms))

    def _all_final(self) -> None:
        totals = self.store.totals()
        if totals.accepted != totals.messages[Phase.FINAL]:
            self._say(f"{totals.accepted} accepted, but the end is {totals.messages}")
        for id in self._finished():
            found = self._find(id)
            if found is not None and found[1].phase != Phase.FINAL:
                self._say(f"message {id} never ends: it is {Phase(found[1].phase).name}")
        self._portions(self._move_due)
        events = Counter(
            row.event.message_id
            for endpoint in self.store.outbox_endpoints()
            for row in self.store.outbox_page(endpoint, 0, _MOST)
            if row.event.kind == EventKind.RECEIPT and row.event.final
        )
        for id in self.promises.accepted:
            told = id in self.promises.told
            most = 0 if told else 1
            least = 0 if id in self.promises.telling else 1
            if not least <= events[id] <= most:
                self._say(f"message {id} has {events[id]} final events to tell, told before: {told}")

    def _archive(self) -> None:
        while rows := self.store.pick_finished(self.clock.now_ms + DAY_MS, _PORTION):
            self.store.archive.write(rows)
            commit(self.store, lambda txn, rows=rows: txn.forget(rows))  # type: ignore[misc]


def main(log: Path, scratch: Path) -> None:
    cuts = [Cut(*json.loads(line)) for line in sys.stdin]
    for cut, image, promises in images(log, cuts):
        digest = blake2b(digest_size=16)
        for path, octets in sorted(image.items()):
            digest.update(path.encode() + b"\0" + (octets or b""))
        lay_out(image, scratch, random.Random(cut.at))
        print(json.dumps([cut, digest.hexdigest()]), flush=True)
        print(json.dumps(judge(scratch, promises, cut.at)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
