"""Which lanes a carrier may pull from right now, and how much from each.

Architecture §3: order with overflow, or weights. The queue itself is the store's; this board only knows
which carriers share a lane and who is able. What a carrier may not take yet, because others come first, is
reserved for them in its claim; what those others have refused already is not. What a carrier has had already
it may have again while nobody else can take it. The rest of a long message waits for the carrier that
accepted its first parts, until that one has been out for `rest_elsewhere_after_s`.

What is under a carrier's limits on some messages (gateway.carriers.limits) has a variant of its lane, with
the same carriers, weights and route, which is skipped while the limit has no token. Shares hold within a
variant, as far as the limit lets them: in a lane by weights what a carrier may not take now goes to the
others at once, in a lane in order it waits as usual, unless a limit per minute or longer is used up.

So has what goes to a country that one of its carriers is out for (gateway.carriers.standing), and nobody
waits for that carrier there. Such a lane stays in force until the gateway ends; later it is in force again
while something waits in it (`take_up`).

What operators send to one carrier alone has a lane of its own (`only`), in force while that carrier runs.

Invariants: at most `MOST_COUNTRY_LANES` of these, over all runs of a store; a country more is not acted on.

Deliberately not here: fairness inside a lane (router.turns, inside the claim), sending.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from gateway.carriers.choices import MOST_ORDERS, Order
from gateway.carriers.limits import Senders, SomeLimit, SomeLimits, place_of, shared_place
from gateway.carriers.standing import Standings, code_of, takes
from router.lanes import LaneShares, drains
from router.nouns import LaneSpec, Message
from router.throttle import NO_LIMITS, UNLIMITED, Limits, Throttle
from router.waiting import Wait
from smpp.segment import MAX_PARTS
from store.interface import Claim, ClaimResult, OtherLimits, Paced, Store

MOST_COUNTRY_LANES = 4_096
MOST_SENDER_LANES = 16_384  # over all runs of a store, as well; then senders share a place
ONLY = "@"  # no route's name begins so: in a lane's `route`, it is for one carrier, by an operator's word
_NOBODY_HAD = (0,)
_LOOK_S = 0.005
_LOOK_AGAIN_MS = 1000  # what comes back from a carrier may be older


class Wish(NamedTuple):
    """A lane that is to be in force; `tps` (0 = none), `burst` and `limits` are its route's own."""

    id: int
    spec: LaneSpec
    tps: float = 0.0
    burst: int = 1
    limits: Limits = NO_LIMITS
    order: Order | None = None  # where it depends on the message


class Member(Protocol):
    """A carrier, as a lane sees it."""

    id: int
    max_parts: int
    some: SomeLimits | None
    standings: Standings | None
    trial: int  # segments it may still take to be judged by; UNLIMITED but for a trial

    def able(self) -> bool: ...
    def stalled(self, now: float) -> bool: ...
    def exhausted(self, now: float) -> bool: ...
    def parts(self, encoding: int, segments: int, content: str | bytes, udh: bytes) -> int: ...


