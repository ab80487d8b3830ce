"""What a customer's PDU says that no carrier's PDU could: refused at once, never carried."""

from __future__ import annotations

from typing import Any

import pytest

from config.model import CarrierConfig
from gateway.carriers.render import Renderer
from gateway.door import Submission
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
