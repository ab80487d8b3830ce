"""TLVs by type: strict when made, tolerant when read."""

from __future__ import annotations

import pytest

from smpp import tlv
from smpp.constants import Tlv
from smpp.errors import EncodeError


def test_every_tag_has_a_type() -> None:
    assert set(tlv.KINDS) == set(Tlv)


@pytest.mark.parametrize(
    ("tag", "value", "octets"),
    [
        (Tlv.MESSAGE_STATE, 2, b"\2"),
        (Tlv.USER_MESSAGE_REFERENCE, 258, b"\1\2"),
        (Tlv.QOS_TIME_TO_LIVE, 3600, b"\0\0\x0e\x10"),
        (Tlv.RECEIPTED_MESSAGE_ID, b"0A1B", b"0A1B\0"),
        (Tlv.NETWORK_ERROR_CODE, b"\3\0\x20", b"\3\0\x20"),
        (Tlv.ALERT_ON_MESSAGE_DELIVERY, b"", b""),
        (0x1403, b"1107160000000001", b"1107160000000001"),
    ],
)
def test_a_tlv_is_made_by_its_type_and_read_back(tag: int, value: int | bytes, octets: bytes) -> None:
    made = tlv.make(tag, value)
    assert made == (tag, octets)
    assert tlv.read([made], tag) == value


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (Tlv.MESSAGE_STATE, 256),
        (Tlv.MESSAGE_STATE, -1),
        (Tlv.MESSAGE_STATE, b"\2"),
        (Tlv.RECEIPTED_MESSAGE_ID, b"x" * 65),
        (Tlv.RECEIPTED_MESSAGE_ID, b"a\0b"),
        (Tlv.NETWORK_ERROR_CODE, b"\3"),
        (Tlv.MESSAGE_PAYLOAD, 5),
        (0x1403, b"x" * 65_536),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused(tag: int, value: int | bytes) -> None:
    with pytest.raises(EncodeError):
        tlv.make(tag, value)


def test_fm21_integers_are_read_at_the_length_they_came_with() -> None:
    assert tlv.read_int([(Tlv.USER_MESSAGE_REFERENCE, b"\7")], Tlv.USER_MESSAGE_REFERENCE) == 7
    assert tlv.read_int([(Tlv.SOURCE_ADDR_SUBUNIT, b"\1\2")], Tlv.SOURCE_ADDR_SUBUNIT) == 258
    assert tlv.read_int([(Tlv.MESSAGE_STATE, b"")], Tlv.MESSAGE_STATE) is None
    assert tlv.read_int([], Tlv.MESSAGE_STATE) is None


def test_fm21_a_c_string_without_its_nul_keeps_its_last_octet() -> None:
    for octets in (b"ABC123", b"ABC123\0", b"ABC123\0rest"):
        assert tlv.read_cstring([(Tlv.RECEIPTED_MESSAGE_ID, octets)], Tlv.RECEIPTED_MESSAGE_ID) == b"ABC123"


def test_repeated_tags_are_all_there() -> None:
    tlvs = [(Tlv.BROADCAST_AREA_IDENTIFIER, b"a"), (0x1400, b""), (Tlv.BROADCAST_AREA_IDENTIFIER, b"b")]
    assert tlv.every(tlvs, Tlv.BROADCAST_AREA_IDENTIFIER) == [b"a", b"b"]
    assert tlv.first(tlvs, Tlv.BROADCAST_AREA_IDENTIFIER) == b"a"


def test_tlvs_are_described_by_name_where_they_have_one() -> None:
    tlvs = [(0x001E, b"12ab\0"), (0x0427, b"\2"), (0x1403, b"61"), (0x0423, b"\3\0\1"), (0x0427, b"")]
    assert tlv.describe(tlvs) == (
        "receipted_message_id=b'12ab' message_state=2 0x1403=hex:3631 network_error_code=hex:030001"
        " message_state=hex:"
    )
