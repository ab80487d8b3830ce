"""The SMSC side end to end: a gateway on memory streams, customers bound to it, a carrier of the test's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.smpp_server.connection import Connection
from gateway.smpp_server.listener import Peer
from router.nouns import Login
from smpp import codec
from smpp.alphabet import gsm7_encode
from smpp.constants import Tlv
from smpp.fields import DistributionList, SmeAddress
from smpp.pdu import (
    BroadcastSm,
    CancelSm,
    DataSm,
    DeliverSm,
    EnquireLink,
    GenericNack,
    Outbind,
    Pdu,
    QuerySm,
    ReplaceSm,
    SubmitMulti,
    SubmitSm,
    SubmitSmResp,
    Unbind,
)
from smpp.segment import Concat, concat_element, sar_tlvs
from smpp.status import Status
from store.interface import OutboxRow
from tests.gateway.house import Running, Script, carrier, route, running_with, simulator
from tests.gateway.smpp_server.esme import Esme, bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.listening import Files
from tests.trio_case import trio_test

TOML = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")
TO = "447700900123"
LATER = b"000000000100000R"  # a minute


@asynccontextmanager
async def house(
    directory: Path, script: Script | None = None, toml: str = TOML, **account: Any
) -> AsyncIterator[tuple[Running, Script]]:
    """A gateway with an account "acme" that may bind, receipts over SMPP; its carrier is `script`."""
    settings = {"logins": (Login("acme", (hashed("secret"),)),), "callback_url": "", **account}
    async with running_with(directory, toml, script or Script(), **settings) as (gateway, peer):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.bound()
        yield gateway, peer


def receipt(
    script: Script, submit: SubmitSm, number: int, stat: str = "DELIVRD", err: str = "000"
) -> DeliverSm:
    text = (
        f"id:id{number} sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 "
        f"stat:{stat} err:{err} text:"
    )
    return DeliverSm(
        source_addr=submit.destination_addr,
        destination_addr=submit.source_addr,
        esm_class=4,
        short_message=text.encode(),
        sequence_number=1000 + number,
    )


def delivering(script: Script, pdu: Pdu, stat: str = "DELIVRD", err: str = "000") -> Iterable[Pdu | bytes]:
    """Accept each submit and send its receipt at once."""
    if isinstance(pdu, SubmitSm):
        yield from script.usual(pdu)
        yield receipt(script, pdu, len(script.submits), stat, err)


def by_address(**fields: Any) -> CancelSm:
    return CancelSm(
        source_addr_ton=5, source_addr=b"ACME", dest_addr_ton=1, destination_addr=TO.encode(), **fields
    )


def text_of(pdu: Any) -> str:
    return str(pdu.short_message.decode("latin-1"))


# binding


@trio_test(mock_clock=True)
async def test_a_customer_binds_submits_and_gets_one_receipt_for_its_id(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(text=b"Hello there")
        await esme.until(lambda: esme.delivered)
        (told,) = esme.delivered
        assert told.esm_class == 4
        assert (told.source_addr, told.destination_addr) == (TO.encode(), b"ACME")
        assert (told.source_addr_ton, told.dest_addr_ton) == (1, 5)
        text = text_of(told)
        assert text.startswith(f"id:{id} sub:001 dlvrd:001 submit date:")
        assert "stat:DELIVRD err:000 text:Hello there" in text
        assert told.tlv(Tlv.RECEIPTED_MESSAGE_ID) == id.encode() + b"\0"
        assert told.tlv(Tlv.MESSAGE_STATE) == b"\x02"
        assert script.submits[0].short_message == b"Hello there"
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_a_wrong_password_is_refused_and_the_connection_ends(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), connected(gateway.world) as esme:
        response = await esme.bind(password="wrong")
        assert response.command_status == Status.ESME_RINVPASWD
        await esme.until(lambda: esme.closed)


@trio_test(mock_clock=True)
async def test_a_peer_that_does_not_bind_is_closed_after_ten_seconds(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), connected(gateway.world) as esme:
        started = trio.current_time()
        await esme.until(lambda: esme.closed)
        assert 10 <= trio.current_time() - started <= 11


@trio_test(mock_clock=True)
async def test_what_a_peer_waited_before_its_first_octet_is_part_of_the_ten_seconds(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _):
        server = gateway.gateway.smpp
        ours, theirs = trio.testing.memory_stream_pair()
        began = trio.current_time()
        peer = Peer(stream=theirs, address="192.0.2.7", accepted_at=began - 8)
        await server.serve(Connection(peer, server))
        assert 2 <= trio.current_time() - began <= 3
        await ours.aclose()


@trio_test(mock_clock=True)
async def test_peers_that_never_ask_are_strikes_and_wrong_passwords_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as (gateway, _):
        told: list[str] = []
        gate = gateway.gateway.smpp.gate
        monkeypatch.setattr(gate, "never_asked", lambda address, network: told.append(network))
        async with connected(gateway.world) as esme:
            await esme.bind(password="wrong")
        async with connected(gateway.world) as esme:
            await esme.send(b"GET / HTTP/1.1\r\n\r\n")
            await esme.until(lambda: esme.closed)
        assert told == ["memory"]


@trio_test(mock_clock=True)
async def test_fm39_a_submit_before_the_bind_has_no_effect(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), connected(gateway.world) as esme:
        response = await esme.ask(esme.message())
        assert response.command_status == Status.ESME_RINVBNDSTS
        assert gateway.gateway.store.totals().accepted == 0
        assert not script.submits


@trio_test(mock_clock=True)
async def test_fm41_a_bind_too_many_is_refused_or_takes_over_the_stalest(tmp_path: Path) -> None:
    async with house(tmp_path, max_binds=1) as (gateway, _), bound(gateway.world) as first:
        async with connected(gateway.world) as second:
            assert (await second.bind()).command_status == Status.ESME_RBINDFAIL
        await gateway.gateway.accounts.update("acme", when_binds_full="takeover")
        async with bound(gateway.world) as third:
            await first.until(lambda: first.closed)
            assert await third.submit()


@trio_test(mock_clock=True)
async def test_suspending_an_account_unbinds_its_sessions(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        await gateway.gateway.accounts.update("acme", suspended=True)
        await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        async with connected(gateway.world) as again:
            assert (await again.bind()).command_status == Status.ESME_RBINDFAIL


@trio_test(mock_clock=True)
async def test_an_idle_session_is_asked_whether_it_lives_and_dropped_if_not(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        await trio.sleep(100)
        assert sum(isinstance(pdu, EnquireLink) for pdu in esme.pdus) >= 3
        assert not esme.closed


@trio_test(mock_clock=True)
async def test_a_stop_unbinds_customers_politely(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        gateway.gateway.stop()
        await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))


# every operation


@trio_test(mock_clock=True)
async def test_an_unknown_command_gets_a_generic_nack_and_the_session_lives(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        await esme.send(bytes.fromhex("00000010000000990000000000000063"))
        await esme.until(lambda: any(isinstance(pdu, GenericNack) for pdu in esme.pdus))
        nack = next(pdu for pdu in esme.pdus if isinstance(pdu, GenericNack))
        assert (nack.command_status, nack.sequence_number) == (Status.ESME_RINVCMDID, 0x63)
        assert await esme.submit()


@trio_test(mock_clock=True)
async def test_a_broadcast_is_refused_with_its_own_response(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world, version=0x50) as esme:
        response = await esme.ask(BroadcastSm(source_addr=b"ACME"))
        assert response.command == "broadcast_sm_resp"
        assert response.command_status == Status.ESME_RINVCMDID


@trio_test(mock_clock=True)
async def test_a_receiver_may_not_submit_and_a_transmitter_gets_no_receipts(tmp_path: Path) -> None:
    async with (
        house(tmp_path, Script(delivering)) as (gateway, _),
        bound(gateway.world, "receiver") as receiver,
        bound(gateway.world, "transmitter") as transmitter,
    ):
        refused = await receiver.ask(receiver.message())
        assert refused.command_status == Status.ESME_RINVBNDSTS
        id = await transmitter.submit()
        await receiver.until(lambda: receiver.delivered)
        assert text_of(receiver.delivered[0]).startswith(f"id:{id} ")
        assert not transmitter.delivered


@trio_test(mock_clock=True)
async def test_submit_multi_answers_one_id_and_names_who_was_refused(tmp_path: Path) -> None:
    lists: dict[str, Any] = {"team": ("+447700900201", "+447700900202")}
    async with (
        house(tmp_path, Script(delivering), lists=lists) as (gateway, script),
        bound(gateway.world) as esme,
    ):
        response = await esme.ask(
            SubmitMulti(
                source_addr_ton=5,
                source_addr=b"ACME",
                dest_address=[
                    SmeAddress(1, 1, b"447700900101"),
                    SmeAddress(1, 1, b"12"),
                    DistributionList(b"team"),
                ],
                registered_delivery=1,
                short_message=b"to all",
            )
        )
        assert response.command_status == 0
        assert [(one.destination_addr, one.error_status_code) for one in response.unsuccess_sme] == [
            (b"12", Status.ESME_RINVDSTADR)
        ]
        await esme.until(lambda: len(esme.delivered) == 3)
        id = response.message_id.decode()
        assert all(text_of(pdu).startswith(f"id:{id} ") for pdu in esme.delivered)
        assert {pdu.source_addr for pdu in esme.delivered} == {
            b"447700900101",
            b"447700900201",
            b"447700900202",
        }
        assert len(script.submits) == 3
        nobody = await esme.ask(SubmitMulti(source_addr=b"ACME", dest_address=[DistributionList(b"nobody")]))
        assert nobody.command_status == Status.ESME_RINVDLNAME


@trio_test(mock_clock=True)
async def test_data_sm_is_submitted_like_any_message(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        response = await esme.ask(
            DataSm(
                source_addr_ton=5,
                source_addr=b"ACME",
                dest_addr_ton=1,
                destination_addr=TO.encode(),
                tlvs=((Tlv.MESSAGE_PAYLOAD, b"by data_sm"),),
            )
        )
        assert response.command == "data_sm_resp"
        assert response.message_id
        await gateway.until(lambda: script.submits)
        assert script.submits[0].short_message == b"by data_sm"


@trio_test(mock_clock=True)
async def test_query_sm_tells_the_real_state_and_the_final_date(tmp_path: Path) -> None:
    async with (
        house(tmp_path, Script(partial(delivering, stat="UNDELIV", err="012"))) as (gateway, _),
        bound(gateway.world) as esme,
    ):
        id = await esme.submit()
        await esme.until(lambda: esme.delivered)
        told = await esme.ask(QuerySm(message_id=id.encode(), source_addr_ton=5, source_addr=b"ACME"))
        assert (told.message_id.decode(), told.message_state, told.error_code) == (id, 5, 12)
        assert told.final_date.endswith(b"00+")
        unknown = await esme.ask(QuerySm(message_id=b"12345", source_addr=b"ACME"))
        assert unknown.command_status == Status.ESME_RINVMSGID
        scheduled = await esme.submit(schedule_delivery_time=LATER)
        waiting = await esme.ask(QuerySm(message_id=scheduled.encode(), source_addr=b"ACME"))
        assert (waiting.message_state, waiting.final_date) == (1, b"")  # SCHEDULED is ENROUTE in 3.4


@trio_test(mock_clock=True)
async def test_a_cancelled_message_is_really_not_sent(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        later: dict[str, Any] = {"schedule_delivery_time": LATER}
        id = await esme.submit(text=b"never", **later)
        kept = await esme.submit(text=b"kept", **later)
        done = await esme.ask(CancelSm(message_id=id.encode(), source_addr=b"ACME"))
        assert done.command_status == 0
        again = await esme.ask(CancelSm(message_id=id.encode(), source_addr=b"ACME"))
        assert again.command_status == Status.ESME_RCANCELFAIL
        await esme.until(lambda: esme.delivered)
        assert f"id:{id} " in text_of(esme.delivered[0])
        assert "stat:DELETED" in text_of(esme.delivered[0])
        await trio.sleep(100)
        assert [pdu.short_message for pdu in script.submits] == [b"kept"]
        assert kept


@trio_test(mock_clock=True)
async def test_cancel_by_address_ends_all_that_match_and_nothing_else(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        later: dict[str, Any] = {"schedule_delivery_time": LATER}
        for text in (b"one", b"two"):
            await esme.submit(text=text, **later)
        await esme.submit(text=b"other number", to="447700900999", **later)
        await esme.submit(text=b"other service", service_type=b"VMN", **later)
        by_service = by_address(service_type=b"WAP")
        await esme.submit(text=b"wap", service_type=b"WAP", **later)
        assert (await esme.ask(by_service)).command_status == 0
        nothing_left = await esme.ask(by_service)
        assert nothing_left.command_status == Status.ESME_RCANCELFAIL
        await trio.sleep(100)
        texts = {pdu.short_message for pdu in script.submits}
        assert texts == {b"one", b"two", b"other number", b"other service"}


@trio_test(mock_clock=True)
async def test_cancel_by_address_without_a_service_type_means_every_one(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        later: dict[str, Any] = {"schedule_delivery_time": LATER}
        await esme.submit(text=b"none", **later)
        await esme.submit(text=b"some", service_type=b"VMN", **later)
        assert (await esme.ask(by_address())).command_status == 0
        await trio.sleep(100)
        assert not script.submits


def unanswered(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
    """A carrier that answers the test's submits when the test says so."""
    if isinstance(pdu, SubmitSm):
        yield b""


