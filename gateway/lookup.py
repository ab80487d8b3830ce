"""Asking a web service (HLR, MNP) which network a number is of.

`answer` says what is remembered and never waits; a number that is not remembered is noted in `missing`, and
whoever wants to wait for it calls `ask`, whose callback comes when all its numbers are answered or the
deadline is over, whichever is first. A fixed number of workers, each with one kept-alive connection, asks; a
service that fails several times in a row is left alone for a while and then asked for one number.

Invariants: no message waits longer than the deadline, and none at all while the service is known not to
answer or `max_waiting` numbers wait already; what is remembered is bounded in number and age; the URL, the
header and numbers are in no log line.

Deliberately not here: which messages wait (gateway.asking_door), tables (gateway.known), HTTP
(gateway.callbacks).
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from gateway.callbacks.client import (
    Connection,
    Dialer,
    NotDelivered,
    Reply,
    Stale,
    open_connection,
    tls_context,
)
from gateway.callbacks.guard import Guard, Refused, parse_url
from gateway.metrics import Metrics

log = structlog.get_logger("numbers")

PLACE = "{number}"
OUTCOMES = ("answered", "unknown", "failed", "late")
_MARK = "xnumberx"  # of PLACE while the URL is parsed
_NETWORK = re.compile(r"([2-7][0-9]{2})[-/ ]?([0-9]{2,3})")
_PAUSE_MOST = 16  # times the first pause of the breaker


@dataclass(frozen=True)
class LookupSettings:
    """`[numbers.lookup]`; times in seconds."""

    url: str
    header: str = ""  # name: value
    pointer: tuple[str, ...] = ("/mccmnc",)  # RFC 6901, joined
    deadline_s: float = 1.0
    ttl_s: float = 86_400.0
    unknown_ttl_s: float = 3_600.0
    max_cached: int = 100_000
    concurrency: int = 8
    max_waiting: int = 10_000
    breaker_failures: int = 5
    breaker_pause_s: float = 5.0
    allow_private: bool = False
    ca_file: str = ""


class _Wait:
    """One `ask`: called once, when nothing is left or when it is too late."""

    __slots__ = ("left", "then")

    def __init__(self, left: int, then: Callable[[], None]) -> None:
        self.left = left
        self.then: Callable[[], None] | None = then

    def end(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            then()

    def one_less(self) -> None:
        self.left -= 1
        if self.left <= 0:
            self.end()


class _Line:
    """A worker's connection, if it has one."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        self.connection: Connection | None = None

    @property
    def alive(self) -> bool:
        return self.connection is not None and self.connection.alive

    async def aclose(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with trio.CancelScope(shield=True):
                await connection.aclose()


class _Unanswered(Exception):
    """The service did not say. The text is for the log."""


class Lookup:
    """One web service. `run` serves until cancelled. Errors at construction: Refused (the URL), OSError."""

    def __init__(self, settings: LookupSettings, world: Dialer, guard: Guard) -> None:
        self._settings = settings
        self._world = world
        self._guard = guard
        self._target = parse_url(settings.url.replace(PLACE, _MARK))
        self._path = self._target.path.decode().split(_MARK)
        self._context = tls_context(settings.ca_file) if self._target.scheme == "https" else None
        self._pointers = tuple(_steps(one) for one in settings.pointer)
        self._cached: dict[str, tuple[str, float]] = {}  # number → network or "", until when
        self._asked: dict[str, list[_Wait]] = {}  # numbers whose answer is awaited
        self._queue: deque[tuple[str, float]] = deque()  # with the time after which nobody waits
        self._waits: deque[tuple[float, _Wait]] = deque()  # all have the same patience: in order
        self._work = trio.lowlevel.ParkingLot()
        self._timing = trio.Event()
        self._failures = 0
        self._shut_until = 0.0
        self._pause_s = settings.breaker_pause_s
        self._probing = False
        self.missing: list[str] = []
        self.counts = dict.fromkeys(OUTCOMES, 0)

    def answer(self, digits: str) -> str:
        """The number's network if it is remembered, else ""; then `missing` has it, if it can be asked."""
        found = self._cached.get(digits)
        now = trio.current_time()
        if found is not None and now < found[1]:
            return found[0]
        room = self._settings.max_waiting - len(self._asked)
        if now >= self._shut_until and not self._probing and len(self.missing) < room:
            self.missing.append(digits)
        return ""

    @property
    def open(self) -> bool:
        """Whether the service is left alone now, because it failed."""
        return self._failures >= self._settings.breaker_failures

    def ask(self, numbers: Iterable[str], then: Callable[[], None]) -> None:
        """Call `then` once the numbers are answered, or after the deadline."""
        wanted = dict.fromkeys(numbers)
        if self.open:
            self._probing = True
        wait = _Wait(len(wanted), then)
        until = trio.current_time() + self._settings.deadline_s
        self._waits.append((until, wait))
        self._timing.set()
        for digits in wanted:
            waiting = self._asked.get(digits)
            if waiting is not None:
                waiting.append(wait)
                continue
            self._asked[digits] = [wait]
            self._queue.append((digits, until))
        self._work.unpark(count=len(wanted))

    def end_all(self) -> None:
        """Nobody waits any longer: the gateway stops."""
        for _, wait in self._waits:
            wait.end()

    # running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            for _ in range(self._settings.concurrency):
                nursery.start_soon(self._worker)
            task_status.started()

    async def _keep_time(self) -> None:
        """Ends the waits whose time is over."""
        while True:
            if not self._waits:
                self._timing = trio.Event()
                await self._timing.wait()
                continue
            until, wait = self._waits[0]
            if wait.then is not None:
                await trio.sleep_until(until)
                if wait.then is not None:
                    self.counts["late"] += 1
                    wait.end()
            self._waits.popleft()

    async def _worker(self) -> None:
        line = _Line()
        try:
            while True:
                while not self._queue:
                    await self._work.park()
                digits, until = self._queue.popleft()
                if trio.current_time() >= until:  # nobody waits any more, nor for a probe
                    self._probing = False
                    self._end(digits)
                    continue
                network, problem = "", ""
                try:
                    with trio.move_on_at(until) as scope:
                        network = await self._fetch(line, digits)
                    problem = "no answer in time" if scope.cancelled_caught else ""
                except _Unanswered as error:
                    problem = str(error)
                if problem or not line.alive:
                    await line.aclose()
                self._settle(digits, network, problem)
        finally:
            await line.aclose()

    async def _fetch(self, line: _Line, digits: str) -> str:
        request = self._request(digits)
        try:
            if line.connection is not None:
                with suppress(Stale):
                    return self._read(await line.connection.post(request))
                await line.aclose()
            line.connection = await open_connection(
                self._world,
                self._guard,
                self._target,
                self._settings.allow_private,
                self._context,
                with_body=True,
            )
            return self._read(await line.connection.post(request))
        except (NotDelivered, Refused) as error:
            raise _Unanswered(str(error)) from None

    def _request(self, digits: str) -> bytes:
        header = f"{self._settings.header}\r\n" if self._settings.header else ""
        return (
            f"GET {digits.join(self._path)} HTTP/1.1\r\nHost: {self._target.host_header.decode()}\r\n"
            f"User-Agent: Signalbox\r\nAccept: application/json\r\n{header}\r\n"
        ).encode()

    def _read(self, reply: Reply) -> str:
        """The network in an answer, "" where it says that it knows none. Errors: _Unanswered."""
        if reply.status == 404:
            return ""
        if reply.status != 200:
            raise _Unanswered(f"HTTP {reply.status}")
        try:
            said = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise _Unanswered("the answer is not JSON") from None
        text = "".join(_at(said, steps) for steps in self._pointers)
        if not text:
            return ""
        found = _NETWORK.fullmatch(text)
        if found is None:
            raise _Unanswered(f"the answer has no MCC and MNC at {' and '.join(self._settings.pointer)}")
        return found[1] + found[2]

    def _settle(self, digits: str, network: str, problem: str) -> None:
        settings, now = self._settings, trio.current_time()
        self._probing = False
        if problem:
            self._failed(problem, now)
        else:
            if self.open:
                log.info("the number look-up answers again")
            self._failures, self._pause_s, self._shut_until = 0, settings.breaker_pause_s, 0.0
            self.counts["answered" if network else "unknown"] += 1
            self._remember(digits, network, now + (settings.ttl_s if network else settings.unknown_ttl_s))
        self._end(digits)

    def _end(self, digits: str) -> None:
        for wait in self._asked.pop(digits, ()):
            wait.one_less()

    def _failed(self, problem: str, now: float) -> None:
        self.counts["failed"] += 1
        self._failures += 1
        if self._failures < self._settings.breaker_failures or now < self._shut_until:
            return
        if self._failures == self._settings.breaker_failures:
            log.warning("the number look-up fails and is left alone for a while", problem=problem)
        self._shut_until = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._settings.breaker_pause_s * _PAUSE_MOST)

    def _remember(self, digits: str, network: str, until: float) -> None:
        self._cached.pop(digits, None)
        if len(self._cached) >= self._settings.max_cached:
            del self._cached[next(iter(self._cached))]
        self._cached[digits] = network, until


def _steps(pointer: str) -> tuple[str, ...]:
    """RFC 6901: /data/0/mccmnc."""
    return tuple(one.replace("~1", "/").replace("~0", "~") for one in pointer.split("/")[1:])


def _at(value: Any, steps: Iterable[str]) -> str:
    """The text or number there, "" where there is none."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return ""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def add_lookup_measures(metrics: Metrics, lookup: Lookup) -> None:
    """Register its figures. Once, before `run`."""
    metrics.counter(
        "signalbox_number_lookups",
        "Requests to [numbers.lookup] by outcome; late: messages that went on without their answer.",
        ("outcome",),
        lambda: (((outcome,), lookup.counts[outcome]) for outcome in OUTCOMES),
    )
    metrics.gauge(
        "signalbox_number_lookup_open",
        "1: it failed and is left alone.",
        (),
        lambda: (((), int(lookup.open)),),
    )
