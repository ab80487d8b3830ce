"""The admin verbs of routes: the way a message would go, explained; suspend, resume, another rate or weights.

Deliberately not here: explaining (gateway.explain), doing what is ordered (gateway.terms), text for people
(gateway.cli).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from config.model import RouteConfig
from gateway.accounts import Accounts
from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.admin_carriers import HIGHEST_TPS, order_view
from gateway.door import Refusal, Submission
from gateway.orders import LONGEST_S, ROUTE, ROUTE_RATE, WEIGHTS, Orders, told
from gateway.previews import Previews
from router.lanes import MAX_CARRIERS
from router.nouns import Account

HIGHEST_WEIGHT = 1_000_000

Explainer = Callable[[Account | None, Submission, int], dict[str, Any] | Refusal]

LONGEST_TEXT = 39_015  # 255 parts of 153: beyond any configuration
MessageClass = Literal["otp", "transactional", "promotional", "bulk"]
Word = Annotated[str, msgspec.Meta(max_length=64)]


class Explain(msgspec.Struct, forbid_unknown_fields=True):
    """`account` "" = nobody in particular; `at_ms` 0 = now."""

    to: Word
    sender: Word
    text: Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)] = ""
    account: Word = ""
    message_class: MessageClass = "transactional"
    tags: Annotated[tuple[Word, ...], msgspec.Meta(max_length=10)] = ()
    at_ms: Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)] = 0


class RouteSuspension(msgspec.Struct, forbid_unknown_fields=True):
    """`for_s`: how long; 0: until it is resumed."""

    name: Word
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class RouteResumption(msgspec.Struct, forbid_unknown_fields=True):
    name: Word
    preview: bool = False


class RouteRate(msgspec.Struct, forbid_unknown_fields=True):
    """`tps`: segments a second; 0: the configured rate again."""

    name: Word
    tps: Annotated[float, msgspec.Meta(ge=0, le=HIGHEST_TPS)]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class RouteWeights(msgspec.Struct, forbid_unknown_fields=True):
    """`weights`: by carrier, those that are not named keep theirs; empty: the configured ones again."""

    name: Word
    weights: Annotated[
        dict[str, Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_WEIGHT)]],
        msgspec.Meta(max_length=MAX_CARRIERS),
    ]
    for_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)] = 0
    preview: bool = False


class RouteVerbs:
    """`explainer` and `routes` are None when no gateway runs: then nobody knows how they are."""

    def __init__(
        self,
        accounts: Accounts,
        wall_ms: Callable[[], int],
        explainer: Explainer | None,
        orders: Orders,
        previews: Previews,
        routes: Callable[[], Sequence[RouteConfig]] | None = None,
    ) -> None:
        self._accounts = accounts
        self._wall_ms = wall_ms
        self._explainer = explainer
        self._orders = orders
        self._previews = previews
        self._routes = routes

    def table(self) -> dict[str, Verb]:
        return {
            "route.explain": typed(Explain, self.explain),
            "route.rate": typed(RouteRate, self.rate),
            "route.resume": typed(RouteResumption, self.resume),
            "route.suspend": typed(RouteSuspension, self.suspend),
            "route.weights": typed(RouteWeights, self.weights),
        }

    async def suspend(self, wish: RouteSuspension) -> object:
        """Its messages are taken, and wait in a queue of its own."""
        self._named(wish.name)
        if wish.preview:
            return self._previews.route_suspended(wish.name)
        with told():
            await self._orders.give(ROUTE, wish.name, wish.for_s)
        return self._view(wish.name)

    async def resume(self, wish: RouteResumption) -> object:
        """Again changes nothing; one that is gone from the configuration may be resumed."""
        if wish.name not in self._orders.of(ROUTE):
            self._named(wish.name)
        if wish.preview:
            return self._previews.route_resumed(wish.name)
        await self._orders.end(ROUTE, wish.name)
        return self._view(wish.name)

    async def rate(self, wish: RouteRate) -> object:
        """So many segments a second at most of its messages, whatever carriers allow."""
        if wish.tps or wish.name not in self._orders.of(ROUTE_RATE):
            self._named(wish.name)
        if wish.preview:
            return self._previews.route_rate(wish.name, wish.tps)
        with told():
            if wish.tps:
                await self._orders.give(ROUTE_RATE, wish.name, wish.for_s, wish.tps)
            else:
                await self._orders.end(ROUTE_RATE, wish.name)
        return self._view(wish.name)

    async def weights(self, wish: RouteWeights) -> object:
        """How its lane's carriers share its messages, from the next claim on."""
        if wish.weights or wish.name not in self._orders.of(WEIGHTS):
            route = self._named(wish.name)
            if not route.weights:
                raise bad_arguments(
                    "name", f"the carriers of route {wish.name!r} have no weights", "its lane is in order"
                )
            strangers = sorted(wish.weights.keys() - {*route.carriers})
            if strangers:
                known = ", ".join(route.carriers)
                raise bad_arguments(
                    "weights", f"{strangers[0][:64]!r} is no carrier of {wish.name}", f"its carriers: {known}"
                )
            merged = dict(zip(route.carriers, route.weights, strict=True)) | wish.weights
            if not any(merged.values()):
                raise bad_arguments("weights", "nobody would take its messages", "route.suspend does that")
        if wish.preview:
            return self._previews.route_weights(wish.name, wish.weights)
        with told():
            if wish.weights:
                await self._orders.give(WEIGHTS, wish.name, wish.for_s, merged)
            else:
                await self._orders.end(WEIGHTS, wish.name)
        return self._view(wish.name)

    def _named(self, name: str) -> RouteConfig:
        """Errors: AdminError."""
        if self._routes is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        routes = self._routes()
        found = next((one for one in routes if one.name == name), None)
        if found is None:
            known = ", ".join(one.name for one in routes[:20]) or "none"
            raise AdminError("not_found", f"no route {name!r}; there are: {known}")
        return found

    def _view(self, name: str) -> dict[str, object]:
        orders = {kind: self._orders.find(kind, name) for kind in (ROUTE, ROUTE_RATE, WEIGHTS)}
        return {
            "name": name,
            "suspended": orders[ROUTE] is not None,
            "order": order_view(orders[ROUTE]),
            "rate_order": order_view(orders[ROUTE_RATE]),
            "weights_order": order_view(orders[WEIGHTS]),
        }

    async def explain(self, wish: Explain) -> object:
        if self._explainer is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        account: Account | None = None
        if wish.account:
            with account_problems():
                account = self._accounts.named(wish.account)
        told = self._explainer(account, submission_of(wish), wish.at_ms or self._wall_ms())
        if isinstance(told, Refusal):
            raise bad_arguments(told.field or "text", told.detail)
        return told


def submission_of(wish: Explain) -> Submission:
    return Submission(wish.to, wish.sender, wish.text, message_class=wish.message_class, tags=wish.tags)
