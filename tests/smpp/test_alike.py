"""Submits that are told together, without a PDU for each: they are what the codec reads one by one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smpp import alike, events
from smpp.codec import encode, with_header
from smpp.constants import CommandId
from smpp.pdu import BindTransceiver, EnquireLink, SubmitSm
from smpp.session import Role, Session, SessionSettings

SUBMIT_ID = int(CommandId.SUBMIT_SM)


def customer(*, together: bool) -> Session:
    """The SMSC's side of a bound session."""
    session = Session(Role.SMSC, SessionSettings(), 0.0, together=together)
    session.receive(encode(BindTransceiver(system_id=b"u", interface_version=0x34, sequence_number=1)), 0.0)
    session.accept_bind(b"smsc")
    session.data_to_send()
    return session


@dataclass
class Told:
    happened: list[object]
    written: bytes
    rest: bytes


def told(reads: list[bytes], *, together: bool) -> Told:
    """What a session tells of these reads, submit by submit."""
    session = customer(together=together)
    happened: list[object] = []
    for read in reads:
        for event in session.receive(read, 1.0):
            if isinstance(event, events.Submits):
                assert together
                happened += in_order(event)
            else:
                happened.append(event.pdu if isinstance(event, events.Request) else repr(event))
    return Told(happened, session.data_to_send(), session.half_received)


def in_order(submits: events.Submits) -> list[SubmitSm]:
    found: dict[int, SubmitSm] = {}
    for kind in submits.kinds:
        assert kind.places == sorted(kind.places)
        found |= {place: kind.pdu(index) for index, place in enumerate(kind.places)}
    assert sorted(found) == list(range(submits.count))
    assert submits.numbers() == [found[place].sequence_number for place in range(submits.count)]
    return [found[place] for place in range(submits.count)]


def plain(number: int, **fields: object) -> SubmitSm:
    said: dict[str, object] = {
        "source_addr": b"ACME", "source_addr_ton": 5, "destination_addr": b"447700900%03d" % (number % 1000),
        "dest_addr_ton": 1, "dest_addr_npi": 1, "registered_delivery": 1, "short_message": b"Hi %d" % number,
        "sequence_number": number,
    }  # fmt: skip
    return SubmitSm(**{**said, **fields})  # type: ignore[arg-type]


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "source_addr": st.sampled_from([b"SHOP", b"+4477", b"", b"x" * 20]),
        "source_addr_ton": st.sampled_from([0, 1]),
        "destination_addr": st.sampled_from([b"", b"+49151", b"1" * 20, b"none"]),
        "dest_addr_ton": st.sampled_from([0, 2]),
        "service_type": st.sampled_from([b"CMT", b"WAP"]),
        "esm_class": st.sampled_from([0x40, 0x03]),
        "data_coding": st.sampled_from([0, 8]),
        "validity_period": st.just(b"000001000000000R"),
        "registered_delivery": st.sampled_from([0, 1]),
        "short_message": st.one_of(st.binary(max_size=9), st.just(b"x" * 254)),
        "tlvs": st.sampled_from([(), ((0x0204, b"\0\1"),), ((0x1400, b"12"), (0x1401, b"3"))]),
        "command_status": st.sampled_from([0, 0, 7]),
    },
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """PDUs of a few kinds in any order, some of them damaged, some of another command."""
    kinds = draw(st.lists(FIELDS, min_size=1, max_size=3))
    octets = b""
    for number in range(1, draw(st.integers(0, 14)) + 1):
        fields = draw(st.sampled_from(kinds))
        one = bytearray(encode(plain(number, **fields)))
        match draw(
            st.sampled_from(["", "", "", "", "", "octet", "stray", "short", "long", "other", "unknown"])
        ):
            case "octet":  # from the destination on, where it counts
                one[draw(st.integers(16, len(one) - 1))] = draw(st.sampled_from([0, 1, 5, 255]))
            case "stray":
                one = bytearray(with_header(SUBMIT_ID, 0, number, bytes(one[16:]) + b"\0"))
            case "short":
                body = bytes(one[16 : draw(st.integers(16, len(one)))])
                one = bytearray(with_header(SUBMIT_ID, 0, number, body))
            case "long":
                one = bytearray(with_header(SUBMIT_ID, 0, number, bytes(one[16:]) + b"\x04\x24\0"))
            case "other":
                one = bytearray(encode(EnquireLink(sequence_number=number)))
            case "unknown":
                one = bytearray(with_header(0x00010200, 0, number, bytes(one[16:])))
        octets += one
    return octets


