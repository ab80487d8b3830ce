"""TLVs by rule: when they fit, where their values come from, and on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.model import TlvRule
from gateway.carriers.tlvs import Tlvs
from router.nouns import Account, Login, Message, MessageClass
from smpp.pdu import SubmitSm
from tests.gateway.carriers.test_render import message
from tests.gateway.house import Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

ENTITY, TEMPLATE, HASH = 0x1400, 0x1401, 0x1402
SHOP = Account(id=1, name="shop", tlv_values={"dlt_entity": "1101"})
INDIA = "919876543210"


def added(rules: list[TlvRule], account: Account | None = SHOP, **fields: object) -> dict[int, bytes]:
    return dict(Tlvs(rules, lambda id: account).of(message(**fields)))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (TlvRule(tag=1, text="abc"), b"abc"),
        (TlvRule(tag=1, text="abc", terminated=True), b"abc\0"),
        (TlvRule(tag=1, hex="00ff"), b"\x00\xff"),
        (TlvRule(tag=1, number=0), b"\0"),
        (TlvRule(tag=1, number=255), b"\xff"),
        (TlvRule(tag=1, number=256), b"\1\0"),
        (TlvRule(tag=1, number=65_536), b"\0\1\0\0"),
        (TlvRule(tag=1, number=7, octets=2), b"\0\7"),
        (TlvRule(tag=1, from_tag="dlt_template"), b"1107:1"),
        (TlvRule(tag=1, from_tag="dlt_template", terminated=True), b"1107:1\0"),
        (TlvRule(tag=1, from_tag="dlt"), None),
        (TlvRule(tag=1, from_account="dlt_entity"), b"1101"),
        (TlvRule(tag=1, from_account="other"), None),
    ],
    ids=str,
)
def test_a_value_is_fixed_or_comes_from_a_tag_or_the_account(rule: TlvRule, value: bytes | None) -> None:
    found = added([rule], tags=("dlt_template:1107:1", "dlt"))
    assert found == ({1: value} if value is not None else {})


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (TlvRule(tag=1, text="x", country=("IN",)), True),
        (TlvRule(tag=1, text="x", country=("GB",)), False),
        (TlvRule(tag=1, text="x", prefix=("+91",)), True),
        (TlvRule(tag=1, text="x", prefix=("44",)), False),
        (TlvRule(tag=1, text="x", class_=("otp", "bulk")), True),
        (TlvRule(tag=1, text="x", class_=("promotional",)), False),
        (TlvRule(tag=1, text="x", account=("shop",)), True),
        (TlvRule(tag=1, text="x", account=("other",)), False),
        (TlvRule(tag=1, text="x", country=("IN",), account=("other",)), False),
    ],
    ids=str,
)
def test_a_rule_fits_when_all_that_it_names_does(rule: TlvRule, fits: bool) -> None:
    assert bool(added([rule], destination=INDIA, message_class=int(MessageClass.OTP))) is fits


def test_the_first_rule_of_a_tag_that_finds_a_value_decides() -> None:
    rules = [
        TlvRule(tag=ENTITY, from_tag="dlt_entity"),
        TlvRule(tag=ENTITY, from_account="dlt_entity"),
        TlvRule(tag=ENTITY, text="house"),
    ]
    assert added(rules, tags=("dlt_entity:own",)) == {ENTITY: b"own"}
    assert added(rules) == {ENTITY: b"1101"}
    assert added(rules, account=None) == {ENTITY: b"house"}


DLT = """
[[carriers.tlvs]]
tag = 0x1400
country = ["IN"]
from_account = "dlt_entity"
[[carriers.tlvs]]
tag = 0x1401
country = ["IN"]
from_tag = "dlt_template"
[[carriers.tlvs]]
tag = 0x1402
country = ["IN"]
hex = "ab12"
"""


def tlvs_of(pdu: SubmitSm) -> dict[int, bytes]:
    return {tag: value for tag, value in pdu.tlvs if tag in (ENTITY, TEMPLATE, HASH)}


@trio_test(mock_clock=True)
async def test_dlt_ids_are_in_every_part_to_india_and_in_none_elsewhere(tmp_path: Path) -> None:
    toml = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("one", 2790) + DLT + route("one")
    values, logins = {"dlt_entity": "1101"}, (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, toml, Script(), tlv_values=values, logins=logins) as (house, script):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        body = {"from": "ACME", "text": "x" * 200, "tags": ["dlt_template:1107"]}
        await house.http("POST", "/v1/messages", {"to": INDIA, **body})
        await house.until(lambda: len(script.submits) == 2)
        assert [tlvs_of(pdu) for pdu in script.submits] == [
            {ENTITY: b"1101", TEMPLATE: b"1107", HASH: b"\xab\x12"}
        ] * 2
        await house.http("POST", "/v1/messages", {"to": "447700900123", **body})
        await house.until(lambda: len(script.submits) == 4)
        assert [tlvs_of(pdu) for pdu in script.submits[2:]] == [{}, {}]
        async with bound(house.world) as esme:  # what a customer sends itself goes before the rules
            await esme.submit(to=INDIA, tlvs=((TEMPLATE, b"own\0"),))
            await house.until(lambda: len(script.submits) == 5)
            assert tlvs_of(script.submits[4]) == {TEMPLATE: b"own\0", ENTITY: b"1101", HASH: b"\xab\x12"}


def test_a_message_is_only_read() -> None:
    one = message(tags=("a:b",))
    before = Message(**{name: getattr(one, name) for name in one.__struct_fields__})
    Tlvs([TlvRule(tag=1, from_tag="a")], lambda id: None).of(one)
    assert one == before
