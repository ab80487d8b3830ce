"""How a route chooses among the carriers of its lane: drained ones, one carrier for each recipient, the best.

Deliberately not here: shares and overflow inside a lane (tests/router/test_lanes.py), prices (tests/router).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import trio

from config.load import ConfigErrors, parse
from router.lanes import preferred
from tests.gateway.house import Running, carrier, running, simulator, write_config
from tests.trio_case import trio_test

BOTH = "".join(
    carrier(name, port) + simulator(name, port) for name, port in (("north", 2776), ("south", 2777))
)


def route(north: int, south: int, **more: str) -> str:
    lane = f'[{{ carrier = "north", weight = {north} }}, {{ carrier = "south", weight = {south} }}]'
    keys = "".join(f'{key} = "{one}"\n' for key, one in more.items())
    return f'[[routes]]\nname = "all"\nlane = {lane}\n{keys}'


async def sent_by(house: Running, to: str) -> str:
    message = await house.final(await house.submit(to))
    assert message["state"] == "DELIVERED"
    return str(message["parts"][0]["carrier"])


@trio_test(mock_clock=True)
async def test_a_carrier_of_weight_0_gets_nothing_new_and_stays_bound(tmp_path: Path) -> None:
    async with running(tmp_path, BOTH + route(1, 1)) as house:
        await house.bound()
        assert {await sent_by(house, f"44770090{number:04d}") for number in range(20)} == {"north", "south"}
        write_config(tmp_path, BOTH + route(0, 1))
        await house.gateway.reload.reload()
        assert {await sent_by(house, f"44770091{number:04d}") for number in range(20)} == {"south"}
        assert all(one.able() for one in house.gateway.carriers)


@trio_test(mock_clock=True)
async def test_a_recipient_keeps_his_carrier_while_it_is_able(tmp_path: Path) -> None:
    async with running(tmp_path, BOTH + route(1, 1, sticky="recipient")) as house:
        await house.bound()
        numbers = [f"44770090{number:04d}" for number in range(12)]
        first = {number: await sent_by(house, number) for number in numbers}
        assert {number: await sent_by(house, number) for number in numbers} == first
        assert set(first.values()) == {"north", "south"}
        house.gateway.carriers[0].stand(suspended=True)
        assert {await sent_by(house, number) for number in numbers} == {"south"}


@trio_test(mock_clock=True)
async def test_the_best_carrier_is_tried_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = '[[routes]]\nname = "all"\nlane = ["north", "south"]\nchoose = "best"\n'
    async with running(tmp_path, BOTH + best) as house:
        await house.bound()
        assert await sent_by(house, "447700900001") == "north"
        ratios = {"north": 0.4, "south": 0.9}
        monkeypatch.setattr(house.gateway.health, "delivered_ratio", lambda one, code=0: ratios[one.name])
        await trio.sleep(6)
        assert await sent_by(house, "447700900002") == "south"


def test_keys_prefer_carriers_in_the_proportion_of_the_weights() -> None:
    counts = Counter(preferred(str(key), (3, 5, 9), (70, 20, 10)) for key in range(20_000))
    assert [round(counts[index] / 200) for index in range(3)] == pytest.approx([70, 20, 10], abs=1)


def test_when_a_carrier_goes_only_its_own_keys_move() -> None:
    keys = [str(key) for key in range(500)]
    before = {key: (3, 5, 9)[preferred(key, (3, 5, 9), (1, 1, 1))] for key in keys}
    after = {key: (3, 9)[preferred(key, (3, 9), (1, 1))] for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (route(0, 0), "every carrier has weight 0"),
        (route(1, 1, choose="cheapest"), "has no use for weights"),
        ('[[routes]]\nname = "all"\nlane = ["north"]\nsticky = "sender"\n', "goes with weights"),
        ('[[routes]]\nname = "all"\nlane = ["north"]\nchoose = "weights"\n', "the lane has no weights"),
    ],
)
def test_choices_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigErrors, match=said):
        parse(BOTH + text, Path("/etc/signalbox.toml"))