@trio_test(mock_clock=True)
@pytest.mark.parametrize("how", ["cancel_sm", "replace_if_present"])
async def test_what_is_in_a_carriers_hands_and_comes_back_is_not_sent_again_if_cancelled_by_address(
    tmp_path: Path, how: str
) -> None:
    async with house(tmp_path, Script(unanswered)) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(text=b"leased")
        await gateway.until(lambda: script.submits)
        if how == "cancel_sm":
            assert (await esme.ask(by_address())).command_status == Status.ESME_RCANCELFAIL
        else:
            await esme.submit(text=b"instead", replace_if_present_flag=1)
            await gateway.until(lambda: len(script.submits) == 2)
        script.handler = None
        (leased, *_) = script.submits
        refusal = SubmitSmResp(command_status=Status.ESME_RMSGQFUL, sequence_number=leased.sequence_number)
        await script.send(refusal)
        assert (await gateway.final(id))["state"] == "DELETED"
        await trio.sleep(300)
        assert [pdu.short_message for pdu in script.submits].count(b"leased") == 1


@trio_test(mock_clock=True)
async def test_a_replaced_message_really_carries_the_new_text(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(text=b"old", schedule_delivery_time=LATER)
        done = await esme.ask(
            ReplaceSm(message_id=id.encode(), source_addr=b"ACME", short_message=b"new text")
        )
        assert done.command_status == 0
        await trio.sleep(100)
        assert [pdu.short_message for pdu in script.submits] == [b"new text"]
        late = await esme.ask(ReplaceSm(message_id=id.encode(), source_addr=b"ACME", short_message=b"x"))
        assert late.command_status == Status.ESME_RREPLACEFAIL


@trio_test(mock_clock=True)
@pytest.mark.parametrize(("before", "after", "receipts"), [(1, 0, 0), (0, 1, 1), (0, 0x0D, 1), (0x0D, 1, 1)])
async def test_a_replaced_message_has_the_receipt_wish_of_its_replacement(
    tmp_path: Path, before: int, after: int, receipts: int
) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(schedule_delivery_time=LATER, registered_delivery=before)
        new = ReplaceSm(message_id=id.encode(), source_addr=b"ACME", short_message=b"x")
        new.registered_delivery = after
        assert (await esme.ask(new)).command_status == 0
        await gateway.final(id)
        await trio.sleep(1)
        assert len(esme.delivered) == receipts
        assert script.submits[0].registered_delivery & 0x0C == after & 0x0C


@trio_test(mock_clock=True)
async def test_replace_if_present_ends_what_it_replaces(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        later: dict[str, Any] = {"schedule_delivery_time": LATER, "service_type": b"VMN"}
        await esme.submit(text=b"first", **later)
        await esme.submit(text=b"second", replace_if_present_flag=1, **later)
        await esme.submit(text=b"third", replace_if_present_flag=1, **later)
        await trio.sleep(100)
        assert [pdu.short_message for pdu in script.submits] == [b"third"]


# what is relayed


@trio_test(mock_clock=True)
async def test_what_a_submit_says_beyond_its_text_reaches_the_carrier_as_it_came(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(
            text=bytes(range(200, 240)),
            data_coding=0xF5,
            service_type=b"CMT",
            protocol_id=0x41,
            priority_flag=2,
            esm_class=0x08,
            registered_delivery=0x05,
            tlvs=((0x1400, b"vendor"), (0x0204, b"\x12\x34"), (0x1400, b"again")),
        )
        await gateway.until(lambda: script.submits)
        (sent,) = script.submits
        assert sent.short_message == bytes(range(200, 240))
        assert (sent.data_coding, sent.service_type, sent.protocol_id) == (0xF5, b"CMT", 0x41)
        assert (sent.priority_flag, sent.esm_class, sent.registered_delivery) == (2, 0x08, 0x05)
        assert list(sent.tlvs) == [(0x1400, b"vendor"), (0x0204, b"\x12\x34"), (0x1400, b"again")]


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("data_coding", "octets"),
    [
        (0, b"Hello \x00 \x1b\x65"),
        (8, "Grüße 😀".encode("utf-16-be")),
        (3, "Grüße".encode("latin-1")),
        (1, b"ascii"),
        (4, bytes(range(140))),
        (8, b"\xd8\x00odd"),
    ],
)
async def test_texts_in_any_coding_reach_the_carrier_octet_for_octet(
    tmp_path: Path, data_coding: int, octets: bytes
) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(text=octets, data_coding=data_coding)
        await gateway.until(lambda: script.submits)
        assert (script.submits[0].data_coding, script.submits[0].short_message) == (data_coding, octets)


@trio_test(mock_clock=True)
async def test_a_user_data_header_of_the_customers_own_is_kept(tmp_path: Path) -> None:
    port = bytes.fromhex("06050415811581")
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(text=port + b"ringtone", esm_class=0x40, data_coding=4)
        await gateway.until(lambda: script.submits)
        (sent,) = script.submits
        assert (sent.esm_class, sent.data_coding, sent.short_message) == (0x40, 4, port + b"ringtone")


# long messages


def udh_part(ref: int, total: int, index: int, text: bytes) -> dict[str, Any]:
    element = concat_element(Concat(ref, total, index))
    return {"text": bytes((len(element),)) + element + text, "esm_class": 0x40}


@trio_test(mock_clock=True)
async def test_parts_in_any_order_leave_together_in_order_with_the_customers_header(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        ids = {}
        for index in (2, 3, 1):
            ids[index] = await esme.submit(**udh_part(0x77, 3, index, b"part %d" % index))
            assert len(script.submits) == (3 if index == 1 else 0) or index == 1
        await esme.until(lambda: len(esme.delivered) == 3)
        assert [pdu.short_message for pdu in script.submits] == [
            bytes.fromhex("0500037703") + bytes((index,)) + b"part %d" % index for index in (1, 2, 3)
        ]
        assert {text_of(pdu).split()[0] for pdu in esme.delivered} == {f"id:{id}" for id in ids.values()}


@trio_test(mock_clock=True)
async def test_parts_by_sar_go_out_by_the_carriers_own_method(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        for index in (1, 2):
            await esme.submit(text=b"sar %d" % index, tlvs=sar_tlvs(Concat(0x1234, 2, index)))
        await gateway.until(lambda: len(script.submits) == 2)
        assert [pdu.short_message for pdu in script.submits] == [
            bytes.fromhex("0500033402") + bytes((index,)) + b"sar %d" % index for index in (1, 2)
        ]


@trio_test(mock_clock=True)
async def test_parts_whose_siblings_never_come_are_sent_after_ten_seconds(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(**udh_part(1, 3, 2, b"two"))
        started = trio.current_time()
        await gateway.until(lambda: script.submits)
        assert 10 <= trio.current_time() - started <= 13


@trio_test(mock_clock=True)
async def test_a_message_payload_is_split_for_the_carrier_and_told_once(tmp_path: Path) -> None:
    text = b"long text " * 40
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        id = await esme.submit(text=b"", tlvs=((Tlv.MESSAGE_PAYLOAD, text),))
        await esme.until(lambda: esme.delivered)
        assert b"".join(pdu.short_message[6:] for pdu in script.submits) == text
        assert len(script.submits) == 3
        (told,) = esme.delivered
        assert text_of(told).startswith(f"id:{id} sub:003 dlvrd:003 ")


@trio_test(mock_clock=True)
async def test_a_customer_with_a_window_of_one_sends_a_long_message(tmp_path: Path) -> None:
    async with house(tmp_path, window=1) as (gateway, script), bound(gateway.world) as esme:
        for index in (1, 2, 3):
            await esme.submit(**udh_part(5, 3, index, b"p"))
        await gateway.until(lambda: len(script.submits) == 3)


def texts_of(submits: Sequence[SubmitSm], coding: str = "utf-16-be") -> str:
    return b"".join(pdu.short_message[6:] for pdu in submits).decode(coding)


@trio_test(mock_clock=True)
async def test_parts_that_a_carriers_alphabet_lacks_are_cut_anew_and_each_gets_its_receipt(
    tmp_path: Path,
) -> None:
    toml = TOML.replace("[[routes]]", 'alphabet = "latin1"\n[[routes]]')
    texts = ["Price: €9, " + "a" * 140, "b" * 150, "the end"]
    async with house(tmp_path, Script(delivering), toml) as (gateway, script), bound(gateway.world) as esme:
        ids = []
        for index, text in enumerate(texts, 1):
            ids.append(await esme.submit(**udh_part(0x77, 3, index, gsm7_encode(text))))
        await esme.until(lambda: len(esme.delivered) == 3)
        submits = script.submits
        assert texts_of(submits) == "".join(texts)
        assert {pdu.data_coding for pdu in submits} == {8}
        heads = [pdu.short_message[:6] for pdu in submits]
        assert {head[:5] for head in heads} == {heads[0][:4] + b"\5"}
        assert [head[5] for head in heads] == [1, 2, 3, 4, 5]
        told = {text_of(pdu).split()[0]: text_of(pdu) for pdu in esme.delivered}
        assert set(told) == {f"id:{id}" for id in ids}
        assert all("stat:DELIVRD" in text for text in told.values())
        status, first = await gateway.http("GET", f"/v1/messages/{ids[0]}")
        assert (status, len(first["parts"])) == (200, 3)


@trio_test(mock_clock=True)
async def test_parts_that_fit_go_as_they_came_to_the_same_carrier(tmp_path: Path) -> None:
    toml = TOML.replace("[[routes]]", 'alphabet = "latin1"\n[[routes]]')
    async with house(tmp_path, Script(delivering), toml) as (gateway, script), bound(gateway.world) as esme:
        for index in (1, 2):
            await esme.submit(**udh_part(0x77, 2, index, b"a" * 153))
        await esme.until(lambda: len(esme.delivered) == 2)
        assert [pdu.short_message[:6].hex() for pdu in script.submits] == ["050003770201", "050003770202"]


@trio_test(mock_clock=True)
async def test_parts_by_sar_that_leave_no_room_for_the_carriers_header_are_cut_anew(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, script), bound(gateway.world) as esme:
        for index in (1, 2):
            await esme.submit(text=b"%d" % index * 160, tlvs=sar_tlvs(Concat(0x1234, 2, index)))
        await esme.until(lambda: len(esme.delivered) == 2)
        assert [len(pdu.short_message) for pdu in script.submits] == [159, 159, 20]
        assert texts_of(script.submits, "ascii") == "1" * 160 + "2" * 160


@trio_test(mock_clock=True)
async def test_a_part_cut_anew_that_is_refused_for_now_comes_again_under_the_same_reference(
    tmp_path: Path,
) -> None:
    def throttling(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, SubmitSm) and len(script.submits) == 2:
            return [SubmitSmResp(command_status=Status.ESME_RTHROTTLED, sequence_number=pdu.sequence_number)]
        return delivering(script, pdu)

    toml = TOML.replace("[[routes]]", 'alphabet = "latin1"\n[[routes]]')
    texts = ["€" * 70, "b" * 60]
    async with house(tmp_path, Script(throttling), toml) as (gateway, script), bound(gateway.world) as esme:
        for index, text in enumerate(texts, 1):
            await esme.submit(**udh_part(9, 2, index, gsm7_encode(text)))
        await esme.until(lambda: len(esme.delivered) == 2)
        accepted = [pdu for number, pdu in enumerate(script.submits, 1) if number != 2]
        assert len({pdu.short_message[:5] for pdu in script.submits}) == 1
        assert texts_of(sorted(accepted, key=lambda pdu: pdu.short_message[5])) == "".join(texts)


@trio_test(mock_clock=True)
async def test_parts_that_become_too_many_for_a_carrier_go_to_the_next_one_as_they_came(
    tmp_path: Path,
) -> None:
    toml = '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
    toml += carrier("short", 2776, alphabet="latin1", max_parts=3) + carrier("north", 2790)
    toml += route("short", "north") + simulator("short", 2776)
    async with house(tmp_path, Script(delivering), toml) as (gateway, script), bound(gateway.world) as esme:
        for index in (1, 2):
            await esme.submit(**udh_part(0x77, 2, index, gsm7_encode("€" + "a" * 150)))
        await esme.until(lambda: len(esme.delivered) == 2)
        assert [pdu.short_message[:6].hex() for pdu in script.submits] == ["050003770201", "050003770202"]
        assert gateway.gateway.simulators[0].tally.submits == 0


@trio_test(mock_clock=True)
async def test_a_part_whose_siblings_never_came_is_not_cut_anew(tmp_path: Path) -> None:
    toml = TOML.replace("[[routes]]", 'alphabet = "latin1"\n[[routes]]')
    async with house(tmp_path, toml=toml) as (gateway, script), bound(gateway.world) as esme:
        await esme.submit(**udh_part(0x77, 2, 1, gsm7_encode("€")), registered_delivery=1)
        await esme.until(lambda: esme.delivered)
        assert "stat:UNDELIV" in text_of(esme.delivered[0])
        assert not script.submits


# limits


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"to": "12"}, Status.ESME_RINVDSTADR),
        ({"priority_flag": 4}, Status.ESME_RINVPRTFLG),
        ({"validity_period": b"rubbish"}, Status.ESME_RINVEXPIRY),
        ({"schedule_delivery_time": b"rubbish"}, Status.ESME_RINVSCHED),
        ({"validity_period": b"200101000000000+"}, Status.ESME_RINVEXPIRY),
        ({"source_addr": b"TWELVELETTER"}, Status.ESME_RINVSRCADR),
        ({"sm_default_msg_id": 3, "text": b""}, Status.ESME_RINVDFTMSGID),
        ({"tlvs": ((Tlv.MESSAGE_PAYLOAD, b"x"),)}, Status.ESME_RINVMSGLEN),
    ],
)
async def test_what_cannot_be_is_refused_with_its_status_and_nothing_is_stored(
    tmp_path: Path, fields: dict[str, Any], status: int
) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        response = await esme.ask(esme.message(**fields))
        assert response.command_status == status
        assert gateway.gateway.store.totals().accepted == 0


@trio_test(mock_clock=True)
async def test_an_account_is_held_to_its_senders_and_destinations(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"senders": ("ACME", "447*"), "destinations": ("44",)}
    async with house(tmp_path, **limits) as (gateway, _), bound(gateway.world) as esme:
        assert await esme.submit()
        other = await esme.ask(esme.message(source_addr=b"BANK"))
        assert other.command_status == Status.ESME_RINVSRCADR
        abroad = await esme.ask(esme.message("4915112345678"))
        assert abroad.command_status == Status.ESME_RINVDSTADR


@trio_test(mock_clock=True)
async def test_over_its_queue_limit_an_account_hears_that_the_queue_is_full(tmp_path: Path) -> None:
    async with house(tmp_path, max_queued=2) as (gateway, _), bound(gateway.world) as esme:
        for _ in range(2):
            await esme.submit(schedule_delivery_time=LATER)
        full = await esme.ask(esme.message())
        assert full.command_status == Status.ESME_RMSGQFUL


@trio_test(mock_clock=True)
@pytest.mark.parametrize("guard_s", [0, 60])
async def test_the_queue_limit_holds_within_one_read_and_over_several_binds(
    tmp_path: Path, guard_s: int
) -> None:
    async with (
        house(tmp_path, max_queued=5, duplicate_guard_s=guard_s) as (gateway, _),
        bound(gateway.world) as one,
        bound(gateway.world) as other,
    ):
        sent = {
            esme: [
                esme.number(esme.message(text=b"%d %d" % (id(esme), number), schedule_delivery_time=LATER))
                for number in range(20)
            ]
            for esme in (one, other)
        }
        for esme, pdus in sent.items():
            await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
        statuses = [(await esme.answer_to(pdu)).command_status for esme, pdus in sent.items() for pdu in pdus]
        assert sorted(statuses) == [0] * 5 + [Status.ESME_RMSGQFUL] * 35
        assert gateway.gateway.store.queued(1) == 5
        await trio.sleep(100)
        assert await one.submit(text=b"there is room again", schedule_delivery_time=LATER)


@pytest.mark.parametrize("in_one_read", [False, True])
@trio_test(mock_clock=True)
async def test_over_its_tps_an_account_is_told_so_or_paced_as_it_chose(
    tmp_path: Path, in_one_read: bool
) -> None:
    async with house(tmp_path, tps=5.0) as (gateway, _), bound(gateway.world) as esme:
        answers = await together(esme, 20, in_one_read)
        assert answers == sorted(answers)  # the first ones are taken
        assert answers.count(Status.ESME_RTHROTTLED) >= 14
        assert answers.count(0) >= 1
        await gateway.gateway.accounts.update("acme", tps_mode="pace")
        await trio.sleep(2)
        started = trio.current_time()
        answers = await together(esme, 20, in_one_read)
        assert answers == [0] * 20
        assert 2.5 <= trio.current_time() - started <= 6


async def together(esme: Esme, count: int, in_one_read: bool = False) -> list[int]:
    """Statuses of submits of two kinds in turns."""
    pdus = [esme.number(esme.message(priority_flag=number % 2)) for number in range(count)]
    octets = [codec.encode(pdu) for pdu in pdus]
    for read in [b"".join(octets)] if in_one_read else octets:
        await esme.send(read)
    return [(await esme.answer_to(pdu)).command_status for pdu in pdus]


@trio_test(mock_clock=True)
async def test_ids_come_in_the_form_the_account_wants(tmp_path: Path) -> None:
    async with (
        house(tmp_path, Script(delivering), id_form="short") as (gateway, _),
        bound(gateway.world, version=0x33) as esme,
    ):
        id = await esme.submit()
        assert len(id) == 8
        assert int(id, 16) == 1
        await esme.until(lambda: esme.delivered)
        (told,) = esme.delivered
        assert text_of(told).startswith(f"id:{id} ")
        assert not told.tlvs  # 3.3 has none
        state = await esme.ask(QuerySm(message_id=id.encode(), source_addr=b"ACME"))
        assert state.message_state == 2


# receipts


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("registered", "version", "stat", "told"),
    [
        (0, 0x34, "DELIVRD", 0),
        (1, 0x34, "DELIVRD", 1),
        (2, 0x34, "DELIVRD", 0),
        (2, 0x34, "UNDELIV", 1),
        (3, 0x34, "UNDELIV", 1),
        (3, 0x50, "UNDELIV", 0),
        (3, 0x50, "DELIVRD", 1),
    ],
)
async def test_registered_delivery_decides_which_receipts_come(
    tmp_path: Path, registered: int, version: int, stat: str, told: int
) -> None:
    async with (
        house(tmp_path, Script(partial(delivering, stat=stat))) as (gateway, _),
        bound(gateway.world, version=version) as esme,
    ):
        id = await esme.submit(registered_delivery=registered)
        await gateway.final(id)
        await trio.sleep(5)
        assert len(esme.delivered) == told


