"""What a customer's PDU says that no carrier's PDU could: refused at once, never carried."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import CarrierConfig
from gateway.carriers.render import Renderer
from gateway.door import Alike, Submission, one_by_one
from gateway.smpp_server.translate import Firsts, submission, submissions
from router.nouns import Account, Message, Relay
from smpp import events
from smpp.codec import encode
from smpp.constants import Tlv
from smpp.pdu import BindTransceiver, SubmitSm
from smpp.segment import Concat, concat_element, sar_tlvs
from smpp.session import Role, Session, SessionSettings
from smpp.status import Status

HEADER = b"\x05" + concat_element(Concat(1, 2, 1))


def asked(**fields: Any) -> Submission | int:
    pdu = SubmitSm(source_addr=b"ACME", destination_addr=b"447700900123", **fields)
    return submission(pdu, Account(1, "acme"), 0)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"service_type": b"LONGER", "short_message": b"x"}, Status.ESME_RINVSERTYP),
        ({"short_message": b"x" * 254, "tlvs": sar_tlvs(Concat(1, 2, 1))}, Status.ESME_RINVMSGLEN),
        (
            {"esm_class": 0x40, "tlvs": ((Tlv.MESSAGE_PAYLOAD, HEADER + b"x" * 1000),)},
            Status.ESME_RINVMSGLEN,
        ),
    ],
)
def test_what_would_fit_no_submit_sm_is_refused(fields: dict[str, Any], status: int) -> None:
    assert asked(**fields) == status


@pytest.mark.parametrize("method", ["udh8", "udh16", "sar"])
@pytest.mark.parametrize(
    "fields",
    [
        {"short_message": b"x" * 247, "tlvs": sar_tlvs(Concat(1, 2, 1))},
        {"short_message": HEADER + b"x" * 241, "esm_class": 0x40},
        {
            "short_message": b"\x06" + concat_element(Concat(1, 2, 1), wide=True) + b"x" * 240,
            "esm_class": 0x40,
        },
    ],
)
def test_the_longest_part_that_is_taken_fits_every_carriers_header(
    method: str, fields: dict[str, Any]
) -> None:
    request = asked(**fields)
    assert isinstance(request, Submission)
    assert request.planned is not None
    message = Message(
        1, 1, 0, "ACME", 5, 0, "447700900123", request.planned[0], request.text or "", request.data or b"",
        1, 1, 1, 1, 0, 1, 1, "all", udh=request.udh, relay=request.relay,
    )  # fmt: skip
    renderer = Renderer(CarrierConfig(name="north", system_id="us", long_messages=method))
    assert len(renderer.bodies(message, False, 0)) == 1


# many at once

SUBMITS = st.builds(
    lambda source, to, **fields: SubmitSm(
        source_addr=source[0], source_addr_ton=source[1], source_addr_npi=source[2],
        destination_addr=to[0], dest_addr_ton=to[1], dest_addr_npi=to[2], **fields,
    ),
    source=st.sampled_from([(b"ACME", 5, 0), (b"ACME", 5, 0), (b"+447700900000", 1, 1), (b"x" * 12, 5, 0)]),
    to=st.sampled_from([(b"447700900123", 1, 1), (b"+4915112345678", 1, 1), (b"0777", 0, 0), (b"", 1, 1)]),
    short_message=st.one_of(
        st.binary(max_size=20), st.binary(min_size=139, max_size=141), st.just(b"Hello \x1be"),
        st.just(b"x" * 160), st.just(b"x" * 161), st.just(HEADER + b"x"),
    ),
    registered_delivery=st.sampled_from([0, 1, 1, 0x0D]),
    esm_class=st.sampled_from([0, 0, 0, 0x40, 0x03]),
    data_coding=st.sampled_from([0, 0, 3, 4, 8, 0xF0]),
    priority_flag=st.sampled_from([0, 0, 1, 9]),
    service_type=st.sampled_from([b"", b"", b"CMT"]),
    validity_period=st.sampled_from([b"", b"", b"000001000000000R"]),
    replace_if_present_flag=st.sampled_from([0, 0, 0, 1]),
    sm_default_msg_id=st.sampled_from([0, 0, 0, 1]),
    tlvs=st.sampled_from([(), (), ((0x0204, b"\0\1"),)]),
)  # fmt: skip


def bound() -> Session:
    session = Session(Role.SMSC, SessionSettings(), 0.0, together=True)
    session.receive(encode(BindTransceiver(interface_version=0x34, sequence_number=1)), 0.0)
    session.accept_bind()
    return session


def read_of(pdus: list[SubmitSm], session: Session | None = None) -> list[SubmitSm | events.Submits]:
    """What a connection is told of them, in one read."""
    session = session or bound()
    happened = session.receive(b"".join(map(encode, pdus)), 0.0)
    return [event.pdu if isinstance(event, events.Request) else event for event in happened]  # type: ignore[misc]


@given(
    pdus=st.lists(SUBMITS, max_size=8).flatmap(lambda some: st.permutations(some * 2)),
    texts=st.lists(st.binary(max_size=12), max_size=16),
    alphabet=st.sampled_from(["gsm7", "latin1"]),
    version=st.sampled_from([0x33, 0x34, 0x50]),
)
def test_many_at_once_ask_the_same_of_the_door_as_one_by_one(
    pdus: list[SubmitSm], texts: list[bytes], alphabet: str, version: int
) -> None:
    pdus = [copy(pdu) for pdu in pdus]
    for number, pdu in enumerate(pdus, 1):
        pdu.sequence_number = number
    for pdu, text in zip(pdus, texts, strict=False):
        pdu.short_message = text
    account = Account(1, "acme", alphabet=alphabet)
    entering, asked, others = submissions(read_of(pdus), account, 0, version)
    said: dict[int, Submission | int] = dict(zip(entering, one_by_one(asked), strict=True))
    said |= {pdu.sequence_number: request for pdu, request in others}
    assert said == {pdu.sequence_number: submission(pdu, account, 0, version) for pdu in pdus}
    assert entering == sorted(entering)
    assert [pdu.sequence_number for pdu, _ in others] == sorted(pdu.sequence_number for pdu, _ in others)
    replacing = {pdu.sequence_number for pdu in pdus if pdu.replace_if_present_flag}
    for one, told in others:
        assert isinstance(told, int) or one.sequence_number in replacing
    assert not replacing.intersection(entering)


@pytest.mark.parametrize("header", [b"\5\0\3\1\2\1", b"\6\x08\4\0\1\2\1"])
@pytest.mark.parametrize("data_coding", [0, 3, 0x10])
@pytest.mark.parametrize("others", [(b"hello", b"\0at"), (b"hello",)])
def test_a_header_without_its_bit_is_of_its_message_alone(
    header: bytes, data_coding: int, others: tuple[bytes, ...]
) -> None:
    texts = (header + b"x", b"hello", header + b"x", *others)
    pdus = [SubmitSm(source_addr=b"A", data_coding=data_coding, short_message=text) for text in texts]
    account = Account(1, "acme")
    _, asked, _ = submissions(read_of(pdus), account, 0)
    assert one_by_one(asked) == [submission(pdu, account, 0) for pdu in pdus]


def test_what_has_all_but_number_text_and_source_in_common_is_taken_apart_once() -> None:
    pdus = [
        SubmitSm(source_addr=source, destination_addr=b"4477009001%02d" % n, short_message=b"%d" % n)
        for n in range(3)
        for source in (b"ACME", b"SHOP")
    ]
    _, asked, _ = submissions(read_of(pdus), Account(1, "acme"), 0)
    [alike] = asked
    assert isinstance(alike, Alike)
    assert alike.places == [0, 1, 2, 3, 4, 5]
    assert alike.to == ["447700900100"] * 2 + ["447700900101"] * 2 + ["447700900102"] * 2
    assert alike.texts == ["0", "0", "1", "1", "2", "2"]
    assert alike.sources == [("ACME", 0, 0), ("SHOP", 0, 0)] * 3
    assert one_by_one(asked) == [submission(pdu, Account(1, "acme"), 0) for pdu in pdus]


def test_what_is_remembered_of_kinds_is_of_one_account_and_of_one_time() -> None:
    session = bound()
    firsts = Firsts()
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"validity_period": b"000000000100000R"},
        {"data_coding": 8, "short_message": b"\0A"},
    )
    said = {"source_addr": b"ACME", "destination_addr": b"447700900100", "short_message": b"@"}
    pdus = [SubmitSm(**{**said, **kind}) for kind in kinds * 3]
    for now_ms in range(0, 10_000, 2_500):
        for account in (
            Account(1, "acme"),
            Account(1, "acme", alphabet="latin1"),
            Account(2, "b", message_class=0),
        ):
            _, asked, _ = submissions(read_of(pdus, session), account, now_ms, 0x34, firsts)
            assert one_by_one(asked) == [submission(pdu, account, now_ms) for pdu in pdus]


def test_tlvs_that_all_have_are_relayed_with_each() -> None:
    pdus = [
        SubmitSm(
            source_addr=b"ACME",
            destination_addr=b"4477009001%02d" % n,
            short_message=b"%d" % n,
            tlvs=((0x1400, b"entity"), (0x1401, b"template")),
        )
        for n in range(3)
    ]
    _, asked, _ = submissions(read_of(pdus), Account(1, "acme"), 0)
    assert [type(one) for one in asked] == [Alike]
    assert one_by_one(asked) == [submission(pdu, Account(1, "acme"), 0) for pdu in pdus]
    assert one_by_one(asked)[2].relay == Relay(tlvs=((0x1400, b"entity"), (0x1401, b"template")))
