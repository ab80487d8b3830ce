"""Scenarios of throttling with one seed each; their figures are in docs/routing.md, section "Throttles".

Deliberately not here: single rules of throttles (tests/router), limits on some messages
(tests/gateway/carriers/test_limits.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from gateway.simulator.behaviour import Behaviour
from router.throttle import CATCH_UP_S, LATE_S, WINDOW_S
from tests.simulation.scene import Scene, carrier_toml, most_in, numbers, route_toml, scene
from tests.trio_case import trio_test


async def offer(stage: Scene, account_name: str, per_s: int, for_s: float) -> list[str]:
    """So many messages a second, in tenths; returns the numbers in the order they were submitted."""
    account = await stage.account(account_name)
    sent: list[str] = []
    for _ in range(int(for_s * 10)):
        batch = numbers("4477", per_s // 10, len(sent))
        stage.submit(account, batch)
        sent += batch
        await trio.sleep(0.1)
    return sent


@trio_test(mock_clock=True)
async def test_a_carrier_that_throttles_at_a_tenth_of_its_contract(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, "tps = 500\nwindow = 50") + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour(tps=50, response_delay_s=(0.02, 0.05))}, 7) as stage:
        north = stage.carriers["north"]
        began = trio.current_time()
        sent = await offer(stage, "acme", 40, 40)
        extra = await offer(stage, "late", 200, 5)  # more than it takes: it goes on at its limit
        await stage.until(lambda: not stage.waiting(), 300)
        ended = trio.current_time()
        assert not stage.refusals
        accepted = [one.to for one in north.accepted()]
        assert sorted(accepted) == sorted(sent + extra)  # none lost, none twice
        settled = began + 10
        refused = north.refused(settled, ended)
        assert len(refused) <= 0.03 * len(north.accepted(settled, ended))
        backlog_began, backlog_ended = began + 45, ended
        at_limit = len(north.accepted(backlog_began, backlog_ended)) / (backlog_ended - backlog_began)
        print("share refused", len(refused) / len(north.accepted(settled, ended)), "rate", at_limit)
        assert at_limit > 0.6 * 50
        facts = stage.gateway.facts()
        assert "of 500/s: throttled" in facts["carriers"]["north"]["slowed"]  # type: ignore[index]


@trio_test(mock_clock=True)
async def test_what_a_carrier_throttles_keeps_its_place(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, "tps = 500\nwindow = 10") + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour(tps=50)}, 8) as stage:
        account = await stage.account("acme")
        wanted = numbers("4477", 600)
        stage.submit(account, wanted)
        await stage.until(lambda: not stage.waiting(), 120)
        north = stage.carriers["north"]
        accepted = [one.to for one in north.accepted()]
        assert sorted(accepted) == wanted
        place = {to: index for index, to in enumerate(wanted)}
        behind = max(abs(place[to] - index) for index, to in enumerate(accepted))
        assert behind <= 10  # a window's worth
        assert len(north.refused()) <= 0.1 * 600
        messages = [stage.gateway.store.find_any(id) for id in stage.accepted]
        assert max(found[1].attempts for found in messages if found is not None) == 1  # none counted


@trio_test(mock_clock=True)
async def test_switched_off_it_goes_on_at_the_configured_rate(tmp_path: Path) -> None:
    toml = carrier_toml("north", 1, "tps = 500\nwindow = 10\nadaptive = false") + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour(tps=50)}, 8) as stage:
        account = await stage.account("acme")
        stage.submit(account, numbers("4477", 300))
        await stage.until(lambda: not stage.waiting(), 120)
        assert stage.gateway.carriers[0].throttle.rate_per_s == 500
        assert stage.gateway.facts()["carriers"]["north"]["slowed"] == ""  # type: ignore[index]


@trio_test(mock_clock=True)
async def test_a_carrier_that_returns_is_not_run_over_by_what_waited(tmp_path: Path) -> None:
    """The thundering herd: 1,500 messages waited; it comes back and takes 100 a second of its 300."""
    toml = carrier_toml("north", 1, "tps = 300\nwindow = 50\nsessions = 2") + route_toml("north")
    async with scene(tmp_path, toml, {"north": Behaviour(tps=100, response_delay_s=(0.02, 0.1))}, 9) as stage:
        north = stage.carriers["north"]
        listener = stage.world.ports.pop(2001)
        for peer in list(north.peers):
            peer.dead = True
            await trio.aclose_forcefully(peer.stream)
        account = await stage.account("acme")
        wanted = numbers("4477", 1_500)
        stage.submit(account, wanted)
        await trio.sleep(10)
        assert not north.arrivals
        stage.world.ports[2001] = listener
        await stage.until(lambda: north.arrivals, 120)
        back = trio.current_time()
        await stage.until(lambda: not stage.waiting(), 300)
        took_s = trio.current_time() - back
        assert sorted(one.to for one in north.accepted()) == wanted
        assert most_in(1.0, [one.at for one in north.arrivals]) <= 300
        refused = north.refused()
        print("herd: refused", len(refused), "in", took_s)
        assert len(refused) <= 0.06 * 1_500
        assert took_s < 1.7 * 1_500 / 100


CODES_TOML = '[[routes]]\nname = "codes"\nmatch = { class = ["otp"] }\nlane = ["north"]\n'


@pytest.mark.parametrize(
    ("routes", "accounts"),
    [(route_toml("north"), 1), (CODES_TOML + route_toml("north"), 200)],
    ids=["one account in the same lane", "200 accounts in another lane"],
)
@trio_test(mock_clock=True)
async def test_an_otp_a_second_beside_a_very_large_backlog(
    tmp_path: Path, routes: str, accounts: int
) -> None:
    """The longest that an OTP may wait, from its submit to the carrier: what is leased ahead of it (50 ms of
    the rate), the gap that keeps the second's limit (12.5 ms for jitter, LATE_S, a token at 200 a second),
    and 10 ms until the next look at the lanes. Right after an idle time the limit may be caught up with, so
    that the first gap is CATCH_UP_S. What waits behind has no part in it.

    A second is a little less than the limit's window, so each OTP meets it 12.5 ms later than the one before.
    """
    tps = 200
    ahead_s, look_s, gap_s = 0.05, 0.01, WINDOW_S - 1 + 1 / tps
    first_s, longest_s = ahead_s + look_s + gap_s + CATCH_UP_S, ahead_s + look_s + gap_s + LATE_S
    toml = carrier_toml("north", 1, f"tps = {tps}\nwindow = 50") + routes
    async with scene(tmp_path, toml, {"north": Behaviour(response_delay_s=(0.02, 0.05))}, 10) as stage:
        north, otp = stage.carriers["north"], await stage.account("otp")
        waiting = numbers("4477", 5_000)
        for index in range(accounts):
            bulk = await stage.account(f"bulk{index}")
            stage.submit(bulk, waiting[index::accounts], message_class="bulk")
        began = trio.current_time()
        asked: dict[str, float] = {}
        for to in numbers("4915", 20):
            asked[to] = trio.current_time()
            stage.submit(otp, [to], message_class="otp")
            await trio.sleep(1)
        assert not stage.refusals
        assert not north.refused()  # a carrier that pauses is another scenario
        assert stage.waiting() > 900
        took = {one.to: one.at - asked[one.to] for one in north.arrivals if one.to in asked}
        assert len(took) == 20
        later = sorted(took[to] for to, at in asked.items() if at > began + 2)
        print("otp p50", later[len(later) // 2], "longest", max(took.values()), "and later", later[-1])
        assert max(took.values()) <= first_s
        assert later[-1] <= longest_s


@trio_test(mock_clock=True)
async def test_limits_at_several_horizons_hold_in_every_sliding_window(tmp_path: Path) -> None:
    """A carrier's second, minute and hour, a country's second and minute, a sender's minute, all at once."""
    toml = carrier_toml(
        "north",
        1,
        "tps = 30\nburst = 5\nwindow = 50\nlimits = [{ per_minute = 900, per_hour = 2_000 }, "
        '{ prefix = ["44"], tps = 10, per_minute = 300 }, { sender = ["PROMO*"], per_minute = 60 }]',
    )
    async with scene(tmp_path, toml + route_toml("north"), {"north": Behaviour()}, 11) as stage:
        account = await stage.account("acme")
        for prefix, sender in (("4477", "ACME"), ("4915", "ACME"), ("3361", "PROMO1"), ("4477", "PROMO2")):
            stage.submit(account, numbers(prefix, 1_000), sender)
            await trio.sleep(0.3)
        await trio.sleep(125)
        north = stage.carriers["north"]
        times = [one.at for one in north.arrivals]
        uk = [one.at for one in north.arrivals if one.to.startswith("44")]
        promo = [one.at for one in north.arrivals if one.sender.startswith("PROMO")]
        assert most_in(1.0, times) <= 34
        assert most_in(60.0, times) <= 900
        assert len(times) <= 2_000
        assert most_in(1.0, uk) <= 10
        assert most_in(60.0, uk) <= 300
        assert most_in(60.0, promo) <= 60
        print("horizons", len(times), len(uk), len(promo))
        assert len(promo) >= 0.9 * 60 * 2
        assert len(uk) >= 0.9 * 300 * 2
        assert len(times) >= 1_500  # the carrier, country and sender together let no more through
