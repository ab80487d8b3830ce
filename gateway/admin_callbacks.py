"""The admin verbs of callbacks: which endpoints are behind, what was given up; send it again, try one now.

Counts are made by walking the outbox a page at a time, with traffic between the pages. An endpoint's state is
the running gateway's; on a stopped one nothing is shut.

Deliberately not here: delivering (gateway.callbacks), text for people (gateway.cli.callbacks), the text of a
message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_shapes import given_up_view, iso
from gateway.audit import entry
from gateway.callbacks.endpoint import EndpointState, Health
from gateway.callbacks.formats.standard import event_id, type_of
from gateway.callbacks.guard import Refused
from gateway.callbacks.pump import Trial
from gateway.previews import Preview, named, of
from router.nouns import Account, Event, EventKind, MessageState, Reason
from store import undelivered
from store.backlog import Backlog, BacklogWalk
from store.ids import first_id_at
from store.interface import AuditEntry, Endpoint, Transaction
from store.lmdb_store import LmdbStore
from store.names import origin_of
from store.outbox import account_url

MOST_COUNTED = 20_000  # given-up events, for a preview
MOST_TOLD = 20  # endpoints, one by one

_ANSWER_SHOWN = 2_048

_PORTION = 500
_BREATH_S = 0.002


class Pump(Protocol):
    """The part of gateway.callbacks.pump.CallbackPump that is used here."""

    def endpoints(self) -> list[EndpointState]: ...
    def enable(self, endpoint: int) -> bool: ...
    def hold(self, endpoint: int) -> set[int]: ...
    def release(self, endpoint: int) -> None: ...
    async def try_now(self, account: Account, event: Event, url: str) -> Trial: ...


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """One endpoint, all of one account, or all there are."""

    endpoint: int = 0
    account: str = ""
    all: bool = False


class ReplayOf(msgspec.Struct, forbid_unknown_fields=True):
    """One endpoint, all of one account, or all there are."""

    endpoint: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0
    account: str = ""
    all: bool = False
    preview: bool = False


class GivenUpOf(msgspec.Struct, forbid_unknown_fields=True):
    """Of one endpoint, of one account, or (neither given) of all."""

    endpoint: int = 0
    account: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


class EventsOf(msgspec.Struct, forbid_unknown_fields=True):
    """A page of one endpoint's events; `after` is what the page before gave."""

    endpoint: int
    state: Literal["ready", "retrying", "given_up"] = "ready"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class OfEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    endpoint: int


class Try(msgspec.Struct, forbid_unknown_fields=True):
    """A made-up event of this kind, to where the account's own ones go."""

    account: str
    kind: Literal["receipt", "received"] = "receipt"


