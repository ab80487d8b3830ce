"""Ways cheaper than UCS-2: they fit, they read as the text, and they are never dearer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import alphabet, cheaper, national, segment
from smpp.alphabet import GSM7, UCS2
from smpp.cheaper import Tables
from tests.smpp.text_vectors import rows

EVERYTHING = cheaper.allowed("both")
assert EVERYTHING is not None


def letters(language: int) -> list[str]:
    table = set(national.SINGLE[language].values()) | set(national.LOCKING.get(language, {}).values())
    return sorted(table - {"\x1b"})


@pytest.mark.parametrize("name", sorted(national.LANGUAGES))
def test_a_long_text_of_each_language_fits_its_own_tables_and_reads_the_same(name: str) -> None:
    language = national.LANGUAGES[name]
    strange = [one for one in letters(language) if one not in alphabet.GSM7_CHARACTERS]
    text = ("ab".join(strange) * 40)[:300] + "abc 123"
    found = []
    for shift in ("single", "locking", "both"):
        may = cheaper.allowed(shift, (name,))
        way = cheaper.cheaper(text, may) if may is not None else None
        if way is None:
            continue
        found.append(shift)
        assert {way.tables.locking, way.tables.single} <= {0, language}
        assert alphabet.national_decode(way.septets, *way.tables, strict=True) == text
        cut = segment.render(way.septets, GSM7, way.segments, udh=way.tables.header, ref=1)
        assert len(cut) == way.segments < segment.count(text, UCS2)
        read = [segment.parse_user_data(one.short_message, one.esm_class, one.data_coding) for one in cut]
        assert segment.join([one.body for one in read], UCS2) == text
    assert "both" in found


def test_every_national_row_of_the_vectors_goes_through_a_header_and_back(vectors: Path) -> None:
    national_rows = [
        row
        for row in rows(vectors / "gsm_samples.jsonl", "encode")
        if row.get("locking") or row.get("single")
    ]
    assert national_rows
    for row in national_rows:
        tables = Tables(row["locking"], row["single"])
        septets = alphabet.national_encode(row["text"], *tables)
        for carrier, packed in (("gsm7", False), ("gsm7-packed", True)):
            cut = segment.render(septets, GSM7, 1, carrier, ref=1, udh=tables.header)
            read = [
                segment.parse_user_data(one.short_message, one.esm_class, one.data_coding, packed=packed)
                for one in cut
            ]
            assert "".join(segment.join([one.body], one.encoding) for one in read) == row["text"]


def test_every_row_of_the_vectors_is_of_a_type_that_some_test_reads(vectors: Path) -> None:
    assert {row["type"] for row in rows(vectors / "gsm_samples.jsonl")} == {
        "table", "encode", "decode", "decode_error", "pack", "concat", "needs_split", "segments",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "header", "alone", "each"),
    [
        (Tables(0, 0), "", 160, 153),
        (Tables(0, 3), "03240103", 155, 149),
        (Tables(3, 0), "03250103", 155, 149),
        (Tables(3, 3), "06240103250103", 152, 146),
    ],
)
def test_the_header_says_which_tables_and_takes_its_room(
    tables: Tables, header: str, alone: int, each: int
) -> None:
    assert tables.header.hex() == header
    assert segment.room(GSM7, "udh8", tables.header) == (alone, each)


@given(
    text=st.text(st.sampled_from(letters(1) + letters(3) + letters(6) + ["“", "…", "😀", "я"]), max_size=400),
    shift=st.sampled_from(["none", "single", "locking", "both"]),
    likenesses=st.booleans(),
    method=st.sampled_from(["udh8", "udh16", "sar"]),
)
def test_what_is_found_saves_segments_and_can_be_read(
    text: str, shift: str, likenesses: bool, method: str
) -> None:
    may = cheaper.allowed(shift, (), likenesses)
    way = cheaper.cheaper(text, may, method) if may is not None else None
    if way is None:
        return
    assert way.segments < segment.count(text, UCS2, method=method)
    assert alphabet.national_decode(way.septets, *way.tables, strict=True) == way.text
    assert (way.text == text) == (way.changed == 0)
    assert likenesses or way.text == text


def test_a_text_in_many_scripts_is_given_up_without_trying_all_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "".join(one for language in range(1, 14) for one in letters(language))
    tried = []
    monkeypatch.setattr(cheaper, "_way", lambda *way: tried.append(way))
    may = cheaper.allowed("both", (), True)
    assert may is not None
    assert cheaper.cheaper(text, may) is None
    assert not tried


def test_nothing_is_found_where_nothing_is_saved_or_allowed() -> None:
    assert cheaper.allowed("none") is None
    assert cheaper.cheaper("plain", EVERYTHING) is None
    assert cheaper.cheaper("ş", EVERYTHING) is None
    assert cheaper.cheaper("я" * 100, EVERYTHING) is None
    assert cheaper.cheaper("\ud800" * 100, EVERYTHING) is None


def test_of_two_ways_of_the_same_length_the_one_that_changes_less_is_taken() -> None:
    may = cheaper.allowed("both", (), True)
    way = cheaper.cheaper("“ação” " * 11, may) if may is not None else None
    assert way is not None
    assert (way.text[:7], way.tables) == ('"ação" ', Tables(3, 0))
