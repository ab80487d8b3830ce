"""Traces of a whole gateway: only what was asked for, nothing that may not be seen, and no cost when over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trio

from gateway import tracing
from gateway.admin import AdminError
from gateway.cli import trace as cli
from gateway.pdu_view import Sight, same_number
from gateway.tracing import Filter, Tap, Trace, _borders
from router.nouns import Login
from router.roles import Role
from smpp import codec
from smpp.pdu import DeliverSm, Pdu, SubmitSm, SubmitSmResp
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

TO, OTHER = "447700900123", "447700900777"
SECRET_TEXT, PASSWORD = "Your code is 4711", "secret"
TOML = (
    '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
    + carrier("north", 2790, sessions=2)
    + carrier("south", 2790)
    + route("north")
)


def answered(script: Script, pdu: Pdu) -> Iterable[Pdu]:
    """Its second submit is throttled; each accepted one is delivered at once."""
    if isinstance(pdu, SubmitSm):
        if len(script.submits) == 2:
            yield SubmitSmResp(command_status=0x58, sequence_number=pdu.sequence_number)
            return
        id = b"id%d" % len(script.submits)
        yield SubmitSmResp(message_id=id, sequence_number=pdu.sequence_number)
        yield DeliverSm(
            source_addr=pdu.destination_addr,
            destination_addr=pdu.source_addr,
            esm_class=4,
            short_message=b"id:%b sub:001 dlvrd:001 submit date:2609011200 done date:2609011200 "
            b"stat:DELIVRD err:000 text:%b" % (id, SECRET_TEXT.encode()),
            sequence_number=900 + len(script.submits),
        )


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[Running]:
    login = (Login("acme", (hashed(PASSWORD),)),)
    async with running_with(directory, TOML, Script(answered), logins=login) as (gateway, _):
        gateway.gateway.smpp.gate.passwords = Hashing().passwords
        await gateway.gateway.accounts.create("other", 0, logins=(Login("other", (hashed(PASSWORD),)),))
        await gateway.bound()
        yield gateway


async def ask(house: Running, verb: str, **args: object) -> Any:
    return msgspec.to_builtins(await house.gateway.verbs.table()[verb](args))


async def taken(house: Running, trace: int, wanted: int = 1) -> list[dict[str, Any]]:
    """Records, at least so many."""
    found: list[dict[str, Any]] = []
    with trio.fail_after(30):
        while True:
            after = found[-1]["entry"] if found else 0
            answer = await ask(house, "trace.read", trace=trace, after=after)
            found += answer["records"]
            if len(found) >= wanted and not answer["records"]:
                return found


def taps(house: Running) -> list[object]:
    links = [link.tap for one in house.gateway.carriers for link in one.links]
    customers = [one.tap for one in house.gateway.smpp.connections]
    return [tap for tap in (*links, *customers) if tap is not None]


@trio_test(mock_clock=True)
async def test_pdus_of_a_carrier_are_told_with_names_and_response_times(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        started = await ask(gateway, "trace.start", carrier="north")
        assert started["sessions"] == ["north/1", "north/2"]
        await gateway.submit(TO, SECRET_TEXT)
        records = await taken(gateway, started["trace"], 4)
        assert [(one["direction"], one["command"]) for one in records] == [
            ("out", "submit_sm"), ("in", "submit_sm_resp"), ("in", "deliver_sm"), ("out", "deliver_sm_resp"),
        ]  # fmt: skip
        submit, response, receipt, _ = records
        assert (submit["side"], submit["peer"], submit["status"]) == ("carrier", "north", "ESME_ROK")
        assert submit["fields"]["registered_delivery"] == 1
        assert submit["text_octets"] == len(SECRET_TEXT)
        assert response["response_s"] is not None
        assert response["fields"] == {"message_id": "id1"}
        assert response["answers"]["destination_addr"] == submit["fields"]["destination_addr"]
        assert receipt["receipt"] == {"id": "id1", "state": "DELIVRD", "error": "000", "delivered": 1}
        assert submit["at"].startswith("2026-")


@trio_test(mock_clock=True)
async def test_texts_numbers_and_passwords_stay_hidden_unless_they_were_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        started = await ask(gateway, "trace.start", number=TO)
        links = await ask(gateway, "trace.start", carrier="north")
        north, _ = gateway.gateway.carriers
        for link in north.links:  # so that a bind passes, too
            assert link.session is not None
            link.session.unbind(trio.current_time())
            link.flush()
        await trio.sleep(5)
        await gateway.bound()
        async with bound(gateway.world) as esme:
            await esme.submit(TO, SECRET_TEXT.encode())
            said = json.dumps(await taken(gateway, started["trace"], 4))
            binds = json.dumps(await taken(gateway, links["trace"], 6))
        for told in (said, binds):
            for hidden in (SECRET_TEXT, SECRET_TEXT.encode().hex(), TO, PASSWORD, PASSWORD.encode().hex()):
                assert hidden not in told
        assert '"bind_transceiver"' in binds
        assert "4477*****123" in said

        shown = await ask(gateway, "trace.start", number=TO, text=True, numbers=True)
        await gateway.submit(TO, SECRET_TEXT)
        told = json.dumps(await taken(gateway, shown["trace"], 2))
        assert SECRET_TEXT in told
        assert TO in told
        trail = [one["act"] for one in await ask(gateway, "audit.list", subject="trace:all")]
        assert sorted(trail) == ["message.viewed", "trace.started", "trace.started"]


@trio_test(mock_clock=True)
async def test_a_trace_on_one_bind_sees_only_that_one(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as one, bound(gateway.world) as two:
        started = await ask(gateway, "trace.start", bind="2")
        assert started["sessions"] == ["2"]
        await one.submit(TO)
        await two.submit(OTHER)
        records = await taken(gateway, started["trace"], 2)
        assert {(record["peer"], record["session"]) for record in records} == {("acme", "2")}
        assert {record["command"] for record in records} >= {"submit_sm", "submit_sm_resp"}
        link = await ask(gateway, "trace.start", bind="north/2")
        assert link["sessions"] == ["north/2"]
        assert len(taps(gateway)) == 2


@trio_test(mock_clock=True)
async def test_a_number_is_followed_over_all_sessions_with_its_answers_and_nobody_else(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world) as esme:
        started = await ask(gateway, "trace.start", number="+44 7700 900123", numbers=True)
        await esme.submit(OTHER)
        await esme.submit(TO)
        await gateway.submit(OTHER)
        records = await taken(gateway, started["trace"], 5)
        told = [(one["side"], one["direction"], one["command"]) for one in records]
        assert told[:2] == [("customer", "in", "submit_sm"), ("customer", "out", "submit_sm_resp")] or (
            ("customer", "out", "submit_sm_resp") in told
        )
        assert ("carrier", "out", "submit_sm") in told
        assert ("carrier", "in", "submit_sm_resp") in told
        assert OTHER not in json.dumps(records)
        assert all(
            TO in (one["fields"].get("destination_addr", ""), one["fields"].get("source_addr", ""))
            for one in records
            if not one["command"].endswith("_resp")
        )


@trio_test(mock_clock=True)
async def test_only_answers_that_refuse_or_only_some_commands(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        errors = await ask(gateway, "trace.start", carrier="north", errors=True)
        status = await ask(gateway, "trace.start", carrier="north", statuses=["rthrottled"])
        deliver = await ask(gateway, "trace.start", carrier="north", commands=["deliver_sm"], direction="out")
        for _ in range(3):
            await gateway.submit(TO)
        for started in (errors, status):
            (refused,) = await taken(gateway, started["trace"])
            assert (refused["command"], refused["status"]) == ("submit_sm_resp", "ESME_RTHROTTLED")
            assert refused["answers"] == {
                "source_addr": "*****",
                "destination_addr": "4477*****123",
            }
        assert {one["command"] for one in await taken(gateway, deliver["trace"])} == {"deliver_sm_resp"}


@trio_test(mock_clock=True)
async def test_a_trace_ends_by_time_by_itself_and_when_told_and_leaves_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, bound(gateway.world):
        short = (await ask(gateway, "trace.start", number=TO, for_s=5))["trace"]
        unread = (await ask(gateway, "trace.start", carrier="north", for_s=3600))["trace"]
        stopped = (await ask(gateway, "trace.start", account="acme"))["trace"]
        assert len(taps(gateway)) == 4
        await ask(gateway, "trace.stop", trace=stopped)
        for _ in range(7):
            await trio.sleep(1)
            answer = await ask(gateway, "trace.read", trace=short)
        assert answer["ended"] == "its time is over"
        await trio.sleep(10)
        assert "nobody has read" in (await ask(gateway, "trace.read", trace=unread))["ended"]
        assert taps(gateway) == []
        assert gateway.gateway.traces.running == {}
        await trio.sleep(60)
        with pytest.raises(AdminError, match="no trace"):
            await ask(gateway, "trace.read", trace=unread)


@trio_test(mock_clock=True)
async def test_a_reader_who_asks_at_once_again_waits_a_moment_for_many(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        trace = (await ask(gateway, "trace.start", carrier="north"))["trace"]
        begun, reads = trio.current_time(), 20
        for _ in range(reads):
            await gateway.submit(TO)
            await ask(gateway, "trace.read", trace=trace, after=10_000)
        assert trio.current_time() - begun >= (reads - 1) * tracing._LOOK_S - 0.001


FLOOD = 1_200  # PDUs: some seconds of looking


@trio_test(mock_clock=True)
async def test_what_passed_before_the_end_is_told_after_it(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        trace, said = (await ask(gateway, "trace.start", carrier="north", for_s=3))["trace"], bytearray()
        key = (await gateway.gateway.operators.create("ann", Role.OWNER))[1]

        async def follow() -> None:
            stream = await gateway.world.connect("127.0.0.1", gateway.http_port)
            head = f"GET /v1/trace?carrier=north&for_s=3 HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n"
            async with stream:
                await stream.send_all(head.encode())
                said.extend(b"".join([part async for part in stream]))

        sequences: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.sleep(2.5)
            for one in gateway.gateway.traces.running.values():
                _, tap = next(iter(one.taps.values()))
                for n in range(FLOOD):
                    tap.outward(submit(50_000 + n), trio.current_time())
            answer: dict[str, Any] = {"ended": ""}
            after = 0
            while not answer["ended"] or answer["records"] or answer["waiting"]:
                answer = await ask(gateway, "trace.read", trace=trace, after=after)
                after = answer["records"][-1]["entry"] if answer["records"] else after
                sequences += [one["sequence"] for one in answer["records"]]
        assert answer["ended"] == "its time is over"
        assert [one for one in sequences if one >= 50_000] == list(range(50_000, 50_000 + FLOOD))
        lines = [msgspec.json.decode(one) for one in bytes(said).partition(b"\r\n\r\n")[2].splitlines()]
        assert [one["sequence"] for one in lines if one.get("sequence", 0) >= 50_000] == list(
            range(50_000, 50_000 + FLOOD)
        )
        ends = [one for one in lines if one.get("ended")]
        assert (len(ends), ends[0] is lines[-1], ends[0]["waiting"], ends[0]["dropped"]) == (1, True, 0, 0)


@trio_test(mock_clock=True)
async def test_what_is_not_looked_at_for_half_a_minute_after_the_end_is_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        trace = (await ask(gateway, "trace.start", carrier="north"))["trace"]
        (one,) = gateway.gateway.traces.running.values()
        _, tap = next(iter(one.taps.values()))
        for n in range(FLOOD):
            tap.outward(submit(50_000 + n), trio.current_time())
        last = await ask(gateway, "trace.stop", trace=trace)
        assert last["waiting"] + last["dropped"] == FLOOD
        await trio.sleep(32)
        assert one.dropped == FLOOD


def test_the_command_line_reads_on_after_the_end_and_counts_what_it_leaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reading(waiting: int, *entries: int, ended: str = "its time is over") -> dict[str, Any]:
        records = [{"entry": one} for one in entries]
        return {"records": records, "dropped": 2, "waiting": waiting, "ended": ended}

    class Told:
        def __init__(self, *readings: dict[str, Any]) -> None:
            self.readings = list(readings)

        def ask_running(self, verb: str, **args: object) -> dict[str, Any]:
            return self.readings.pop(0)

    reads = Told(reading(9, 1), reading(5), reading(0, 2), reading(0))
    assert [one["entry"] for one in cli._records(cast(Any, reads), 1, False)] == [1, 2]
    assert "Trace ended: its time is over; 2 PDUs not shown." in capsys.readouterr().err
    told = Told(reading(7, 1, ended=""), reading(7, ended="stopped"))
    stopped = cast(Any, cli._records(cast(Any, told), 1, False))
    next(stopped)
    stopped.close()  # as Ctrl-C does
    assert "Trace ended: stopped; 9 PDUs not shown." in capsys.readouterr().err


@trio_test(mock_clock=True)
async def test_sessions_that_come_later_are_followed(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        started = await ask(gateway, "trace.start", account="acme")
        assert started["sessions"] == []
        async with bound(gateway.world) as esme, bound(gateway.world, system_id="other") as other:
            await other.submit(OTHER)
            await esme.submit(TO)
            commands = [one["command"] for one in await taken(gateway, started["trace"], 3)]
            assert commands[:3] == ["bind_transceiver_resp", "submit_sm", "submit_sm_resp"]


@trio_test(mock_clock=True)
async def test_what_cannot_be_traced_is_refused_in_words(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for args, said in (
            ({}, "say what to trace"),
            ({"carrier": "north", "account": "acme"}, "one of a carrier"),
            ({"carrier": "nowhere"}, "no carrier"),
            ({"account": "nobody"}, "no account"),
            ({"bind": "99"}, "no bind"),
            ({"number": "12"}, "no number"),
            ({"carrier": "north", "commands": ["submit"]}, "no command"),
            ({"carrier": "north", "statuses": ["bad"]}, "no command_status"),
        ):
            with pytest.raises(AdminError, match=said):
                await ask(gateway, "trace.start", **args)
        for _ in range(tracing.MOST):
            await ask(gateway, "trace.start", carrier="north")
        with pytest.raises(AdminError, match="traces run already"):
            await ask(gateway, "trace.start", carrier="north")


# over HTTP


@trio_test(mock_clock=True)
async def test_the_stream_has_records_and_ends_and_keeps_to_what_the_key_may(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        made = gateway.gateway.operators.create
        keys = {role: (await made(role.value, role))[1] for role in (Role.OWNER, Role.SUPPORT, Role.AUDITOR)}
        for role, query, status in (
            (Role.SUPPORT, "carrier=north&text=true", 403),
            (Role.AUDITOR, f"number={TO}", 403),  # or it could find masked numbers out, one by one
            (Role.OWNER, "carrier=nowhere", 404),
            (Role.OWNER, "", 422),
            (Role.OWNER, "carrier=north&for_s=99999", 422),
        ):
            assert (await gateway.http("GET", f"/v1/trace?{query}", key=keys[role]))[0] == status
        answers: dict[Role, str] = {}

        async def follow(role: Role, query: str) -> None:
            stream = await gateway.world.connect("127.0.0.1", gateway.http_port)
            head = f"GET /v1/trace?{query} HTTP/1.0\r\nAuthorization: Bearer {keys[role]}\r\n\r\n"
            async with stream:
                await stream.send_all(head.encode())
                said = b"".join([part async for part in stream])
            answers[role] = said.partition(b"\r\n\r\n")[2].decode()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, Role.OWNER, "carrier=north&for_s=5&text=true")
            nursery.start_soon(follow, Role.SUPPORT, f"number={TO}&for_s=5")
            nursery.start_soon(follow, Role.AUDITOR, "carrier=north&for_s=5")
            await trio.sleep(1)
            await gateway.submit(TO, SECRET_TEXT)
        lines = {
            role: [msgspec.json.decode(one) for one in said.splitlines()] for role, said in answers.items()
        }
        for role, said in lines.items():
            assert said[-1]["ended"] == "its time is over", role
            assert {"submit_sm", "submit_sm_resp"} <= {one["command"] for one in said if "entry" in one}
        assert SECRET_TEXT in answers[Role.OWNER]
        assert SECRET_TEXT not in answers[Role.SUPPORT] + answers[Role.AUDITOR]
        assert TO in answers[Role.SUPPORT]
        assert TO not in answers[Role.AUDITOR]
        assert taps(gateway) == []


@trio_test(mock_clock=True)
async def test_a_trace_ends_with_the_key_that_asked_for_it_or_with_what_it_may(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        operators = gateway.gateway.operators
        keys = {name: (await operators.create(name, Role.OWNER))[1] for name in ("gone", "less", "stays")}
        said: dict[str, bytes] = {}

        async def follow(name: str, text: str) -> None:
            stream = await gateway.world.connect("127.0.0.1", gateway.http_port)
            head = f"GET /v1/trace?carrier=north&for_s=60{text} HTTP/1.0\r\n"
            async with stream:
                await stream.send_all(f"{head}Authorization: Bearer {keys[name]}\r\n\r\n".encode())
                said[name] = b"".join([part async for part in stream])

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for name, text in (("gone", ""), ("less", "&text=true"), ("stays", "")):
                nursery.start_soon(follow, name, text)
            await trio.sleep(3)
            await operators.remove("gone")
            await operators.change_role("less", Role.SUPPORT)
            await operators.change_role("stays", Role.SUPPORT)
            await trio.sleep(5)
            assert set(said) == {"gone", "less"}
        assert trio.current_time() - began > 50
        for name in ("gone", "less"):
            assert b"may not see this any more" in said[name].splitlines()[-1]
        assert taps(gateway) == []


# the ring, without a gateway


def tapped(filter: Filter | None = None) -> tuple[Trace, Tap]:
    trace = Trace(1, filter or Filter(), Sight(), 0.0, 60.0)
    return trace, Tap(trace, "carrier", "north", "north/1", b"")


def submit(number: int, to: str = TO) -> bytes:
    pdu = SubmitSm(destination_addr=to.encode(), short_message=b"x" * 100, sequence_number=number)
    return codec.encode(pdu)


def test_a_flood_is_bounded_and_what_is_dropped_is_counted() -> None:
    trace, tap = tapped()
    for start in range(0, 60_000, 100):
        tap.outward(b"".join(submit(start + n) for n in range(100)), start / 1000)
    assert trace.waiting <= tracing.RING_PDUS
    assert trace._octets <= tracing.RING_OCTETS
    assert trace.waiting + trace.dropped == 60_000
    records = trace.take(0, 200, 60.0, 0)
    assert len(records) == 200
    assert records[0].sequence == trace.dropped, "the oldest that is left"


def test_a_slow_reader_leaves_the_work_undone() -> None:
    trace, tap = tapped()
    for n in range(5_000):
        tap.outward(submit(n), 0.0)
    now, told = 0.0, 0
    for _ in range(20):
        told += len(trace.take(told, 500, now, 0))
    assert told <= tracing._WORK_PER_S / tracing._OF_A_RECORD + 1, "so much a second and no more"
    assert len(trace.take(told, 500, now + 1, 0)) > 0


def test_pdus_are_whole_wherever_the_reads_end_and_whenever_it_begins() -> None:
    octets = b"".join(submit(n) for n in range(1, 6))
    trace, tap = tapped()
    tap = Tap(trace, "carrier", "north", "north/1", octets[:30])
    for at in range(30, len(octets), 7):
        tap.inward(octets[at : at + 7], 0.0)
    assert [one.sequence for one in trace.take(0, 500, 0.0, 0)] == [1, 2, 3, 4, 5]
    assert _borders(octets + b"\0\0\0\1") == (-1 - len(octets), 5)
    tap.inward(b"\0\0\0\1" + octets, 0.0)
    assert tap.lost
    tap.begin()
    tap.inward(octets, 0.0)
    assert trace.waiting == 5


def test_what_is_broken_is_told_without_its_octets() -> None:
    trace, tap = tapped()
    tap.inward(b"\0\0\0\x20\0\0\0\x09\0\0\0\0\0\0\0\1" + b"secretsecretsecr", 0.0)
    tap.inward(b"\0\0\0\x14\0\0\x33\x33\0\0\0\0\0\0\0\2" + b"abcd", 0.0)
    bind, unknown = trace.take(0, 10, 0.0, 0)
    assert (bind.command, bind.fields, bind.problem[:6]) == ("bind_transceiver", {}, "broken")
    assert (unknown.command, unknown.problem) == ("0x00003333", "no command of SMPP")
    assert b"secret" not in msgspec.json.encode([bind, unknown])


def test_a_number_is_the_same_in_all_its_forms() -> None:
    for form in ("447700900123", "+447700900123", "00447700900123", "07700900123"):
        assert same_number(form, "447700900123")
    for form in ("447700900124", "ACME", "", "0123"):
        assert not same_number(form, "447700900123")
