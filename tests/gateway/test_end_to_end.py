"""A message from HTTP to a carrier, its receipt back and the callback out: good days and bad ones.

The whole gateway on MockClock and memory streams, with the embedded simulators or a carrier the test writes.

Deliberately not here: kills (tests/crash), real sockets and foreign peers (tests/interop).
"""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
import trio

from gateway.callbacks.signature import verify
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from router.nouns import ReceiptFate
from smpp.constants import Tlv
from smpp.pdu import DataSm, DeliverSm, Pdu, SubmitSm, SubmitSmResp, Unbind
from smpp.status import Status
from tests.gateway.house import (
    SECRET,
    MemoryWorld,
    Script,
    carrier,
    route,
    running,
    running_with,
    simulator,
)
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")


@trio_test(mock_clock=True)
async def test_a_message_is_delivered_and_its_callback_carries_a_valid_signature(tmp_path: Path) -> None:
    async with running(tmp_path, ONE + simulator("sim", 2776)) as house:
        message_id = await house.submit("447700900123", client_ref="order-1")
        message = await house.final(message_id)
        assert message["state"] == "DELIVERED"
        await house.until(lambda: house.customer.posts)
        headers, body = house.customer.posts[0]
        now_s = house.world.wall_ms() / 1000
        verify(
            [SECRET],
            headers["webhook-id"],
            headers["webhook-timestamp"],
            body,
            headers["webhook-signature"],
            now_s,
        )
        (event,) = house.customer.of(message_id)
        assert (event["state"], event["final"], event["client_ref"]) == ("DELIVERED", True, "order-1")


# what a carrier may do to one message


@trio_test(mock_clock=True)
async def test_a_number_that_cannot_be_reached_ends_undeliverable_by_its_receipt(tmp_path: Path) -> None:
    async with running(tmp_path, ONE + simulator("sim", 2776)) as house:
        message = await house.final(await house.submit("447700909901"))
        assert (message["state"], message["reason"]) == ("UNDELIVERABLE", "receipt")


@trio_test(mock_clock=True)
async def test_fm01_a_link_that_drops_with_a_full_window_loses_nothing(tmp_path: Path) -> None:
    toml = carrier("sim", 2790, window=20) + route("sim")
    cutting = SimulatedSmsc(Behaviour(cut_every=15, response_delay_s=(0.2, 0.2)))
    async with running_with(tmp_path, toml, cutting) as (house, _):
        ids = [await house.submit(f"4477009001{number:02}") for number in range(40)]
        messages = [await house.final(one) for one in ids]
        assert {message["state"] for message in messages} == {"DELIVERED"}
        assert any(message.get("possible_duplicate") for message in messages)
        assert cutting.tally.cuts >= 2
        await house.until(lambda: len(house.customer.events) >= 40)
        assert all(len(house.customer.of(one)) == 1 for one in ids)


@trio_test(mock_clock=True)
async def test_fm02_a_response_after_its_timeout_is_still_matched(tmp_path: Path) -> None:
    toml = carrier("sim", 2776, response_timeout_s=1) + route("sim")
    toml += simulator("sim", 2776, response_delay_s=[3, 3])
    async with running(tmp_path, toml) as house:
        message = await house.final(await house.submit("447700900123"))
        assert message["state"] == "DELIVERED"
        assert house.gateway.simulators[0].tally.submits == 1


@trio_test(mock_clock=True)
async def test_fm03_a_submit_nobody_answers_is_sent_again_and_then_left_to_the_operator(
    tmp_path: Path,
) -> None:
    toml = carrier("sim", 2776, retry={"max_attempts": 2}) + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        message_id = await house.submit("447700909907")
        message = await house.when(message_id, "unknown")
        assert message["reason"] == "outcome_unknown"
        assert message["possible_duplicate"] is True
        assert house.gateway.simulators[0].tally.submits == 2
        assert house.gateway.carriers[0].in_flight == 0


