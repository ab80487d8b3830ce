"""The dispatcher of one carrier: what it claims, sends and gives back, seen from outside.

Deliberately not here: failures of links and answers (tests/gateway/test_end_to_end.py), shares of a lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from router.nouns import Outcome, Phase, Taken
from smpp import receipt
from smpp.alphabet import national_decode
from smpp.codec import encode
from smpp.pdu import DeliverSm, GenericNack, Pdu, SubmitSm, SubmitSmResp
from tests.gateway.house import Running, Script, carrier, route, running, running_with, simulator
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


@trio_test(mock_clock=True)
async def test_a_carrier_of_a_low_rate_gets_it_while_answers_come_at_once(tmp_path: Path) -> None:
    toml = carrier("one", 2790, tps=20, sessions=2) + route("one")
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        await trio.sleep(2)
        began = trio.current_time()
        await _sent(house, 60)
        await house.until(lambda: len(script.submits) == 60)
        assert trio.current_time() - began < 3.5


Answers = Sequence[Outcome | Taken]


def _noting(add: Callable[[Answers], None], ids: list[int]) -> Callable[[Answers], None]:
    def noting(outcomes: Answers) -> None:
        for one in outcomes:
            ids.extend([each.message.id for each in one.leased] if isinstance(one, Taken) else [one.id])
        add(outcomes)

    return noting


@trio_test(mock_clock=True)
async def test_answers_of_all_kinds_in_one_read_are_each_counted_and_settled(tmp_path: Path) -> None:
    toml = carrier("one", 2790, window=30) + route("one")
    statuses = {3: 0x0B, 7: 0x0A, 8: 0x0B}  # by the order in which they came

    def in_one_go(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if not isinstance(pdu, SubmitSm):
            return []
        if len(script.submits) < 10:
            return [b""]
        return [
            b"".join(
                encode(
                    GenericNack(command_status=0x0B, sequence_number=submit.sequence_number)
                    if number == 2
                    else SubmitSmResp(
                        message_id=b"" if number in statuses else b"id%d" % number,
                        tlvs=((0x0428, b"\0"),) if number % 5 == 0 else (),
                        command_status=statuses.get(number, 0),
                        sequence_number=submit.sequence_number,
                    )
                )
                for number, submit in enumerate(script.submits)
            )
        ]

    async with running_with(tmp_path, toml, Script(in_one_go)) as (house, script):
        await house.bound()
        committer = house.gateway.committer
        settled: list[int] = []
        committer.add_outcomes = _noting(committer.add_outcomes, settled)  # type: ignore[assignment]
        ids = [await house.submit(f"4477009001{number:02}", receipt="none") for number in range(10)]
        states = [(await house.final(one))["state"] for one in ids]
        order = [int(pdu.destination_addr[-2:]) for pdu in script.submits]
        assert {number for number, state in enumerate(states) if state != "ACCEPTED"} == {
            order[number] for number in (*statuses, 2)
        }
        assert settled == [int(ids[number]) for number in order], "in the order of the answers"
        (one,) = house.gateway.carriers
        assert one.counts.statuses == {0: 6, 0x0B: 3, 0x0A: 1}
        assert sum(one.counts.response_seconds.counts) == 9, "a generic_nack has no time"
        assert one.in_flight == 0


@trio_test(mock_clock=True)
async def test_answers_to_short_and_long_messages_in_one_read_are_each_settled(tmp_path: Path) -> None:
    def in_one_go(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if not isinstance(pdu, SubmitSm):
            return []
        if len(script.submits) < 5:
            return [b""]
        submits = list(enumerate(script.submits))
        return [
            b"".join(
                encode(SubmitSmResp(b"id%d" % at, sequence_number=one.sequence_number)) for at, one in submits
            )
        ]

    toml = carrier("one", 2790, window=30) + route("one")
    async with running_with(tmp_path, toml, Script(in_one_go)) as (house, script):
        await house.bound()
        texts = ("one", LONG, "two")
        ids = [await house.submit(f"4477009001{at:02}", text) for at, text in enumerate(texts)]
        for id in ids:
            await house.when(id, "awaiting_receipt")
        (one,) = house.gateway.carriers
        assert (one.counts.statuses, one.in_flight) == ({0: 5}, 0)
        assert sum(one.counts.response_seconds.counts) == 5
        for at, submit in enumerate(script.submits):
            told = DeliverSm(
                source_addr=submit.destination_addr,
                destination_addr=submit.source_addr,
                short_message=receipt.format(f"id{at}", receipt.DELIVERED, submit_ms=0, done_ms=0),
                esm_class=4,
                sequence_number=at + 1,
            )
            await script.send(told)
        assert {(await house.final(id))["state"] for id in ids} == {"DELIVERED"}


# a message that ends links

POISON = b"the one that must not be"


def poisoned(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
    """A carrier that ends the link at a certain text, and takes all others."""
    if isinstance(pdu, SubmitSm) and pdu.short_message == POISON:
        raise trio.BrokenResourceError
    return []


class Fragile(Script):
    """Ends a link where its handler raises BrokenResourceError."""

    async def _carry(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            await super()._carry(stream)


async def _sent(house: Running, count: int, **fields: object) -> tuple[str, list[str]]:
    """A poisonous one in the middle of so many others."""
    body: list[dict[str, object]] = [
        {"to": f"4477009{number:05}", "from": "12345", "text": f"n {number}", "receipt": "none", **fields}
        for number in range(count)
    ]
    body[count // 3]["text"] = POISON.decode()
    status, answer = await house.http("POST", "/v1/messages/batch", body)
    assert status == 200, answer
    ids = [one["id"] for one in answer["results"]]
    return ids.pop(count // 3), ids


@pytest.mark.parametrize(
    ("settings", "fields", "links_lost", "within_s"),
    [
        ({}, {"class": "transactional"}, 4, 80),
        ({"sessions": 3, "window": 7}, {"class": "transactional"}, 4, 80),
        ({"suspect_after": 1}, {"class": "otp"}, 2, 3),
        ({"suspect_after": 1, "sessions": 2, "window": 60}, {"class": "otp"}, 2, 3),
        ({"suspect_after": 1, "sessions": 2, "tps": 20}, {"class": "otp"}, 2, 6),
        ({"suspect_after": 1, "tps": 20, "throttle_scope": "bind"}, {"class": "otp"}, 2, 6),
        ({"suspect_after": 1, "window": 1}, {"class": "otp"}, 2, 3),
        ({"suspect_after": 2, "long_messages": "payload"}, {"class": "transactional"}, 3, 80),
    ],
)
@trio_test(mock_clock=True)
async def test_a_message_that_ends_every_link_is_found_and_held_and_all_others_arrive(
    tmp_path: Path, settings: dict[str, Any], fields: dict[str, Any], links_lost: int, within_s: float
) -> None:
    toml = carrier("one", 2790, **{"window": 30, **settings}) + route("one")
    async with running_with(tmp_path, toml, Fragile(poisoned)) as (house, script):
        await house.bound()
        began = trio.current_time()
        poison, others = await _sent(house, 60, **fields)
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == len(others))
        assert trio.current_time() - began < within_s
        for id in others:
            assert (await house.final(id))["state"] == "ACCEPTED"
        message = await house.when(poison, "unknown")
        assert message["reason"] == "suspect"
        assert [one["detail"] for one in message["timeline"] if one["step"] == "held"] == ["SUSPECT"]
        sent = Counter(pdu.destination_addr for pdu in script.submits if pdu.short_message != POISON)
        assert max(sent.values()) <= 2
        assert sum(pdu.short_message == POISON for pdu in script.submits) == links_lost
        await house.bound()
        assert not any(link.kept for link in house.gateway.carriers[0].links)


@trio_test(mock_clock=True)
async def test_after_the_last_but_one_lost_link_a_message_has_the_next_one_for_itself(tmp_path: Path) -> None:
    toml = carrier("one", 2790, suspect_after=2, window=30) + route("one")
    beside: list[int] = []

    def watched(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if isinstance(pdu, SubmitSm) and pdu.short_message == POISON:
            (link,) = house.gateway.carriers[0].links
            beside.append(link.session.outstanding if link.session else 0)
        return poisoned(script, pdu)

    async with running_with(tmp_path, toml, Fragile(watched)) as (house, _):
        await house.bound()
        poison, _ = await _sent(house, 30, **{"class": "otp"})
        await house.when(poison, "unknown")
        assert (len(beside), beside[-1]) == (3, 1)
        release = house.gateway.verbs.table()["store.release"]
        done: Any = await release({"reason": "unknown"})
        assert done["released"] == 0
        done = await release({"reason": "suspect", "carrier": "one"})
        assert done["released"] == 1
        await house.until(lambda: len(beside) == 4)
        await house.when(poison, "unknown")
        assert beside[-1] == 1


@trio_test(mock_clock=True)
async def test_a_message_that_only_had_bad_luck_arrives_once_it_is_alone(tmp_path: Path) -> None:
    toml = carrier("one", 2790, suspect_after=2) + route("one")
    luck = [0]

    def unlucky(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if isinstance(pdu, SubmitSm) and luck[0] < 2:
            luck[0] += 1
            raise trio.BrokenResourceError
        return []

    async with running_with(tmp_path, toml, Fragile(unlucky)) as (house, script):
        id = await house.submit("447700900123", "Hello", receipt="none", **{"class": "transactional"})
        message = await house.final(id)
        assert (message["state"], len(script.submits)) == ("ACCEPTED", 3)
        assert [one["detail"] for one in message["timeline"] if one["step"] == "deferred"] == [
            "OUTCOME_UNKNOWN",
            "SUSPECT",
        ]
        await house.bound()
        assert house.gateway.carriers[0].links[0].room == 10


@trio_test(mock_clock=True)
async def test_a_long_message_has_a_link_for_itself_until_all_its_parts_are_answered(tmp_path: Path) -> None:
    toml = carrier("one", 2790, suspect_after=1, window=1, sessions=2) + route("one")
    luck = [0]

    def unlucky(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        if isinstance(pdu, SubmitSm) and pdu.esm_class & 0x40 and not luck[0]:
            luck[0] += 1
            raise trio.BrokenResourceError
        return []

    async with running_with(tmp_path, toml, Fragile(unlucky)) as (house, script):
        await house.bound()
        id = await house.submit("447700900123", LONG, **{"class": "otp"})
        others = [await house.submit(f"4477009{number:05}", **{"class": "otp"}) for number in range(20)]
        for one in (id, *others):
            assert (await house.when(one, "awaiting_receipt"))["attempts"] >= 1
        assert (
            len(script.submits) == 3 + 3 + 20
        )  # what was not sent yet when the link was lost went over the other
        await house.until(lambda: not any(link.kept for link in house.gateway.carriers[0].links))


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
