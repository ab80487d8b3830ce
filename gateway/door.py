"""The single door: every message, from whatever edge, enters through `submit()`.

account → policy → plan (number, encoding, route, lane) → COMMIT A → answer. Every request ends as
`Accepted`, after the commit, or as `Refusal`, which names the field and what is allowed.

Deliberately not here: HTTP or SMPP vocabulary (the edges translate), sending, I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec
import trio

from gateway.committer import Before, Committer
from gateway.repeats import Repeats
from gateway.submit_rates import SubmitRates
from gateway.world import World
from router.money import (
    DAY_CAP,
    DAY_QUOTA,
    INSUFFICIENT,
    MONTH_CAP,
    MONTH_QUOTA,
    metered,
    period_ends_ms,
)
from router.nouns import (
    ALIAS_WANTED,
    Account,
    Bill,
    CallbackChoice,
    Encoding,
    Message,
    MessageClass,
    Progress,
    ReceiptWish,
    Relay,
    Via,
)
from router.numbers import START, NumberProblem, lengths_of, normalise, sender_of
from router.plans import KINDS, facts
from router.policy import House, Policy
from router.rates import Priced
from router.routes import Route, RouteTable
from smpp.alphabet import Unencodable
from smpp.describe import smart_text
from smpp.segment import AUTO, GSM7, TooManyParts, count, plan
from store.interface import StoreError, Transaction
from store.wallets import zone_of

T = TypeVar("T")
SubmitDone = Callable[["list[Accepted | Refusal]"], None]
# Given the results as they will be once the commit is durable: what is written in that commit, too.
Keep = Callable[["list[Accepted | Refusal]"], Callable[[Transaction], object]] | None

CLASSES = {
    "otp": MessageClass.OTP,
    "transactional": MessageClass.TRANSACTIONAL,
    "promotional": MessageClass.PROMOTIONAL,
    "bulk": MessageClass.BULK,
}
_RECEIPTS = {"none": ReceiptWish.NONE, "final": ReceiptWish.FINAL, "all": ReceiptWish.ALL}
_PRIORITY_OF = {
    MessageClass.OTP: 3,
    MessageClass.TRANSACTIONAL: 2,
    MessageClass.PROMOTIONAL: 1,
    MessageClass.BULK: 0,
}
_ENCODINGS = {
    "auto": AUTO,
    "gsm7": Encoding.GSM7,
    "latin1": Encoding.LATIN1,
    "ucs2": Encoding.UCS2,
    "binary": Encoding.BINARY,
}
_UCS2 = int(Encoding.UCS2)
_APIS = {int(via): via.name.lower() for via in Via}
_SENDERS_CACHED = 10_000
_LONGEST_SEGMENT = 160  # characters, in GSM 7-bit
_FULL_RETRY_S = 5.0


class Submission(msgspec.Struct, gc=False):
    """One message as an edge hands it in. Texts are str, `data` is bytes; one of the two is None."""

    to: str
    sender: str
    text: str | None = None
    data: bytes | None = None
    encoding: str = "auto"  # auto | gsm7 | latin1 | ucs2 | binary
    validity_s: int | None = None
    send_at_ms: int = 0
    priority: int | None = None  # 0..3, 3 first; None = by class
    message_class: str = "transactional"  # otp | transactional | promotional | bulk
    tags: tuple[str, ...] = ()
    callback_url: str = ""
    client_ref: str = ""
    receipt: str | None = None  # none | final | all; None = the account's default
    # what only an SMPP edge says; each has the HTTP edge's meaning as its default
    source: tuple[str, int, int] | None = None  # with TON and NPI, instead of `sender`
    destination_type: int = 0x11  # TON << 4 | NPI
    expires_ms: int = 0  # instead of validity_s; more than is allowed is cut to it
    wish: int = -1  # a ReceiptWish, instead of `receipt`
    planned: tuple[int, int] | None = None  # (encoding, segments), where the edge knows them already
    udh: bytes = b""
    via: int = Via.HTTP
    flag: int = 0  # priority_flag: lifts a message above its class
    relay: Relay | None = None
    smart_encoding: bool | None = (
        None  # likenesses of GSM 7-bit where they save segments; None: the account's
    )
    multi: bool = False  # of one submit_multi: all are shown under the first accepted one's id
    callback: CallbackChoice | None = None  # gateway.callbacks.choice makes them
    trace: bytes | None = None  # gateway.traces.parent_of


class Alike(msgspec.Struct, gc=False):
    """Some that are as `first` says but for number, text and, where they are given, sources; no parts of a
    customer's own long message. Submissions have the places among all that is asked that no Alike has."""

    first: Submission
    places: list[int]
    to: list[str]
    texts: list[str]
    sources: Sequence[tuple[str, int, int]] = ()
    international: bool = False  # each number is to be read with a + before it

    def number(self, index: int) -> str:
        to = self.to[index]
        return "+" + to if self.international and to[:1] != "+" else to

    def whole(self, index: int) -> Submission:
        """One as a Submission of its own."""
        first = self.first
        source = self.sources[index] if self.sources else first.source
        sender = source[0] if source is not None else first.sender
        return msgspec.structs.replace(
            first, to=self.number(index), text=self.texts[index], sender=sender, source=source
        )


