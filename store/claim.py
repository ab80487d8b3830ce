"""COMMIT L: a carrier with room takes messages from the lanes that name it.

Inside one (lane, tried) queue, router.turns says whose turn it is; a turn reads forward through one group of
ready rows. A message longer than what is left of the budget is taken only as the first of its claim, so that
a window of 1 works. What has expired on the way ends here. One lease record for each chunk of 200.

Where a claim names several lanes, they take turns by the same rule: those with messages of the highest level
come first, each lower level keeps its 5 %, and lanes of one level share evenly. So a lane with a backlog does
not delay what stands in another one.

Carriers that share a lane by weights, and nothing else, are served together where all of them ask: one look
at each account's queue for all that they take of it in proportion, instead of one for each message. The
general form follows for the rest of their wishes.

What a claim reserves for other carriers of a lane concerns only queues of messages that one of those has not
had yet: what they all refused is taken without waiting for them.

What this carrier had it takes again where all carriers that messages may wait for have had it (the others are
suspended, out or not bound): else it would wait in vain. Not so what this carrier accepted once, in whole or
in part, and was taken away from it: that is passed over, a bounded number in each claim. So is the rest of a
long message that another carrier accepted in part, until that one has been out for some time (an OTP: at
once); then it is taken whole.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from math import gcd
from typing import TYPE_CHECKING

from router.lanes import MAX_CARRIERS
from router.nouns import Leased, MessageClass, MessageState, Phase, Progress, Reason, Step
from router.turns import Turns
from store import fail_over
from store.batch import scan
from store.ending import finalize
from store.groups import take_train
from store.interface import ClaimResult
from store.queues import FORCED
from store.records import (
    ACCOUNT_KEY,
    ENTRY,
    LOST,
    MESSAGE_KEY,
    POSSIBLE_DUPLICATE,
    READY_KEY,
    READY_PREFIX,
    READY_PREFIX_SIZE,
    TIME_KEY,
)
from store.settle import tried_with, whole_elsewhere
from store.timeline import note
from store.values import HEAD_SIZE, Damaged, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from router.nouns import Message
    from store.batch import Batch
    from store.interface import Claim

_READY, _LEASED = int(Phase.READY), int(Phase.LEASED)
_NOTHING_RESERVED = (0, 0)
_EVERYBODY = -1
_ACCOUNT_AT, _ID_AT = READY_PREFIX_SIZE - ACCOUNT_KEY.size, READY_KEY.size - TIME_KEY.size  # in a row's key
_UNTOUCHED = (
    b"\0\1\0\0\0"  # how the ENTRY of a short message begins that nobody has had: one segment, no more
)
_EXPIRES_AT = HEAD_SIZE + len(_UNTOUCHED)
_MOST_PASSED_OVER = 50


class _Taking:
    """One claim under way.

    `stuck`: the next message of the lane that was looked at last did not fit. `again`: the carrier has had
    what it is looking at. `fruitless`: (priority, account) of which it took nothing then.
    """

    __slots__ = (
        "again", "claim", "expired", "fruitless", "left", "lost", "passed_over", "queues", "stuck", "taken",
    )  # fmt: skip

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.left = claim.segments
        self.taken: list[Leased] = []
        self.queues: dict[tuple[int, int], list[int]] = {}  # (lane, tried) → [messages, segments] taken
        self.expired = 0
        self.lost = 0
        self.stuck = False
        self.again = False
        self.passed_over = 0
        self.fruitless: set[tuple[int, int]] = set()

    def count(self, lane: int, tried: int, messages: int, segments: int) -> None:
        """So much was taken from this queue."""
        counts = self.queues.setdefault((lane, tried), [0, 0])
        counts[0] += messages
        counts[1] += segments


class _Share:
    """What a claim may still take of one lane: `most`, and of what one of `others` has not had, `unseen`."""

    __slots__ = ("able", "bit", "gone", "lane", "most", "others", "unseen")

    def __init__(
        self, lane: int, index: int, most: int, reserved: tuple[int, int], able: int, gone: int
    ) -> None:
        self.lane = lane
        self.bit = 1 << index
        self.most = most
        self.others, self.unseen = reserved
        self.able = able
        self.gone = gone


def claim(batch: Batch, claims: Sequence[Claim]) -> list[ClaimResult]:
    """What each carrier got, in order."""
    results = []
    together = _together(batch, claims) if len(claims) > 1 else {}
    for place, one in enumerate(claims):
        taking = _Taking(one)
        drawn = together.get(place)
        if drawn:
            taking.taken = drawn
            taking.left -= len(drawn)
            taking.count(one.lanes[0][0], 0, len(drawn), len(drawn))
        shares = [
            _Share(
                lane,
                index,
                most,
                one.reserved.get(lane, _NOTHING_RESERVED),
                one.able.get(lane, _EVERYBODY),
                one.gone.get(lane, 0),
            )
            for lane, index, most in (() if drawn else one.lanes)
        ]
        if len(shares) == 1:
            _from_lane(batch, taking, shares[0], shares[0].most)
        elif shares:
            _in_turns(batch, taking, shares)
        if taking.taken:
            batch.taken.setdefault((one.carrier, one.now_ms), []).extend(taking.taken)
        segments = one.segments - taking.left
        results.append(ClaimResult(taking.taken, taking.expired, bool(taking.lost), segments, taking.queues))
    return results


def _together(batch: Batch, claims: Sequence[Claim]) -> dict[int, list[Leased]]:
    """What those get, by their places, who share a lane by weights and all ask for it: in the proportion of
    their weights, as far as the smallest wish goes, which leaves the balance among them as it was. What is
    over when the queue ends goes by what each might take alone."""
    groups: dict[tuple[int, int], list[int]] = {}  # (lane, mask of all who are able) → places
    for place, one in enumerate(claims):
        if one.weight:
            groups.setdefault((one.lanes[0][0], one.sharers), []).append(place)
    found: dict[int, list[Leased]] = {}
    for (lane, able), places in groups.items():
        asking = [claims[place] for place in places]
        if len(asking) < 2 or sum(1 << one.lanes[0][1] for one in asking) != able:
            continue
        common = gcd(*(one.weight for one in asking))
        units = [one.weight // common for one in asking]
        count = min(one.segments // unit for one, unit in zip(asking, units, strict=True))
        drawn = _draw(batch, lane, count * sum(units), asking[0].now_ms) if count else []
        if not drawn:
            continue
        counts = [len(drawn) * unit // sum(units) for unit in units]
        rest = len(drawn) - sum(counts)  # fewer than there are carriers
        for most in ([one.reserved.get(lane, (0, rest))[1] for one in asking], [rest] * len(asking)):
            for at, one in enumerate(asking):
                more = min(most[at], one.segments - counts[at], rest)
                counts[at] += more
                rest -= more
        begin = 0
        for place, size in zip(places, counts, strict=True):
            found[place] = drawn[begin : begin + size]
            begin += size
    return found


def _draw(batch: Batch, lane: int, most: int, now_ms: int) -> list[Leased]:
    """What whole rounds of turns give of the messages in a lane that no carrier has had, as `_take_turn`
    would take them one by one, but an account at a time: the hot path. Only short ones to which nothing has
    happened; at any other one its account's turns stop, and go on in the general form."""
    active = batch.memory.active
    turns = active.queues[lane].get(0) if lane in active.queues else None
    rounds = turns.rounds(most) if turns is not None else None
    if turns is None or rounds is None:
        return []
    priority, shares = rounds
    gone: list[bytes] = []
    columns: list[list[Leased]] = []  # as many for each account as it has messages in a round
    for account, quota, size in shares:
        prefix = READY_PREFIX.pack(lane, 0, 3 - priority, account)
        found: list[Leased] = []
        more = prefix not in batch.rowless and _short_rows(batch, prefix, lane, quota, now_ms, found, gone)
        fresh = batch.fresh.get(prefix)
        if fresh and not more:
            begin = len(found)
            for message in fresh[: quota - begin]:
                if message.segments != 1 or message.expires_ms <= now_ms:
                    break
                found.append(Leased(message, 0, 0, False, 0, lane, 0, True))
            del fresh[: len(found) - begin]
            more = bool(fresh)
        count = len(found)
        if not more:
            active.discard(prefix)
        elif count < quota:
            turns.give_back(account, quota - count)
        batch.move_many(account, lane, 1, _READY, _LEASED, count)
        columns += [found] if size == 1 else [found[at::size] for at in range(size)]
    batch.delete_all(batch.tables.ready, gone)
    return list(filter(None, chain.from_iterable(zip_longest(*columns))))


