"""When each key was used last and from where, and what of it is told: bounded, never a write per request.

A request costs nothing here while its key goes on being used from the same address. Otherwise the use is
noted in memory: the time, the address, and, the first time in a day (UTC) that this key comes from that
address, an entry of the audit trail. Once a minute, and at a stop, what was noted is written in one go; an
entry for the trail is written at once. A key that is refused (an address that it may not be used from, after
its end, after it was revoked or replaced, for what it may not) is counted, and told in the event log and the
trail once an hour for each key and cause; the newest MOST_GONE of those that are gone are still known.

Invariants: at most ADDRESSES_A_DAY entries of the trail for each key and day, an IPv6 peer counting by its
/64; what is not written after a crash is at most EVERY_S of last uses, and the count of a day begins again
with what was written.

Deliberately not here: whether a key is good (gateway.http.auth), the keys (gateway.keys).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv6Address, IPv6Network

import msgspec
import structlog
import trio

from gateway.audit import Actor, acting, entry
from gateway.committer import Committing, Keeping
from store.interface import AuditEntry, StoreError, Transaction
from store.values import Damaged

EVERY_S = 60.0
ADDRESSES_A_DAY = 20
TELL_AGAIN_S = 3_600.0
MOST_GONE = 1_000
REFUSALS = {
    "unknown": "no key, or one that is not known (any more)",
    "revoked": "after it was revoked, or replaced",
    "address": "from an address that this key may not be used from",
    "expired": "after the key's end",
    "scope": "for something that the key, or its role, may not do",
    "kind": "an account's key where an operator's is needed, or the other way round",
}

_DAY_MS = 86_400_000
_ROWS = 64
_ROWS_AT_ONCE = 16
_AT_ONCE = 100
_PAUSE_S = 10.0
_MOST_WAITING = 1_000  # entries for the trail, while the store takes none
_GONE = "key_use:gone"
_KINDS = {
    "revoked": "key.revoked_used",
    "address": "key.wrong_address",
    "expired": "key.expired",
    "scope": "key.over_scope",
    "kind": "key.over_scope",
}

log = structlog.get_logger("keys")

Tell = Callable[..., None]  # (kind, subject, text, figures, warning=…), as HealthWatch.tell


class Use:
    """Of one key. `at_ms` 0: it was never used since it is noted."""

    __slots__ = ("address", "addresses", "at_ms", "day", "id")

    def __init__(self, id: str) -> None:
        self.id = id
        self.at_ms = 0
        self.address = ""
        self.day = 0
        self.addresses: list[str] = []  # of that day, as the trail was told of them


class Noted:
    """What somebody who checks keys has of one secret of a key.

    `address` is where it was used from a moment ago, "" where the next use is to be noted.
    """

    __slots__ = ("address", "fresh", "use", "who")

    def __init__(self, who: str, use: Use) -> None:
        self.who = who  # account:NAME or operator:NAME
        self.use = use
        self.address = ""
        self.fresh = False  # noted since the last write


class KeyUse:
    """`seen` and `refused` note; `run` and `save` write."""

    def __init__(self, wall_ms: Callable[[], int], clock: Callable[[], float] = trio.current_time) -> None:
        self._wall_ms = wall_ms
        self._clock = clock
        self._uses: dict[str, Use] = {}
        self._recent: list[Noted] = []
        self._entries: list[AuditEntry] = []
        self._wake = trio.Event()
        self._told_at: dict[tuple[str, str], float] = {}  # (key, cause) → when it was told
        self._since: dict[tuple[str, str], int] = {}  # how often since then
        self._gone: dict[str, tuple[str, str]] = {}  # hash of a secret → (who, id), the newest last
        self._gone_changed = False
        self.refusals = dict.fromkeys(REFUSALS, 0)
        self.tell: Tell = lambda *_, **__: None

    # noting

    def of(self, id: str) -> Use:
        """The use of a key; a new one was never used."""
        return self._uses.setdefault(id, Use(id))

    def last(self, id: str) -> tuple[int, str]:
        """(UTC ms of the last use, address), (0, "") for none; up to EVERY_S old while it goes on."""
        use = self._uses.get(id)
        return (0, "") if use is None else (use.at_ms, use.address)

    def seen(self, noted: Noted, address: str) -> None:
        """A key was used, for the first time in this minute or from another address than just before."""
        use = noted.use
        noted.address = use.address = address
        use.at_ms = self._wall_ms()
        if not noted.fresh:
            noted.fresh = True
            self._recent.append(noted)
        day = use.at_ms // _DAY_MS
        if day != use.day:
            use.day, use.addresses = day, []
        where = network(address)
        if where not in use.addresses and len(use.addresses) < ADDRESSES_A_DAY:
            use.addresses.append(where)
            self._note(noted, use, where)

    def _note(self, noted: Noted, use: Use, where: str) -> None:
        after: dict[str, object] = {"address": where}
        if len(use.addresses) == ADDRESSES_A_DAY:
            after["note"] = "further addresses of this day are not told"
        self._add(noted, "key.used", use.id, use.at_ms, after)

    def _add(self, noted: Noted, act: str, id: str, at_ms: int, after: dict[str, object]) -> None:
        if len(self._entries) >= _MOST_WAITING:
            return
        with acting(Actor(noted.who.removeprefix("operator:"), "http")):
            self._entries.append(entry(at_ms, act, subject(noted.who, id), None, after))
        self._wake.set()

    def gone(self, digest: str, who: str, id: str) -> None:
        """A secret opens nothing any more; whoever comes with it later is told of by name."""
        self._gone.pop(digest, None)
        if len(self._gone) >= MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._gone[digest] = (who, id)
        self._gone_changed = True

    def unknown(self, digest: str, address: str) -> None:
        """A secret that opens nothing; "" = none came."""
        known = self._gone.get(digest) if digest else None
        if known is None:
            self.refused("unknown")
        else:
            self.refused("revoked", Noted(known[0], Use(known[1])), address)

    def refused(self, cause: str, noted: Noted | None = None, address: str = "") -> None:
        """A key, or none, was not taken; `cause` is of REFUSALS."""
        self.refusals[cause] += 1
        if noted is None or cause not in _KINDS:
            return
        known = (noted.use.id, cause)
        count = self._since[known] = self._since.get(known, 0) + 1
        now = self._clock()
        last = self._told_at.get(known)
        if last is not None and now - last < TELL_AGAIN_S:
            return
        self._told_at[known] = now
        self._since[known] = 0
        after = {"cause": cause, "address": network(address), "times": count}
        self._add(noted, "key.refused", noted.use.id, self._wall_ms(), after)
        self.tell(
            _KINDS[cause],
            subject(noted.who, noted.use.id),
            f"refused: used {REFUSALS[cause]}",
            {"address": network(address), "times": count},
            warning=cause == "address",
        )

    # writing

    def load(self, store: Keeping) -> None:
        """What was written before; a damaged row is as none. Errors: StoreError."""
        try:
            kept_gone = store.meta(_GONE)
            self._gone = _decode_gone(kept_gone) if kept_gone else {}
        except (Damaged, msgspec.MsgspecError):
            log.error("which keys were revoked is unreadable; their use is told as that of unknown ones")
        for number in range(_ROWS):
            try:
                row = store.meta(_row_name(number))
                kept = _decode(row) if row else {}
            except (Damaged, msgspec.MsgspecError):
                log.error("when some keys were used last is unreadable; it is noted anew", row=number)
                continue
            for id, one in kept.items():
                use = self.of(id)
                use.at_ms, use.address, use.day, use.addresses = (
                    one.at_ms,
                    one.address,
                    one.day,
                    one.addresses,
                )

    def keep(self, ids: Iterable[str]) -> None:
        """These are all keys that there are: what is noted of others goes."""
        there = set(ids)
        for id in [one for one in self._uses if one not in there]:
            del self._uses[id]
        there.update(id for _, id in self._gone.values())
        for known in [one for one in self._told_at if one[0] not in there]:
            del self._told_at[known]
            self._since.pop(known, None)

    async def run(
        self, committer: Committing, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until cancelled: entries for the trail at once, last uses once a minute."""
        task_status.started()
        due = self._clock() + EVERY_S
        while True:
            with trio.move_on_after(max(0.0, due - self._clock())):
                await self._wake.wait()
            is_due = self._clock() >= due
            if is_due:
                due = self._clock() + EVERY_S
            if not await self._write(committer, with_uses=is_due):
                await trio.sleep(_PAUSE_S)

    async def save(self, committer: Committing) -> None:
        """For the end: all that is noted."""
        await self._write(committer, with_uses=True)

    async def _write(self, committer: Committing, *, with_uses: bool) -> bool:
        """False: the store takes nothing now; what is for the trail waits for the next time."""
        self._wake = trio.Event()
        entries, self._entries = self._entries, []
        rows = self._rows(self._taken()) if with_uses else []
        if self._gone_changed:
            rows.append((_GONE, msgspec.msgpack.encode(self._gone)))
            self._gone_changed = False
        try:
            with trio.CancelScope(shield=True):
                while entries:
                    await committer.execute(partial(_tell, entries[:_AT_ONCE]))
                    del entries[:_AT_ONCE]
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    await committer.execute(partial(_put, rows[start : start + _ROWS_AT_ONCE]))
        except StoreError as error:
            log.error("the use of keys is not written down", error=str(error), hint=error.hint)
            self._entries = [*entries, *self._entries][:_MOST_WAITING]
            self._gone_changed = bool(self._gone)
            if self._entries:
                self._wake.set()
            return False
        return True

    def _taken(self) -> set[int]:
        """The rows in which something is new; from now on every next use is noted anew."""
        recent, self._recent = self._recent, []
        for noted in recent:
            noted.address = ""
            noted.fresh = False
        return {_row_of(noted.use.id) for noted in recent}

    def _rows(self, numbers: set[int]) -> list[tuple[str, bytes]]:
        kept: dict[int, dict[str, _Row]] = {number: {} for number in numbers}
        for use in self._uses.values():
            number = _row_of(use.id)
            if number in kept and use.at_ms:
                kept[number][use.id] = _Row(use.at_ms, use.address, use.day, use.addresses)
        return [(_row_name(number), msgspec.msgpack.encode(row)) for number, row in sorted(kept.items())]


class _Row(msgspec.Struct, array_like=True):
    at_ms: int
    address: str
    day: int
    addresses: list[str]


_decode = msgspec.msgpack.Decoder(dict[str, _Row]).decode
_decode_gone = msgspec.msgpack.Decoder(dict[str, tuple[str, str]]).decode


def _tell(entries: list[AuditEntry], txn: Transaction) -> None:
    for told in entries:
        txn.audit(told)


def _put(rows: list[tuple[str, bytes]], txn: Transaction) -> None:
    for name, row in rows:
        txn.put_meta(name, row)


def _row_of(id: str) -> int:
    return sum(id.encode()) % _ROWS


def _row_name(number: int) -> str:
    return f"key_use:{number}"


def subject(who: str, id: str) -> str:
    """How the trail and the event log name a key: key:OWNER:ID."""
    return f"key:{who.partition(':')[2]}:{id}"


def network(address: str) -> str:
    """What an address counts as: an IPv6 peer by its /64, of which it owns all."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
