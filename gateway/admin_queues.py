"""The admin verbs of queues: move or bounce what waits, force one message, give it another route.

A mass act goes in portions of some hundreds of messages, a transaction each, with traffic between them. It is
bounded by time, not by number: where it ended it says (`next`), and the same act goes on there (`after`). One
whose gateway was stopped goes on without, because what is left to do is what still fits.

Invariants: what carriers have in hand, and what nobody knows the outcome of, is never touched; a filter that
fits everything is given on purpose (`all`); no number leaves here that is not masked.

Deliberately not here: the records (store.moving), where messages may go (gateway.rerouting), what waits for
customers (gateway.admin_deliveries), text for people (gateway.cli.queue).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import trio
from msgspec import Meta

from gateway.accounts import Accounts
from gateway.admin import AdminError, Execute, Verb, bad_arguments, typed
from gateway.admin_accounts import account_problems
from gateway.audit import actor_now, entry
from gateway.logs import mask_number
from gateway.measures import name_of_lane
from gateway.previews import MOST_NAMED, Preview, of
from gateway.rerouting import Decide, Rerouting
from router import plans
from router.nouns import Message, MessageState, Phase, Progress, Reason
from store.ids import first_id_at
from store.interface import NO_ID, Acted, Transaction, Which
from store.lanes import lane_of
from store.lmdb_store import LmdbStore
from store.moving import IN_PARTS, MAYBE_SENT

if TYPE_CHECKING:
    from gateway.app import Gateway

COUNTED = 20_000
LONGEST_S = 50.0  # of one call; the next one goes on

_PORTION = 300
_PAGE = 500
_LOOKED = 400  # pages of a preview: rows that do not fit are looked at, too
_BREATH_S = 0.002
_SAMPLES = 3
_LONGEST_SAID = 200  # of the reason in timelines; the audit trail has the whole
_AFTER_MS = 1_000  # what is accepted later than this is not looked at
_PHASES = {
    "ready": Phase.READY,
    "deferred": Phase.DEFERRED,
    "scheduled": Phase.SCHEDULED,
    "held": Phase.HELD,
}
_STATES = {"undeliverable": MessageState.UNDELIVERABLE, "rejected": MessageState.REJECTED}
_YEAR_S = 366 * 86_400

_MORE = "its time is over, and not all were looked at: the same act with `after` as `next` says goes on"

_Id = Annotated[str, Meta(pattern=r"^[0-9]{0,19}$")]


class Filter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Messages that wait and fit all that is given. `lane` as `queues` shows it; `carrier`: in lanes that
    have it; `route`: that they came by; `prefix`, `country` (two letters): of the recipient; `priority` -1:
    any; `all`: on purpose, without a filter; `after`: where a call before this one ended, its `next`."""

    lane: str = ""
    carrier: str = ""
    route: str = ""
    account: str = ""
    prefix: Annotated[str, Meta(pattern=r"^\+?[0-9]{0,15}$")] = ""
    country: Annotated[str, Meta(pattern=r"^([A-Za-z]{2})?$")] = ""
    priority: Annotated[int, Meta(ge=-1, le=3)] = -1
    older_than_s: Annotated[float, Meta(ge=0, le=_YEAR_S)] = 0
    phase: Literal["", "ready", "deferred", "scheduled", "held"] = ""
    first_id: _Id = ""
    last_id: _Id = ""
    all: bool = False
    after: Annotated[str, Meta(pattern=r"^(0[0-2]([0-9a-f]{2}){0,100})?$")] = ""
    preview: bool = False


class QueueMove(Filter, kw_only=True):
    """`to`: a route, through which they are planned anew; or `to_carrier`: to this carrier alone."""

    to: str = ""
    to_carrier: str = ""


class QueueBounce(Filter, kw_only=True):
    """`state`: what their senders are told."""

    state: Literal["undeliverable", "rejected"] = "undeliverable"


class Force(msgspec.Struct, forbid_unknown_fields=True):
    """`carrier`: of the message's lane; "": the one that could take it soonest."""

    id: str
    carrier: str = ""
    preview: bool = False


class Reroute(msgspec.Struct, forbid_unknown_fields=True):
    """`to`: a route; or `to_carrier`: to this carrier alone."""

    id: str
    to: str = ""
    to_carrier: str = ""
    preview: bool = False


class Cancellation(msgspec.Struct, forbid_unknown_fields=True):
    """Here and not with its verb (gateway.admin_traffic), which needs what needs the table of acts."""

    id: str
    preview: bool = False


