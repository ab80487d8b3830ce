"""Lines of a CSV file as rows of a table: which column is which, and what each cell must be.

Files come as carriers and number portability registries write them: with a header in words of their own or
without one, split by commas, semicolons, tabs or bars. A row that cannot be read is counted and, for the
first ones, told with its line and what is wrong; it is left out, and the rest is read. A row over several
lines is one stray quote and the rows that it swallowed: bad, as many as it has lines.

Invariants: prices are exact (router.rates.micro_units); no guess is made that could turn a wrong file into
wrong prices: where a column cannot be told, the file is refused with what to write.

Deliberately not here: sorting and writing (store.table_build), options and progress for people (gateway.cli).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from router.knowledge import Network
from router.rates import Rate, micro_units

NONE = "-"  # in --columns: this one is of no use
# What columns are called, without case, blanks and signs.
WORDS: Mapping[str, tuple[str, ...]] = {
    "prefix": ("prefix", "prefixes", "dialcode", "dialingcode", "diallingcode", "destinationcode", "code"),
    "number": ("number", "msisdn", "phone", "phonenumber", "e164", "telephonenumber", "tn"),
    "mccmnc": ("mccmnc", "mccandmnc", "plmn", "plmnid", "imsiprefix", "networkcode"),
    "mcc": ("mcc", "mobilecountrycode"),
    "mnc": ("mnc", "mobilenetworkcode"),
    "operator": ("operator", "operatorname", "network", "networkname", "carrier", "brand", "provider"),
    "routing": ("routing", "routingprefix", "routingnumber", "rn", "lrn"),
    "price": ("price", "rate", "cost", "amount", "pricepersms", "ratepersms", "pricepermessage", "unitprice"),
    "currency": ("currency", "currencycode", "ccy", "cur"),
    "valid_from": (
        "validfrom", "effective", "effectivedate", "effectivefrom", "startdate", "validsince", "activefrom",
    ),
}  # fmt: skip
# What a file of each kind must say: one of each group of alternatives, each alternative whole.
NEEDED: Mapping[str, tuple[tuple[tuple[str, ...], ...], ...]] = {
    "prefix": ((("prefix",),), (("mccmnc",), ("mcc", "mnc"))),
    "mnp": ((("number",),), (("mccmnc",), ("mcc", "mnc"), ("routing",))),
    "rates": ((("price",),), (("prefix",), ("mccmnc",), ("mcc",))),
}
_USED: Mapping[str, tuple[str, ...]] = {
    "prefix": ("prefix", "mccmnc", "mcc", "mnc", "operator"),
    "mnp": ("number", "mccmnc", "mcc", "mnc", "operator", "routing"),
    "rates": ("prefix", "mccmnc", "mcc", "mnc", "price", "currency", "valid_from"),
}
_DELIMITERS = ",;\t|"
_NO_SIGNS = re.compile(r"[^a-z0-9]")
_SPLIT = re.compile(r"[\s,;/]+")
_NETWORK = re.compile(r"([2-7][0-9]{2})[-/ ]?([0-9]{2,3})")
_CURRENCY = re.compile(r"[A-Z]{3}")
_ALL = ("", "*", "all", "any", "0*", "default")  # an MNC that means the whole country
_CELLS_CACHED = 100_000
_EVERY = 5_000  # rows between two words of progress
_LONGEST_SHOWN = 40
_HEADING_LINES = 5  # headings may have line breaks
_QUOTE = "is a quote missing, or one too many?"


class NotATable(Exception):
    """The file as a whole cannot be read. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Wish(msgspec.Struct, frozen=True):
    """What somebody said about a file. "" and () = to be found out."""

    kind: str
    columns: tuple[str, ...] = ()  # in order: a field or "-"; or field=heading, field=3
    delimiter: str = ""
    currency: str = ""  # of prices without one
    date_format: str = ""  # of strptime
    most_told: int = 20  # bad rows that are told one by one


