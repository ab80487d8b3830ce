"""Carriers that go bad: how soon they are out, what that costs, and how they come back.

The figures are in docs/routing.md, section Health; what is asserted here is what they may become at most.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import trio

from gateway.admin_status import carrier_facts, status_facts
from gateway.cli.status import print_facts, takes_work
from gateway.door import Accepted, Refusal, Submission
from gateway.hours import HOUR_MS, WEEK, Hour
from gateway.logs import configure
from gateway.overview import problems
from gateway.simulator.smsc import SimulatedSmsc
from router.nouns import Phase
from tests.gateway.house import START_MS, Running, carrier, route, running, simulator
from tests.trio_case import trio_test

GB, FR = "4477009{:05}", "336120{:05}"
STEP_S = 0.05


def two(north: str = "", **settings: Any) -> str:
    """north before south, both good; `north` goes into north's table."""
    chosen: dict[str, Any] = {"window": 200, "response_timeout_s": 5, **settings}
    return (
        carrier("north", 2776, **chosen)
        + north
        + carrier("south", 2777, **chosen)
        + route("north", "south")
        + simulator("north", 2776, receipt_delay_s=[0.1, 2.0])
        + simulator("south", 2777, receipt_delay_s=[0.1, 2.0])
    )


class Traffic:
    """So many messages a second, at the door."""

    def __init__(self, house: Running, rate: float, number: str = GB) -> None:
        self.house = house
        self.rate = rate
        self.number = number
        self.ids: list[int] = []
        self.stopped = False

    async def run(self) -> None:
        account = self.house.gateway.accounts.by_name["acme"]
        owed = 0.0
        while not self.stopped:
            owed += self.rate * STEP_S
            count, owed = int(owed), owed % 1
            first = len(self.ids)
            wishes = [
                Submission(self.number.format((first + n) % 9_000), "12345", "Hello") for n in range(count)
            ]
            if wishes:
                self.house.gateway.door.submit(account, wishes, self._took)
            await trio.sleep(STEP_S)

    def _took(self, results: list[Accepted | Refusal]) -> None:
        for result in results:
            assert isinstance(result, Accepted), result
            self.ids.append(result.id)

    def found(self) -> list[Any]:
        store, account = self.house.gateway.store, self.house.gateway.accounts.by_name["acme"].id
        return [store.find(account, id) for id in self.ids]

    def by(self) -> Counter[str]:
        """Messages by the carrier that had them last."""
        name = self.house.gateway.store.carrier_name
        return Counter(name(progress.parts[0].carrier) for _, progress in self.found() if progress.parts)


@asynccontextmanager
async def sending(house: Running, rate: float, number: str = GB) -> AsyncIterator[Traffic]:
    """Traffic, to the end of the block."""
    traffic = Traffic(house, rate, number)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(traffic.run)
        yield traffic
        traffic.stopped = True


def smsc(house: Running, name: str) -> SimulatedSmsc:
    return next(one for one in house.gateway.simulators if one.name == name)


def behave(house: Running, name: str, **behaviour: Any) -> None:
    one = smsc(house, name)
    one.behaviour = msgspec.structs.replace(one.behaviour, **behaviour)


async def circuit(house: Running, state: str, patience_s: float = 1_200) -> None:
    """Until north's is so."""
    health = house.gateway.health
    await house.until(lambda: dict(health.states())["north"].value == state, patience_s)


def kinds(house: Running) -> list[str]:
    return [row.notice.kind for row in reversed(house.gateway.store.notices())]