class _Lane:
    __slots__ = (
        "country",
        "drains",
        "gone_since",
        "id",
        "index_of",
        "members",
        "shares",
        "some",
        "spec",
        "suspended",
        "taken",
        "throttle",
        "weights",
        "young",
    )

    def __init__(self, identity: int, spec: LaneSpec, throttle: Throttle | None) -> None:
        self.id = identity
        self.spec = spec
        self.country = spec.country
        self.shares = LaneShares(spec)
        self.weights = spec.weights  # in force
        self.suspended = False  # by an operator: nobody pulls from it
        self.members: list[Member | None] = [None] * len(spec.carriers)
        self.index_of = {carrier: index for index, carrier in enumerate(spec.carriers)}
        self.throttle = throttle
        self.some: dict[int, tuple[SomeLimit, ...]] | None = (
            None  # carrier → limits that its messages are under
        )
        self.taken = 0  # messages, since the start
        self.drains = drains(spec)  # mask of the carriers with weight 0, which take nothing new
        self.gone_since: dict[
            int, float
        ] = {}  # index of a carrier that some messages wait for in vain → when
        # Until then nothing can overflow that these carriers have not had: to look costs a seek an account.
        self.young: tuple[int, int] = (0, 0)

    def reweigh(self, weights: tuple[int, ...]) -> None:
        """Other shares from now on, for the same queue."""
        spec = msgspec.structs.replace(self.spec, weights=weights)
        self.weights, self.shares, self.drains = weights, LaneShares(spec), drains(spec)

    def room(self, carrier: int, now: float) -> int:
        """Segments that the carrier may lease under its limits on these messages."""
        if self.some is None:
            return UNLIMITED
        return min((limit.room(now) for limit in self.some.get(carrier, ())), default=UNLIMITED)

    def limited(self) -> list[tuple[int, Member]]:
        """(its bit, carrier) for those that do not take every message."""
        return [
            (1 << index, member)
            for index, member in enumerate(self.members)
            if member is not None and member.max_parts < MAX_PARTS
        ]

    def able_mask(self, now: float) -> int:
        mask = 0
        for index, member in enumerate(self.members):
            if member is None or not member.able() or member.exhausted(now) or self.drains >> index & 1:
                continue
            if self.some is not None and self._barred(member.id, now):
                continue
            if self.country and not takes(member.standings, self.country):
                continue
            if not (self.spec.weights and member.stalled(now)):
                mask |= 1 << index
        return mask

    def steady(self) -> bool:
        """Whether no claim can change who is able."""
        if self.some is not None or self.country:
            return False
        return all(member is None or member.trial >= UNLIMITED for member in self.members)

    def waited_for(self, now: float) -> int:
        """The mask of carriers that a message may wait for: they are able, if not at this moment."""
        mask = 0
        for index, member in enumerate(self.members):
            if member is None or not member.able() or member.exhausted(now) or self.drains >> index & 1:
                continue
            if self.country and not takes(member.standings, self.country):
                continue
            limits = self.some.get(member.id, ()) if self.some is not None else ()
            if not any(limit.exhausted(now) for limit in limits):
                mask |= 1 << index
        return mask

    def gone(self, able: int, now: float, after_s: float) -> int:
        """The mask of the carriers that have been none of `able` for so long, as far as anybody looked."""
        mask = 0
        for index in range(len(self.members)):
            if able >> index & 1:
                self.gone_since.pop(index, None)
            elif now - self.gone_since.setdefault(index, now) >= after_s:
                mask |= 1 << index
        return mask

    def trial(self, member: Member) -> int:
        """Segments that the carrier may take of this lane, for its country's sake."""
        standing = member.standings.get(self.country) if member.standings is not None else None
        return UNLIMITED if standing is None else standing.left

    def _barred(self, carrier: int, now: float) -> bool:
        """Whether nobody should wait for this carrier, because of a limit on these messages."""
        limits = self.some.get(carrier, ()) if self.some is not None else ()
        if self.spec.weights:
            return any(limit.room(now) <= 0 for limit in limits)
        return any(limit.exhausted(now) for limit in limits)


