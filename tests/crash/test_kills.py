"""kill -9 in every named phase and at random moments: nothing answered is lost, repeats were announced."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.crash.harness import Harness, Report, random_kills

PHASES = (
    "before-commit:7",
    "after-commit:7",
    "after-reply:7",
    "after-lease:5",
    "after-submit:5",
    "startup-before-recovery:1",
    "startup-after-recovery:1",
)


def nothing_lost(report: Report) -> None:
    assert report.answered
    assert report.lost == []
    assert report.not_final == 0
    assert report.not_told == []
    assert report.sent_again <= report.announced
    assert report.findings == "The store is sound."
    assert report.totals["accepted"] >= len(report.answered)


@pytest.mark.parametrize("phase", PHASES)
def test_fm30_nothing_answered_is_lost_when_killed(phase: str, tmp_path: Path) -> None:
    with Harness(tmp_path) as harness:
        if phase.startswith("startup"):
            assert harness.start()
            harness.post(time.monotonic() + 0.3)
            harness.kill()
            assert not harness.start(crash_at=phase)
        elif harness.start(crash_at=phase):
            harness.post(time.monotonic() + 20)
        harness.died()
        assert harness.start()
        harness.post(time.monotonic() + 5, most=50)
        harness.kill()
        nothing_lost(harness.finish())


def test_fm30_forty_random_kills_under_load(tmp_path: Path) -> None:
    report = random_kills(tmp_path, 40, seed=1)
    assert report.kills == 40
    assert report.over_smpp
    nothing_lost(report)


def test_a_stream_sent_again_after_kills_takes_each_line_once(tmp_path: Path) -> None:
    texts = [f"line {number}" for number in range(1, 1_001)]
    with Harness(tmp_path) as harness:
        for most in (1, 400, 750):
            assert harness.start()
            assert harness.stream(texts, most) == {}
            harness.kill()
        assert harness.start()
        end = harness.stream(texts, 1_001)
        harness.kill()
        assert (end["done"], end["accepted"]) == (True, len(texts))
        report = harness.finish()
    assert len(report.answered) == len(texts) == len(set(report.answered.values()))
    assert report.totals["accepted"] == len(texts)
    assert report.sent_again <= report.announced
    assert (report.lost, report.not_final, report.findings) == ([], 0, "The store is sound.")
