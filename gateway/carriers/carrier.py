"""One carrier: its links, its throttle and the dispatcher that pulls from lanes.

Late binding: a message is claimed only when a window slot and a token are in sight, and leaves as soon as
its lease is durable. What is leased ahead of the throttle is bounded by `_AHEAD_S` of its rate. Every
answer, or its absence, becomes one Outcome for COMMIT B through `judge`. A message that was unanswered on
`suspect_after` lost links in a row gets a link to itself: if it is what ends them, nothing is lost with it.

Deliberately not here: bytes and timers (link), what comes in (inbound), what an answer means (router.judge).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from itertools import islice
from operator import attrgetter

import msgspec
import structlog
import trio

from config.model import CarrierConfig
from config.rules import zone_of
from gateway.carriers.anew import Anew
from gateway.carriers.inbound import Inbound
from gateway.carriers.lanes import LaneBoard
from gateway.carriers.limits import SomeLimits
from gateway.carriers.link import BackOff, Link
from gateway.carriers.pacing import LOOK_S, Pacing
from gateway.carriers.render import Renderer
from gateway.carriers.standing import Standings, code_of
from gateway.committer import Committer
from gateway.metrics import Counts
from gateway.world import World
from router.causes import Cause
from router.full_queues import FullQueues
from router.judge import Happening, Verdict, judge
from router.nouns import (
    Encoding,
    Leased,
    Message,
    MessageClass,
    Outcome,
    Reason,
    ReceiptWish,
    Settle,
    Taken,
)
from router.throttle import UNLIMITED, Throttle
from router.waiting import CarrierFacts, Wait
from smpp import events
from smpp.alphabet import TextError
from smpp.constants import CommandId, Tlv
from smpp.errors import EncodeError
from smpp.pdu import Pdu, SubmitSmResp
from smpp.status import Status
from store.interface import Claim, ClaimResult

log = structlog.get_logger("carrier")

_AHEAD_S = 0.05
_STALL_S = 1.0
NO_TRIAL = UNLIMITED
_RESTART_PAUSE_S = 1.02
_SUBMIT_SM = int(CommandId.SUBMIT_SM)
_CONGESTION_STATE = int(Tlv.CONGESTION_STATE)
_SENT = Settle.SENT
_NO_RECEIPT = int(ReceiptWish.NONE)
_message_of = attrgetter("message")
_SHORT_ONES = {Leased}  # contexts of requests
_ENDS = frozenset((events.Accepted, events.Response, events.TimedOut))


class Flight(msgspec.Struct, gc=False, eq=False):
    """One segment of a leased message: waiting for its slot, then in a window until answered.

    A short message is in its window as Leased alone: `flight_of` makes one of it.

    `total`: how many segments this carrier gets, which may be more or fewer than the message's.
    """

    leased: Leased
    part: int = 0
    total: int = 1
    body: bytes = b""
    sent_ms: int = 0


def flight_of(context: object) -> Flight | None:
    """What a request to a carrier was; None: it was no message."""
    if type(context) is Leased:
        return Flight(context, sent_ms=context.sent_ms)
    return context if isinstance(context, Flight) else None


def _wire(leased: Leased) -> int:
    """Segments still to be sent, as long as they have not been rendered."""
    return max(1, leased.message.segments - leased.first_part)


class Carrier:
    """Implements gateway.committer.Claimer and gateway.carriers.link.LinkOwner."""

    def __init__(
        self,
        settings: CarrierConfig,
        identity: int,
        group: int,
        world: World,
        committer: Committer,
        board: LaneBoard,
        inbound: Inbound,
        counts: Counts,
    ) -> None:
        self.name = settings.name
        self.id = identity
        self.links: list[Link] = []
        self.throttle = Throttle(settings.tps, settings.burst, settings.horizons)
        self.some: SomeLimits | None = None  # limits on some messages only
        self._limits_of_lane = lambda lane: board.some_limits(lane, identity)
        self._anew = Anew()
        self._take_settings(settings, group)
        self.suspended = False  # by an operator
        self.out: Wait | None = None  # why the gateway itself gives it nothing new (gateway.health)
        self.trial = NO_TRIAL  # segments it may still take to be judged by
        self.standings: Standings | None = None  # countries that it is out for, or on trial in
        self.heard: Callable[[int, Sequence[events.Event]], None] | None = (
            None  # of each read, all, while it has such countries
        )
        self.paused_until = 0.0
        self.buffer: deque[Leased] = deque()
        self.alone: deque[Leased] = deque()  # each wants a link to itself
        self.in_flight = 0
        self.unknown = 0
        self.silent = 0  # of them, those that were not answered in time
        self.sample: Callable[[int, events.Event], None] | None = None  # of each read, one answer
        self._die = self.id  # which one: not always the last, as some country's may never be that
        self._buffered_segments = 0
        self._claimed = 0  # segments that a transaction under way will lease
        self._world = world
        self._committer = committer
        self._board = board
        self._inbound = inbound
        self.counts = self._counts = counts.carrier(settings.name)
        self.pacing = Pacing(self, self._counts)
        self._full_queues = FullQueues()
        self._outcomes: list[Outcome | Taken] = []
        self._pace = trio.Event()
        self._turn = 0
        self._kept: Link | None = None  # for one of `alone`: being emptied, or carrying it
        self._tried = False  # it has been sent there
        self._full_since = math.inf
        self._throttled_since = math.inf
        self._draining = False

    # settings

    def change(self, settings: CarrierConfig, group: int) -> None:
        """Others from now on, for the binds there are. What is leased stays so."""
        before, account_of = self.settings, self.renderer.account_of
        self._take_settings(settings, group)
        self.renderer.account_of = account_of
        limits = settings.tps, settings.burst, settings.horizons
        if limits != (before.tps, before.burst, before.horizons):
            self.pacing.start_over()
            self.throttle.change(*limits)
        for link in self.links:
            if settings.throttle_scope != before.throttle_scope:
                link.throttle = self.throttle_of_a_link()
            elif link.throttle is not self.throttle and limits != (
                before.tps,
                before.burst,
                before.horizons,
            ):
                link.throttle.change(*limits)
        if settings.tps and not before.tps:  # nobody counted what was sent until now
            now = trio.current_time()
            for throttle in {self.throttle, *(link.throttle for link in self.links)}:
                throttle.fill(now)
        self._pace.set()

    def _take_settings(self, settings: CarrierConfig, group: int) -> None:
        self.settings = settings
        self.group = group
        if self.some is not None:
            self.some.change(settings.some_limits)
        elif settings.some_limits:
            self.some = SomeLimits(settings.some_limits, self._limits_of_lane)
        self.max_parts = settings.max_parts
        self.renderer = Renderer(settings, self.id)
        self.default_encoding: int = Encoding.GSM7 if "gsm7" in settings.alphabet else Encoding.LATIN1
        self.packed = settings.alphabet == "gsm7-packed"
        self.zone = zone_of(settings.receipt_zone) or UTC
        self.causes = settings.causes

    def throttle_of_a_link(self) -> Throttle:
        """The carrier's own, or one for each bind."""
        settings = self.settings
        if settings.throttle_scope != "bind":
            return self.throttle
        return Throttle(settings.tps, settings.burst, settings.horizons)

    # state, as the lanes ask for it

    def able(self) -> bool:
        """May take work: bound for submitting, not suspended, not taken out."""
        if self.suspended or self.out is not None or self.trial <= 0 or self._draining:
            return False
        return self._has_link()

    def _has_link(self) -> bool:
        return any(link.can_submit for link in self.links)

    def stand(self, *, suspended: bool, out: Wait | None = None, trial: int = NO_TRIAL) -> None:
        """Whether it may take messages from now on, and how many segments. What it has leased ahead and may
        not send any more goes back to the lanes."""
        was_able = self.able()
        self.suspended, self.out, self.trial = suspended, out, trial
        if suspended or out is not None:
            self._give_back("the carrier was taken out")
            self._hand_over()
        elif not was_able:
            self._committer.wake()

    def follow_standings(self) -> None:
        """`standings` are others: what it has leased ahead for these countries goes back to the lanes."""
        if self.standings is not None:
            self._give_back_some()
            self._hand_over()
        self._committer.wake()

    @property
    def idle(self) -> bool:
        """Nothing is leased, being leased, or waits for its answer."""
        aside = self.some is not None and self.some.aside
        return not (self.in_flight or self._claimed or self._buffered_segments or aside)

    def pause_after_start(self) -> None:
        """An earlier process may have used up the TPS of the second that is running."""
        if self.settings.tps:
            self.paused_until = trio.current_time() + _RESTART_PAUSE_S
            self._pace.set()

    @property
    def originals(self) -> dict[str, str]:
        return self.renderer.originals

    def parts(self, encoding: int, segments: int, content: str | bytes, udh: bytes) -> int:
        return self.renderer.parts(encoding, segments, content, udh)

    def stalled(self, now: float) -> bool:
        return now - self._full_since > _STALL_S

    def exhausted(self, now: float) -> bool:
        """Whether a limit beyond the second is used up: nothing more for some time."""
        return bool(self.throttle.horizons) and self._left(now) <= 0

    def _left(self, now: float) -> int:
        """Segments that limits beyond the second allow."""
        throttles = dict.fromkeys(link.throttle for link in self.links if link.can_submit)
        return sum(throttle.left(now) for throttle in throttles)

    # state, as the watchdog and operators ask for it

    def facts(self, now: float) -> CarrierFacts:
        """What keeps it from sending, if anything does (router.waiting says)."""
        links = [link for link in self.links if link.can_submit]
        due = [link.session.response_due for link in links if link.session is not None]
        awake = [link for link in links if link.paused_until <= now]
        used = [link for link in awake if link.streaming or self.buffer]
        return CarrierFacts(
            name=self.name,
            bound=bool(links),
            suspended=self.suspended
            or (not links and any(one.suspended and one.bound for one in self.links)),
            out=self.out or (Wait.TRIAL if self.trial <= 0 else None),
            stopping=self._draining,
            paused_until=max(self.paused_until, min((link.paused_until for link in links), default=0.0)),
            room=sum(link.room for link in awake),
            appetite=self._appetite(now),
            way=sum(link.room for link in used),
            way_tokens=max((link.throttle.available(now) for link in used), default=0),
            response_due=max((one for one in due if one is not None), default=-math.inf),
            tokens=max((link.throttle.available(now) for link in awake), default=0),
            buffered=self._buffered_segments,
            in_flight=self.in_flight,
        )

    def progress(self) -> tuple[int, int]:
        """Changes with each segment that is sent or answered."""
        return self._counts.segments, self.in_flight

    def holds(self) -> set[tuple[int, int]]:
        """(lease, message id) of everything it works on."""
        held = {(leased.lease, leased.message.id) for leased in (*self.buffer, *self.alone)}
        aside = self.some.aside if self.some is not None else ()
        held |= {(flight.leased.lease, flight.leased.message.id) for _, flight in aside}
        for link in self.links:
            for context in (*link.streaming, *(link.session.unanswered() if link.session else ())):
                flight = flight_of(context)
                if flight is not None:
                    held.add((flight.leased.lease, flight.leased.message.id))
        return held

    # Claimer

    def want(self, now_ms: int, seen: dict[int, int]) -> Claim | None:
        """How much it could send within the next moments, or None. `seen`: what the board notes in a tick."""
        if not self.able():
            return None
        now = trio.current_time()
        if now < self.paused_until:
            return None
        budget = self._appetite(now)
        if budget <= 0:
            return None
        claim = self._board.claim(self, budget, now, now_ms, seen)
        if self.some is not None and self.some.blocked_until < math.inf:
            self._pace.set()
        return claim

    def _appetite(self, now: float) -> int:
        """Segments that could be sent within the next moments, besides those that are leased already."""
        room = 0
        for link in self.links:
            if link.paused_until <= now:
                room += link.room
        rate = self.pacing.rate_per_s
        if rate and room > 0:
            room = min(room, max(1, math.ceil(rate * _AHEAD_S)))
        if self.throttle.horizons:
            room = min(room, self._left(now))
        return min(room - self._buffered_segments - self._claimed, self.trial)

    def claimed(self, result: ClaimResult) -> None:
        """To be leased by the transaction under way."""
        segments = result.segments
        self._claimed += segments
        if self.trial != NO_TRIAL:
            self.trial -= segments
        self._board.took(self.id, result, trio.current_time())

    def unclaimed(self, result: ClaimResult) -> None:
        """That transaction failed; what shares and routes' TPS were charged is not worth giving back."""
        segments = result.segments
        self._claimed -= segments
        if self.trial != NO_TRIAL:
            self.trial += segments
        if self.some is not None:
            self.some.claims_ended(False)

    def leased(self, result: ClaimResult) -> None:
        """COMMIT L is durable: send."""
        segments = result.segments
        self._claimed -= segments
        if result.lost and self.settings.suspect_after:
            self._set_aside(result.leased)
        else:
            self.buffer.extend(result.leased)
        self._buffered_segments += segments
        if self.some is not None:
            self.some.claims_ended(True)
        # the stop, the loss of its last link or an order may have come while they were being committed
        if self._draining or self.suspended or self.out is not None or not self._has_link():
            self._give_back("the carrier takes nothing now")
            self._hand_over()
        else:
            if self.standings is not None:
                self._give_back_some()
            self.pump()

    def _set_aside(self, leased: Sequence[Leased]) -> None:
        for one in leased:
            (self.alone if one.lost >= self.settings.suspect_after else self.buffer).append(one)

    # sending

    def pump(self) -> None:
        """Write what window, throttle and pauses allow; pace the rest."""
        now = trio.current_time()
        if now < self.paused_until:
            self._pace.set()
            self._note_throttle(now)
            return
        now_ms = self._world.wall_ms()
        touched: dict[Link, None] = {}
        if self.some is not None and self.some.aside:
            self._send_aside(self.some, now, now_ms, touched)
        for link in self.links:
            if link.streaming:
                self._stream(link, now, now_ms, touched)
        if self._kept is not None:
            self._send_alone(now, now_ms, touched)
        if self.buffer:
            self._send(now, now_ms, touched)
        if self.alone and self._kept is None:
            self._send_alone(now, now_ms, touched)
        for link in touched:
            link.flush()
        waiting = self.buffer or (self.some and self.some.aside)
        if waiting or any(link.streaming for link in self.links):
            self._pace.set()
        self._note_fullness(now)
        self._note_throttle(now)
        self._hand_over()

    def _send(self, now: float, now_ms: int, touched: dict[Link, None]) -> None:
        """What is leased goes to the links that have a free slot, a token and nothing half-sent, in turns."""
        while self.buffer:
            links, most = self._ways(now)
            if not links:
                return
            if self.some is None and self._send_short(links, most, now, now_ms, touched):
                continue
            link = links[self._turn % len(links)]
            self._turn += 1
            self._send_one(self.buffer.popleft(), link, now, now_ms, touched)

    def _send_short(
        self, links: list[Link], most: int, now: float, now_ms: int, touched: dict[Link, None]
    ) -> int:
        """Of what is leased as many short messages as there are in a row, up to `most`, to these links in
        turns; the hot path. Returns how many."""
        buffer = self.buffer
        at = self._turn % len(links)
        links = links[at:] + links[:at]
        bodies = self.renderer.plain_ones(map(_message_of, islice(buffer, most)), now_ms)
        sent = len(bodies)
        leaving = [buffer.popleft() for _ in bodies]
        for leased in leaving:
            leased.sent_ms = now_ms
        for place, link in enumerate(links[:sent]):
            assert link.session is not None
            its = bodies[place :: len(links)]
            link.session.submit_all(its, _SUBMIT_SM, now, leaving[place :: len(links)])
            link.throttle.take(len(its), now)
            touched[link] = None
        self._turn += sent
        self._buffered_segments -= sent
        self.in_flight += sent
        self._counts.segments += sent
        return sent

    def _send_alone(self, now: float, now_ms: int, touched: dict[Link, None]) -> None:
        """Keep a link for the first of `alone`, wait until it is empty, send, wait for the answer.

        Each call takes the next step, if it can be taken. Others have the link between two of them, and all
        other links meanwhile.
        """
        link = self._kept
        if link is None:
            free = (one for one in self.links if one.room and not one.streaming and one.paused_until <= now)
            link = next(free, None)
            if link is None:
                self._pace.set()
                return
            link.kept = True
            self._kept, self._tried = link, False
        aside = self.some.aside if self.some is not None else ()
        empty = link.empty and not any(one is link for one, _ in aside)
        if not link.kept or (empty and (self._tried or not self.alone)):  # lost, answered, given back
            link.kept = False
            self._kept = None
            self._committer.wake()
        elif empty and link.slots and link.throttle.available(now) <= 0:
            self._pace.set()
        elif empty and link.slots:
            self._tried = True
            self._send_one(self.alone.popleft(), link, now, now_ms, touched)

    def _send_one(
        self, leased: Leased, link: Link, now: float, now_ms: int, touched: dict[Link, None]
    ) -> None:
        """Any message, to a link that takes one."""
        body = self.renderer.plain(leased.message, now_ms)
        if body is None:
            self._start(leased, link, now, now_ms, touched)
            return
        self._buffered_segments -= 1
        flight = Flight(leased, sent_ms=now_ms)
        if self.some is not None and not self.some.let(leased.lane, now, True):
            flight.body = body
            self.some.aside.append((link, flight))
        else:
            self._submit(link, flight, body, now, touched)

    def _ways(self, now: float) -> tuple[list[Link], int]:
        """Links with a free slot, a token and nothing half-sent; and how many short messages they take in
        turns before they must be looked at again, as they may draw on the same limit."""
        links: list[Link] = []
        least_room = least_tokens = UNLIMITED
        for link in self.links:
            room = link.room
            if room > 0 and not link.streaming and link.paused_until <= now:
                tokens = link.throttle.available(now)
                if tokens > 0:
                    links.append(link)
                    least_room = min(least_room, room)
                    least_tokens = min(least_tokens, tokens)
        return links, min(least_room * len(links), least_tokens)

    def _start(self, leased: Leased, link: Link, now: float, now_ms: int, touched: dict[Link, None]) -> None:
        """Render a message, and send as much of it as the link takes."""
        message = leased.message
        if message.relay is not None and message.relay.total > 1:
            self._start_parts(leased, message.relay.group, link, now, now_ms, touched)
            return
        self._buffered_segments -= _wire(leased)
        self._promise(leased, -_wire(leased))
        try:
            bodies = self.renderer.bodies(message, leased.possible_duplicate, now_ms)
        except (TextError, EncodeError) as problem:
            self._not_carried(leased, message.segments, str(problem))
            return
        total = len(bodies)
        if total > self.max_parts and not leased.first_part:
            self._not_carried(
                leased, message.segments, f"needs {total} segments, max_parts is {self.max_parts}"
            )
            return
        first = min(leased.first_part, total - 1)
        link.streaming.extend(Flight(leased, part, total, bodies[part]) for part in range(first, total))
        self._buffered_segments += total - first
        self._promise(leased, total - first)
        self._stream(link, now, now_ms, touched)

    def _start_parts(
        self, first: Leased, group: int, link: Link, now: float, now_ms: int, touched: dict[Link, None]
    ) -> None:
        """Parts of a customer's long message that were leased together leave on one link, in order."""
        together = [first]
        while self.buffer:
            relay = self.buffer[0].message.relay
            if relay is None or relay.total < 2 or relay.group != group:
                break
            together.append(self.buffer.popleft())
        shares = self._anew.shares([leased.message for leased in together], self.renderer, self.max_parts)
        for leased, own in zip(together, shares, strict=True):
            self._buffered_segments -= _wire(leased)
            self._promise(leased, -_wire(leased))
            try:
                bodies = self.renderer.bodies(leased.message, leased.possible_duplicate, now_ms, own)
            except (TextError, EncodeError) as problem:
                self._not_carried(leased, 1, str(problem))
                continue
            total = len(bodies)
            begin = min(leased.first_part, total - 1)
            link.streaming.extend(Flight(leased, part, total, bodies[part]) for part in range(begin, total))
            self._buffered_segments += total - begin
            self._promise(leased, total - begin)
        self._stream(link, now, now_ms, touched)

    def _not_carried(self, leased: Leased, total: int, why: str) -> None:
        """It was accepted for this lane when the configuration was another: the next carrier may take it."""
        for part in range(min(leased.first_part, total - 1), total):
            flight = Flight(leased, part, total)
            verdict = self._verdict(flight, Happening.NOT_CARRIED, 0)
            self._settle(flight, verdict, why, str(Cause.INVALID_MESSAGE), lost=leased.lost)

    def _stream(self, link: Link, now: float, now_ms: int, touched: dict[Link, None]) -> None:
        """Parts of one long message leave on one link, in order, as slots and tokens come."""
        while link.streaming and link.streaming_room > 0 and link.throttle.ready(now):
            flight = link.streaming.popleft()
            assert isinstance(flight, Flight)
            self._buffered_segments -= 1
            if self.some is not None and not self.some.let(flight.leased.lane, now, flight.total == 1):
                self.some.aside.append((link, flight))
                continue
            flight.sent_ms = now_ms
            self._submit(link, flight, flight.body, now, touched)

    def _send_aside(self, some: SomeLimits, now: float, now_ms: int, touched: dict[Link, None]) -> None:
        """The rest of long messages that waited for tokens of a limit on some messages."""
        waiting, some.aside = some.aside, deque()
        for link, flight in waiting:
            free = link.slots > 0 and link.throttle.ready(now) and link.paused_until <= now
            if free and some.let(flight.leased.lane, now, flight.total == 1):
                flight.sent_ms = now_ms
                self._submit(link, flight, flight.body, now, touched)
            else:
                some.aside.append((link, flight))

    def _promise(self, leased: Leased, segments: int) -> None:
        """So many segments more, or fewer, wait to be written under its lane's limits."""
        if self.some is not None:
            self.some.promise(leased.lane, segments)

    def _submit(self, link: Link, flight: Flight, body: bytes, now: float, touched: dict[Link, None]) -> None:
        session = link.session
        assert session is not None
        session.submit_raw(body, _SUBMIT_SM, now, flight)
        link.throttle.take(1, now)
        if self.some is not None:
            self.some.sent(flight.leased.lane, now)
        self.in_flight += 1
        self._counts.segments += 1
        touched[link] = None

    def _note_fullness(self, now: float) -> None:
        for link in self.links:
            if link.room:
                self._full_since = math.inf
                return
        if self._full_since == math.inf:
            self._full_since = now

    def _note_throttle(self, now: float) -> None:
        """From one look to the next it waited for tokens, if it did so after the first."""
        if self._throttled_since < now:
            self._counts.throttle_wait_s += now - self._throttled_since
        self._throttled_since = now if self._throttled(now) else math.inf

    async def pace(self) -> None:
        """Wake the pump when the next token, or the end of a pause, is due; look how the carrier keeps up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            await self._pace_pump()

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            self.pacing.look(trio.current_time())

    async def _pace_pump(self) -> None:
        while True:
            await self._pace.wait()
            self._pace = trio.Event()
            now = trio.current_time()
            aside = self.some is not None and self.some.aside
            half_sent = any(link.streaming for link in self.links)
            only_aside = aside and not (self.buffer or self.alone or half_sent)
            kept = None if self._tried else self._kept
            links = (
                () if only_aside else [one for one in self.links if one.room or one is kept or one.half_sent]
            )
            due = [max(link.throttle.next_at(1, now), link.paused_until) for link in links]
            at = max(min(due, default=now + _STALL_S), self.paused_until)
            if self.some is not None:
                at = min(at, self.some.due(now))
            at = min(at, now + _STALL_S)  # limits may change meanwhile
            await trio.sleep_until(max(at, now + 0.001))
            self.pump()
            self._committer.wake()

    def _throttled(self, now: float) -> bool:
        """Whether what is leased waits for tokens and for nothing else."""
        if now < self.paused_until or not self._buffered_segments:
            return False
        free = [link for link in self.links if link.room and link.paused_until <= now]
        return bool(free) and not any(link.throttle.available(now) for link in free)

    # LinkOwner

    def link_bound(self, link: Link) -> None:
        self._committer.wake()
        self.pump()

    def link_events(self, link: Link, happened: Sequence[events.Event]) -> None:
        """The funnel: answers become outcomes, requests go inbound, one hand-over for each read."""
        requests: list[events.Request | events.Receipts] = []
        last: events.Event | None = None
        for event in happened:
            if type(event) is events.Accepted:
                last = event
                self._accept(event.answers)
            elif type(event) is events.Response:
                last = event
                self._answered(link, event)
            elif type(event) is events.Receipts or type(event) is events.Request:
                requests.append(event)
            elif isinstance(event, events.TimedOut):
                self._lost(event.context, Happening.TIMEOUT, "no response in time")
                last = event
            elif isinstance(event, events.Nacked):
                self._nacked(event)
            elif isinstance(event, events.Bound):
                self._counts.count_pdus(f"bind_{link.bind}", 0)
            elif isinstance(event, events.BindRefused):
                self._counts.count_pdus(f"bind_{link.bind}", event.status)
            elif isinstance(event, events.PeerUnbound):
                self._counts.count_pdus("unbind", 0)
        if requests:
            self._inbound.take(self, link, requests)
        if last is not None and self.sample is not None:
            self._die = self._die * 1_103_515_245 + 12_345 & 0x7FFFFFFF
            self.sample(self.id, _one_of(happened, last, self._die >> 16))
        if self.heard is not None:
            self.heard(self.id, list(_one_by_one(happened)))
        self._hand_over()
        if self._buffered_segments or self._kept is not None:
            self.pump()
        self._note_fullness(trio.current_time())

    def link_lost(
        self, link: Link, reason: str, unanswered: Sequence[object], unsent: Sequence[object]
    ) -> None:
        """Unanswered: outcome unknown. Unsent parts go on over another link, or back to the lane."""
        for context in unanswered:
            self._lost(context, Happening.LINK_LOST, reason)
        if self.some is not None:
            aside = self.some.take_aside(link)
            self._buffered_segments += len(aside)
            unsent = [*unsent, *aside]
        self._move(unsent, reason)
        if not self._has_link():
            self._give_back(reason)
        self._hand_over()
        self.pump()

    def _move(self, unsent: Sequence[object], reason: str) -> None:
        other = next((link for link in self.links if link.can_submit and not link.kept), None)
        for flight in unsent:
            assert isinstance(flight, Flight)
            if other is not None:
                other.streaming.append(flight)
            else:
                self._buffered_segments -= 1
                self._promise(flight.leased, -1)
                self._outcomes.append(self._outcome(flight, Settle.RETURNED, reason))

    def _give_back(self, reason: str) -> None:
        """No link is left: what was leased ahead returns unsent."""
        while self.buffer or self.alone:
            self._return((self.buffer or self.alone).popleft(), reason)

    def _return(self, leased: Leased, reason: str, lane: int = 0) -> None:
        """Unsent, to its lane, or to another one of the same carriers."""
        self._buffered_segments -= _wire(leased)
        self._promise(leased, -_wire(leased))
        total = leased.message.segments
        if leased.first_part:
            total = max(leased.first_part + 1, self._parts_of(leased.message))
        for part in range(leased.first_part, total):
            outcome = self._outcome(Flight(leased, part, total), Settle.RETURNED, reason)
            outcome.lane = lane
            self._outcomes.append(outcome)

    def _give_back_some(self) -> None:
        """What is leased ahead for countries that it is out for, or on trial in, but for that trial."""
        for queue in (self.buffer, self.alone):
            for _ in range(len(queue)):
                leased = queue.popleft()
                lane = self._apart(leased)
                if lane:
                    self._return(leased, "the carrier is out for this country", lane)
                else:
                    queue.append(leased)

    def _apart(self, leased: Leased) -> int:
        """The lane in which a message must wait that it is not to have now; 0: it may send it. The rest of a
        long message that it accepted in part stays with it."""
        message = leased.message
        code = code_of(message.destination)
        standing = self.standings.get(code) if self.standings is not None else None
        if standing is None or leased.first_part:
            return 0
        if self._board.country_of(leased.lane) == code:
            return leased.lane if standing.out else 0
        lane = self._board.lane_now(leased.lane, message)
        return lane if lane != leased.lane else 0

    def give_back_all(self, reason: str) -> None:
        """Drain: nothing new will be sent."""
        self._draining = True
        self._give_back(reason)
        self._hand_over()

    def give_back_without_a_link(self, reason: str) -> None:
        """Its binds are being replaced: others may take what it has leased and not begun."""
        if not self._has_link():
            self._give_back(reason)
            self._hand_over()

    def take_work_again(self) -> None:
        """After `give_back_all`: it stays after all."""
        self._draining = False

    # answers

    def _accept(self, answers: Sequence[events.Answer]) -> None:
        """Answers in a row that are plainly good; the hot path."""
        contexts, waited_s, ids = zip(*answers, strict=True)
        latencies = list(waited_s)
        if set(map(type, contexts)) == _SHORT_ONES:
            taken = self._taken()
            taken.leased += contexts
            taken.ids += [id.decode("latin-1") for id in ids]
        else:
            latencies.clear()
            for context, latency_s, id in answers:
                flight = flight_of(context)
                if flight is not None:
                    latencies.append(latency_s)
                    self._accept_one(flight, id.decode("latin-1"))
        if latencies:
            self.in_flight -= len(latencies)
            self._counts.count_status(0, len(latencies))
            self._counts.response_seconds.observe_all(latencies)

    def _accept_one(self, flight: Flight, id: str) -> None:
        if flight.total == 1:
            flight.leased.sent_ms = flight.sent_ms
            taken = self._taken()
            taken.leased.append(flight.leased)
            taken.ids.append(id)
        else:
            outcome = self._accepted(flight, id, "")
            outcome.lost = 0
            self._outcomes.append(outcome)

    def _taken(self) -> Taken:
        """Where those are noted that were accepted after all other outcomes there are so far."""
        taken = self._outcomes[-1] if self._outcomes else None
        if not isinstance(taken, Taken):
            taken = Taken(self.id, self.group, [], [])
            self._outcomes.append(taken)
        return taken

    def _answered(self, link: Link, event: events.Response) -> None:
        """Any answer, in full."""
        flight = flight_of(event.context)
        if flight is None:
            return
        if event.late:
            self._late(flight, event)
            return
        self.in_flight -= 1
        self._counts.response_seconds.observe(event.latency_s)
        pdu = event.pdu
        status = pdu.command_status
        self._counts.count_status(status)
        if pdu.tlvs:
            self._congestion(link, pdu)
        if status == 0:
            self._accept_one(flight, _message_id(pdu))
        else:
            self._judged(link, flight, Happening.STATUS, status)

    def _accepted(self, flight: Flight, id: str, detail: str) -> Outcome:
        outcome = self._outcome(flight, _SENT, detail)
        outcome.carrier_message_id = id
        outcome.receipt_expected = flight.leased.message.receipt != _NO_RECEIPT
        return outcome

    def _congestion(self, link: Link, pdu: Pdu) -> None:
        """congestion_state (SMPP 5.0 section 4.8.4.18), one octet, where a response carries it."""
        state = dict(pdu.tlvs).get(_CONGESTION_STATE)
        if state:
            self.pacing.congested(link, state[0], trio.current_time())

    def _late(self, flight: Flight, event: events.Response) -> None:
        """An answer after its timeout: the message is already settled as unknown; the store may claim it."""
        pdu = event.pdu
        if pdu.command_status == 0:
            self._outcomes.append(self._accepted(flight, _message_id(pdu), "late response"))

    def _nacked(self, event: events.Nacked) -> None:
        flight = flight_of(event.context)
        if flight is not None:
            self.in_flight -= 1
            self._counts.count_status(event.status)
            self._judged(None, flight, Happening.STATUS, event.status)

    def _parts_of(self, message: Message) -> int:
        content = message.data if message.encoding == Encoding.BINARY else message.text
        return self.renderer.parts(message.encoding, message.segments, content, message.udh)

    def _lost(self, context: object, happening: Happening, detail: str) -> None:
        flight = flight_of(context)
        if flight is None:
            return
        self.in_flight -= 1
        self.unknown += 1
        self.silent += happening is Happening.TIMEOUT
        verdict = self._verdict(flight, happening, 0)
        lost = flight.leased.lost + (happening is Happening.LINK_LOST)
        self._settle(flight, verdict, detail, lost=lost)

    def _judged(self, link: Link | None, flight: Flight, happening: Happening, status: int) -> None:
        verdict = self._verdict(flight, happening, status)
        if verdict.reason in (Reason.THROTTLED, Reason.QUEUE_FULL):
            self._counts.throttled += 1
            now = trio.current_time()
            if verdict.reason is Reason.QUEUE_FULL:
                accepted = self._counts.statuses.get(0, 0)
                if self._full_queues.refused(now, flight.leased.message.destination, accepted):
                    verdict = self._verdict(flight, happening, status, everywhere=True)
            if verdict.suspend_s:
                sent_at = now - (self._world.wall_ms() - flight.sent_ms) / 1000
                self.pacing.refused(link, verdict.reason, now, sent_at)
        if verdict.suspend_s:
            self._pause(link, verdict.suspend_s)
        self._settle(flight, verdict, Status.name_of(status), self.causes.of_status(status))

    def _verdict(
        self, flight: Flight, happening: Happening, status: int, *, everywhere: bool = False
    ) -> Verdict:
        leased = flight.leased
        now_ms = self._world.wall_ms()
        return judge(
            happening,
            status,
            MessageClass(leased.message.message_class),
            leased.attempts,
            self._world.rng.random(),
            self.settings.judging,
            max(0, leased.message.expires_ms - now_ms) / 1000,
            leased.lost,
            age_s=max(0, now_ms - leased.message.accepted_ms) / 1000,
            everywhere=everywhere,
        )

    def _settle(
        self, flight: Flight, verdict: Verdict, detail: str, cause: str = "", *, lost: int = 0
    ) -> None:
        """`lost`: links in a row, 0 after an answer."""
        outcome = self._outcome(flight, verdict.settle, detail)
        outcome.lost = lost
        outcome.cause = cause
        outcome.reason = verdict.reason
        outcome.state = verdict.state
        outcome.count_attempt = verdict.count_attempt
        outcome.mark_tried = (
            verdict.mark_tried
            or self.trial != NO_TRIAL
            or self.out is not None
            or (self.standings is not None and code_of(flight.leased.message.destination) in self.standings)
        )
        outcome.until_ms = self._world.wall_ms() + int(verdict.delay_s * 1000)
        self._outcomes.append(outcome)

    def _pause(self, link: Link | None, pause_s: float) -> None:
        until = trio.current_time() + pause_s
        if self.settings.throttle_scope == "bind" and link is not None:
            link.paused_until = max(link.paused_until, until)
        else:
            self.paused_until = max(self.paused_until, until)
        self._pace.set()

    def _outcome(self, flight: Flight, settle: Settle, detail: str) -> Outcome:
        leased = flight.leased
        message = leased.message
        return Outcome(
            message.account,
            message.id,
            leased.lease,
            self.id,
            self.group,
            flight.part,
            flight.total,
            settle,
            detail=detail,
            sent_ms=flight.sent_ms,
            lost=leased.lost,
        )

    def _hand_over(self) -> None:
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            self._committer.add_outcomes(outcomes)


def _one_of(happened: Sequence[events.Event], last: events.Event, die: int) -> events.Event:
    """An answer, or the lack of one: what the die says, or the last one where that is something else."""
    counts = [
        len(event.answers)
        if isinstance(event, events.Accepted)
        else len(event.numbers)
        if isinstance(event, events.Receipts)
        else 1
        for event in happened
    ]
    place, one = die % sum(counts), last
    for event, count in zip(happened, counts, strict=True):
        if place < count:
            one = event
            break
        place -= count
    if type(one) not in _ENDS:
        one, place = last, -1
    return _response(one.answers[place]) if isinstance(one, events.Accepted) else one


def _one_by_one(happened: Sequence[events.Event]) -> Iterator[events.Event]:
    for event in happened:
        if isinstance(event, events.Accepted):
            yield from map(_response, event.answers)
        else:
            yield event


def _response(answer: events.Answer) -> events.Response:
    context, latency_s, message_id = answer
    return events.Response(SubmitSmResp(message_id), context, latency_s)


def _message_id(pdu: Pdu) -> str:
    """The carrier's id in an accepting response; "" where it gave none."""
    return pdu.message_id.decode("latin-1") if isinstance(pdu, SubmitSmResp) else ""


def make_back_off(settings: CarrierConfig) -> BackOff:
    """A link's own back-off, from the carrier's settings."""
    return BackOff(settings.reconnect_min_s, settings.reconnect_max_s)
