"""When something is to end, as people write it: a clock time in UTC, or a date and a time.

`seconds_until("14:30", now)` is how long it is until the next 14:30 UTC.

Deliberately not here: spans as 30m (gateway.cli.acting), the clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

WRITTEN: Final = "a time in UTC, as 14:30 or 2030-01-31T14:30Z"

MOST_S: Final = 366 * 86_400  # as an order lasts at most (gateway.orders)

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?\s*(?:[Zz]|UTC|utc)?")


def seconds_until(text: str, now: datetime) -> float:
    """How long from `now` (aware) to `14:30`, `14:30Z` (the next such time) or an ISO 8601 time, which is UTC
    where it says no offset. Errors: ValueError, in words."""
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        hour, minute, second = (int(part or 0) for part in clock.groups())
        at = now.astimezone(UTC).replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (at if at > now else at + timedelta(days=1)).timestamp() - now.timestamp()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time; write {WRITTEN}") from None
    left = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    if left <= 0:
        raise ValueError(f"{text[:40]} is over; write a time that comes")
    if left > MOST_S:
        raise ValueError(f"{text[:40]} is more than {MOST_S // 86_400} days from now")
    return left
