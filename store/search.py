"""Finding messages by number, sender, account, reference, tag, state and time, the newest first.

The index says which messages may fit, the messages themselves say which do, in the state they have now. What
is not indexed (the newest ones; days that are still being built) is walked through instead, so that an answer
is right however far the index is. A page looks at a bounded number of rows; where that ends it before it is
full it says so (`short`) and where to go on.

Deliberately not here: the index's files (search_files), building it (search_build), where it runs and who may
ask (gateway.searching).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router.nouns import Step
from store import search_files
from store.archive import day_before
from store.ids import first_id_at
from store.interface import NO_ID
from store.search_build import Builder
from store.search_files import RUN, Run, SearchFiles, Spoilt, Wanted, chosen, first_of, term
from store.search_source import Beside, Source, View

if TYPE_CHECKING:
    from router.nouns import Message, Progress
    from store.lmdb_store import LmdbStore
    from store.options import StoreOptions

DIRECTORY = "search"  # inside the store's
LOOK = 3_000  # rows a page looks at, some 50 ms
MOST_ROWS = 1_000  # of one page


class Query(msgspec.Struct, frozen=True):
    """What fits all that is given; of several values of one kind, any. Times are those of the ids, in UTC
    milliseconds: from `since_ms` on, before `until_ms` (0: no end). `before`: ids below this one only."""

    to: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    accounts: tuple[int, ...] = ()
    client_ref: str = ""
    tag: str = ""
    states: tuple[int, ...] = ()  # MessageState
    since_ms: int = 0
    until_ms: int = 0
    before: int = NO_ID
    limit: int = 100
    look: int = LOOK


class Hit(msgspec.Struct, array_like=True, gc=False):
    """A message in a listing: never what it says."""

    id: int
    account: int
    accepted_ms: int
    source: str
    destination: str
    encoding: int
    segments: int
    message_class: int
    send_at_ms: int
    route: str
    client_ref: str
    tags: tuple[str, ...]
    state: int
    phase: int
    reason: int
    cause: str
    attempts: int
    finished_ms: int
    done_ms: int
    carriers: tuple[int, ...]  # those that took a part of it, in order
    erased_ms: int = 0  # when its number was erased; 0: it was not


class Page(msgspec.Struct, array_like=True, gc=False):
    """`before`: what goes on behind this page, 0 = nothing does. `short`: it ended for its cost."""

    hits: list[Hit]
    before: int
    short: bool
    looked_at: int  # rows


class Facts(msgspec.Struct, array_like=True, gc=False):
    """How far the index is."""

    settled: int  # the id up to which it was to follow
    indexed: int  # the id up to which it has
    waiting: tuple[str, ...]  # days that are not whole yet
    built: int  # messages, since it was opened
    bytes: int
    problem: str  # why it stands still


class Search:
    """The index of one store, and queries over both. One thread at a time."""

    def __init__(self, source: Source, directory: Path, *, left_free: int = 0, run: int = RUN) -> None:
        """Errors: StoreBusy. `left_free`: see SearchFiles; `run`: messages in a run, for tests."""
        self._source = source
        self._files = SearchFiles(directory, left_free=left_free)
        self.builder = Builder(source, self._files, run=run)

    @classmethod
    def of(cls, store: LmdbStore, *, run: int = RUN) -> Search:
        """In the process that has the store open."""
        left_free = store.options.min_free_disk
        return cls(Source.of(store), store.path / DIRECTORY, left_free=left_free, run=run)

    @classmethod
    def beside(cls, path: Path, options: StoreOptions) -> Search:
        """In another process than the one that has the store open. Errors: StoreError, StoreBusy."""
        source = Beside(path, options)
        try:
            return cls(source, path / DIRECTORY, left_free=options.min_free_disk)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        self._files.close()
        self._source.close()

    def keep(self, now_ms: int, retention_days: int) -> None:
        """Retention: days that the archive drops go here, too."""
        self.builder.drop_before(day_before(now_ms, retention_days))
        self.refresh()

    def refresh(self) -> None:
        """Files of the archive that another process dropped or replaced since are given up."""
        self._source.refresh()

    def facts(self) -> Facts:
        builder = self.builder
        followed = search_files.day_of(max(builder.settled, 0))
        waiting = tuple(day for day in builder.waiting if day < followed)
        size = self._files.size()
        return Facts(builder.settled, builder.indexed(), waiting, builder.built, size, builder.problem)

    def find(self, query: Query) -> Page:
        """Errors: StoreError."""
        while True:
            try:
                return self._find(query)
            except Spoilt as spoilt:
                self.builder.discard(spoilt.day)

    def _find(self, query: Query) -> Page:
        low = first_id_at(query.since_ms) - 1 if query.since_ms > 0 else -1
        high = min(query.before, first_id_at(query.until_ms) if query.until_ms else NO_ID) - 1
        page = _Growing(query)
        if low >= high:
            return page.ended(0)
        with self._source.view() as view:
            for start, end, day in self._stretches(low, high):
                walk = self._indexed(view, page, day, start, end) if day else _walk(view, page, start, end)
                for full in walk:
                    if full:
                        return page.ended()
                page.at = start + 1
        return page.ended(0)

    def _stretches(self, low: int, high: int) -> Iterator[tuple[int, int, str]]:
        """(after, to, day) from the newest to the oldest; without a day where nothing is indexed."""
        for day in reversed(self.builder.days()):
            first, through = first_of(day), self.builder.through(day)
            if first > high:
                continue
            if through <= low:
                break
            if through < high:
                yield through, high, ""
                high = through
            start = max(low, first - 1)
            if start < high:
                yield start, high, day
                high = start
        if low < high:
            yield low, high, ""

    def _indexed(self, view: View, page: _Growing, day: str, low: int, high: int) -> Iterator[bool]:
        """What the day's runs name, looked at one by one. Yields whether the page is full."""
        open_run = self.builder.open_run(day)
        if open_run is not None:
            for id, account in _named(day, open_run, page.wanted, low, high):
                yield page.look(view, id, account)
        with self._files.runs(day, high) as runs:
            for first, run in runs:
                for id, account in _named(day, run, page.wanted, low, high):
                    yield page.look(view, id, account)
                if first <= low:
                    return
                page.at = first
                yield page.looked()


