"""Carrier × country as one small number, and what is counted under it.

A cell is a list of ints, found by `carrier << CODE_BITS | calling code`, so that whoever has a message in
hand counts with one look-up. There are at most `MOST` cells; what comes after them is counted under the
calling code 0.

Deliberately not here: who counts (store.tallies, gateway.health), what the figures mean (router.health).
"""

from __future__ import annotations

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from router.causes import Cause

CODE_BITS = 10  # calling codes are 1 to 999
CODE_MASK = (1 << CODE_BITS) - 1
MOST = 4_096
DELAY_BUCKETS = 32  # by powers of two of milliseconds: bucket n is [2^(n-1), 2^n)

# what became of messages, by their receipts
DELIVERED, FAILED, BLAMELESS, DELAYS, DELAY_MS, DELAY_SQUARES, DEAD, HISTOGRAM = range(8)
CELL = HISTOGRAM + DELAY_BUCKETS + 1

# Why a message may fail for which no carrier is to blame: its number, its text, its sender.
NOT_THE_CARRIERS: frozenset[str] = frozenset(
    str(cause)
    for cause in (
        Cause.ABSENT_SUBSCRIBER,
        Cause.HANDSET_BUSY,
        Cause.MEMORY_FULL,
        Cause.HANDSET_ERROR,
        Cause.UNKNOWN_SUBSCRIBER,
        Cause.BARRED,
        Cause.OPTED_OUT,
        Cause.INVALID_NUMBER,
        Cause.CANCELLED,
    )
)


def _codes() -> dict[str, int]:
    """The calling code of every number, by its first three digits."""
    found = {}
    for number in range(1_000):
        digits = f"{number:03}"
        for length in (1, 2, 3):
            if int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE and digits[0] != "0":
                found[digits] = int(digits[:length])
                break
    return found


CODES = _codes()  # a number that begins otherwise is counted under 0


def country_of(code: int) -> str:
    """`GB`; the first region of a shared calling code, as `US` of 1; "" for none."""
    regions = COUNTRY_CODE_TO_REGION_CODE.get(code, ("",))
    return "" if regions[0] in ("001", "") else regions[0]


def quantile_ms(counts: list[int], permille: int) -> int:
    """The upper end, in ms, of the bucket of a `HISTOGRAM` in which this quantile lies; -1: none counted."""
    wanted = -(-sum(counts) * permille // 1000)
    if wanted <= 0:
        return -1
    for bucket, count in enumerate(counts):
        wanted -= count
        if wanted <= 0:
            return 1 << bucket
    return -1


def regular(delays: int, total_ms: int, squares: int, permille: int) -> bool:
    """Whether the standard deviation of these delays is less than `permille` of their mean."""
    if not delays or not total_ms:
        return False
    return (delays * squares - total_ms * total_ms) * 1_000_000 < (permille * total_ms) ** 2