@trio_test(mock_clock=True)
async def test_a_carrier_that_refuses_is_out_and_returns_quietly(ram_path: Path, capsys: Any) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        async with sending(house, 20) as traffic:
            await trio.sleep(60)
            behave(house, "north", submit_errors={0x08: 1.0})
            bad_at = trio.current_time()
            await circuit(house, "open")
            assert trio.current_time() - bad_at < 5, "twenty errors in a row"
            facts: dict[str, Any] = status_facts(house.gateway)
            north = facts["carriers"]["north"]
            assert not north["able"]
            assert north["out"]["why"] == "circuit_open"
            assert north["links"]["north/1"]["state"] == "bound"
            print_facts({"version": "1", **facts})
            assert "too many submits failed" in capsys.readouterr().out
            refused = smsc(house, "north").tally.submits
            await circuit(house, "half_open")
            await circuit(house, "open")
            assert smsc(house, "north").tally.submits - refused <= 10, "a trial, no more"
            behave(house, "north", submit_errors={})
            await circuit(house, "half_open")
            await circuit(house, "closed")
            before = smsc(house, "north").tally.submits
            await trio.sleep(10)
            assert smsc(house, "north").tally.submits - before > 150, "all traffic is back"
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == len(traffic.ids))
        assert {progress.state for _, progress in traffic.found()} == {2}, "every message was delivered"
        assert kinds(house) == [
            "carrier.opened", "carrier.half_open", "carrier.opened", "carrier.half_open", "carrier.closed",
        ]  # fmt: skip
        text = house.gateway.metrics.render().decode()
        assert 'signalbox_carrier_circuit_opened_total{carrier="north",reason="submit_errors"} 2.0' in text
        assert 'signalbox_carrier_state{carrier="north",state="closed"} 1.0' in text
        assert 'signalbox_events_total{kind="carrier.opened"} 2.0' in text


@trio_test(mock_clock=True)
async def test_a_trial_whose_messages_are_to_blame_ends(ram_path: Path) -> None:
    """For the only carrier of its lane, too: else it would never take a message again."""
    only = carrier("north", 2776) + route("north") + simulator("north", 2776, receipt_delay_s=[0.1, 2.0])
    async with running(ram_path, only) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 5):
            await circuit(house, "open")
            behave(house, "north", submit_errors={0x0B: 1.0})
            await circuit(house, "half_open")
            await circuit(house, "closed", 60)
        assert house.gateway.carriers[0].able()


@trio_test(mock_clock=True)
async def test_a_trial_that_was_lost_with_its_link_gets_other_messages(ram_path: Path) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 5):
            await circuit(house, "open")
            behave(house, "north", submit_errors={}, response_delay_s=(3.0, 3.0))
            await circuit(house, "half_open")
            north = house.gateway.carriers[0]
            await house.until(lambda: north.in_flight == 10, 10)
            for link in north.links:
                assert link.outlet is not None
                await trio.aclose_forcefully(link.outlet._stream)
            behave(house, "north", response_delay_s=(0.0, 0.0))
            await circuit(house, "closed", 60)


@trio_test(mock_clock=True)
async def test_a_carrier_dies_under_two_thousand_messages_a_second(ram_path: Path) -> None:
    """It answers nothing any more, and the link stays: the worst way."""
    async with running(ram_path, two(window=500, tps=4_000, response_timeout_s=2)) as house:
        await house.bound()
        async with sending(house, 2_000) as traffic:
            await trio.sleep(3)
            behave(house, "north", no_response=1.0)
            await trio.sleep(7)
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == len(traffic.ids))
        found = traffic.found()
        assert {progress.state for _, progress in found} == {2}, "none is lost"
        first_sent = [progress.events[-3][0] - message.accepted_ms for message, progress in found]
        waited, resent = (sum(delay > limit for delay in first_sent) / len(found) for limit in (1_000, 5_000))
        print(f"{len(found)}: {waited:.1%} over 1 s, {resent:.1%} over 5 s, longest {max(first_sent)} ms")
        assert len(found) > 18_000
        assert waited < 0.40, "its window is full until the first answers are overdue: two seconds"
        assert resent < 0.10, "what it had in its window is sent again after a minute"
        assert max(first_sent) < 140_000, "once more if that was on trial"


@trio_test(mock_clock=True)
async def test_a_carrier_answers_and_its_receipts_say_undelivered(ram_path: Path) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        async with sending(house, 20):
            behave(house, "north", states={"UNDELIV": 1.0})
            await circuit(house, "open")
            taken = smsc(house, "north").tally.submits
            print("undelivered messages until it is out", taken)
            assert taken < 200, "a hundred receipts, and what was sent while they came"
            await circuit(house, "half_open")
            behave(house, "north", states={"DELIVRD": 1.0})
            await circuit(house, "closed")
        assert kinds(house)[-1] == "carrier.closed"
        assert house.gateway.store.notices(2)[-1].notice.figures["trial"] == 10


