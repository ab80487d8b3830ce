"""The admin verbs of callbacks: which endpoints are behind, what was given up; send it again, try one now.

Counts are made by walking the outbox a page at a time, with traffic between the pages. An endpoint's state is
the running gateway's; on a stopped one nothing is shut.

Deliberately not here: delivering (gateway.callbacks), text for people (gateway.cli.callbacks), the text of a
message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Annotated, Any, Protocol

import msgspec
import trio

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_shapes import given_up_view, iso
from gateway.audit import entry
from gateway.callbacks.endpoint import EndpointState, Health
from store.backlog import Backlog, BacklogWalk
from store.interface import AuditEntry, Endpoint, Transaction
from store.lmdb_store import LmdbStore

_PORTION = 500
_BREATH_S = 0.002


class Pump(Protocol):
    """The part of gateway.callbacks.pump.CallbackPump that is used here."""

    def endpoints(self) -> list[EndpointState]: ...
    def enable(self, endpoint: int) -> bool: ...
    def hold(self, endpoint: int) -> set[int]: ...
    def release(self, endpoint: int) -> None: ...


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """One endpoint, all of one account, or all there are."""

    endpoint: int = 0
    account: str = ""
    all: bool = False


class GivenUpOf(msgspec.Struct, forbid_unknown_fields=True):
    """Of one endpoint, of one account, or (neither given) of all."""

    endpoint: int = 0
    account: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100


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

    def table(self) -> dict[str, Verb]:
        return {
            "callbacks.enable": typed(Which, self.enable),
            "callbacks.given_up": typed(GivenUpOf, self.given_up),
            "callbacks.list": typed(Which, self.list_endpoints),
            "callbacks.replay": typed(Which, self.replay),
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
            if wish.all or endpoint.id in walk.found or not _is_good(states.get(endpoint.id))
        ]
        return sorted(views, key=lambda view: (-view["backlog"], -view["given_up"], view["endpoint"]))

    async def given_up(self, wish: GivenUpOf) -> object:
        """Events that nobody took, the last given up first."""
        chosen = self._chosen(Which(wish.endpoint, wish.account))
        rows = self._store.given_up(list(chosen), wish.limit)
        return [
            given_up_view(row, self._name(chosen[row.endpoint]), chosen[row.endpoint].origin) for row in rows
        ]

    async def replay(self, wish: Which) -> object:
        """What was given up until now goes out again, with all its attempts before it."""
        _check_said(wish)
        chosen = self._chosen(wish)
        now_ms = self._wall_ms()
        replayed = 0
        moved = _PORTION
        told = partial(entry, now_ms, "callbacks.replayed", _subject(wish))
        while moved == _PORTION:
            moved = await self._execute(partial(_replay, list(chosen), now_ms, replayed, told))
            replayed += moved
        return {"replayed": replayed, "shut": self._shut(chosen) if replayed else []}

    async def enable(self, wish: Which) -> object:
        """Try endpoints that are disabled, paused or open now, and not when their time comes."""
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
        for account in {known.account for known in chosen.values()}:
            gone = self._accounts.by_id.get(account)
            if gone is not None and gone.callbacks_gone:
                with account_problems():
                    await self._accounts.update(gone.name, callbacks_gone=())
        for endpoint in shut:
            self._pump.enable(endpoint["endpoint"])
        return {"enabled": shut}

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
            if id in chosen and not _is_good(state)
        ]

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
        }

    def _state_view(self, endpoint: Endpoint, state: EndpointState | None) -> dict[str, Any]:
        until_s = max(0.0, state.resume_at - trio.current_time()) if state and state.resume_at else 0.0
        until_s = 0.0 if until_s == inf else until_s  # until somebody enables it
        return {
            "endpoint": endpoint.id,
            "account": self._name(endpoint),
            "origin": endpoint.origin,
            "state": state.health.value if state else "",
            "tried_again_at": iso(self._wall_ms() + int(until_s * 1000)) if until_s else "",
        }

    def _name(self, endpoint: Endpoint) -> str:
        account = self._accounts.by_id.get(endpoint.account)
        return account.name if account else ""


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
