"""What carriers' receipts say beyond a state: when it happened, and which message they mean.

Deliberately not here: matching ids (tests/store, tests/router), MOs (tests/gateway/test_end_to_end.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.carriers import inbound
from gateway.carriers.inbound import Inbound
from gateway.http.timeline import rfc3339
from gateway.metrics import Counts
from router.causes import Causes
from router.correlate import FormLearner, reference_of
from router.nouns import Message, ReceiptIn, ReceiptsIn, Relay
from smpp import events, receipt
from smpp.codec import encode, with_header
from smpp.constants import Tlv
from smpp.pdu import BindReceiver, BindReceiverResp, DeliverSm, Pdu
from smpp.session import Role, Session, SessionSettings
from store.correlation import agrees, customer_reference
from store.records import UnknownHeld
from tests.gateway.house import START_MS, Running, Script, carrier, route, running_with
from tests.trio_case import trio_test

BERLIN_SUMMER = timezone(timedelta(hours=2))
HANDSET = "447700900123"
NOW_MS = START_MS // 60_000 * 60_000  # receipts' dates have whole minutes
HOUR_MS = 3_600_000
MESSAGE = (
    5 << 20,
    1,
    START_MS,
    "12345",
    3,
    0,
    HANDSET,
    0,
    "Hello",
    b"",
    1,
    1,
    1,
    1,
    0,
    START_MS + 1,
    1,
    "all",
)
TOML = carrier("odd", 2790, receipt_zone="Europe/Berlin") + route("odd")


def told(
    id: str, done_ms: int, sequence: int = 1, tlvs: tuple[tuple[int, bytes], ...] = (), text: str = ""
) -> DeliverSm:
    """A receipt of a carrier in Berlin: delivered."""
    return DeliverSm(
        source_addr=HANDSET.encode(),
        destination_addr=b"12345",
        esm_class=0x04,
        short_message=receipt.format(
            id, receipt.DELIVERED, submit_ms=done_ms, done_ms=done_ms, text=text, zone=BERLIN_SUMMER
        ),
        sequence_number=sequence,
        tlvs=tlvs,
    )


async def sent(house: Running, script: Script, text: str = "Hello") -> str:
    await house.bound()
    message_id = await house.submit(HANDSET, text)
    await house.when(message_id, "awaiting_receipt")
    return message_id


@trio_test(mock_clock=True)
async def test_a_done_date_is_read_in_the_carriers_time_zone_and_told(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script)
        await script.send(told("id1", NOW_MS))
        message = await house.final(message_id)
        assert message["done_at"] == rfc3339(NOW_MS)
        assert message["finished_at"] > message["done_at"]
        await house.until(lambda: house.customer.events)
        assert house.customer.of(message_id)[0]["done_at"] == rfc3339(NOW_MS)


@trio_test(mock_clock=True)
@pytest.mark.parametrize("wrong_by_ms", [HOUR_MS, -49 * HOUR_MS])
async def test_a_done_date_that_cannot_be_true_is_left_out(tmp_path: Path, wrong_by_ms: int) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script)
        await script.send(told("id1", NOW_MS + wrong_by_ms))
        message = await house.final(message_id)
        assert message["state"] == "DELIVERED"
        assert "done_at" not in message
        await house.until(lambda: house.customer.events)
        assert house.customer.of(message_id)[0]["done_at"] is None


@trio_test(mock_clock=True)
async def test_a_long_message_is_done_when_its_last_part_was(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        message_id = await sent(house, script, "A long message. " * 20)
        for number, minutes in enumerate((3, 9, 6), start=1):
            await script.send(told(f"id{number}", NOW_MS - minutes * 60_000, number))
        message = await house.final(message_id)
        assert message["done_at"] == rfc3339(NOW_MS - 3 * 60_000)


# our own reference


def mute(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
    return [b""] if pdu.command == "submit_sm" else []


@trio_test(mock_clock=True)
async def test_a_receipt_with_our_reference_claims_one_of_two_alike_with_unknown_outcome(
    tmp_path: Path,
) -> None:
    toml = carrier(
        "odd", 2790, response_timeout_s=1, user_message_reference=True, unknown={"transactional": "hold"}
    ) + route("odd")
    async with running_with(tmp_path, toml, Script(mute)) as (house, script):
        await house.bound()
        ids = [await house.submit(HANDSET) for _ in range(2)]
        for one in ids:
            await house.when(one, "unknown")
        references = [pdu.tlv(Tlv.USER_MESSAGE_REFERENCE) for pdu in script.submits]
        assert references == [reference_of(int(one)).to_bytes(2, "big") for one in ids]
        assert references[0] != references[1]
        reference = ((int(Tlv.USER_MESSAGE_REFERENCE), references[1] or b""),)
        await script.send(told("never-told", NOW_MS, tlvs=reference, text="Hello"))
        message = await house.final(ids[1])
        assert message["state"] == "DELIVERED"
        assert "claimed" in [step["step"] for step in message["timeline"]]
        assert (await house.message(ids[0]))["phase"] == "unknown"


def test_a_customers_own_reference_is_what_a_receipt_must_repeat() -> None:
    tlvs = ((int(Tlv.USER_MESSAGE_REFERENCE), b"\x12\x34"),)
    for relay, reference in ((Relay(tlvs=tlvs), 0x1234), (Relay(), reference_of(5 << 20))):
        message = Message(*MESSAGE, relay=relay)
        held = UnknownHeld("12345", START_MS, "", 1, customer_reference(message))
        came = ReceiptIn(
            1, 1, ("x",), (), HANDSET, "12345", 2, "", START_MS, 0, user_message_reference=reference
        )
        assert agrees(held, message.id, came, HOUR_MS)
        came.user_message_reference ^= 1
        assert not agrees(held, message.id, came, HOUR_MS)


@trio_test(mock_clock=True)
async def test_carriers_are_sent_no_reference_unless_they_want_it(tmp_path: Path) -> None:
    async with running_with(tmp_path, TOML, Script()) as (house, script):
        await sent(house, script)
        assert script.submits[0].tlvs == ()


# the short way of the usual receipts


class Read:
    """One read of a carrier's receipts, from its octets up to what would be committed of them."""

    class Upstream:
        name, id, group = "odd", 3, 4
        originals: ClassVar = {"778": "ACME"}
        zone = BERLIN_SUMMER
        causes = Causes(errors={"ABC": "spam"})

    def __init__(self, learned: str = "", *, together: bool = True) -> None:
        self.found: list[ReceiptIn] = []
        self.answers: list[bytes] = []
        self.refused = b""
        self.mos = 0
        self._together = together
        committer: Any = SimpleNamespace(add_receipts=self._add_receipts)
        world: Any = SimpleNamespace(wall_ms=lambda: NOW_MS)
        self._upstream: Any = self.Upstream
        self._inbound = Inbound(committer, world, cast(Any, None), Counts(), 1, lambda now_ms: 1)
        self._learner = self._inbound.learners[3] = FormLearner(learned)

    def take(self, pdus: Sequence[DeliverSm]) -> None:
        self.take_octets(b"".join(map(encode, pdus)))

    def take_octets(self, octets: bytes) -> int:
        """Returns how many of its requests the session told together."""
        session = Session(Role.ESME, SessionSettings(), 0.0, together=self._together)
        session.bind(BindReceiver(), 0.0)
        session.receive(encode(BindReceiverResp(sequence_number=1)), 0.0)
        session.data_to_send()
        happened = session.receive(octets, 0.0)
        self.refused = session.data_to_send()
        told: list[Any] = [one for one in happened if not isinstance(one, events.ProtocolViolation)]
        link: Any = SimpleNamespace(session=object())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._inbound, "_mo", self._mo)
            self._inbound.take(self._upstream, link, told)
        return sum(len(one.numbers) for one in told if isinstance(one, events.Receipts))

    def _add_receipts(self, found: Sequence[ReceiptIn | ReceiptsIn], done: Any) -> None:
        for one in found:
            self.found += map(one.one, range(len(one.ids))) if isinstance(one, ReceiptsIn) else [one]
        self.answers.extend(done.args[5])

    def _mo(self, *_: object) -> None:
        self.mos += 1

    def each_by_itself(self, pdus: Sequence[DeliverSm]) -> list[ReceiptIn | None]:
        return [inbound._receipt_in(self._upstream, self._learner, pdu, NOW_MS) for pdu in pdus]


