"""What a customer's PDU says that no carrier's PDU could: refused at once, never carried."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import CarrierConfig
from gateway.carriers.render import Renderer
from gateway.door import Submission
from gateway.smpp_server import translate
from gateway.smpp_server.translate import submission
from router.nouns import Account, Message
from smpp.constants import Tlv
from smpp.pdu import SubmitSm
from smpp.segment import Concat, concat_element, sar_tlvs
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


# the short way of the commonest submit_sm


@given(
    source=st.sampled_from([(b"ACME", 5, 0), (b"+447700900000", 1, 1), (b"x" * 21, 0, 0)]),
    to=st.sampled_from([(b"447700900123", 1, 1), (b"0777", 0, 0), (b"", 1, 1)]),
    text=st.one_of(st.binary(max_size=20), st.just(b"Hello \x1be"), st.just(b"x" * 160), st.just(b"x" * 161)),
    registered=st.integers(0, 31),
    esm_class=st.sampled_from([0, 0x40, 0x03]),
    data_coding=st.sampled_from([0, 3, 8]),
    priority=st.sampled_from([0, 1, 9]),
    service_type=st.sampled_from([b"", b"CMT"]),
    validity=st.sampled_from([b"", b"000001000000000R"]),
    tlvs=st.sampled_from([(), ((0x0204, b"\0\1"),)]),
    alphabet=st.sampled_from(["gsm7", "latin1"]),
    version=st.sampled_from([0x33, 0x34, 0x50]),
)
def test_both_ways_ask_the_same_of_the_door(
    source: tuple[bytes, int, int],
    to: tuple[bytes, int, int],
    text: bytes,
    registered: int,
    esm_class: int,
    data_coding: int,
    priority: int,
    service_type: bytes,
    validity: bytes,
    tlvs: tuple[tuple[int, bytes], ...],
    alphabet: str,
    version: int,
) -> None:
    pdu = SubmitSm(
        service_type, source[1], source[2], source[0], to[1], to[2], to[0], esm_class, 0, priority, b"",
        validity, registered, 0, data_coding, 0, text, tlvs=tlvs,
    )  # fmt: skip
    account = Account(1, "acme", alphabet=alphabet)
    asked = submission(pdu, account, 0, version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "_is_plain", lambda pdu: False)
        assert submission(pdu, account, 0, version) == asked