class CallbackVerbs:
    """The verbs as methods. `pump` is None when no gateway runs."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        pump: Pump | None,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._pump = pump
        self.why: Callable[[int], str] = lambda endpoint: ""  # its events do not go

    def table(self) -> dict[str, Verb]:
        return {
            "callbacks.attempts": typed(OfEndpoint, self.attempts),
            "callbacks.enable": typed(Which, self.enable),
            "callbacks.events": typed(EventsOf, self.events),
            "callbacks.given_up": typed(GivenUpOf, self.given_up),
            "callbacks.list": typed(Which, self.list_endpoints),
            "callbacks.replay": typed(ReplayOf, self.replay),
            "callbacks.test": typed(Try, self.test),
        }

    async def list_endpoints(self, wish: Which) -> object:
        """Endpoints with anything to tell or not in order; with `all` the others, too. Most behind first."""
        chosen = self._chosen(wish)
        walk = BacklogWalk(self._store)
        while walk.step():
            await trio.sleep(_BREATH_S)
        states = self._states()
        views = [
            self._view(endpoint, walk.found.get(endpoint.id), states.get(endpoint.id))
            for endpoint in chosen.values()
            if wish.all or endpoint.id in walk.found or not self._is_good(endpoint, states.get(endpoint.id))
        ]
        return sorted(views, key=lambda view: (-view["backlog"], -view["given_up"], view["endpoint"]))

    async def given_up(self, wish: GivenUpOf) -> object:
        """Events that nobody took, the last given up first."""
        chosen = self._chosen(Which(wish.endpoint, wish.account))
        rows = self._store.given_up(list(chosen), wish.limit)
        return [
            given_up_view(row, self._name(chosen[row.endpoint]), chosen[row.endpoint].origin) for row in rows
        ]

    async def events(self, wish: EventsOf) -> object:
        """What an endpoint has not taken: ready, waiting for its next attempt, or given up; oldest first."""
        self._chosen(Which(wish.endpoint))
        try:
            after = bytes.fromhex(wish.after)
        except ValueError:
            raise bad_arguments("after", f"{wish.after!r} is no page", "as the page before gave it") from None
        rows, goes_on = undelivered.page(self._store, wish.endpoint, wish.state, after, wish.limit)
        return {"events": [_event_view(row, wish.state) for row in rows], "after": goes_on.hex()}

    async def attempts(self, wish: OfEndpoint) -> object:
        """How the last requests to an endpoint ended since the gateway started, the newest first."""
        self._chosen(Which(wish.endpoint))
        state = self._states().get(wish.endpoint)
        return [
            {
                "at": iso(one.at_ms),
                "message_id": str(one.message_id),
                "events": one.events,
                "outcome": one.outcome,
                "error": one.error,
                "duration_s": round(one.duration_s, 6),
            }
            for one in reversed(state.recent if state is not None else ())
        ]

    async def test(self, wish: Try) -> object:
        """One made-up event, signed and sent as the account's own ones are: what was sent, what came back.

        Nothing of it is kept, it is not tried again, and it changes nothing about the endpoint.
        """
        with account_problems():
            account = self._accounts.named(wish.account)
        now_ms = self._wall_ms()
        event = _made_up(account.id, wish.kind == "received", now_ms)
        url = account_url(account, event)
        if not url:
            raise AdminError(
                "account",
                f"account {account.name!r} has no callback URL",
                f"signalbox account set {account.name} --callback-url URL",
            )
        if self._pump is None:
            raise AdminError("not_running", "the gateway is not running", "signalbox run")
        told = entry(now_ms, "callbacks.tested", f"account:{account.name}", after={"kind": wish.kind})
        await self._execute(lambda txn: txn.audit(told))
        try:
            trial = await self._pump.try_now(account, event, url)
        except Refused as refused:
            raise AdminError("refused", f"it is not sent: {refused}") from None
        request = trial.request
        return {
            "account": account.name,
            "taken": not trial.error,
            "error": trial.error,
            "status": trial.status,
            "answer": trial.body[:_ANSWER_SHOWN].decode("utf-8", "replace"),
            "duration_s": round(trial.duration_s, 6),
            "request": {
                "method": request.method,
                "url": request.url,
                "headers": dict(request.headers),
                "body": request.body.decode("utf-8", "replace"),
            },
        }

    async def replay(self, given: ReplayOf) -> object:
        """What was given up until now goes out again, with all its attempts before it."""
        wish = Which(given.endpoint, given.account, given.all)
        _check_said(wish)
        chosen = self._chosen(wish)
        if given.preview:
            return self._previewed(chosen)
        replayed = await self._replayed(chosen, _subject(wish))
        return {"replayed": replayed, "shut": self._shut(chosen) if replayed else []}

    def _previewed(self, chosen: Mapping[int, Endpoint]) -> Preview:
        rows = self._store.given_up(list(chosen), MOST_COUNTED + 1)
        counts: dict[int, int] = {}
        for row in rows[:MOST_COUNTED]:
            counts[row.endpoint] = counts.get(row.endpoint, 0) + 1
        touches = [
            f"{of(count, 'event')} of {self._name(chosen[id])} go to {chosen[id].origin} again"
            for id, count in sorted(counts.items(), key=lambda one: -one[1])[:MOST_TOLD]
        ]
        if len(counts) > MOST_TOLD:
            touches.append(f"and those of {of(len(counts) - MOST_TOLD, 'more endpoint')}")
        shut = [
            f"{one['origin']} ({one['state']})" for one in self._shut(chosen) if one["endpoint"] in counts
        ]
        warnings = [f"nothing is sent now to {named(shut)}: they wait there"] if shut else []
        more = len(rows) > MOST_COUNTED
        return Preview(touches or ["nothing was given up there"], sum(counts.values()), more, warnings)

    async def _replayed(self, chosen: Mapping[int, Endpoint], subject: str) -> int:
        now_ms = self._wall_ms()
        replayed = 0
        moved = _PORTION
        told = partial(entry, now_ms, "callbacks.replayed", subject)
        while moved == _PORTION:
            before_ms = now_ms + 1  # what was given up in this very millisecond, too
            moved = await self._execute(partial(_replay, list(chosen), before_ms, replayed, told))
            replayed += moved
        return replayed

    async def enable(self, wish: Which) -> object:
        """Try endpoints that are disabled, paused or open now, and not when their time comes.

        Where an account's URL said 410, what was given up there since goes out again, too.
        """
        _check_said(wish)
        chosen = self._chosen(wish)
        if self._pump is None:
            raise AdminError(
                "not_running",
                "the gateway is not running, so no endpoint is shut",
                "a gateway that starts tries every endpoint: signalbox run",
            )
        shut = self._shut(chosen)
        if shut:
            names = [endpoint["origin"] for endpoint in shut]
            told = entry(self._wall_ms(), "callbacks.enabled", _subject(wish), after={"endpoints": names})
            await self._execute(lambda txn: txn.audit(told))
        gone = {id: endpoint for id, endpoint in chosen.items() if self._is_gone(endpoint)}
        for account in {endpoint.account for endpoint in gone.values()}:
            with account_problems():
                await self._accounts.update(self._accounts.by_id[account].name, callbacks_gone=())
        replayed = await self._replayed(gone, _subject(wish)) if gone else 0
        for endpoint in shut:
            self._pump.enable(endpoint["endpoint"])
        return {"enabled": shut, "replayed": replayed}

    def _is_gone(self, endpoint: Endpoint) -> bool:
        """Whether a URL of the account's own there said 410."""
        account = self._accounts.by_id.get(endpoint.account)
        gone = account.callbacks_gone if account is not None else ()
        return any(origin_of(url) == endpoint.origin for url in gone)

    def owner_of(self, endpoint: int) -> int | None:
        """The account of an endpoint; None where there is no such one."""
        known = self._store.outbox_endpoints().get(endpoint)
        return known.account if known is not None else None

    def _chosen(self, wish: Which) -> dict[int, Endpoint]:
        """The endpoints meant, by id."""
        known = self._store.outbox_endpoints()
        if wish.endpoint:
            if wish.endpoint not in known:
                raise bad_arguments(
                    "endpoint", f"there is no endpoint {wish.endpoint}", "signalbox callbacks list --all"
                )
            known = {wish.endpoint: known[wish.endpoint]}
        if not wish.account:
            return dict(known)
        with account_problems():
            owner = self._accounts.named(wish.account).id
        return {id: endpoint for id, endpoint in known.items() if endpoint.account == owner}

    def _states(self) -> dict[int, EndpointState]:
        return {state.id: state for state in self._pump.endpoints()} if self._pump else {}

    def _shut(self, chosen: Mapping[int, Endpoint]) -> list[dict[str, Any]]:
        """Those to which nothing is sent for now."""
        return [
            self._state_view(chosen[id], state)
            for id, state in self._states().items()
            if id in chosen and not self._is_good(chosen[id], state)
        ]

    def _is_good(self, endpoint: Endpoint, state: EndpointState | None) -> bool:
        return _is_good(state) and not self._is_gone(endpoint)

    def _view(
        self, endpoint: Endpoint, backlog: Backlog | None, state: EndpointState | None
    ) -> dict[str, Any]:
        found = backlog or Backlog()
        last_error = (state.last_error if state else "") or found.last_error
        return {
            **self._state_view(endpoint, state),
            "backlog": found.ready + found.retrying,
            "retrying": found.retrying,
            "given_up": found.given_up,
            "oldest_at": iso(found.oldest_ms),
            "last_error": last_error,
            "reason": self.why(endpoint.id) if found.ready + found.retrying else "",
        }

    def _state_view(self, endpoint: Endpoint, state: EndpointState | None) -> dict[str, Any]:
        until_s = max(0.0, state.resume_at - trio.current_time()) if state and state.resume_at else 0.0
        return {
            "endpoint": endpoint.id,
            "account": self._name(endpoint),
            "origin": endpoint.origin,
            "state": self._health(endpoint, state),
            "tried_again_at": iso(self._wall_ms() + int(until_s * 1000)) if until_s else "",
        }

    def _health(self, endpoint: Endpoint, state: EndpointState | None) -> str:
        if self._is_gone(endpoint):
            return Health.DISABLED.value
        return state.health.value if state else ""

    def _name(self, endpoint: Endpoint) -> str:
        account = self._accounts.by_id.get(endpoint.account)
        return account.name if account else ""