def _short_rows(
    batch: Batch, prefix: bytes, lane: int, most: int, now_ms: int, found: list[Leased], gone: list[bytes]
) -> bool:
    """Read a group's first rows, up to `most`, as far as they are short and nothing has happened to them:
    they into `found`, their keys into `gone`. Returns whether there are more. The hot path: a row whose
    message is at hand is this process's own, and is not unsealed."""
    cursor = batch.reader(batch.tables.ready)
    if not cursor.set_range(prefix):
        return False
    at_hand = batch.memory.recent.pop
    whose = prefix[_ACCOUNT_AT:]
    for key, value in cursor.iternext():
        if not key.startswith(prefix):
            return False
        if len(found) >= most or value[HEAD_SIZE:_EXPIRES_AT] != _UNTOUCHED or value[-1]:
            return True
        name = whose + key[_ID_AT:]
        message = at_hand(name, None)
        if message is None:
            payload = value[HEAD_SIZE:]
            if value != seal(key, payload) or ENTRY.unpack(payload)[3] <= now_ms:
                return True
            message = batch.message(*MESSAGE_KEY.unpack(name))
            if message is None:
                return True
        if message.expires_ms <= now_ms or (message.relay is not None and message.relay.total > 1):
            return True
        found.append(Leased(message, 0, 0, False, 0, lane, 0, True))
        gone.append(key)
    return False


