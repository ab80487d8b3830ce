"""What an operator sees and does, on a running gateway and on a stopped one.

Verbs of a running gateway are called as its admin socket calls them, on MockClock; one test goes through the
socket itself. Commands on a stopped gateway are run as they are typed.

Deliberately not here: the socket's own rules (test_admin), what commands print (cli/test_commands).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.admin import AdminError
from gateway.app import _announce
from gateway.cli import root
from gateway.cli.failure import FAILED, OK, USAGE
from smpp.pdu import DeliverSm, DeliverSmResp
from tests.gateway.conftest import Typed
from tests.gateway.house import (
    NUMBER,
    Customer,
    RealWorld,
    Running,
    Script,
    carrier,
    free_ports,
    route,
    running,
    running_with,
    simulator,
)
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")
SIM = carrier("sim", 2776, retry={"max_attempts": 1}) + simulator("sim", 2776)
UNSURE = SIM + route("sim")
SILENT = "447700909907"  # the simulator never answers a submit to it


async def ask(house: Running, verb: str, **args: object) -> Any:
    """A verb as the admin socket would call it; its answer as plain JSON."""
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


def lived(directory: Path, toml: str, act: Callable[[Running], Awaitable[object]], **account: object) -> None:
    """A gateway in `directory` that has done something and was stopped."""

    async def life() -> None:
        async with running(directory, toml, **account) as house:  # type: ignore[arg-type]
            await act(house)

    trio.run(life, clock=trio.testing.MockClock(autojump_threshold=0))


# the start


@trio_test(mock_clock=True)
async def test_start_up_tells_every_warning_of_the_configuration_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = ONE + carrier("idle", 2777) + simulator("sim", 2776) + "[callbacks]\nretry_s = []\n"
    async with running(tmp_path, toml) as house:
        await _announce(house.gateway)
    path = tmp_path / "gateway.toml"
    lines = path.read_text().splitlines()
    told = capsys.readouterr().out
    assert f"warning   {path}:{lines.index('retry_s = []') + 1}: callbacks.retry_s: is empty" in told
    idle = next(number for number, line in enumerate(lines, 1) if line == 'name = "idle"')
    assert f"{path}:{idle - 1}: carriers[1]: no route names the carrier idle" in told


# unknown outcomes


@trio_test(mock_clock=True)
async def test_a_released_unknown_outcome_goes_out_again_and_is_marked(tmp_path: Path) -> None:
    async with running(tmp_path, UNSURE) as house:
        message_id = await house.submit(SILENT)
        await house.when(message_id, "unknown")
        smsc = house.gateway.simulators[0]
        assert (await ask(house, "store.release"))["released"] == 0
        before = smsc.tally.submits
        answer = await ask(house, "store.release", reason="unknown", carrier="sim")
        assert answer == {"released": 1, "reason": "unknown", "carrier": "sim"}
        await house.until(lambda: smsc.tally.submits == before + 1)
        shown = await ask(house, "message", id=message_id)
        assert shown["possible_duplicate"] is True
        assert "RELEASED" in [event["step"] for event in shown["timeline"]]


def test_on_a_stopped_gateway_unknown_outcomes_are_released_for_the_next_start(
    tmp_path: Path, typed: Typed
) -> None:
    async def leave_one_unknown(house: Running) -> None:
        await house.when(await house.submit(SILENT), "unknown")

    lived(tmp_path, UNSURE, leave_one_unknown)
    code, told = typed("store", "release", "--because", "ticket 7", "--reason", "unknown", "--carrier", "smi")
    assert (code, "one of: sim" in told) == (USAGE, True)
    code, told = typed("store", "release", "--reason", "unknown", "--preview")
    assert (code, "Nothing was changed" in told, "1 message with an unknown" in told) == (OK, True, True)
    code, told = typed("store", "release", "--because", "ticket 7", "--reason", "unknown")
    assert (code, "1 message released. Each may arrive twice" in told) == (OK, True)
    code, told = typed("store", "release", "--because", "ticket 7", "--reason", "unknown", "--json")
    assert json.loads(told) == {"released": 0, "reason": "unknown", "carrier": ""}

    async def sends_it(house: Running) -> None:
        await house.until(lambda: house.gateway.simulators[0].tally.submits == 1)

    lived(tmp_path, UNSURE, sends_it)


# one message


@trio_test(mock_clock=True)
async def test_a_message_is_cancelled_wherever_it_waits_and_its_account_is_told(tmp_path: Path) -> None:
    german = '[[routes]]\nname = "de"\nmatch = { prefix = ["49"] }\nlane = ["down"]\n'
    toml = SIM + carrier("down", 2799) + german + route("sim")
    async with running(tmp_path, toml) as house:
        ready = await house.submit("4915112345678")
        scheduled = await house.submit("447700900123", send_at="2026-10-30T00:00:00Z")
        unknown = await house.submit(SILENT)
        await house.when(unknown, "unknown")
        for message_id in (ready, scheduled, unknown):
            assert await ask(house, "message.cancel", id=message_id) == {
                "id": message_id,
                "outcome": "cancelled",
            }
        await house.until(lambda: len(house.customer.events) == 3)
        told = {event["data"]["message_id"]: event["data"] for event in house.customer.events}
        assert set(told) == {ready, scheduled, unknown}
        assert {(event["state"], event["reason"]) for event in told.values()} == {("DELETED", "CANCELLED")}


@trio_test(mock_clock=True)
async def test_a_message_that_a_carrier_took_is_not_called_back(tmp_path: Path) -> None:
    toml = ONE + simulator("sim", 2776, response_delay_s=[5, 5], receipt_delay_s=[60, 60])
    async with running(tmp_path, toml) as house:
        message_id = await house.submit("447700900123")
        await house.until(lambda: house.gateway.carriers[0].in_flight)
        assert (await ask(house, "message.cancel", id=message_id))["outcome"] == "leased"
        await house.when(message_id, "awaiting_receipt")
        with pytest.raises(AdminError, match="cannot be called back"):
            await ask(house, "message.cancel", id=message_id)
        assert (await house.final(message_id))["state"] == "DELIVERED"
        with pytest.raises(AdminError, match="has ended already, as DELIVERED"):
            await ask(house, "message.cancel", id=message_id)


def test_on_a_stopped_gateway_a_waiting_message_is_cancelled(tmp_path: Path, typed: Typed) -> None:
    ids: list[str] = []

    async def leave_one_waiting(house: Running) -> None:
        ids.append(await house.submit("447700900123"))

    lived(tmp_path, ONE, leave_one_waiting)
    code, told = typed("message", "cancel", ids[0], "--reason", "ticket 7")
    assert (code, told) == (OK, f"{ids[0]} is cancelled: DELETED.\n")
    code, told = typed("message", "cancel", ids[0], "--reason", "ticket 7")
    assert (code, "ended already, as DELETED" in told) == (FAILED, True)
    code, told = typed("message", "cancel", "7", "--reason", "ticket 7")
    assert (code, "no message 7" in told) == (FAILED, True)
    code, told = typed("message", ids[0], "--json")
    assert json.loads(told)["reason"] == "CANCELLED"


def test_a_number_where_an_id_should_be_leads_to_the_messages_to_it(typed: Typed) -> None:
    typed("account", "create", "acme")
    for asked in ("33612312399", "+33612312399"):
        code, told = typed("message", asked)
        assert (code, "signalbox message list --to 33612312399" in told) == (FAILED, True)
    assert "--to" not in typed("message", "32145678901234567")[1]


# what carriers sent us


def mo(text: str, to: str = NUMBER) -> DeliverSm:
    return DeliverSm(
        source_addr=b"447700900777",
        destination_addr=to.encode(),
        data_coding=8,
        short_message=text.encode("utf-16-be"),
    )


STRAY = DeliverSm(
    source_addr=b"447700900123",
    destination_addr=b"12345",
    esm_class=4,
    short_message=b"id:nobodys sub:001 dlvrd:001 submit date:2609210000 done date:2609210001 "
    b"stat:DELIVRD err:000 text:private",
)


async def take(house: Running, script: Script, *pdus: DeliverSm) -> None:
    """Send these to the gateway, each after the last was answered."""
    await house.bound()
    for number, pdu in enumerate(pdus, 1):
        pdu.sequence_number = number
        await script.send(pdu)
        await house.until(
            lambda number=number: any(  # type: ignore[misc]
                isinstance(answer, DeliverSmResp) and answer.sequence_number == number
                for answer in script.pdus
            )
        )


@trio_test(mock_clock=True)
async def test_the_inbox_shows_what_came_in_and_its_text_only_to_somebody_who_asks(tmp_path: Path) -> None:
    async with running_with(tmp_path, carrier("up", 2790) + route("up"), Script()) as (house, script):
        await take(house, script, mo("first"), mo("for nobody", to="99999"), mo("last"))
        everything = await ask(house, "inbox")
        assert [(one["account"], one["to"]) for one in everything] == [
            ("acme", NUMBER),
            ("", "99999"),
            ("acme", NUMBER),
        ]
        assert everything[0]["from"] == "447700900777"
        assert "private" not in json.dumps(everything)
        assert {"text", "data"} & set(everything[0]) == set()
        (unowned,) = await ask(house, "inbox", unowned=True, text=True)
        assert unowned["text"] == "for nobody"
        of_acme = await ask(house, "inbox", account="acme", text=True, limit=1)
        assert [one["text"] for one in of_acme] == ["last"]
        older = await ask(house, "inbox", account="acme", text=True, before=of_acme[0]["id"])
        assert [one["text"] for one in older] == ["first"]
        for wrong in ({"account": "acem"}, {"account": "acme", "unowned": True}, {"before": "x"}):
            with pytest.raises(AdminError):
                await ask(house, "inbox", **wrong)


@trio_test(mock_clock=True)
async def test_a_receipt_of_nobodys_message_is_listed_while_it_waits_and_after(tmp_path: Path) -> None:
    async with running_with(tmp_path, carrier("up", 2790) + route("up"), Script()) as (house, script):
        await take(house, script, STRAY)
        (waiting,) = await ask(house, "receipts.unmatched")
        assert (waiting["carrier"], waiting["recipient"], waiting["state"]) == (
            "up",
            "447700900123",
            "DELIVERED",
        )
        assert waiting["ids"][0] == "nobodys"
        assert waiting["waiting"] is True
        assert "text" not in waiting
        await house.until(lambda: house.gateway.store.unmatched())
        (given_up,) = await ask(house, "receipts.unmatched", text=True)
        assert (given_up["ids"], given_up["waiting"]) == (waiting["ids"], False)
        assert "text:private" in given_up["text"]


def test_inbox_and_receipts_of_a_stopped_gateway_are_listed(tmp_path: Path, typed: Typed) -> None:
    async def life() -> None:
        async with running_with(tmp_path, carrier("up", 2790) + route("up"), Script()) as (house, script):
            await take(house, script, mo("hello\x1b[2J"), STRAY)

    trio.run(life, clock=trio.testing.MockClock(autojump_threshold=0))
    code, told = typed("inbox", "--account", "acme")
    assert (code, "447700900777" in told, "hello" in told) == (OK, True, False)
    code, told = typed("inbox", "--text")
    assert "hello\\u001b[2J" in told
    assert typed("inbox", "--unowned") == (OK, "No inbound messages.\n")
    code, told = typed("inbox", "--account", "nobody")
    assert (code, "there are: acme" in told) == (FAILED, True)
    code, told = typed("receipts", "unmatched")
    assert (code, "nobodys" in told, "private" in told) == (OK, True, False)
    code, told = typed("receipts", "unmatched", "--text", "--json")
    assert "text:private" in json.loads(told)[0]["text"]


# callbacks

IMPATIENT = UNSURE + "[callbacks]\nretry_s = [1]\njitter = 0\n"
OTHER_URL = "http://127.0.0.1:9100/hook"  # nobody listens there yet


async def give_up(house: Running, count: int) -> list[str]:
    """Messages whose receipts nobody took."""
    ids = [await house.submit(f"4477009001{number:02}") for number in range(count)]
    await house.until(lambda: house.gateway.store.given_up_count() == count)
    return ids


@trio_test(mock_clock=True)
async def test_what_was_given_up_is_listed_and_sent_again_when_somebody_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, IMPATIENT, callback_url=OTHER_URL) as house:
        ids = await give_up(house, 3)
        (endpoint,) = await ask(house, "callbacks.list")
        assert (endpoint["account"], endpoint["origin"]) == ("acme", "http://127.0.0.1:9100")
        assert (endpoint["backlog"], endpoint["given_up"]) == (0, 3)
        assert "nobody listens" in endpoint["last_error"]
        events = await ask(house, "callbacks.given_up", account="acme")
        assert sorted(event["message_id"] for event in events) == sorted(ids)
        assert {(event["attempts"], event["state"]) for event in events} == {(2, "DELIVERED")}

        late = Customer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.serve, await house.world.listen("127.0.0.1", 9100))
            assert (await ask(house, "callbacks.replay", account="acme"))["replayed"] == 3
            await house.until(lambda: len(late.events) == 3)
            nursery.cancel_scope.cancel()
        assert {event["id"] for event in late.events} == {event["id"] for event in events}
        await house.until(lambda: house.gateway.pump.health()["good"] == 1)
        assert await ask(house, "callbacks.list") == []
        (endpoint,) = await ask(house, "callbacks.list", all=True)
        assert (endpoint["state"], endpoint["backlog"], endpoint["given_up"]) == ("good", 0, 0)


@trio_test(mock_clock=True)
async def test_what_is_sent_again_in_vain_is_given_up_again_once(tmp_path: Path) -> None:
    toml = UNSURE + "[callbacks]\nretry_s = []\n"
    async with running(tmp_path, toml, callback_url=OTHER_URL) as house:
        await give_up(house, 2)
        assert (await ask(house, "callbacks.replay", all=True))["replayed"] == 2
        await house.until(lambda: house.gateway.pump.events_given_up == 4)
        assert house.gateway.store.given_up_count() == 2


@trio_test(mock_clock=True)
async def test_a_disabled_endpoint_is_told_and_hears_what_it_missed_when_enabled(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, UNSURE) as house:
        house.customer.answer = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        await house.final(await house.submit("447700900123"))
        await house.until(lambda: house.gateway.accounts.by_name["acme"].callbacks_gone)
        waiting = await house.submit("447700900124")
        await house.final(waiting)
        await house.until(lambda: house.gateway.store.given_up_count() == 2)
        (endpoint,) = await ask(house, "callbacks.list", account="acme")
        assert (endpoint["state"], endpoint["backlog"], endpoint["given_up"]) == ("disabled", 0, 2)
        assert endpoint["tried_again_at"] == ""
        assert "410" in endpoint["last_error"]
        assert len(house.customer.posts) == 1

        house.customer.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        enabled = await ask(house, "callbacks.enable", endpoint=endpoint["endpoint"])
        assert [one["state"] for one in enabled["enabled"]] == ["disabled"]
        await house.until(lambda: len(house.customer.of(waiting)) == 1)
        assert enabled["replayed"] == 2
        assert await ask(house, "callbacks.enable", account="acme") == {"enabled": [], "replayed": 0}


@trio_test(mock_clock=True)
async def test_callbacks_that_are_not_named_well_are_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path, IMPATIENT, callback_url=OTHER_URL) as house:
        await give_up(house, 1)
        for verb in ("callbacks.replay", "callbacks.enable"):
            for wrong in ({}, {"endpoint": 99}, {"account": "acem"}):
                with pytest.raises(AdminError) as refused:
                    await ask(house, verb, **wrong)
                assert refused.value.hint or "acme" in refused.value.message
        await house.gateway.accounts.create("other", 0)
        assert (await ask(house, "callbacks.replay", account="other"))["replayed"] == 0
        assert house.gateway.store.given_up_count() == 1


def test_callbacks_of_a_stopped_gateway_are_listed_and_put_back(tmp_path: Path, typed: Typed) -> None:
    async def give_two_up(house: Running) -> None:
        await give_up(house, 2)

    lived(tmp_path, IMPATIENT, give_two_up, callback_url=OTHER_URL)
    code, told = typed("callbacks", "list")
    assert (code, "http://127.0.0.1:9100" in told, "nobody listens" in told) == (OK, True, True)
    code, told = typed("callbacks", "given-up", "--json")
    assert len(json.loads(told)) == 2
    code, told = typed("callbacks", "enable", "--all")
    assert (code, "not running" in told) == (FAILED, True)
    assert typed("callbacks", "replay", "--reason", "ticket 7")[0] == USAGE
    code, told = typed("callbacks", "replay", "--account", "acme", "--reason", "ticket 7")
    assert (code, told) == (OK, "2 events put back, due now.\n")

    async def takes_them(house: Running) -> None:
        await house.gateway.accounts.update("acme", callback_url="http://127.0.0.1:9000/hook")
        await house.until(lambda: len(house.customer.events) == 2)

    lived(tmp_path, IMPATIENT, takes_them)


# the store


def test_a_backup_is_restored_compacted_and_released_with_answers_for_programs(
    tmp_path: Path, typed: Typed
) -> None:
    async def leave_two_waiting(house: Running) -> None:
        for number in ("447700900123", "447700900124"):
            await house.submit(number)

    lived(tmp_path, ONE, leave_two_waiting)
    copy = tmp_path / "copy"
    code, told = typed("store", "backup", str(copy), "--json")
    assert (code, json.loads(told)) == (OK, {"target": str(copy)})
    (tmp_path / "var").rename(tmp_path / "lost")
    code, told = typed("store", "restore", str(copy), "--json")
    assert (code, json.loads(told)) == (
        OK,
        {"source": str(copy), "target": str(tmp_path / "var" / "store")},
    )
    code, told = typed("store", "compact", "--json")
    assert set(json.loads(told)) == {"bytes_before", "bytes_now"}
    assert json.loads(typed("store", "stats", "--json")[1])["phases"]["held"]["messages"] == 2
    code, told = typed("store", "release", "--because", "ticket 7")
    assert told == "2 messages released. What was sent after the backup was made goes out again.\n"
    assert typed("store", "check") == (OK, "The store is sound.\n")


# sessions


def test_on_a_stopped_gateway_nobody_is_bound_or_locked_out(tmp_path: Path, typed: Typed) -> None:
    lived(tmp_path, ONE, lambda house: house.submit("447700900123"))
    for line in (
        ("binds",),
        ("binds", "drop", "1", "--reason", "ticket 7"),
        ("locks",),
        ("unlock", "acme", "--reason", "ticket 7"),
    ):
        code, told = typed(*line)
        assert (code, "the gateway is not running" in told) == (FAILED, True)


# the socket itself

ANSWERS: dict[tuple[str, ...], object] = {
    ("store", "release", "--reason", "unknown", "--because", "ticket"): {
        "released": 0,
        "reason": "unknown",
        "carrier": "",
    },
    ("inbox", "--unowned"): [],
    ("receipts", "unmatched"): [],
    ("callbacks", "list"): [],
    ("callbacks", "given-up", "--account", "acme"): [],
    ("callbacks", "replay", "--all", "--reason", "ticket"): {"replayed": 0, "shut": []},
    ("callbacks", "enable", "--account", "acme"): {"enabled": [], "replayed": 0},
    ("binds",): [],
    ("locks",): [],
}


@trio_test
async def test_every_verb_goes_through_the_socket_of_a_running_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smsc, http, customer = free_ports(3)
    toml = carrier("sim", smsc) + route("sim") + simulator("sim", smsc)
    async with running(tmp_path, toml, RealWorld(), http_port=http, customer_port=customer) as house:
        later = await house.submit("447700900123", send_at=after(house, hours=1))

        async def typed(*line: str) -> tuple[int, str]:
            capsys.readouterr()
            whole = [*line, "--data-dir", str(tmp_path / "var")]
            code = await trio.to_thread.run_sync(root.run, whole)
            printed = capsys.readouterr()
            return code, printed.out + printed.err

        for line, answer in ANSWERS.items():
            code, told = await typed(*line, "--json")
            assert (code, json.loads(told)) == (OK, answer)
        assert await typed("message", "cancel", later, "--reason", "ticket 7") == (
            OK,
            f"{later} is cancelled: DELETED.\n",
        )
        code, told = await typed("message", "cancel", later, "--reason", "ticket 7")
        assert (code, "ended already" in told) == (FAILED, True)
        code, told = await typed("inbox", "--account", "acem")
        assert (code, "there are: acme" in told) == (FAILED, True)


def after(house: Running, hours: int) -> str:
    at_s = house.world.wall_ms() / 1000 + hours * 3600
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