Request = Submission | Alike
Accepted = Message  # fsynced, as it is stored


class Refusal(msgspec.Struct, gc=False):
    """Not accepted, nothing stored. `status` is the HTTP status that fits; `code` a stable word."""

    status: int
    code: str
    field: str
    detail: str
    retry_after_s: float = 0


class Lanes(Protocol):
    def able(self, lane: int) -> bool: ...
    def lane_for(
        self, lane: int, encoding: int, segments: int, content: str | bytes, udh: bytes, total: int
    ) -> int: ...  # without the carriers that it is too long for; 0 = nobody is left
    def most_parts(self, lane: int) -> int: ...

    @property
    def limited(self) -> Mapping[int, object]: ...  # lanes of which `lane_for` may answer another one

    @property
    def some(self) -> Mapping[int, object]: ...  # lanes of which some messages are under limits of their own

    def lane_under(self, lane: int, destination: str, sender: str) -> int: ...

    @property
    def choosing(self) -> Mapping[int, object]: ...  # lanes whose order depends on the message

    def chosen(self, lane: int, destination: str, sender: str, pays: str) -> int: ...


class Tariff(Protocol):
    """What is known of numbers and of rate cards, by name (gateway.known)."""

    def price(self, card: str, digits: str, at_ms: int) -> Priced | None: ...
    def mcc_mnc(self, digits: str) -> str: ...


class Admission(Protocol):
    """What the store says about new work; None = welcome."""

    def admission(self) -> StoreError | None: ...
    def queued(self, account: int) -> int: ...
    def next_ids(self, count: int, now_ms: int) -> int: ...
    def find(self, account: int, id: int) -> tuple[Message, Progress] | None: ...


class Limits(msgspec.Struct, frozen=True):
    """What the configuration allows."""

    max_parts: int
    validity_default_s: int
    validity_max_s: int
    schedule_max_s: int
    default_region: str = ""
    number_types: tuple[str, ...] = ()  # of router.plans.kinds_of; () = all