@trio_test(mock_clock=True)
async def test_an_intermediate_notification_comes_where_it_was_asked_for(tmp_path: Path) -> None:
    def enroute_first(script: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, SubmitSm):
            yield from script.usual(pdu)
            yield receipt(script, pdu, len(script.submits), "ENROUTE")
            yield receipt(script, pdu, len(script.submits), "DELIVRD")

    async with house(tmp_path, Script(enroute_first)) as (gateway, _), bound(gateway.world) as esme:
        await esme.submit(registered_delivery=0x11)
        await esme.until(lambda: len(esme.delivered) == 2)
        assert [pdu.esm_class for pdu in esme.delivered] == [0x20, 0x04]
        assert ["ENROUTE" in text_of(pdu) for pdu in esme.delivered] == [True, False]


@trio_test(mock_clock=True)
async def test_receipts_wait_while_the_customer_is_away_and_come_in_order(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _):
        async with bound(gateway.world, "transmitter") as esme:
            ids = [await esme.submit() for _ in range(30)]
            for id in ids:
                await gateway.final(id)
        await trio.sleep(60)
        async with bound(gateway.world, "receiver") as receiver:
            await receiver.until(lambda: len(receiver.delivered) == 30)
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
            assert sorted(text_of(pdu).split()[0][3:] for pdu in receiver.delivered) == sorted(ids)


