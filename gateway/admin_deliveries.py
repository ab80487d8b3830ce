"""The admin verbs of what accounts are told: who is behind over which channel, receipts again, moving.

A replay is a job: how far it came is kept in the transaction of each portion, so that one whose gateway was
stopped goes on where it was. A move holds the sender of what is moved while it lasts; what is under way
stays with it.

Invariant: a portion is some hundreds of rows, with traffic between the portions.

Deliberately not here: delivering (gateway.smpp_server.deliveries), events that were given up
(gateway.admin_callbacks), text for people (gateway.cli.deliveries).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_shapes import iso
from gateway.audit import entry
from gateway.previews import Preview, of
from router.nouns import FINAL_STATES, Account, MessageState
from store.backlog import Backlog, BacklogWalk, joined, waiting
from store.ids import first_id_at
from store.interface import NO_ID, SMPP_ORIGIN, AuditEntry, Endpoint, FinishedPage, InboundPage, Transaction
from store.lmdb_store import LmdbStore

if TYPE_CHECKING:
    from gateway.smpp_server.server import SmppServer

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]

MOST_COUNTED = 20_000  # messages or events, for a preview

_PORTION = 300
_BREATH_S = 0.002
_PASSES = 3  # of a move: what comes due meanwhile may be put behind where it looked
_AGES = ("minute", "hour", "day", "older")


class Holder(Protocol):
    """The part of gateway.callbacks.pump.CallbackPump that is used here."""

    def hold(self, endpoint: int) -> set[int]: ...
    def release(self, endpoint: int) -> None: ...


class Backlogs(msgspec.Struct, forbid_unknown_fields=True):
    """Of one account; `all`: also those that are up to date."""

    account: str = ""
    all: bool = False


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """`since` and `until`: when messages were accepted, or received, ISO 8601. `resume`: what was cut off."""

    account: str
    since: str = ""
    until: str = ""
    id: str = ""
    state: str = ""
    kind: Literal["receipts", "received"] = "receipts"
    resume: bool = False
    abandon: bool = False
    preview: bool = False


class Move(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    to: Literal["http", "smpp"]
    preview: bool = False


class Job(msgspec.Struct):
    """A replay as the store keeps it. `after`: the id behind which it goes on."""

    after: int
    to: int
    state: int
    receipts: int = 0
    messages: int = 0
    inbound: bool = False  # MOs, and not receipts


class DeliveryVerbs:
    """The verbs as methods. `smpp` and `pump` are None when no gateway runs."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        smpp: SmppServer | None,
        pump: Holder | None,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._smpp = smpp
        self._pump = pump
        self._busy: set[int] = set()  # accounts with a job under way
        self.why: Callable[[int], str] = lambda account: ""  # what waits for its sessions does not go
        self.in_thread: InThread = trio.to_thread.run_sync

    def table(self) -> dict[str, Verb]:
        return {
            "deliveries.list": typed(Backlogs, self.list_backlogs),
            "deliveries.move": typed(Move, self.move),
            "deliveries.replay": typed(Replay, self.replay),
        }

    async def list_backlogs(self, wish: Backlogs) -> object:
        """Accounts with events that wait or were given up, by channel (smpp, http); most behind first."""
        chosen = self._named(wish.account).id if wish.account else 0
        now_ms = self._wall_ms()
        walk = BacklogWalk(self._store, now_ms)
        while walk.step():
            await trio.sleep(_BREATH_S)
        behind: dict[tuple[int, str], list[Backlog]] = {}
        for endpoint in self._store.outbox_endpoints().values():
            if chosen in (0, endpoint.account):
                channel = "smpp" if endpoint.origin == SMPP_ORIGIN else "http"
                found = behind.setdefault((endpoint.account, channel), [])
                found += [walk.found[endpoint.id]] if endpoint.id in walk.found else []
        views = [
            self._view(account, channel, joined(found), now_ms)
            for (account, channel), found in behind.items()
            if wish.all or found or self._unfinished(account)
        ]
        return sorted(
            views, key=lambda view: (-view["backlog"], -view["given_up"], view["account"], view["channel"])
        )

    def _view(self, account_id: int, channel: str, found: Backlog, now_ms: int) -> dict[str, Any]:
        account = self._accounts.by_id.get(account_id)
        port = self._smpp.deliveries.ports.get(account_id) if self._smpp and channel == "smpp" else None
        job = self._unfinished(account_id)
        return {
            "account": account.name if account else "",
            "channel": channel,
            "receivers": len(port.receivers) if port else 0,
            "backlog": found.ready + found.retrying,
            "retrying": found.retrying,
            "under_way": port.in_flight if port else 0,
            "ages": dict(zip(_AGES, found.ages, strict=True)),
            "oldest_age_s": (now_ms - found.waiting_ms) // 1000 if found.waiting_ms else None,
            "given_up": found.given_up,
            "oldest_at": iso(found.oldest_ms),
            "last_error": found.last_error,
            "reason": self.why(account_id) if channel == "smpp" and found.ready + found.retrying else "",
            "replay": {"messages": job.messages, "receipts": job.receipts} if job else None,
        }

    # replay

    async def replay(self, wish: Replay) -> object:
        """Receipts of finished messages (or MOs) once more, to where the account wants them now."""
        account = self._named(wish.account)
        if wish.preview:
            return await self._replay_previewed(account, self._job(wish, account))
        with self._alone(account):
            job = self._job(wish, account)
            while True:
                read = (
                    partial(self._store.inbound_page, account.id, job.after, job.to, _PORTION)
                    if job.inbound
                    else partial(
                        self._store.finished_page, account.id, job.after, job.to, job.state, _PORTION
                    )
                )
                page: FinishedPage | InboundPage = await self.in_thread(read)
                job = await self._execute(partial(self._portion, account, job, page, self._wall_ms()))
                if page.after is None:
                    break
                await trio.sleep(_BREATH_S)
        if wish.id and not job.messages:
            raise AdminError(
                "not_found",
                f"{account.name!r} has no {'inbound' if job.inbound else 'finished'} message {wish.id}",
                f"signalbox message {wish.id}",
            )
        return {"account": account.name, "messages": job.messages, "receipts": job.receipts}

    async def _replay_previewed(self, account: Account, job: Job) -> Preview:
        """Counted in pages, up to MOST_COUNTED."""
        looked, after = 0, job.after
        while looked < MOST_COUNTED:
            read: Callable[[], FinishedPage | InboundPage] = (
                partial(self._store.inbound_page, account.id, after, job.to, _PORTION)
                if job.inbound
                else partial(self._store.finished_page, account.id, after, job.to, job.state, _PORTION)
            )
            page: FinishedPage | InboundPage = await self.in_thread(read)
            looked += len(page.messages if isinstance(page, InboundPage) else page.pairs)
            if page.after is None:
                break
            after = page.after
            await trio.sleep(_BREATH_S)
        else:
            return Preview(_replayed(account, job, looked), looked, True)
        return Preview(_replayed(account, job, looked), looked)

    def _portion(
        self, account: Account, job: Job, page: FinishedPage | InboundPage, now_ms: int, txn: Transaction
    ) -> Job:
        """Tell of these, and note how far it came; the trail tells of the first portion and of the whole."""
        if isinstance(page, InboundPage):
            told, looked = txn.tell_inbound_again(page.messages, now_ms), len(page.messages)
        else:
            told, looked = txn.tell_again(page.pairs, now_ms), len(page.pairs)
        complete = page.after is None
        done = Job(
            job.to if page.after is None else page.after,
            job.to,
            job.state,
            job.receipts + told,
            job.messages + looked,
            job.inbound,
        )
        txn.put_meta(_job_name(account), b"" if complete else msgspec.json.encode(done))
        if done.messages and (not job.messages or complete):
            txn.audit(self._told("deliveries.replayed", account, done.receipts, complete))
        return done

    def _job(self, wish: Replay, account: Account) -> Job:
        """The wish as a job, or the one that was cut off. Errors: AdminError."""
        unfinished = self._unfinished(account.id)
        said = bool(wish.since or wish.until or wish.id or wish.state)
        if wish.resume:
            if said or wish.abandon:
                raise bad_arguments("resume", "what is to be replayed was said before", "give --resume alone")
            if unfinished is None:
                raise AdminError("not_found", f"no replay of {account.name!r} was cut off")
            return unfinished
        if unfinished is not None and not wish.abandon:
            raise AdminError(
                "unfinished",
                f"a replay of {account.name!r} was cut off after {unfinished.messages} messages",
                "--resume goes on with it, --abandon begins this one instead",
            )
        if not said:
            raise bad_arguments(
                "since", "say what to replay: --from TIME and --to TIME, --id ID, or --state STATE"
            )
        inbound = wish.kind == "received"
        if inbound and wish.state:
            raise bad_arguments("state", "inbound messages have none", "leave it out")
        if wish.id:
            return self._job_of_one(wish)
        first = first_id_at(_time("since", wish.since)) if wish.since else 1
        to = first_id_at(_time("until", wish.until)) if wish.until else NO_ID
        if first >= to:
            raise bad_arguments("until", "it lies before the beginning", "--from is the earlier one")
        return Job(first - 1, to, _state(wish.state), inbound=inbound)

    def _job_of_one(self, wish: Replay) -> Job:
        if wish.since or wish.until or wish.state:
            raise bad_arguments("id", "one message needs no range", "give --id alone")
        if not (wish.id.isascii() and wish.id.isdigit() and 0 < int(wish.id) < NO_ID - 1):
            raise bad_arguments("id", f"{wish.id!r} is no id", "decimal, as `signalbox message` shows it")
        return Job(int(wish.id) - 1, int(wish.id) + 1, -1, inbound=wish.kind == "received")

    def _unfinished(self, account: int) -> Job | None:
        kept = self._store.meta(f"replay:{account}")
        return msgspec.json.decode(kept, type=Job) if kept else None

    # move

    async def move(self, wish: Move) -> object:
        """What waits for the account's sessions goes to its callback URL, or the other way round."""
        account = self._named(wish.account)
        if wish.to == "http" and not account.callback_url:
            raise AdminError(
                "account",
                f"account {account.name!r} has no callback URL",
                f"signalbox account set {account.name} --callback-url URL",
            )
        if wish.to == "smpp" and not account.logins:
            raise AdminError(
                "account",
                f"account {account.name!r} has no system_id to bind with",
                f"signalbox account login add {account.name} SYSTEM_ID",
            )
        url = SMPP_ORIGIN if wish.to == "smpp" else account.callback_url
        if wish.preview:
            return self._move_previewed(account, wish.to)
        moved = 0
        with self._alone(account):
            for endpoint in list(self._store.outbox_endpoints().values()):
                if endpoint.account == account.id and (endpoint.origin == SMPP_ORIGIN) == (wish.to == "http"):
                    with self._held(endpoint) as skip:
                        moved += await self._move(account, endpoint.id, url, skip)
            if moved:
                told = self._told("deliveries.moved", account, moved, True, to=wish.to)
                await self._execute(lambda txn: txn.audit(told))
        return {"account": account.name, "to": wish.to, "moved": moved}

    def _move_previewed(self, account: Account, to: str) -> Preview:
        found = [
            waiting(self._store, one.id, MOST_COUNTED)
            for one in self._store.outbox_endpoints().values()
            if one.account == account.id and (one.origin == SMPP_ORIGIN) == (to == "http")
        ]
        there = "its callback URL" if to == "http" else "its SMPP sessions"
        touches = [f"{of(sum(found), 'event')} of {account.name} that wait go to {there}"]
        warnings = ["those that wait for their next attempt are moved, and not counted here"]
        return Preview(touches, sum(found), any(one >= MOST_COUNTED for one in found), warnings)

    async def _move(self, account: Account, endpoint: int, url: str, skip: Collection[int]) -> int:
        moved = 0
        for _ in range(_PASSES):
            in_pass, after = 0, b""
            while True:
                portion = await self._execute(
                    partial(_move_portion, endpoint, url, skip, self._wall_ms(), after)
                )
                in_pass += portion.count
                after = portion.after
                if not after:
                    break
                await trio.sleep(_BREATH_S)
            moved += in_pass
            if not in_pass:
                break
        return moved

    @contextmanager
    def _held(self, endpoint: Endpoint) -> Iterator[set[int]]:
        """Nothing more is sent to it in the block; the numbers of what is under way."""
        if self._smpp is None or self._pump is None:
            yield set()
            return
        over_smpp = endpoint.origin == SMPP_ORIGIN
        holder, key = (self._smpp.deliveries, endpoint.account) if over_smpp else (self._pump, endpoint.id)
        skip = holder.hold(key)
        try:
            yield skip
        finally:
            holder.release(key)

    # both

    @contextmanager
    def _alone(self, account: Account) -> Iterator[None]:
        if account.id in self._busy:
            raise AdminError(
                "busy", f"deliveries of {account.name!r} are being replayed or moved", "wait for it"
            )
        self._busy.add(account.id)
        try:
            yield
        finally:
            self._busy.discard(account.id)

    def _told(self, act: str, account: Account, events: int, complete: bool, **more: object) -> AuditEntry:
        changes = {"events": events, "complete": complete, **more}
        return entry(self._wall_ms(), act, f"deliveries:{account.name}", after=changes)

    def _named(self, name: str) -> Account:
        with account_problems():
            return self._accounts.named(name)


