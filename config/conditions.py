"""`routes.match` as router.rules has it, with everything noted that it asks for in vain: unknown countries,
times that never come, patterns that fit all or cost too much, files that cannot be read.

Deliberately not here: types and choices of single keys (config.model, config.reader), rules that hide others
(config.rules), deciding.
"""

from __future__ import annotations

import csv
import datetime
import re
import zoneinfo
from collections.abc import Iterable
from functools import cache

import msgspec
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from config.model import CLASSES, ENCODINGS, Conditions, MaintenanceConfig, RouteConfig
from config.problems import Notes, Path, meant
from config.rules import zone_of
from router.numbers import known_region
from router.rules import (
    ANY,
    DAY_MINUTES,
    DAYS,
    Match,
    Window,
    pattern_problem,
)

MOST_PREFIXES = 1_000_000  # in one file

_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2}) ?- ?([0-9]{1,2}):([0-9]{2})")
_DATES = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?: ?\.\. ?([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
_PREFIX = re.compile(r"!?\+?[0-9]{1,15}")
_SHOWN = 5  # problems of one file
_ZONES = "UTC, Europe/Berlin or +02:00"
_TIMES = ("hours", "days", "dates")


def rule_of(route: RouteConfig, path: Path, notes: Notes) -> Match:
    """The rule of a route; `path` is that of its `match`. What is wrong is noted and left out."""
    written = route.match
    prefixes, left_out = _split(written.prefix)
    if written.prefix_file:
        more, fewer = _split(_prefixes_in(written.prefix_file, (*path, "prefix_file"), notes))
        prefixes, left_out = prefixes + more, left_out + fewer
    excluded, included = _split(written.not_.prefix)
    if included:
        notes.wrong(
            (*path, "not", "prefix"), 'what is left out of "not" is taken', "write it in match.prefix"
        )
    left_out = tuple(dict.fromkeys(left_out + excluded))
    for prefix in sorted(set(prefixes) & set(left_out))[:_SHOWN]:
        notes.wrong((*path, "prefix"), f'"{prefix}" is taken and left out', "keep one of the two")
    match = _conditions(written, path, notes, prefixes=tuple(dict.fromkeys(prefixes)), left_out=left_out)
    none_of = _conditions(written.not_, (*path, "not"), notes)
    return match if none_of == ANY else msgspec.structs.replace(match, none_of=none_of)


def _conditions(
    written: Conditions,
    path: Path,
    notes: Notes,
    prefixes: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> Match:
    for index, text in enumerate(written.text):
        problem = pattern_problem(text)
        if problem:
            notes.wrong((*path, "text", index), f'"{text[:40]}" does not do: {problem}', "*, ?, # and words")
    if written.max_segments and written.min_segments > written.max_segments:
        notes.wrong((*path, "min_segments"), f"is more than max_segments, {written.max_segments}")
    return Match(
        prefixes=prefixes,
        left_out=left_out,
        countries=_countries(written.country, (*path, "country"), notes),
        number_types=written.number_type,
        mcc_mncs=tuple(one.replace("-", "") for one in written.mcc_mnc),
        ported=() if written.ported is None else (written.ported,),
        senders=tuple(
            _sender(one, (*path, "sender", index), notes) for index, one in enumerate(written.sender)
        ),
        sender_types=written.sender_type,
        accounts=written.account,
        groups=written.group,
        classes=tuple(map(CLASSES.index, written.class_)),
        tags=written.tag,
        texts=written.text,
        encodings=tuple(map(ENCODINGS.index, written.encoding)),
        min_segments=written.min_segments,
        max_segments=written.max_segments,
        window=window_of(written, path, notes),
    )


# prefixes


def _split(written: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(taken, left out), as digits."""
    taken: list[str] = []
    left_out: list[str] = []
    for one in written:
        (left_out if one.startswith("!") else taken).append(one.lstrip("!+"))
    return tuple(taken), tuple(left_out)


def _prefixes_in(name: str, path: Path, notes: Notes) -> list[str]:
    found: list[str] = []
    wrong = 0
    try:
        with open(name, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            for row in rows:
                text = row[0].strip().replace(" ", "") if row else ""
                if _PREFIX.fullmatch(text):
                    found.append(text)
                elif text and not text.startswith("#") and rows.line_num > 1:
                    wrong += 1
                    if wrong <= _SHOWN:
                        message = f'{name}, line {rows.line_num}: "{text[:20]}" is no prefix'
                        notes.wrong(path, message, "1 to 15 digits, as 4477 or !4477")
                if len(found) > MOST_PREFIXES:
                    notes.wrong(path, f"{name} has more than {MOST_PREFIXES:,} prefixes")
                    break
    except OSError as error:
        hint = "relative names begin beside the configuration"
        notes.wrong(path, f"cannot read {name}: {error.strerror}", hint)
    except (UnicodeDecodeError, csv.Error) as error:
        notes.wrong(path, f"{name} is not CSV in UTF-8: {error}", "save it as UTF-8")
    else:
        if not found and not wrong:
            notes.wrong(path, f"{name} holds no prefix", "one in the first column of each line")
    return found


# countries and senders


@cache
def _regions() -> frozenset[str]:
    return frozenset(
        region
        for regions in COUNTRY_CODE_TO_REGION_CODE.values()
        for region in regions
        if len(region) == 2 and known_region(region)
    )


def _countries(written: tuple[str, ...], path: Path, notes: Notes) -> tuple[str, ...]:
    for index, one in enumerate(written):
        if one not in _regions():
            hint = 'write "GB"' if one.upper() == "UK" else ""
            if not hint and one.upper() in _regions():
                hint = f'write "{one.upper()}"'
            notes.wrong((*path, index), f'"{one}" is no country', hint or "two letters of ISO 3166, as GB")
    return written


def _sender(text: str, path: Path, notes: Notes) -> str:
    """Numbers as messages have them: digits alone."""
    problem = pattern_problem(text)
    if problem:
        notes.wrong(path, f'"{text}" does not do: {problem}', "leave out sender to take every one")
    if text.startswith("+") and text[1:].replace(" ", "").strip("0123456789*?#") == "":
        return text[1:].replace(" ", "")
    return text


# times


def window_of(written: Conditions | MaintenanceConfig, path: Path, notes: Notes) -> Window | None:
    """Its hours, days and dates; None where it has none. What is wrong is noted."""
    zone = zone_of(written.zone)
    if zone is None:
        notes.wrong(
            (*path, "zone"),
            f'"{written.zone}" is not a time zone',
            meant(written.zone, zoneinfo.available_timezones()) or _ZONES,
        )
        return None
    if not any(getattr(written, name) for name in _TIMES):
        if written.zone != "UTC":
            notes.wrong((*path, "zone"), "has no effect without hours, days or dates", "leave it out")
        return None
    hours = [_hours(one, (*path, "hours", index), notes) for index, one in enumerate(written.hours)]
    days = [_days(one, (*path, "days", index), notes) for index, one in enumerate(written.days)]
    dates = [_dates(one, (*path, "dates", index), notes) for index, one in enumerate(written.dates)]
    window = Window(
        zone,
        written.zone,
        tuple(one for one in hours if one is not None),
        tuple(sorted({day for one in days for day in one})),
        tuple(one for one in dates if one is not None),
    )
    if window.days and window.dates and not any(_days_between(window.days, one) for one in window.dates):
        notes.wrong((*path, "dates"), "none of these is one of the days", "they must both be right")
    return window


def _hours(text: str, path: Path, notes: Notes) -> tuple[int, int] | None:
    found = _HOURS.fullmatch(text.strip())
    hint = "for instance 08:00-20:00, or 22:00-06:00 over midnight"
    if found is None:
        notes.wrong(path, f'"{text}" is no time of day', hint)
        return None
    begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if int(found[2]) > 59 or int(found[4]) > 59 or begin >= DAY_MINUTES or end > DAY_MINUTES:
        notes.wrong(path, f'"{text}" is no time of day', "from 00:00 to 24:00")
        return None
    if begin == end:
        notes.wrong(path, f'"{text}" ends when it begins', f"{hint}; 00:00-24:00 is always")
        return None
    return begin, end


def _days(text: str, path: Path, notes: Notes) -> tuple[int, ...]:
    first, dash, last = (one.strip().lower() for one in text.partition("-"))
    for name in (first, last) if dash else (first,):
        if name not in DAYS:
            notes.wrong(path, f'"{text}" is no day', meant(name, DAYS))
            return ()
    begin, end = DAYS.index(first), DAYS.index(last if dash else first)
    return tuple((begin + step) % 7 for step in range((end - begin) % 7 + 1))


def _dates(text: str, path: Path, notes: Notes) -> tuple[int, int] | None:
    found = _DATES.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        first = datetime.date.fromisoformat(found[1]).toordinal()
        last = datetime.date.fromisoformat(found[2] or found[1]).toordinal()
    except ValueError:
        notes.wrong(path, f'"{text}" is no date', "for instance 2026-12-24 or 2026-12-24..2026-12-26")
        return None
    if last < first:
        notes.wrong(path, f'"{text}" ends before it begins', "the earlier date comes first")
        return None
    return first, last


def _days_between(days: tuple[int, ...], dates: tuple[int, int]) -> bool:
    first, last = dates
    return any((ordinal - 1) % 7 in days for ordinal in range(first, min(last, first + 6) + 1))