@trio_test(mock_clock=True)
async def test_a_carrier_answers_and_gives_no_receipts_any_more(ram_path: Path) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        async with sending(house, 2):
            await trio.sleep(600)
            behave(house, "north", no_receipt=1.0)
            before = smsc(house, "north").tally.submits
            await circuit(house, "open")
            taken = smsc(house, "north").tally.submits - before
            print("messages without a receipt until it is out", taken)
            assert 600 < taken < 2 * 400


@trio_test(mock_clock=True)
async def test_receipts_that_come_before_their_id_is_kept_are_heard(ram_path: Path) -> None:
    async with running(ram_path, "[health]\nsilence_s = 60\n" + two()) as house:
        await house.bound()
        async with sending(house, 5):
            await trio.sleep(10)
            behave(house, "north", receipt_delay_s=(0.0, 0.0))
            await trio.sleep(150)
        assert kinds(house) == []


@trio_test(mock_clock=True)
async def test_receipts_do_not_take_the_only_carrier_out(ram_path: Path) -> None:
    alone = carrier("north", 2776) + route("north") + simulator("north", 2776, failure_rate=1)
    async with running(ram_path, alone) as house:
        await house.bound()
        async with sending(house, 10):
            await trio.sleep(30)
        assert kinds(house)[:1] == ["carrier.would_open"]
        assert house.gateway.carriers[0].able()
        facts = carrier_facts(house.gateway)["north"]
        assert takes_work(facts) == "yes, but too few messages are delivered"
        said = {one.subject: one.what for one in problems(house.gateway)}
        assert said["carrier:north"] == "goes on taking messages, but too few messages are delivered"


@trio_test(mock_clock=True)
async def test_the_log_says_why_a_carrier_was_taken_out(ram_path: Path, capsys: Any) -> None:
    async with running(ram_path, two()) as house:
        configure(json=True)
        log = structlog.get_logger("health")  # not the one that earlier tests may have set up
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.health.log", log)
            house.gateway.health.tell("carrier.opened", "carrier:north", "out for 30 s", {"errors": 20})
        structlog.reset_defaults()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "carrier.opened" in line]
    told = json.loads(line)
    assert (told["what"], told["subject"], told["errors"]) == ("out for 30 s", "carrier:north", 20)


@trio_test(mock_clock=True)
async def test_a_carrier_that_is_bad_for_one_country_is_told(ram_path: Path) -> None:
    """And goes on taking messages to there, where that is configured."""
    health = 'health = { min_delivered_ratio = 0.2, min_receipts = 20, countries = "tell" }\n'
    async with running(ram_path, two(health)) as house:
        await house.bound()
        good, bad = Traffic(house, 20, GB), Traffic(house, 5, FR[:-2] + "9901")
        bad.number = "33612009901"  # the simulator's number whose receipts say UNDELIV
        async with trio.open_nursery() as nursery:
            nursery.start_soon(good.run)
            nursery.start_soon(bad.run)
            await trio.sleep(70)
            good.stopped = bad.stopped = True
        (event,) = [row.notice for row in house.gateway.store.notices()]
        assert (event.kind, event.subject) == ("carrier.country_bad", "carrier:north")
        assert (event.figures["code"], event.figures["country"]) == (33, "FR")
        shown: Any = status_facts(house.gateway)["carriers"]
        countries = {row["code"]: row for row in shown["north"]["health"]["countries"]}
        assert countries[44]["delivered_ratio"] == 1
        assert countries[33]["receipts"] == 0, "its receipts blame nobody"
        assert min(countries[33]["receipts_blameless"], shown["north"]["health"]["receipts_blameless"]) >= 40
        assert countries[33]["bad"] == "too few messages are delivered"
        assert countries[44]["response_p90_s"] is not None


