"""Carriers that are bad for one country alone: how soon they are out for it, what that costs, and how they
come back, while their other traffic goes on.

The figures are in docs/routing.md, section Health; what is asserted here is what they may become at most.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from gateway.admin_status import status_facts
from gateway.cli.route import print_explained
from gateway.cli.status import print_facts
from gateway.door import Accepted, Submission
from gateway.explain import explain
from router.nouns import Phase
from smpp import codec
from smpp.pdu import DeliverSm, Pdu, SubmitSm, SubmitSmResp
from store.check import check
from tests.gateway.house import MemoryWorld, Running, Script, carrier, route, running, simulator
from tests.gateway.test_health import FR, GB, Traffic, kinds, smsc
from tests.trio_case import trio_test

NORTH, SOUTH = 2790, 2777


class North(Script):
    """A carrier that treats numbers of `country` as `bad` says: refuses, swallows, does not deliver."""

    def __init__(self, bad: str = "", country: bytes = b"33") -> None:
        super().__init__(self._answer)
        self.bad = bad
        self.country = country

    def taken(self, country: bytes) -> int:
        return sum(one.destination_addr.startswith(country) for one in self.submits)

    def _answer(self, _: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if not isinstance(pdu, SubmitSm):
            return
        id = b"n%d" % len(self.submits)
        bad = self.bad if pdu.destination_addr.startswith(self.country) else ""
        if bad == "refuses":
            yield SubmitSmResp(command_status=0x08, sequence_number=pdu.sequence_number)
        elif bad == "swallows":
            yield b""
        else:
            answer = SubmitSmResp(message_id=id, sequence_number=pdu.sequence_number)
            state = b"UNDELIV" if bad else b"DELIVRD"
            receipt = DeliverSm(
                source_addr=pdu.destination_addr,
                destination_addr=pdu.source_addr,
                esm_class=4,
                short_message=b"id:%s stat:%s err:000" % (id, state),
                sequence_number=len(self.submits),
            )
            yield codec.encode(answer) + codec.encode(receipt)  # one read, as carriers do that are quick


class Pairs(North):
    """Answers two submits at once, the second last: as where customers submit to both countries in turn."""

    def __init__(self) -> None:
        super().__init__("refuses")
        self.handler = self._pair
        self._kept: list[Pdu | bytes] = []

    def _pair(self, _: Script, pdu: Pdu) -> Iterable[Pdu | bytes]:
        answers = list(self._answer(self, pdu))
        if not isinstance(pdu, SubmitSm):
            return
        if pdu.destination_addr.startswith(b"33"):
            self._kept += answers
            yield b""
        else:
            kept, self._kept = self._kept, []
            yield b"".join(one if isinstance(one, bytes) else codec.encode(one) for one in [*kept, *answers])


def two(north: str = "", **settings: Any) -> str:
    """north before south; `north` goes into north's table."""
    chosen: dict[str, Any] = {"window": 50, "response_timeout_s": 5, **settings}
    return (
        carrier("north", NORTH, **chosen)
        + north
        + carrier("south", SOUTH, **chosen)
        + route("north", "south")
        + simulator("south", SOUTH, receipt_delay_s=[0.1, 2.0])
    )


@asynccontextmanager
async def with_north(
    directory: Path, toml: str, bad: str = "", south: Script | None = None
) -> AsyncIterator[tuple[Running, North]]:
    """A gateway, and a north of the test's own; a south, too, where `toml` has no simulated one."""
    world, north = MemoryWorld(), North(bad)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(north.serve, await world.listen("127.0.0.1", NORTH))
        if south is not None:
            nursery.start_soon(south.serve, await world.listen("127.0.0.1", SOUTH))
        async with running(directory, toml, world) as house:
            await house.bound()
            yield house, north
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def both(house: Running, british: float = 10, french: float = 10) -> AsyncIterator[list[Traffic]]:
    """Traffic to two countries, to the end of the block; then all of it becomes final."""
    traffic = [Traffic(house, british, GB), Traffic(house, french, FR)]
    async with trio.open_nursery() as nursery:
        for one in traffic:
            nursery.start_soon(one.run)
        yield traffic
        for one in traffic:
            one.stopped = True


