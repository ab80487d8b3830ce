"""Who is signed in to the console: sessions, each a row of the store under the SHA-256 of its token.

A session begins with a sign-in (gateway.sign_in), and ends when its person signs out, has not used it for
`idle_s`, after `longest_s` however it was used, when somebody ends it, and when its operator is removed or
gets another role or password: each row has a stamp of these, so that a change made while no gateway ran ends
it as well. Sessions outlive a restart of the gateway.

A request costs a look and a compare: `signed_in` never waits and writes nothing. The last use is noted in
memory and written in bulk, as gateway.key_use does.

Invariants: no token is kept anywhere, here or in the store; a session is there only once it is durable; at
most MOST_OF_ONE sessions of an operator and MOST in all, where the one unused for longest goes first; the
trail tells of each beginning and end; what is lost in a crash is at most EVERY_S of last uses.

Deliberately not here: passwords, codes, locks (gateway.sign_in); cookies and forms (gateway.console).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b, sha256

import msgspec
import structlog
import trio

from gateway.audit import Actor, acting, entry
from gateway.committer import Committing
from gateway.key_use import network
from gateway.keys import role_of
from gateway.operators import Operator, Operators
from router.roles import scopes_of
from store.interface import AuditEntry, StoreError, Transaction
from store.values import Damaged

MOST = 1_000
MOST_OF_ONE = 20
CONFIRMED_S = 600.0
EVERY_S = 60.0
LONGEST_AGENT = 120

_TOKEN_BYTES = 32
_LONGEST_TOKEN = 128
_NOTE_MS = 1_000  # uses closer together are one
_ROWS = 64
_PAUSE_S = 10.0
_MOST_WAITING = 1_000  # entries for the trail, while the store takes none
_AT_ONCE = 100

log = structlog.get_logger("sessions")

Also = Callable[[Transaction], object]


class SignedIn(msgspec.Struct, frozen=True):
    """Who asks. `csrf`: what every form of this session must bring along; `session`: its id, no secret."""

    name: str
    role: str
    scopes: frozenset[str]
    csrf: str
    session: str

    def __repr__(self) -> str:
        return f"SignedIn({self.name!r}, {self.role!r}, {self.session!r})"


class SessionView(msgspec.Struct, frozen=True):
    """A session as people see it. Times in UTC ms; `how`: password, password+code, link, oidc…"""

    id: str
    name: str
    how: str
    started_ms: int
    last_ms: int
    ends_ms: int
    address: str
    agent: str


class _Row(msgspec.Struct, array_like=True):
    """Only grows at the end."""

    digest: bytes  # of the token
    name: str
    stamp: bytes
    started_ms: int
    last_ms: int
    address: str
    how: str
    agent: str

    def __repr__(self) -> str:
        return f"_Row({self.name!r}, {_id_of(self.digest)!r})"


class _Live:
    """A session, and what of it is only in memory."""

    __slots__ = ("confirmed_ms", "fresh", "row", "who")

    def __init__(self, row: _Row, confirmed_ms: int = 0) -> None:
        self.row = row
        self.who: SignedIn | None = None  # made when its token first comes by
        self.confirmed_ms = confirmed_ms
        self.fresh = False  # used since the last write


class Sessions:
    """`signed_in` for each request; `start` and `end`; `run` and `save` write."""

    def __init__(
        self,
        committer: Committing,
        operators: Operators,
        wall_ms: Callable[[], int],
        *,
        idle_s: float = 3_600.0,
        longest_s: float = 43_200.0,
    ) -> None:
        self._committer = committer
        self._operators = operators
        self._wall_ms = wall_ms
        self._idle_ms = int(idle_s * 1000)
        self._longest_ms = int(longest_s * 1000)
        self._by_digest: dict[bytes, _Live] = {}
        self._by_id: dict[str, _Live] = {}
        self._changed_rows: set[int] = set()
        self._entries: list[AuditEntry] = []
        self._wake = trio.Event()
        self._one_at_a_time = trio.Lock()
        self._load()
        operators.changed.append(self._follow)

    # asking

    def signed_in(self, token: str, address: str) -> SignedIn | None:
        """Whose token it is, None: nobody's (any more). `address` is noted as the last one. Never waits."""
        if not token or len(token) > _LONGEST_TOKEN:
            return None
        digest = _digest(token)
        live = self._by_digest.get(digest)
        if live is None or not hmac.compare_digest(live.row.digest, digest):
            return None
        now_ms = self._wall_ms()
        if now_ms >= self._ends_ms(live.row):
            self._expire(live, now_ms)
            return None
        row = live.row
        if now_ms - row.last_ms >= _NOTE_MS or row.address != address:
            row.last_ms = max(now_ms, row.last_ms)
            row.address = address
            live.fresh = True
        if live.who is None:
            role = role_of(self._operators.by_name[row.name])
            live.who = SignedIn(row.name, role, scopes_of(role), _csrf_of(token), _id_of(digest))
        return live.who

    def still(self, who: SignedIn) -> bool:
        """Whether the session goes on, for what lasts longer than a request; that is no use of it."""
        live = self._by_id.get(who.session)
        return live is not None and self._wall_ms() < self._ends_ms(live.row)

    def confirmed(self, who: SignedIn) -> bool:
        """Whether its person showed a password or code within CONFIRMED_S: asked before secrets are shown and
        operators are made or changed."""
        live = self._by_id.get(who.session)
        return live is not None and self._wall_ms() < live.confirmed_ms + CONFIRMED_S * 1000

    def confirm(self, who: SignedIn) -> None:
        """A password or code was right just now (gateway.sign_in)."""
        live = self._by_id.get(who.session)
        if live is not None:
            live.confirmed_ms = self._wall_ms()

    def of(self, name: str) -> list[SessionView]:
        """An operator's sessions, the one used last first."""
        now_ms = self._wall_ms()
        there = (live.row for live in self._by_digest.values() if live.row.name == name)
        views = [self._view(row) for row in there if now_ms < self._ends_ms(row)]
        return sorted(views, key=lambda view: -view.last_ms)

    def __len__(self) -> int:
        return len(self._by_digest)

    def networks(self) -> Iterable[tuple[str, str, int]]:
        """(operator, network that a session of theirs was last used from, UTC ms)"""
        rows = (live.row for live in self._by_digest.values())
        return [(row.name, network(row.address), row.last_ms) for row in rows]

    def _view(self, row: _Row) -> SessionView:
        return SessionView(
            _id_of(row.digest),
            row.name,
            row.how,
            row.started_ms,
            row.last_ms,
            self._ends_ms(row),
            row.address,
            row.agent,
        )

    def _ends_ms(self, row: _Row) -> int:
        return min(row.last_ms + self._idle_ms, row.started_ms + self._longest_ms)

    # beginning and ending

    async def start(
        self, name: str, address: str, how: str, agent: str = "", also: Also | None = None
    ) -> tuple[str, SignedIn]:
        """(token, for the cookie and nowhere else; who it is). `also` is written in the same commit.

        Errors: OperatorProblem when there is no such operator, StoreError.
        """
        operator = self._operators.named(name)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        now_ms = self._wall_ms()
        agent = "".join(one for one in agent[:LONGEST_AGENT] if one.isprintable())
        row = _Row(_digest(token), name, _stamp_of(operator), now_ms, now_ms, address, how, agent)
        with trio.CancelScope(shield=True):
            async with self._one_at_a_time:
                with acting(Actor(name, "console")):
                    self._make_room(name)
                    after = {"address": address, "how": how}
                    told = entry(now_ms, "session.started", _subject(row), None, after)
                await self._put({_row_number(row.digest)}, [told], also, row)
                live = self._by_digest[row.digest] = _Live(row, now_ms)
                self._by_id[_id_of(row.digest)] = live
        self._follow()  # the operator may have changed meanwhile
        role = role_of(operator)
        who = live.who = SignedIn(name, role, scopes_of(role), _csrf_of(token), _id_of(row.digest))
        return token, who

    async def end(self, id: str, why: str) -> bool:
        """It opens nothing any more, durably. False: there was none of that id. Errors: StoreError."""
        live = self._by_id.get(id)
        if live is None:
            return False
        self._drop(live, why)
        await self.save()
        return True

    async def end_all(self, name: str, why: str, but: str = "") -> int:
        """All of an operator, but the one of that id. Returns how many. Errors: StoreError."""
        there = [live for live in self._by_digest.values() if live.row.name == name]
        going = [live for live in there if _id_of(live.row.digest) != but]
        for live in going:
            self._drop(live, why)
        if going:
            await self.save()
        return len(going)

    def _make_room(self, name: str) -> None:
        of_one = [live for live in self._by_digest.values() if live.row.name == name]
        if len(of_one) >= MOST_OF_ONE:
            self._drop(_stalest(of_one), f"more than {MOST_OF_ONE} of one operator")
        elif len(self._by_digest) >= MOST:
            self._drop(_stalest(self._by_digest.values()), f"more than {MOST} in all")

    def _follow(self) -> None:
        """Operators changed: sessions that were begun under another role or password end."""
        stamps = {name: _stamp_of(operator) for name, operator in self._operators.by_name.items()}
        for live in [*self._by_digest.values()]:
            row = live.row
            if row.stamp != stamps.get(row.name):
                gone = row.name not in stamps
                self._drop(live, "the operator was removed" if gone else "another role or password")

    def _expire(self, live: _Live, now_ms: int) -> None:
        row = live.row
        why = "too old" if now_ms >= row.started_ms + self._longest_ms else "not used"
        with acting(Actor("signalbox", "gateway")):
            self._drop(live, why)

    def _drop(self, live: _Live, why: str) -> None:
        row = live.row
        self._by_digest.pop(row.digest, None)
        self._by_id.pop(_id_of(row.digest), None)
        self._changed_rows.add(_row_number(row.digest))
        self.tell(entry(self._wall_ms(), "session.ended", _subject(row), None, {"why": why}))

    def tell(self, told: AuditEntry) -> None:
        """For the trail, in the next write."""
        if len(self._entries) < _MOST_WAITING:
            self._entries.append(told)
        self._wake.set()

    # writing

    def _load(self) -> None:
        """What was written before; a damaged row is as none: its people sign in again. Errors: StoreError."""
        for number in range(_ROWS):
            try:
                value = self._committer.store.meta(_row_name(number))
                rows = _decode(value) if value else []
            except (Damaged, msgspec.MsgspecError):
                log.error("some sessions are unreadable: their people sign in again", row=number)
                self._changed_rows.add(number)
                continue
            for row in rows:
                live = self._by_digest[row.digest] = _Live(row)
                self._by_id[_id_of(row.digest)] = live
        self._follow()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: ends and entries for the trail at once, last uses once a minute."""
        task_status.started()
        due = trio.current_time() + EVERY_S
        while True:
            with trio.move_on_after(max(0.0, due - trio.current_time())):
                await self._wake.wait()
            if trio.current_time() >= due:
                due = trio.current_time() + EVERY_S
                self._end_old()
                self._take_uses()
            try:
                await self._write()
            except StoreError as error:
                log.error("sessions are not written down", error=str(error), hint=error.hint)
                await trio.sleep(_PAUSE_S)

    async def finish(self) -> None:
        """For the end: all that is noted, if the store takes it."""
        try:
            await self.save()
        except StoreError as error:
            log.error("sessions are not written down", error=str(error), hint=error.hint)

    async def save(self) -> None:
        """All that is noted. Errors: StoreError."""
        self._take_uses()
        await self._write()

    def _end_old(self) -> None:
        now_ms = self._wall_ms()
        for live in [one for one in self._by_digest.values() if now_ms >= self._ends_ms(one.row)]:
            self._expire(live, now_ms)

    def _take_uses(self) -> None:
        for live in self._by_digest.values():
            if live.fresh:
                live.fresh = False
                self._changed_rows.add(_row_number(live.row.digest))

    async def _write(self) -> None:
        """Errors: StoreError; then all of it waits for the next time."""
        with trio.CancelScope(shield=True):
            async with self._one_at_a_time:
                self._wake = trio.Event()
                while self._entries or self._changed_rows:
                    await self._put(set(), [])

    async def _put(
        self, numbers: set[int], told: list[AuditEntry], also: Also | None = None, new: _Row | None = None
    ) -> None:
        """One commit of what changed; the lock is held. Errors: StoreError."""
        waiting, changed = self._entries[:_AT_ONCE], self._changed_rows
        del self._entries[: len(waiting)]
        self._changed_rows = set()
        values = self._values(changed | numbers, new)
        try:
            await self._committer.execute(partial(_put, values, [*waiting, *told], also))
        except BaseException:
            self._entries[:0] = waiting
            self._changed_rows |= changed
            self._wake.set()
            raise

    def _values(self, numbers: set[int], new: _Row | None) -> list[tuple[str, bytes]]:
        rows: dict[int, list[_Row]] = {number: [] for number in numbers}
        for row in [*(live.row for live in self._by_digest.values()), *([new] if new else [])]:
            if (number := _row_number(row.digest)) in rows:
                rows[number].append(row)
        return [(_row_name(number), msgspec.msgpack.encode(kept)) for number, kept in sorted(rows.items())]


_decode = msgspec.msgpack.Decoder(list[_Row]).decode


def csrf_right(who: SignedIn, given: str) -> bool:
    """Whether a form brought its session's CSRF token; compared in constant time."""
    return hmac.compare_digest(who.csrf.encode(), given.encode("utf-8", "replace"))


def _put(
    values: list[tuple[str, bytes]], told: list[AuditEntry], also: Also | None, txn: Transaction
) -> None:
    for name, value in values:
        txn.put_meta(name, value)
    for one in told:
        txn.audit(one)
    if also is not None:
        also(txn)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()


def _csrf_of(token: str) -> str:
    """Follows from the token, and tells nothing of it."""
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def _id_of(digest: bytes) -> str:
    return "s" + blake2b(digest, digest_size=8, person=b"session id").hexdigest()


def _stamp_of(operator: Operator) -> bytes:
    """Of what a session is bound to."""
    said = (operator.name, operator.created_ms, role_of(operator), operator.password, operator.subject)
    return blake2b(msgspec.json.encode(said), digest_size=16, person=b"session of").digest()


def _subject(row: _Row) -> str:
    return f"session:{row.name}:{_id_of(row.digest)}"


def _stalest(lives: Iterable[_Live]) -> _Live:
    return min(lives, key=lambda live: live.row.last_ms)


def _row_number(digest: bytes) -> int:
    return digest[0] % _ROWS


def _row_name(number: int) -> str:
    return f"sessions:{number}"