@trio_test(mock_clock=True)
async def test_what_a_carriers_own_statuses_make_the_messages_fault_is_no_countrys(ram_path: Path) -> None:
    async with running(ram_path, two('statuses = { "0x0008" = "rejected" }\n')) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 0.9})
        async with sending(house, 20):
            await trio.sleep(70)
        shown: Any = status_facts(house.gateway)["carriers"]
        (country,) = shown["north"]["health"]["countries"]
        assert (country["error_ratio"], country["bad"], kinds(house)) == (0, "", [])


@trio_test(mock_clock=True)
async def test_receipts_as_by_a_clock_and_from_dead_numbers_are_told(ram_path: Path) -> None:
    toml = '[health]\ndead_numbers = ["+447700900001"]\n' + two().replace("0.1, 2.0", "2.0, 2.0")
    async with running(ram_path, toml) as house:
        await house.bound()
        async with sending(house, 20):
            await trio.sleep(3)
            await house.submit("447700900001")
            await trio.sleep(30)
        (event,) = [row.notice for row in house.gateway.store.notices()]
        assert event.kind == "carrier.false_receipts"
        assert "1 delivered to numbers known to be dead" in event.text
        assert house.gateway.carriers[0].able(), "told, and no more"
        shown: Any = status_facts(house.gateway)["carriers"]
        assert "as by a clock" in shown["north"]["health"]["looks_false"]


@trio_test(mock_clock=True)
async def test_false_receipts_take_a_carrier_out_where_it_is_configured(ram_path: Path) -> None:
    toml = two('health = { false_receipts = "suspend" }\n').replace("0.1, 2.0", "2.0, 2.0")
    async with running(ram_path, toml) as house:
        await house.bound()
        async with sending(house, 20):
            await circuit(house, "open")
            await circuit(house, "half_open")
            await circuit(house, "open", 30)
            behave(house, "north", receipt_delay_s=(0.1, 2.0))
            await circuit(house, "half_open")
            await circuit(house, "closed", 30)
        told = [row.notice for row in reversed(house.gateway.store.notices())]
        assert [one.kind for one in told if one.subject == "carrier:north"] == [
            "carrier.false_receipts", "carrier.opened", "carrier.half_open",
            "carrier.opened", "carrier.half_open", "carrier.closed",
        ]  # fmt: skip


@trio_test(mock_clock=True)
async def test_an_operator_lets_a_carrier_in_again(ram_path: Path) -> None:
    async with running(ram_path, two("health = { min_submits = 5, open_s = 3600 }\n")) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 5):
            await circuit(house, "open")
            behave(house, "north", submit_errors={})
            await house.gateway.verbs.table()["carrier.resume"]({"name": "north"})
            await circuit(house, "closed", 5)
            await trio.sleep(5)
        assert house.gateway.carriers[0].able()
        assert house.gateway.store.notices(1)[0].notice.text == "an operator said so"


@trio_test(mock_clock=True)
async def test_a_carrier_takes_nothing_in_its_maintenance_window(ram_path: Path, capsys: Any) -> None:
    begin = datetime.fromtimestamp(START_MS / 1000 + 120, UTC).replace(second=0)
    window = f"{begin:%H:%M}-{begin + timedelta(minutes=5):%H:%M}"
    toml = two(f'[[carriers.maintenance]]\nhours = ["{window}"]\nreason = "new cables"\n')
    async with running(ram_path, toml) as house:
        await house.bound()
        async with sending(house, 5):
            north = house.gateway.carriers[0]
            await house.until(lambda: north.out is not None, 200)
            behave(house, "north", submit_errors={0x08: 1.0})
            taken = smsc(house, "north").tally.submits
            facts: dict[str, Any] = status_facts(house.gateway)
            assert facts["carriers"]["north"]["out"]["why"] == "maintenance"
            assert facts["carriers"]["north"]["links"]["north/1"]["state"] == "bound"
            print_facts({"version": "1", **facts})
            assert "new cables" in capsys.readouterr().out
            text = house.gateway.metrics.render().decode()
            assert 'signalbox_carrier_state{carrier="north",state="maintenance"} 1.0' in text
            await trio.sleep(200)
            assert smsc(house, "north").tally.submits == taken
            behave(house, "north", submit_errors={})
            await house.until(north.able, 200)
            await trio.sleep(5)
            assert smsc(house, "north").tally.submits > taken
        assert kinds(house) == ["carrier.maintenance", "carrier.maintained"], "and no alarm"


