"""Long messages: counts and cuts against 23.038's arithmetic and the vectors, reading and joining parts.

Deliberately not here: the storage of waiting parts (tests/store), alphabets themselves (test_alphabet).
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smpp import alphabet, segment
from smpp.alphabet import AUTO, BINARY, GSM7, LATIN1, UCS2, Unencodable
from smpp.segment import Concat, Segment, TooManyParts
from store.interface import MoPart
from tests.smpp.test_alphabet import GSM_TEXT
from tests.smpp.text_vectors import rows

METHODS_WITH_PARTS = ("udh8", "udh16", "sar")
LIMIT = {GSM7: 160, LATIN1: 140, UCS2: 140, BINARY: 140}


def test_every_segment_count_of_the_vectors_holds(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "segments"):
        encoding, segments = segment.plan(row["text"])
        assert segments == row["segments"]
        assert len(segment.render(row["text"], encoding, segments)) == segments


def test_every_needs_split_row_of_the_vectors_holds(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "needs_split"):
        if row["encoding"] == "gsm7-unpacked-140-octets":  # that suite's own limit: octets, not septets
            split = len(alphabet.gsm7_encode(row["text"])) > 140
        else:
            split = segment.count(row["text"], UCS2 if row["encoding"] == "ucs2" else GSM7) > 1
        assert split == row["split"], row


def test_every_concatenated_message_of_the_vectors_is_joined_in_any_order(vectors: Path) -> None:
    for row in rows(vectors / "gsm_samples.jsonl", "concat"):
        parts = [read_part(part, row) for part in row["parts"]]
        total = max(part.total for part in parts)
        random.Random(1).shuffle(parts)
        joined = segment.reassemble([*parts, parts[0]], total)
        if row["text"] is None:  # one part of several
            assert joined.missing
        elif joined.encoding == BINARY:
            assert joined.data.decode("utf-8") == row["text"]
        else:
            assert (joined.text, joined.missing) == (row["text"], ())


def read_part(part: object, row: dict[str, object]) -> MoPart:
    if isinstance(part, dict):
        tlvs = [
            (0x020C, part["sar_msg_ref_num"].to_bytes(2, "big")),
            (0x020E, bytes([part["sar_total_segments"]])),
            (0x020F, bytes([part["sar_segment_seqnum"]])),
        ]
        concat, body = segment.parse_concat(part["text"].encode(), 0, tlvs)
    else:
        concat, body = segment.parse_concat(bytes.fromhex(str(part)), 0x40)
    assert concat is not None
    name = row.get("encoding")
    encoding = {"latin1": LATIN1, "ucs2": UCS2, "gsm7-unpacked": GSM7}.get(str(name), BINARY)
    return MoPart(1, "49", "44", concat.reference, concat.total, concat.index, encoding, body, 0)


@pytest.mark.parametrize(
    ("text", "encoding", "segments"),
    [
        ("", GSM7, 1),
        ("a" * 160, GSM7, 1),
        ("a" * 161, GSM7, 2),
        ("a" * 306, GSM7, 2),
        ("a" * 307, GSM7, 3),
        ("€" * 80, GSM7, 1),
        ("€" * 81, GSM7, 2),
        ("€" * 152, GSM7, 2),  # 76 pairs a part: the 153rd septet stays empty
        ("€" * 153, GSM7, 3),
        ("a" * 152 + "€" + "a" * 151, GSM7, 2),
        ("a" * 152 + "€" + "a" * 152, GSM7, 3),
        ("ж" * 70, UCS2, 1),
        ("ж" * 71, UCS2, 2),
        ("ж" * 134, UCS2, 2),
        ("ж" * 135, UCS2, 3),
        ("ж" * 66 + "😀" + "ж" * 66, UCS2, 3),
        ("ж" * 65 + "😀" + "ж" * 67, UCS2, 2),
    ],
)
def test_a_text_is_counted_as_23038_counts(text: str, encoding: int, segments: int) -> None:
    assert segment.plan(text) == (encoding, segments)


@pytest.mark.parametrize(("octets", "segments"), [(0, 1), (140, 1), (141, 2), (268, 2), (269, 3)])
def test_binary_data_is_counted_in_octets(octets: int, segments: int) -> None:
    assert segment.plan(b"x" * octets) == (BINARY, segments)


def test_an_encoding_asked_for_is_kept_or_refused() -> None:
    assert segment.plan("naïve", LATIN1) == (LATIN1, 1)
    assert segment.plan("plain", UCS2) == (UCS2, 1)
    with pytest.raises(Unencodable):
        segment.plan("ж", GSM7)
    with pytest.raises(Unencodable):
        segment.plan("ж", LATIN1)


def test_a_text_that_needs_more_parts_than_allowed_says_how_many() -> None:
    with pytest.raises(TooManyParts) as refusal:
        segment.plan("a" * 1000, AUTO, 6)
    assert (refusal.value.parts, refusal.value.max_parts) == (7, 6)
    with pytest.raises(TooManyParts):
        segment.split("a" * 153 * 256, GSM7)


def test_one_segment_carries_no_concatenation() -> None:
    for method in segment.METHODS:
        assert segment.render("Hello", GSM7, 1, "gsm7", method, 7) == [Segment(b"Hello")]


def test_the_parts_carry_reference_total_and_index() -> None:
    text = "a" * 161
    first, second = segment.render(text, GSM7, 2, "gsm7", "udh8", 0x1234)
    assert (first.udh, second.udh) == (b"\x05\0\x03\x34\x02\x01", b"\x05\0\x03\x34\x02\x02")
    assert (first.esm_class, first.short_message) == (0x40, first.udh + b"a" * 153)
    first, second = segment.render(text, GSM7, 2, "gsm7", "udh16", 0x1234)
    assert (first.udh, second.udh) == (b"\x06\x08\x04\x12\x34\x02\x01", b"\x06\x08\x04\x12\x34\x02\x02")
    assert first.short_message == first.udh + b"a" * 152
    first, second = segment.render(text, GSM7, 2, "gsm7", "sar", 0x1234)
    assert second.tlvs == ((0x020C, b"\x12\x34"), (0x020E, b"\x02"), (0x020F, b"\x02"))
    assert (first.esm_class, first.udh, second.short_message) == (0, b"", b"a" * 8)


def test_a_payload_is_one_pdu_whatever_its_length() -> None:
    (only,) = segment.render("a" * 1000, GSM7, 7, "gsm7", "payload", 1)
    assert (only.short_message, only.tlvs) == (b"", ((0x0424, b"a" * 1000),))
    with pytest.raises(TooManyParts):
        segment.render("a" * 65536, GSM7, 500, "gsm7", "payload", 1)


def test_fm38_a_carrier_that_reads_latin1_gets_latin1() -> None:
    (only,) = segment.render("§ {a}", GSM7, 1, "latin1")
    assert (only.short_message, only.data_coding) == ("§ {a}".encode("latin-1"), 0)
    parts = segment.render("{" * 200, GSM7, 3, "latin1", "udh8", 1)
    assert [len(part.short_message) for part in parts] == [6 + 76, 6 + 76, 6 + 48]
    (payload,) = segment.render("{" * 200, GSM7, 3, "latin1", "payload", 1)
    assert payload.tlvs == ((0x0424, b"{" * 200),)


def test_fm38_a_text_that_latin1_lacks_goes_as_ucs2() -> None:
    (only,) = segment.render("5 €", GSM7, 1, "latin1")
    assert (only.short_message, only.data_coding) == ("5 €".encode("utf-16-be"), 8)


def test_fm38_a_packed_part_starts_on_a_septet_border() -> None:
    for part in segment.render("abc" * 60, GSM7, 2, "gsm7-packed", "udh8", 1):
        assert len(part.short_message) <= 140
        body = part.short_message[len(part.udh) :]
        text = alphabet.gsm7_decode(alphabet.unpack(body, fill_bits=segment.fill_bits(len(part.udh))))
        assert text.rstrip("@") in "abc" * 60


def test_a_submitters_header_goes_into_every_part() -> None:
    ports = b"\x06\x05\x04\x0b\x84\x23\xf0"
    (only,) = segment.split(b"x" * 133, BINARY, udh=ports)
    assert (only.short_message, only.esm_class) == (ports + b"x" * 133, 0x40)
    parts = segment.split(b"x" * 134, BINARY, udh=ports, ref=9)
    assert segment.plan(b"x" * 134, udh=ports) == (BINARY, len(parts)) == (BINARY, 2)
    for index, part in enumerate(parts, 1):
        assert len(part.short_message) <= 140
        assert segment.elements(part.udh) == [(5, b"\x0b\x84\x23\xf0"), (0, bytes([9, 2, index]))]


def test_a_broken_or_overlong_header_is_refused() -> None:
    with pytest.raises(segment.BadHeader):
        segment.split(b"x", BINARY, udh=b"\x09\x00\x03\x01\x02\x01")
    with pytest.raises(segment.BadHeader):
        segment.split(b"x", BINARY, udh=bytes([138, 0x70, 136]) + bytes(136))
    with pytest.raises(segment.BadHeader):
        segment.split(b"x" * 141, BINARY, udh=b"\x05\x00\x03\x01\x02\x01")


TEXTS = st.one_of(
    GSM_TEXT.map(lambda text: (text, GSM7)),
    st.text(st.characters(codec="latin-1"), max_size=500).map(lambda text: (text, LATIN1)),
    st.text(st.sampled_from("ж😀a一"), max_size=300).map(lambda text: (text, UCS2)),
)


@given(TEXTS, st.sampled_from(METHODS_WITH_PARTS), st.integers(0, 0xFFFF), st.randoms())
def test_what_is_split_is_read_and_joined_again_in_any_order(
    case: tuple[str, int], method: str, ref: int, shuffle: random.Random
) -> None:
    text, encoding = case
    segments = segment.split(text, encoding, method=method, ref=ref)
    assert len(segments) == segment.count(text, encoding, method=method)
    read = []
    for one in segments:
        used = len(one.udh) * 8 + (len(one.short_message) - len(one.udh)) * (7 if encoding == GSM7 else 8)
        assert used <= 140 * 8
        data = segment.parse_user_data(one.short_message, one.esm_class, one.data_coding, one.tlvs)
        index = data.concat.index if data.concat else 1
        if encoding != LATIN1:  # each part is a text of its own: no pair was cut
            assert "\ufffd" not in alphabet.decode(data.body, encoding)
            assert not (encoding == GSM7 and data.body.endswith(b"\x1b"))
        read.append(MoPart(1, "", "", 0, len(segments), index, data.encoding, data.body, 0))
    shuffle.shuffle(read)
    joined = segment.reassemble(read, len(segments))
    assert (joined.text, joined.missing) == (text, ())


@given(st.text(max_size=400), st.sampled_from(segment.CARRIER_ALPHABETS), st.sampled_from(segment.METHODS))
def test_every_planned_text_can_be_rendered_for_every_carrier(text: str, reads: str, method: str) -> None:
    try:
        encoding, segments = segment.plan(text)
    except Unencodable:
        return
    rendered = segment.render(text, encoding, segments, reads, method, 77)
    assert rendered
    assert all(len(one.short_message) <= 160 for one in rendered)
    if method == "udh8" and not (reads == "latin1" and encoding == GSM7):
        assert len(rendered) == segments


@given(st.binary(max_size=170), st.integers(0, 255), st.integers(0, 255))
def test_any_short_message_of_a_peer_is_read(octets: bytes, esm_class: int, data_coding: int) -> None:
    data = segment.parse_user_data(octets, esm_class, data_coding)
    assert (data.concat, segment.parse_concat(octets, esm_class)[1]) == segment.parse_concat(
        octets, esm_class
    )
    if data.concat is not None:
        assert 1 <= data.concat.index <= data.concat.total


def test_fm24_the_place_is_found_among_other_elements() -> None:
    udh = b"\x0b\x05\x04\x0b\x84\x23\xf0\x00\x03\x2a\x03\x02"
    assert segment.parse_udh(udh) == Concat(0x2A, 3, 2)
    assert segment.parse_udh(b"\x06\x08\x04\x01\x02\x05\x04") == Concat(0x0102, 5, 4, 16)


@pytest.mark.parametrize(
    "udh",
    ["05000301020", "0500030102", "050003010203", "050003010200", "050003010000", "050103010201", "00", ""],
)
def test_fm24_a_wrong_or_torn_element_is_no_concatenation(udh: str) -> None:
    assert segment.parse_udh(bytes.fromhex(udh[: len(udh) // 2 * 2])) is None


def test_fm24_a_header_without_its_flag_or_its_length_is_seen_through() -> None:
    assert segment.parse_concat(b"\x05\x00\x03\x2a\x02\x01Hello", 0) == (Concat(0x2A, 2, 1), b"Hello")
    assert segment.parse_concat(b"\x06\x08\x04\x01\x2a\x02\x01Hello", 0) == (
        Concat(0x12A, 2, 1, 16),
        b"Hello",
    )
    assert segment.parse_concat(b"\x00\x03\x2a\x02\x01Hello", 0x40) == (Concat(0x2A, 2, 1), b"Hello")


def test_fm24_an_ordinary_text_is_not_taken_for_a_header() -> None:
    assert segment.parse_concat(b"\x05\x00 Hello", 0) == (None, b"\x05\x00 Hello")
    assert segment.parse_concat(b"\x7fHello", 0x40) == (None, b"\x7fHello")
    assert segment.parse_concat(b"", 0x40) == (None, b"")


def test_fm24_references_of_different_widths_are_different_groups() -> None:
    assert len({Concat(5, 2, 1, bits).reference for bits in (8, 16, 17)}) == 3


def test_fm24_missing_and_repeated_parts_are_told() -> None:
    parts = [
        MoPart(1, "", "", 1, 3, index, GSM7, body, 0) for index, body in ((3, b"c"), (1, b"a"), (3, b"x"))
    ]
    assert segment.reassemble(parts, 3) == segment.Joined(GSM7, "ac", b"", (2,))


def test_fm24_parts_under_different_encodings_become_one_text() -> None:
    parts = [
        MoPart(1, "", "", 1, 2, 2, UCS2, "ж".encode("utf-16-be"), 0),
        MoPart(1, "", "", 1, 2, 1, GSM7, b"a\x1be", 0),
    ]
    assert segment.reassemble(parts, 2) == segment.Joined(UCS2, "a€ж", b"", ())


def test_fm38_a_pair_that_a_peer_cut_in_two_is_whole_again() -> None:
    octets = "😀".encode("utf-16-be")
    assert segment.join([octets[:2], octets[2:]], UCS2) == "😀"
    assert segment.join([b"5 \x1b", b"e"], GSM7) == "5 €"


def test_fm23_a_text_in_message_payload_is_read() -> None:
    assert segment.parse_concat(b"", 0, [(0x0424, b"Hello")]) == (None, b"Hello")


def test_a_text_under_a_national_table_comes_out_as_ucs2() -> None:
    data = segment.parse_user_data(b"\x03\x24\x01\x01\x1bg", 0x40, 0)  # Turkish single shift, ğ
    assert (data.encoding, data.body) == (UCS2, "ğ".encode("utf-16-be"))


# parts that somebody else has cut


@given(
    texts=st.lists(st.one_of(GSM_TEXT, st.text(max_size=90)), min_size=2, max_size=6),
    carrier=st.sampled_from(segment.CARRIER_ALPHABETS),
    method=st.sampled_from(METHODS_WITH_PARTS),
)
def test_parts_cut_anew_are_the_same_text_and_each_stands_for_something(
    texts: list[str], carrier: str, method: str
) -> None:
    encoding = max(alphabet.cheapest(text) for text in texts)
    try:
        shares = segment.cut_anew(texts, encoding, carrier, method, 0x1234)
    except Unencodable:
        assert any("\ud800" <= letter <= "\udfff" for text in texts for letter in text)
        return
    assert len(shares) == len(texts)
    assert all(shares)
    flat = [one for share in shares for one in share]
    parts = []
    for one in flat:
        concat, body = segment.parse_concat(one.short_message, one.esm_class, one.tlvs)
        assert concat is not None
        reads = {"latin1": LATIN1, "ascii": LATIN1}.get(carrier, GSM7) if one.data_coding == 0 else UCS2
        if reads == GSM7 and carrier == "gsm7-packed":
            body = alphabet.unpack(body, fill_bits=segment.fill_bits(len(one.udh)))
        if reads == GSM7:
            assert not body.endswith(b"\x1b") or body.endswith(b"\x1b\x1b")
            assert len(body) <= 153
        elif reads == UCS2:
            assert len(body) <= 134
            body.decode("utf-16-be")  # no surrogate alone
        parts.append(MoPart(1, "49", "44", concat.reference, concat.total, concat.index, reads, body, 0))
    assert [part.index for part in parts] == list(range(1, len(flat) + 1))
    assert {part.total for part in parts} == {len(flat)}
    assert segment.reassemble(parts, len(flat)).text == "".join(texts)


def test_a_segment_stands_for_the_part_in_which_it_begins() -> None:
    shares = segment.cut_anew(["€" * 153, "b" * 153, "c" * 50], GSM7, "latin1", "udh8", 7)
    assert [len(share) for share in shares] == [3, 2, 1]  # 67 characters of UCS-2 each
    assert [one.short_message[:6].hex() for share in shares for one in share] == [
        f"05000307060{index}" for index in range(1, 7)
    ]


def test_parts_that_would_become_fewer_are_cut_each_by_itself() -> None:
    shares = segment.cut_anew(["one", "", "two" * 60], GSM7, "gsm7", "udh8", 7)
    assert [[one.short_message[6:] for one in share] for share in shares] == [
        [b"one"],
        [b""],
        [b"two" * 51, b"two" * 9],
    ]


def test_parts_cut_anew_keep_the_carriers_limit() -> None:
    with pytest.raises(TooManyParts):
        segment.cut_anew(["€" * 153, "€" * 153], GSM7, "ascii", max_parts=4)


@pytest.mark.parametrize(
    ("text", "encoding", "carrier", "method", "fits"),
    [
        ("a" * 153, GSM7, "gsm7", "udh8", True),
        ("a" * 154, GSM7, "gsm7", "udh8", False),
        ("a" * 153, GSM7, "gsm7", "udh16", False),
        ("a" * 160, GSM7, "gsm7", "sar", True),
        ("€" * 76, GSM7, "gsm7", "udh8", True),
        ("€" * 77, GSM7, "gsm7", "udh8", False),
        ("€", GSM7, "latin1", "udh8", False),
        ("é", GSM7, "latin1", "udh8", True),
        ("é", GSM7, "ascii", "udh8", False),
        ("ж" * 67, UCS2, "latin1", "udh8", True),
        ("ж" * 68, UCS2, "latin1", "udh8", False),
        ("ж" * 70, UCS2, "gsm7", "sar", True),
        ("é" * 134, LATIN1, "gsm7", "udh8", True),
        ("é" * 135, LATIN1, "gsm7", "udh8", False),
    ],
)
def test_whether_a_part_can_go_as_it_came(
    text: str, encoding: int, carrier: str, method: str, fits: bool
) -> None:
    assert segment.part_fits(text, encoding, carrier, method) is fits