class Door:
    def __init__(
        self,
        committer: Committer,
        admission: Admission,
        world: World,
        routes: RouteTable,
        lanes: Lanes,
        limits: Limits,
        check_url: Callable[[str, Account], str],
    ) -> None:
        self._committer = committer
        self._admission = admission
        self._world = world
        self._routes = routes
        self._lanes = lanes
        self.limits = limits
        self._check_url = check_url
        self.house = House(limits.default_region, limits.number_types)
        self._policies: dict[int, Policy] = {}
        self._closed = False
        self._committing: dict[int, int] = {}  # account → messages whose commit is under way
        self.repeats = Repeats(admission.find)
        self.rates = SubmitRates()
        self.tariff: Tariff | None = None
        self.repeated: Callable[[str, str, int], None] = lambda account, api, messages: None
        self.accepted: Callable[[str, str, int], None] = lambda account, api, messages: None
        self.refused: Callable[[str, str, str, int], None] = lambda account, api, code, messages: None

    def change(self, routes: RouteTable, limits: Limits) -> None:
        """By these from the next message on."""
        self._routes, self.limits = routes, limits
        self.house = House(limits.default_region, limits.number_types)
        self._policies.clear()

    def close(self) -> None:
        """Shutting down: refuse from now on."""
        self._closed = True

    def recipient(self, account: Account, text: str) -> str:
        """A number as the account writes it in E.164 digits. Errors: NumberProblem."""
        return normalise(text, account.default_region or self.limits.default_region)

    def submit(
        self,
        account: Account,
        requests: Sequence[Request],
        done: SubmitDone,
        before: Before = None,
        keep: Keep = None,
    ) -> None:
        """Accept or refuse each request on its own; `done` is called once, in order, after the commit.

        `before` is done in the commit that accepts them, and only if it accepts any; so is what `keep`
        makes of the results, where they were accepted earlier, too. Only one of the two can be given.
        """
        api = _api(requests) if requests else ""
        count = _count(requests)
        refusal = self._policy(account)
        if refusal is not None:
            self.refused(account.name, api, refusal.code, count)
            done([refusal] * count)
            return
        over: list[Refusal] = []
        if account.tps and api == "http":
            over = self._over(account, count)  # without any Alike
            if over:
                self.refused(account.name, api, over[0].code, len(over))
                count -= len(over)
                requests = requests[:count]
                if not requests:
                    done(list(over))
                    return
        now_ms = self._world.wall_ms()
        policy = self._policies.get(account.id)
        if policy is None or policy.account is not account:
            policy = self._policies[account.id] = Policy(account, self.house)
        room = self.room(account)
        first_id = self._admission.next_ids(count, now_ms)
        results = self._plan_all(policy, requests, count, first_id, now_ms)
        messages: list[Message] = [*results]  # type: ignore[list-item]
        if len(messages) > room or Refusal in map(type, results):
            messages = self._sorted_out(account, api, results, room)
        multi = bool(requests) and type(requests[0]) is Submission and requests[0].multi
        if multi:
            for message in messages[1:]:
                _show_as(message, messages[0].id)
        if over:
            results += over
        if account.duplicate_guard_s:
            self._submit_guarded(account, api, multi, results, done, before, keep, now_ms)
            return
        if not messages:
            done(results)
            return
        refused: dict[int, str] | None = {} if policy.metered else None
        if keep is not None:
            before = (
                keep(results) if refused is None else self._keep_paid(account, results, lambda: refused, keep)
            )

        def committed(error: StoreError | None) -> None:
            self._committing[account.id] -= len(messages)
            if error is None:
                if not refused:
                    self.accepted(account.name, api, len(messages))
                    done(results)
                    return
                self.accepted(account.name, api, len(messages) - len(refused))
                for why in refused.values():
                    self.refused(account.name, api, why, 1)
                done(self._paid(account, results, refused))
            else:
                full = _store_refusal(error)
                self.refused(account.name, api, full.code, len(messages))
                done([full if type(result) is Accepted else result for result in results])

        self._committing[account.id] = self._committing.get(account.id, 0) + len(messages)
        self._committer.submit_accept(messages, committed, before, refused)

    def _sorted_out(
        self, account: Account, api: str, results: list[Accepted | Refusal], room: int
    ) -> list[Message]:
        """Those that are not refused; whoever is beyond the room is, and all refusals are counted."""
        messages: list[Message] = []
        for place, one in enumerate(results):
            if type(one) is Message and len(messages) < room:
                messages.append(one)
                continue
            if type(one) is Message:
                results[place] = one = _queue_full(account)
            assert isinstance(one, Refusal)
            self.refused(account.name, api, one.code, 1)
        return messages

    def _paid(
        self, account: Account, results: Sequence[Accepted | Refusal], refused: Mapping[int, str]
    ) -> list[Accepted | Refusal]:
        """The results without those that the account had no money or quota for, as the commit knows."""
        now_ms = self._world.wall_ms()
        return [
            _unpaid(account, refused[result.id], now_ms)
            if type(result) is Accepted and result.id in refused
            else result
            for result in results
        ]

    def _keep_paid(
        self,
        account: Account,
        results: Sequence[Accepted | Refusal],
        refused: Callable[[], Mapping[int, str]],
        keep: Callable[[list[Accepted | Refusal]], Callable[[Transaction], object]],
    ) -> Callable[[Transaction], object]:
        """What is kept of the results is made in the commit: before it nobody knows who is refused."""
        return lambda txn: keep(self._paid(account, results, refused()))(txn)

    def _submit_guarded(
        self,
        account: Account,
        api: str,
        multi: bool,
        results: list[Accepted | Refusal],
        done: SubmitDone,
        before: Before,
        keep: Keep,
        now_ms: int,
    ) -> None:
        """`submit` from where all is planned: what repeats an earlier message gets that one's answer. What
        replaces others (`before`) repeats nobody."""
        planned = {place: one for place, one in enumerate(results) if type(one) is Message}
        others: list[tuple[Message, Message]] = []  # answers, each with the one that its id and alias are of
        submit = self.repeats.sort(account, planned, now_ms, anew=before is not None)
        shown = 0
        for place, message in planned.items():
            earlier = submit.repeated.get(place)
            id = message.id
            if earlier is not None:
                known = self.repeats.shown(earlier)
                id = known.id
                if known is earlier:
                    results[place] = earlier
                else:
                    results[place] = told = msgspec.structs.replace(earlier, id=id)
                    others.append((told, known))
            if multi:
                shown = shown or id
                if earlier is None:
                    _show_as(message, shown)

        def answer(error: StoreError | None) -> None:
            own = {message.id for message in submit.messages} if error is not None else set()
            for place, message in planned.items():
                why = submit.failed(place)
                if submit.repeated.get(place, message).id in own:
                    why = error
                unpaid = submit.unpaid(place, submit.repeated.get(place, message).id)
                if why is not None or unpaid:
                    full = _store_refusal(why) if why else _unpaid(account, unpaid, self._world.wall_ms())
                    results[place] = full
                    self.refused(account.name, api, full.code, 1)
            for told, known in others:
                told.alias = known.alias  # which the commit may have given it
            if error is None and submit.messages:
                self.accepted(account.name, api, len(submit.messages) - len(submit.refused))
            if submit.repeated:
                self.repeated(account.name, api, len(submit.repeated))
            done(results)

        def committed(error: StoreError | None) -> None:
            self._committing[account.id] -= len(submit.messages)
            self.repeats.end(account, submit, error)
            answer(error)
            for ended in submit.ended:
                ended()

        kept = keep is not None and bool(planned)
        if keep is not None and kept:

            def paid() -> Mapping[int, str]:
                told = {place: submit.repeated.get(place, message) for place, message in planned.items()}
                unpaid = {place: submit.unpaid(place, message.id) for place, message in told.items()}
                return {results[place].id: why for place, why in unpaid.items() if why}  # type: ignore[union-attr]

            made = self._keep_paid(account, results, paid, keep) if metered(account) else keep(results)
            before = _unless(lambda: any(map(submit.failed, submit.waiting)), made)
        if submit.messages or kept:
            self._committing[account.id] = self._committing.get(account.id, 0) + len(submit.messages)
            refused = submit.refused if metered(account) else None
            self._committer.submit_accept(submit.messages, committed, before, refused)
        elif submit.newest is not None:
            submit.newest.ended.append(lambda: answer(None))
        else:
            answer(None)

    def would(self, account: Account, request: Submission, now_ms: int) -> Message | Refusal:
        """What `submit` would make of it at that time; nothing happens."""
        return self._policy(account) or self._plan(Policy(account, self.house), request, 0, now_ms)

    def replanned(self, account: Account, message: Message, request: Submission) -> Message | Refusal:
        """What a message that waits would be with what `request` says now; room is not asked for again."""
        if self._closed or account.closed or account.suspended:
            refusal = self._policy(account)
            assert refusal is not None
            return refusal
        return self._plan(Policy(account, self.house), request, message.id, self._world.wall_ms())

    # policy: what concerns the account and the house, not the message

    def _policy(self, account: Account) -> Refusal | None:
        if self._closed:
            return Refusal(503, "shutting-down", "", "the gateway is shutting down; try again shortly", 5)
        if account.closed:
            return Refusal(403, "account-closed", "", f"account {account.name!r} was closed for good")
        if account.suspended:
            return Refusal(403, "account-suspended", "", f"account {account.name!r} is suspended")
        error = self._admission.admission()
        if error is not None:
            return _store_refusal(error)
        return _queue_full(account) if self.room(account) <= 0 else None

    def _over(self, account: Account, submits: int) -> list[Refusal]:
        """A refusal for each of the last ones that its tps has no room for now; the others are counted.

        SMPP's edge has counted its own before, as it may also let them wait.
        """
        now = trio.current_time()
        throttle = self.rates.of(account)
        allowed = min(submits, throttle.available(now))
        throttle.take(allowed, now)
        if allowed == submits:
            return []
        detail = f"account {account.name!r} may submit {account.tps:g} messages a second, its tps"
        refusal = Refusal(429, "too-many-submits", "", detail, self.rates.waits_s(account, now))
        return [refusal] * (submits - allowed)

    def room(self, account: Account) -> int:
        """How many more messages it may have waiting, those that are being committed counted."""
        return account.max_queued - self._admission.queued(account.id) - self._committing.get(account.id, 0)

    # plan: what concerns the message

    def _plan_all(
        self, policy: Policy, requests: Sequence[Request], count: int, first_id: int, now_ms: int
    ) -> list[Message | Refusal]:
        """`_plan` of each; there are `count`."""
        if count == len(requests) and Alike not in map(type, requests):
            return [self._plan(policy, one, id, now_ms) for id, one in enumerate(requests, first_id)]  # type: ignore[arg-type]
        results: list[Message | Refusal | None] = [None] * count
        singly: list[Submission] = []
        kinds: dict[int, _Kind] = {}  # by the ids of their firsts
        for request in requests:
            if type(request) is Alike:
                first = request.first
                kind = kinds.get(id(first)) or kinds.setdefault(id(first), _Kind(first, {}, {}))
                put_all(results, request.places, self._plan_alike(policy, kind, request, first_id, now_ms))
            else:
                assert type(request) is Submission
                singly.append(request)
        place = -1
        for one in singly:
            place = results.index(None, place + 1)
            results[place] = self._plan(policy, one, first_id + place, now_ms)
        return results  # type: ignore[return-value]

    def _plan_alike(
        self, policy: Policy, kind: _Kind, alike: Alike, first_id: int, now_ms: int
    ) -> list[Message | Refusal]:
        """`_plan` of each. What one came to is true of the others that take the same route, too."""
        results: list[Message | Refusal] = []
        deciding = max(self._routes.deciding, START)
        ways, places, texts, sources = kind.ways, alike.places, alike.texts, alike.sources
        for index, digits in enumerate(self._digits_of(policy, alike)):
            lengths, model = ways.get(digits[:deciding]) or self._way(policy, kind, digits, deciding, now_ms)
            if lengths >> len(digits) & 1 and (not sources or policy.sender_allowed(sources[index][0])):
                message: Message = model.__copy__()  # type: ignore[union-attr]
                message.id = first_id + places[index]
                message.destination = digits
                message.text = texts[index]
                if sources:
                    message.source, message.source_ton, message.source_npi = sources[index]
                results.append(message)
            else:
                results.append(self._plan(policy, alike.whole(index), first_id + places[index], now_ms))
        return results

    def _digits_of(self, policy: Policy, alike: Alike) -> list[str]:
        """Each one's number in E.164 digits; "" where it has to be planned by itself."""
        numbers = alike.to
        if not (self._routes.prefix_only and policy.any_number):
            return [""] * len(numbers)
        if alike.international:
            together = "".join(numbers)
            if together.isascii() and together.isdigit():
                return numbers
        return [_digits(alike.number(index), policy.region) for index in range(len(numbers))]

    def _way(self, policy: Policy, kind: _Kind, digits: str, deciding: int, now_ms: int) -> _Way:
        """What is true of a number, and of all others of its kind that begin like it."""
        lengths = lengths_of(digits)
        if not lengths >> len(digits) & 1:
            return _NO_WAY
        way, route = _NO_WAY, self._routes.match(digits)
        if route is not None:
            if route.name not in kind.models:
                kind.models[route.name] = self._model(policy, kind, digits, route, now_ms)
            model = kind.models[route.name]
            if model is not None:
                way = lengths, model
        kind.ways[digits[:deciding]] = way
        return way

    def _model(self, policy: Policy, kind: _Kind, digits: str, route: Route, now_ms: int) -> Message | None:
        """What one of a kind with such a number is planned as; None if the number counts for more than its
        route, or the text for anything."""
        lanes, lane, first = self._lanes, route.lane, kind.first
        if first.planned is None or first.source is None or not policy.sender_allowed(first.source[0]):
            return None
        if lane in lanes.limited or lane in lanes.choosing or lane in lanes.some:
            return None
        if first.planned[0] == _UCS2 and policy.account.smart_encoding:
            return None
        one: Submission = first.__copy__()  # type: ignore[attr-defined]
        one.to = "+" + digits
        planned = self._plan(policy, one, 0, now_ms)
        return planned if type(planned) is Message else None

    def _plan(self, policy: Policy, request: Submission, message_id: int, now_ms: int) -> Message | Refusal:
        account = policy.account
        try:
            destination = normalise(request.to, policy.region)
        except NumberProblem as problem:
            return Refusal(422, problem.code, "to", str(problem))
        sender = request.source or policy.senders.get(request.sender)
        if sender is None:
            try:
                sender = sender_of(request.sender, policy.region)
            except NumberProblem as problem:
                return Refusal(422, problem.code, "from", str(problem))
            if len(policy.senders) >= _SENDERS_CACHED:
                policy.senders.clear()
            policy.senders[request.sender] = sender
        if not policy.sender_allowed(sender[0]):
            return Refusal(
                403, "sender-not-allowed", "from", f"account {account.name!r} may not send as {sender[0]!r}"
            )
        if not policy.destination_allowed(destination):
            return Refusal(
                403,
                "destination-not-allowed",
                "to",
                f"account {account.name!r} may send to {', '.join(account.destinations[:5])}…, not there",
            )
        if policy.kinds is not None and (kind := policy.kind_refused(destination)):
            return _type_refused(policy, destination, kind)
        content = content_of(request, account, self.limits.max_parts)
        if isinstance(content, Refusal):
            return content
        encoding, segments, text, data = content
        timing = self._timing(request, now_ms, policy)
        if isinstance(timing, Refusal):
            return timing
        send_at_ms, expires_ms = timing
        if request.callback_url:
            problem_text = self._check_url(request.callback_url, account)
            if problem_text:
                return Refusal(422, "bad-callback-url", "callback_url", problem_text)
        message_class = CLASSES[request.message_class]
        total = request.relay.total if request.relay is not None else 0
        routes = self._routes
        if routes.prefix_only:
            route = routes.match(destination)
        else:
            # A part of a customer's long message goes by what is known of the whole: its size, not its text.
            route = routes.decide(
                destination, sender[0], sender[1], account.name, account.group, message_class, request.tags,
                "" if total > 1 else text, encoding, total if total > 1 else segments, send_at_ms or now_ms,
            )  # fmt: skip
        if route is None:
            return Refusal(
                422, "no-route", "to", f"no route for numbers like {destination[:4]}…; add one to [[routes]]"
            )
        whole = route.lane
        if whole in self._lanes.choosing:
            whole = self._lanes.chosen(whole, destination, sender[0], account.rate_card)
            if not whole:
                return _no_margin(route.name, account, destination)
        lane = self._lanes.lane_for(whole, encoding, segments, text or data, request.udh, total)
        if not lane:
            segments, most = total or segments, self._lanes.most_parts(whole)
            return Refusal(
                422,
                "too-long",
                "text" if text else "data",
                f"needs {segments} segments; max_parts of the carriers of route {route.name!r} is {most}",
            )
        if lane in self._lanes.some:
            lane = self._lanes.lane_under(lane, destination, sender[0])
        if route.reject_when_down and not self._lanes.able(lane):
            return Refusal(
                503, "route-down", "to", f"route {route.name!r} has no carrier up and refuses while down", 10
            )
        valid_until_ms = 0
        if route.max_queue_age_s:
            latest_ms = (send_at_ms or now_ms) + route.max_queue_age_s * 1000
            if latest_ms < expires_ms:
                valid_until_ms, expires_ms = expires_ms, latest_ms
        wish = request.wish
        if wish < 0:
            wish = account.receipt_default if request.receipt is None else _RECEIPTS[request.receipt]
        priority = request.priority
        if priority is None:
            priority = max(_PRIORITY_OF[message_class], request.flag)
        bill: Bill | None = None
        if policy.metered:
            priced = self._bill(account, destination, send_at_ms or now_ms)
            if isinstance(priced, Refusal):
                return priced
            bill = priced
        return Message(
            message_id,
            account.id,
            now_ms,
            sender[0],
            sender[1],
            sender[2],
            destination,
            encoding,
            text,
            data,
            segments,
            lane,
            policy.priority(priority),
            message_class,
            send_at_ms,
            expires_ms,
            wish,
            route.name,
            request.callback_url,
            request.client_ref,
            request.tags,
            request.udh,
            request.via,
            request.destination_type,
            ALIAS_WANTED if account.id_form == "short" else 0,
            request.relay,
            valid_until_ms,
            request.callback,
            bill,
            request.trace,
        )

    def _bill(self, account: Account, destination: str, at_ms: int) -> Bill | Refusal:
        """What a segment costs the account, by its rate card as it is in force at that time."""
        tariff = self.tariff
        network = tariff.mcc_mnc(destination) if tariff is not None else ""
        if account.billing == "off":
            return Bill(0, account.currency, account.charge, network)
        found = tariff.price(account.rate_card, destination, at_ms) if tariff is not None else None
        if found is None or found.rate.currency != account.currency:
            return _no_price(account, destination, found.rate.currency if found is not None else "")
        return Bill(found.rate.price, account.currency, account.charge, network)

    def _timing(self, request: Submission, now_ms: int, policy: Policy) -> tuple[int, int] | Refusal:
        limits = self.limits
        send_at_ms = request.send_at_ms
        if send_at_ms <= now_ms:
            send_at_ms = 0
        elif send_at_ms > now_ms + limits.schedule_max_s * 1000:
            days = limits.schedule_max_s // 86_400
            return Refusal(422, "too-far-ahead", "send_at", f"send_at may lie at most {days} days ahead")
        default_s, most_s = policy.validity_s(limits.validity_default_s, limits.validity_max_s)
        if request.expires_ms:
            return send_at_ms, min(request.expires_ms, (send_at_ms or now_ms) + most_s * 1000)
        validity_s = request.validity_s
        if validity_s is None:
            validity_s = default_s
        elif not 1 <= validity_s <= most_s:
            return Refusal(422, "bad-validity", "validity_s", f"validity_s must be 1 to {most_s} seconds")
        return send_at_ms, (send_at_ms or now_ms) + validity_s * 1000