@trio_test(mock_clock=True)
async def test_what_nobody_comes_for_ends_at_its_expiry(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering), deliver_expiry_s=60) as (gateway, _):
        async with bound(gateway.world, "transmitter") as esme:
            await gateway.final(await esme.submit())
        await trio.sleep(30)
        assert gateway.gateway.store.outbox_backlog() == 1
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog(), 200)
        (given_up,) = gateway.gateway.store.given_up(list(gateway.gateway.store.outbox_endpoints()))
        assert given_up.event.last_error == "its customer was not there in time"
        replay = gateway.gateway.verbs.table()["callbacks.replay"]
        assert await replay({"account": "acme"}) == {"replayed": 1, "shut": []}
        async with bound(gateway.world, "receiver") as receiver:
            await receiver.until(lambda: receiver.delivered)
        assert not gateway.gateway.store.given_up_count()


@asynccontextmanager
async def outdated(directory: Path, count: int, **account: Any) -> AsyncIterator[Running]:
    """A gateway with so many receipts that nobody came for in time."""
    async with house(directory, Script(delivering), deliver_expiry_s=10_000, **account) as (gateway, _):
        async with bound(gateway.world, "transmitter") as esme:
            ids = [await esme.submit() for _ in range(count)]
            for id in ids:
                await gateway.final(id)
        await trio.sleep(100)
        await gateway.gateway.accounts.update("acme", deliver_expiry_s=60)
        yield gateway


