"""The admin verbs of traffic: one message's story, cancelling it, a test message, what carriers sent us.

Invariant: a text leaves only where it was asked for, or with the one message that was.

Deliberately not here: text for people (gateway.cli), suspending or rerouting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Verb, WrongArguments, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_queues import Cancellation
from gateway.admin_shapes import inbound_view, message_view, receipt_view
from gateway.audit import entry
from gateway.door import Accepted, Refusal, Submission
from gateway.finding import WishProblem, cursor_of, query_of, row_of
from gateway.http.table.messages import MessagesQuery
from gateway.logs import mask_number
from gateway.previews import Preview
from gateway.searching import Inline, SearchUnavailable
from router.nouns import Account, Encoding, Message, MessageState, Phase, Progress
from store.interface import NO_ID, AuditEntry, StoreError, Transaction
from store.lmdb_store import LmdbStore
from store.search import Page, Query

if TYPE_CHECKING:
    from gateway.app import Gateway

_NUMBER_DIGITS = range(7, 16)  # of E.164, national ones too; ids have 17 to 19
_LOOK_STOPPED = 200_000  # rows that a page looks at where no gateway runs: some seconds


class Submitter(Protocol):
    """gateway.door.Door, or nothing at all on a stopped gateway."""

    def submit(
        self,
        account: Account,
        requests: list[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
    ) -> None: ...


Rows = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Shown(msgspec.Struct, forbid_unknown_fields=True):
    """`text` false: without its text, which is no view that the audit trail tells of."""

    id: str
    text: bool = True


class Send(msgspec.Struct, forbid_unknown_fields=True):
    to: str
    sender: str
    text: str
    account: str = ""
    smart_encoding: bool | None = None


class Inbox(msgspec.Struct, forbid_unknown_fields=True):
    """Of one account, of nobody, or (neither given) of all."""

    account: str = ""
    unowned: bool = False
    limit: Rows = 100
    before: str = ""  # the id behind which to go on
    text: bool = False


class Unmatched(msgspec.Struct, forbid_unknown_fields=True):
    limit: Rows = 100
    text: bool = False


class TrafficVerbs:
    """The verbs as methods. `door` is None when no gateway runs."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        door: Submitter | None,
        search: Callable[[Query], Awaitable[Page]] | None = None,
        region: Callable[[], str] = lambda: "",
        gateway: Gateway | None = None,
    ) -> None:
        """`search`, `gateway` None: no gateway runs; `region`: the house's, for national numbers."""
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._door = door
        self._search = search
        self._region = region
        self._gateway = gateway

    def table(self) -> dict[str, Verb]:
        return {
            "inbox": typed(Inbox, self.inbox),
            "message": typed(Shown, self.message),
            "message.cancel": typed(Cancellation, self.cancel),
            "message.list": typed(MessagesQuery, self.list_messages),
            "receipts.unmatched": typed(Unmatched, self.unmatched),
            "send": typed(Send, self.send),
        }

    async def message(self, wish: Shown) -> object:
        message, progress = self.found(wish.id)
        account = self._accounts.by_id.get(message.account)
        name = account.name if account else ""
        view = message_view(message, progress, name, self._store.carrier_name)
        view |= self._waits(message, progress)
        if wish.text:
            await self._tell_of_view(f"message:{message.id}", {"account": name})
        else:
            view |= {"text": "", "data": ""}
        return view

    def _waits(self, message: Message, progress: Progress) -> dict[str, object]:
        """`lane`, and `waits`: why it does not move and what is before it. Empty: it does not wait, or no
        gateway runs."""
        if self._gateway is None:
            return {}
        from gateway.whereabouts import waits  # a stopped gateway's verbs go without what it needs

        found = waits(self._gateway, message, progress)
        if found is None:
            return {}
        return {
            "lane": found.lane,
            "lane_waits": found.why,
            "before": found.before,
            "before_more": found.more,
            "waits": found.told,
        }

    async def _tell_of_view(self, subject: str, what: dict[str, object]) -> None:
        """Into the audit trail, before a text is shown. Errors: AdminError where it cannot be written."""
        told = entry(self._wall_ms(), "message.viewed", subject, after=what)
        try:
            await self._execute(partial(_tell, told))
        except StoreError as error:
            raise AdminError(
                "not_told",
                f"no text is shown, because the audit trail cannot be told of it: {error}",
                f"{error.hint}; without texts (--no-text) it is shown all the same".removeprefix("; "),
            ) from None

    async def list_messages(self, wish: MessagesQuery) -> object:
        """A page of messages that fit, newest first; `next` is the cursor of the next one, "" = that was all.
        `complete` false: the page ended early, for its cost."""
        accounts = self._accounts.by_id
        known = {account.name: account.id for account in accounts.values()}
        try:
            query = query_of(wish, wish.limit, wish.cursor, self._wall_ms(), self._region(), known)
            page = await (self._search or self._search_stopped)(query)
        except WishProblem as problem:
            raise WrongArguments(problem.problems) from None
        except SearchUnavailable as why:
            raise AdminError("unavailable", f"{why}", "try again in a second") from None
        rows = [
            row_of(
                hit, self._store.carrier_name, accounts[hit.account].name if hit.account in accounts else ""
            )
            for hit in page.hits
        ]
        return {"messages": rows, "next": cursor_of(query, page), "complete": not page.short}

    async def _search_stopped(self, query: Query) -> Page:
        """In the store of a gateway that does not run: nobody waits for the loop."""
        inline = Inline(self._store, 0)
        try:
            return await inline.find(msgspec.structs.replace(query, look=_LOOK_STOPPED))
        finally:
            inline.close()

    async def cancel(self, wish: Cancellation) -> object:
        """`cancelled`, or `leased`: a carrier has it, it will not be sent again. Else refused, saying why."""
        message, progress = self.found(wish.id)
        if wish.preview:
            return _cancelled(message, progress)
        outcome = await self._execute(partial(self._cancel, message))
        if outcome in ("cancelled", "leased"):
            return {"id": wish.id, "outcome": outcome}
        if outcome == "sent":
            raise AdminError(
                "sent",
                f"a carrier has accepted message {wish.id}; it cannot be called back",
                f"its receipt will tell what became of it: signalbox message {wish.id}",
            )
        _, progress = self.found(wish.id)
        state = MessageState(progress.state).name
        raise AdminError(
            "final", f"message {wish.id} has ended already, as {state}", "there is nothing left to cancel"
        )

    def _cancel(self, message: Message, txn: Transaction) -> str:
        now_ms = self._wall_ms()
        outcome = txn.cancel(message.account, message.id, now_ms)
        if outcome in ("cancelled", "leased"):
            txn.audit(entry(now_ms, "message.cancelled", f"message:{message.id}", after={"outcome": outcome}))
        return outcome

    def found(self, id: str) -> tuple[Message, Progress]:
        """A message, by the id that somebody wrote. Errors: AdminError."""
        found = self._store.find_any(int(id)) if _is_id(id) else None
        if found is None:
            raise AdminError(
                "not_found",
                f"no message {id}",
                _hint(id),
            )
        return found

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

        told = entry(
            self._wall_ms(),
            "message.sent",
            f"account:{account.name}",
            after={"to": mask_number(wish.to), "from": wish.sender},
        )
        await self._execute(partial(_tell, told))  # first: there is no message that nobody asked for
        request = Submission(
            to=wish.to, sender=wish.sender, text=wish.text, smart_encoding=wish.smart_encoding
        )
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
            "state": (MessageState.SCHEDULED if answer.send_at_ms else MessageState.ENROUTE).name,
            "segments": answer.segments,
            "encoding": Encoding(answer.encoding).name.lower(),
        }

    async def inbox(self, wish: Inbox) -> object:
        """Inbound messages, newest first."""
        if wish.account and wish.unowned:
            raise bad_arguments("account", "what is unowned has no account", "give one of the two")
        if wish.before and not _is_id(wish.before):
            raise bad_arguments("before", f"{wish.before!r} is no id", "the id of the last one shown")
        with account_problems():
            accounts = [self._accounts.named(wish.account).id] if wish.account else [0]
        if not wish.account and not wish.unowned:
            accounts += self._accounts.by_id
        before = int(wish.before or NO_ID)
        names = {account.id: account.name for account in self._accounts.by_id.values()}
        found = self._store.inbox(accounts, wish.limit, before)
        if wish.text and found:
            whose = "(unowned)" if wish.unowned else wish.account or "(all)"
            span = {
                "account": whose,
                "messages": len(found),
                "from": str(found[-1].id),
                "to": str(found[0].id),
            }
            await self._tell_of_view("mo:", span)
        return [
            inbound_view(message, names.get(message.account, ""), self._store.carrier_name, wish.text)
            for message in found
        ]

    async def unmatched(self, wish: Unmatched) -> object:
        """Receipts that no message has claimed, newest first; first those that still wait."""
        waiting = self._store.parked(wish.limit)
        given_up = self._store.unmatched(wish.limit - len(waiting))
        name = self._store.carrier_name
        if wish.text and (waiting or given_up):
            await self._tell_of_view("receipts:unmatched", {"receipts": len(waiting) + len(given_up)})
        return [
            *(receipt_view(row, True, name, wish.text) for row in waiting),
            *(receipt_view(row, False, name, wish.text) for row in given_up),
        ]

    def _sender(self, name: str) -> Account:
        """The account asked for; without a name the only one, or the demo's."""
        names = sorted(self._accounts.by_name)
        chosen = name or (names[0] if len(names) == 1 else "demo")
        if not name and chosen not in names:
            raise bad_arguments(
                "account", "say which account sends", f"--account one of: {', '.join(names) or 'none yet'}"
            )
        with account_problems():
            return self._accounts.named(chosen)