@settings(max_examples=400, deadline=None)
@given(octets=streams(), cuts=st.lists(st.integers(0, 1500), max_size=4))
def test_what_is_told_together_is_what_is_told_one_by_one(octets: bytes, cuts: list[int]) -> None:
    ends = [*sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
    reads = [octets[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert told(reads, together=True) == told(reads, together=False)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 6),
    at=st.integers(0, 10_000),
    value=st.integers(0, 255),
    tlvs=st.sampled_from([(), ((0x1400, b"12"),)]),
)
@example(count=2, at=3, value=0, tlvs=())
def test_one_octet_that_is_another_is_seen(
    count: int, at: int, value: int, tlvs: tuple[tuple[int, bytes], ...]
) -> None:
    octets = bytearray(b"".join(encode(plain(n + 1, tlvs=tlvs)) for n in range(count)))
    octets[at % len(octets)] = value
    reads = [bytes(octets), b"".join(encode(plain(n)) for n in range(7, 9))]
    assert told(reads, together=True) == told(reads, together=False)


def test_submits_of_a_kind_are_told_with_what_differs() -> None:
    session = customer(together=True)
    session.receive(b"".join(encode(plain(n)) for n in range(1, 3)), 1.0)
    read = b"".join(encode(plain(n, registered_delivery=n % 2)) for n in range(3, 7))
    [submits] = session.receive(read, 1.0)
    assert isinstance(submits, events.Submits)
    odd, even = submits.kinds
    assert (odd.places, odd.numbers, odd.texts) == ([0, 2], [3, 5], [b"Hi 3", b"Hi 5"])
    assert (even.places, even.numbers, even.texts) == ([1, 3], [4, 6], [b"Hi 4", b"Hi 6"])
    assert odd.destinations == [b"447700900003", b"447700900005"]
    assert odd.sources == []


def test_the_first_and_the_others_of_some_submits() -> None:
    session = customer(together=True)
    read = b"".join(
        encode(plain(n, registered_delivery=n % 2, source_addr=b"%d" % (n % 3))) for n in range(1, 9)
    )
    [submits] = session.receive(read, 1.0)
    assert isinstance(submits, events.Submits)
    every = in_order(submits)
    for count in range(9):
        first, others = submits.parted(count)
        assert (first.count, others.count) == (count, 8 - count)
        assert in_order(first) + in_order(others) == every


def test_what_is_never_the_same_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer that gives each submit a time of its own costs no look at each of them."""
    looked = 0
    cut = alike.Kinds._cut

    def looking(self: alike.Kinds, data: bytes, start: int, size: int, most: int) -> object:
        nonlocal looked
        looked += 1
        return cut(self, data, start, size, most)

    monkeypatch.setattr(alike.Kinds, "_cut", looking)
    session = customer(together=True)
    count = 0
    for read in range(20):
        numbers = range(read * 50, read * 50 + 50)
        happened = session.receive(
            b"".join(encode(plain(n, validity_period=b"%015dR" % n)) for n in numbers), 1.0
        )
        for event in happened:
            count += event.count if isinstance(event, events.Submits) else 1
    assert count == 1000
    assert looked < 300
    assert len(session._kinds._known) <= 64
    happened = []
    for _ in range(5):
        happened = session.receive(b"".join(encode(plain(n)) for n in range(50)), 1.0)
    assert [type(event) for event in happened] == [events.Submits]