RECEIPTED, STATE, ERROR = int(Tlv.RECEIPTED_MESSAGE_ID), int(Tlv.MESSAGE_STATE), int(Tlv.NETWORK_ERROR_CODE)
REFERENCE, PAYLOAD = int(Tlv.USER_MESSAGE_REFERENCE), int(Tlv.MESSAGE_PAYLOAD)
TLVS = [
    (STATE, b"\2"),
    (STATE, b"\5"),
    (STATE, b""),
    (ERROR, b"\3\0\x15"),
    (REFERENCE, b"\0\7"),
    (PAYLOAD, b"id:9"),
]
UUID = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
# of each field what is usual, and what is not
FIELDS: dict[str, tuple[list[Any], list[Any]]] = {
    "key": (["id:"], ["ID:", "stat:", " id:", "xx:"]),
    "id": (["7", "00a1B2", UUID], ["a b", "\xe4", "7\x85", "7\x1c", ""]),
    "date": (["2510090853", "251009085311"], ["201009085311", "2025-10-09", "0"]),
    "stat": (["DELIVRD", "UNDELIV"], ["ACCEPTD", "QUEUED", "delivrd"]),
    "err": (["000", "abc"], ["0_1", "-", "\xe4"]),
    "end": (
        [" text:", " text:Hi"],
        ["", " Text: \xe4 text:b\n", " text:\xa0x\0", " ", "\n", " x", " TEXT:Hi"],
    ),
    "named": (["", "{}\0"], ["{}", " {}\0", "8\0", "\0"]),
    "tag": ([RECEIPTED], [REFERENCE]),
    "tlvs": ([TLVS[:1]], [[one] for one in TLVS] + [TLVS, TLVS[::-1], [(RECEIPTED, b"9\0")]]),
    "source_addr": ([b"447700900123"], [b"+4477", b"004477", b"04477", b"", b"AB", b"-1"]),
    "destination_addr": ([b"12345", b"778"], [b"+778", b"ACME"]),
    "esm_class": ([0x04], [0x00, 0x08, 0x0C, 0x20, 0x44]),
    "data_coding": ([0], [8]),
}