def _move_portion(
    endpoint: int, url: str, skip: Collection[int], now_ms: int, after: bytes, txn: Transaction
) -> Any:
    return txn.move_events(endpoint, url, skip, now_ms, _PORTION, after)


def _replayed(account: Account, job: Job, looked: int) -> list[str]:
    what = "inbound message" if job.inbound else "finished message"
    told = "it" if job.inbound else "its receipt, where one was asked for"
    touches = [f"{of(looked, what)} of {account.name}: {told} is told again, once each"]
    if job.messages:
        touches.append(f"behind {of(job.messages, 'message')} that were replayed before it was cut off")
    return touches


def _job_name(account: Account) -> str:
    return f"replay:{account.id}"


def _time(field: str, text: str) -> int:
    """UTC milliseconds of an ISO 8601 time; without a zone it is UTC. Errors: AdminError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise bad_arguments(
            field, f"{text!r} is no time", "such as 2030-01-31 or 2030-01-31T09:30:00Z"
        ) from None
    return max(0, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))


def _state(word: str) -> int:
    if not word:
        return -1
    names = {state.name: state for state in FINAL_STATES}
    if word.upper() not in names:
        raise bad_arguments("state", f"{word!r} is no final state", f"one of {', '.join(sorted(names))}")
    return int(MessageState[word.upper()])