def _api(requests: Sequence[Request]) -> str:
    first = requests[0]
    return _APIS[(first.first if type(first) is Alike else first).via]  # type: ignore[union-attr]


class _Kind(msgspec.Struct, gc=False):
    """What is known of those that are as one Submission says. It is forgotten with its call, so that nothing
    has to drop it."""

    first: Submission
    models: dict[str, Message | None]  # by the route; None: each is planned by itself
    ways: dict[str, _Way]  # by how the number begins


_Way = tuple[int, Message | None]  # how long such numbers can be, as a bit mask, and what is planned for them
_NO_WAY: _Way = (0, None)


def _digits(number: str, region: str) -> str:
    try:
        return normalise(number, region)
    except NumberProblem:  # `_plan` says it
        return ""


def one_by_one(requests: Sequence[Request]) -> list[Submission]:
    """Each as a Submission, in order."""
    alike = [one for one in requests if type(one) is Alike]
    found = {place: one.whole(index) for one in alike for index, place in enumerate(one.places)}
    left = iter([one for one in requests if type(one) is Submission])
    return [found[place] if place in found else next(left) for place in range(_count(requests))]


def _count(requests: Sequence[Request]) -> int:
    return sum([len(one.to) if type(one) is Alike else 1 for one in requests])


def put_all(into: list[T], places: list[int], values: Sequence[T]) -> None:
    """Each of the values at its place; the places ascend."""
    start, end = places[0], places[-1] + 1
    if end - start == len(places):
        into[start:end] = values
        return
    for place, value in zip(places, values, strict=True):
        into[place] = value