def _in_turns(batch: Batch, taking: _Taking, shares: Sequence[_Share]) -> None:
    """From several lanes."""
    memory = batch.memory
    of = {share.lane: share for share in shares}
    turns = memory.lane_turns.get(taking.claim.carrier)
    if turns is None:
        turns = memory.lane_turns[taking.claim.carrier] = Turns({})
    queues = memory.active.queues
    turns.only({lane: max(one.top for one in queues[lane].values()) for lane in of if lane in queues})
    while taking.left > 0:
        turn = turns.next()
        if turn is None:
            break
        priority, lane, quantum = turn
        share = of[lane]
        before = taking.left
        _from_lane(batch, taking, share, min(quantum, share.most))
        took = before - taking.left
        turns.took(priority, lane, took)
        if taking.stuck and taking.taken:  # it keeps its turn: the next claim begins with it
            break
        if took <= 0 or share.most <= 0 or lane not in queues:
            turns.discard(priority, lane)


def _from_lane(batch: Batch, taking: _Taking, share: _Share, most: int) -> None:
    """At most `most` segments, and a long message's more."""
    queues = batch.memory.active.queues
    lane, others = share.lane, share.others
    taking.stuck = False
    for tried in sorted(queues.get(lane, ()), reverse=True):  # what was tried elsewhere has waited longest
        taking.again = bool(tried & share.bit)
        if taking.again:
            if share.able & ~tried:
                continue
            taking.fruitless.clear()
        reserved = tried & others != others
        budget = min(most, share.unseen) if reserved else most
        left = budget
        if not tried and taking.claim.paced is None:
            left -= _take_short(batch, taking, lane, queues[lane][tried], min(left, taking.left))
        while left > 0 and taking.left > 0:
            turns = queues.get(lane, {}).get(tried)
            turn = turns.next() if turns is not None else None
            if turns is None or turn is None:
                break
            allowed = min(left, taking.left)
            paced = taking.claim.paced
            if paced is not None:
                account = turn[1]
                allowed = min(allowed, paced.left(account))
                if allowed <= 0:
                    batch.memory.active.pause(READY_PREFIX.pack(lane, tried, 3 - turn[0], account))
                    paced.paused(account)
                    continue
            before = taking.left
            took = _take_turn(batch, taking, share, turns, tried, turn, allowed)
            if paced is not None:
                paced.took(turn[1], before - taking.left)
            if took == 0:
                if taking.again and _next_in_turn(taking, turns, turn):
                    continue
                taking.stuck = not taking.again
                break
            left -= took
        most -= budget - left
        share.most -= budget - left
        if reserved:
            share.unseen -= budget - left


