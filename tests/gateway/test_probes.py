"""Test messages of routes, on a schedule."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from gateway.admin import AdminError
from tests.gateway.house import carrier, route, running, simulator
from tests.trio_case import trio_test

PROBE = '[[routes.probes]]\nto = "+447700900001"\nfrom = "12345"\nevery_s = 60\nwithin_s = 20\n'


@trio_test(mock_clock=True)
async def test_a_probe_that_is_not_delivered_in_time_is_told_and_so_is_the_next_good_one(
    ram_path: Path,
) -> None:
    toml = carrier("north", 2776) + route("north") + PROBE + simulator("north", 2776)
    async with running(ram_path, toml) as house:
        await house.bound()
        probes, smsc = house.gateway.probes, house.gateway.simulators[0]
        await trio.sleep(200)
        assert (probes.passed, probes.failed) == ({"all": 3}, {})
        smsc.behaviour = msgspec.structs.replace(smsc.behaviour, no_receipt=1.0)
        await trio.sleep(70)
        assert probes.failed == {"all": 1}
        smsc.behaviour = msgspec.structs.replace(smsc.behaviour, no_receipt=0.0)
        await trio.sleep(70)
        events = [row.notice for row in house.gateway.store.notices()]
        assert [(one.kind, one.subject) for one in events] == [
            ("probe.passed", "route:all"),
            ("probe.failed", "route:all"),
        ]
        assert "no final receipt within 20 s" in events[1].text


@trio_test(mock_clock=True)
async def test_a_probe_whose_number_is_of_another_route_fails(ram_path: Path) -> None:
    uk = '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["north"]\n'
    toml = carrier("north", 2776) + uk + route("north") + PROBE + simulator("north", 2776)
    async with running(ram_path, toml) as house:
        await house.bound()
        await trio.sleep(70)
        notice = house.gateway.store.notices()[0].notice
        assert "took the route uk" in notice.text
        assert "447700900001" not in str(notice)
        assert "4477*****001" in str(notice)


@trio_test(mock_clock=True)
async def test_an_account_of_a_customer_is_never_used_for_probes(ram_path: Path) -> None:
    toml = carrier("north", 2776) + route("north") + PROBE + simulator("north", 2776)
    async with running(ram_path, toml) as house:
        with pytest.raises(AdminError, match="reserved"):
            await house.gateway.verbs.table()["account.create"]({"name": "probes"})
        await house.gateway.accounts.create("probes", house.world.wall_ms())  # before the name was reserved
        await house.bound()
        await trio.sleep(200)
        assert house.gateway.store.totals().accepted == 0
        assert house.gateway.probes.passed == {}


@trio_test(mock_clock=True)
async def test_nobody_else_can_send_as_the_account_of_probes(ram_path: Path) -> None:
    toml = carrier("north", 2776) + route("north") + PROBE + simulator("north", 2776)
    async with running(ram_path, toml) as house:
        await house.bound()
        await trio.sleep(70)
        account = house.gateway.accounts.by_name["probes"]
        assert (account.key_hashes, account.logins) == ((), ())