def content_of(
    request: Submission, account: Account, max_parts: int
) -> tuple[int, int, str, bytes] | Refusal:
    """Its canonical encoding and segments, its text, its data, as this account would submit it."""
    text, data = request.text, request.data
    if request.planned is not None:
        encoding, segments = request.planned
        if encoding == _UCS2 and account.smart_encoding and text:
            text, encoding, segments = _smart(text, segments, request.relay)
        if segments > max_parts:
            return Refusal(422, "too-long", "text", str(TooManyParts(segments, max_parts)))
        return encoding, segments, text or "", data or b""
    wanted = _ENCODINGS[request.encoding]
    field = "text" if data is None else "data"
    if (text is None) == (data is None):
        return Refusal(422, "no-content", "text", "give exactly one of text and data")
    if data is not None and wanted not in (AUTO, Encoding.BINARY):
        return Refusal(422, "bad-encoding", "encoding", "data goes with encoding binary (or auto)")
    if text is not None and wanted == Encoding.BINARY:
        return Refusal(422, "bad-encoding", "encoding", "encoding binary takes data (hex), not text")
    smart = account.smart_encoding if request.smart_encoding is None else request.smart_encoding
    if text is not None and len(text) > max_parts * _LONGEST_SEGMENT * (2 if smart else 1):
        # Said before each of a thousand receivers has it encoded.
        return Refusal(422, "too-long", field, f"needs more than {max_parts} segments, {max_parts} allowed")
    if smart and text and wanted == AUTO:
        text = _smart(text, 0)[0]
    try:
        encoding, segments = plan(text if text is not None else data or b"", wanted, max_parts)
    except Unencodable as problem:
        return Refusal(422, "unencodable", field, str(problem))
    except TooManyParts as problem:
        return Refusal(422, "too-long", field, str(problem))
    return encoding, segments, text or "", data or b""


