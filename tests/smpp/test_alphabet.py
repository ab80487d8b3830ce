"""Texts to octets and back: every table and row of the vectors, and what no table carries.

Deliberately not here: how many segments a text makes (test_segment).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import alphabet, national
from smpp.alphabet import BINARY, GSM7, LATIN1, UCS2, Unencodable
from tests.smpp.text_vectors import OWN, Row, rows

GSM_TEXT = st.text(st.sampled_from(sorted(alphabet._ENCODE)), max_size=400)
ENCODINGS = {"gsm7": GSM7, "gsm7-unpacked": GSM7, "latin1": LATIN1, "ucs2": UCS2, "utf-16-be": UCS2}
# Alphabets that SMPP has no data_coding for, or that no carrier of ours asks for: Python's own codecs.
FOREIGN = {"utf-8": "utf-8", "latin9": "iso8859-15", "utf-16-le": "utf-16-le", "ascii": "ascii"}


def test_every_table_of_the_vectors_is_ours(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "table"):
        ours = (national.LOCKING if row["kind"] == "locking" else national.SINGLE)[row["language_id"]]
        theirs = {int(code, 16): character for code, character in row["map"].items()}
        if row["name"] == "hindi_locking_shift":
            # the source has Bengali signs at 0x00 to 0x02 of the Hindi table; 23.038 A.3.6 has Devanagari's
            assert [theirs[code] for code in range(3)] == ["\u0981", "\u0982", "\u0983"]
            theirs.update({0: "\u0901", 1: "\u0902", 2: "\u0903"})
        assert ours == theirs, row["name"]


def test_every_text_of_the_vectors_is_encoded_and_decoded(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "encode"):
        check_encoded(row)


def check_encoded(row: Row) -> None:
    text, octets, name = row["text"], bytes.fromhex(row["hex"]), row["encoding"]
    if name in FOREIGN:
        assert text.encode(FOREIGN[name]) == octets
    elif name == "gsm7-packed":
        assert alphabet.pack(alphabet.gsm7_encode(text)) == octets
        assert alphabet.gsm7_decode(alphabet.unpack(octets), strict=True) == text
    elif row.get("locking") or row.get("single"):
        check_national(text, octets, row["locking"], row["single"])
    else:
        assert alphabet.encode(text, ENCODINGS[name]) == octets
        assert alphabet.decode(octets, ENCODINGS[name]) == text


def check_national(text: str, octets: bytes, locking: int, single: int) -> None:
    """The source does not always take the shorter of two writings; we do."""
    assert alphabet.national_decode(octets, locking, single, strict=True) == text
    ours = alphabet.national_encode(text, locking, single)
    assert len(ours) <= len(octets)
    assert alphabet.national_decode(ours, locking, single, strict=True) == text


def test_every_odd_octet_string_of_the_vectors_is_read_as_they_say(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "decode"):
        assert alphabet.gsm7_decode(bytes.fromhex(row["hex"])) == row["text"], row["note"]


def test_what_the_vectors_call_undecodable_a_strict_decoder_refuses(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "decode_error"):
        septets = alphabet.unpack(bytes.fromhex(row["hex"]))
        with pytest.raises(alphabet.Undecodable):
            alphabet.gsm7_decode(septets, strict=True)


def test_every_packed_row_of_the_vectors_is_packed_and_unpacked(vectors: Path) -> None:
    for row in [*rows(vectors / "gsm_samples.jsonl", "pack"), *rows(OWN / "gsm_own.jsonl", "pack")]:
        septets, octets = bytes.fromhex(row["unpacked_hex"]), bytes.fromhex(row["packed_hex"])
        assert alphabet.pack(septets) == octets
        assert alphabet.unpack(octets, len(septets)) == septets
        assert alphabet.unpack(octets) == septets


@pytest.mark.parametrize("row", rows(OWN / "gsm_own.jsonl", "encode"), ids=lambda row: repr(row["text"]))
def test_our_own_rows_are_encoded_and_decoded(row: Row) -> None:
    check_encoded(row)


@pytest.mark.parametrize("row", rows(OWN / "gsm_own.jsonl", "refuse"), ids=lambda row: repr(row["text"]))
def test_a_text_that_the_alphabet_lacks_is_refused_with_the_places(row: Row) -> None:
    with pytest.raises(Unencodable) as refusal:
        alphabet.encode(row["text"], ENCODINGS[row["encoding"]])
    assert refusal.value.positions == tuple(row["positions"])


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(Unencodable) as refusal:
        alphabet.ucs2_encode("ab\ud83d")
    assert refusal.value.positions == (2,)


def test_the_refusal_of_a_long_text_names_at_most_a_hundred_places() -> None:
    with pytest.raises(Unencodable) as refusal:
        alphabet.gsm7_encode("ж" * 5000)
    assert len(refusal.value.positions) == 100


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", GSM7),
        ("", GSM7),
        ("€[]", GSM7),
        ("ΔΩ", GSM7),
        ("ça va", UCS2),
        ("`", UCS2),
        ("привет", UCS2),
    ],
)
def test_the_cheapest_encoding_is_gsm7_wherever_it_carries_the_text(text: str, encoding: int) -> None:
    assert alphabet.cheapest(text) == encoding


@given(GSM_TEXT)
def test_gsm7_round_trips(text: str) -> None:
    septets = alphabet.gsm7_encode(text)
    assert septets.isascii()
    assert alphabet.gsm7_decode(septets) == text
    assert alphabet.gsm7_decode(septets, strict=True) == text
    assert alphabet.cheapest(text) == GSM7


@given(st.text())
def test_ucs2_carries_every_text_without_lone_surrogates(text: str) -> None:
    assert alphabet.ucs2_decode(b"\xfe\xff" + alphabet.ucs2_encode(text)) == text


@given(st.text(), st.sampled_from([GSM7, LATIN1, UCS2]))
def test_a_text_is_carried_whole_or_refused(text: str, encoding: int) -> None:
    try:
        octets = alphabet.encode(text, encoding)
    except Unencodable:
        return
    decoded = alphabet.gsm7_decode(octets) if encoding == GSM7 else alphabet.decode(octets, encoding)
    assert decoded == text or (encoding == UCS2 and text[:1] in "\ufeff\ufffe")


@given(st.binary(max_size=200), st.integers(0, 255), st.sampled_from([GSM7, LATIN1]))
def test_no_octets_of_a_peer_are_beyond_reading(octets: bytes, data_coding: int, default: int) -> None:
    encoding = alphabet.encoding_of(data_coding, default)
    assert encoding in (GSM7, LATIN1, UCS2, BINARY)
    assert isinstance(alphabet.decode(octets, encoding), str)
    assert isinstance(alphabet.gsm7_decode(octets), str)


@given(st.binary(max_size=300), st.integers(0, 14), st.integers(0, 14))
def test_national_tables_read_any_octets(octets: bytes, locking: int, single: int) -> None:
    assert isinstance(alphabet.national_decode(octets, locking, single), str)


@given(st.data(), st.sampled_from(sorted(national.LOCKING)), st.sampled_from(sorted(national.SINGLE)))
def test_national_tables_round_trip(data: st.DataObject, locking: int, single: int) -> None:
    characters = sorted(alphabet.encoder(locking, single))
    text = data.draw(st.text(st.sampled_from(characters), max_size=60))
    septets = alphabet.national_encode(text, locking, single)
    assert alphabet.national_decode(septets, locking, single, strict=True) == text


@given(st.binary(max_size=200).map(lambda octets: bytes(octet & 0x7F for octet in octets)), st.integers(0, 6))
def test_packing_round_trips_after_any_fill(septets: bytes, fill_bits: int) -> None:
    packed = alphabet.pack(septets, fill_bits=fill_bits)
    assert alphabet.unpack(packed, len(septets), fill_bits=fill_bits) == septets


def test_fm38_octets_above_0x7f_under_data_coding_0_are_latin1() -> None:
    assert alphabet.decode("§ 5 naïve@".encode("latin-1"), GSM7) == "§ 5 naïve@"


def test_fm38_a_nul_low_octet_at_the_end_belongs_to_the_character() -> None:
    octets = "hej 一".encode("utf-16-be")
    assert alphabet.ucs2_decode(octets) == "hej 一"
    assert alphabet.ucs2_decode(octets.rstrip(b"\0")) == "hej 一"
    assert alphabet.ucs2_decode("hej".encode("utf-16-be") + b"\0") == "hej"


def test_fm38_little_endian_is_believed_only_with_its_mark() -> None:
    assert alphabet.ucs2_decode(b"\xff\xfeh\0i\0") == "hi"


@pytest.mark.parametrize(
    ("data_coding", "encoding"),
    {
        **{0: GSM7, 1: LATIN1, 2: BINARY, 3: LATIN1, 4: BINARY, 5: BINARY, 8: UCS2, 0x10: GSM7, 0x14: BINARY},
        **{0x18: UCS2, 0x80: BINARY, 0xC8: GSM7, 0xE0: UCS2, 0xF0: GSM7, 0xF5: BINARY},
    }.items(),
)
def test_a_data_coding_names_its_encoding(data_coding: int, encoding: int) -> None:
    assert alphabet.encoding_of(data_coding) == encoding


def test_fm38_what_data_coding_0_means_is_the_carriers_affair() -> None:
    assert alphabet.encoding_of(0, default=LATIN1) == LATIN1
