"""What the hot store forgets by age, so that it does not grow with every message that ever was.

Messages leave by the archiver (archive.py), events and unmatched receipts by verbs of their own; here go the
rows that nothing else takes out: MOs after the retention, carrier ids and recipients once nobody may ask for
them any more, requests that were carried out once a retry is a new request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from store import correlation, inbound, once, recipients

if TYPE_CHECKING:
    from store.batch import Batch

_HOUR_MS = 3_600_000


def drop_old(batch: Batch, now_ms: int, limit: int) -> int:
    """Up to `limit` rows of each kind; returns how many went."""
    options = batch.options
    kept_from_ms = max(0, now_ms - options.retention_days * 24 * _HOUR_MS)
    return (
        inbound.drop_before(batch, kept_from_ms, limit)
        + correlation.drop_before(batch, max(0, now_ms - options.window_h * _HOUR_MS), limit)
        + recipients.drop_before(batch, max(0, now_ms - options.mo_match_ms), limit)
        + once.drop_before(batch, max(0, now_ms - options.remembered_ms), limit)
    )
