"""The watchdog (failure mode 27): what stands still without a reason is reported, every wait with one is not.

Whole gateways on MockClock; each stall is made by breaking the part that should have moved.

Deliberately not here: the reasons one by one (tests/router/test_waiting.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from gateway.replan import Replan
from gateway.watchdog import Watchdog
from router.nouns import Login
from smpp.pdu import Pdu
from tests.gateway.house import MemoryWorld, Running, Script, carrier, route, running, running_with, simulator
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import delivering
from tests.trio_case import trio_test

Lines = list[MutableMapping[str, Any]]

ONE = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
LONG_S = 90.0  # past the 60 s of [gateway] watchdog_s and the time between two looks


@asynccontextmanager
async def watched(directory: Path, toml: str = ONE) -> AsyncIterator[tuple[Running, Lines]]:
    """A gateway and its log. What a test broke must not hold up the end: it is cut short."""
    with structlog.testing.capture_logs() as lines:
        async with running(directory, toml) as house:
            if toml == ONE:
                await house.bound()
            yield house, lines


def stalls(lines: Lines) -> Lines:
    return [line for line in lines if line["event"] == "stalled"]


async def is_shown(house: Running, part: str, lane: str = "", carrier: str = "") -> bool:
    _, text = await house.http("GET", "/metrics")
    wanted = f'signalbox_stalled{{carrier="{carrier}",lane="{lane}",part="{part}"}} '
    (line,) = [line for line in text.splitlines() if line.startswith(wanted)]
    return float(line.removeprefix(wanted)) == 1


# what must be reported


@trio_test(mock_clock=True)
async def test_fm27_a_lane_that_a_free_carrier_never_claims_from_is_reported_until_it_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        (broken,) = house.gateway.carriers
        monkeypatch.setattr(broken, "want", lambda now_ms, seen: None)
        ids = [await house.submit(f"44770090012{number}") for number in range(3)]
        await trio.sleep(50)
        assert stalls(lines) == []
        assert not await is_shown(house, "lane", lane="sim")
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert stall["log_level"] == "error"
        assert (stall["part"], stall["name"], stall["waiting"]) == ("lane", "sim", 3)
        assert stall["since"].startswith("2026-")
        assert stall["reason"] == "nothing is in the way"
        assert stall["looked_at"]["carriers"] == {"sim": "free"}
        assert await is_shown(house, "lane", lane="sim")
        facts = house.gateway.facts()
        assert facts["stalled"] == [
            {key: stall[key] for key in ("part", "name", "waiting", "since", "reason")}
        ]
        assert (await house.http("GET", "/readyz"))[0] == 200
        monkeypatch.undo()
        for one in ids:
            assert (await house.final(one))["state"] == "DELIVERED"
        await trio.sleep(20)
        assert house.gateway.facts()["stalled"] == []
        assert not await is_shown(house, "lane", lane="sim")
        assert [line["event"] for line in lines if line["event"] in ("stalled", "moves again")] == [
            "stalled",
            "moves again",
        ]


@trio_test(mock_clock=True)
async def test_fm27_new_messages_do_not_hide_that_none_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        monkeypatch.setattr(house.gateway.carriers[0], "want", lambda now_ms, seen: None)
        for number in range(10):
            await house.submit(f"44770090012{number}")
            await trio.sleep(10)
        assert [stall["part"] for stall in stalls(lines)] == ["lane"]


@trio_test(mock_clock=True)
async def test_fm27_messages_leased_and_never_written_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        monkeypatch.setattr(house.gateway.carriers[0], "pump", lambda: None)
        await house.submit("447700900123")
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert (stall["part"], stall["name"], stall["waiting"]) == ("carrier", "sim", 1)
        assert stall["looked_at"]["buffered"] == 1
        assert await is_shown(house, "carrier", carrier="sim")


@trio_test(mock_clock=True)
async def test_fm27_a_lease_that_nobody_works_on_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        with monkeypatch.context() as broken:
            broken.setattr(house.gateway.carriers[0], "leased", lambda result: None)
            lost = await house.submit("447700900123")
            await house.when(lost, "leased")
        for number in range(10):  # other traffic does not hide it
            await house.final(await house.submit(f"44770090012{number}"))
            await trio.sleep(10)
        (stall,) = stalls(lines)
        assert (stall["part"], stall["name"], stall["waiting"]) == ("lease", "sim", 1)
        assert stall["looked_at"]["message_id"] == lost


@trio_test(mock_clock=True)
async def test_fm27_a_window_that_no_response_can_empty_is_reported(tmp_path: Path) -> None:
    async with watched(tmp_path) as (house, lines):
        house.gateway.carriers[0].in_flight += 1  # a count that leaked
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert stall["part"] == "carrier"
        assert stall["reason"] == "sent, and no response can time out"


@trio_test(mock_clock=True)
async def test_fm27_a_commit_that_does_not_return_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        writer = house.gateway.committer._writer
        commit, released = writer.commit, trio.Event()

        async def slow(txn: Any, more: Any) -> None:
            await released.wait()
            await commit(txn, more)

        monkeypatch.setattr(writer, "commit", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.submit, "447700900123")
            await trio.sleep(LONG_S)
            (stall,) = stalls(lines)
            assert stall["part"] == "commit"
            released.set()


@trio_test(mock_clock=True)
async def test_fm27_due_messages_that_nobody_moves_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):

        async def never(verb: Callable[..., int]) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(house.gateway.clockwork, "_portions", never)
        await house.submit("447700900123", send_at="2026-09-21T14:14:00Z")
        due_s = trio.current_time() + 30
        assert house.gateway.store.next_due_ms() is not None
        await trio.sleep_until(due_s + LONG_S)
        (stall,) = stalls(lines)
        assert (stall["part"], stall["waiting"]) == ("due", 1)
        assert stall["looked_at"]["first_due"].startswith("2026-09-21T14:14:00")


@trio_test(mock_clock=True)
async def test_fm27_callbacks_that_a_free_endpoint_never_gets_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        monkeypatch.setattr(house.gateway.pump, "_staff", lambda nursery, state, now: None)
        for number in range(2):
            await house.final(await house.submit(f"44770090012{number}"))
        await trio.sleep(LONG_S + house.gateway.pump.longest_s)
        (stall,) = stalls(lines)
        assert (stall["part"], stall["waiting"]) == ("callback", 2)
        assert stall["looked_at"]["origin"] == "http://127.0.0.1:9000"
        assert await is_shown(house, "callback")
        monkeypatch.undo()
        await house.until(lambda: len(house.customer.events) == 2)
        await trio.sleep(20)
        assert not await is_shown(house, "callback")


@trio_test(mock_clock=True)
async def test_fm27_messages_of_a_lane_that_is_gone_and_not_planned_anew_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def idle(self: Replan) -> None:
        await trio.sleep_forever()

    async with running(tmp_path, carrier("old", 2799) + route("old")) as house:
        await house.submit("447700900123")
    monkeypatch.setattr(Replan, "run", idle)
    async with watched(tmp_path) as (house, lines):
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert (stall["name"], stall["reason"]) == (
            "old",
            "the lane is gone, and its messages were not planned anew",
        )


@asynccontextmanager
async def watched_customer(directory: Path) -> AsyncIterator[tuple[Running, Lines]]:
    """The same with an account that may bind, and whose messages are delivered at once."""
    toml = '[smpp]\nlisten = ["127.0.0.1:2775"]\nresponse_timeout_s = 600\nenquire_link_s = 0\n'
    toml += carrier("north", 2790) + route("north")
    login = (Login("acme", (hashed("secret"),)),)
    with structlog.testing.capture_logs() as lines:
        async with running_with(directory, toml, Script(delivering), logins=login, callback_url="") as (
            house,
            _,
        ):
            house.gateway.smpp.gate.passwords = Hashing().passwords
            await house.bound()
            yield house, lines


@trio_test(mock_clock=True)
async def test_fm27_events_that_a_bound_customer_is_never_sent_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_customer(tmp_path) as (house, lines):
        monkeypatch.setattr(house.gateway.smpp.deliveries, "pump", lambda port: None)
        async with bound(house.world) as esme:
            await house.final(await esme.submit())
            await trio.sleep(LONG_S)
            (stall,) = stalls(lines)
            assert (stall["part"], stall["name"], stall["reason"]) == (
                "delivery",
                "acme",
                "nothing is in the way",
            )
            assert await is_shown(house, "delivery")


@pytest.mark.parametrize("messages", [1, 30])
@trio_test(mock_clock=True)
async def test_fm27_a_customer_that_does_not_answer_is_a_reason(tmp_path: Path, messages: int) -> None:
    async with watched_customer(tmp_path) as (house, lines), bound(house.world) as esme:
        esme.take = lambda pdu: None
        for _ in range(messages):
            await esme.submit()
        await trio.sleep(2 * LONG_S)
        assert stalls(lines) == []


@trio_test(mock_clock=True)
async def test_fm27_messages_that_never_expire_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(verb: Callable[..., int]) -> None:
        await trio.sleep_forever()

    async with watched(tmp_path, carrier("a", 2799) + route("a")) as (house, lines):
        monkeypatch.setattr(house.gateway.clockwork, "_portions", never)
        late = await house.submit("447700900123", validity_s=60)
        await trio.sleep(60 + 60 + 120 + LONG_S)
        (stall,) = stalls(lines)
        assert stall["part"] == "expiry"
        assert stall["looked_at"]["message_id"] == late


@trio_test(mock_clock=True)
async def test_fm27_records_that_nobody_writes_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path, ONE + "[cdrs]\nenabled = true\n") as (house, lines):
        await house.bound()
        assert house.gateway.cdrs is not None
        monkeypatch.setattr(house.gateway.cdrs, "follow", trio.sleep_forever)
        await trio.sleep(5)
        await house.final(await house.submit("447700900123"))
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert stall["part"] == "records"
        assert await is_shown(house, "records")


@trio_test(mock_clock=True)
async def test_fm27_a_search_index_that_does_not_get_on_is_reported_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):

        async def gone(*_: object) -> None:
            await trio.lowlevel.checkpoint()

        monkeypatch.setattr(house.gateway.searching.engine, "follow", gone)
        await house.final(await house.submit("447700900123"))
        await trio.sleep(LONG_S)
        (stall,) = stalls(lines)
        assert stall["part"] == "search"
        assert stall["looked_at"]["problem"] == "the search process does not run"
        monkeypatch.undo()
        await trio.sleep(20)
        assert house.gateway.facts()["stalled"] == []


# what must not be reported


async def suspend(house: Running) -> None:
    house.gateway.carriers[0].suspended = True


async def overflow_late(house: Running) -> None:
    house.gateway.board.overflow_after_s = 1000


async def long_first(house: Running) -> None:
    await house.submit("447700900123", "long " * 60)


def mute(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
    return [b""] if pdu.command == "submit_sm" else []


async def nothing(house: Running) -> None:
    pass


SLOW = {"response_timeout_s": 250, "window": 1}
FULL_QUEUE = "447700909908"  # the simulator answers ESME_RMSGQFUL


async def two_full_queues(house: Running) -> None:
    for number in ("447700919908", "447700929908"):
        await house.submit(number)


@pytest.mark.parametrize(
    ("toml", "prepare", "number", "reason"),
    [
        pytest.param(carrier("a", 2799) + route("a"), nothing, "447700900123", "no_bind", id="no-bind"),
        pytest.param(carrier("a", 2776) + route("a"), suspend, "447700900123", "suspended", id="suspended"),
        pytest.param(
            carrier("a", 2776, retry={"queue_full_pause_s": 250}) + route("a"),
            two_full_queues,
            FULL_QUEUE,
            "paused",
            id="paused",
        ),
        pytest.param(
            carrier("a", 2790, **SLOW) + route("a"), nothing, "447700900123", "window_full", id="window-full"
        ),
        pytest.param(
            carrier("a", 2790, sessions=2, **SLOW) + route("a"),
            long_first,
            "447700900123",
            "",
            id="long-message",
        ),
        pytest.param(
            carrier("a", 2776, tps=0.004) + route("a"), nothing, "447700900123", "throttled", id="throttled"
        ),
        pytest.param(
            carrier("a", 2776) + '[[routes]]\nname = "r"\nlane = ["a"]\ntps = 0.004\n',
            nothing,
            "447700900123",
            "route_throttled",
            id="route-throttled",
        ),
        pytest.param(
            carrier("a", 2790, **SLOW) + carrier("b", 2776) + route("a", "b"),
            overflow_late,
            "447700900123",
            "window_full",
            id="overflow-wait",
        ),
        pytest.param(
            carrier("a", 2790, **SLOW)
            + carrier("b", 2776)
            + '[[routes]]\nname = "r"\nlane = [{carrier = "a", weight = 9}, {carrier = "b", weight = 1}]\n',
            nothing,
            "447700900123",
            "",
            id="weights",
        ),
    ],
)
@trio_test(mock_clock=True)
async def test_fm27_a_wait_with_a_reason_is_no_stall(
    tmp_path: Path, toml: str, prepare: Callable[[Running], Any], number: str, reason: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        toml += simulator("sim", 2776)
        async with running_with(tmp_path, toml, Script(mute)) as (house, _):
            await trio.sleep(5)
            await prepare(house)
            await house.submit(number)
            await trio.sleep(1)
            for _ in range(5):
                await house.submit("447700900123")
            await trio.sleep(100)
            lanes = house.gateway.facts()["lanes"]
            assert isinstance(lanes, dict)
            for lane in lanes.values():
                assert not reason or lane["reason"] == reason
            await trio.sleep(100)
    assert stalls(lines) == []


@trio_test(mock_clock=True)
async def test_fm27_messages_of_a_suspended_account_are_no_stall(tmp_path: Path) -> None:
    async with watched(tmp_path) as (house, lines):
        house.gateway.carriers[0].suspended = True
        message_id = await house.submit("447700900123")
        await house.gateway.accounts.update("acme", suspended=True)
        house.gateway.carriers[0].suspended = False
        await trio.sleep(LONG_S)
        lanes = house.gateway.facts()["lanes"]
        assert lanes == {
            "sim": {
                "ready": 1,
                "reason": "account_suspended",
                "line": "the account is suspended",
                "carriers": {"sim": "free"},
            }
        }
        await house.gateway.accounts.update("acme", suspended=False)
        assert (await house.final(message_id))["state"] == "DELIVERED"
        assert stalls(lines) == []


@trio_test(mock_clock=True)
async def test_fm27_messages_for_later_are_no_stall(tmp_path: Path) -> None:
    async with watched(tmp_path) as (house, lines):
        await house.submit("447700900123", send_at="2026-09-22T14:13:00Z")
        await trio.sleep(LONG_S)
        assert house.gateway.facts()["lanes"] == {
            "sim": {
                "scheduled": 1,
                "reason": "scheduled",
                "line": "scheduled for later",
                "carriers": {"sim": "free"},
            }
        }
        assert stalls(lines) == []


@trio_test(mock_clock=True)
async def test_fm27_a_slow_lane_that_moves_is_no_stall(tmp_path: Path) -> None:
    async with watched(tmp_path, carrier("sim", 2776, tps=0.5) + route("sim") + simulator("sim", 2776)) as (
        house,
        lines,
    ):
        ids = [await house.submit(f"4477009001{number:02}") for number in range(60)]
        await house.final(ids[-1])
        assert stalls(lines) == []


@trio_test(mock_clock=True)
async def test_fm27_a_customer_that_is_down_is_no_stall(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with running(tmp_path, ONE, callback_url="http://127.0.0.1:9999/nobody") as house:
            for number in range(9):
                await house.final(await house.submit(f"44770090012{number}"))
            await trio.sleep(LONG_S * 2)
    assert stalls(lines) == []


# the watchdog itself


@trio_test(mock_clock=True)
async def test_a_look_that_fails_is_logged_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as (house, lines):
        with monkeypatch.context() as broken:
            broken.setattr(house.gateway.store, "lane_totals", lambda: {99: "no counts"})
            await trio.sleep(15)
            assert any(line["event"] == "the watchdog could not look" for line in lines)
        monkeypatch.setattr(house.gateway.carriers[0], "want", lambda now_ms, seen: None)
        await house.submit("447700900123")
        await trio.sleep(LONG_S)
        assert len(stalls(lines)) == 1


@trio_test(mock_clock=True)
async def test_without_patience_nobody_looks_until_a_reload_gives_it_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, ONE, MemoryWorld()) as house, trio.open_nursery() as nursery:
        watchdog, looks = Watchdog(house.gateway, 0), []
        monkeypatch.setattr(watchdog, "look", lambda: looks.append(trio.current_time()))
        nursery.start_soon(watchdog.run)
        await trio.sleep(600)
        assert not looks
        watchdog.change(60)
        await trio.sleep(605)  # not at the moment of a look
        assert len(looks) > 10
        watchdog.change(0)
        looks.clear()
        await trio.sleep(600)
        assert not looks
        nursery.cancel_scope.cancel()