def _take_short(batch: Batch, taking: _Taking, lane: int, turns: Turns, budget: int) -> int:
    """The beginning of what `_take_turn` would take one by one: whole rounds, as far as they go, and then as
    long as each turn has only messages that this transaction has accepted, of one segment and alive: the hot
    path. Returns segments."""
    now_ms = taking.claim.now_ms
    rowless, fresh_of, moves, taken = batch.rowless, batch.fresh, batch.moves, taking.taken
    before = len(taken)
    taken += _draw(batch, lane, budget, now_ms)
    left = budget - len(taken) + before
    turn = turns.next() if left > 0 else None
    while turn is not None:
        priority, account, quantum = turn
        prefix = READY_PREFIX.pack(lane, 0, 3 - priority, account)
        if prefix not in rowless:
            break
        fresh = fresh_of[prefix]
        begin = len(taken)
        for message in fresh[: quantum if quantum < left else left]:
            if message.segments != 1 or message.expires_ms <= now_ms:
                del taken[begin:]
                break
            taken.append(Leased(message, 0, 0, False, 0, lane, 0, True))
        count = len(taken) - begin
        if not count:
            break
        del fresh[:count]
        left -= count
        move = (account, lane, 1, _READY, _LEASED)
        moves[move] = moves.get(move, 0) + count
        if fresh and left > 0:
            turn = turns.after(priority, account, count)
            continue
        turns.took(priority, account, count)  # before `discard`: lower levels are owed for this level's work
        if not fresh:
            batch.memory.active.discard(prefix)
        turn = turns.next() if left > 0 else None
    took = budget - left
    if took > 0:
        taking.left -= took
        taking.count(lane, 0, took, took)
    return took


def _next_in_turn(taking: _Taking, turns: Turns, turn: tuple[int, int, int]) -> bool:
    """Nothing of this account's may be taken again: the next one's turn, unless it has had it already."""
    priority, account, quantum = turn
    turns.took(priority, account, quantum)
    known = (priority, account) in taking.fruitless
    taking.fruitless.add((priority, account))
    return not known and taking.passed_over < _MOST_PASSED_OVER


def _take_turn(
    batch: Batch,
    taking: _Taking,
    share: _Share,
    turns: Turns,
    tried: int,
    turn: tuple[int, int, int],
    budget: int,
) -> int:
    """Take up to the turn's quantum from one group. Returns segments taken, 0 when nothing fits any more."""
    priority, account, quantum = turn
    lane = share.lane
    prefix = READY_PREFIX.pack(lane, tried, 3 - priority, account)
    budget = min(budget, quantum) if quantum else budget
    took, more, fits = 0, False, True
    if prefix not in batch.rowless:
        took, more, fits = _take_rows(batch, taking, share, prefix, tried, account, budget)
    fresh = batch.fresh.get(prefix)
    if fresh and fits and not more:
        fresh_took, more, fits = _take_fresh(batch, taking, fresh, lane, budget - took)
        took += fresh_took
    turns.took(priority, account, took)
    if not more:
        batch.memory.active.discard(prefix)
        return max(took, 1)
    return took if fits else 0