def encoding_word(encoding: int) -> str:
    """What a Submission calls an Encoding."""
    return next((word for word, known in _ENCODINGS.items() if known == encoding), "auto")


def _unless(otherwise: Callable[[], bool], write: Callable[[Transaction], object]) -> Before:
    return lambda txn: None if otherwise() else write(txn)


def _smart(text: str, segments: int, relay: Relay | None = None) -> tuple[str, int, int]:
    """(text, encoding, segments) of a text that is UCS-2 as it is: by its likenesses in GSM 7-bit, where that
    saves segments. Parts of a customer's own long message stay as they are."""
    alike = smart_text(text) if relay is None or relay.total < 2 else None
    if alike is None:
        return text, Encoding.UCS2, segments
    return alike, Encoding.GSM7, count(alike, GSM7)


def _show_as(message: Message, shown: int) -> None:
    """Of one submit_multi: its receipts name the id that its submitter was given."""
    shown = shown if shown != message.id else 0
    if shown != (message.relay.shown if message.relay is not None else 0):
        message.relay = msgspec.structs.replace(message.relay or Relay(), shown=shown)


def _type_refused(policy: Policy, digits: str, kind: str) -> Refusal:
    where = facts(digits).country or "any country"
    what = f"no valid number of {where}" if kind == "unknown" else f"a number of type {kind} ({where})"
    allowed = ", ".join(one for one in KINDS if one in (policy.kinds or ()))
    who = policy.account.name
    return Refusal(
        422,
        "number-type-not-allowed",
        "to",
        f"{digits[:-4]}… is {what}; account {who!r} may send to {allowed}: allowed_number_types",
    )


