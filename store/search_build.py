"""Follows the messages in the order of their ids and turns them into runs of the search index.

`settled` is an id below which nothing new can appear any more: every commit that may hold one has ended. The
day it falls on is followed first; days that are not whole yet (the index is new, was thrown away, or stood
still for a while) are built after that, the newest first. What is not a whole run yet stays in memory and is
read again after a restart: at most RUN messages a day that is built.

Invariants: a step reads at most PORTION messages in one read transaction, sorts one kind of terms, or writes
a run: some 30 ms each; what is indexed has no gap.

Deliberately not here: when a step is due, settling ids (gateway.searching), queries (search).
"""

from __future__ import annotations

from collections.abc import Iterator

from store.interface import StoreError
from store.search_files import RUN, OpenRun, SearchFiles, Spoilt, day_of, first_of, last_of
from store.search_source import Source

PORTION = 2_000  # messages in one step: some 20 ms


class Builder:
    """One thread. `problem`: why the last step did nothing, "" = it did."""

    def __init__(self, source: Source, files: SearchFiles, oldest: str = "", run: int = RUN) -> None:
        """Days before `oldest` are left alone; `run`: messages in a run, for tests."""
        self.settled = -1
        self.built = 0  # messages, by this process
        self.problem = ""
        self._source, self._files, self._run = source, files, run
        self._oldest = oldest
        self._open: dict[str, OpenRun] = {}
        self._waiting: list[str] | None = None  # days to be built, the newest last

    @property
    def waiting(self) -> list[str]:
        """Days that are not whole, without the one that is followed."""
        if self._waiting is None:
            with self._source.view() as view:
                days = view.days()
            self._waiting = sorted(day for day in days if day >= self._oldest)
        return self._waiting

    def follow(self, settled: int) -> None:
        """Everything up to here may be indexed."""
        if self.settled >= 0 and day_of(settled) != day_of(self.settled):
            self.again(day_of(self.settled))
        self.settled = max(self.settled, settled)

    def again(self, day: str) -> None:
        """This day is not whole."""
        if day not in self.waiting and day >= self._oldest:
            self.waiting.append(day)
            self.waiting.sort()

    def discard(self, day: str) -> None:
        """Build a day from its beginning."""
        self._files.discard(day)
        self._open.pop(day, None)
        self.again(day)

    def drop_before(self, day: str) -> list[str]:
        """Retention; the names of the days that went."""
        self._oldest = max(self._oldest, day)
        for one in [one for one in self._open if one < day]:
            del self._open[one]
        self._waiting = [one for one in self.waiting if one >= day]
        return self._files.drop_before(day)

    def open_run(self, day: str) -> OpenRun | None:
        """What a day has that is not in its file yet."""
        return self._open.get(day)

    def through(self, day: str) -> int:
        """Up to which id the day is indexed, with what is in memory. Errors: Spoilt."""
        run = self._open.get(day)
        return self._files.through(day) if run is None else run.through

    def days(self) -> list[str]:
        """With anything indexed, in order."""
        return sorted({*self._files.days(), *self._open})

    def indexed(self) -> int:
        """The id up to which what is followed is indexed."""
        if self.settled < 0:
            return -1
        try:
            return min(self.settled, self.through(day_of(self.settled)))
        except Spoilt:
            return first_of(day_of(self.settled)) - 1

    def step(self) -> bool:
        """One portion; False when there is nothing to do, or it cannot be done now (`problem`)."""
        self.problem = ""
        for day, to in self._due():
            try:
                if self._advance(day, to):
                    return True
            except Spoilt:
                self.discard(day)
                return True
            except StoreError as error:
                self.problem = f"{error}; {error.hint}" if error.hint else str(error)
                return False
            if day in self.waiting and to == last_of(day):
                self.waiting.remove(day)
        return self._verify()

    def _verify(self) -> bool:
        """There is nothing to build: look after one run. Says whether there is something to build now."""
        try:
            self._files.verify()
        except Spoilt as spoilt:
            self.discard(spoilt.day)
            return True
        return False

    def _due(self) -> Iterator[tuple[str, int]]:
        if self.settled < 0:
            return
        followed = day_of(self.settled)
        if followed >= self._oldest:
            yield followed, min(self.settled, last_of(followed))
        for day in reversed(list(self.waiting)):
            if day < followed:
                yield day, last_of(day)

    def _advance(self, day: str, to: int) -> bool:
        """One portion of a day; False when it is indexed up to there. Errors: Spoilt, StoreError."""
        run = self._open.get(day)
        if run is not None and (len(run) >= self._run or run.through >= last_of(day)):
            if not run.pack():
                self._files.append(day, run, run.through)
                del self._open[day]
            return True
        if self.through(day) >= to:
            return False
        if run is None:
            run = self._open[day] = OpenRun(self._files.through(day))
        wanted = min(PORTION, self._run - len(run))
        with self._source.view() as view:
            messages = view.after(run.through, to, wanted)
        for message in messages:
            run.add(message)
        run.through = to if len(messages) < wanted else messages[-1].id
        self.built += len(messages)
        return True