@trio_test(mock_clock=True)
async def test_fm04_throttled_is_sent_again_without_counting_and_without_touching_others(
    tmp_path: Path,
) -> None:
    toml = carrier("one", 2776) + carrier("two", 2777) + simulator("one", 2776) + simulator("two", 2777)
    toml += '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["one"]\n' + route("two")
    async with running(tmp_path, toml) as house:
        message_id = await house.submit("447700909904")
        other = await house.submit("4915112345678")
        message = await house.final(message_id)
        assert message["state"] == "DELIVERED"
        assert message["attempts"] == 1
        assert (await house.final(other))["state"] == "DELIVERED"
        counts = house.gateway.counts
        assert counts.carrier("one").throttled == 1
        assert counts.carrier("two").throttled == 0


@trio_test(mock_clock=True)
async def test_fm05_a_full_queue_waits_longer_than_a_throttle(tmp_path: Path) -> None:
    async with running(tmp_path, ONE + simulator("sim", 2776)) as house:
        began = trio.current_time()
        message = await house.final(await house.submit("447700909908"))
        assert message["state"] == "DELIVERED"
        assert trio.current_time() - began >= 15
        assert house.gateway.counts.carrier("sim").throttled == 1


@trio_test(mock_clock=True)
async def test_fm06_a_permanent_refusal_is_final_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, ONE + simulator("sim", 2776)) as house:
        message = await house.final(await house.submit("447700909906"))
        assert (message["state"], message["reason"]) == ("UNDELIVERABLE", "refused_by_carrier")
        assert any("ESME_RINVDSTADR" in step.get("detail", "") for step in message["timeline"])