class Report:
    """What came of a file."""

    def __init__(self) -> None:
        self.rows = 0  # read, the bad ones too
        self.bad = 0
        self.told: list[tuple[int, str]] = []  # line, what is wrong with it


class Rows(Protocol):
    """store.table_build.Builder, as far as it is needed here."""

    def add_prefix(self, digits: str, row: Network | Rate) -> None: ...
    def add_network(self, mcc_mnc: str, row: Network | Rate) -> None: ...
    def add_number(self, digits: str, row: Network) -> None: ...


class _Layout(NamedTuple):
    columns: dict[str, int]
    header: bool


def read_rows(
    file: io.BufferedReader,
    wish: Wish,
    rows: Rows,
    report: Report,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Hand every good row on. Errors: NotATable, OSError."""
    start = file.peek(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise NotATable("the file is UTF-16", "save it as UTF-8, for instance: iconv -f utf-16 -t utf-8")
    if start[:2] == b"PK" or start[:2] == b"\x1f\x8b":
        raise NotATable("the file is packed or a spreadsheet", "unpack it, or save it as CSV")
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    try:
        _read_text(text, wish, rows, report, progress)
    finally:
        text.detach()  # the file is the caller's


def _read_text(
    text: io.TextIOWrapper, wish: Wish, rows: Rows, report: Report, progress: Callable[[int], None]
) -> None:
    first = text.readline(65_536)
    if not first.strip():
        raise NotATable("the file is empty, or begins with an empty line")
    delimiter = wish.delimiter or max(_DELIMITERS, key=first.count)
    lines = csv.reader(_chained(first, text), delimiter=delimiter)
    try:
        row = next(lines)
    except csv.Error as error:
        raise NotATable(f"the first line is no CSV: {error}") from None
    if lines.line_num > _HEADING_LINES:
        raise NotATable(f"the first line goes on to line {lines.line_num}: {_shown(row[-1])}", _QUOTE)
    layout = layout_of(row, wish)
    take = _narrow(len(row), _taker(wish, layout.columns, rows))
    if not layout.header:
        _take(take, row, 0, lines.line_num, report, wish)
    before = lines.line_num
    while True:
        try:
            for row in lines:
                _take(take, row, before, lines.line_num, report, wish)
                before = lines.line_num
                if report.rows % _EVERY == 0:
                    progress(report.rows)
            break
        except csv.Error as error:
            _bad(report, wish, before + 1, f"no CSV: {error}", lines.line_num - before)
            report.rows += lines.line_num - before
            before = lines.line_num
    progress(report.rows)


def _narrow(width: int, take: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """A row with more cells than the first is not what it seems: 0,05 where a comma parts the columns."""

    def take_narrow(row: Sequence[str]) -> None:
        if len(row) > width and any(row[width:]):
            raise ValueError(f"has {len(row)} columns, the first line {width}; is a comma inside a price?")
        take(row)

    return take_narrow


def _take(
    take: Callable[[Sequence[str]], None],
    row: Sequence[str],
    before: int,
    line: int,
    report: Report,
    wish: Wish,
) -> None:
    """`before`: the last line of the row before, `line`: that of this one."""
    if line - before > 1:
        report.rows += line - before
        _bad(report, wish, before + 1, f"it goes on to line {line}: {_QUOTE}", line - before)
        return
    if not row or (len(row) == 1 and not row[0].strip()):
        return
    report.rows += 1
    try:
        take(row)
    except IndexError:
        _bad(report, wish, line, f"has only {len(row)} columns")
    except ValueError as error:
        _bad(report, wish, line, str(error))


def _bad(report: Report, wish: Wish, line: int, message: str, rows: int = 1) -> None:
    report.bad += rows
    if len(report.told) < wish.most_told:
        report.told.append((line, message))


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


# columns


def layout_of(first: Sequence[str], wish: Wish) -> _Layout:
    """Which field is in which column, and whether the first row says so. Errors: NotATable."""
    found: dict[str, int] = {}
    for index, cell in enumerate(first):
        field = field_of(cell)
        if field is not None:
            found.setdefault(field, index)
    header = bool(found)
    if wish.columns:
        found = _wished(first, wish.columns)
        header = header or any("=" in one and not one.partition("=")[2].isdigit() for one in wish.columns)
    used = {field: index for field, index in found.items() if field in _USED[wish.kind]}
    for alternatives in NEEDED[wish.kind]:
        if not any(all(field in used for field in fields) for fields in alternatives):
            wanted = " or ".join(" and ".join(fields) for fields in alternatives)
            shown = _shown(" | ".join(first))
            raise NotATable(
                f"no column of {wanted} was found; the first line is {shown}",
                f"say what the columns are, in order: --columns {_example(wish.kind)} (- for one of no use)",
            )
    return _Layout(used, header)


def field_of(heading: str) -> str | None:
    """The field that a column of this heading holds."""
    plain = _NO_SIGNS.sub("", heading.lower())
    return next((field for field, words in WORDS.items() if plain in words), None)


def _wished(first: Sequence[str], columns: Sequence[str]) -> dict[str, int]:
    headings = [cell.strip().lower() for cell in first]
    found: dict[str, int] = {}
    for index, one in enumerate(columns):
        field, named, where = (part.strip() for part in one.partition("="))
        if field == NONE:
            continue
        if field not in WORDS:
            raise NotATable(f"--columns: {field!r} is no field", "there are: " + ", ".join(WORDS))
        if not named:
            found[field] = index
        elif where.isdigit():
            found[field] = int(where) - 1
        elif where.lower() in headings:
            found[field] = headings.index(where.lower())
        else:
            raise NotATable(f"--columns: no column is called {where!r}", "they are: " + ", ".join(first))
        if not 0 <= found[field] < len(first):
            raise NotATable(f"--columns: there is no column {found[field] + 1}", f"there are {len(first)}")
    return found


def _example(kind: str) -> str:
    return {"prefix": "prefix,mccmnc,operator", "mnp": "number,mccmnc"}.get(kind, "prefix,price,currency")


# cells


def _taker(wish: Wish, columns: Mapping[str, int], rows: Rows) -> Callable[[Sequence[str]], None]:
    if wish.kind == "rates":
        return _rates(wish, columns, rows)
    row_of = _networks(columns, operator_only=False)
    key = columns["number" if wish.kind == "mnp" else "prefix"]

    def take_number(row: Sequence[str]) -> None:
        digits = _digits(row[key])
        if len(digits) < 5:
            raise ValueError(f"{_shown(row[key])} is too short for a number")
        rows.add_number(digits, row_of(row))

    def take_prefixes(row: Sequence[str]) -> None:
        for digits in _prefixes(row[key]):
            rows.add_prefix(digits, row_of(row))

    return take_number if wish.kind == "mnp" else take_prefixes


def _networks(columns: Mapping[str, int], operator_only: bool) -> Callable[[Sequence[str]], Network]:
    """Rows as a Network; equal cells give the same one, read once."""
    places = tuple(columns[one] for one in ("mccmnc", "mcc", "mnc", "operator", "routing") if one in columns)
    known: dict[tuple[str, ...], Network] = {}

    def row_of(row: Sequence[str]) -> Network:
        cells = tuple([row[place] for place in places])
        found = known.get(cells)
        if found is None:
            mcc_mnc = _mcc_mnc(row, columns)
            routing = row[columns["routing"]].strip().lstrip("+") if "routing" in columns else ""
            if routing and not (routing.isascii() and routing.isalnum() and len(routing) <= 20):
                raise ValueError(f"{_shown(routing)} is no routing prefix")
            if len(mcc_mnc) == 3 or not (mcc_mnc or routing):
                raise ValueError("it names no network: an MCC and MNC such as 23430 are needed")
            operator = row[columns["operator"]].strip()[:100] if "operator" in columns else ""
            if len(known) >= _CELLS_CACHED:
                known.clear()
            found = known[cells] = Network(mcc_mnc, operator, routing)
        return found

    return row_of


def _rates(wish: Wish, columns: Mapping[str, int], rows: Rows) -> Callable[[Sequence[str]], None]:
    price_at = columns["price"]
    currency_at = columns.get("currency")
    from_at = columns.get("valid_from")
    prefix_at = columns.get("prefix")
    by_network = "mccmnc" in columns or "mcc" in columns
    known: dict[tuple[str, str, str], Rate] = {}

    def take(row: Sequence[str]) -> None:
        cells = (
            row[price_at],
            row[currency_at] if currency_at is not None else "",
            row[from_at] if from_at is not None else "",
        )
        rate = known.get(cells)
        if rate is None:
            rate = Rate(_price(cells[0]), _currency(cells[1] or wish.currency), _from_ms(cells[2], wish))
            if len(known) >= _CELLS_CACHED:
                known.clear()
            known[cells] = rate
        if by_network:
            mcc_mnc = _mcc_mnc(row, columns)
            if mcc_mnc:
                rows.add_network(mcc_mnc, rate)
                return
        if prefix_at is None:
            raise ValueError("it names no network and there is no prefix")
        for digits in _prefixes(row[prefix_at]):
            rows.add_prefix(digits, rate)

    return take


def _mcc_mnc(row: Sequence[str], columns: Mapping[str, int]) -> str:
    """MCC and MNC, an MCC alone, or "" where the cells are empty."""
    if "mccmnc" in columns:
        cell = row[columns["mccmnc"]].strip()
        if cell:
            found = _NETWORK.fullmatch(cell)
            if found is None:
                raise ValueError(f"{_shown(cell)} is no MCC and MNC; write it as 23430 or 234-30")
            return found[1] + found[2]
    if "mcc" not in columns:
        return ""
    mcc = row[columns["mcc"]].strip()
    if not mcc:
        return ""
    mnc = row[columns["mnc"]].strip() if "mnc" in columns else ""
    if mnc.lower() in _ALL:
        mnc = ""
    elif mnc.isascii() and mnc.isdigit() and len(mnc) == 1:
        mnc = "0" + mnc  # a spreadsheet took the 0 for nothing; MNCs have two digits or three
    if not re.fullmatch(r"[2-7][0-9]{2}([0-9]{2,3})?", mcc + mnc):
        raise ValueError(f"MCC {_shown(mcc)} and MNC {_shown(mnc)} are no network")
    return mcc + mnc


def _prefixes(cell: str) -> list[str]:
    """One, or several in one cell."""
    text = cell.strip()
    if text.isdigit() and text.isascii() and text[0] != "0" and len(text) <= 15:
        return [text]
    return [_digits(one) for one in _SPLIT.split(text) if one] or [_digits(text)]


def _digits(cell: str) -> str:
    text = cell.strip().removeprefix("+")
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > 15:
        raise ValueError(f"{_shown(cell)} is no number with country code in digits, such as 447400123456")
    return text


def _price(cell: str) -> int:
    text = cell.strip()
    if "," in text and "." not in text:
        text = text.replace(",", ".")
    return micro_units(text)


def _currency(cell: str) -> str:
    text = cell.strip().upper()
    if not text:
        raise ValueError("its price has no currency; give one for all with --currency EUR")
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{_shown(cell)} is no currency; write three letters, as EUR")
    return text


def _from_ms(cell: str, wish: Wish) -> int:
    """UTC where nothing else is said; an empty cell was always valid."""
    text = cell.strip()
    if not text:
        return 0
    try:
        if wish.date_format:
            at = datetime.strptime(text, wish.date_format)
        else:
            at = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        how = wish.date_format or "2026-01-31 or 2026-01-31T12:00:00Z"
        raise ValueError(
            f"{_shown(cell)} is no date as {how}; another form is told with --date-format '%d.%m.%Y'"
        ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…")