def _take_rows(
    batch: Batch, taking: _Taking, share: _Share, prefix: bytes, tried: int, account: int, budget: int
) -> tuple[int, bool, bool]:
    """From the group's rows: segments taken, whether there are more, whether the next one would fit."""
    ready, lane = batch.tables.ready, share.lane
    gone: list[bytes] = []
    damaged: list[tuple[bytes, bytes]] = []
    took = messages = others = 0
    more, fits = False, True
    recent = batch.memory.recent
    rows = (
        _to_have_again(batch, taking, share, prefix)
        if taking.again
        else scan(batch.reader(ready), prefix, prefix)
    )
    for key, value in rows:
        if took >= budget:
            more = True
            break
        try:
            entry = ENTRY.unpack(unseal(key, value))
        except Damaged:
            damaged.append((key, value))
            continue
        segments, attempts, flags, expires_ms, first_part = entry
        id = READY_KEY.unpack(key)[5]
        if expires_ms <= taking.claim.now_ms:
            gone.append(key)
            _expire(batch, account, id, lane, segments, taking)
            continue
        left_of = first_part
        if taking.again:  # what is left of a message is for the carrier that had the first parts only
            first_part = 0
        wire = max(1, segments - first_part)  # a carrier's own segments may be more than the message's
        if wire > taking.left and taking.taken:
            more, fits = True, False
            break
        gone.append(key)
        message = recent.pop(MESSAGE_KEY.pack(account, id), None) or batch.message(account, id)
        if message is None:  # its record is in quarantine
            batch.move(account, lane, segments, Phase.READY, Phase.FINAL)
            continue
        if left_of and not first_part:
            _whole_again(batch, message, lane, tried, left_of, taking.claim.now_ms)
        fresh = not (attempts or tried or flags or first_part)
        taking.taken.append(
            Leased(message, 0, attempts, bool(flags & POSSIBLE_DUPLICATE), first_part, lane, tried, fresh)
        )
        if flags > POSSIBLE_DUPLICATE:
            taking.lost = taking.taken[-1].lost = flags >> LOST
        batch.move(account, lane, segments, _READY, _LEASED)
        messages += 1
        took += wire
        taking.left -= wire
        relay = message.relay
        if relay is not None and relay.total > 1:
            train = _take_others(batch, taking, message, lane, tried)
            took += train
            others += train
    if messages:
        taking.count(lane, tried, messages, took - others)
    delete = batch.deleter(ready)
    for key in gone:
        delete(key)
    for key, value in damaged:
        batch.quarantine(ready, key, value)
    if taking.again and not more:
        more = bool(batch.scan(ready, prefix, 1, prefix))
    return took, more, fits


