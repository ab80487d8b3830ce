"""Times as SMPP and as receipts write them.

SMPP time (3.4 section 7.1.1), 16 octets "YYMMDDhhmmsstnnp": absolute, with p + or - and nn the quarter hours
by which the local time is ahead of or behind UTC; or relative, with p R, counted from `now_ms`. Receipts (3.4
Appendix B) carry "YYMMDDhhmm" and whatever else carriers make of it, without a zone.

Results are UTC milliseconds since the epoch, 0 = none. `now` is always an argument: no clock is read here.

Deliberately not here: what a validity means, or which limits it has (the caller clamps).
"""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

_SMPP_TIME: Final = re.compile(r"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d)(\d\d)([+\-Rr])")
_MAX_QUARTERS: Final = 48
_QUARTER: Final = timedelta(minutes=15)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RELATIVE_LIMIT_S: Final = 99 * 365 * 86_400


class BadTime(ValueError):
    """Not a time of SMPP 3.4 section 7.1.1. The peer's status is ESME_RINVSCHED or ESME_RINVEXPIRY."""


def parse(value: bytes | str, now_ms: int) -> int:
    """Absolute or relative time as UTC ms; 0 for an empty one. Raises BadTime."""
    text = value if isinstance(value, str) else value.decode("latin-1")
    text = text.rstrip("\0")
    if not text:
        return 0
    match = _SMPP_TIME.fullmatch(text)
    if match is None:
        raise BadTime(f"{text[:20]!r} is not YYMMDDhhmmsstnnp")
    *numbers, sign = match.groups()
    year, month, day, hour, minute, second, tenth, quarters = map(int, numbers)
    if sign in "Rr":
        return _after(now_ms, year, month, timedelta(day, second, 0, 0, minute, hour))
    if quarters > _MAX_QUARTERS:
        raise BadTime(f"{quarters} quarter hours from UTC: 48 is the most")
    zone = timezone(timedelta(minutes=15 * (quarters if sign == "+" else -quarters)))
    try:
        at = datetime(2000 + year, month, day, hour, minute, second, tenth * 100_000, zone)
    except ValueError as error:
        raise BadTime(f"{text!r}: {error}") from None
    return to_ms(at)


def _after(now_ms: int, years: int, months: int, rest: timedelta) -> int:
    """Calendar years and months after now (the 31st becomes a shorter month's last day), then the rest."""
    now = from_ms(now_ms)
    month = now.month - 1 + months
    year, month = now.year + years + month // 12, month % 12 + 1
    for day in (now.day, 30, 29, 28):
        try:
            return to_ms(now.replace(year=year, month=month, day=day) + rest)
        except ValueError:
            continue
        except OverflowError:
            break
    raise BadTime("beyond the calendar")


def format_absolute(at_ms: int, zone: tzinfo = UTC) -> bytes:
    """ "YYMMDDhhmmsstnnp" as the clocks of `zone` show it; b"" for 0. Where the zone is not whole quarter
    hours from UTC, in UTC."""
    if not at_ms:
        return b""
    at = from_ms(at_ms).astimezone(zone)
    quarters, rest = divmod(at.utcoffset() or timedelta(0), _QUARTER)
    if rest or abs(quarters) > _MAX_QUARTERS:
        at, quarters = at.astimezone(UTC), 0
    sign = "-" if quarters < 0 else "+"
    return f"{at:%y%m%d%H%M%S}{at.microsecond // 100_000}{abs(quarters):02}{sign}".encode()


def format_relative(seconds: float) -> bytes:
    """ "YYMMDDhhmmss000R" of whole seconds in days, hours, minutes; up to 99 days in the day field, beyond
    that in months of 30 and years of 365 days, which a peer may count otherwise."""
    return _relative(max(0, min(int(seconds), _RELATIVE_LIMIT_S)))


@functools.lru_cache(maxsize=256)  # what is sent in one second has often the same validity
def _relative(whole: int) -> bytes:
    days, rest = divmod(whole, 86_400)
    years = months = 0
    if days > 99:
        years, days = divmod(days, 365)
        months, days = divmod(days, 30)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    return f"{years:02}{months:02}{days:02}{hours:02}{minutes:02}{left:02}000R".encode()


def format_receipt_date(at_ms: int, zone: tzinfo = UTC) -> str:
    """ "YYMMDDhhmm" (3.4 Appendix B) in `zone`; zeros for 0."""
    return _minute(at_ms // 60_000, zone) if at_ms else "0000000000"


@functools.lru_cache(maxsize=256)  # receipts come by the thousand, minute by minute
def _minute(minute: int, zone: tzinfo) -> str:
    return from_ms(minute * 60_000).astimezone(zone).strftime("%y%m%d%H%M")


def from_ms(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def to_ms(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND


# ---------------------------------------------------------------------------------------------- receipt dates

_ISO: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?(?:[.,](\d)\d*)?")


def parse_receipt_date(raw: str, zone: tzinfo = UTC, near_ms: int = 0) -> int:
    """A receipt's date as UTC ms, 0 if it is none. `zone` is the carrier's; a full SMPP time brings its own.

    `near_ms`, the time the receipt came, decides twelve digits that read both as YYMMDDhhmmss and as
    YYYYMMDDhhmm.
    """
    return _receipt_date(raw, zone, near_ms if len(raw) == 12 else 0)


@functools.lru_cache(maxsize=1024)
def _receipt_date(raw: str, zone: tzinfo, near_ms: int) -> int:
    local = wall_clock(raw, near_ms)
    if local is None or local.year <= 1970:
        return 0
    full = _SMPP_TIME.fullmatch(raw)
    if full is not None:
        quarters = int(full[8]) * (-1 if full[9] == "-" else 1)
        zone = timezone(timedelta(minutes=15 * quarters)) if abs(quarters) <= _MAX_QUARTERS else UTC
    return to_ms(local.replace(tzinfo=zone))


def wall_clock(raw: str, near_ms: int = 0) -> datetime | None:
    """The date as the carrier's clock showed it, without a zone; None if it is no date."""
    iso = _ISO.match(raw)
    if iso is not None:
        year, month, day, hour, minute = map(int, iso.groups()[:5])
        return _naive(year, month, day, hour, minute, int(iso[6] or 0), int(iso[7] or 0))
    digits = raw.rstrip("+-Rr")
    if not digits.isascii() or not digits.isdigit():
        return None
    if len(digits) == 12:
        return _twelve(digits, near_ms)
    if len(digits) == 14:
        return _from_digits(digits, 4)
    return _from_digits(digits, 2) if len(digits) in (10, 13, 15, 16) else None


def _twelve(digits: str, near_ms: int) -> datetime | None:
    short, long = _from_digits(digits, 2), _from_digits(digits, 4) if digits[:2] in ("19", "20") else None
    if short is None or long is None:
        return short or long
    if not near_ms:
        return short
    now = from_ms(near_ms).replace(tzinfo=None)
    return short if abs(short - now) <= abs(long - now) else long


def _from_digits(digits: str, year_digits: int) -> datetime | None:
    year = int(digits[:year_digits])
    if year_digits == 2:
        year += 1900 if year >= 70 else 2000
    rest = digits[year_digits:]
    month, day, hour, minute = (int(rest[at : at + 2]) for at in (0, 2, 4, 6))
    return _naive(year, month, day, hour, minute, int(rest[8:10] or 0), int(rest[10:11] or 0))


def _naive(
    year: int, month: int, day: int, hour: int, minute: int, second: int, tenth: int
) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, min(second, 59), tenth * 100_000)
    except ValueError:
        return None
