"""Fail over by receipts in a whole gateway: who is given a message, and what its customer is told.

Two or three scripted carriers, a customer bound over SMPP and one with callbacks; receipts come when the test
says so. What is asserted everywhere: one final receipt.

Deliberately not here: what the store does with each receipt (tests/store/conformance/test_fail_over.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from router.nouns import Login
from smpp.pdu import CancelSm, DeliverSm, Pdu, SubmitSm, SubmitSmResp
from smpp.status import Status
from tests.gateway.house import MemoryWorld, Running, Script, carrier, running
from tests.gateway.smpp_server.esme import Esme, bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.gateway.smpp_server.test_server import text_of
from tests.trio_case import trio_test

TO = "447700900123"
NEXT = 'undelivered = "next"'
SILENT = "no_receipt_s = 60"
QUIET_S = 90  # longer than anything waits for a receipt here
PORTS = {"north": 2790, "south": 2791, "east": 2792}


def toml(on_receipt: str, *names: str, more: str = "") -> str:
    lane = ", ".join(f'"{name}"' for name in names)
    return (
        '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
        + "".join(carrier(name, PORTS[name], response_timeout_s=5) for name in names)
        + f'[[routes]]\nname = "all"\nlane = [{lane}]\non_receipt = {{ {on_receipt} }}\n'
        + more
    )


class Carrier(Script):
    """Accepts all; its n-th submit gets the n-th receipt, all that follow the last one ("": none)."""

    def __init__(self, name: str, *stats: str) -> None:
        super().__init__(lambda _, pdu: self.answer(pdu))
        self.name = name
        self.stats = stats or ("",)
        self.mute = False  # no answer to a submit
        self._numbers = count(1000)

    def answer(self, pdu: Pdu) -> Iterable[Pdu | bytes]:
        if isinstance(pdu, SubmitSm):
            number = len(self.submits)
            yield b"" if self.mute else self.accepted(number)
            stat = self.stats[min(number, len(self.stats)) - 1]
            if stat:
                yield self.receipt(stat, number)

    def accepted(self, number: int) -> SubmitSmResp:
        return SubmitSmResp(
            message_id=f"{self.name}{number}".encode(),
            sequence_number=self.submits[number - 1].sequence_number,
        )

    def receipt(self, stat: str, number: int) -> DeliverSm:
        submit = self.submits[number - 1]
        text = (
            f"id:{self.name}{number} sub:001 dlvrd:001 submit date:2601010000 done date:2601010001 "
            f"stat:{stat} err:000 text:"
        )
        return DeliverSm(
            source_addr=submit.destination_addr,
            destination_addr=submit.source_addr,
            esm_class=4,
            short_message=text.encode(),
            sequence_number=next(self._numbers),
        )

    async def tell(self, stat: str, number: int = 1) -> None:
        """A receipt for its n-th submit, now, and what follows from it."""
        await self.send(self.receipt(stat, number))
        await trio.sleep(2)


class Place:
    """A gateway that runs, its carriers by name, and a customer bound to it."""

    def __init__(self, house: Running, carriers: dict[str, Carrier], esme: Esme) -> None:
        self.house = house
        self.carriers = carriers
        self.esme = esme

    @property
    def had(self) -> dict[str, int]:
        """How many submits each carrier got."""
        return {name: len(one.submits) for name, one in self.carriers.items()}

    async def sent(self, name: str, number: int = 1, patience_s: float = 200) -> None:
        """Its n-th submit has come, and what follows from it."""
        await self.house.until(lambda: len(self.carriers[name].submits) >= number, patience_s)
        await trio.sleep(2)

    async def south(self, verb: str) -> None:
        """`suspend` or `resume` south."""
        await self.house.gateway.verbs.table()[f"carrier.{verb}"]({"name": "south"})

    async def steps(self, id: str) -> list[tuple[str, str, str]]:
        """(step, carrier, detail) of the timeline."""
        rows = (await self.house.message(id))["timeline"]
        return [(row["step"], row.get("carrier", ""), row.get("detail", "")) for row in rows]

    def told(self) -> list[str]:
        """The final states told to the customer, over SMPP or by a callback."""
        over_smpp = [text_of(pdu).split("stat:")[1].split()[0] for pdu in self.esme.delivered]
        return over_smpp + [event["data"]["state"] for event in self.house.customer.events]


@asynccontextmanager
async def place(
    directory: Path,
    config: str,
    *carriers: Carrier,
    world: MemoryWorld | None = None,
    serve: bool = True,
    **account: Any,
) -> AsyncIterator[Place]:
    """Receipts of what comes over HTTP go to the callback, of what comes over SMPP to the session."""
    world = world or MemoryWorld()
    settings = {"logins": (Login("acme", (hashed("secret"),)),), **account}
    async with trio.open_nursery() as nursery:
        if serve:
            for one in carriers:
                nursery.start_soon(one.serve, await world.listen("127.0.0.1", PORTS[one.name]))
        async with running(directory, config, world, **settings) as house:
            house.gateway.smpp.gate.passwords = Hashing().passwords
            await house.until(lambda: house.gateway.carriers[0].able())  # south may be suspended
            async with bound(world) as esme:
                yield Place(house, {one.name: one for one in carriers}, esme)
        nursery.cancel_scope.cancel()


# a receipt that says it was not delivered


@trio_test(mock_clock=True)
@pytest.mark.parametrize("customer", ["smpp", "callback"])
async def test_what_north_does_not_deliver_south_does_and_the_customer_is_told_once(
    tmp_path: Path, customer: str
) -> None:
    account: dict[str, Any] = {"callback_url": ""} if customer == "smpp" else {}
    carriers = Carrier("north", "UNDELIV"), Carrier("south", "DELIVRD")
    async with place(tmp_path, toml(NEXT, "north", "south"), *carriers, **account) as one:
        id = await one.esme.submit() if customer == "smpp" else await one.house.submit(TO)
        message = await one.house.final(id)
        await trio.sleep(QUIET_S)
        assert one.told() == ["DELIVRD" if customer == "smpp" else "DELIVERED"]
        assert (message["state"], one.had) == ("DELIVERED", {"north": 1, "south": 1})
        steps = await one.steps(id)
        assert [step[:2] for step in steps] == [
            ("accepted", ""), ("sent", "north"), ("receipt", "north"), ("passed_on", "north"),
            ("sent", "south"), ("receipt", "south"), ("final", ""),
        ]  # fmt: skip
        assert steps[2][2].startswith("UNDELIVERABLE")
        assert steps[3][2] == "UNDELIVERABLE: to the next carrier"
        assert steps[5][2].startswith("DELIVERED")


@trio_test(mock_clock=True)
async def test_carriers_that_give_the_same_ids_are_told_apart(tmp_path: Path) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(SILENT, "north", "south"), north, south) as one:
        north.name = south.name = "id"
        id = await one.house.submit(TO)
        await one.sent("south")
        await north.tell("UNDELIV")
        assert not (await one.house.message(id))["final"], "that was not south's"
        await south.tell("DELIVRD")
        await one.house.final(id)
        await trio.sleep(QUIET_S)
        assert one.told() == ["DELIVERED"]


# no receipt in time


@trio_test(mock_clock=True)
async def test_norths_late_receipt_before_souths_ends_it_and_souths_is_in_the_timeline(
    tmp_path: Path,
) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(SILENT, "north", "south"), north, south, callback_url="") as one:
        id = await one.esme.submit()
        await one.sent("north")
        began = trio.current_time()
        await one.sent("south")
        assert 55 < trio.current_time() - began < 75
        await north.tell("DELIVRD")
        assert (await one.house.message(id))["state"] == "DELIVERED"
        await south.tell("UNDELIV")
        await south.tell("DELIVRD")
        await trio.sleep(QUIET_S)
        assert one.told() == ["DELIVRD"]
        steps = await one.steps(id)
        assert [step[:2] for step in steps] == [
            ("accepted", ""), ("sent", "north"), ("passed_on", "north"), ("sent", "south"),
            ("receipt", "north"), ("final", ""),
            ("receipt_contradicts", "south"), ("receipt_repeated", "south"),
        ]  # fmt: skip
        assert steps[2][2] == "no receipt in time: to the next carrier"
        assert one.had == {"north": 1, "south": 1}


@trio_test(mock_clock=True)
@pytest.mark.parametrize("late", ["DELIVRD", "UNDELIV"])
async def test_norths_late_receipt_after_souths_is_in_the_timeline_only(tmp_path: Path, late: str) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(SILENT, "north", "south"), north, south) as one:
        id = await one.house.submit(TO)
        await one.sent("south")
        await south.tell("DELIVRD")
        assert (await one.house.message(id))["state"] == "DELIVERED"
        await north.tell(late)
        await trio.sleep(QUIET_S)
        assert one.told() == ["DELIVERED"]
        last = (await one.steps(id))[-1]
        assert last[:2] == ("receipt_repeated" if late == "DELIVRD" else "receipt_contradicts", "north")


@trio_test(mock_clock=True)
async def test_norths_late_receipt_while_south_has_not_answered_ends_it_with_the_answer(
    tmp_path: Path,
) -> None:
    north, south = Carrier("north"), Carrier("south")
    south.mute = True
    more = '[unknown]\ntransactional = "resend"\nresend_after_s = 5\n'
    async with place(tmp_path, toml(SILENT, "north", "south", more=more), north, south) as one:
        id = await one.house.submit(TO)
        await one.sent("south")
        await north.tell("DELIVRD")
        assert (await one.house.final(id, 60))["state"] == "DELIVERED"
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["DELIVERED"], {"north": 1, "south": 1})


@trio_test(mock_clock=True)
async def test_an_answer_that_comes_too_late_begins_the_wait_for_the_receipt_too(tmp_path: Path) -> None:
    north, south = Carrier("north"), Carrier("south", "DELIVRD")
    north.mute = True
    more = '[unknown]\ntransactional = "hold"\n'
    async with place(tmp_path, toml(SILENT, "north", "south", more=more), north, south) as one:
        id = await one.house.submit(TO)
        await one.sent("north")
        await one.house.when(id, "unknown")
        await north.send(north.accepted(1))
        assert (await one.house.when(id, "awaiting_receipt"))["phase"]
        await one.sent("south")
        await one.house.final(id)
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["DELIVERED"], {"north": 1, "south": 1})


# nobody is left


@trio_test(mock_clock=True)
@pytest.mark.parametrize(
    ("settings", "had"),
    [
        ("", {"north": 1, "south": 1, "east": 1}),
        (", max_carriers = 2", {"north": 1, "south": 1, "east": 0}),
        (", max_carriers = 9", {"north": 1, "south": 1, "east": 1}),
        (", max_carriers = 5, again = true", {"north": 2, "south": 2, "east": 1}),
    ],
)
async def test_when_all_were_tried_the_last_state_is_told_once(
    tmp_path: Path, settings: str, had: dict[str, int]
) -> None:
    stats = {"north": "UNDELIV", "south": "EXPIRED", "east": "REJECTD"}
    carriers = [Carrier(name, stat) for name, stat in stats.items()]
    async with place(tmp_path, toml(NEXT + settings, *stats), *carriers) as one:
        id = await one.house.submit(TO)
        message = await one.house.final(id)
        await trio.sleep(QUIET_S)
        last = [step[1] for step in await one.steps(id) if step[0] == "receipt"][-1]
        state = {"UNDELIV": "UNDELIVERABLE", "EXPIRED": "EXPIRED", "REJECTD": "REJECTED"}[stats[last]]
        assert one.told() == [message["state"]] == [state]
        assert one.had == had


@trio_test(mock_clock=True)
async def test_without_any_receipt_it_ends_once_when_its_grace_ends(tmp_path: Path) -> None:
    north, south = Carrier("north"), Carrier("south")
    more = "[receipts]\ngrace_s = 120\n"
    async with place(tmp_path, toml(SILENT, "north", "south", more=more), north, south) as one:
        id = await one.house.submit(TO, validity_s=300)
        assert (await one.house.final(id, 3_000))["state"] == "EXPIRED"
        await north.tell("UNDELIV")
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["EXPIRED"], {"north": 1, "south": 1})


# meanwhile


@trio_test(mock_clock=True)
@pytest.mark.parametrize("when", ["before", "waiting", "sent"])
async def test_over_a_restart_a_late_receipt_still_ends_it_once(tmp_path: Path, when: str) -> None:
    north, south = Carrier("north"), Carrier("south")
    world = MemoryWorld()
    config = toml(SILENT, "north", "south")
    async with trio.open_nursery() as nursery:
        for each in (north, south):
            nursery.start_soon(each.serve, await world.listen("127.0.0.1", PORTS[each.name]))
        async with place(tmp_path, config, north, south, world=world, serve=False) as one:
            id = await one.house.submit(TO)
            await one.sent("north")
            if when == "waiting":
                await one.south("suspend")
                await one.house.when(id, "ready")
            elif when == "sent":
                await one.sent("south")
        async with place(tmp_path, config, north, south, world=world, serve=False) as one:
            if when == "before":
                await one.sent("south")
            await north.tell("DELIVRD")
            assert (await one.house.final(id, 60))["state"] == "DELIVERED"
            if when != "waiting":
                await south.tell("DELIVRD")
            await one.south("resume")
            await trio.sleep(QUIET_S)
            had = {"north": 1, "south": int(when != "waiting")}
            assert (one.told(), one.had) == (["DELIVERED"], had)
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_cancelled_one_goes_to_nobody_else(tmp_path: Path) -> None:
    """It was sent, so it cannot be taken back, and cancel_sm says so; but no other carrier gets it."""
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(f"{NEXT}, {SILENT}", "north", "south"), north, south) as one:

        async def cancel(id: str) -> int:
            pdu = CancelSm(message_id=id.encode(), source_addr=b"ACME")
            return int((await one.esme.ask(pdu)).command_status)

        first, second = await one.esme.submit(), await one.esme.submit()
        await one.sent("north", 2)
        assert [await cancel(id) for id in (first, second)] == [Status.ESME_RCANCELFAIL] * 2
        await north.tell("UNDELIV", 1)
        await trio.sleep(QUIET_S)
        await north.tell("DELIVRD", 2)
        assert [(await one.house.final(id))["state"] for id in (first, second)] == [
            "UNDELIVERABLE",
            "DELIVERED",
        ]
        await trio.sleep(QUIET_S)
        assert one.had == {"north": 2, "south": 0}
        assert len(one.told()) == 2


@trio_test(mock_clock=True)
async def test_one_that_waits_for_the_next_carrier_is_cancelled_and_told_once(tmp_path: Path) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(SILENT, "north", "south"), north, south, callback_url="") as one:
        await one.south("suspend")
        id = await one.esme.submit()
        await one.sent("north")
        await one.house.when(id, "ready")
        assert (await one.esme.ask(CancelSm(message_id=id.encode(), source_addr=b"ACME"))).command_status == 0
        await north.tell("DELIVRD")
        await one.south("resume")
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["DELETED"], {"north": 1, "south": 0})


@trio_test(mock_clock=True)
@pytest.mark.parametrize("late", ["", "DELIVRD"])
async def test_one_whose_validity_ends_before_the_next_carrier_takes_it_is_expired_once(
    tmp_path: Path, late: str
) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(SILENT, "north", "south"), north, south) as one:
        id = await one.house.submit(TO, validity_s=300)
        await one.sent("north")
        await one.south("suspend")
        assert (await one.house.final(id, 900))["state"] == "EXPIRED"
        if late:
            await north.tell(late)
        await one.south("resume")
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["EXPIRED"], {"north": 1, "south": 0})


@trio_test(mock_clock=True)
async def test_a_negative_receipt_after_its_validity_is_final(tmp_path: Path) -> None:
    north, south = Carrier("north"), Carrier("south")
    async with place(tmp_path, toml(NEXT, "north", "south"), north, south) as one:
        id = await one.house.submit(TO, validity_s=300)
        await one.sent("north")
        await trio.sleep(400)
        await north.tell("UNDELIV")
        assert (await one.house.final(id))["state"] == "UNDELIVERABLE"
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["UNDELIVERABLE"], {"north": 1, "south": 0})


# long messages


@trio_test(mock_clock=True)
@pytest.mark.parametrize("stats", [("DELIVRD", "UNDELIV"), ("UNDELIV", "DELIVRD")])
async def test_a_long_message_of_which_a_part_was_delivered_goes_to_nobody_else(
    tmp_path: Path, stats: tuple[str, str]
) -> None:
    carriers = Carrier("north", *stats), Carrier("south", "DELIVRD")
    async with place(tmp_path, toml(NEXT, "north", "south"), *carriers) as one:
        id = await one.house.submit(TO, "long " * 40)
        assert (await one.house.final(id))["state"] == "UNDELIVERABLE"
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["UNDELIVERABLE"], {"north": 2, "south": 0})


@trio_test(mock_clock=True)
async def test_a_long_message_of_which_no_part_was_delivered_goes_whole_to_the_next(tmp_path: Path) -> None:
    carriers = Carrier("north", "UNDELIV"), Carrier("south", "DELIVRD")
    async with place(tmp_path, toml(NEXT, "north", "south"), *carriers) as one:
        id = await one.house.submit(TO, "long " * 40)
        assert (await one.house.final(id))["state"] == "DELIVERED"
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["DELIVERED"], {"north": 2, "south": 2})


# a carrier that goes out after it accepted a part


@pytest.mark.parametrize(("chosen", "least_s", "most_s"), [("otp", 0, 5), ("transactional", 60, 65)])
@trio_test(mock_clock=True)
async def test_a_long_message_whose_carrier_stays_away_after_its_first_part_goes_whole_to_the_next(
    tmp_path: Path, chosen: str, least_s: float, most_s: float
) -> None:
    north, south, world = Carrier("north"), Carrier("south", "DELIVRD"), MemoryWorld()
    config = (
        '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
        + carrier("north", PORTS["north"], tps=0.2)
        + carrier("south", PORTS["south"])
        + '[[routes]]\nname = "all"\nlane = ["north", "south"]\n'
    )
    async with place(tmp_path, config, north, south, world=world) as one:
        id = await one.house.submit(TO, "long " * 40, **{"class": chosen})
        await one.house.until(lambda: north.submits)
        await trio.sleep(1)
        del world.ports[PORTS["north"]]
        await north.streams[-1].aclose()
        gone_at = trio.current_time()
        await one.house.until(lambda: south.submits)
        assert least_s <= trio.current_time() - gone_at <= most_s
        message = await one.house.final(id)
        assert message["state"] == "DELIVERED"
        assert {part["carrier"] for part in message["parts"]} == {"south"}
        headers = [pdu.short_message[:5] for pdu in (*north.submits, *south.submits)]
        assert len(headers) == 3
        assert headers[1] == headers[2] != headers[0], "another reference"
        assert ("resent", "north", "whole again elsewhere, 1 parts were accepted") in await one.steps(id)
        await trio.sleep(QUIET_S)
        assert (one.told(), one.had) == (["DELIVERED"], {"north": 1, "south": 2})