def _tell(told: AuditEntry, txn: Transaction) -> None:
    txn.audit(told)


def _cancelled(message: Message, progress: Progress) -> Preview:
    """What cancelling it would do."""
    what = f"message {message.id} to {mask_number(message.destination)}"
    if progress.phase == Phase.FINAL:
        return Preview([f"{what} has ended already, as {MessageState(progress.state).name}: nothing is done"])
    if progress.phase == Phase.AWAITING_RECEIPT:
        return Preview([f"{what} has been accepted by a carrier: it cannot be called back"])
    if progress.phase == Phase.LEASED:
        told = "a carrier has it in hand: it goes out, unless it comes back unsent"
        return Preview([f"{what} is not sent again if it comes back unsent"], 1, warnings=[told])
    maybe = ["it may have been sent: nobody knows"] if progress.phase == Phase.UNKNOWN else []
    return Preview([f"{what} ends as DELETED, and its account is told"], 1, warnings=maybe)


def _hint(id: str) -> str:
    """What to do about an id that leads to no message. What has as few digits as a number is one, maybe."""
    digits = id.strip().removeprefix("+").replace(" ", "")
    if digits.isascii() and digits.isdigit() and len(digits) in _NUMBER_DIGITS:
        return f"that looks like a number; messages to it: signalbox message list --to {digits}"
    return "ids are decimal, as the submit answered them; finished ones go after the retention time"


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 1 << 63
