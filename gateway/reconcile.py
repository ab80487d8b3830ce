"""A carrier's invoice against our records: what each side has alone, and where they differ.

Both sides are read once into a scratch SQLite file, with an index on ids, and compared there, so that
millions of lines need little memory. A line of theirs is one submit_sm by its message id; one that bills
several segments of a long message under the id of one part stands for the parts whose ids it leaves out.
Ids that are not found as they are written are tried in the other forms that carriers write them in (hex,
decimal, leading zeros).

Money is exact: whole billionths. Invariants: nothing is changed but the scratch file; a row that cannot be
read is counted and told, never guessed at.

Deliberately not here: options and printing (gateway.cli.reconcile), what records are (cdr_lines).
"""

from __future__ import annotations

import csv
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec

from gateway.cdr_lines import Line
from gateway.cdr_query import Wish, matcher
from router.correlate import variants
from store.cdr_files import read

NANO = 10**9
KINDS = {
    "missing_here": "billed, and we have no such attempt",
    "missing_there": "sent, and not billed",
    "duplicate": "billed more than once",
    "number": "billed for another number",
    "price": "billed at another price",
    "segments": "billed for another number of segments",
}
COLUMNS = ("id", "number", "date", "price", "segments")
DAY_MS = 86_400_000

_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "messageid", "msgid", "smscid", "smscmessageid", "reference", "carriermessageid"),
    "number": ("number", "msisdn", "destination", "recipient", "to", "bnumber", "e164", "dest"),
    "date": ("date", "time", "datetime", "timestamp", "submitdate", "sent", "at", "senttime"),
    "price": ("price", "amount", "cost", "charge", "total", "totalprice"),
    "segments": ("segments", "parts", "units", "quantity", "smscount", "count"),
}
_MOST_BAD = 1_000
_PLAIN = re.compile(r"[^a-z0-9]")


class InvoiceProblem(Exception):
    """The file cannot be used; says why and what to do."""


class Row(NamedTuple):
    """One line of the invoice; None: the column is not there, or empty."""

    line: int
    id: str
    number: str | None
    at: str | None
    price: int | None
    segments: int | None


class Bad(NamedTuple):
    line: int
    why: str


class Difference(NamedTuple):
    """`theirs`, `ours`: what each side says; "" where it has nothing."""

    kind: str
    line: int | None
    id: str
    number: str
    at: str
    theirs: str
    ours: str
    message_id: str


class Side(NamedTuple):
    """`price` in billionths, of rows that have one."""

    rows: int
    segments: int
    price: int


class Invoice:
    """Rows from CSV. `columns`: field → heading, or number from 1, of those that are called otherwise."""

    def __init__(
        self, file: TextIO, columns: Mapping[str, str], date_format: str = "", delimiter: str = ""
    ) -> None:
        self.bad: list[Bad] = []
        self.bad_rows = 0
        self._date_format = date_format
        first = file.readline()
        if not first.strip():
            raise InvoiceProblem("the file is empty, or its first line is")
        self._delimiter = delimiter or max(",;\t|", key=first.count)
        headings = next(csv.reader([first], delimiter=self._delimiter))
        self.places = _places(headings, columns)
        self._rows = csv.reader(file, delimiter=self._delimiter, strict=True)

    def __iter__(self) -> Iterator[Row]:
        line = 1
        while True:
            try:
                cells = next(self._rows)
            except StopIteration:
                return
            except csv.Error as error:
                self._bad(line + 1, str(error))
                line = self._rows.line_num + 1
                continue
            line = self._rows.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            try:
                yield self._row(line, cells)
            except ValueError as error:
                self._bad(line, str(error))

    def _row(self, line: int, cells: Sequence[str]) -> Row:
        told = {name: cells[at].strip() if at < len(cells) else "" for name, at in self.places.items()}
        if not told["id"]:
            raise ValueError("it has no id")
        segments = told.get("segments", "")
        if segments and not (segments.isascii() and segments.isdigit() and 0 < int(segments) < 1_000):
            raise ValueError(f"{segments[:20]!r} is no number of segments")
        number = "".join(filter(str.isdigit, told.get("number", ""))).removeprefix("00")
        return Row(
            line,
            told["id"],
            number or None,
            self._at(told["date"]) if told.get("date") else None,
            _nano(told["price"]) if told.get("price") else None,
            int(segments) if segments else None,
        )

    def _at(self, text: str) -> str:
        """UTC, as records have it, so that both compare as text."""
        try:
            at = (
                datetime.strptime(text, self._date_format)
                if self._date_format
                else datetime.fromisoformat(text)
            )
        except ValueError:
            wanted = self._date_format or "2026-09-21 or 2026-09-21T14:00:00Z; else say --date-format"
            raise ValueError(f"{text[:40]!r} is no date such as {wanted}") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _bad(self, line: int, why: str) -> None:
        self.bad_rows += 1
        if len(self.bad) < _MOST_BAD:
            self.bad.append(Bad(line, why))


