"""POST /v1/messages/stream: messages as lines of JSON, any number of them, answered line by line.

Each line is answered on its own and in order, after the commit that holds its message: its number, and an
id or what is wrong. A bad line does not end the stream, an empty one is passed over. The last line of an
answer says whether all was taken (`done`) and how many lines there were; where it is not, why, and where to
go on.

With an Idempotency-Key each line that was accepted is remembered, by its number, in the commit that accepts
it: the same stream sent again answers those lines as before, and takes the others.

An account's tps holds up its stream, instead of having lines refused; a full queue does so for a while.

Invariants: at most MOST_UNANSWERED lines are between being read and being answered, and at most one read's
worth waits before them; a line has LONGEST_LINE octets. Whose key it is is asked again for each portion, so
that a stream does not outlive it.

Deliberately not here: chunks and time limits (connection.py), what a message may say (fields.py), what
retries get (once.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import trio

from gateway.door import Accepted, Refusal, Submission
from gateway.http.auth import Keys
from gateway.http.fields import read_one
from gateway.http.messages import accepted_out, problem_of
from gateway.http.once import Asked, Once
from gateway.http.ports import RoomyDoorPort
from gateway.http.problems import BadRequest, Headers, problem
from gateway.http.request import Request
from gateway.http.retries import Answered, key_of
from gateway.http.routes import Streaming
from gateway.http.streams import Outflow
from gateway.http.table.messages import StreamEnd
from gateway.submit_rates import SubmitRates
from router.nouns import Account
from store.interface import Transaction

LONGEST_LINE = 262_144
MOST_UNANSWERED = 2_000
MOST_WAITING = 262_144  # octets of answers that are not handed to the socket
LONGEST_HELD_S = 60.0  # while the account's queue is full; then lines are refused, as submits are
PORTION = 500  # lines that go to the door together
_MEDIA = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})
_HEADERS: Headers = (("Content-Type", "application/x-ndjson"), ("Cache-Control", "no-store"))

_encode = msgspec.json.Encoder().encode

_Item = Submission | BadRequest | Answered  # a line: for the door, wrong, or answered before


class _Portion:
    """Lines that went to the door together; `out` is what they are answered, once it is known."""

    __slots__ = ("accepted", "count", "out", "refused")

    def __init__(self, count: int) -> None:
        self.count = count
        self.accepted = self.refused = 0
        self.out: bytes | None = None


class MessageStream:
    """Opens streams: `streaming` is what a route serves."""

    def __init__(self, door: RoomyDoorPort, keys: Keys, once: Once, rates: SubmitRates | None = None) -> None:
        self._door = door
        self._once = once
        self._rates = rates or SubmitRates()
        self._keys = keys
        self.streaming = Streaming(self._open, _HEADERS)

    def _open(self, request: Request, out: Outflow) -> _Lines:
        authorization, peer = request.headers.get(b"authorization"), request.peer
        _check_media(request.headers.get(b"content-type"))
        key = key_of(request.headers.get(b"idempotency-key"))
        return _Lines(
            self._door,
            self._rates,
            self._once,
            key,
            lambda: self._keys.authenticate(authorization, peer),
            out,
        )


class _Lines:
    """streams.Taker of one stream."""

    def __init__(
        self,
        door: RoomyDoorPort,
        rates: SubmitRates,
        once: Once,
        key: str,
        account: Callable[[], Account],
        out: Outflow,
    ) -> None:
        self._door = door
        self._rates = rates
        self._once = once
        self._key = key  # "": none came
        self._account = account
        self._out = out
        self._rest = bytearray()  # of a line that has begun
        self._skipping = False  # the rest of a line that is too long
        self._lines: deque[tuple[int, bytes | None]] = deque()  # whole ones to be read; None: too long
        self._number = 0
        self._portions: deque[_Portion] = deque()
        self._unanswered = 0
        self._ended = False
        self._why: BadRequest | None = None  # it was cut
        self._accepted = self._refused = 0
        self._full_since: float | None = None  # that there is no room in the account's queue

    # in

    def take(self, data: bytes) -> None:
        if self._why is not None:
            return
        start = 0
        while True:
            end = data.find(b"\n", start)
            if end < 0:
                break
            self._add(data[start:end])
            self._whole()
            start = end + 1
        self._add(data[start:])

    def _add(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._rest += piece
        if len(self._rest) > LONGEST_LINE:
            self._skipping = True
            self._rest.clear()

    def _whole(self) -> None:
        """The line that had begun has ended."""
        self._number += 1
        line = None if self._skipping else bytes(self._rest)
        if line is None or line.strip():
            self._lines.append((self._number, line))
        self._skipping = False
        self._rest.clear()

    @property
    def begun(self) -> bool:
        return self._skipping or bool(self._rest)

    @property
    def units(self) -> int:
        return self._number

    def ready(self) -> bool:
        while self._lines and self._room():
            if not self._submit():
                break
        self._finish()
        return not self._lines and self._room()

    def _room(self) -> bool:
        return self._why is None and self._unanswered < MOST_UNANSWERED and self._out.waiting < MOST_WAITING

    def end(self) -> None:
        if self.begun:
            self._whole()
        self._ended = True
        self.ready()

    def cut(self, why: BadRequest) -> None:
        if self._why is not None or (self._ended and not self._lines):
            return  # everything was taken: it only waits for its answer
        if self._lines:
            self._number = self._lines[0][0] - 1
            self._lines.clear()
        self._why = why
        self._finish()

    # to the door and back

    def _fitting(self, account: Account, count: int) -> int:
        """How many of so many lines its queue has room for. Of a queue that stays full they are refused."""
        room, now = self._door.room(account), trio.current_time()
        if room >= 1:
            self._full_since = None
            return min(count, room)
        if self._full_since is None:
            self._full_since = now
        return 0 if now - self._full_since < LONGEST_HELD_S else count

    def _submit(self) -> bool:
        """False: not now."""
        try:
            account = self._account()
        except BadRequest as refusal:  # the key has ended
            self.cut(refusal)
            return False
        count = min(PORTION, len(self._lines))
        if account.tps:  # lines wait for it, and the peer with them, instead of being refused
            count = min(count, int(self._rates.of(account).available(trio.current_time())))
            if count < 1:
                return False
        count = self._fitting(account, count)
        if count < 1:
            return False
        lines = [self._lines.popleft() for _ in range(count)]
        items: list[tuple[int, _Item]] = [(number, _read(line)) for number, line in lines]
        asked = self._asked(account, lines, items) if self._key else []
        good = [item for _, item in items if isinstance(item, Submission)]
        portion = _Portion(len(items))
        self._portions.append(portion)
        self._unanswered += portion.count

        def done(results: Sequence[Accepted | Refusal]) -> None:
            for one in asked:
                one.end()
            portion.out = _answered(portion, items, results)
            self._answer()

        if not good:
            done(())
            return True
        try:
            self._door.submit(account, good, done, keep=partial(_kept, asked, good) if asked else None)
        except BaseException:
            for one in asked:
                one.end()
            raise
        return True

    def _asked(
        self, account: Account, lines: Sequence[tuple[int, bytes | None]], items: list[tuple[int, _Item]]
    ) -> list[Asked]:
        """One for each submission that is left in `items`, where what was answered before takes its place."""
        found: list[Asked] = []
        for place, (number, line) in enumerate(lines):
            if isinstance(items[place][1], Submission) and line is not None:
                try:
                    asked = self._once.line(account.id, self._key, number, line)
                except BadRequest as refusal:
                    items[place] = number, refusal
                    continue
                if isinstance(asked, Answered):
                    items[place] = number, asked
                else:
                    found.append(asked)
        return found

    def _answer(self) -> None:
        """What is known of all portions before the first that is not."""
        while self._portions and self._portions[0].out is not None:
            portion = self._portions.popleft()
            assert portion.out is not None
            self._unanswered -= portion.count
            self._accepted += portion.accepted
            self._refused += portion.refused
            self._out.write(portion.out)
        self._finish()

    def _finish(self) -> None:
        """The last line, if nothing comes before it any more."""
        if self._portions or self._lines or not (self._ended or self._why is not None):
            return
        if self._out.finished:
            return
        end = StreamEnd(self._why is None, self._number, self._accepted, self._refused)
        if self._why is not None:
            again = f"{self._why.detail}; go on with line {self._number + 1}"
            end.problem = problem(self._why.status, self._why.code, again)
        self._out.write(_encode(end) + b"\n")
        self._out.finish()


def _read(line: bytes | None) -> Submission | BadRequest:
    if line is None:
        return BadRequest(413, "line-too-long", f"a line may have {LONGEST_LINE} bytes")
    try:
        return read_one(line)
    except BadRequest as refusal:
        return refusal


def _kept(
    asked: Sequence[Asked], good: Sequence[Submission], results: Sequence[Accepted | Refusal]
) -> Callable[[Transaction], None]:
    """What remembers those that are accepted; refused ones may be tried again."""
    rows = [
        one.kept(Answered(202, (), _encode(accepted_out(result, item, 202))))
        for one, item, result in zip(asked, good, results, strict=True)
        if isinstance(result, Accepted)
    ]

    def keep(txn: Transaction) -> None:
        for row in rows:
            row(txn)

    return keep


def _answered(
    portion: _Portion,
    items: Sequence[tuple[int, _Item]],
    results: Sequence[Accepted | Refusal],
) -> bytes:
    """A line for each; what never reached the door is joined with what the door said."""
    told = iter(results)
    out: list[bytes] = []
    for number, item in items:
        if isinstance(item, Answered):
            portion.accepted += 1
            said = item.body
        elif isinstance(item, BadRequest):
            said = _encode(problem(item.status, item.code, item.detail, "", item.errors))
        else:
            result = next(told)
            if isinstance(result, Refusal):
                said = _encode(problem_of(result))
            else:
                portion.accepted += 1
                said = _encode(accepted_out(result, item, 202))
        out.append(b'{"line":%d,%b\n' % (number, said[1:]))
    portion.refused = portion.count - portion.accepted
    return b"".join(out)


def _check_media(content_type: bytes | None) -> None:
    """Errors: BadRequest 415."""
    media = (content_type or b"application/x-ndjson").split(b";", 1)[0].strip().lower()
    if media not in _MEDIA:
        raise BadRequest(
            415,
            "not-ndjson",
            "send one JSON object a line, with 'Content-Type: application/x-ndjson'; this is "
            f"{media[:80].decode('latin-1')!r}",
        )