def portions(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events are given up at once, each time from now on."""
    sizes: list[int] = []
    real = gateway.gateway.committer.add_outbox_given_up

    def counting(rows: Sequence[OutboxRow], now_ms: int) -> None:
        sizes.append(len(rows))
        real(rows, now_ms)

    monkeypatch.setattr(gateway.gateway.committer, "add_outbox_given_up", counting)
    return sizes


@trio_test(mock_clock=True)
async def test_a_large_backlog_that_is_too_old_is_given_up_in_portions_when_its_customer_binds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.smpp_server.deliveries._PAGE", 4)
    async with outdated(tmp_path, 30) as gateway:
        sizes = portions(gateway, monkeypatch)
        async with bound(gateway.world) as esme:
            fresh = await esme.submit()
            await esme.until(lambda: esme.delivered)
            assert [text_of(pdu).split()[0][3:] for pdu in esme.delivered] == [fresh]
        assert (sum(sizes), max(sizes)) == (30, 4)
        assert gateway.gateway.store.given_up_count() == 30


@trio_test(mock_clock=True)
async def test_a_large_backlog_that_nobody_comes_for_ends_in_portions_without_falling_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.smpp_server.deliveries._PAGE", 4)
    async with outdated(tmp_path, 30) as gateway:
        sizes = portions(gateway, monkeypatch)
        await trio.sleep(70)
        assert not gateway.gateway.store.outbox_backlog(), "one round ends all of it"
        assert (sum(sizes), max(sizes)) == (30, 4)


@trio_test(mock_clock=True)
async def test_a_temporary_refusal_is_tried_again_and_a_permanent_one_is_not(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        statuses = [Status.ESME_RX_T_APPN, Status.ESME_RX_T_APPN, 0, Status.ESME_RX_P_APPN]
        esme.take = lambda pdu: int(statuses.pop(0))
        await esme.submit()
        await gateway.until(lambda: len(statuses) == 1)
        assert len({text_of(pdu).split()[0] for pdu in esme.delivered}) == 1
        await esme.submit()
        await gateway.until(lambda: not statuses)
        await trio.sleep(60)
        assert len(esme.delivered) == 4
        assert not gateway.gateway.store.outbox_backlog()
        (given_up,) = gateway.gateway.store.given_up(list(gateway.gateway.store.outbox_endpoints()))
        assert (given_up.event.attempts, given_up.event.last_error) == (1, "ESME_RX_P_APPN")


@trio_test(mock_clock=True)
async def test_fm25_a_customer_that_does_not_answer_delays_nobody_and_loses_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering), window=5) as (gateway, _):
        await gateway.gateway.accounts.create(
            "other", gateway.world.wall_ms(), logins=(Login("other", (hashed("secret"),)),)
        )
        async with (
            bound(gateway.world) as silent,
            bound(gateway.world, system_id="other") as other,
        ):
            silent.take = lambda pdu: None
            for _ in range(20):
                await silent.submit()
            started = trio.current_time()
            for _ in range(20):
                await other.submit()
            await other.until(lambda: len(other.delivered) == 20)
            assert trio.current_time() - started < 5
            assert len(silent.delivered) == 5
            port = gateway.gateway.smpp.deliveries.ports[1]
            assert port.in_flight == 5
        async with bound(gateway.world) as back:
            await back.until(lambda: len({text_of(pdu).split()[0] for pdu in back.delivered}) == 20)
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_a_customer_whose_time_runs_out_again_and_again_is_left_alone_for_a_moment(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, Script(delivering), window=1) as (gateway, _), bound(gateway.world) as esme:
        esme.take = lambda pdu: None
        for _ in range(6):
            await esme.submit()
        port = gateway.gateway.smpp.deliveries.ports[1]
        await gateway.until(lambda: port.silent == 5)
        assert port.refusals == 5
        assert port.paused_until > trio.current_time()


@trio_test(mock_clock=True)
async def test_what_a_lost_session_had_not_answered_goes_to_the_other_one(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world, "receiver") as stays:
        async with bound(gateway.world) as leaves:
            leaves.take = lambda pdu: None
            stays.take = lambda pdu: 0
            for _ in range(10):
                await leaves.submit()
            await gateway.until(lambda: len(leaves.delivered) + len(stays.delivered) == 10)
            assert leaves.delivered
        await stays.until(lambda: len({text_of(pdu).split()[0] for pdu in stays.delivered}) == 10)


@trio_test(mock_clock=True)
async def test_a_delivery_rate_is_kept(tmp_path: Path) -> None:
    async with (
        house(tmp_path, Script(delivering), deliver_rate=2.0) as (gateway, _),
        bound(gateway.world) as esme,
    ):
        started = trio.current_time()
        for _ in range(10):
            await esme.submit()
        await esme.until(lambda: len(esme.delivered) == 10)
        assert 3.9 <= trio.current_time() - started <= 8


@trio_test(mock_clock=True)
async def test_receipts_may_come_as_data_sm(tmp_path: Path) -> None:
    async with (
        house(tmp_path, Script(delivering), deliver_with="data_sm") as (gateway, _),
        bound(gateway.world) as esme,
    ):
        id = await esme.submit()
        await esme.until(lambda: esme.delivered)
        (told,) = esme.delivered
        assert isinstance(told, DataSm)
        payload = told.tlv(Tlv.MESSAGE_PAYLOAD)
        assert payload is not None
        assert payload.startswith(f"id:{id} ".encode())


@trio_test(mock_clock=True)
async def test_a_message_over_http_can_have_its_receipt_over_smpp_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    url = "http://127.0.0.1:9000/hook"
    async with (
        house(tmp_path, Script(delivering), callback_url=url, receipts_via="smpp") as (gateway, _),
        bound(gateway.world) as esme,
    ):
        id = await gateway.submit("+" + TO)
        await esme.until(lambda: esme.delivered)
        assert text_of(esme.delivered[0]).startswith(f"id:{id} ")
        await gateway.gateway.accounts.update("acme", receipts_via="http")
        second = await esme.submit()
        await gateway.until(lambda: gateway.customer.of(second))
        assert len(esme.delivered) == 1
        await gateway.gateway.accounts.update("acme", receipts_via="same")
        third = await esme.submit()
        await esme.until(lambda: len(esme.delivered) == 2)
        assert text_of(esme.delivered[1]).startswith(f"id:{third} ")


@trio_test(mock_clock=True)
async def test_a_reference_of_the_customer_comes_back_in_the_receipt(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        await esme.submit(tlvs=((Tlv.USER_MESSAGE_REFERENCE, b"\x00\x2a"),))
        await esme.until(lambda: esme.delivered)
        assert esme.delivered[0].tlv(Tlv.USER_MESSAGE_REFERENCE) == b"\x00\x2a"


@trio_test(mock_clock=True)
async def test_an_mo_reaches_the_session_of_the_account_that_owns_the_number(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world, "receiver") as esme:
        await script.send(
            DeliverSm(
                source_addr_ton=1,
                source_addr_npi=1,
                source_addr=TO.encode(),
                destination_addr=b"12345",
                short_message=b"STOP please",
                sequence_number=77,
            )
        )
        await esme.until(lambda: esme.delivered)
        (told,) = esme.delivered
        assert (told.source_addr, told.destination_addr) == (TO.encode(), b"12345")
        assert (told.esm_class, told.short_message) == (0, b"STOP please")


@trio_test(mock_clock=True)
async def test_fm19_junk_from_a_customer_closes_that_socket_only(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), bound(gateway.world) as esme:
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\xff" * 20):
            async with connected(gateway.world) as other:
                await other.send(junk)
                await other.until(lambda other=other: other.closed)  # type: ignore[misc]
        assert await esme.submit()


@trio_test(mock_clock=True)
async def test_an_answer_comes_for_every_submit_of_a_burst_in_one_read(tmp_path: Path) -> None:
    async with house(tmp_path, window=10) as (gateway, script), bound(gateway.world) as esme:
        pdus = [esme.number(esme.message()) for _ in range(200)]
        await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
        answers = [await esme.answer_to(pdu) for pdu in pdus]
        assert all(isinstance(one, SubmitSmResp) and one.command_status == 0 for one in answers)
        assert len({one.message_id for one in answers}) == 200
        await gateway.until(lambda: len(script.submits) == 200)


@trio_test(mock_clock=True)
async def test_fm44_thousands_of_messages_on_one_bind_leave_nothing_behind_in_memory(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        for round_ in range(1, 4):
            pdus = [esme.number(esme.message()) for _ in range(300)]
            await esme.send(b"".join(codec.encode(pdu) for pdu in pdus))
            await esme.until(lambda wanted=300 * round_: len(esme.delivered) == wanted)  # type: ignore[misc]
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
            inside = gateway.gateway
            (connection,) = inside.smpp.connections
            port = inside.smpp.deliveries.ports[1]
            (north,) = inside.carriers
            assert connection.session.outstanding == connection.unanswered == 0
            memory = inside.store.memory
            left = (port.ready, port.busy, port.parked, north.buffer, memory.leases, memory.active.groups)
            assert [len(one) for one in left] == [0] * len(left)
            assert port.in_flight == north.in_flight == 0


@trio_test(mock_clock=True)
async def test_metrics_show_customers_beside_carriers(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering)) as (gateway, _), bound(gateway.world) as esme:
        await esme.submit()
        await esme.ask(esme.message("12"))
        await esme.until(lambda: esme.delivered)
        await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
        _, text = await gateway.http("GET", "/metrics")
        submits = 'signalbox_smpp_pdus_total{command="submit_sm",peer="acme",side="esme",status='
        for line in (
            'signalbox_smpp_sessions{mode="transceiver",peer="acme",side="esme",state="bound"} 1.0',
            'signalbox_smpp_sessions{mode="transceiver",peer="north",side="carrier",state="bound"} 1.0',
            submits + '"ESME_ROK"} 1.0',
            submits + '"ESME_RINVDSTADR"} 1.0',
            'signalbox_smpp_deliveries_total{fate="delivered",peer="acme"} 1.0',
            'signalbox_smpp_connections{state="bound"} 1.0',
            'signalbox_messages_accepted_total{account="acme",api="smpp"} 1.0',
        ):
            assert line in text, line
        assert text.count("# TYPE signalbox_smpp_sessions ") == 1


@trio_test(mock_clock=True)
async def test_metrics_show_locks_and_when_the_certificate_ends(tmp_path: Path) -> None:
    files = Files(tmp_path)
    end = datetime(2041, 1, 1, tzinfo=UTC)
    issued = files.authority.issue_cert("smsc.example", not_after=end)
    files.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    files.key.write_bytes(issued.private_key_pem.bytes())
    tls = f'listen_tls = ["127.0.0.1:3550"]\ntls_cert_file = "{files.certificate}"\n'
    toml = TOML.replace("[smpp]\n", f'[smpp]\ntls_key_file = "{files.key}"\nlock_failures = 1\n' + tls)
    async with house(tmp_path, toml=toml) as (gateway, _):
        async with connected(gateway.world) as esme:
            assert (await esme.bind(password="wrong")).command_status == Status.ESME_RINVPASWD
        _, text = await gateway.http("GET", "/metrics")
        for line in (
            'signalbox_smpp_lockouts_active{kind="login"} 1.0',
            'signalbox_smpp_lockouts_active{kind="address"} 0.0',
            'signalbox_smpp_lockouts_total{kind="login"} 1.0',
            'signalbox_smpp_lockouts_total{kind="never_asked"} 0.0',
        ):
            assert line in text, line
        (shown,) = re.findall(r"\nsignalbox_smpp_certificate_expiry_timestamp_seconds (.*)\n", text)
        assert float(shown) == end.timestamp()
    plain = tmp_path / "plain"
    plain.mkdir()
    async with house(plain) as (gateway, _):
        _, text = await gateway.http("GET", "/metrics")
        assert "\nsignalbox_smpp_certificate_expiry_timestamp_seconds" not in text


@trio_test(mock_clock=True)
async def test_a_customer_that_is_away_is_called_by_outbind_and_gets_its_receipts(tmp_path: Path) -> None:
    async with house(tmp_path, Script(delivering), outbind="127.0.0.1:2900", outbind_password="ours") as (
        gateway,
        _,
    ):
        async with bound(gateway.world, "transmitter") as esme:
            id = await esme.submit()
            await gateway.final(id)
        (listener,) = await gateway.world.listen("127.0.0.1", 2900)
        called = Esme(await listener.accept())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(called.run)
            await called.until(lambda: called.pdus)
            (outbind,) = called.pdus
            assert isinstance(outbind, Outbind)
            assert (outbind.system_id, outbind.password) == (b"Signalbox", b"ours")
            assert (await called.bind(kind="receiver")).command_status == 0
            await called.until(lambda: called.delivered)
            assert text_of(called.delivered[0]).startswith(f"id:{id} ")
            await gateway.until(lambda: not gateway.gateway.store.outbox_backlog())
            nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_two_submits_of_a_kind_in_one_read_are_two_messages(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, script), bound(gateway.world) as esme:
        pair = [
            SubmitSm(
                source_addr_ton=5, source_addr=b"ACME", dest_addr_ton=1,
                destination_addr=b"44770090012%d" % n, short_message=b"Hi %d" % n, sequence_number=n,
            )
            for n in (7, 8)
        ]  # fmt: skip
        await esme.stream.send_all(b"".join(map(codec.encode, pair)))
        await esme.until(lambda: len([pdu for pdu in esme.pdus if isinstance(pdu, SubmitSmResp)]) == 2)
        await gateway.until(lambda: len(script.submits) == 2)
        assert {(pdu.destination_addr, pdu.short_message) for pdu in script.submits} == {
            (pdu.destination_addr, pdu.short_message) for pdu in pair
        }