@st.composite
def written(draw: st.DrawFn) -> list[DeliverSm]:
    """One that is usual but for at most two fields, beside the same one as most carriers write it."""
    odd = draw(st.sets(st.sampled_from(list(FIELDS)), max_size=2))
    field = {name: draw(st.sampled_from(choices[name in odd])) for name, choices in FIELDS.items()}
    twin = {**field, "key": "id:", "esm_class": 0x04, "tag": RECEIPTED}
    return draw(st.permutations([in_words(**twin), in_words(**field)]))


def in_words(
    key: str,
    id: str,
    date: str,
    stat: str,
    err: str,
    end: str,
    named: str,
    tag: int,
    tlvs: list[Any],
    **others: Any,
) -> DeliverSm:
    text = f"{key}{id} sub:001 dlvrd:001 submit date:{date} done date:{date} stat:{stat} err:{err}{end}"
    receipted = (tag, named.format(id).encode("latin-1"))
    return DeliverSm(short_message=text.encode("latin-1"), tlvs=[receipted, *tlvs] if named else [], **others)


def assert_same(pdus: list[DeliverSm], learned: str) -> None:
    read = Read(learned)
    read.take(pdus)
    expected = read.each_by_itself(pdus)
    assert read.found == [receipt for receipt in expected if receipt is not None]
    assert read.mos == expected.count(None)


@given(st.lists(written(), min_size=1, max_size=4), st.sampled_from(["", "3:lower", "3:hex>dec"]))
def test_the_receipts_of_one_read_say_what_each_says_by_itself(
    drawn: list[list[DeliverSm]], learned: str
) -> None:
    assert_same([pdu for pair in drawn for pdu in pair] * 2, learned)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("named", FIELDS["named"][0])
def test_a_receipt_beside_a_usual_one_says_what_it_says_by_itself(name: str, named: str) -> None:
    usual = {**{one: choices[0][0] for one, choices in FIELDS.items()}, "named": named}
    for value in [*FIELDS[name][0], *FIELDS[name][1]]:
        twin, odd = in_words(**usual), in_words(**{**usual, name: value})
        assert_same([twin, odd], "3:lower")
        assert_same([odd, twin, odd], "")


def test_what_usual_receipts_have_in_common_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Mock(wraps=receipt.parse)
    monkeypatch.setattr(receipt, "parse", parse)
    usual = [
        told(f"id{n}", NOW_MS, n, text=f"Hello {n}", tlvs=tlvs)
        for n in range(5)
        for tlvs in ((), ((RECEIPTED, b"id%d\0" % n), (STATE, b"\2")))
    ]
    read = Read()
    read.take(usual)
    assert [one.ids for one in read.found] == [(f"id{n // 2}",) for n in range(10)]
    assert [one.text for one in read.found] == [f"Hello {n // 2}" for n in range(10)]
    assert parse.call_count == 2


USUAL = [
    told(id, NOW_MS, n, text=text, tlvs=tlvs)
    for n, (id, text) in enumerate([("7", ""), ("00a1B2", "Hello"), (UUID, "id:8 text:x")])
    for named in [(RECEIPTED, id.encode() + b"\0")]
    for tlvs in [(), (named,), (named, (STATE, b"\2")), (named, (STATE, b"\5"), (ERROR, b"\3\0\x15"))]
]


