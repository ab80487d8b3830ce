"""What a text costs, as people who write it are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import segment
from smpp.alphabet import AUTO, BINARY, GSM7, LATIN1, UCS2, Unencodable
from smpp.describe import Forcing, describe


@pytest.mark.parametrize(
    ("text", "encoding", "segments", "used", "left", "each"),
    [
        ("", GSM7, 1, 0, 160, 160),
        ("a" * 160, GSM7, 1, 160, 0, 160),
        ("a" * 161, GSM7, 2, 161, 145, 153),
        ("€" * 80, GSM7, 1, 160, 0, 160),
        ("€" * 77, GSM7, 1, 154, 6, 160),
        ("ж" * 70, UCS2, 1, 70, 0, 70),
        ("ж" * 71, UCS2, 2, 71, 63, 67),
        ("😀" * 35, UCS2, 1, 70, 0, 70),
    ],
)
def test_a_text_is_described(
    text: str, encoding: int, segments: int, used: int, left: int, each: int
) -> None:
    assert describe(text)[:5] == (encoding, segments, used, left, each)


def test_an_encoding_asked_for_is_described_or_refused() -> None:
    assert describe("é" * 141, LATIN1)[:5] == (LATIN1, 2, 141, 127, 134)
    assert describe("plain", UCS2)[:5] == (UCS2, 1, 5, 65, 70)
    with pytest.raises(Unencodable):
        describe("ж", GSM7)


def test_octets_are_counted_as_octets() -> None:
    assert describe(bytes(150))[:5] == (BINARY, 2, 150, 118, 134)


def test_what_forces_ucs2_is_shown_with_its_likeness() -> None:
    told = describe("It’s 😀 …" + "a" * 70)
    assert told.forcing == (Forcing(2, "’", "'"), Forcing(5, "😀", ""), Forcing(7, "…", "..."))
    assert told.smart_segments == 0
    assert describe("It’s " + "a" * 70).smart_segments == 1
    assert describe("It’s").smart_segments == 0


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=500))
def test_what_is_left_fits_and_one_more_does_not(text: str) -> None:
    told = describe(text)
    assert (told.encoding, told.segments) == segment.plan(text, AUTO)
    filler = "a"
    assert segment.count(text + filler * told.left, told.encoding) == told.segments
    assert segment.count(text + filler * (told.left + 1), told.encoding) == told.segments + 1
