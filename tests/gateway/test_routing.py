"""Routes with conditions in a whole gateway: by which facts a message goes, and how long it may wait."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from tests.gateway.house import START_MS, carrier, running, simulator
from tests.trio_case import trio_test

CARRIER = carrier("sim", 2776)
DEFAULT = '[[routes]]\nname = "default"\nlane = ["sim"]\n'


def rule(match: str, more: str = "") -> str:
    return f'[[routes]]\nname = "special"\nlane = ["sim"]\nmatch = {match}\n{more}\n'


@pytest.mark.parametrize(
    ("match", "fields"),
    [
        ('{ prefix = ["4479"] }', {"to": "447900900123"}),
        ('{ country = ["DE"] }', {"to": "4915112345678"}),
        ('{ number_type = ["mobile"] }', {"to": "4915112345678"}),
        ('{ sender = ["ACME"] }', {"from": "ACME"}),
        ('{ sender_type = ["alphanumeric"] }', {"from": "Anybody"}),
        ('{ class = ["otp"] }', {"class": "otp"}),
        ('{ tag = ["x"] }', {"tags": ["y", "x"]}),
        ('{ text = ["your code"] }', {"text": "This is YOUR CODE"}),
        ('{ encoding = ["ucs2"] }', {"text": "привет"}),
        ("{ min_segments = 2 }", {"text": "x" * 161}),
        ('{ account = ["acme"], not = { tag = ["no"] } }', {}),
        ('{ group = ["retail"], not = { tag = ["no"] } }', {}),
        ('{ dates = ["2026-10-01..2026-10-31"] }', {"send_at": "2026-10-02T00:00:00Z"}),
    ],
)
@trio_test(mock_clock=True)
async def test_a_message_goes_by_what_it_is(tmp_path: Path, match: str, fields: dict[str, object]) -> None:
    assert START_MS < 1_790_812_800_000  # before October 2026
    toml = CARRIER + rule(match) + DEFAULT
    async with running(tmp_path, toml, group="retail") as house:
        for more, route in ((fields, "special"), ({"tags": ["no"]}, "default")):
            one = {"to": "447700900123", "from": "12345", "text": "Hello", **more}
            status, answer = await house.http("POST", "/v1/messages", one)
            assert status == 202, answer
            found = house.gateway.store.find_any(int(answer["id"]))
            assert found is not None
            assert found[0].route == route


@trio_test(mock_clock=True)
async def test_a_message_that_waited_longer_than_its_route_allows_ends_expired_and_is_told(
    tmp_path: Path,
) -> None:
    toml = CARRIER + rule('{ class = ["otp"] }', "max_queue_age_s = 30") + DEFAULT
    async with running(tmp_path, toml) as house:
        late = await house.submit("447700900123", **{"class": "otp"})
        patient = await house.submit("447700900123")
        message = await house.final(late)
        assert (message["state"], message["reason"]) == ("EXPIRED", "expired_in_queue")
        assert house.world.wall_ms() - START_MS < 180_000
        await house.until(lambda: house.customer.of(late))
        assert (await house.message(patient))["final"] is False


@trio_test(mock_clock=True)
async def test_a_message_that_left_in_time_is_not_ended_by_its_routes_patience(tmp_path: Path) -> None:
    toml = CARRIER + rule('{ class = ["otp"] }', "max_queue_age_s = 30")
    toml += simulator("sim", 2776, receipt_delay_s=[600, 600])
    async with running(tmp_path, toml) as house:
        await house.bound()
        message = await house.final(await house.submit("447700900123", **{"class": "otp"}))
        assert message["state"] == "DELIVERED"


@trio_test(mock_clock=True)
async def test_a_route_for_accounts_that_do_not_exist_is_warned_of_at_start(tmp_path: Path) -> None:
    toml = CARRIER + rule('{ account = ["ghost", "acme"], not = { account = ["spectre"] } }') + DEFAULT
    async with running(tmp_path, toml):
        pass
    with structlog.testing.capture_logs() as logs:
        async with running(tmp_path, toml):  # acme was made by the first run
            pass
    (told,) = (one for one in logs if "accounts that do not exist" in one["event"])
    assert told["names"] == ["ghost", "spectre"]