class LaneBoard:
    """All lanes in force. `overflow_after_s`: how long a lower choice waits for a higher one."""

    def __init__(self, store: Store, overflow_after_s: float) -> None:
        self._store = store
        self.overflow_after_s = overflow_after_s
        self.rest_elsewhere_after_s = 60.0  # an OTP's at once
        self._lanes: dict[int, _Lane] = {}
        self._of_carrier: dict[int, list[_Lane]] = {}
        self._members: dict[int, Member] = {}
        self.paced: Paced | None = None  # accounts' own limits
        self.limited: dict[
            int, list[tuple[int, Member]]
        ] = {}  # lanes with carriers that do not take every message
        self._variants: dict[tuple[int, int], int] = {}  # (lane, mask of those left out) → lane of the rest
        self.some: dict[
            int, tuple[tuple[int, SomeLimit], ...]
        ] = {}  # lane → (carrier, limit on some messages)
        self.choosing: dict[int, Order] = {}  # lanes whose order depends on the message
        self._orders: dict[int, dict[tuple[int, ...], int]] = {}  # lane → carriers in order → its variant
        self._former: dict[int, dict[int, tuple[SomeLimit, ...]]] = {}  # of lanes that are gone
        self._terms: dict[int, tuple[object, ...]] = {}  # carrier → which messages its limits are for
        self.to_plan: set[int] = set()  # lanes that hold what may be under other limits now (gateway.replan)
        self._suspended: Collection[str] = ()  # routes, by an operator's order
        self._apart: Collection[str] = ()  # routes that have a queue of their own for as long as one lasts
        self._parted: set[str] = set()  # of them, those whose messages were looked for
        self._weights: Mapping[LaneSpec, tuple[int, ...]] = {}  # the same, by lane
        self._wished: set[int] = set()  # lanes of routes, and not variants of them
        self.senders = Senders(self._places_in_use)
        self._changed: set[int] = set()  # all that ever were to be planned
        self._under: dict[
            tuple[int, tuple[tuple[int, str], ...], int], int
        ] = {}  # (lane, limits, country) → variant under them
        self._for_senders = {
            spec for spec in store.lanes().values() if any(place_of(name) for _, name in spec.limits)
        }  # that there ever were
        self._for_countries = {
            spec for spec in store.lanes().values() if spec.country
        }  # that there ever were

    def add(self, identity: int, spec: LaneSpec, throttle: Throttle | None = None) -> None:
        """Put a lane in force; `throttle` is the route's own TPS, if it has one."""
        if identity in self._lanes:
            return
        lane = _Lane(identity, spec, throttle)
        self._lanes[identity] = lane
        self._take_orders(lane)
        for index, carrier in enumerate(spec.carriers):
            self._of_carrier.setdefault(carrier, []).append(lane)
            lane.members[index] = self._members.get(carrier)
        self._note_limits(lane)
        if spec.limits:
            lane.some = self._some_of(spec)

    def swap(self, wishes: Sequence[Wish]) -> None:
        """Exactly these lanes, and those that `lane_for` made of them, are in force from now on. One that
        stays keeps its shares and its route's last second. Carriers' own limits are read anew."""
        before = self._lanes
        self._lanes, self._of_carrier, self.limited, self._variants = {}, {}, {}, {}
        self.some, self._under, self.choosing, self._orders = {}, {}, {}, {}
        self._wished = {wish.id for wish in wishes}
        for wish in wishes:
            throttle = before[wish.id].throttle if wish.id in before else None
            if not wish.tps and not any(wish.limits):
                throttle = None
            elif throttle is None:
                throttle = Throttle(wish.tps, wish.burst, wish.limits)
            else:
                throttle.change(wish.tps, wish.burst, wish.limits)
            self.add(wish.id, wish.spec, throttle)
            if wish.order is not None:
                self.choosing[wish.id] = wish.order
        for identity, lane in before.items():
            if _is_only(lane.spec) and lane.spec.carriers[0] in self._members:
                self.add(identity, lane.spec)
        self.restore((id, spec) for id, spec in self._store.lanes().items() if not spec.country)
        self.restore((id, lane.spec) for id, lane in before.items() if lane.country)
        for identity, lane in before.items():
            stays = self._lanes.get(identity)
            if stays is not None:
                stays.taken = lane.taken
                if stays.weights == lane.weights:
                    stays.shares = lane.shares
            elif lane.some is not None:  # what is leased from it keeps its promises
                self._former[identity] = lane.some
        self._part(wishes)
        self._note_terms()

    def _part(self, wishes: Sequence[Wish]) -> None:
        """What waits for routes that have a queue of their own from now on, in one that they shared until
        now, is to be looked at."""
        new = {*self._apart} - self._parted
        self._parted = {*self._apart}
        for wish in wishes:
            if wish.spec.route in new:
                carriers = set(wish.spec.carriers)
                self.to_plan.update(
                    lane.id
                    for lane in self._lanes.values()
                    if not lane.spec.route and carriers >= {*lane.spec.carriers}
                )

    def under(
        self,
        suspended: Collection[str],
        apart: Collection[str],
        weights: Mapping[LaneSpec, tuple[int, ...]],
    ) -> None:
        """What operators ordered (gateway.orders), from now on: routes that are suspended; those that have
        a queue of their own because of an order; other weights of lanes. Queues follow with `swap`."""
        self._suspended, self._apart, self._weights = suspended, apart, weights
        for lane in self._lanes.values():
            self._take_orders(lane)

    def _take_orders(self, lane: _Lane) -> None:
        lane.suspended = bool(lane.spec.route) and lane.spec.route in self._suspended
        weights = self._weights_of(lane) if self._weights and lane.spec.weights else lane.spec.weights
        if weights != lane.weights:
            lane.reweigh(weights)

    def _weights_of(self, lane: _Lane) -> tuple[int, ...]:
        """Those that were ordered for it, or for the one that it is a variant of; else its own."""
        spec = lane.spec
        for base, ordered in self._weights.items():
            if base.route != spec.route or not {*spec.carriers} <= {*base.carriers}:
                continue
            if lane.id in self._wished and spec != base:
                continue
            of = dict(zip(base.carriers, zip(base.weights, ordered, strict=True), strict=True))
            if all(of[one][0] == weight for one, weight in zip(spec.carriers, spec.weights, strict=True)):
                return tuple(of[one][1] for one in spec.carriers)
        return spec.weights

    def is_suspended(self, lane: int) -> bool:
        """Whether its route is, by an operator."""
        return lane in self._lanes and self._lanes[lane].suspended

    def drains_of(self, lane: int) -> int:
        """The mask of its carriers with weight 0, which take nothing new."""
        return self._lanes[lane].drains if lane in self._lanes else drains(self._store.lane(lane))

    def _note_terms(self) -> None:
        """What waits for a carrier whose limits are for other messages than before is to be looked at; after
        a start, whatever waits for one that has such limits, because nobody knows what they were."""
        before = self._terms
        self._terms = {
            id: tuple(limit.terms for limit in member.some.limits) if member.some is not None else ()
            for id, member in self._members.items()
        }
        for carrier, terms in self._terms.items():
            if terms != before.get(carrier, ()):
                self.to_plan.update(lane.id for lane in self._of_carrier.get(carrier, ()))
        if self.to_plan:
            self._changed |= self.to_plan
            lanes = frozenset(self._changed)
            self._store.other_limits(OtherLimits(lanes, self._store.next_ids(1), self.lane_now))

    def throttles(self) -> dict[str, Throttle]:
        """Routes' own limits, by route."""
        return {lane.spec.route: lane.throttle for lane in self._lanes.values() if lane.throttle is not None}

    def join(self, member: Member) -> None:
        """A carrier takes its place in every lane that names it."""
        self._members[member.id] = member
        for lane in self._of_carrier.get(member.id, ()):
            lane.members[lane.index_of[member.id]] = member
            self._note_limits(lane)

    def leave(self, member: Member) -> None:
        """A carrier is gone, and so are the lanes that are for it alone."""
        if self._members.get(member.id) is member:
            del self._members[member.id]
        lanes = self._of_carrier.get(member.id, [])
        for lane in lanes:
            lane.members[lane.index_of[member.id]] = None
            if lane.spec.route.startswith(ONLY):
                del self._lanes[lane.id]
        lanes[:] = [lane for lane in lanes if lane.id in self._lanes]

    def _note_limits(self, lane: _Lane) -> None:
        limited = lane.limited()
        if limited:
            self.limited[lane.id] = limited
        some = [
            (member.id, limit)
            for member in lane.members
            if member is not None and member.some is not None
            for limit in member.some.limits
        ]
        apart = any(member is not None and member.standings for member in lane.members)
        if (some or apart) and not lane.spec.limits and not lane.country:
            self.some[lane.id] = tuple(some)
        else:
            self.some.pop(lane.id, None)

    def _some_of(self, spec: LaneSpec) -> dict[int, tuple[SomeLimit, ...]]:
        """Carrier → the limits that the lane's messages are under; those that are gone are left out."""
        found: dict[int, tuple[SomeLimit, ...]] = {}
        for carrier, name in spec.limits:
            member = self._members.get(carrier)
            limit = member.some.named(name) if member is not None and member.some is not None else None
            if limit is not None:
                found[carrier] = (*found.get(carrier, ()), limit)
        return found

    def some_limits(self, lane: int, carrier: int) -> tuple[SomeLimit, ...]:
        """The carrier's limits on some messages that those of a lane are under."""
        found = self._lanes.get(lane)
        some = found.some if found is not None else self._former.get(lane)
        return () if some is None else some.get(carrier, ())

    def lane_under(self, lane: int, destination: str, sender: str) -> int:
        """The variant of `lane` for a message to this number from this sender: under its carriers' limits on
        some messages, for a country that one of them is out for, or `lane` itself."""
        some = self.some.get(lane)
        if some is None:
            return lane
        limits = tuple(
            (carrier, limit.name_for(sender, self.senders))
            for carrier, limit in some
            if limit.concerns(destination, sender)
        )
        country = self._country(lane, destination)
        if not limits and not country:
            return lane
        found = self._under.get((lane, limits, country))
        if found is None:
            base = self._lanes[lane]
            spec = msgspec.structs.replace(base.spec, limits=limits, country=country)
            if spec not in self._for_senders and any(place_of(name) for _, name in limits):
                if len(self._for_senders) >= MOST_SENDER_LANES:
                    shared = tuple((carrier, shared_place(name)) for carrier, name in limits)
                    spec = msgspec.structs.replace(spec, limits=shared)
                else:
                    self._for_senders.add(spec)
            if country and spec not in self._for_countries:
                if len(self._for_countries) >= MOST_COUNTRY_LANES:
                    spec = msgspec.structs.replace(spec, country=0)
                else:
                    self._for_countries.add(spec)
            found = self._under[lane, limits, country] = self._store.lane_id(spec)
            self.add(found, spec, base.throttle)
        return found

    def _country(self, lane: int, destination: str) -> int:
        """The calling code of this number, where a carrier of the lane is out for it; else 0."""
        code = code_of(destination)
        for member in self._lanes[lane].members:
            if member is not None and member.standings is not None and code in member.standings:
                return code
        return 0

    def plain(self, lane: int) -> int:
        """The lane that this one is a variant of, under limits on some messages or for one country; or
        itself."""
        spec = self._lanes[lane].spec
        if not spec.limits and not spec.country:
            return lane
        return self._store.lane_id(msgspec.structs.replace(spec, limits=(), country=0))

    def lane_now(self, lane: int, message: Message) -> int:
        """Where a message of `lane`, or of a variant of it, belongs under the limits there are by now, and as
        carriers stand in its country; where its lane is gone that is for others to say."""
        if lane not in self._lanes:
            return lane
        if message.route in self._apart and not self._lanes[lane].spec.route:
            lane = self._own_queue(lane, message.route)
        plain = self.plain(lane)
        return self.lane_under(plain, message.destination, message.source) if plain in self._lanes else lane

    def _own_queue(self, lane: int, route: str) -> int:
        """The same lane, of one route alone."""
        spec = msgspec.structs.replace(self._lanes[lane].spec, route=route)
        found = self._store.lane_id(spec)
        if found not in self._lanes:
            self.add(found, spec, self.throttles().get(route))
        return found

    def country_of(self, lane: int) -> int:
        """The calling code that a lane is for; 0: any."""
        return self._lanes[lane].country if lane in self._lanes else 0

    def out_in(self, lane: int, carrier: int) -> Wait | None:
        """Why a carrier takes nothing of a lane for its country's sake; None: it may."""
        found, member = self._lanes.get(lane), self._members.get(carrier)
        if found is None or member is None or takes(member.standings, found.country):
            return None
        assert member.standings is not None
        return Wait.COUNTRY_OUT if member.standings[found.country].out else Wait.COUNTRY_TRIAL

    def stands_otherwise(self, carrier: int, *, more: bool) -> None:
        """The carrier is out for other countries than before; `more`: for one that it was not out for."""
        for lane in self._of_carrier.get(carrier, ()):
            self._note_limits(lane)
            if more and not lane.country:
                self.to_plan.add(lane.id)

    def take_up(self, lane: int) -> bool:
        """Put a lane for one country, or for one carrier, in force again, as something waits in it; False: it
        is of no route."""
        spec = self._store.lane(lane)
        if spec.route.startswith(ONLY):
            self.only(spec.carriers[0])
        if spec.country or spec.route.startswith(ONLY):
            self.restore([(lane, spec)])
        return lane in self._lanes

    def only(self, carrier: int) -> int:
        """The lane of what operators send to this carrier alone, in force from now on; 0: it does not run."""
        if carrier not in self._members:
            return 0
        spec = LaneSpec((carrier,), (), ONLY + self._store.carrier_name(carrier))
        identity = self._store.lane_id(spec)
        self.add(identity, spec)
        return identity

    def alone_in(self, carrier: int, country: int, lanes: Iterable[int]) -> bool:
        """Whether some of these lanes has no other carrier that is able and takes messages to a country."""
        return any(
            not any(
                one is not None
                and one.id != carrier
                and one.able()
                and takes(one.standings, country)
                and not lane.drains >> index & 1
                for index, one in enumerate(lane.members)
            )
            for lane in map(self._lanes.get, lanes)
            if lane is not None
        )

    def in_force(self, lane: int) -> bool:
        """Whether anybody may pull from this lane at all."""
        return lane in self._lanes

    def lanes(self) -> list[int]:
        """All of them."""
        return list(self._lanes)

    def taken(self, lane: int) -> int:
        """Messages that carriers took from it, since the start: what moves when it moves."""
        return self._lanes[lane].taken if lane in self._lanes else 0

    def tokens(self, lane: int, now: float) -> int:
        """Segments that the route's own TPS allows now."""
        throttle = self._lanes[lane].throttle if lane in self._lanes else None
        return UNLIMITED if throttle is None else throttle.available(now)

    def restore(self, lanes: Iterable[tuple[int, LaneSpec]]) -> None:
        """Of the store's lanes, put those in force that leave out nobody but carriers which take only short
        messages, or that are under limits which there still are, or for a country: `lane_for` and
        `lane_under` made them in an earlier run."""
        whole: dict[str, list[_Lane]] = {}  # by route: with a thousand of them all pairs would take a second
        for lane in self._lanes.values():
            whole.setdefault(lane.spec.route, []).append(lane)
        for identity, spec in lanes:
            if identity in self._lanes or spec.route not in whole:
                continue
            if not all(self._is_limit(carrier, limit) for carrier, limit in spec.limits):
                continue
            apart = bool(spec.limits or spec.country)
            plain = msgspec.structs.replace(spec, limits=(), country=0) if apart else spec
            for lane in whole[spec.route]:
                mask = _left_out(lane, plain)
                able = sum(bit for bit, _ in self.limited.get(lane.id, ()))
                if (mask and not mask & ~able) or (apart and plain == lane.spec):
                    self.add(identity, spec, lane.throttle)
                    break

    def _is_limit(self, carrier: int, name: str) -> bool:
        member = self._members.get(carrier)
        return member is not None and member.some is not None and member.some.named(name) is not None

    def _places_in_use(self, now: float) -> set[int]:
        """Numbers of senders' places (gateway.carriers.limits) under which anything waits or counts."""
        specs = (self._store.lane(lane) for lane, counts in self._store.lane_totals().items() if any(counts))
        used = {place_of(name) for spec in specs for _, name in spec.limits}
        for member in self._members.values():
            if member.some is not None:
                used |= member.some.places_in_use(now)
        return used

    def lane_for(
        self, lane: int, encoding: int, segments: int, content: str | bytes, udh: bytes = b"", total: int = 0
    ) -> int:
        """`lane` without the carriers that would need more than their max_parts; 0 when nobody is left.

        `total`: of a customer's own long message, of which this is one part.
        """
        limited = self.limited.get(lane)
        if limited is None:
            return lane
        mask = 0
        for bit, member in limited:
            if (total or member.parts(encoding, segments, content, udh)) > member.max_parts:
                mask |= bit
        if not mask:
            return lane
        found = self._variants.get((lane, mask))
        if found is None:
            found = self._variants[lane, mask] = self._without(self._lanes[lane], mask)
        return found

    def chosen(self, lane: int, destination: str, sender: str, pays: str) -> int:
        """Of a lane whose order depends on the message: the lane in that order, 0 when nobody may have it.
        `pays`: the rate card of its account."""
        base = self._lanes[lane]
        carriers = self.choosing[lane](base.spec, destination, sender, pays)
        if not carriers:
            return 0
        orders = self._orders.setdefault(lane, {})
        found = orders.get(carriers)
        if found is None and len(orders) >= MOST_ORDERS:
            if len(carriers) == len(base.spec.carriers):
                return lane
            allowed = set(carriers)  # never more than these
            carriers = max((one for one in orders if allowed >= {*one}), key=len, default=carriers[:1])
            found = orders.get(carriers)
        if found is None:
            spec = LaneSpec(carriers, (), base.spec.route)
            found = orders[carriers] = self._store.lane_id(spec)
            self.add(found, spec, base.throttle)
        return found

    def most_parts(self, lane: int) -> int:
        """The longest message that any carrier of the lane takes, in segments."""
        return max((member.max_parts for member in self._lanes[lane].members if member), default=0)

    def _without(self, lane: _Lane, mask: int) -> int:
        """The lane of the carriers that are not in the mask, with their weights and the route's own TPS."""
        left = [index for index in range(len(lane.members)) if not mask >> index & 1]
        if all(lane.drains >> index & 1 for index in left):
            return 0
        spec = LaneSpec(
            tuple(lane.spec.carriers[index] for index in left),
            tuple(lane.spec.weights[index] for index in left) if lane.spec.weights else (),
            lane.spec.route,
        )
        identity = self._store.lane_id(spec)
        self.add(identity, spec, lane.throttle)
        return identity

    def order(self, lane: int, now: float) -> list[tuple[int, bool]]:
        """Its able carriers, in the order in which they come for a message: (index into the lane, whether it
        is over its share)."""
        found = self._lanes.get(lane)
        if found is None:
            return []
        able = found.able_mask(now)
        return [(index, found.shares.is_over(index, able)) for index in found.shares.order(able)]

    def able(self, lane: int) -> bool:
        """Whether any carrier of the lane could take a message."""
        found = self._lanes.get(lane)
        return found is not None and any(
            member is not None
            and member.able()
            and not found.drains >> index & 1
            and takes(member.standings, found.country)
            for index, member in enumerate(found.members)
        )

    def alone(self, carrier: int) -> bool:
        """Whether some lane has no other able carrier, that takes messages to the lane's country."""
        return any(
            not any(
                one is not None
                and one.id != carrier
                and one.able()
                and takes(one.standings, lane.country)
                and not lane.drains >> index & 1
                for index, one in enumerate(lane.members)
            )
            for lane in self._of_carrier.get(carrier, ())
            if not lane.drains >> lane.index_of[carrier] & 1
        )

    def claim(
        self, member: Member, budget: int, now: float, now_ms: int, seen: dict[int, int]
    ) -> Claim | None:
        """What this carrier, with room for `budget` segments, may ask of its lanes now; None = nothing.

        `seen`: lane → the mask of its able carriers, for as long as only claims happen.
        """
        ready = self._store.ready_lanes()
        lanes: list[tuple[int, int, int]] = []
        reserved: dict[int, tuple[int, int]] = {}
        able: dict[int, int] = {}
        gone: dict[int, int] = {}
        weight = sharers = 0
        for lane in self._of_carrier.get(member.id, ()):
            if lane.gone_since:
                lane.gone_since.pop(lane.index_of[member.id], None)
            if lane.id not in ready or lane.suspended:
                continue
            index = lane.index_of[member.id]
            if lane.drains >> index & 1:
                continue
            most = budget if lane.throttle is None else min(budget, lane.throttle.available(now))
            if lane.some is not None:
                most = min(most, self._room_under(lane, member, now))
            if lane.country:
                most = min(most, lane.trial(member))
            if most <= 0:
                continue
            if len(lane.members) > 1:
                able_now = seen.get(lane.id)
                if able_now is None:
                    able_now = lane.able_mask(now)
                    if lane.steady():
                        seen[lane.id] = able_now
                others, unseen = self._turn(lane, index, most, able_now, now_ms)
                if unseen < most:
                    if not others:
                        continue
                    reserved[lane.id] = (others, unseen)
                had = self._store.ready_masks(lane.id)
                if had != _NOBODY_HAD and any(mask >> index & 1 for mask in had):
                    able[lane.id] = waited_for = lane.waited_for(now)
                    gone[lane.id] = lane.gone(waited_for, now, self.rest_elsewhere_after_s)
                if lane.weights and lane.throttle is None and had == _NOBODY_HAD and lane.id in seen:
                    weight, sharers = lane.weights[index], able_now
            lanes.append((lane.id, index, most))
        if not lanes:
            return None
        if len(lanes) > 1 or self.paced:
            weight = 0
        paced = self.paced or None
        return Claim(member.id, tuple(lanes), budget, now_ms, reserved, paced, able, gone, weight, sharers)

    def _room_under(self, lane: _Lane, member: Member, now: float) -> int:
        """Segments that limits on some messages leave; where none, its carrier learns until when."""
        room = lane.room(member.id, now)
        if room <= 0 and member.some is not None and lane.some is not None:
            due = max(limit.throttle.next_at(1, now) for limit in lane.some.get(member.id, ()))
            member.some.blocked_until = min(member.some.blocked_until, max(due, now + _LOOK_S))
        return room

    def _turn(self, lane: _Lane, index: int, most: int, able: int, now_ms: int) -> tuple[int, int]:
        """(mask of the carriers that come first, how much of what they have not had it may take)."""
        others = lane.shares.ahead_of(index, able)
        if lane.spec.weights:
            return others, lane.shares.allowance(index, most, able)
        if not others:
            return 0, most if able >> index & 1 else 0
        young_for, until_ms = lane.young
        if young_for == others and now_ms < until_ms:
            return others, 0
        oldest_ms = self._store.oldest_ready_ms(lane.id, others)
        age_s = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
        if lane.shares.eligible(index, able, age_s, self.overflow_after_s):
            return others, most
        if oldest_ms is not None:
            left_ms = int((self.overflow_after_s - age_s) * 1000)
            lane.young = others, now_ms + min(max(0, left_ms), _LOOK_AGAIN_MS)
        return others, 0

    def took(self, carrier: int, claimed: ClaimResult, now: float) -> None:
        """Count what of claimed messages is still to be sent: in their lanes' shares and routes' TPS."""
        for (identity, tried), (messages, segments) in claimed.queues.items():
            lane = self._lanes.get(identity)
            if lane is not None:
                lane.taken += messages
                self._share(lane, carrier, tried, segments, now)

    def _share(self, lane: _Lane, carrier: int, tried: int, segments: int, now: float) -> None:
        if lane.spec.weights:
            index = lane.index_of[carrier]
            others = lane.shares.ahead_of(index, lane.able_mask(now)) if tried else 0
            if not others or tried & others != others:
                lane.shares.took(index, segments)
        if lane.throttle is not None:
            lane.throttle.take(segments, now)
        if lane.some is not None:
            for limit in lane.some.get(carrier, ()):
                limit.claimed += segments
        if lane.country:
            member = lane.members[lane.index_of[carrier]]
            standing = member.standings.get(lane.country) if member and member.standings else None
            if standing is not None:
                standing.left = max(0, standing.left - segments)


def _is_only(spec: LaneSpec) -> bool:
    """Whether a lane is for one carrier, by an operator's word, and no variant of such a one."""
    return spec.route.startswith(ONLY) and not spec.limits and not spec.country


def _left_out(lane: _Lane, spec: LaneSpec) -> int:
    """The mask of carriers that make the difference between a lane and `spec`; 0 if they differ otherwise."""
    kept = [lane.index_of.get(carrier, -1) for carrier in spec.carriers]
    if spec.route != lane.spec.route or not kept or -1 in kept or kept != sorted(kept):
        return 0
    weights = tuple(lane.spec.weights[index] for index in kept) if lane.spec.weights else ()
    if weights != spec.weights:
        return 0
    return sum(1 << index for index in range(len(lane.members)) if index not in kept)
