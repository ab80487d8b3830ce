"""What the admin socket can be asked: accounts, one message's story, the store's figures, a test message.

`standard_verbs` returns the table for gateway.admin; the CLI runs the same functions on a store it opened
itself when no gateway runs. Results are plain JSON values; ids are decimal strings, times ISO 8601 UTC.

Invariants: no key, hash or secret leaves except the ones made by that very call.

Deliberately not here: the socket (gateway.admin), text for people (gateway.cli), suspending or rerouting.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import trio

from gateway.accounts import AccountProblem, Accounts
from gateway.admin import AdminError, Verb, typed
from gateway.callbacks.signature import encode_secret
from gateway.cli import VERSION
from gateway.door import Accepted, Refusal, Submission
from router.nouns import (
    Account,
    Encoding,
    Message,
    MessageClass,
    MessageState,
    Phase,
    Progress,
    Reason,
    ReceiptWish,
    Step,
)
from store.interface import Transaction
from store.lmdb_store import LmdbStore

T = TypeVar("T")
TIMEOUTS_S = {"store.backup": 6 * 3600.0, "store.check": 6 * 3600.0, "store.release": 6 * 3600.0}
Execute = Callable[[Callable[[Transaction], T]], Awaitable[T]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SYSTEM_ID = re.compile(r"[!-~]{1,15}")
_RELEASE_PORTION = 500


class Submitter(Protocol):
    """gateway.door.Door, or nothing at all on a stopped gateway."""

    def submit(
        self,
        account: Account,
        requests: list[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
    ) -> None: ...


Batch = Annotated[int, msgspec.Meta(ge=1, le=100)]


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    callback_url: str = ""
    system_id: str = ""
    password_hash: str = ""  # scrypt$…: the password itself never comes here
    numbers: list[str] = []
    weight: int = 1
    private_callbacks: bool = False
    callback_batch: Batch = 1


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """None leaves a setting as it is."""

    name: str
    callback_url: str | None = None
    numbers: list[str] | None = None
    weight: int | None = None
    private_callbacks: bool | None = None
    callback_batch: Batch | None = None
    suspended: bool | None = None


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    keep_previous: bool = True


class ById(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class Send(msgspec.Struct, forbid_unknown_fields=True):
    to: str
    sender: str
    text: str
    account: str = ""


class Backup(msgspec.Struct, forbid_unknown_fields=True):
    target: str  # an absolute path, as the gateway sees it


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class AdminVerbs:
    """The verbs as methods. `door` is None when no gateway runs; `facts` adds to `ping`."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        *,
        door: Submitter | None = None,
        facts: Callable[[], dict[str, object]] | None = None,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._door = door
        self._facts = facts

    def table(self) -> dict[str, Verb]:
        return {
            "ping": typed(Nothing, self.ping),
            "account.create": typed(NewAccount, self.account_create),
            "account.list": typed(Nothing, self.account_list),
            "account.rotate": typed(Rotation, self.account_rotate),
            "account.set": typed(AccountChange, self.account_set),
            "account.show": typed(Named, self.account_show),
            "message": typed(ById, self.message),
            "send": typed(Send, self.send),
            "store.backup": typed(Backup, self.store_backup),
            "store.check": typed(Nothing, self.store_check),
            "store.release": typed(Nothing, self.store_release),
            "store.stats": typed(Nothing, self.store_stats),
        }

    async def ping(self, _: Nothing) -> object:
        facts = self._facts() if self._facts else {}
        return {"version": VERSION, "pid": os.getpid(), **facts}

    # accounts

    async def account_create(self, wish: NewAccount) -> object:
        """The new account's view, with `api_key` and `callback_secret`: this once."""
        if not _NAME.fullmatch(wish.name):
            raise _bad("name", f"{wish.name!r} is no account name", "up to 64 of A-Z a-z 0-9 . _ -")
        check_callback_url(wish.callback_url)
        check_weight(wish.weight)
        secret = encode_secret(secrets.token_bytes(32))
        check_system_id(wish)
        with _account_problems():
            account, key = await self._accounts.create(
                wish.name,
                self._wall_ms(),
                callback_url=wish.callback_url,
                callback_secrets=(secret,),
                numbers=check_numbers(wish.numbers),
                weight=wish.weight,
                private_callbacks=wish.private_callbacks,
                callback_batch=wish.callback_batch,
                system_ids=(wish.system_id,) if wish.system_id else (),
                password_hashes=(wish.password_hash,) if wish.password_hash else (),
            )
        return {**self._view(account), "api_key": key, "callback_secret": secret}

    async def account_rotate(self, wish: Rotation) -> object:
        """A new key; the previous one goes on working until the next rotation unless told otherwise."""
        with _account_problems():
            account, key = await self._accounts.rotate(wish.name, wish.keep_previous)
        return {**self._view(account), "api_key": key}

    async def account_set(self, wish: AccountChange) -> object:
        settings: dict[str, object] = {
            field: value
            for field in ("callback_url", "weight", "private_callbacks", "callback_batch", "suspended")
            if (value := getattr(wish, field)) is not None
        }
        if wish.numbers is not None:
            settings["numbers"] = check_numbers(wish.numbers)
        check_callback_url(wish.callback_url or "")
        check_weight(1 if wish.weight is None else wish.weight)
        with _account_problems():
            return self._view(await self._accounts.update(wish.name, **settings))

    async def account_show(self, wish: Named) -> object:
        with _account_problems():
            return self._view(self._accounts.named(wish.name))

    async def account_list(self, _: Nothing) -> object:
        return [self._view(account) for _, account in sorted(self._accounts.by_name.items())]

    def _view(self, account: Account) -> dict[str, object]:
        """What an operator may see: no hashes, no secrets."""
        return {
            "id": account.id,
            "name": account.name,
            "key_prefixes": list(account.key_prefixes),
            "callback_url": account.callback_url,
            "private_callbacks": account.private_callbacks,
            "callback_batch": account.callback_batch,
            "numbers": list(account.numbers),
            "system_ids": list(account.system_ids),
            "weight": account.weight,
            "max_queued": account.max_queued,
            "queued": self._store.queued(account.id),
            "suspended": account.suspended,
            "created_at": iso(account.created_ms),
        }

    # messages

    async def message(self, wish: ById) -> object:
        found = self._store.find_any(int(wish.id)) if _is_id(wish.id) else None
        if found is None:
            raise AdminError(
                "not_found",
                f"no message {wish.id}",
                "ids are decimal, as the submit answered them; finished ones go after the retention time",
            )
        message, progress = found
        account = self._accounts.by_id.get(message.account)
        return message_view(message, progress, account.name if account else "", self._store.carrier_name)

    async def send(self, wish: Send) -> object:
        """One message through the door, as if the account had submitted it."""
        if self._door is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        account = self._sender(wish.account)
        answered = trio.Event()
        answers: list[Accepted | Refusal] = []

        def done(results: list[Accepted | Refusal]) -> None:
            answers.extend(results)
            answered.set()

        request = Submission(to=wish.to, sender=wish.sender, text=wish.text)
        self._door.submit(account, [request], done)
        await answered.wait()
        answer = answers[0]
        if isinstance(answer, Refusal):
            raise AdminError(
                answer.code, f"{answer.field}: {answer.detail}" if answer.field else answer.detail
            )
        return {
            "id": str(answer.id),
            "account": account.name,
            "state": MessageState(answer.state).name,
            "segments": answer.segments,
            "encoding": Encoding(answer.encoding).name.lower(),
        }

    def _sender(self, name: str) -> Account:
        """The account asked for; without a name the only one, or the demo's."""
        names = sorted(self._accounts.by_name)
        chosen = name or (names[0] if len(names) == 1 else "demo")
        if not name and chosen not in names:
            raise _bad(
                "account", "say which account sends", f"--account one of: {', '.join(names) or 'none yet'}"
            )
        with _account_problems():
            return self._accounts.named(chosen)

    # the store

    async def store_stats(self, _: Nothing) -> object:
        totals = self._store.totals()
        phases = {phase.name.lower(): phase for phase in Phase}
        return {
            "accepted": {"messages": totals.accepted, "segments": totals.accepted_segments},
            "phases": {
                name: {"messages": totals.messages[phase], "segments": totals.segments[phase]}
                for name, phase in phases.items()
            },
            "conserved": totals.accepted == sum(totals.messages)
            and totals.accepted_segments == sum(totals.segments),
            "accounts": len(self._accounts.by_id),
            "ready_lanes": len(self._store.ready_lanes()),
            "outbox_endpoints": len(self._store.outbox_endpoints()),
            "usage": self._store.usage(),
        }

    async def store_check(self, _: Nothing) -> object:
        """Every record, index and counter; reads in a thread beside the traffic."""
        from store.check import check

        return await trio.to_thread.run_sync(check, self._store)

    async def store_backup(self, wish: Backup) -> object:
        from store.backup import backup

        if not os.path.isabs(wish.target):
            raise _bad("target", f"{wish.target!r} is not an absolute path")
        await trio.to_thread.run_sync(backup, self._store, Path(wish.target))
        return {"target": wish.target}

    async def store_release(self, _: Nothing) -> object:
        """What a restore held becomes ready, a few hundred a transaction."""
        released = 0
        while True:
            moved = await self._execute(lambda txn: txn.release_held(Reason.RESTORED, _RELEASE_PORTION))
            released += moved
            if moved < _RELEASE_PORTION:
                return {"released": released}