@trio_test(mock_clock=True)
@pytest.mark.parametrize("status", [0x420, 0x99, 0xFFFFFFFF])
async def test_fm06_a_status_nobody_knows_is_tried_again_and_kept_as_it_was(
    tmp_path: Path, status: int
) -> None:
    def refuse(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if pdu.command != "submit_sm":
            return []
        return [SubmitSmResp(command_status=status, sequence_number=pdu.sequence_number)]

    toml = carrier("odd", 2790, retry={"max_attempts": 3}) + route("odd")
    async with running_with(tmp_path, toml, Script(refuse)) as (house, script):
        message = await house.final(await house.submit("447700900123"))
        assert (message["state"], message["reason"]) == ("UNDELIVERABLE", "too_many_attempts")
        assert len(script.submits) == 3
        assert any(f"{status:08x}" in step.get("detail", "").lower() for step in message["timeline"])


@trio_test(mock_clock=True)
async def test_fm07_a_refused_bind_backs_off_and_does_not_hammer(tmp_path: Path) -> None:
    toml = carrier("sim", 2776, password="wrong", reconnect_min_s=1, reconnect_max_s=60)
    world = MemoryWorld()
    async with running(tmp_path, toml + route("sim") + simulator("sim", 2776), world) as house:
        await trio.sleep(600)
        dialled = world.dialled[2776]
        assert 10 <= len(dialled) <= 30
        waits = [later - earlier for earlier, later in pairwise(dialled)]
        assert max(waits) <= 62
        assert min(waits[8:]) >= 30
        assert house.gateway.not_ready() == "no carrier is bound"
        assert "ESME_RINVPASWD" in house.gateway.carriers[0].links[0].last_error


@trio_test(mock_clock=True)
async def test_an_unbind_of_the_carrier_is_answered_before_the_link_ends(tmp_path: Path) -> None:
    toml = carrier("odd", 2790, unbind_pause_s=7) + route("odd")
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        began = trio.current_time()
        await script.send(Unbind(sequence_number=9))
        await house.until(lambda: script.pdus[-1].command == "unbind_resp")
        assert script.pdus[-1].sequence_number == 9
        await script.streams[0].aclose()
        await house.until(lambda: len(script.streams) == 2)
        assert 7 <= trio.current_time() - began < 9


@trio_test(mock_clock=True)
async def test_only_throttle_answers_count_as_throttled(tmp_path: Path) -> None:
    def refuse(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if pdu.command != "submit_sm" or len(script.submits) > 1:
            return []
        return [SubmitSmResp(command_status=Status.ESME_RINVSYSTYP, sequence_number=pdu.sequence_number)]

    async with running_with(tmp_path, carrier("odd", 2790) + route("odd"), Script(refuse)) as (house, script):
        await house.submit("447700900123")
        await house.until(lambda: len(script.submits) == 2)
        assert trio.current_time() > 30  # refused_pause_s
        assert house.gateway.counts.carrier("odd").throttled == 0


@trio_test(mock_clock=True)
async def test_no_retry_is_planned_beyond_the_validity(tmp_path: Path) -> None:
    toml = (
        carrier("sim", 2776, retry={"first_s": 600}) + route("sim") + simulator("sim", 2776, error_rate=1.0)
    )
    async with running(tmp_path, toml) as house:
        message_id = await house.submit("447700900123", validity_s=60)
        message = await house.when(message_id, "deferred")
        assert message["waiting_until"] <= message["expires_at"]


@trio_test(mock_clock=True)
async def test_fm08_a_link_whose_enquire_link_is_not_answered_is_dropped_and_bound_again(
    tmp_path: Path,
) -> None:
    def silent(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        return [] if pdu.command == "bind_transceiver" else [b""]

    toml = carrier("dead", 2790, enquire_link_s=10, response_timeout_s=5) + route("dead")
    async with running_with(tmp_path, toml, Script(silent)) as (house, script):
        await house.until(lambda: len(script.streams) >= 2)
        assert any(pdu.command == "enquire_link" for pdu in script.pdus)
        assert trio.current_time() < 60


@trio_test(mock_clock=True)
async def test_fm09_a_half_open_link_is_noticed_and_its_message_goes_out_again(tmp_path: Path) -> None:
    def half_open(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        deaf = len(script.streams) == 1 and pdu.command != "bind_transceiver"
        return [b""] if deaf else []

    toml = carrier("half", 2790, enquire_link_s=10, response_timeout_s=20) + route("half")
    async with running_with(tmp_path, toml, Script(half_open)) as (house, script):
        await house.bound()
        message_id = await house.submit("447700900123")
        await house.until(lambda: len(script.submits) == 2)
        await house.until(lambda: house.gateway.carriers[0].in_flight == 0)
        message = await house.message(message_id)
        assert (message["phase"], message["possible_duplicate"]) == ("awaiting_receipt", True)


@trio_test(mock_clock=True)
async def test_a_silent_carrier_ends_in_the_accounts_own_state_after_validity_and_grace(
    tmp_path: Path,
) -> None:
    toml = ONE + simulator("sim", 2776) + "[receipts]\ngrace_s = 60\n"
    async with running(tmp_path, toml) as house:
        message = await house.final(await house.submit("447700909905", validity_s=300), 4000)
        assert (message["state"], message["reason"]) == ("EXPIRED", "no_receipt")


# receipts


@trio_test(mock_clock=True)
async def test_fm10_a_receipt_before_the_response_delivers_the_message(tmp_path: Path) -> None:
    toml = ONE + simulator("sim", 2776, early_receipts=1.0, response_delay_s=[0.5, 0.5])
    async with running(tmp_path, toml) as house:
        message_id = await house.submit("447700900123")
        assert (await house.final(message_id))["state"] == "DELIVERED"
        await house.until(lambda: house.customer.of(message_id))
        assert house.gateway.counts.carrier("sim").receipts.keys() == {(2, ReceiptFate.PARKED)}


@trio_test(mock_clock=True)
async def test_fm11_receipts_on_another_bind_and_another_carrier_of_the_group_are_matched(
    tmp_path: Path,
) -> None:
    toml = carrier("one", 2790, receipt_group="north") + carrier("two", 2790, receipt_group="north")
    other = SimulatedSmsc(Behaviour(receipts_on="other"))
    async with running_with(tmp_path, toml + route("one"), other) as (house, _):
        await house.bound()
        assert (await house.final(await house.submit("447700900123")))["state"] == "DELIVERED"
        assert house.gateway.counts.carrier("two").receipts
        assert not house.gateway.counts.carrier("one").receipts


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("responses", "receipts"), [("hex", "dec"), ("dec", "hex"), ("hex", "same"), ("dec", "padded")]
)
async def test_fm14_ids_in_another_form_find_their_message(
    tmp_path: Path, responses: str, receipts: str
) -> None:
    toml = ONE + simulator("sim", 2776, id_form=responses, receipt_id_form=receipts)
    async with running(tmp_path, toml) as house:
        for number in ("447700900123", "447700900124", "447700900125"):
            assert (await house.final(await house.submit(number)))["state"] == "DELIVERED"


@trio_test(mock_clock=True)
async def test_fm16_a_long_message_has_an_id_for_each_part_and_one_final_callback(tmp_path: Path) -> None:
    async with running(tmp_path, ONE + simulator("sim", 2776)) as house:
        seen: list[bytes] = []
        house.gateway.simulators[0].on_submit = lambda pdu, _: seen.append(pdu.short_message[:6])
        message_id = await house.submit("447700900123", "long " * 80)
        message = await house.final(message_id)
        assert (message["state"], message["segments"]) == ("DELIVERED", 3)
        assert len({part["carrier_message_id"] for part in message["parts"]}) == 3
        assert [udh[5] for udh in seen] == [1, 2, 3]
        await house.until(lambda: house.customer.of(message_id))
        await trio.sleep(30)
        assert [event["final"] for event in house.customer.of(message_id)] == [True]


@trio_test(mock_clock=True)
async def test_fm16_with_a_window_of_one_parts_follow_each_other_as_fast_as_they_are_answered(
    tmp_path: Path,
) -> None:
    toml = carrier("sim", 2776, window=1) + route("sim") + simulator("sim", 2776, response_delay_s=[0.1, 0.1])
    async with running(tmp_path, toml) as house:
        await house.bound()
        began = trio.current_time()
        message_id = await house.submit("447700900123", "long " * 250)
        await house.until(lambda: house.gateway.simulators[0].tally.submits == 9)
        assert trio.current_time() - began < 2
        assert (await house.final(message_id))["state"] == "DELIVERED"


# bytes


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(bytes(range(255, 0, -1)) * 4, id="garbage"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", id="http"),
        pytest.param(bytes.fromhex("1603010200010001fc0303") + bytes(500), id="tls-hello"),
        pytest.param(b"\xff\xff\xff\xff" + bytes(12), id="4-gib-command-length"),
    ],
)
async def test_fm19_junk_from_a_carrier_closes_that_link_only(tmp_path: Path, junk: bytes) -> None:
    toml = carrier("odd", 2790, reconnect_min_s=30, reconnect_max_s=60) + carrier("sim", 2776)
    toml += route("sim") + simulator("sim", 2776)
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        await script.send(junk)
        await house.until(lambda: script.closed == 1, 20)
        assert script.pdus[-1].command == "generic_nack"
        bad, good = house.gateway.carriers
        assert not bad.links[0].bound
        assert good.links[0].bound
        assert (await house.final(await house.submit("447700900123")))["state"] == "DELIVERED"
        assert house.gateway.simulators[0].tally.binds == 1
        await house.until(lambda: bad.links[0].bound)


@trio_test(mock_clock=True)
async def test_fm19_junk_instead_of_a_bind_response_closes_that_link_only(tmp_path: Path) -> None:
    def http(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        return [b"HTTP/1.1 400 Bad Request\r\n\r\n"] if len(script.streams) == 1 else []

    async with running_with(tmp_path, carrier("odd", 2790) + route("odd"), Script(http)) as (house, script):
        await house.bound()
        assert (script.closed, len(script.streams)) == (1, 2)


@trio_test(mock_clock=True)
async def test_fm19_a_carrier_that_sends_one_byte_a_minute_loses_that_link_only(tmp_path: Path) -> None:
    toml = carrier("slow", 2790) + carrier("sim", 2776) + route("sim") + simulator("sim", 2776)

    def nothing(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        return [b""]

    async with (
        running_with(tmp_path, toml, Script(nothing)) as (house, script),
        trio.open_nursery() as nursery,
    ):

        async def drip() -> None:
            stream = script.streams[0]
            with suppress(trio.BrokenResourceError):
                for byte in bytes.fromhex("00000015800000090000000000000001"):
                    await stream.send_all(bytes((byte,)))
                    await trio.sleep(60)

        await house.until(lambda: script.streams)
        nursery.start_soon(drip)
        await house.until(lambda: script.closed)
        assert trio.current_time() < 120
        assert (await house.final(await house.submit("447700900123")))["state"] == "DELIVERED"
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_fm22_bodies_where_none_belong_and_none_where_one_belongs_are_taken(tmp_path: Path) -> None:
    def odd(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if not isinstance(pdu, SubmitSm):
            return []
        status, body = (0x0B, b"id9\0") if pdu.destination_addr.endswith(b"1") else (0, b"")
        sequence = pdu.sequence_number
        return [struct.pack(">IIII", 16 + len(body), 0x80000004, status, sequence) + body]

    async with running_with(tmp_path, carrier("odd", 2790) + route("odd"), Script(odd)) as (house, script):
        refused = await house.submit("447700900121")
        taken = await house.submit("447700900122")
        assert (await house.final(refused))["state"] == "UNDELIVERABLE"
        await house.until(lambda: len(script.submits) == 2 and not house.gateway.carriers[0].in_flight)
        assert (await house.message(taken))["phase"] == "awaiting_receipt"
        assert len(script.streams) == 1


# MOs


@trio_test(mock_clock=True)
async def test_fm23_a_data_sm_receipt_and_an_mo_in_message_payload_are_read(tmp_path: Path) -> None:
    async with running_with(tmp_path, carrier("odd", 2790) + route("odd"), Script()) as (house, script):
        message_id = await house.submit("447700900123")
        await house.until(lambda: script.submits and not house.gateway.carriers[0].in_flight)
        tlvs = ((int(Tlv.RECEIPTED_MESSAGE_ID), b"id1\0"), (int(Tlv.MESSAGE_STATE), b"\x02"))
        await script.send(
            DataSm(
                source_addr=b"447700900123",
                destination_addr=b"12345",
                esm_class=4,
                tlvs=tlvs,
                sequence_number=1,
            )
        )
        assert (await house.final(message_id))["state"] == "DELIVERED"
        payload = ((int(Tlv.MESSAGE_PAYLOAD), b"A reply in a payload"),)
        await script.send(
            DeliverSm(source_addr=b"447700900123", destination_addr=b"12345", tlvs=payload, sequence_number=2)
        )
        await house.until(lambda: len(house.customer.events) == 2)
        received = next(event for event in house.customer.events if event["type"] == "message.received")
        assert received["data"]["text"] == "A reply in a payload"
        assert received["data"]["in_reply_to"] == message_id
        answers = [pdu.command for pdu in script.pdus if pdu.command in ("data_sm_resp", "deliver_sm_resp")]
        assert answers == ["data_sm_resp", "deliver_sm_resp"]


@trio_test(mock_clock=True)
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 2, 1)])
async def test_fm24_parts_of_an_mo_are_answered_one_by_one_and_joined_in_any_order(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    async with running_with(tmp_path, carrier("odd", 2790) + route("odd"), Script()) as (house, script):
        await house.bound()
        for sequence, index in enumerate(order, start=1):
            text = bytes((5, 0, 3, 77, 3, index)) + f"part {index}, ".encode()
            await script.send(
                DeliverSm(
                    source_addr=b"447700900123",
                    destination_addr=b"12345",
                    esm_class=0x40,
                    short_message=text,
                    sequence_number=sequence,
                )
            )
            answered = partial(_answered, script, sequence)
            await house.until(answered, 10)
        await house.until(lambda: house.customer.events)
        await trio.sleep(60)
        (event,) = house.customer.events
        assert event["data"]["text"] == "part 1, part 2, part 3, "


@trio_test(mock_clock=True)
async def test_fm24_parts_that_never_come_do_not_keep_the_others_for_ever(tmp_path: Path) -> None:
    toml = carrier("odd", 2790) + route("odd") + "[messages]\nmo_parts_timeout_s = 120\n"
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        await script.send(
            DeliverSm(
                source_addr=b"447700900123",
                destination_addr=b"12345",
                esm_class=0x40,
                short_message=bytes((5, 0, 3, 78, 2, 2)) + b"the end",
                sequence_number=1,
            )
        )
        await house.until(lambda: house.customer.events)
        assert "the end" in house.customer.events[0]["data"]["text"]


def _answered(script: Script, sequence: int) -> bool:
    return any(pdu.command == "deliver_sm_resp" and pdu.sequence_number == sequence for pdu in script.pdus)


# several carriers


@trio_test(mock_clock=True)
async def test_fm28_a_refusal_that_never_ends_is_not_repeated_in_a_hot_loop(tmp_path: Path) -> None:
    toml = carrier("one", 2776) + carrier("two", 2777) + route("one", "two")
    toml += simulator("one", 2776, error_rate=1.0)
    toml += simulator("two", 2777, error_rate=1.0)
    async with running(tmp_path, toml) as house:
        await house.submit("447700900123")
        await trio.sleep(600)
        submits = sum(one.tally.submits for one in house.gateway.simulators)
        assert 4 <= submits <= 10


@trio_test(mock_clock=True)
async def test_fm37_the_next_carrier_of_a_lane_takes_over_when_the_first_is_down(tmp_path: Path) -> None:
    toml = carrier("first", 2799) + carrier("second", 2776) + route("first", "second")
    async with running(tmp_path, toml + simulator("sim", 2776)) as house:
        message = await house.final(await house.submit("447700900123"))
        assert message["state"] == "DELIVERED"
        assert message["parts"][0]["carrier"] == "second"


@trio_test(mock_clock=True)
async def test_fm37_a_carriers_second_address_is_tried_when_nobody_answers_at_the_first(
    tmp_path: Path,
) -> None:
    toml = carrier("sim", 2799, hosts=["127.0.0.1:2776"]) + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        assert (await house.final(await house.submit("447700900123")))["state"] == "DELIVERED"
        assert house.gateway.carriers[0].links[0].host == "127.0.0.1:2776"


@trio_test(mock_clock=True)
async def test_fm37_with_all_carriers_down_messages_wait_until_one_is_back(tmp_path: Path) -> None:
    world = MemoryWorld()
    async with running(tmp_path, carrier("late", 2790) + route("late"), world) as house:
        message_id = await house.submit("447700900123")
        hopeless = await house.submit("447700900124", validity_s=60)
        assert (await house.final(hopeless))["reason"] == "expired_in_queue"
        assert (await house.message(message_id))["phase"] == "ready"
        script = Script()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script.serve, await world.listen("127.0.0.1", 2790))
            await house.until(lambda: script.submits)
            nursery.cancel_scope.cancel()
        assert [pdu.destination_addr for pdu in script.submits] == [b"447700900123"]


# the end


@trio_test(mock_clock=True)
async def test_fm36_a_stop_waits_for_the_window_unbinds_politely_and_loses_nothing(tmp_path: Path) -> None:
    toml = carrier("sim", 2776, tps=10) + route("sim") + simulator("sim", 2776, response_delay_s=[1, 1])
    world = MemoryWorld()
    with structlog.testing.capture_logs() as logged:
        async with running(tmp_path, toml, world) as house:
            ids = [await house.submit(f"4477009001{number:02}") for number in range(40)]
            simulator_ = house.gateway.simulators[0]
            await house.until(lambda: simulator_.tally.submits >= 10)
            house.gateway.stop()
            await house.gateway.finished.wait()
            assert house.gateway.carriers[0].unknown == 0
            assert simulator_.tally.accepted == simulator_.tally.submits
    assert not [entry for entry in logged if entry["log_level"] == "warning"]
    async with running(tmp_path, toml, world) as house:
        messages = [await house.final(one) for one in ids[simulator_.tally.submits :]]
        assert {message["state"] for message in messages} == {"DELIVERED"}
        assert not any(message.get("possible_duplicate") for message in messages)
        assert house.gateway.simulators[0].tally.submits == 40 - simulator_.tally.submits