def _named(day: str, run: Run, wanted: Wanted, low: int, high: int) -> Iterator[tuple[int, int]]:
    """(id, account) of what may fit. Errors: Spoilt for a run that has not what it names."""
    try:
        for place in chosen(run, wanted, low, high):
            yield run.ids[place], run.accounts[place]
    except IndexError:
        raise Spoilt(day) from None


def _walk(view: View, page: _Growing, low: int, high: int) -> Iterator[bool]:
    """Every message of a stretch that is not indexed."""
    for id, found in view.before(low, high, page.query.accounts):
        message, progress = found if isinstance(found, tuple) else (found, None)
        if not page.fits(message):
            page.at = id
            yield page.looked()
        elif progress is None:
            yield page.look(view, id, message.account)
        else:
            yield page.take(message, progress)


class _Growing:
    """A page in the making. `at`: everything from this id on has been looked at."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.at = query.before
        self.wanted = _wanted(query)
        self._hits: list[Hit] = []
        self._looked_at = 0
        self._short = False

    def looked(self) -> bool:
        """At one row more; whether it must end here."""
        self._looked_at += 1
        self._short = self._looked_at >= self.query.look
        return self._short

    def fits(self, message: Message) -> bool:
        """All but its state."""
        query = self.query
        return (
            (not query.to or message.destination in query.to)
            and (not query.sender or message.source in query.sender)
            and (not query.accounts or message.account in query.accounts)
            and (not query.client_ref or message.client_ref == query.client_ref)
            and (not query.tag or query.tag in message.tags)
        )

    def look(self, view: View, id: int, account: int) -> bool:
        """At the message itself; whether the page ends behind it."""
        found = view.find(account, id)
        if found is None or not self.fits(found[0]):
            self.at = id
            return self.looked()
        return self.take(*found)

    def take(self, message: Message, progress: Progress) -> bool:
        """One that fits but for its state; whether the page ends behind it."""
        if self.query.states and progress.state not in self.query.states:
            self.at = message.id
            return self.looked()
        if len(self._hits) >= self.query.limit:
            return True  # so there is another page
        self._hits.append(_hit(message, progress))
        self.at = message.id
        return self.looked()

    def ended(self, before: int | None = None) -> Page:
        """`before`: 0 where there is nothing more."""
        if before == 0:
            return Page(self._hits, 0, False, self._looked_at)
        return Page(self._hits, self.at, self._short, self._looked_at)


def _wanted(query: Query) -> Wanted:
    """The terms, the most telling kinds first."""
    terms: Sequence[tuple[int, list[int]]] = (
        (search_files.CLIENT_REF, [term(query.client_ref)] if query.client_ref else []),
        (search_files.TO, [term(one) for one in query.to]),
        (search_files.TAG, [term(query.tag)] if query.tag else []),
        (search_files.SENDER, [term(one) for one in query.sender]),
        (search_files.ACCOUNT, list(query.accounts)),
    )
    return [(kind, each) for kind, each in terms if each]


def _hit(message: Message, progress: Progress) -> Hit:
    return Hit(
        message.id,
        message.account,
        message.accepted_ms,
        message.source,
        message.destination,
        message.encoding,
        message.segments,
        message.message_class,
        message.send_at_ms,
        message.route,
        message.client_ref,
        message.tags,
        progress.state,
        progress.phase,
        progress.reason,
        progress.cause,
        progress.attempts,
        progress.finished_ms,
        progress.done_ms,
        tuple(dict.fromkeys(part.carrier for part in progress.parts if part.carrier)),
        next((at_ms for at_ms, step, *_ in progress.events if step == Step.ERASED), 0),
    )
