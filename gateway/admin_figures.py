"""The admin verbs of what passes and what waits: `top` and `queues.list`.

All of it is the running gateway's memory; of a stopped one the queues can be told, without their reasons.

Deliberately not here: the figures (gateway.figures), the reasons (gateway.overview), columns (gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from gateway.accounts import Accounts
from gateway.admin import AdminError, Nothing, Verb, typed
from gateway.admin_shapes import iso
from store.lmdb_store import LmdbStore

if TYPE_CHECKING:
    from gateway.figures import Figures
    from gateway.overview import LaneView

_COUNTED_EACH = 10_000
_COUNTED = 200_000


class Top(msgspec.Struct, forbid_unknown_fields=True):
    """`history`: also each of the last seconds."""

    history: bool = False


class FigureVerbs:
    """The verbs as methods. `figures` and `queues` are None when no gateway runs."""

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        figures: Figures | None,
        queues: Callable[[], list[LaneView]] | None,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._figures = figures
        self._queues = queues

    def table(self) -> dict[str, Verb]:
        return {"queues.list": typed(Nothing, self.list_queues), "top": typed(Top, self.top)}

    async def top(self, wish: Top) -> object:
        """Everything that gateway.figures tells."""
        if self._figures is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        shown = self._figures.snapshot()
        return replace(shown, history=self._figures.history()) if wish.history else shown

    async def list_queues(self, _: Nothing) -> object:
        """What waits, by lane, priority and account, and why; of a stopped gateway without a reason."""
        if self._queues is not None:
            return {"running": True, "lanes": self._queues()}
        names = {id: account.name for id, account in self._accounts.by_id.items()}
        lanes: dict[int, list[dict[str, object]]] = {}
        for one in self._store.waiting_queues(_COUNTED_EACH, _COUNTED):
            lanes.setdefault(one.lane, []).append(
                {
                    "account": names.get(one.account, str(one.account)),
                    "priority": one.priority,
                    "depth": one.count,
                    "more": one.more,
                    "oldest_at": iso(one.oldest_ms),
                }
            )
        return {
            "running": False,
            "lanes": [
                {
                    "lane": ">".join(
                        self._store.carrier_name(one) for one in self._store.lane(lane).carriers
                    ),
                    "queues": queues,
                }
                for lane, queues in lanes.items()
            ],
        }
