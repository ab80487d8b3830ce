"""The short way of writing a submit_sm says the same, octet for octet, as the long one."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.model import CarrierConfig, SenderRule, TlvRule
from gateway.carriers.render import Renderer
from gateway.carriers.senders import SenderRefused
from router.correlate import reference_of
from router.nouns import Encoding, Message, Relay, Via
from smpp import codec, segment
from smpp.alphabet import GSM7, LATIN1, UCS2
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
    {"alphabet": "ascii"},
    {"national_shift": "both", "smart_encoding": True},
    {"senders": (SenderRule(prefix=("4",), use="12345"), SenderRule(prefix=("5",), refuse=True))},
    {"tlvs": (TlvRule(tag=0x1400, text="1"), TlvRule(tag=0x1401, from_tag="a", prefix=("4",)))},
    {"validity_form": "absolute", "validity_zone": "Europe/Berlin"},
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


KINDS: list[dict[str, object]] = [
    {},
    {"source": "447700900000", "source_ton": 1},
    {"encoding": int(Encoding.UCS2), "text": "Привет"},
    {"encoding": int(Encoding.LATIN1)},
    {"via": int(Via.HTTP), "priority": 3},
    {"receipt": 0, "expires_ms": NOW_MS + 60_000},
    {"text": "y" * 161},
    {"source": "5551", "destination": "5551000000"},
]


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
@given(st.lists(st.sampled_from(KINDS), max_size=8))
def test_messages_in_a_row_are_written_as_each_by_itself(
    carrier: dict[str, object], kinds: list[dict[str, object]]
) -> None:
    messages = [message(**fields) for fields in kinds]
    alone = [Renderer(settings(**carrier)).plain(one, NOW_MS) for one in messages]
    written = list(takewhile(lambda body: body is not None, alone))
    assert Renderer(settings(**carrier)).plain_ones(messages, NOW_MS) == written


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
def test_an_ordinary_message_takes_the_short_way(carrier: dict[str, object]) -> None:
    assert Renderer(settings(**carrier)).plain(message(), NOW_MS) is not None


def test_what_a_carrier_must_not_have_or_needs_several_segments_for_takes_the_long_way() -> None:
    refusing = Renderer(settings(senders=(SenderRule(refuse=True),)))
    assert refusing.plain(message(), NOW_MS) is None
    with pytest.raises(SenderRefused):
        refusing.bodies(message(), False, NOW_MS)
    assert Renderer(settings(alphabet="ascii")).plain(message(text="é" * 100), NOW_MS) is None


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


# cheaper ways

TURKISH = "Sayın müşterimiz, şifreniz: 1234. Güvenliğiniz için kimseyle paylaşmayınız."
PORTUGUESE = "Olá “você”: não está só, a ação já começou. Até amanhã de manhã, às nove horas!"


def sent(text: str, carrier: dict[str, object], **fields: object) -> tuple[list[SubmitSm], str]:
    """The PDUs, and the text that a handset reads."""
    renderer = Renderer(settings(**carrier))
    one = message(text=text, encoding=int(Encoding.UCS2), segments=segment.count(text, UCS2), **fields)
    pdus = [submit_of(body) for body in renderer.bodies(one, False, NOW_MS)]
    assert len(pdus) == renderer.parts(one.encoding, one.segments, text)
    default, packed = {"gsm7": (GSM7, False), "gsm7-packed": (GSM7, True)}.get(
        str(carrier.get("alphabet", "gsm7")), (LATIN1, False)
    )
    read = [
        segment.parse_user_data(
            pdu.short_message, pdu.esm_class, pdu.data_coding, pdu.tlvs, default, packed=packed
        )
        for pdu in pdus
    ]
    return pdus, "".join(segment.join([each.body], each.encoding) for each in read)


@pytest.mark.parametrize(
    ("carrier", "segments", "header"),
    [
        ({}, 2, "0500"),
        ({"national_shift": "single"}, 1, "03240101"),
        ({"national_shift": "locking"}, 1, "03250101"),
        ({"national_shift": "both"}, 1, "03250101"),
        ({"national_shift": "both", "national_languages": ("spanish", "portuguese")}, 2, "0500"),
        ({"national_shift": "single", "alphabet": "gsm7-packed"}, 1, "03240101"),
    ],
    ids=str,
)
def test_a_text_goes_under_a_national_table_that_saves_a_segment(
    carrier: dict[str, object], segments: int, header: str
) -> None:
    pdus, read = sent(TURKISH, carrier)
    assert (len(pdus), read) == (segments, TURKISH)
    assert pdus[0].short_message.hex().startswith(header)
    assert {pdu.esm_class for pdu in pdus} == {0x40}
    assert {pdu.data_coding for pdu in pdus} == ({8} if segments == 2 else {0})


@pytest.mark.parametrize(
    ("method", "first"),
    [("udh8", b"x" * 153), ("udh16", b"x" * 152), ("sar", b"x" * 153), ("payload", b"")],
)
def test_a_long_message_is_cut_in_the_carriers_own_way(method: str, first: bytes) -> None:
    renderer = Renderer(settings(long_messages=method))
    one = message(id=0x615A, text="x" * 200, segments=2)
    pdus = [submit_of(body) for body in renderer.bodies(one, False, NOW_MS)]
    reference = reference_of(one.id)
    headers = {
        "udh8": [bytes((5, 0, 3, reference & 255, 2, at)) for at in (1, 2)],
        "udh16": [bytes((6, 8, 4, reference >> 8, reference & 255, 2, at)) for at in (1, 2)],
        "sar": [b"", b""],
        "payload": [b""],
    }[method]
    assert len(pdus) == len(headers) == renderer.parts(one.encoding, 2, one.text)
    assert pdus[0].short_message == headers[0] + first
    assert all(pdu.short_message.startswith(header) for pdu, header in zip(pdus, headers, strict=True))
    assert [pdu.esm_class for pdu in pdus] == [0x40 if header else 0 for header in headers]
    tlvs = [dict(pdu.tlvs) for pdu in pdus]
    if method == "sar":
        ref = reference.to_bytes(2, "big")
        assert tlvs == [{0x020C: ref, 0x020E: b"\2", 0x020F: bytes((at,))} for at in (1, 2)]
    elif method == "payload":
        assert tlvs == [{0x0424: b"x" * 200}]
    else:
        assert tlvs == [{}, {}]


@pytest.mark.parametrize("method", ["udh8", "udh16", "sar"])
@pytest.mark.parametrize("alphabet", ["gsm7", "gsm7-packed"])
def test_every_part_of_a_long_text_names_its_national_table(method: str, alphabet: str) -> None:
    carrier: dict[str, object] = {
        "national_shift": "locking",
        "long_messages": method,
        "alphabet": alphabet,
    }
    pdus, read = sent(TURKISH * 3, carrier)
    assert (len(pdus), read) == (2, TURKISH * 3)
    assert all(b"\x25\x01\x01" in pdu.short_message[:13] for pdu in pdus)


def test_a_national_table_that_saves_nothing_is_not_used() -> None:
    pdus, read = sent("şifre 1234", {"national_shift": "both"})
    assert (pdus[0].data_coding, read) == (8, "şifre 1234")


def test_a_class_is_kept_under_a_national_table() -> None:
    pdus, _ = sent(TURKISH, {"national_shift": "single"}, relay=Relay(data_coding=0x18))
    assert [pdu.data_coding for pdu in pdus] == [0x10]


@pytest.mark.parametrize(
    ("carrier", "segments", "read"),
    [
        ({}, 2, PORTUGUESE),
        ({"national_shift": "both"}, 2, PORTUGUESE),
        ({"smart_encoding": True}, 1, "a acao ja comecou"),
        ({"smart_encoding": True, "national_shift": "both"}, 1, '"você": não está só, a ação já começou'),
        ({"smart_encoding": True, "alphabet": "ascii"}, 1, "a acao ja comecou. Ate amanha de manha, as nove"),
        (
            {"smart_encoding": True, "alphabet": "latin1"},
            1,
            "a acao ja comecou. Até amanha de manha, às nove",
        ),
    ],
    ids=str,
)
def test_likenesses_are_used_where_the_carrier_allows_them_and_as_few_as_possible(
    carrier: dict[str, object], segments: int, read: str
) -> None:
    pdus, text = sent(PORTUGUESE, carrier)
    assert len(pdus) == segments
    assert read in text


def test_a_text_that_a_carriers_own_alphabet_lacks_may_have_likenesses_too() -> None:
    renderer = Renderer(settings(alphabet="ascii", smart_encoding=True))
    one = message(text="é" * 100)
    assert renderer.parts(one.encoding, 1, one.text) == 1
    (body,) = renderer.bodies(one, False, NOW_MS)
    assert submit_of(body).short_message == b"e" * 100


def test_the_time_that_is_left_is_written_as_the_carrier_wants_it() -> None:
    def validity(**carrier: object) -> bytes:
        body = Renderer(settings(**carrier)).plain(message(), NOW_MS)
        assert body is not None
        return submit_of(body).validity_period

    assert validity() == b"000000010000000R"
    assert validity(send_validity=False) == b""
    assert validity(validity_form="absolute") == b"260921151320000+"
    assert validity(validity_form="absolute", validity_zone="Asia/Kolkata") == b"260921204320022+"
    assert validity(validity_form="absolute", validity_zone="America/New_York") == b"260921111320016-"
    assert validity(validity_form="absolute", send_validity=False) == b""


def test_what_cannot_be_written_is_refused_by_the_long_way() -> None:
    with pytest.raises(EncodeError):
        Renderer(settings()).bodies(message(destination="4" * 21), False, NOW_MS)


def test_a_carrier_is_told_the_validity_and_not_how_long_the_message_may_queue() -> None:
    late = message(expires_ms=NOW_MS + 60_000, valid_until_ms=NOW_MS + 7_200_000)
    renderer = Renderer(settings())
    plain = renderer.plain(late, NOW_MS)
    assert plain is not None
    for body in (plain, *renderer.bodies(late, False, NOW_MS)):
        assert submit_of(body).validity_period == b"000000020000000R"
