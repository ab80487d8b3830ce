"""The measure of searching: every question finds what it must, and a first page comes within 200 ms.

500,000 messages in CI, some thousands elsewhere; 10,000,000 were measured once (docs/benchmarks.md). The
limit is what is promised for twenty times as many, a hundred times what it takes here.
"""

from __future__ import annotations

import os

from bench.searching import search

COUNT = 500_000 if os.environ.get("CI") else 5_000
PROMISED_MS = 200
PROMISED = ("number_ms", "account_ms", "account and hour_ms", "account and number_ms", "id_ms")


def test_first_pages_are_found_and_come_within_what_is_promised() -> None:
    figures = search(COUNT)
    assert figures["messages"] == COUNT
    assert figures["number nobody has_ms"]["rows"] == 0
    assert figures["id_ms"]["rows"] == 1
    for question in PROMISED:
        assert figures[question]["rows"] >= 1, question
        assert figures[question]["median"] <= PROMISED_MS, (question, figures[question])
