"""What becomes of refused messages, by a carrier's own table, and what waits for its time costs nothing."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import trio

from gateway.simulator.behaviour import Behaviour
from router.nouns import Phase
from smpp.pdu import Pdu, SubmitSmResp
from tests.gateway.house import Script, carrier, route, running_with
from tests.simulation.scene import carrier_toml, numbers, route_toml, scene
from tests.trio_case import trio_test

OWN = """
[[carriers.refusals]]
status = ["0x0400-0x040F"]
then = "hold"
[[carriers.refusals]]
status = ["0x0410-0x041F", "ESME_RX_T_APPN"]
then = "here"
first_s = 10
max_s = 10
[[carriers.refusals]]
status = ["0x0420"]
then = "carrier"
pause_s = 300
"""


class Refusing(Script):
    """Answers each submit with `status` of its recipient, if it has one; `times` bounds how often."""

    def __init__(self, statuses: dict[str, int], times: int = 1_000_000) -> None:
        super().__init__(self._answer)
        self.statuses = statuses
        self.left = dict.fromkeys(statuses, times)

    def _answer(self, script: Script, pdu: Pdu) -> Iterable[Pdu]:
        to = getattr(pdu, "destination_addr", b"").decode()
        if pdu.command == "submit_sm" and self.left.get(to, 0) > 0:
            self.left[to] -= 1
            return [SubmitSmResp(sequence_number=pdu.sequence_number, command_status=self.statuses[to])]
        return []


@trio_test(mock_clock=True)
async def test_a_refusal_that_is_held_waits_for_an_operator_and_then_goes_on(tmp_path: Path) -> None:
    smsc = Refusing({"447700900123": 0x0405}, times=1)
    async with running_with(tmp_path, carrier("north", 2790) + OWN + route("north"), smsc) as (house, _):
        await house.bound()
        held = await house.submit("447700900123")
        shown = await house.when(held, "held")
        assert shown["reason"].lower() == "refused_held"
        other = await house.submit("447700900124")
        await house.until(lambda: len(smsc.submits) == 2)
        await trio.sleep(600)
        assert len(smsc.submits) == 2
        verb = house.gateway.verbs.table()["store.release"]
        assert verb is not None
        from gateway.admin_verbs import Release

        released = await house.gateway.verbs.store_release(Release(reason="refused"))
        assert released["released"] == 1  # type: ignore[index]
        await house.until(lambda: len(smsc.submits) == 3)
        assert (await house.when(held, "awaiting_receipt"))["phase"] == "awaiting_receipt"
        assert (await house.message(other))["phase"] == "awaiting_receipt"


@trio_test(mock_clock=True)
async def test_a_held_refusal_ends_with_its_validity_and_the_customer_is_told(tmp_path: Path) -> None:
    own = OWN.replace("max_s = 10", "max_s = 10\nmax_attempts = 1000")
    smsc = Refusing({"447700900123": 0x0405, "447700900124": 0x0410})
    async with running_with(tmp_path, carrier("north", 2790) + own + route("north"), smsc) as (house, _):
        await house.bound()
        held = await house.submit("447700900123", validity_s=100)
        retried = await house.submit("447700900124", validity_s=100)
        for one in (held, retried):
            assert (await house.final(one))["state"] == "EXPIRED"
            await house.until(lambda one=one: house.customer.of(one))  # type: ignore[misc]
            assert [event["state"] for event in house.customer.of(one)] == ["EXPIRED"]
        assert 9 <= len(smsc.submits) <= 22  # every 5 to 10 s, until the validity ended


@trio_test(mock_clock=True)
async def test_here_goes_to_the_same_carrier_again_and_carrier_to_the_next(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, 'statuses = { "0x0008" = "here" }\nretry = { first_s = 2 }')
    toml += carrier_toml("south", 2) + route_toml("north", "south")
    behaviours = {"north": Behaviour(submit_errors={0x08: 0.4}), "south": Behaviour()}
    async with scene(tmp_path, toml, behaviours) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 30))
        await stage.until(lambda: not stage.waiting())
        assert len(stage.carriers["north"].accepted()) >= 28  # what waited 5 s overflowed, as it does
    toml = toml.replace('"here"', '"carrier"')
    (tmp_path / "other").mkdir()
    behaviours["north"] = Behaviour(submit_errors={0x08: 1.0})
    async with scene(tmp_path / "other", toml, behaviours) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 30))
        await stage.until(lambda: not stage.waiting())
        assert len(stage.carriers["south"].accepted()) == 30


@trio_test(mock_clock=True)
async def test_what_is_scheduled_goes_to_the_second_and_costs_neither_task_nor_memory(tmp_path: Path) -> None:
    """The rows are on disk, by the time at which they are due; a million of them are as many rows."""
    count = 2_000
    toml = carrier_toml("north", 1, "window = 1000") + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour()}) as stage:
        account = await stage.account("acme")
        await trio.sleep(5)
        at_ms = stage.world.wall_ms() + 1_800_000
        due = trio.current_time() + 1_800
        tasks = trio.lowlevel.current_statistics().tasks_living
        for first in range(0, count, 200):  # what a test keeps of each is not the gateway's
            stage.submit(account, numbers("4477", 200, first), send_at_ms=at_ms)
            await trio.sleep(0.05)
        scheduled = stage.gateway.store.totals().messages[Phase.SCHEDULED]
        assert scheduled == count
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for first in range(count, 2 * count, 200):
                stage.submit(account, numbers("4477", 200, first), send_at_ms=at_ms)
                await trio.sleep(0.05)
            stage.accepted.clear()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 100 * count  # a message of any kind takes some hundreds
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        north = stage.carriers["north"]
        await trio.sleep_until(due - 0.5)
        assert not north.arrivals
        await trio.sleep_until(due + 1)
        assert len(north.arrivals) > 0
        await stage.until(lambda: len(north.arrivals) == 2 * count, 60)


@trio_test(mock_clock=True)
async def test_one_recipients_full_queue_holds_up_nobody_else_and_its_message_keeps_its_place(
    tmp_path: Path,
) -> None:
    smsc = Refusing({"447700900123": 0x14}, times=2)
    toml = carrier("north", 2790, tps=10, window=1) + route("north")
    async with running_with(tmp_path, toml, smsc) as (house, _):
        await house.bound()
        refused = await house.submit("447700900123")
        await house.until(lambda: house.gateway.counts.carrier("north").throttled == 1)
        began = trio.current_time()
        otp = await house.submit("447700900124", **{"class": "otp"})
        assert (await house.when(otp, "awaiting_receipt"))["attempts"] == 1
        assert trio.current_time() - began < 2
        assert (await house.when(refused, "deferred"))["reason"] == "queue_full"
        for number in range(600):  # a backlog for more than 30 s, all of it younger
            await house.submit(f"44770091{number:04d}")
        await house.until(lambda: house.gateway.counts.carrier("north").throttled == 2)
        behind = len(smsc.submits)
        assert behind < 400, "it came back before those that were submitted after it"
        await house.until(lambda: len(smsc.submits) > behind + 300)
        shown = await house.message(refused)
        assert (shown["phase"], shown["attempts"]) == ("awaiting_receipt", 1)


@trio_test(mock_clock=True)
async def test_a_carriers_full_queue_pauses_it_and_takes_no_messages_place(tmp_path: Path) -> None:
    full = [f"44770090012{number}" for number in range(4)]
    smsc = Refusing(dict.fromkeys(full, 0x14), times=1)
    async with running_with(tmp_path, carrier("north", 2790) + route("north"), smsc) as (house, _):
        await house.bound()
        ids = [await house.submit(to) for to in full]
        north = house.gateway.carriers[0]
        await house.until(lambda: house.gateway.counts.carrier("north").throttled >= 3)
        assert 14 < north.paused_until - trio.current_time() <= 30
        assert north.pacing.reason(trio.current_time())
        later = await house.submit("447700900199")
        await trio.sleep(10)
        assert (await house.message(later))["attempts"] == 0
        for id in (*ids, later):
            assert (await house.when(id, "awaiting_receipt"))["attempts"] == 1
