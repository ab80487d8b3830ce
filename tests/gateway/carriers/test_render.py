"""The short way of writing a submit_sm says the same, octet for octet, as the long one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import CarrierConfig
from gateway.carriers.render import Renderer
from router.nouns import Encoding, Message, Relay, Via
from smpp import codec
from smpp.errors import EncodeError
from smpp.pdu import SubmitSm

NOW_MS = 1_790_000_000_000


def settings(**fields: object) -> CarrierConfig:
    fields = {"name": "a", "host": "192.0.2.1", "system_id": "u", "password": "p", **fields}
    return CarrierConfig(**fields)  # type: ignore[arg-type]


def message(**fields: object) -> Message:
    made = Message(
        1876951040000000002, 1, NOW_MS, "ACME", 5, 0, "447700900123", Encoding.GSM7, "hello", b"", 1, 1, 2, 1,
        0, NOW_MS + 3_600_000, 1, "r", via=Via.SMPP,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def submit_of(body: bytes) -> SubmitSm:
    pdu = codec.decode(codec.submit_sm_bytes(1, body))
    assert isinstance(pdu, SubmitSm)
    return pdu


CARRIERS = [
    {},
    {"alphabet": "latin1"},
    {"alphabet": "gsm7-packed"},
    {"long_messages": "payload"},
    {"long_messages": "sar", "send_validity": False},
    {"number_format": "+", "service_type": "CMT", "source_ton": 1, "source_npi": 1},
    {"number_format": "national", "national_prefix": "44", "data_coding": 0xF1},
    {"user_message_reference": True},
    {"user_message_reference": True, "interface_version": "3.3"},
]


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
def test_plain_messages_are_written_as_the_long_way_writes_them(carrier: dict[str, object]) -> None:
    renderer = Renderer(settings(**carrier))

    @given(
        source=st.sampled_from(["ACME", "447700900000", "é"]),
        to=st.from_regex(r"[1-9][0-9]{6,19}", fullmatch=True),
        text=st.one_of(st.text(max_size=75), st.text("abc {}€@é", max_size=90)),
        encoding=st.sampled_from([Encoding.GSM7, Encoding.UCS2, Encoding.LATIN1]),
        receipt=st.integers(0, 7),
        priority=st.integers(0, 3),
        via=st.sampled_from(list(Via)),
        left_ms=st.integers(-5_000, 400_000_000),
    )
    def same(
        source: str,
        to: str,
        text: str,
        encoding: int,
        receipt: int,
        priority: int,
        via: int,
        left_ms: int,
    ) -> None:
        one = message(
            source=source, destination=to, text=text, encoding=int(encoding), receipt=receipt,
            priority=priority, via=int(via), expires_ms=NOW_MS + left_ms,
        )  # fmt: skip
        short = renderer.plain(one, NOW_MS)
        if short is not None:
            assert [short] == renderer.bodies(one, False, NOW_MS)

    same()


def test_an_ordinary_message_takes_the_short_way() -> None:
    assert Renderer(settings()).plain(message(), NOW_MS) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"segments": 2},
        {"relay": Relay(protocol_id=1)},
        {"udh": b"\x03\x25\x01\x00"},
        {"encoding": int(Encoding.BINARY), "data": b"\0"},
        {"text": "x" * 161},
        {"text": "ł"},
        {"source": "a\0b"},
        {"destination": "4" * 21},
    ],
    ids=str,
)
def test_anything_special_takes_the_long_way(fields: dict[str, object]) -> None:
    assert Renderer(settings()).plain(message(**fields), NOW_MS) is None


@pytest.mark.parametrize(
    ("kept", "sent"), [(0xF0, 0x18), (0xF1, 0x19), (0x12, 0x1A), (0x01, 0x08), (0x04, 0x08), (-1, 0x08)]
)
def test_a_text_that_becomes_ucs2_keeps_its_class_and_not_its_alphabet(kept: int, sent: int) -> None:
    renderer = Renderer(settings(alphabet="latin1"))
    (body,) = renderer.bodies(message(text="€", relay=Relay(data_coding=kept)), False, NOW_MS)
    assert submit_of(body).data_coding == sent


def test_what_cannot_be_written_is_refused_by_the_long_way() -> None:
    with pytest.raises(EncodeError):
        Renderer(settings()).bodies(message(destination="4" * 21), False, NOW_MS)