# --- shapes ----------------------------------------------------------------------------------------------


def message_view(
    message: Message, progress: Progress, account: str, carrier_name: Callable[[int], str]
) -> dict[str, object]:
    """A message and everything that happened to it, in words."""
    return {
        "id": str(message.id),
        "account": account,
        "from": message.source,
        "to": message.destination,
        "text": message.text,
        "data": message.data.hex(),
        "encoding": Encoding(message.encoding).name.lower(),
        "segments": message.segments,
        "class": MessageClass(message.message_class).name.lower(),
        "priority": message.priority,
        "receipt": ReceiptWish(message.receipt).name.lower(),
        "route": message.route,
        "tags": list(message.tags),
        "client_ref": message.client_ref,
        "accepted_at": iso(message.accepted_ms),
        "send_at": iso(message.send_at_ms),
        "expires_at": iso(message.expires_ms),
        "phase": Phase(progress.phase).name,
        "state": MessageState(progress.state).name,
        "reason": Reason(progress.reason).name,
        "until": iso(progress.until_ms),
        "finished_at": iso(progress.finished_ms),
        "attempts": progress.attempts,
        "possible_duplicate": progress.possible_duplicate,
        "parts": [
            {
                "carrier": carrier_name(part.carrier),
                "carrier_message_id": part.carrier_message_id,
                "state": MessageState(part.state).name,
                "error": part.error,
            }
            for part in progress.parts
        ],
        "timeline": [
            {
                "at": iso(at_ms),
                "step": Step(step).name,
                "carrier": carrier_name(carrier) if carrier else "",
                "detail": detail,
            }
            for at_ms, step, carrier, detail in progress.events
        ],
    }


