"""The framer: any split, bounded memory, bounded copying, and nothing waited for that cannot come."""

from __future__ import annotations

import pytest

from smpp.codec import Framer, decode_frame, encode
from smpp.constants import MAX_PDU_OCTETS, MAX_PDU_OCTETS_BEFORE_BIND
from smpp.pdu import EnquireLink, SubmitSm

LINK = encode(EnquireLink(sequence_number=1))
LARGEST = encode(SubmitSm(tlvs=[(0x0424, b"x" * (MAX_PDU_OCTETS - 16 - 17 - 4))]))


def test_a_frame_is_command_status_sequence_and_the_whole_pdu() -> None:
    assert Framer().feed(LINK * 2) == [(0x15, 0, 1, LINK)] * 2


def test_fm18_a_pdu_may_come_one_octet_at_a_time() -> None:
    framer = Framer()
    wire = encode(SubmitSm(short_message=b"slow"))
    for count, octet in enumerate(wire[:-1], start=1):
        assert framer.feed(bytes((octet,))) == []
        assert framer.pending == count
    [frame] = framer.feed(wire[-1:])
    assert decode_frame(frame) == SubmitSm(short_message=b"slow")
    assert framer.pending == 0


def test_fm18_octets_that_come_one_by_one_are_not_copied_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuts: list[int] = []
    keep = Framer.keep

    def counted(self: Framer, data: bytes, start: int) -> None:
        if data:
            cuts.append(len(data))
        keep(self, data, start)

    monkeypatch.setattr(Framer, "keep", counted)
    framer = Framer()
    assert len(LARGEST) == MAX_PDU_OCTETS
    for at in range(len(LARGEST)):
        framer.feed(LARGEST[at : at + 1])
    # Looked at when the length is in (4), when the whole is, and at the very first octet: never in between.
    assert cuts == [1, 4, MAX_PDU_OCTETS]


@pytest.mark.parametrize("length", [0, 1, 8, 15, MAX_PDU_OCTETS + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_fm19_an_impossible_command_length_is_refused_at_its_fourth_octet(length: int) -> None:
    framer = Framer()
    prefix = length.to_bytes(4, "big")
    for octet in prefix[:3]:
        framer.feed(bytes((octet,)))
        assert framer.error is None
    assert framer.feed(prefix[3:]) == []
    assert framer.error is not None
    assert not framer.error.recoverable
    assert framer.pending == 0


def test_fm19_what_came_before_the_garbage_is_still_returned_and_nothing_after_it() -> None:
    framer = Framer()
    assert len(framer.feed(LINK + b"GET / HTTP/1.1\r\n\r\n" + LINK)) == 1
    assert framer.error is not None
    assert framer.feed(LINK) == []
    assert framer.pending == 0


def test_fm19_the_limit_is_smaller_before_bind_and_may_be_raised() -> None:
    large = encode(SubmitSm(tlvs=[(0x0424, b"x" * 5000)]))
    before = Framer(MAX_PDU_OCTETS_BEFORE_BIND)
    assert before.feed(large) == []
    assert before.error is not None
    after = Framer(MAX_PDU_OCTETS_BEFORE_BIND)
    after.feed(LINK)
    after.max_pdu_octets = MAX_PDU_OCTETS
    assert len(after.feed(large)) == 1


def test_a_frame_does_not_change_when_the_framer_goes_on() -> None:
    framer = Framer()
    framer.feed(LINK[:7])
    [frame] = framer.feed(LINK[7:] + LINK[:3])
    framer.feed(LINK[3:])
    assert frame[3] == LINK
    assert type(frame[3]) is bytes


def test_a_read_buffer_may_be_a_bytearray() -> None:
    framer = Framer()
    buffer = bytearray(LINK + LINK[:9])
    [frame] = framer.feed(buffer)
    buffer[:] = b"\xff" * len(buffer)
    assert frame[3] == LINK
    assert type(frame[3]) is bytes
    assert len(framer.feed(LINK[9:])) == 1


def test_fm43_every_turn_consumes_a_header_or_ends() -> None:
    framer = Framer()
    frames = framer.feed(b"\x00\x00\x00\x10" + b"\x00" * 12 + b"\x00" * 64)
    assert len(frames) == 1
    assert framer.error is not None