def _to_have_again(
    batch: Batch, taking: _Taking, share: _Share, prefix: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """The group's rows without those to pass over. After many of these the next claim goes on there."""
    passed_over = batch.memory.passed_over
    for key, value in scan(batch.reader(batch.tables.ready), passed_over.pop(prefix, prefix), prefix):
        if not _is_kept_from(batch, taking, share, key, value):
            yield key, value
            continue
        taking.passed_over += 1
        if taking.passed_over >= _MOST_PASSED_OVER:
            passed_over[prefix] = key + b"\0"
            return


def _is_kept_from(batch: Batch, taking: _Taking, share: _Share, key: bytes, value: bytes) -> bool:
    """Whether the carrier is not to have a message that it, or another one, accepted before."""
    try:
        _, _, _, expires_ms, first_part = ENTRY.unpack(unseal(key, value))
    except Damaged:
        return False
    if expires_ms <= taking.claim.now_ms:
        return False
    _, tried, _, account, _, id = READY_KEY.unpack(key)
    progress = batch.progress(MESSAGE_KEY.pack(account, id))
    if progress is None or not (first_part or progress.passed_on):
        return False
    if fail_over.had(progress, taking.claim.carrier):
        return True
    return bool(first_part) and _waits_for_its_carrier(batch, share, tried, account, id, progress)


def _waits_for_its_carrier(
    batch: Batch, share: _Share, tried: int, account: int, id: int, progress: Progress
) -> bool:
    """Whether the rest of a long message is still for the carrier that accepted the first parts, which is no
    able one, or for others that come before this one."""
    message = batch.message(account, id)
    if message is None:  # its record is in quarantine
        return False
    its_own = ~tried & (1 << len(batch.core.names.lane(share.lane).carriers)) - 1
    if its_own & ~share.gone and message.message_class != MessageClass.OTP:
        return True
    others = ~(progress.tried | its_own)
    if share.unseen <= 0 and share.others & others:
        return True
    return bool(progress.tried & share.bit and share.able & others)


def _whole_again(batch: Batch, message: Message, lane: int, tried: int, accepted: int, now_ms: int) -> None:
    """All of a long message goes to another carrier than the one that accepted its first parts."""
    key = MESSAGE_KEY.pack(message.account, message.id)
    progress = batch.progress(key)
    if progress is None:
        return
    spec = batch.core.names.lane(lane)
    carrier = next((id for index, id in enumerate(spec.carriers) if not tried >> index & 1), 0)
    progress.tried = tried_with(progress.tried, spec, carrier)
    note(progress, now_ms, Step.RESENT, carrier, whole_elsewhere(accepted))
    batch.put_progress(key, progress)


def _take_fresh(
    batch: Batch, taking: _Taking, fresh: list[Message], lane: int, budget: int
) -> tuple[int, bool, bool]:
    """From what this transaction has accepted: as `_take_rows`, and nothing is read or written."""
    now_ms = taking.claim.now_ms
    took = count = messages = 0
    more, fits = False, True
    for message in fresh:
        if took >= budget:
            more = True
            break
        segments = message.segments
        if message.expires_ms <= now_ms:
            _expire(batch, message.account, message.id, lane, segments, taking)
        elif segments > taking.left and taking.taken:
            more, fits = True, False
            break
        else:
            taking.taken.append(Leased(message, 0, 0, False, 0, lane, 0, True))
            batch.move(message.account, lane, segments, _READY, _LEASED)
            messages += 1
            took += segments
            taking.left -= segments
        count += 1
    del fresh[:count]
    if messages:
        taking.count(lane, 0, messages, took)
    return took, more, fits


def _take_others(batch: Batch, taking: _Taking, message: Message, lane: int, tried: int) -> int:
    """The parts that come along with the first one of a customer's long message. Returns segments."""
    took = messages = 0
    if tried & FORCED and len(batch.core.names.lane(lane).carriers) < MAX_CARRIERS:
        tried = 0  # nobody has refused them: the first one was forced
    for other in take_train(batch, message):
        if other.lane != lane:  # the first part was planned anew: this one must come back there too
            elsewhere = Progress(Phase.LEASED, MessageState.ENROUTE, tried=tried, lane=lane)
            batch.put_progress(MESSAGE_KEY.pack(other.account, other.id), elsewhere)
            batch.change_lane(other.lane, lane, Phase.LEASED)
        taking.taken.append(Leased(other, 0, 0, False, 0, lane, tried))
        messages += 1
        took += other.segments
    if messages:
        taking.count(lane, tried, messages, took)
    taking.left -= took
    return took


def _expire(batch: Batch, account: int, id: int, lane: int, segments: int, taking: _Taking) -> None:
    taking.expired += 1
    message = batch.message(account, id)
    if message is None:
        batch.move(account, lane, segments, Phase.READY, Phase.FINAL)
        return
    progress = batch.progress(MESSAGE_KEY.pack(account, id)) or Progress(Phase.READY, MessageState.ENROUTE)
    finalize(
        batch,
        message,
        progress,
        Phase.READY,
        MessageState.EXPIRED,
        Reason.EXPIRED_IN_QUEUE,
        taking.claim.now_ms,
    )