def _event_view(row: undelivered.Undelivered, state: str) -> dict[str, Any]:
    event = row.event
    is_receipt = event.kind == EventKind.RECEIPT
    return {
        "id": event_id(event),
        "type": type_of(event),
        "at": iso(event.at_ms),
        "message_id": str(event.message_id) if event.kind != EventKind.ACCOUNT else "",
        "state": MessageState(event.state).name if is_receipt else "",
        "attempts": event.attempts,
        "last_error": event.last_error,
        "due_at": iso(row.at_ms if state == undelivered.RETRYING else 0),
        "given_up_at": iso(row.at_ms if state == undelivered.GIVEN_UP else 0),
    }


def _made_up(account: int, received: bool, now_ms: int) -> Event:
    """An event of a message that there is not."""
    kind, source, destination = EventKind.RECEIPT, "Signalbox", "447700900123"
    if received:
        kind, source, destination = EventKind.MO, destination, "12345"
    return Event(
        kind,
        account,
        first_id_at(now_ms),
        now_ms,
        source,
        destination,
        MessageState.DELIVERED,
        Reason.RECEIPT,
        "000",
        text="A test of callbacks",
        client_ref="test",
        accepted_ms=now_ms,
        source_type=0x50 if not received else 0x11,
        done_ms=now_ms,
    )


def _replay(
    endpoints: list[int], before_ms: int, replayed: int, told: Callable[..., AuditEntry], txn: Transaction
) -> int:
    """One portion behind `replayed` others; the trail tells of the first and of the whole."""
    moved = txn.replay_given_up(endpoints, before_ms, _PORTION)
    replayed, complete = replayed + moved, moved < _PORTION
    if replayed and (replayed == moved or complete):
        txn.audit(told(after={"events": replayed, "complete": complete}))
    return moved


def _subject(wish: Which) -> str:
    chosen = [wish.account, str(wish.endpoint or "")]
    return ":".join(["callbacks", *filter(None, chosen)])


def _is_good(state: EndpointState | None) -> bool:
    return state is None or state.health in (Health.GOOD, Health.FAILING)


def _check_said(wish: Which) -> None:
    if not wish.endpoint and not wish.account and not wish.all:
        raise bad_arguments("endpoint", "say which callbacks", "--endpoint ID, --account NAME or --all")
