"""MOs to customers: whose they are, and that a bound customer gets all that the carrier's PDU said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.smpp_server.deliver import bodies
from router.nouns import Account, Encoding, Event, EventKind, Login, Relay
from smpp import codec
from smpp.constants import CommandId, Tlv
from smpp.pdu import AlertNotification, DataSm, DeliverSm, DeliverSmResp, Pdu, Unbind
from smpp.segment import Concat, concat_element, reassemble, sar_tlvs, split_header
from smpp.status import Status
from smpp.tlv import read_int
from store.interface import MoPart
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import Esme, bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
TOML = SMPP + carrier("north", 2790) + route("north")
HANDSET = "447700900123"
OWN = "12345"  # acme's
REFERENCE = int(Tlv.USER_MESSAGE_REFERENCE)


@asynccontextmanager
async def house(directory: Path, toml: str = TOML, **account: Any) -> AsyncIterator[tuple[Running, Script]]:
    """A gateway with two accounts that may bind: "acme", which owns 12345, and "other"."""
    settings = {"logins": (Login("acme", (hashed("secret"),)),), "callback_url": "", **account}
    async with running_with(directory, toml, Script(), **settings) as (gateway, script):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.gateway.accounts.create(
            "other", gateway.world.wall_ms(), logins=(Login("other", (hashed("secret"),)),)
        )
        await gateway.bound()
        yield gateway, script


def mo(text: bytes = b"Hello", to: str = OWN, sequence: int = 1, **fields: Any) -> DeliverSm:
    chosen: dict[str, Any] = {
        "source_addr_ton": 1,
        "source_addr_npi": 1,
        "source_addr": HANDSET.encode(),
        "destination_addr": to.encode(),
        "short_message": text,
        "sequence_number": sequence,
    }
    return DeliverSm(**{**chosen, **fields})


async def told(esme: Esme, count: int = 1) -> list[Any]:
    await esme.until(lambda: len(esme.delivered) >= count)
    return esme.delivered


async def kept(gateway: Running, script: Script, pdu: Pdu) -> None:
    """Send it and wait until the gateway has answered it."""
    before = len(script.pdus)
    await script.send(pdu)
    await gateway.until(lambda: any(one.command.endswith("_resp") for one in script.pdus[before:]))


# whose it is


@trio_test(mock_clock=True)
async def test_a_keyword_on_a_shared_number_goes_to_its_account_and_the_rest_to_the_owner(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as (gateway, script):
        await gateway.gateway.accounts.update("other", keywords=(f"{OWN} WIN",))
        async with bound(gateway.world) as acme, bound(gateway.world, system_id="other") as other:
            for number, text in enumerate((b" win a car", b"WINDOWS", b"Hello", b"Win!"), start=1):
                await script.send(mo(text, sequence=number))
            assert [pdu.short_message for pdu in await told(other, 2)] == [b" win a car", b"Win!"]
            assert [pdu.short_message for pdu in await told(acme, 2)] == [b"WINDOWS", b"Hello"]


@trio_test(mock_clock=True)
async def test_a_keyword_counts_in_a_long_message_too(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script):
        await gateway.gateway.accounts.update("other", keywords=(f"{OWN} WIN",))
        async with bound(gateway.world, system_id="other") as other:
            for pdu in reversed(udh_parts(b"win " + b"x" * 300)):
                await script.send(pdu)
            assert text_of(await told(other, 2)) == "win " + "x" * 300


@trio_test(mock_clock=True)
async def test_a_number_of_nobody_goes_to_whom_it_answers_then_to_the_fallback_then_is_kept(
    tmp_path: Path,
) -> None:
    toml = SMPP + '[inbound]\nfallback_account = "other"\n' + carrier("north", 2790) + route("north")
    async with (
        house(tmp_path, toml) as (gateway, script),
        bound(gateway.world) as acme,
        bound(gateway.world, system_id="other") as other,
    ):
        id = await acme.submit(HANDSET, source_addr=b"67890", source_addr_ton=3)
        await gateway.when(id, "awaiting_receipt")
        await script.send(mo(b"an answer", to="67890"))
        assert (await told(acme))[0].short_message == b"an answer"
        await script.send(mo(b"to nobody", to="99999"))
        assert (await told(other))[0].short_message == b"to nobody"
        await gateway.gateway.accounts.close("other")
        await kept(gateway, script, mo(b"nobody is left", to="99999"))
        (unowned,) = gateway.gateway.store.inbox(0)
        assert (unowned.text, unowned.destination) == ("nobody is left", "99999")


# what it says


@trio_test(mock_clock=True)
async def test_all_that_a_carriers_pdu_says_beyond_its_text_reaches_the_session(tmp_path: Path) -> None:
    tlvs = ((0x1400, b"vendor"), (REFERENCE, b"\x12\x34"), (0x1400, b"again"), (0x020A, b"\x00\x50"))
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(
            mo(
                b"Hello",
                service_type=b"CMT",
                source_addr_ton=2,
                source_addr_npi=8,
                dest_addr_ton=3,
                dest_addr_npi=9,
                esm_class=0x80,
                protocol_id=0x41,
                priority_flag=2,
                registered_delivery=0x0C,
                data_coding=0xF1,
                tlvs=tlvs,
            )
        )
        (pdu,) = await told(esme)
        assert (pdu.service_type, pdu.protocol_id, pdu.priority_flag) == (b"CMT", 0x41, 2)
        assert (pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr) == (2, 8, HANDSET.encode())
        assert (pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr) == (3, 9, OWN.encode())
        assert (pdu.esm_class, pdu.registered_delivery, pdu.data_coding) == (0x80, 0x0C, 0xF1)
        assert (pdu.short_message, tuple(pdu.tlvs)) == (b"Hello", tlvs)


@trio_test(mock_clock=True)
async def test_a_number_written_with_a_plus_comes_as_an_international_one(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(
            mo(source_addr=b"+" + HANDSET.encode(), source_addr_ton=0, source_addr_npi=0, dest_addr_ton=6)
        )
        (pdu,) = await told(esme)
        assert (pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr) == (1, 1, HANDSET.encode())
        assert (pdu.dest_addr_ton, pdu.dest_addr_npi) == (6, 0)


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("data_coding", "octets"),
    [
        (0, b"Hello \x00 \x1b\x65"),
        (1, b"ascii"),
        (3, "Grüße".encode("latin-1")),
        (4, bytes(range(140))),
        (5, "日本".encode("shift-jis")),
        (8, "Grüße 😀".encode("utf-16-be")),
        (0xF5, b"\x00\xff class 1"),
        (0x10, b"flash \x00"),
    ],
)
async def test_content_in_any_coding_reaches_the_session_octet_for_octet(
    tmp_path: Path, data_coding: int, octets: bytes
) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(mo(octets, data_coding=data_coding))
        (pdu,) = await told(esme)
        assert (pdu.data_coding, pdu.short_message) == (data_coding, octets)


@trio_test(mock_clock=True)
async def test_latin_1_under_data_coding_0_comes_as_what_it_is(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(mo("fête".encode("latin-1")))
        (pdu,) = await told(esme)
        assert (pdu.data_coding, pdu.short_message) == (3, "fête".encode("latin-1"))


@trio_test(mock_clock=True)
async def test_an_account_whose_data_coding_0_is_latin_1_gets_it_so(tmp_path: Path) -> None:
    async with house(tmp_path, alphabet="latin1") as (gateway, script), bound(gateway.world) as esme:
        await script.send(mo(b"\x05\x06"))
        await script.send(mo(b"\x05\x06", data_coding=0x10, sequence=2))
        first, second = await told(esme, 2)
        assert (first.data_coding, first.short_message) == (0, "éù".encode("latin-1"))
        assert (second.data_coding, second.short_message) == (0x10, b"\x05\x06")  # GSM, says its data_coding


@trio_test(mock_clock=True)
async def test_a_header_of_the_handsets_own_is_kept_and_its_concatenation_is_written_anew(
    tmp_path: Path,
) -> None:
    port = bytes.fromhex("05040b8423f0")
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(mo(b"\x06" + port + b"push", esm_class=0x40, data_coding=4))
        (alone,) = await told(esme)
        assert (alone.esm_class, alone.short_message) == (0x40, b"\x06" + port + b"push")
        content = bytes(range(256))
        for index in (2, 1):
            element = concat_element(Concat(0x1234, 2, index), wide=True)
            header = bytes((len(port) + len(element),)) + element + port
            half = content[(index - 1) * 128 : index * 128]
            await script.send(mo(header + half, esm_class=0x40, data_coding=4, sequence=10 + index))
        parts = (await told(esme, 3))[1:]
        for pdu in parts:
            assert (pdu.esm_class, pdu.data_coding, pdu.short_message[1:7]) == (0x40, 4, port)
        assert b"".join(split_header(pdu.short_message, 0x40)[1] for pdu in parts) == content


@trio_test(mock_clock=True)
async def test_a_text_under_a_national_table_comes_in_ucs_2_without_that_tables_header(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await script.send(mo(bytes.fromhex("03240101") + b"\x1b\x63", esm_class=0x40))  # Turkish: ç
        (pdu,) = await told(esme)
        assert (pdu.esm_class, pdu.data_coding, pdu.short_message) == (0, 8, "ç".encode("utf-16-be"))


@trio_test(mock_clock=True)
async def test_a_data_sm_of_a_carrier_and_a_data_sm_for_a_customer_say_the_same(tmp_path: Path) -> None:
    async with house(tmp_path, deliver_with="data_sm") as (gateway, script), bound(gateway.world) as esme:
        await script.send(
            DataSm(
                service_type=b"VMN",
                source_addr_ton=1,
                source_addr_npi=1,
                source_addr=HANDSET.encode(),
                dest_addr_ton=3,
                destination_addr=OWN.encode(),
                registered_delivery=0x04,
                data_coding=8,
                tlvs=((0x1401, b"v"), (Tlv.MESSAGE_PAYLOAD, "ja ✓".encode("utf-16-be"))),
                sequence_number=5,
            )
        )
        (pdu,) = await told(esme)
        assert isinstance(pdu, DataSm)
        assert (pdu.service_type, pdu.data_coding, pdu.registered_delivery) == (b"VMN", 8, 0x04)
        assert (pdu.dest_addr_ton, pdu.tlv(0x1401)) == (3, b"v")
        assert pdu.tlv(Tlv.MESSAGE_PAYLOAD) == "ja ✓".encode("utf-16-be")


# acknowledgements


def has_gone(gateway: Running, account: int, id: str) -> bool:
    """Whether a carrier has this message."""
    found = gateway.gateway.store.find(account, int(id))
    return found is not None and bool(found[1].parts)


@trio_test(mock_clock=True)
@pytest.mark.parametrize("esm_class", [0x08, 0x10, 0x18])
async def test_an_smes_acknowledgement_reaches_who_asked_for_it_whoever_has_the_number(
    tmp_path: Path, esm_class: int
) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world, system_id="other") as other:
        shared: dict[str, Any] = {
            "source_addr": OWN.encode(),
            "source_addr_ton": 3,
            "registered_delivery": 0x0C,
        }
        first = await other.submit(HANDSET, tlvs=((REFERENCE, b"\x00\x07"),), **shared)
        async with bound(gateway.world) as acme:
            later = await acme.submit(HANDSET, **shared)
            await gateway.until(partial(has_gone, gateway, 2, first))
            await gateway.until(partial(has_gone, gateway, 1, later))
            assert [pdu.registered_delivery for pdu in script.submits] == [0x0C, 0x0C]
            tlvs = ((REFERENCE, b"\x00\x07"), (Tlv.RECEIPTED_MESSAGE_ID, b"id1\0"))
            await script.send(mo(b"", esm_class=esm_class, tlvs=tlvs))
            (pdu,) = await told(other)
            assert (pdu.esm_class, tuple(pdu.tlvs)) == (esm_class, tlvs)
            assert not acme.delivered
        (kept_one,) = gateway.gateway.store.inbox(2)
        assert kept_one.in_reply_to == int(first)


@trio_test(mock_clock=True)
async def test_a_receipt_that_only_calls_itself_an_acknowledgement_is_a_receipt(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(HANDSET)
        await gateway.when(id, "awaiting_receipt")
        text = (
            b"id:id1 sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 stat:DELIVRD err:000 text:"
        )
        await script.send(mo(text, to="ACME", esm_class=0x08))
        assert (await gateway.final(id))["state"] == "DELIVERED"


# long ones


def udh_parts(text: bytes, each: int = 150) -> list[DeliverSm]:
    total = -(-len(text) // each)
    return [
        mo(
            b"\x05" + concat_element(Concat(0x42, total, index)) + text[(index - 1) * each : index * each],
            esm_class=0x40,
            sequence=100 + index,
        )
        for index in range(1, total + 1)
    ]


def text_of(pdus: Sequence[Any]) -> str:
    """The text of parts, as a handset or another gateway would join them."""
    parts = []
    for pdu in pdus:
        udh, body = split_header(pdu.short_message, pdu.esm_class, pdu.tlvs)
        assert udh[:3] == b"\x05\x00\x03"
        encoding = {0: Encoding.GSM7, 8: Encoding.UCS2, 4: Encoding.BINARY}[pdu.data_coding]
        parts.append(MoPart(1, "", "", udh[3], udh[4], udh[5], encoding, body, 0))
    assert [part.index for part in parts] == list(range(1, len(pdus) + 1))
    assert {part.total for part in parts} == {len(pdus)}
    assert len({part.reference for part in parts}) == 1
    return reassemble(parts, len(pdus)).text


@trio_test(mock_clock=True)
@pytest.mark.parametrize("text", ["A long text. " * 30, "Long € [text] " * 30, "Длинный текст " * 30])
async def test_a_long_mo_comes_in_parts_under_one_reference_and_in_order(tmp_path: Path, text: str) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        payload = ((Tlv.MESSAGE_PAYLOAD, text.encode("utf-16-be")),)
        await script.send(mo(b"", data_coding=8, tlvs=payload))
        await gateway.until(lambda: len(esme.delivered) * 67 >= len(text))
        assert text_of(esme.delivered) == text


@trio_test(mock_clock=True)
async def test_parts_by_sar_in_any_order_become_parts_by_udh_in_order(tmp_path: Path) -> None:
    halves = ("первая ".encode("utf-16-be") * 9, "вторая".encode("utf-16-be") * 11)
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        for index in (2, 1):
            tlvs = (*sar_tlvs(Concat(0x4711, 2, index)), (0x1400, b"%d" % index))
            await script.send(mo(halves[index - 1], data_coding=8, tlvs=tlvs, sequence=index))
        first, second = await told(esme, 2)
        assert text_of([first, second]) == b"".join(halves).decode("utf-16-be")
        assert tuple(first.tlvs) == tuple(second.tlvs) == ((0x1400, b"1"),)


@trio_test(mock_clock=True)
async def test_two_long_mos_have_references_of_their_own(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        for number in range(8):
            payload = ((Tlv.MESSAGE_PAYLOAD, b"%d" % number * 200),)
            await kept(gateway, script, mo(b"", tlvs=payload, sequence=number + 1))
        await told(esme, 16)
        references = [pdu.short_message[3] for pdu in esme.delivered]
        assert references[::2] == references[1::2]
        assert len(set(references)) == 8


@trio_test(mock_clock=True)
async def test_a_part_that_was_not_answered_comes_again_with_its_siblings(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script):
        async with bound(gateway.world) as leaves:
            leaves.take = lambda pdu: 0 if isinstance(pdu, DeliverSm) and pdu.short_message[5] == 1 else None
            for pdu in udh_parts(b"x" * 300):
                await script.send(pdu)
            await told(leaves, 2)
        async with bound(gateway.world) as back:
            assert text_of(await told(back, 2)) == "x" * 300
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
@pytest.mark.parametrize("window", [1, 3])
async def test_a_long_mo_has_more_parts_than_the_customers_window(tmp_path: Path, window: int) -> None:
    most = 0
    async with house(tmp_path, window=window) as (gateway, script), bound(gateway.world) as esme:

        def take(pdu: Pdu) -> int:
            nonlocal most
            port = gateway.gateway.smpp.deliveries.ports[1]
            most = max(most, *(receiver.session.outstanding for receiver in port.receivers))
            return 0

        esme.take = take
        for pdu in udh_parts(b"x" * 900):
            await script.send(pdu)
        await script.send(mo(b"and more", sequence=50))
        got = await told(esme, 7)
        assert text_of([pdu for pdu in got if pdu.esm_class]) == "x" * 900
        assert most == window
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
        assert gateway.gateway.smpp.deliveries.ports[1].in_flight == 0


@trio_test(mock_clock=True)
async def test_a_long_mo_that_is_cut_in_its_middle_comes_again_as_a_whole(tmp_path: Path) -> None:
    async with house(tmp_path, window=1) as (gateway, script):
        async with bound(gateway.world) as leaves:
            leaves.take = lambda pdu: 0 if isinstance(pdu, DeliverSm) and pdu.short_message[5] < 3 else None
            for pdu in udh_parts(b"x" * 600):
                await script.send(pdu)
            await told(leaves, 3)
        async with bound(gateway.world) as back:
            assert text_of(await told(back, 4)) == "x" * 600
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_a_long_mo_whose_receiver_says_good_bye_in_its_middle_goes_to_the_other_one(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, window=1) as (gateway, script), bound(gateway.world) as leaves:
        leaves.take = lambda pdu: None
        for pdu in udh_parts(b"x" * 600):
            await script.send(pdu)
        (first,) = await told(leaves)
        async with bound(gateway.world) as stays:
            await leaves.ask(Unbind())
            await leaves.send(DeliverSmResp(sequence_number=first.sequence_number))
            assert text_of(await told(stays, 4)) == "x" * 600
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_of_a_long_mo_that_is_refused_nothing_more_is_sent_until_its_next_turn(tmp_path: Path) -> None:
    async with house(tmp_path, window=1) as (gateway, script), bound(gateway.world) as esme:
        statuses = [int(Status.ESME_RX_T_APPN)]
        esme.take = lambda pdu: statuses.pop() if statuses else 0
        for pdu in udh_parts(b"x" * 600):
            await script.send(pdu)
        got = await told(esme, 5)
        assert text_of(got[1:]) == "x" * 600
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


# whatever a carrier sends


@pytest.mark.parametrize("deliver_with", ["deliver_sm", "data_sm"])
@pytest.mark.parametrize("version", [0x33, 0x34, 0x50])
@pytest.mark.parametrize(
    "fields",
    [
        {"text": "", "relay": None},
        {"text": "x" * 65_000},
        {"text": "ê" * 60_000},
        {"text": "x" * 300, "relay": Relay(udh=bytes((134,)) + b"\x70\x84" + bytes(132))},
        {"text": "", "relay": Relay(udh=bytes((134,)) + b"\x70\x84" + bytes(132))},
        {"data": bytes(300), "encoding": 3, "relay": Relay(udh=bytes((253,)) + b"\x70\xfb" + bytes(251))},
        {"text": "Ω" * 40, "encoding": 0},
        {"text": "жΩ", "encoding": 0},
        {"source": "9" * 60, "destination": "8" * 60, "relay": Relay(service_type="MUCHTOOLONG")},
        {"source": "ж"},
        {"text": "x" * 200, "relay": Relay(tlvs=((0x1400, bytes(60_000)),))},
    ],
)
def test_every_mo_that_can_be_kept_can_be_written(
    fields: dict[str, Any], version: int, deliver_with: str
) -> None:
    chosen = {"source": HANDSET, "destination": OWN, "text": "x", **fields}
    event = Event(EventKind.MO, 1, 7 << 20, 0, chosen.pop("source"), chosen.pop("destination"), **chosen)
    account = Account(1, "acme", deliver_with=deliver_with)
    command = CommandId.DATA_SM if deliver_with == "data_sm" else CommandId.DELIVER_SM
    written = bodies(event, account, version)
    assert written
    for body in written:
        head = (16 + len(body)).to_bytes(4, "big") + int(command).to_bytes(4, "big") + bytes(8)
        assert codec.decode(head + body).command_id == command


@trio_test(mock_clock=True)
async def test_a_carriers_overlong_fields_end_no_session(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        octets = codec.encode(mo(b"first", service_type=b"ABCDE"))
        longer = octets[16:].replace(b"ABCDE\0", b"MUCHTOOLONG\0").replace(HANDSET.encode(), b"9" * 40)
        await script.send((16 + len(longer)).to_bytes(4, "big") + octets[4:16] + longer)
        await script.send(mo(b"second", sequence=2))
        first, second = await told(esme, 2)
        assert (first.service_type, first.source_addr) == (b"MUCHT", b"9" * 20)
        assert second.short_message == b"second"


# alert_notification


def alert(esme_addr: bytes = OWN.encode(), **fields: Any) -> AlertNotification:
    chosen: dict[str, Any] = {
        "source_addr_ton": 1,
        "source_addr_npi": 1,
        "source_addr": HANDSET.encode(),
        "esme_addr_ton": 3,
        "esme_addr": esme_addr,
        "tlvs": ((Tlv.MS_AVAILABILITY_STATUS, b"\x00"),),
        "sequence_number": 9,
    }
    return AlertNotification(**{**chosen, **fields})


def alerts(esme: Esme) -> list[Any]:
    return [pdu for pdu in esme.pdus if isinstance(pdu, AlertNotification)]


@trio_test(mock_clock=True)
async def test_an_alert_reaches_the_bound_receivers_of_the_account_with_the_esme_address(
    tmp_path: Path,
) -> None:
    async with (
        house(tmp_path) as (gateway, script),
        bound(gateway.world, "receiver") as receiver,
        bound(gateway.world, "transceiver") as transceiver,
        bound(gateway.world, "transmitter") as transmitter,
        bound(gateway.world, system_id="other") as other,
    ):
        await script.send(alert())
        for esme in (receiver, transceiver):
            await esme.until(partial(alerts, esme))
            (pdu,) = alerts(esme)
            assert (pdu.source_addr, pdu.esme_addr, pdu.esme_addr_ton) == (HANDSET.encode(), OWN.encode(), 3)
            assert read_int(pdu.tlvs, Tlv.MS_AVAILABILITY_STATUS) == 0
        await script.send(mo(b"and then"))
        await receiver.until(lambda: receiver.delivered or transceiver.delivered)
        assert not alerts(transmitter)
        assert not alerts(other)


@trio_test(mock_clock=True)
async def test_an_alert_reaches_a_receiver_whose_window_is_full_and_none_that_leaves(tmp_path: Path) -> None:
    async with house(tmp_path, window=1) as (gateway, script), bound(gateway.world) as esme:
        esme.take = lambda pdu: None
        await script.send(mo())
        await told(esme)
        await script.send(alert())
        await esme.until(partial(alerts, esme))
        await gateway.gateway.accounts.update("acme", suspended=True)
        await script.send(alert())
        await kept(gateway, script, mo(sequence=2))
        assert len(alerts(esme)) == 1


@trio_test(mock_clock=True)
async def test_an_alert_that_nobody_is_there_for_is_not_kept(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script):
        await script.send(alert())
        await script.send(alert(b"99999"))
        await script.send(mo(b"after it"))
        async with bound(gateway.world) as esme:
            await told(esme)
            assert not alerts(esme)


@trio_test(mock_clock=True)
async def test_an_alert_to_an_address_of_nobody_reaches_who_wrote_to_the_handset_from_it(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await gateway.when(await esme.submit(HANDSET), "awaiting_receipt")
        await script.send(alert(b"ACME", esme_addr_ton=5))
        await esme.until(partial(alerts, esme))