@trio_test(mock_clock=True)
async def test_a_carrier_of_weight_zero_drains(ram_path: Path) -> None:
    """Nothing new, while its receipts go on coming; what waits says why where nobody else is there."""
    lane = 'lane = [{ carrier = "north", weight = 0 }, { carrier = "south", weight = 1 }]'
    toml = two().replace('lane = ["north", "south"]', lane)
    async with running(ram_path, toml) as house:
        await house.bound()
        async with sending(house, 5) as traffic:
            await trio.sleep(10)
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == len(traffic.ids))
        assert set(traffic.by()) == {"south"}
        house.gateway.carriers[1].stand(suspended=True)
        await house.submit("447700900123")
        await trio.sleep(10)
        (waits,) = status_facts(house.gateway)["lanes"].values()  # type: ignore[attr-defined]
        assert waits["carriers"] == {"north": "drains", "south": "suspended"}
        assert not house.gateway.watchdog.stalls


@trio_test(mock_clock=True)
async def test_other_limits_of_a_reload_are_in_force_at_once(ram_path: Path) -> None:
    async with running(ram_path, two("health = { open_s = 3600 }\n")) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 20):
            await circuit(house, "open")
            behave(house, "north", submit_errors={})
            north = house.gateway.carriers[0]
            health = replace(north.settings.health, open_s=10)
            north.settings = replace(north.settings, health=health)
            house.gateway.health.settings_changed()
            assert not north.able(), "what was decided stays"
            await circuit(house, "half_open", 12)
            await circuit(house, "closed", 10)


@trio_test(mock_clock=True)
async def test_an_hour_is_compared_with_the_same_one_a_week_ago(ram_path: Path) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        now = (START_MS + int(trio.current_time() * 1000)) // HOUR_MS
        good = Hour(now - WEEK, 1_000, 0, 1_000, 0)
        house.gateway.health._hours.keep("north", good)
        behave(house, "north", submit_errors={0x08: 0.42})
        async with sending(house, 5):
            await trio.sleep(100)
        await house.until(lambda: (START_MS + int(trio.current_time() * 1000)) // HOUR_MS > now, 4_000)
        await trio.sleep(5)
        told = [row.notice for row in house.gateway.store.notices() if row.notice.kind == "carrier.worse"]
        assert [one.figures["a_week_ago"] for one in told] == [0]
        assert house.gateway.store.meta("hours:north")


@trio_test(mock_clock=True)
async def test_what_was_counted_before_a_reload_is_not_judged_again(ram_path: Path) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 20):
            await circuit(house, "open")
            await circuit(house, "half_open")
            await circuit(house, "open")
            behave(house, "north", submit_errors={})
            await circuit(house, "closed")
        north, before = house.gateway.carriers[0], kinds(house)
        north.settings = replace(north.settings, retry=replace(north.settings.retry, first_s=7))
        house.gateway.health.settings_changed()
        await trio.sleep(5)
        assert dict(house.gateway.health.states())["north"].value == "closed"
        assert kinds(house) == before
        text = house.gateway.metrics.render().decode()
        assert 'signalbox_carrier_circuit_opened_total{carrier="north",reason="submit_errors"} 2.0' in text


@trio_test(mock_clock=True)
async def test_a_bug_of_whoever_watches_carriers_ends_nothing(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(ram_path, two()) as house:
        await house.bound()

        def broken() -> None:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch, structlog.testing.capture_logs() as said:
            patch.setattr(house.gateway.health, "look", broken)
            await trio.sleep(3)
        assert any("cannot look at how carriers are" in one["event"] for one in said)
        behave(house, "north", submit_errors={0x08: 1.0})
        async with sending(house, 20):
            await circuit(house, "open")