def is_recorded(directory: Path, carrier: str) -> bool:
    """Whether any record, of whatever time, is of this carrier."""
    needle = _naming(carrier)
    return any(needle in raw for _, raw in read(directory))


def _naming(carrier: str) -> bytes:
    """What is in each of its records."""
    return b'"carrier":' + msgspec.json.encode(carrier)


class Books:
    """Both sides in one scratch file, and what they say of each other."""

    def __init__(self, scratch: Path) -> None:
        self._db = sqlite3.connect(scratch, isolation_level=None)
        self._db.executescript(
            """
            pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -32768;
            pragma temp_store = file;
            create table theirs (line integer primary key, id text, number text, at text, price integer,
                segments integer, key text);
            create table ours (key integer primary key, id text, number text, at text, price integer,
                message text, segments integer default 1, counts integer default 1, within integer);
            """
        )

    def close(self) -> None:
        self._db.close()

    def take_theirs(self, rows: Iterable[Row]) -> None:
        self._many(
            "insert into theirs values (?, ?, ?, ?, ?, ?, null)",
            ((one.line, one.id, one.number, one.at, one.price, one.segments) for one in rows),
        )

    def period(self) -> tuple[int, int] | None:
        """UTC milliseconds from the beginning of the invoice's first day to the end of its last."""
        first, last = self._db.execute("select min(at), max(at) from theirs").fetchone()
        if first is None:
            return None
        return _ms(first) // DAY_MS * DAY_MS, (_ms(last) // DAY_MS + 1) * DAY_MS

    def take_ours(self, directory: Path, carrier: str, since_ms: int, until_ms: int) -> None:
        """Attempts that the carrier took; those a day around the period may match, and are not missed."""
        matches = matcher(Wish(since_ms - DAY_MS, until_ms + DAY_MS, carrier=carrier, type="attempt"))
        needle = _naming(carrier)
        decode = msgspec.json.Decoder(Line).decode

        def rows() -> Iterator[tuple[object, ...]]:
            for _, raw in read(directory, since_ms - DAY_MS):
                line = decode(raw) if needle in raw else None
                if line is None or line.result != "sent" or not matches(line):
                    continue
                price = _nano(line.buy_price) if line.buy_price else None
                within = since_ms <= _ms(line.at) < until_ms
                yield line.carrier_message_id, line.to, line.at, price, line.message_id, within

        self._many(
            "insert into ours (id, number, at, price, message, within) values (?, ?, ?, ?, ?, ?)", rows()
        )

    def match(self) -> None:
        """Whose line is whose. After both sides were taken."""
        run = self._db.execute
        run("create index ours_id on ours (id)")
        run("update theirs set key = id where exists (select 1 from ours where ours.id = theirs.id)")
        run("create table others (line integer, key text)")
        run("begin")
        for line, id, number in self._db.cursor().execute(
            "select line, id, number from theirs where key is null"
        ):
            form = next((one for one in variants(id) if self._only(one, number)), None)
            if form is not None:
                run("insert into others values (?, ?)", (line, form))
        run("commit")
        run("update theirs set key = others.key from others where others.line = theirs.line")
        run("create index theirs_key on theirs (key)")
        run("create index ours_message on ours (message)")
        self._cover()

    def _only(self, id: str, number: str | None) -> bool:
        """Whether one attempt has this id, and it went to that number."""
        found = self._db.execute("select number from ours where id = ? limit 2", (id,)).fetchall()
        return len(found) == 1 and (number is None or str(found[0][0]).endswith(number[-8:]))

    def _cover(self) -> None:
        """A line for several segments stands for the other parts that are not billed themselves."""
        run = self._db.execute
        run("create table covered (key integer, by integer, price integer)")
        several = """select min(o.key), o.message, t.segments from theirs t join ours o on o.id = t.key
            where t.segments > 1 group by t.line"""
        run("begin")
        for key, message, segments in self._db.cursor().execute(several):
            run(
                """insert into covered select key, ?, price from ours o where message = ? and key != ?
                   and not exists (select 1 from theirs where theirs.key = o.id) order by key limit ?""",
                (key, message, key, segments - 1),
            )
        run("commit")
        run("create index covered_by on covered (by)")
        run("update ours set counts = 0 where key in (select key from covered)")
        run(
            """update ours set segments = segments + (select count(*) from covered where by = ours.key),
               price = price + (select sum(price) from covered where by = ours.key)
               where key in (select by from covered)"""
        )

    def differences(self) -> Iterator[Difference]:
        """Each of them, by kind, then by line or time."""
        pairs = "theirs t join ours o on o.id = t.key and o.counts"
        first = "t.line = (select min(line) from theirs where theirs.key = t.key)"
        for kind, query in (
            (
                "missing_here",
                """select line, id, ifnull(number, ''), ifnull(at, ''), ifnull(price, ''), '', '' from theirs
                   where key is null order by line""",
            ),
            (
                "missing_there",
                """select null, id, number, at, '', ifnull(price, ''), message from ours o
                   where counts and within and not exists
                   (select 1 from theirs where theirs.key = o.id) order by at, key""",
            ),
            (
                "duplicate",
                """select t.line, t.id, ifnull(t.number, ''), ifnull(t.at, ''), ifnull(t.price, ''), '',
                   o.message from theirs t join ours o on o.key = (select min(key) from ours where id = t.key)
                   where (select count(*) from theirs e where e.key = t.key and e.line <= t.line)
                       > (select count(*) from ours where id = t.key) order by t.line""",
            ),
            (
                "number",
                f"""select t.line, t.id, t.number, ifnull(t.at, ''), t.number, o.number, o.message
                   from {pairs} where t.number is not null and {first} and not exists
                   (select 1 from ours e where e.id = t.key and e.number like '%' || substr(t.number, -8))
                   group by t.line order by t.line""",
            ),
            (
                "segments",
                f"""select t.line, t.id, o.number, ifnull(t.at, ''), t.segments, o.segments, o.message
                   from {pairs} where t.segments is not null and t.segments != o.segments and {first}
                   group by t.line order by t.line""",
            ),
            (
                "price",
                f"""select t.line, t.id, o.number, ifnull(t.at, ''), t.price, o.price, o.message
                   from {pairs} where t.price != o.price and {first}
                   group by t.line order by t.line""",
            ),
        ):
            for line, id, number, at, theirs, ours, message in self._db.cursor().execute(query):
                if kind not in ("number", "segments"):
                    theirs, ours = (amount(one) if one != "" else "" for one in (theirs, ours))
                yield Difference(kind, line, id, number, at, str(theirs), str(ours), message)

    def totals(self) -> tuple[Side, Side]:
        """(theirs, ours within the period)."""
        theirs = "select count(*), ifnull(sum(ifnull(segments, 1)), 0), ifnull(sum(price), 0) from theirs"
        ours = "select count(*), count(*), ifnull(sum(price), 0) from ours where within and counts"
        segments = "select ifnull(sum(segments), 0) from ours where within and counts"
        side = Side(*self._db.execute(ours).fetchone())
        return (
            Side(*self._db.execute(theirs).fetchone()),
            side._replace(segments=self._db.execute(segments).fetchone()[0]),
        )

    def unpriced(self) -> int:
        """Attempts of the period whose price we do not know: no rate card, or none in it."""
        found = self._db.execute("select count(*) from ours where within and price is null").fetchone()
        return int(found[0])

    def _many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._db.execute("begin")
        self._db.executemany(statement, rows)
        self._db.execute("commit")