def test_the_usual_receipts_are_told_together_and_in_order() -> None:
    mo = encode(DeliverSm(source_addr=b"1", destination_addr=b"2", short_message=b"Hi"))
    octets = b"".join(map(encode, USUAL))
    read = Read()
    assert read.take_octets(octets + mo + octets) == 2 * len(USUAL)
    assert [one.ids for one in read.found] == [(receipt.parse(pdu.short_message).id,) for pdu in USUAL] * 2  # type: ignore[union-attr]
    assert (read.mos, len(read.answers)) == (1, 2 * len(USUAL))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_octets_that_differ_from_a_usual_receipt_s_are_read_as_in_the_general_way(
    data: st.DataObject,
) -> None:
    usual = encode(data.draw(st.sampled_from(USUAL)))
    octets = [usual]
    for _ in range(4):
        other = bytearray(usual)
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(16, len(usual) - 1))
            other[at] = data.draw(st.sampled_from([*b"\0\1\2\5 :019AUaz", 0xE4, other[at] ^ 1]))
        octets.append(bytes(other))
    together, one_by_one = Read(), Read(together=False)
    together.take_octets(b"".join(octets))
    one_by_one.take_octets(b"".join(octets))
    assert together.found == one_by_one.found
    assert (together.refused, together.mos) == (one_by_one.refused, one_by_one.mos)


def test_a_wording_that_ends_before_a_text_is_not_taken_for_one_that_runs_on() -> None:
    begin = b"id:7 sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 stat:DELIVRD err:"
    octets = [
        encode(DeliverSm(source_addr=b"1", destination_addr=b"12345", esm_class=4, short_message=begin + end))
        for end in (b"000123456", b"000 text:hey", b"000123456hey")  # of two lengths, words as long
    ]
    together, one_by_one = Read(), Read(together=False)
    for read in (together, one_by_one):
        read.take_octets(b"".join(octets))
    assert [(one.error, one.text) for one in together.found] == [
        ("000123456", ""), ("000", "hey"), ("000123456hey", ""),
    ]  # fmt: skip
    assert together.found == one_by_one.found


def test_what_a_carrier_means_by_a_wording_follows_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Read()
    read.take(USUAL[:1])
    monkeypatch.setattr(Read.Upstream, "zone", UTC)
    monkeypatch.setattr(Read.Upstream, "originals", {"12345": "ACME"})
    read.take(USUAL[:1])
    assert [one.done_ms - NOW_MS for one in read.found] == [0, 2 * HOUR_MS]
    assert [one.sender for one in read.found] == ["12345", "ACME"]


def test_what_is_kept_of_wordings_and_layouts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "_MOST_WORDINGS", 2)
    monkeypatch.setattr(receipt, "_MOST_LAYOUTS", 2)
    monkeypatch.setattr(inbound, "_MOST_WORDINGS", 2)
    pdus = [told("7" * (1 + n % 5), NOW_MS - n * 60_000, n, text="x" * (n % 3)) for n in range(40)]
    usual = receipt.UsualReceipts()
    for octets in map(encode, pdus):
        assert usual.find(octets, 16, len(octets)) is not None
    assert (len(usual._wordings), len(usual._layouts)) == (2, 2)
    read = Read()
    for pdu in pdus:
        read.take([pdu])
    assert len(read._inbound._meanings[3]) <= 3
    assert read.found == read.each_by_itself(pdus)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_receipt_is_read_or_refused_as_in_the_general_way(data: st.DataObject) -> None:
    octets = b"".join(map(encode, USUAL)) if data.draw(st.booleans()) else b""  # what others are laid out as
    for number in range(3):
        body = bytearray(encode(data.draw(st.sampled_from(USUAL)))[16:])
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(body) - 1))
            end = data.draw(st.sampled_from([at, at + 1, at + 1, at + 1, at + 2, len(body)]))
            body[at:end] = data.draw(st.sampled_from([b"", b"\0", b"\1", b"\x0d", b" ", b"t", b"\xe4"]))
            body = body or bytearray(b"\0")
        octets += with_header(0x00000005, 0, number, bytes(body))
    together, one_by_one = Read(), Read(together=False)
    together.take_octets(octets)
    assert one_by_one.take_octets(octets) == 0
    assert together.found == one_by_one.found
    assert together.answers == one_by_one.answers
    assert (together.refused, together.mos) == (one_by_one.refused, one_by_one.mos)