class QueueVerbs:
    """The verbs as methods. `gateway` None: none runs, and only bouncing works.

    `found` finds a message by its id, or raises AdminError.
    """

    def __init__(
        self,
        accounts: Accounts,
        store: LmdbStore,
        execute: Execute[Any],
        wall_ms: Callable[[], int],
        found: Callable[[str], tuple[Message, Progress]],
        gateway: Gateway | None,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms
        self._found = found
        self._rerouting = Rerouting(gateway) if gateway is not None else None
        self._busy = False

    def table(self) -> dict[str, Verb]:
        return {
            "queue.move": typed(QueueMove, self.move),
            "queue.bounce": typed(QueueBounce, self.bounce),
            "message.force": typed(Force, self.force),
            "message.reroute": typed(Reroute, self.reroute),
        }

    # many

    async def move(self, wish: QueueMove) -> object:
        """How many went there, and why others stay."""
        decide, where = self._target(wish.to, wish.to_carrier)
        which = self._which(wish)
        if wish.preview:
            return await self._previewed(
                which, decide, (f"go to {where}", f"goes to {where}"), self._warnings(wish)
            )
        said = _said()
        told = {"to": where, **_given(wish)}

        def portion(after: bytes, txn: Transaction) -> Acted:
            return txn.move(which, decide, said, _PORTION, after)

        done = await self._in_portions("queue.moved", portion, told, wish.after)
        return {
            "moved": done.count,
            "segments": done.segments,
            "to": where,
            "stayed": done.stayed,
            "complete": not done.after,
            "next": done.after.hex(),
            "hint": _MORE if done.after else "",
        }

    async def bounce(self, wish: QueueBounce) -> object:
        """How many ended, and why others stay."""
        which, state = self._which(wish), _STATES[wish.state]
        if wish.preview:
            warnings = ["they end for good, and who asked for receipts is told"]
            return await self._previewed(
                which, None, (f"end as {state.name}", f"ends as {state.name}"), warnings
            )
        said = _said()

        def portion(after: bytes, txn: Transaction) -> Acted:
            return txn.bounce(which, state, self._wall_ms(), said, _PORTION, after)

        told = {"state": state.name, **_given(wish)}
        done = await self._in_portions("queue.bounced", portion, told, wish.after)
        return {
            "bounced": done.count,
            "segments": done.segments,
            "state": state.name,
            "stayed": done.stayed,
            "complete": not done.after,
            "next": done.after.hex(),
            "hint": _MORE if done.after else "",
        }

    async def _in_portions(
        self, act: str, portion: Callable[[bytes, Transaction], Acted], told: dict[str, Any], after: str
    ) -> Acted:
        """All portions that the time allows; the trail tells of the first one and of the whole."""
        if self._busy:
            raise AdminError("busy", "messages are being moved or bounced already", "wait for it")
        self._busy = True
        try:
            total, until = Acted(after=bytes.fromhex(after)), trio.current_time() + LONGEST_S
            while True:
                late = trio.current_time() >= until
                done = await self._execute(partial(self._audited, act, portion, told, total, late))
                total = _added(total, done)
                if not total.after or late:
                    return total
                await trio.sleep(_BREATH_S)
        finally:
            self._busy = False

    def _audited(
        self,
        act: str,
        portion: Callable[[bytes, Transaction], Acted],
        told: dict[str, Any],
        before: Acted,
        late: bool,
        txn: Transaction,
    ) -> Acted:
        done = portion(before.after, txn)
        count = before.count + done.count
        ends = late or not done.after
        if count and (not before.count or ends):
            after = {**told, "messages": count, "complete": not done.after}
            txn.audit(entry(self._wall_ms(), act, "queue:", after=after))
        return done

    async def _previewed(
        self, which: Which, decide: Decide | None, what: tuple[str, str], warnings: list[str]
    ) -> Preview:
        """`what` they do, many or one. Counted by lane, account and phase, up to COUNTED; why some stay."""
        store = self._store
        groups: Counter[tuple[int, int, int]] = Counter()
        stay: Counter[str] = Counter()
        samples: list[str] = []
        after, pages, counted, more = b"", 0, 0, False
        while not pages or after:
            if counted >= COUNTED or pages >= _LOOKED:
                more = True
                break
            page = store.waiting_page(which, after, min(_PAGE, COUNTED - counted))
            for message, lane, phase, reason, maybe_sent in page.found:
                counted += 1
                why = _stays(decide, message, lane, reason, maybe_sent)
                if why is None:
                    continue
                if why:
                    stay[why] += 1
                    continue
                groups[lane, message.account, phase] += 1
                if len(samples) < _SAMPLES:
                    samples.append(
                        f"such as {message.id} of {self._account(message.account)} to"
                        f" {mask_number(message.destination)}"
                    )
            after, pages = page.after, pages + 1
            await trio.sleep(_BREATH_S)
        messages = sum(groups.values())
        at_least = "at least " if more else ""
        touches = [f"{at_least}{of(messages, 'message')} {what[messages == 1]}"]
        for (lane, account, phase), count in groups.most_common(MOST_NAMED):
            touches.append(
                f"{count:,} of {self._account(account)}, {Phase(phase).name.lower()}, in lane"
                f" {name_of_lane(store, lane)}"
            )
        if len(groups) > MOST_NAMED:
            touches.append(f"and those of {of(len(groups) - MOST_NAMED, 'more queue')}")
        told = [f"{of(count, 'message')} stay: {why}" for why, count in stay.most_common()]
        return Preview([*touches, *samples], messages, more, [*told, *(warnings if messages else [])])

    def _warnings(self, wish: QueueMove) -> list[str]:
        assert self._rerouting is not None
        return self._rerouting.warnings(wish.to, wish.to_carrier)

    def _which(self, wish: Filter) -> Which:
        """Errors: AdminError."""
        given = _given(wish)
        if not given:
            raise bad_arguments("all", "nothing says which messages", "a filter, or all of them: --all")
        lanes = self._lanes(wish)
        now_ms = self._wall_ms()
        before_ms = now_ms - int(wish.older_than_s * 1000) if wish.older_than_s else now_ms + _AFTER_MS
        account = frozenset[int]()
        if wish.account:
            with account_problems():
                account = frozenset({self._accounts.named(wish.account).id})
        return Which(
            phases=frozenset({_PHASES[wish.phase]} if wish.phase else _PHASES.values()),
            lanes=lanes,
            accounts=account,
            priorities=frozenset({wish.priority} if wish.priority >= 0 else ()),
            first_id=int(wish.first_id or 0),
            before_id=min(first_id_at(max(0, before_ms)), int(wish.last_id or NO_ID) + 1),
            fits=_fits(wish.route, wish.prefix.lstrip("+"), wish.country.upper()),
        )

    def _lanes(self, wish: Filter) -> frozenset[int]:
        """Those that the filter means; empty: any. Errors: AdminError, where there is none."""
        store = self._store
        lanes = {lane for lane, counts in store.lane_totals().items() if any(counts)}
        if wish.carrier:
            known = store.carriers()
            if wish.carrier not in known:
                raise bad_arguments(
                    "carrier", f"no carrier {wish.carrier[:64]!r}", f"one of: {', '.join(sorted(known))}"
                )
            lanes = {lane for lane in lanes if known[wish.carrier] in store.lane(lane).carriers}
        if wish.lane:
            texts = {name_of_lane(store, lane) for lane in lanes}
            lanes = {
                lane
                for lane in lanes
                if wish.lane in (name_of_lane(store, lane), name_of_lane(store, lane, plain=True))
            }
            if not lanes:
                known_lanes = ", ".join(sorted(texts)[:MOST_NAMED]) or "none"
                raise bad_arguments(
                    "lane", f"nothing waits in a lane {wish.lane[:200]!r}", f"lanes: {known_lanes}"
                )
        if not wish.carrier and not wish.lane:
            return frozenset()
        return frozenset(lanes or {0})

    def _target(self, to: str, to_carrier: str) -> tuple[Decide, str]:
        """Where messages go, and its name. Errors: AdminError."""
        if bool(to) == bool(to_carrier):
            raise bad_arguments("to", "say where to", "a route, or to_carrier and not both")
        rerouting = self._running()
        if to_carrier:
            return rerouting.to_carrier(to_carrier), f"carrier {to_carrier}"
        return rerouting.to_route(to), f"route {to}"

    def _running(self) -> Rerouting:
        if self._rerouting is None:
            raise AdminError("not_running", "the gateway is not running", "start it: signalbox run")
        return self._rerouting

    def _account(self, id: int) -> str:
        account = self._accounts.by_id.get(id)
        return account.name if account is not None else str(id)

    # one

    async def force(self, wish: Force) -> object:
        """It is ready, and the next that its carrier takes of its lane; never before TPS or window let it."""
        rerouting = self._running()
        message, progress = self._found(wish.id)
        _check_waits(message, progress)
        taker = rerouting.taker(message, lane_of(message, progress), progress.tried, wish.carrier)
        if wish.preview:
            now = f"; now: {Phase(progress.phase).name.lower()}"
            touches = [f"{self._one(message)} goes to {taker.name} next, before all others of its lane{now}"]
            return Preview(touches, 1, warnings=[f"first: {taker.waits}"] if taker.waits else [])
        said = _said()

        def act(txn: Transaction) -> str:
            outcome = txn.force(message.account, message.id, taker.id, self._wall_ms(), said)
            if outcome == "forced":
                told = {"carrier": taker.name}
                txn.audit(entry(self._wall_ms(), "message.forced", f"message:{message.id}", after=told))
            return outcome

        outcome = await self._execute(act)
        if outcome != "forced":
            raise _cannot(message.id, outcome)
        return {"id": wish.id, "outcome": outcome, "carrier": taker.name, "waits_for": taker.waits}

    async def reroute(self, wish: Reroute) -> object:
        """It is in the lane that it would get there."""
        decide, where = self._target(wish.to, wish.to_carrier)
        message, progress = self._found(wish.id)
        _check_waits(message, progress)
        lane = decide(message)
        if isinstance(lane, str):
            raise AdminError("stays", f"message {message.id} cannot go to {where}: {lane}")
        if wish.preview:
            touches = [f"{self._one(message)} goes to {where}: {name_of_lane(self._store, lane)}"]
            there = lane == lane_of(message, progress)
            told = ["it is there already"] if there else self._running().warnings(wish.to, wish.to_carrier)
            return Preview(touches, 0 if there else 1, warnings=told)
        said = _said()

        def act(txn: Transaction) -> str:
            outcome = txn.reroute(message.account, message.id, lane, said)
            if outcome == "moved":
                told = {"to": where}
                txn.audit(entry(self._wall_ms(), "message.rerouted", f"message:{message.id}", after=told))
            return outcome

        outcome = await self._execute(act)
        if outcome not in ("moved", "there"):
            raise _cannot(message.id, outcome)
        return {"id": wish.id, "outcome": outcome, "to": where, "lane": name_of_lane(self._store, lane)}

    def _one(self, message: Message) -> str:
        to = mask_number(message.destination)
        return f"message {message.id} of {self._account(message.account)} to {to}"


def _fits(route: str, prefix: str, country: str) -> Callable[[Message], bool] | None:
    if not (route or prefix or country):
        return None

    def fits(message: Message) -> bool:
        return (
            (not route or message.route == route)
            and message.destination.startswith(prefix)
            and (not country or plans.facts(message.destination).country == country)
        )

    return fits


def _stays(decide: Decide | None, message: Message, lane: int, reason: int, maybe_sent: bool) -> str | None:
    """Why a message would stay, "": it would not; None: there is nothing to do."""
    if decide is None:
        return MAYBE_SENT if maybe_sent else ""
    if reason == Reason.PARTS:
        return IN_PARTS
    there = decide(message)
    return there if isinstance(there, str) else None if there == lane else ""


def _given(wish: Filter) -> dict[str, Any]:
    """What of the filter was given, for the audit trail."""
    every: dict[str, Any] = msgspec.structs.asdict(wish)
    defaults = {one.name: one.default for one in msgspec.structs.fields(Filter)}
    return {
        name: mask_number(every[name]) if name == "prefix" and len(every[name]) > 7 else every[name]
        for name, default in defaults.items()
        if name not in ("preview", "after") and every[name] != default
    }


def _said() -> str:
    """By whom and why, for timelines."""
    actor = actor_now()
    return f"by {actor.who}: {actor.reason}"[:_LONGEST_SAID] if actor.reason else f"by {actor.who}"


def _added(total: Acted, done: Acted) -> Acted:
    stayed = Counter(total.stayed)
    stayed.update(done.stayed)
    return Acted(total.count + done.count, total.segments + done.segments, dict(stayed), done.after)


_PHASES_OUT = {
    Phase.FINAL: "final",
    Phase.LEASED: "leased",
    Phase.AWAITING_RECEIPT: "sent",
    Phase.UNKNOWN: "outcome_unknown",
}
_WHY_NOT = {
    "final": ("it has ended already", "signalbox message {id}"),
    "leased": ("a carrier has it in hand; its answer decides", "try again in a moment"),
    "sent": (
        "a carrier has accepted it; it cannot be called back",
        "its receipt will tell what became of it",
    ),
    "outcome_unknown": (
        "nobody knows whether it was sent",
        "signalbox store release --reason unknown sends it again",
    ),
    "parts": (
        "it is a part of a long message, and goes with the others",
        "do it with the first part of the message",
    ),
    "had": ("every carrier there has accepted it before", "name another one"),
    "elsewhere": ("the carrier is not in its lane any more", "try again"),
    "expired": ("its validity is over", "it ends EXPIRED within moments"),
    "unknown": ("it is gone, or its record is damaged", "signalbox store check"),
}


def _check_waits(message: Message, progress: Progress) -> None:
    """Errors: AdminError, for what does not wait."""
    if progress.phase in _PHASES_OUT:
        raise _cannot(message.id, _PHASES_OUT[Phase(progress.phase)])


def _cannot(id: int, outcome: str) -> AdminError:
    why, hint = _WHY_NOT.get(outcome, (outcome, ""))
    return AdminError(outcome, f"message {id} stays as it is: {why}", hint.format(id=id))