def stands(house: Running, code: int = 33) -> str:
    """How north stands in a country."""
    verdict = house.gateway.health.countries.verdict(house.gateway.carriers[0].id, code)
    return verdict.state.value if verdict is not None else "closed"


async def until(house: Running, state: str, patience_s: float = 1_200) -> None:
    await house.until(lambda: stands(house) == state, patience_s)


def whole(house: Running) -> str:
    """How north stands as a whole."""
    return dict(house.gateway.health.states())["north"].value


async def all_delivered(house: Running, traffic: list[Traffic]) -> None:
    sent = sum(len(one.ids) for one in traffic)
    await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == sent)
    assert {progress.state for one in traffic for _, progress in one.found()} == {2}, "none is lost"


def explained(house: Running, to: str) -> dict[str, Any]:
    told = explain(house.gateway, None, Submission(to, "12345", "Hello"), house.world.wall_ms())
    assert isinstance(told, dict), told
    return told


@trio_test(mock_clock=True)
async def test_a_carrier_that_refuses_one_country_is_out_for_it_alone(ram_path: Path, capsys: Any) -> None:
    async with with_north(ram_path, two()) as (house, north):
        async with both(house) as traffic:
            await trio.sleep(60)
            north.bad, before = "refuses", north.taken(b"33")
            await until(house, "open", 30)
            await trio.sleep(2)
            refused = north.taken(b"33") - before
            with capsys.disabled():
                print("refused messages until it is out for the country", refused)
            assert refused < 100
            assert whole(house) == "closed"
            british = north.taken(b"44")
            await trio.sleep(20)
            assert north.taken(b"33") - before == refused, "nothing to there any more"
            assert north.taken(b"44") - british > 190, "its other traffic is untouched"
            facts: dict[str, Any] = status_facts(house.gateway)
            (out,) = facts["carriers"]["north"]["out_for"]
            assert (out["code"], out["country"], out["why"]) == (33, "FR", "circuit_open")
            print_facts({"version": "1", **facts})
            assert "yes, out for +33 until" in capsys.readouterr().out
            text = house.gateway.metrics.render().decode()
            assert 'carrier_country_out{carrier="north",country="33",state="open"} 1.0' in text
            assert 'country_circuit_opened_total{carrier="north",reason="submit_errors"} 1.0' in text
            told = explained(house, "33612009999")
            rows = {one["carrier"]: one for one in told["carriers"]}
            assert rows["north"]["detail"].startswith("out for 33: too many submits failed")
            assert (rows["north"]["order"], rows["south"]["order"]) == (None, 1)
            print_explained(told)
            assert "out for 33: " in capsys.readouterr().out
            assert explained(house, "447700900999")["carriers"][0]["carrier"] == "north"
            await until(house, "half_open")
            await until(house, "open")
            assert north.taken(b"33") - before == refused + 10, "a trial, no more"
            assert not house.gateway.board.to_plan, "what waits stands apart already"
            assert house.gateway.health.delivered_ratio(house.gateway.carriers[0]) == 1, (
                "nothing is forgotten"
            )
            north.bad = ""
            await until(house, "half_open")
            await until(house, "closed")
            before = north.taken(b"33")
            await trio.sleep(10)
            assert north.taken(b"33") - before > 90, "all traffic is back"
            assert house.gateway.carriers[0].standings is None
            assert house.gateway.carriers[0].heard is None
        await all_delivered(house, traffic)
        assert kinds(house) == [
            "carrier.country_opened", "carrier.country_half_open", "carrier.country_opened",
            "carrier.country_half_open", "carrier.country_closed",
        ]  # fmt: skip