def iso(at_ms: int) -> str:
    """UTC milliseconds as ISO 8601; "" for 0, which everywhere means "none"."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- what is allowed -------------------------------------------------------------------------------------


def check_callback_url(url: str) -> None:
    """http or https with a host; where it may point is the callback sender's business."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > 2048:
        raise _bad("callback_url", f"{url[:80]!r} is no callback URL", "write https://host/path")


def check_system_id(wish: NewAccount) -> None:
    """A system_id has a password, and is one that SMPP can carry."""
    if bool(wish.system_id) != bool(wish.password_hash):
        raise _bad("system_id", "a system_id and a password belong together", "give both or neither")
    if wish.system_id and not _SYSTEM_ID.fullmatch(wish.system_id):
        raise _bad("system_id", "a system_id has 1 to 15 visible ASCII characters", "SMPP 3.4 §5.2.1")


def check_numbers(numbers: list[str]) -> tuple[str, ...]:
    """Numbers an account owns, as MOs carry them: digits (a short code, or E.164 without +)."""
    cleaned = tuple(number.lstrip("+").replace(" ", "") for number in numbers)
    for number, given in zip(cleaned, numbers, strict=True):
        if not (number.isascii() and number.isdigit() and 2 <= len(number) <= 20):
            raise _bad(
                "numbers", f"{given!r} is no number", "digits: a short code, or E.164 such as 447700900123"
            )
    return cleaned


def check_weight(weight: int) -> None:
    if not 1 <= weight <= 1000:
        raise _bad("weight", f"{weight} is no weight", "1 to 1000")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 1 << 63


def _bad(field: str, message: str, hint: str = "") -> AdminError:
    return AdminError("bad_arguments", f"{field}: {message}", hint)


@contextlib.contextmanager
def _account_problems() -> Iterator[None]:
    """Turn what gateway.accounts refuses into an answer for the caller."""
    try:
        yield
    except AccountProblem as problem:
        raise AdminError("account", str(problem)) from None
