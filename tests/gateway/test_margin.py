"""The margin guard on a whole gateway: who costs more than the account pays never gets its messages.

Cards are imported by the command. South is cheap and within what is paid in Britain, north is dear; each
number's beginning says another case.

Deliberately not here: how prices are found and compared (tests/router/test_rates.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from config.load import ConfigErrors, parse
from gateway.carriers import lanes
from gateway.cli import root
from gateway.cli.failure import OK
from gateway.cli.route import print_explained
from router.nouns import Login
from smpp.status import Status
from tests.gateway.house import NUMBER, Running, carrier, running, simulator, write_config
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

CARRIERS = "".join(
    carrier(name, port, rate_card=f"{name}-card") + simulator(name, port)
    for name, port in (("north", 2776), ("south", 2777))
)
ROUTE = '[[routes]]\nname = "all"\nlane = ["north", "south"]\nchoose = "cheapest"\n'
TOML = CARRIERS + ROUTE
CARDS = {
    "retail": "44,0.05,EUR\n49,0.05,EUR\n33,0.05,EUR\n48,0.05,EUR\n",
    "north-card": "44,0.06,EUR\n49,0.06,EUR\n33,0.01,USD\n48,0.05,EUR\n34,0.06,EUR\n",
    "south-card": "44,0.03,EUR\n49,0.07,EUR\n48,0.06,EUR\n34,0.03,EUR\n",
}
UK, GERMANY, FRANCE, POLAND, SPAIN = (
    "447700900001",
    "4915112345678",
    "33612345678",
    "48512345678",
    "34612345678",
)

Cards = Callable[..., None]


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """Import these rate cards, and the usual ones, where no gateway runs."""
    monkeypatch.setattr("os.nice", lambda by: by)

    def imported(**more: str) -> None:
        for name, rows in {**CARDS, **{key.replace("_", "-"): text for key, text in more.items()}}.items():
            file = tmp_path / f"{name}.csv"
            file.write_text("prefix,price,currency\n" + rows)
            line = ["table", "import", "rates", name, str(file), "--data-dir", str(tmp_path / "var")]
            assert root.run(line) == OK

    imported()
    return imported


async def sent_by(house: Running, to: str) -> str:
    message = await house.final(await house.submit(to))
    assert message["state"] == "DELIVERED"
    return str(message["parts"][0]["carrier"])


async def refusal(house: Running, to: str) -> tuple[int, str, str]:
    status, problem = await house.http("POST", "/v1/messages", {"to": to, "from": NUMBER, "text": "Hello"})
    return status, str(problem["type"]).removeprefix("urn:signalbox:problem:"), str(problem["detail"])


async def explained(house: Running, to: str, key: str | None = None) -> Any:
    status, told = await house.http("POST", "/v1/routes/explain", {"to": to, "from": NUMBER}, key=key)
    assert status == 200, told
    return told


async def for_operators(house: Running, to: str) -> Any:
    verb = house.gateway.verbs.table()["route.explain"]
    return await verb({"to": to, "sender": NUMBER, "account": "acme"})


@trio_test(mock_clock=True)
async def test_a_carrier_that_costs_more_than_is_paid_gets_nothing_even_while_the_cheap_one_is_down(
    tmp_path: Path, cards: Cards
) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        assert await sent_by(house, UK) == "south"
        south = house.gateway.carriers[1]
        south.stand(suspended=True)
        waiting = await house.submit(UK)
        await trio.sleep(600)
        assert (await house.message(waiting))["phase"] == "ready"
        south.stand(suspended=False)
        assert (await house.final(waiting))["parts"][0]["carrier"] == "south"


@trio_test(mock_clock=True)
async def test_with_when_down_reject_the_dear_carrier_does_not_count_as_up(
    tmp_path: Path, cards: Cards
) -> None:
    async with running(tmp_path, TOML + 'when_down = "reject"\n', rate_card="retail") as house:
        await house.bound()
        house.gateway.carriers[1].stand(suspended=True)
        assert (await refusal(house, UK))[:2] == (503, "route-down")


@trio_test(mock_clock=True)
async def test_with_allow_loss_the_dear_carrier_takes_over(tmp_path: Path, cards: Cards) -> None:
    async with running(tmp_path, TOML + "allow_loss = true\n", rate_card="retail") as house:
        await house.bound()
        assert await sent_by(house, UK) == "south"
        house.gateway.carriers[1].stand(suspended=True)
        assert await sent_by(house, UK) == "north"
        assert await sent_by(house, GERMANY) == "north"
        assert [one["margin"] for one in (await for_operators(house, UK))["carriers"]] == [None, None]


@trio_test(mock_clock=True)
async def test_allow_loss_comes_and_goes_with_a_reload(tmp_path: Path, cards: Cards) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        assert (await refusal(house, GERMANY))[1] == "no-margin"
        write_config(tmp_path, TOML + "allow_loss = true\n")
        await house.gateway.reload.reload()
        assert await sent_by(house, GERMANY) == "north"
        write_config(tmp_path, TOML)
        await house.gateway.reload.reload()
        assert (await refusal(house, GERMANY))[1] == "no-margin"


@trio_test(mock_clock=True)
async def test_where_every_carrier_costs_more_the_submit_is_refused_and_says_what_to_do(
    tmp_path: Path, cards: Cards
) -> None:
    smpp = '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
    logins = (Login("acme", (hashed("secret"),)),)
    async with running(tmp_path, smpp + TOML, rate_card="retail", logins=logins) as house:
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        status, code, detail = await refusal(house, GERMANY)
        assert (status, code) == (422, "no-margin")
        assert "route 'all'" in detail
        assert "4915…" in detail
        assert "allow_loss = true" in detail
        assert not any(price in detail for price in ("0.05", "0.06", "0.07"))
        async with bound(house.world) as esme:
            answer = await esme.ask(esme.message(GERMANY))
            assert answer.command_status == Status.ESME_RSUBMITFAIL
            assert (await esme.ask(esme.message(UK))).command_status == 0
        assert (await for_operators(house, GERMANY))["refused"]["code"] == "no-margin"


@trio_test(mock_clock=True)
async def test_a_price_of_a_carrier_that_is_not_known_or_in_another_currency_leaves_it_out(
    tmp_path: Path, cards: Cards
) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        assert (await refusal(house, FRANCE))[:2] == (422, "no-margin")
        said = {one["carrier"]: one["detail"] for one in (await for_operators(house, FRANCE))["carriers"]}
        assert "its price is in USD, which cannot be compared with EUR" in said["north"]
        assert "its rate card has no price for this number" in said["south"]


@trio_test(mock_clock=True)
async def test_a_carrier_may_cost_as_much_as_is_paid(tmp_path: Path, cards: Cards) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        assert await sent_by(house, POLAND) == "north"


@pytest.mark.parametrize(("card", "to"), [("", UK), ("retail", SPAIN), ("nowhere", UK)])
@trio_test(mock_clock=True)
async def test_where_nobody_knows_what_the_account_pays_there_is_no_guard(
    tmp_path: Path, cards: Cards, card: str, to: str
) -> None:
    async with running(tmp_path, TOML, rate_card=card) as house:
        await house.bound()
        assert await sent_by(house, to) == "south"
        house.gateway.carriers[1].stand(suspended=True)
        assert await sent_by(house, to) == "north"
        assert [one["margin"] for one in (await for_operators(house, to))["carriers"]] == [None, None]


@trio_test(mock_clock=True)
async def test_explain_tells_operators_both_prices_and_customers_none(tmp_path: Path, cards: Cards) -> None:
    async with running(tmp_path, "[http]\nexplain_to_accounts = true\n" + TOML, rate_card="retail") as house:
        await house.bound()
        told = await for_operators(house, UK)
        south, north = told["carriers"]
        assert (south["carrier"], south["order"], south["reason"]) == ("south", 1, "free")
        assert south["margin"] == {"left_out": False, "costs": "0.03 EUR", "account_pays": "0.05 EUR"}
        assert (north["carrier"], north["order"], north["reason"]) == ("north", None, "margin")
        assert north["margin"] == {"left_out": True, "costs": "0.06 EUR", "account_pays": "0.05 EUR"}
        guard = "left out by the margin guard: costs 0.06 EUR, the account pays 0.05 EUR"
        assert north["detail"] == guard
        customers = await explained(house, UK)
        assert [one["carrier"] for one in customers["carriers"]] == ["south", "north"]
        assert all(one["cost"] is one["margin"] is None for one in customers["carriers"])
        assert "0.06" not in str(customers)
        assert "0.03" not in str(customers)


@trio_test(mock_clock=True)
async def test_the_command_prints_both_prices(
    tmp_path: Path, cards: Cards, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        told = await for_operators(house, UK)
        capsys.readouterr()
        print_explained(told)
        out = capsys.readouterr().out
        assert "0.03 EUR of 0.05 EUR" in out
        assert "left out by the margin guard: costs 0.06 EUR, the account pays 0.05 EUR" in out


@trio_test(mock_clock=True)
async def test_beyond_the_most_orders_the_guard_still_holds(
    tmp_path: Path, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MOST_ORDERS", 1)
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        assert await sent_by(house, POLAND) == "north"
        assert await sent_by(house, UK) == "south"
        house.gateway.carriers[1].stand(suspended=True)
        waiting = await house.submit(UK)
        await trio.sleep(600)
        assert (await house.message(waiting))["phase"] == "ready"
        house.gateway.carriers[1].stand(suspended=False)
        await house.final(waiting)


@trio_test(mock_clock=True)
async def test_what_waits_over_a_restart_is_held_once_nobody_may_carry_it(
    tmp_path: Path, cards: Cards
) -> None:
    async with running(tmp_path, TOML, rate_card="retail") as house:
        await house.bound()
        house.gateway.carriers[1].stand(suspended=True)
        waiting = await house.submit(UK)
    await trio.to_thread.run_sync(partial(cards, south_card="44,0.08,EUR\n"))
    async with running(tmp_path, TOML) as house:
        assert (await house.when(waiting, "held"))["reason"] == "lane_gone"
    await trio.to_thread.run_sync(cards)
    async with running(tmp_path, TOML) as house:
        assert (await house.final(waiting))["parts"][0]["carrier"] == "south"


def test_allow_loss_without_cheapest_is_an_error_with_its_line() -> None:
    text = CARRIERS + '[[routes]]\nname = "all"\nlane = ["north"]\nallow_loss = true\n'
    with pytest.raises(ConfigErrors, match=r'allow_loss.*goes with choose = "cheapest"') as caught:
        parse(text, Path("/etc/signalbox.toml"))
    line = text.splitlines().index("allow_loss = true") + 1
    assert f"signalbox.toml:{line}:" in str(caught.value)