def amount(nano: int) -> str:
    """Exact, without zeros at the end."""
    whole, part = divmod(abs(nano), NANO)
    return ("-" if nano < 0 else "") + f"{whole}.{part:09d}".rstrip("0").rstrip(".")


def _nano(text: str) -> int:
    try:
        value = Decimal(text) * NANO
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is no price; write it as 0.0325") from None
    if not value.is_finite() or value != int(value) or abs(value) > 10**18:
        raise ValueError(f"{text[:40]!r} is no price with at most 9 decimals")
    return int(value)


def _ms(at: str) -> int:
    """Of a time as records have it."""
    return int((datetime.fromisoformat(at) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _places(headings: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """field → where it is. Errors: InvoiceProblem."""
    plain = [_PLAIN.sub("", heading.lower()) for heading in headings]
    places: dict[str, int] = {}
    for field in COLUMNS:
        wanted = columns.get(field, "")
        if wanted.isdigit() and 0 < int(wanted) <= len(headings):
            places[field] = int(wanted) - 1
        elif wanted:
            if _PLAIN.sub("", wanted.lower()) not in plain:
                raise InvoiceProblem(f"there is no column {wanted!r}; there are: {', '.join(headings)}")
            places[field] = plain.index(_PLAIN.sub("", wanted.lower()))
        else:
            found = next((name for name in _HEADINGS[field] if name in plain), None)
            if found is not None:
                places[field] = plain.index(found)
    if "id" not in places:
        raise InvoiceProblem(
            f"no column is the carrier's message id: say --columns id=NAME; there are: {', '.join(headings)}"
        )
    return places