def _no_margin(route: str, account: Account, destination: str) -> Refusal:
    """Says no price: it is for customers, too."""
    return Refusal(
        422,
        "no-margin",
        "to",
        f"no carrier of route {route!r} has a known price for numbers like {destination[:4]}… that is within "
        f"what account {account.name!r} pays: `signalbox route explain` shows both; correct a rate card, add "
        "a carrier, or set allow_loss = true on the route",
    )


def _no_price(account: Account, destination: str, currency: str) -> Refusal:
    what = f"has no price for numbers like {destination[:4]}…"
    if currency:
        what = f"has a price in {currency}, but the account pays in {account.currency}"
    return Refusal(
        422,
        "no-price",
        "to",
        f"the rate card {account.rate_card!r} of account {account.name!r} {what}; "
        "`signalbox table import rates` brings prices",
    )


_UNPAID = {
    INSUFFICIENT: (402, "the balance of account {} does not cover it; a smaller message, or a top-up, would"),
    DAY_CAP: (402, "account {} would spend more than its cap for today"),
    MONTH_CAP: (402, "account {} would spend more than its cap for this month"),
    DAY_QUOTA: (429, "account {} has submitted all messages of its quota for today"),
    MONTH_QUOTA: (429, "account {} has submitted all messages of its quota for this month"),
}


def _unpaid(account: Account, code: str, now_ms: int) -> Refusal:
    status, detail = _UNPAID[code]
    ends_ms = period_ends_ms(
        now_ms, zone_of(account.billing_zone), whole_month=code in (MONTH_CAP, MONTH_QUOTA)
    )
    waits_s = 0.0 if code == INSUFFICIENT else (ends_ms - now_ms) / 1000
    return Refusal(status, code, "", detail.format(repr(account.name)), waits_s)


def _queue_full(account: Account) -> Refusal:
    return Refusal(
        429,
        "queue-full",
        "",
        f"account {account.name!r} already has {account.max_queued} messages queued, its limit",
        _FULL_RETRY_S,
    )


def _store_refusal(error: StoreError) -> Refusal:
    return Refusal(503, "store-full", "", f"{error}. {error.hint}".strip(), _FULL_RETRY_S)
