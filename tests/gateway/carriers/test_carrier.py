"""The dispatcher of one carrier: what it claims, sends and gives back, seen from outside.

Deliberately not here: failures of links and answers (tests/gateway/test_end_to_end.py), shares of a lane.
"""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from smpp.alphabet import national_decode
from smpp.pdu import DeliverSm
from tests.gateway.house import Script, carrier, route, running, running_with, simulator
from tests.trio_case import trio_test

LONG = "A long message. " * 20  # three segments


@trio_test(mock_clock=True)
async def test_a_carrier_that_makes_one_pdu_of_a_long_message_never_runs_out_of_room(tmp_path: Path) -> None:
    toml = carrier("sim", 2776, window=4, long_messages="payload") + route("sim") + simulator("sim", 2776)
    async with running(tmp_path, toml) as house:
        ids = [await house.submit(f"4477009001{number:02}", LONG) for number in range(12)]
        assert {(await house.final(one))["state"] for one in ids} == {"DELIVERED"}
        assert house.gateway.simulators[0].tally.submits == 12


@trio_test(mock_clock=True)
async def test_a_slow_carrier_of_a_weighted_lane_goes_on_once_its_window_has_room(tmp_path: Path) -> None:
    toml = carrier("sim", 2790, window=2) + '[[routes]]\nname = "all"\n'
    toml += 'lane = [{ carrier = "sim", weight = 1 }, { carrier = "gone", weight = 1 }]\n'
    toml += carrier("gone", 2791)
    slow = SimulatedSmsc(Behaviour(response_delay_s=(3, 3)))
    async with running_with(tmp_path, toml, slow) as (house, _):
        ids = [await house.submit(f"4477009001{number:02}") for number in range(6)]
        assert {(await house.final(one))["state"] for one in ids} == {"DELIVERED"}


# a carrier's own encoding

TURKISH = "Sayın müşterimiz, şifreniz: 1234. Güvenliğiniz için kimseyle paylaşmayınız."


@trio_test(mock_clock=True)
async def test_a_national_table_is_used_on_the_wire_and_the_answer_stays_canonical(tmp_path: Path) -> None:
    toml = carrier("one", 2790, national_shift="single", national_languages=["turkish"]) + route("one")
    async with running_with(tmp_path, toml, Script()) as (house, script):
        status, answer = await house.http(
            "POST", "/v1/messages", {"to": "447700900123", "from": "ACME", "text": TURKISH}
        )
        assert (status, answer["encoding"], answer["segments"]) == (202, "ucs2", 2)
        await house.until(lambda: script.submits)
        (pdu,) = script.submits
        assert (pdu.esm_class, pdu.data_coding, pdu.short_message[:4].hex()) == (0x40, 0, "03240101")
        assert national_decode(pdu.short_message[4:], 0, 1, strict=True) == TURKISH


@trio_test(mock_clock=True)
async def test_a_carrier_with_packed_septets_is_written_and_read_so(tmp_path: Path) -> None:
    toml = carrier("one", 2790, alphabet="gsm7-packed") + route("one")
    async with running_with(tmp_path, toml, Script(), numbers=("12345",)) as (house, script):
        await house.submit("447700900123", "hellohello")
        await house.until(lambda: script.submits)
        assert script.submits[0].short_message.hex() == "e8329bfd4697d9ec37"
        await script.send(
            DeliverSm(
                source_addr=b"447700900123",
                destination_addr=b"12345",
                short_message=bytes.fromhex("e8329bfd4697d9ec37"),
                sequence_number=1,
            )
        )
        await house.until(lambda: house.customer.events)
        assert house.customer.events[0]["data"]["text"] == "hellohello"


# carriers that take only short messages

TWO = simulator("one", 2776) + simulator("two", 2777)


@trio_test(mock_clock=True)
async def test_a_message_too_long_for_the_first_choice_goes_to_the_next_at_once(tmp_path: Path) -> None:
    toml = carrier("one", 2776, max_parts=2) + carrier("two", 2777) + route("one", "two") + TWO
    async with running(tmp_path, toml) as house:
        await house.bound()
        short, long = await house.submit("447700900123"), await house.submit("447700900124", LONG)
        assert (await house.final(long, patience_s=3))["parts"][0]["carrier"] == "two"
        assert (await house.final(short))["parts"][0]["carrier"] == "one"


@trio_test(mock_clock=True)
async def test_a_message_too_long_for_every_carrier_of_its_route_is_refused_with_their_limit(
    tmp_path: Path,
) -> None:
    toml = carrier("one", 2776, max_parts=2) + carrier("two", 2777, max_parts=1) + route("one", "two") + TWO
    async with running(tmp_path, toml) as house:
        body = {"to": "447700900123", "from": "12345", "text": LONG}
        status, answer = await house.http("POST", "/v1/messages", body)
        assert status == 422
        assert answer["type"].endswith("too-long")
        assert "needs 3 segments; max_parts of the carriers of route 'all' is 2" in str(answer)


@trio_test(mock_clock=True)
async def test_length_counts_in_the_carriers_own_encoding_and_way_of_long_messages(tmp_path: Path) -> None:
    latin1 = carrier("one", 2776, max_parts=1, alphabet="latin1")  # sends what it lacks as UCS-2
    payload = carrier("two", 2777, max_parts=1, long_messages="payload")
    async with running(tmp_path, latin1 + payload + route("one", "two") + TWO) as house:
        await house.bound()
        greek = await house.submit("447700900123", "\u0394" * 80)  # one segment of GSM 03.38
        latin = await house.submit("447700900124", "a" * 80)
        long = await house.submit("447700900125", LONG)
        assert (await house.final(greek, patience_s=3))["parts"][0]["carrier"] == "two"
        assert (await house.final(latin))["parts"][0]["carrier"] == "one"
        assert (await house.final(long, patience_s=3))["parts"][0]["carrier"] == "two"


@trio_test(mock_clock=True)
async def test_a_message_that_waited_while_a_limit_was_lowered_goes_to_the_next_carrier(
    tmp_path: Path,
) -> None:
    lane = route("one", "two")
    async with running(tmp_path, carrier("one", 2776) + carrier("two", 2777) + lane) as house:
        long = await house.submit("447700900123", LONG)
    async with running(
        tmp_path, carrier("one", 2776, max_parts=2) + carrier("two", 2777) + lane + TWO
    ) as house:
        message = await house.final(long, patience_s=30)
        assert message["parts"][0]["carrier"] == "two"
        assert any("max_parts is 2" in step.get("detail", "") for step in message["timeline"])