@trio_test(mock_clock=True)
async def test_a_country_that_never_worked_does_not_take_the_whole_carrier_out(ram_path: Path) -> None:
    """From the first message on half of all are refused."""
    async with with_north(ram_path, two(), "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 10)
            print("refused messages until it is out for the country", north.taken(b"33"))
            assert north.taken(b"33") < 120
            await trio.sleep(40)
        assert "carrier.opened" not in kinds(house)
        assert all(kind.startswith("carrier.country_") for kind in kinds(house))
        north.bad = ""
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_no_country_hides_behind_the_one_that_is_answered_last(ram_path: Path) -> None:
    world, north = MemoryWorld(), Pairs()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(north.serve, await world.listen("127.0.0.1", NORTH))
        async with running(ram_path, two(), world) as house:
            await house.bound()
            account = house.gateway.accounts.by_name["acme"]
            for n in range(100):
                pair = [Submission(number.format(n), "12345", "Hello") for number in (FR, GB)]
                house.gateway.door.submit(account, pair, lambda results: None)
                await trio.sleep(0.1)
            assert stands(house) == "open"
            assert whole(house) == "closed"
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_carrier_that_refuses_every_country_is_out_as_a_whole(ram_path: Path) -> None:
    async with with_north(ram_path, two()) as (house, north):
        async with both(house) as traffic:
            await trio.sleep(30)
            north.bad, north.country = "refuses", b""
            await house.until(lambda: whole(house) == "open", 10)
            assert stands(house) == stands(house, 44) == "closed"
            north.bad = ""
            await house.until(lambda: whole(house) == "closed")
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_a_country_that_is_not_delivered_is_out_after_its_receipts(ram_path: Path) -> None:
    async with with_north(ram_path, two(), "does not deliver") as (house, north):
        async with both(house, 20, 10):
            await until(house, "open")
            print("undelivered messages until it is out for the country", north.taken(b"33"))
            assert north.taken(b"33") < 120, "fifty receipts, and what was sent while they came"
            assert whole(house) == "closed"
            taken = north.taken(b"33")
            await trio.sleep(20)
            assert north.taken(b"33") == taken
            north.bad = ""
            await until(house, "half_open")
            await until(house, "closed", 60)
        assert whole(house) == "closed"
        assert kinds(house)[0::2] == ["carrier.country_opened", "carrier.country_closed"]


@trio_test(mock_clock=True)
async def test_a_country_that_is_not_answered_is_out_and_its_messages_are_sent_elsewhere(
    ram_path: Path,
) -> None:
    async with with_north(ram_path, two(response_timeout_s=2, window=200)) as (house, north):
        async with both(house) as traffic:
            await trio.sleep(30)
            north.bad = "swallows"
            await until(house, "open", 30)
            assert whole(house) == "closed"
            await trio.sleep(5)
            taken = north.taken(b"44")
            await trio.sleep(10)
            assert north.taken(b"44") - taken > 90
            north.bad = ""
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_what_waits_when_a_country_goes_out_goes_elsewhere_at_once(ram_path: Path) -> None:
    """A backlog of both countries in one queue: nothing of it goes to the bad carrier any more."""
    async with with_north(ram_path, two(tps=100)) as (house, north):
        async with both(house, 120, 120) as traffic:
            await trio.sleep(5)
            north.bad = "refuses"
            await until(house, "open", 30)
            (waiting,) = [n for n in [house.gateway.store.totals().messages[Phase.READY]] if n > 100]
            await trio.sleep(1)
            taken, attempts = north.taken(b"33"), len(north.submits)
            await trio.sleep(10)
            print("waited", waiting, "sent meanwhile", len(north.submits) - attempts)
            assert north.taken(b"33") == taken
            assert len(north.submits) - attempts > 900, "the carrier's rate is used for the other country"
            north.bad = ""
        await all_delivered(house, traffic)
        totals = house.gateway.store.totals().messages
        assert sum(totals) == totals[Phase.FINAL]
        assert check(house.gateway.store) == []


@trio_test(mock_clock=True)
async def test_the_only_carrier_of_a_lane_is_out_for_errors_and_told_for_receipts(ram_path: Path) -> None:
    only = carrier("north", NORTH, window=50) + route("north")
    async with with_north(ram_path, only, "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
            taken = north.taken(b"33")
            await trio.sleep(20)
            assert north.taken(b"33") == taken, "they wait"
            assert whole(house) == "closed"
            (waits,) = [
                one["carriers"]
                for name, one in status_facts(house.gateway)["lanes"].items()  # type: ignore[attr-defined]
                if name.endswith("to +33")
            ]
            assert waits == {"north": "country_out"}
            assert not house.gateway.watchdog.stalls
            north.bad = ""
            await until(house, "closed")
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_receipts_of_a_country_do_not_take_the_only_carrier_out_for_it(ram_path: Path) -> None:
    only = carrier("north", NORTH, window=50) + route("north")
    async with with_north(ram_path, only, "does not deliver") as (house, north):
        async with both(house):
            await trio.sleep(60)
        assert kinds(house)[0] == "carrier.country_bad"
        assert stands(house) == "closed"
        assert north.taken(b"33") > 500


@trio_test(mock_clock=True)
async def test_receipts_leave_a_country_that_is_bad_everywhere_one_carrier(ram_path: Path) -> None:
    """The second carrier gets nothing but this country, and is the only one left for it."""
    async with with_north(ram_path, two(), "does not deliver") as (house, _):
        traffic = [Traffic(house, 20, GB), Traffic(house, 10, "33612009901")]  # south says UNDELIV, too
        async with trio.open_nursery() as nursery:
            for one in traffic:
                nursery.start_soon(one.run)
            await until(house, "open")
            await trio.sleep(25)
            for one in traffic:
                one.stopped = True
        assert dict(house.gateway.health.states())["south"].value == "closed"
        told = {
            row.notice.kind for row in house.gateway.store.notices() if row.notice.subject.endswith("south")
        }
        assert told <= {"carrier.would_open", "carrier.country_bad"}
        assert told
        assert house.gateway.store.totals().messages[Phase.READY] < 20, "they do not wait"


@trio_test(mock_clock=True)
async def test_a_carrier_that_got_nothing_but_a_country_bad_everywhere_stays(ram_path: Path) -> None:
    """Both refuse it; the second choice, which has no other traffic, is kept for all other countries."""
    south = North("refuses")
    toml = two().partition("[[simulators]]")[0]
    async with with_north(ram_path, toml, "refuses", south) as (house, north):
        async with both(house) as traffic:
            await until(house, "open")
            health, id = house.gateway.health, house.gateway.carriers[1].id
            await house.until(lambda: health.countries.verdict(id, 33), 30)
            assert {state.value for _, state in health.states()} == {"closed"}
            taken = len(south.submits), north.taken(b"33")
            await trio.sleep(10)
            assert (len(south.submits), north.taken(b"33")) == taken, "all of it waits"
            house.gateway.carriers[0].stand(suspended=True)
            await trio.sleep(5)
            assert south.taken(b"44") > 25, "the other country goes on there"
            house.gateway.carriers[0].stand(suspended=False)
            south.bad = north.bad = ""
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_countries_may_only_be_told(ram_path: Path) -> None:
    async with with_north(ram_path, two('health = { countries = "tell" }\n')) as (house, north):
        async with both(house, 10, 5) as traffic:
            await trio.sleep(70)
            north.bad = "refuses"
            await trio.sleep(20)
            assert house.gateway.carriers[0].standings is None
            north.bad = ""
            await trio.sleep(90)
        assert kinds(house) == ["carrier.country_bad", "carrier.country_good"]
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_a_reload_leaves_a_carrier_out_for_a_country_and_may_let_it_in(ram_path: Path) -> None:
    async with with_north(ram_path, two("health = { open_s = 3600 }\n"), "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
            carrier_, health = house.gateway.carriers[0], house.gateway.health
            carrier_.settings = replace(
                carrier_.settings, health=replace(carrier_.settings.health, open_s=60)
            )
            health.settings_changed()
            assert stands(house) == "open", "what was decided stays"
            house.gateway.board.swap(house.gateway.wishes(house.gateway.config))
            await trio.sleep(2)
            taken = north.taken(b"33")
            await trio.sleep(10)
            assert north.taken(b"33") == taken
            carrier_.settings = replace(
                carrier_.settings, health=replace(carrier_.settings.health, countries="tell")
            )
            north.bad = ""
            health.settings_changed()
            await until(house, "closed", 3)
            await trio.sleep(5)
            assert north.taken(b"33") > taken
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_what_waited_for_a_country_is_sent_after_a_restart(ram_path: Path) -> None:
    """All carriers are trusted then; the queue of the country is in force until it is empty."""
    only = carrier("north", NORTH, window=50) + route("north")
    async with with_north(ram_path, only, "refuses") as (house, _):
        async with both(house) as traffic:
            await until(house, "open", 30)
            await trio.sleep(5)
        ids = [id for one in traffic for id in one.ids]
        assert house.gateway.store.totals().messages[Phase.READY] > 30
    async with with_north(ram_path, only) as (house, _):
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == len(ids))
        assert house.gateway.carriers[0].standings is None
        account = house.gateway.accounts.by_name["acme"].id
        found = [house.gateway.store.find(account, id) for id in ids]
        assert all(one is not None and one[1].state == 2 for one in found)


@trio_test(mock_clock=True)
async def test_an_operator_lets_a_carrier_in_for_all_countries(ram_path: Path) -> None:
    async with with_north(ram_path, two("health = { open_s = 3600 }\n"), "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
            north.bad = ""
            await house.gateway.verbs.table()["carrier.resume"]({"name": "north"})
            await until(house, "closed", 1)
            taken = north.taken(b"33")
            await trio.sleep(5)
            assert north.taken(b"33") > taken
        await all_delivered(house, traffic)
        assert house.gateway.store.notices(1)[0].notice.text == "FR +33: an operator said so"


@trio_test(mock_clock=True)
async def test_a_trial_that_was_lost_with_its_link_gets_other_messages(ram_path: Path) -> None:
    async with with_north(ram_path, two(), "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
            north.bad = "swallows"
            await until(house, "half_open")
            await trio.sleep(1)
            for stream in north.streams:
                await trio.aclose_forcefully(stream)
            north.bad = ""
            await until(house, "closed", 60)
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_so_does_that_of_an_only_carrier_while_nothing_else_is_sent(ram_path: Path) -> None:
    only = carrier("north", NORTH, window=50, response_timeout_s=5) + route("north")
    async with with_north(ram_path, only, "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
        north.bad = "swallows"
        await until(house, "half_open")
        await trio.sleep(1)
        for stream in north.streams:
            await trio.aclose_forcefully(stream)
        north.bad = ""
        await until(house, "closed", 20)
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_shares_of_a_lane_by_weights_go_to_the_others_for_that_country(ram_path: Path) -> None:
    lane = 'lane = [{ carrier = "north", weight = 50 }, { carrier = "south", weight = 50 }]'
    toml = two().replace('lane = ["north", "south"]', lane)
    async with with_north(ram_path, toml, "refuses") as (house, north):
        async with both(house) as traffic:
            await until(house, "open", 30)
            await trio.sleep(1)
            french, british, others = (
                north.taken(b"33"),
                north.taken(b"44"),
                smsc(house, "south").tally.submits,
            )
            await trio.sleep(20)
            assert north.taken(b"33") == french
            assert 90 < north.taken(b"44") - british < 110, "half of the other country's"
            assert 280 < smsc(house, "south").tally.submits - others < 320
            north.bad = ""
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_best_goes_by_the_quality_in_the_messages_country(ram_path: Path) -> None:
    toml = two().replace('lane = ["north", "south"]', 'lane = ["north", "south"]\nchoose = "best"')
    health = '[health]\nact = "tell"\nmin_receipts = 20\n'
    async with with_north(ram_path, health + toml, "does not deliver") as (house, north), both(house):
        await trio.sleep(30)
        french, british = north.taken(b"33"), north.taken(b"44")
        await trio.sleep(10)
        assert north.taken(b"33") - french < 5, "south delivers there"
        assert north.taken(b"44") - british > 90, "as good as south, and first"
        watch, one = house.gateway.health, house.gateway.carriers[0]
        assert (watch.delivered_ratio(one, 33), watch.delivered_ratio(one, 44)) == (0, 1)
        assert watch.delivered_ratio(one, 49) == watch.delivered_ratio(one), "too few are known"


@trio_test(mock_clock=True)
async def test_under_load_a_sample_is_enough_to_see_which_country_is_bad(ram_path: Path) -> None:
    """A thousand messages a second, of whose answers some are counted."""
    async with with_north(ram_path, two(window=200, tps=2_000)) as (house, north):
        async with both(house, 700, 300) as traffic:
            await trio.sleep(2)
            north.bad, before, bad_at = "refuses", north.taken(b"33"), trio.current_time()
            await until(house, "open", 30)
            took_s = trio.current_time() - bad_at
            await trio.sleep(0.2)
            refused = north.taken(b"33") - before
            print(f"out after {took_s:.1f} s and {refused} refused messages")
            assert took_s < 6
            assert whole(house) == "closed"
            await trio.sleep(2)
            assert north.taken(b"33") - before == refused
            north.bad = ""
        await all_delivered(house, traffic)


@trio_test(mock_clock=True)
async def test_long_messages_and_limits_on_some_go_elsewhere_whole(ram_path: Path) -> None:
    """What is leased when the country goes out comes back with its promised tokens."""
    limits = '[[carriers.limits]]\nprefix = ["336"]\ntps = 40\n'
    async with with_north(ram_path, two(limits, tps=60)) as (house, north):
        account = house.gateway.accounts.by_name["acme"]
        accepted: list[Any] = []
        long = "Hello " * 60  # three segments
        wishes = [Submission((FR if n % 2 else GB).format(n), "12345", long) for n in range(300)]
        house.gateway.door.submit(account, wishes, accepted.extend)
        north.bad = "refuses"
        await until(house, "open", 60)
        await trio.sleep(1)
        taken = north.taken(b"33")
        await trio.sleep(5)
        assert north.taken(b"33") == taken
        some = house.gateway.carriers[0].some
        assert some is not None
        assert [(limit.promised, limit.claimed) for limit in some.limits] == [(0, 0)]
        await house.until(lambda: house.gateway.store.totals().messages[Phase.FINAL] == 300)
        found = [house.gateway.store.find(account.id, one.id) for one in accepted]
        assert {one[1].state for one in found if one is not None} == {2}


@trio_test(mock_clock=True)
async def test_a_route_that_refuses_while_down_refuses_for_the_country_alone(ram_path: Path) -> None:
    only = carrier("north", NORTH, window=50) + route("north") + 'when_down = "reject"\n'
    async with with_north(ram_path, only, "refuses") as (house, _):
        account = house.gateway.accounts.by_name["acme"]

        def submit(number: str) -> Any:
            answers: list[Any] = []
            wish = Submission(number, "12345", "Hello")
            house.gateway.door.submit(account, [wish], answers.extend)
            return answers

        for n in range(60):
            submit(FR.format(n)), submit(GB.format(n))
            await trio.sleep(0.05)
        await until(house, "open", 10)
        (refused,) = submit(FR.format(1))
        assert refused.code == "route-down"
        answers = submit(GB.format(1))
        await house.until(lambda: answers)
        assert isinstance(answers[0], Accepted)
