"""Explaining and previewing on a whole gateway: over HTTP, by the admin verb, and from a file alone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from gateway.admin import AdminError
from gateway.cli.failure import Failure
from gateway.cli.route import print_explained, route
from gateway.http.explain import A_SECOND, OF_ACCOUNTS, ExplainApi
from router.rates import Rate
from store.table_build import Builder
from tests.gateway.house import Running, carrier, running, simulator
from tests.trio_case import trio_test

LATER = "2026-11-23T03:00:00Z"
TOML = (
    "[http]\nexplain_to_accounts = true\n"
    + carrier("north", 2776, max_parts=2)
    + carrier("south", 2777)
    + carrier("dead", 2799)
    + simulator("north", 2776)
    + simulator("south", 2777)
    + """
[[routes]]
name = "codes"
match = { class = ["otp"], text = ["code"], not = { account = ["rival"] } }
lane = ["south"]
when_down = "reject"

[[routes]]
name = "secret"
match = { account = ["rival", "other-rival"] }
lane = ["north"]

[[routes]]
name = "uk"
match = { prefix = ["44"] }
lane = ["dead", "north", "south"]

[[routes]]
name = "shares"
match = { prefix = ["49"] }
lane = [{ carrier = "north", weight = 70 }, { carrier = "south", weight = 30 }]
"""
)
UK = {"to": "+447700900123", "from": "ACME"}


async def up(house: Running) -> None:
    able = ("north", "south")
    await house.until(lambda: all(one.able() for one in house.gateway.carriers if one.name in able))


async def asked(house: Running, key: str | None = None, **fields: object) -> Any:
    status, told = await house.http("POST", "/v1/routes/explain", {**UK, **fields}, key=key)
    assert status == 200, told
    return told


async def refused(house: Running, path: str, fields: object, key: str | None = None) -> tuple[int, str]:
    status, problem = await house.http("POST", path, fields, key=key)
    assert status >= 400
    return status, problem["type"].removeprefix("urn:signalbox:problem:")


async def operator(house: Running) -> str:
    _, key = await house.gateway.operators.create("ops")
    return key


@trio_test(mock_clock=True)
async def test_each_rule_says_why_it_did_not_take_the_message_and_each_carrier_when_it_is_its_turn(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, TOML) as house:
        await up(house)
        told = await asked(house, await operator(house), account="acme")
        assert (told["to"], told["from"], told["account"]) == ("447700900123", "ACME", "acme")
        assert told["number"] == {"country": "GB", "type": "unknown", "mcc_mnc": None, "ported": False}
        assert told["route"] == "uk"
        assert told["rules"] == [
            {"route": "codes", "matches": False, "why_not": "class: transactional, and not otp"},
            {"route": "secret", "matches": False, "why_not": "account: acme is not one of its accounts"},
            {"route": "uk", "matches": True, "why_not": None},
        ]
        assert told["lane"] == ["dead", "north", "south"]
        assert [(one["carrier"], one["order"], one["reason"]) for one in told["carriers"]] == [
            ("north", 1, "free"),
            ("south", 2, "overflow_wait"),
            ("dead", None, "no_bind"),
        ]
        assert (told["encoding"], told["parts"], told["cost"]) == ("gsm7", 1, None)
        assert told["refused"] is None
        assert house.gateway.store.totals().accepted == 0


@trio_test(mock_clock=True)
async def test_an_account_is_told_nothing_of_what_rules_ask_for_nor_the_names_of_those_that_are_not_its(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, TOML) as house:
        told = await asked(house)
        assert told["rules"] == [
            {"route": None, "matches": False, "why_not": "class"},
            {"route": None, "matches": False, "why_not": "account"},
            {"route": "uk", "matches": True, "why_not": None},
        ]
        told = await asked(house, to="+33612345678")
        assert {one["route"] for one in told["rules"]} == {None}
        assert [one["why_not"] for one in told["rules"]] == ["class", "account", "prefix", "prefix"]


@trio_test(mock_clock=True)
async def test_an_account_has_no_routes_explained_unless_it_is_allowed(tmp_path: Path) -> None:
    async with running(tmp_path, TOML.replace("explain_to_accounts = true\n", "")) as house:
        assert await refused(house, "/v1/routes/explain", UK) == (403, "operator-key-needed")
        await asked(house, await operator(house))


@trio_test(mock_clock=True)
async def test_a_time_at_the_end_of_the_calendar_is_refused_and_no_fault(tmp_path: Path) -> None:
    east = """
[[routes]]
name = "night"
match = { hours = ["22:00-06:00"], zone = "Pacific/Auckland" }
lane = ["north"]
"""
    async with running(tmp_path, TOML.replace("[[routes]]", east + "[[routes]]", 1)) as house:
        key = await operator(house)
        for field in ("at", "send_at"):
            for last in ("9999-12-31T23:30:00Z", "9999-12-31T23:59:59.9999Z"):
                wish = {**UK, field: last}
                assert await refused(house, "/v1/routes/explain", wish, key) == (422, "invalid-fields")
        await asked(house, key, at="9999-12-30T23:30:00Z")


@trio_test(mock_clock=True)
async def test_an_account_asks_for_routes_less_often_than_an_operator(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        statuses = [(await house.http("POST", "/v1/routes/explain", UK))[0] for _ in range(OF_ACCOUNTS + 1)]
        assert statuses == [200] * OF_ACCOUNTS + [429]
        assert (await house.http("POST", "/v1/preview", {"text": "x"}))[0] == 200
        key = await operator(house)
        for _ in range(OF_ACCOUNTS + 1):
            await asked(house, key)


@trio_test(mock_clock=True)
async def test_a_carrier_that_is_suspended_or_takes_only_shorter_messages_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await up(house)
        north = next(one for one in house.gateway.carriers if one.name == "north")
        told = await asked(house, text="x" * 400)
        assert told["parts"] == 3
        by_name = {one["carrier"]: one for one in told["carriers"]}
        assert by_name["north"]["reason"] == "too_long"
        assert by_name["north"]["detail"] == "it takes 2 parts, this has 3"
        assert (by_name["south"]["order"], by_name["south"]["reason"]) == (1, "free")
        north.suspended = True
        by_name = {one["carrier"]: one for one in (await asked(house))["carriers"]}
        assert (by_name["north"]["order"], by_name["north"]["reason"]) == (None, "suspended")


@trio_test(mock_clock=True)
async def test_with_weights_whoever_is_behind_its_share_comes_first(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await up(house)
        told = await asked(house, to="+4915112345678")
        assert [(one["carrier"], one["weight"]) for one in told["carriers"]] == [("north", 70), ("south", 30)]
        lane = house.gateway.routes.decide("4915112345678", "", 0, "", "", 1, (), "", 0, 1, 0)
        assert lane is not None
        shares = house.gateway.board._lanes[lane.lane].shares
        shares.allowance(0, 1, 0b11)
        shares.took(0, 40)
        told = await asked(house, to="+4915112345678")
        assert [(one["carrier"], one["order"], one["reason"]) for one in told["carriers"]] == [
            ("south", 1, "free"),
            ("north", 2, "share_wait"),
        ]


@trio_test(mock_clock=True)
async def test_what_the_door_would_refuse_is_said_with_the_way_it_would_have_gone(tmp_path: Path) -> None:
    async with running(tmp_path, TOML, senders=("OTHER",)) as house:
        told = await asked(house)
        assert told["route"] == "uk"
        assert (told["refused"]["status"], told["refused"]["code"]) == (403, "sender-not-allowed")
        told = await asked(house, to="+33612345678")
        assert (told["route"], told["carriers"]) == (None, [])
        assert len(told["rules"]) == 4


@trio_test(mock_clock=True)
async def test_a_route_that_refuses_while_down_is_told_as_such(tmp_path: Path) -> None:
    async with running(tmp_path, TOML.replace(simulator("south", 2777), "")) as house:
        told = await asked(house, text="your code", **{"class": "otp"})
        assert told["route"] == "codes"
        assert told["refused"]["code"] == "route-down"


@trio_test(mock_clock=True)
async def test_an_account_asks_for_itself_and_an_operator_for_anybody(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        key = await operator(house)
        await house.gateway.accounts.create("rival", house.world.wall_ms())
        assert (await asked(house, account="acme"))["account"] == "acme"
        assert (await asked(house, key, account="rival"))["route"] == "secret"
        assert (await asked(house, key))["account"] is None
        path = "/v1/routes/explain"
        assert await refused(house, path, {**UK, "account": "rival"}) == (403, "operator-key-needed")
        assert await refused(house, path, {**UK, "account": "nobody"}, key) == (404, "no-such-account")
        assert await refused(house, path, UK, "sbk_wrong") == (401, "not-authenticated")
        assert await refused(house, "/v1/preview", {"text": "x"}, "") == (401, "not-authenticated")


@trio_test(mock_clock=True)
async def test_an_operator_may_keep_the_names_of_routes_and_carriers_to_himself(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        gateway = house.gateway
        shut = ExplainApi(
            lambda *_: {"explained": True},
            lambda *_: {"previewed": True},
            gateway.accounts.by_name.get,
            house.world.wall_ms,
            to_accounts=False,
        )
        told: list[tuple[int, bytes]] = []
        for key in (house.key, await operator(house)):
            asking: Any = SimpleNamespace(
                headers={},
                caller=gateway.keys.caller(f"Bearer {key}".encode(), "192.0.2.1"),
                path="/v1/…",
                body=json.dumps({**UK, "text": "x"}).encode(),
            )
            for handler in (shut.explain, shut.preview):
                handler(asking, lambda status, _, body: told.append((status, body)))
        assert [status for status, _ in told] == [403, 200, 200, 200]
        assert b"operator-key-needed" in told[0][1]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "+447700900123"}, "invalid-fields"),
        ({**UK, "at": "2026-11-23T03:00:00"}, "invalid-fields"),
        ({**UK, "at": "9999-99-99"}, "invalid-fields"),
        ({**UK, "at": 5}, "invalid-fields"),
        ({**UK, "account": 5}, "invalid-fields"),
        ({**UK, "colour": "red"}, "invalid-fields"),
        ({**UK, "class": "otq"}, "invalid-fields"),
        ({**UK, "to": "12"}, "impossible-length"),
        ({**UK, "text": "ж", "encoding": "gsm7"}, "unencodable"),
        ([], "invalid-fields"),
    ],
)
@trio_test(mock_clock=True)
async def test_a_question_that_cannot_be_asked_names_the_field(
    tmp_path: Path, fields: object, code: str
) -> None:
    async with running(tmp_path, TOML) as house:
        assert await refused(house, "/v1/routes/explain", fields) == (422, code)


@trio_test(mock_clock=True)
async def test_who_asks_very_often_waits(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        answers: list[tuple[int, Any]] = []

        async def ask() -> None:
            answers.append(await house.http("POST", "/v1/preview", {"text": "x"}))

        async with trio.open_nursery() as nursery:
            for _ in range(3 * A_SECOND):
                nursery.start_soon(ask)
        statuses = [status for status, _ in answers]
        assert statuses.count(200) < 2 * A_SECOND
        assert set(statuses) == {200, 429}
        assert next(told for status, told in answers if status == 429)["type"].endswith("too-many-questions")
        await asked(house, await operator(house))
        await trio.sleep(1.1)
        await asked(house)


WRITING = (
    carrier("north", 2776, national_shift="single", national_languages=["turkish"])
    + """
[[carriers.senders]]
country = ["US"]
use = "12025550100"
[[carriers.senders]]
country = ["IN"]
refuse = true
"""
)


@trio_test(mock_clock=True)
async def test_each_carrier_says_how_it_would_be_written(tmp_path: Path) -> None:
    smart = carrier("south", 2777, smart_encoding=True, alphabet="latin1")
    async with running(
        tmp_path, WRITING + smart + '[[routes]]\nname = "all"\nlane = ["north", "south"]\n'
    ) as house:
        key = await operator(house)
        turkish = "Sayın müşterimiz, şifreniz: 1234. Güvenliğiniz için kimseyle paylaşmayınız."
        north, south = (await asked(house, key, account="acme", text=turkish))["carriers"]
        assert (north["encoding"], north["tables"], north["parts"]) == ("gsm7", "turkish single shift", 1)
        assert (north["from"], north["text_sent"]) == ("ACME", None)
        assert (south["encoding"], south["tables"], south["parts"]) == ("latin1", None, 1)
        assert south["text_sent"].startswith("Sayin müsterimiz, sifreniz")
        north, south = (await asked(house, key, account="acme", text="€", to="+12125550123"))["carriers"]
        assert (north["encoding"], north["from"]) == ("gsm7", "12025550100")
        assert (south["encoding"], south["from"]) == ("ucs2", "ACME")
        north, south = (await asked(house, key, account="acme", text=None, data="00ff", to="+919876543210"))[
            "carriers"
        ]
        assert (north["encoding"], north["reason"]) == ("binary", "sender_refused")
        assert north["detail"] == "the carrier must not send as 'ACME' to IN"


# preview


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "Hello"}, ("gsm7", 1, "septet", 5, 160, 5, 155)),
        ({"text": "€" * 80}, ("gsm7", 1, "septet", 160, 160, 160, 0)),
        ({"text": "x" * 161}, ("gsm7", 2, "septet", 161, 153, 8, 145)),
        ({"text": "x" * 152 + "€€"}, ("gsm7", 1, "septet", 156, 160, 156, 4)),
        ({"text": "x" * 152 + "€" * 10}, ("gsm7", 2, "septet", 172, 153, 20, 133)),
        ({"text": "ж" * 70}, ("ucs2", 1, "utf-16 unit", 70, 70, 70, 0)),
        ({"text": "ж" * 66 + "😀" * 3}, ("ucs2", 2, "utf-16 unit", 72, 67, 6, 61)),
        ({"text": "é", "encoding": "latin1"}, ("latin1", 1, "octet", 1, 140, 1, 139)),
        ({"data": "00" * 150}, ("binary", 2, "octet", 150, 134, 16, 118)),
    ],
)
@trio_test(mock_clock=True)
async def test_a_preview_counts_as_the_parts_will_be_cut(
    tmp_path: Path, fields: dict[str, str], expected: tuple[object, ...]
) -> None:
    async with running(tmp_path, TOML) as house:
        status, told = await house.http("POST", "/v1/preview", fields)
        assert status == 200, told
        names = (
            "encoding", "parts", "unit", "units", "units_in_a_part", "used_in_last_part", "left_in_last_part",
        )  # fmt: skip
        assert tuple(told[name] for name in names) == expected
        assert told["cost"] is None
        assert bool(told["forces_ucs2"]) is (told["encoding"] == "ucs2")


@trio_test(mock_clock=True)
async def test_a_preview_shows_what_makes_a_text_ucs2(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        _, told = await house.http("POST", "/v1/preview", {"text": "Zoë ’😀"})
        assert told["forces_ucs2"] == [
            {"position": 2, "character": "ë", "code_point": "U+00EB", "likeness": "e"},
            {"position": 4, "character": "’", "code_point": "U+2019", "likeness": "'"},
            {"position": 5, "character": "😀", "code_point": "U+1F600", "likeness": ""},
        ]
        assert told["text_sent"] is told["parts_with_smart_encoding"] is None
        _, told = await house.http("POST", "/v1/preview", {"text": "“Hi”" * 30})
        assert (told["parts"], told["parts_with_smart_encoding"], told["text_sent"]) == (2, 1, None)
        _, told = await house.http("POST", "/v1/preview", {"text": "“Hi”" * 30, "smart_encoding": True})
        assert (told["encoding"], told["text_sent"], told["units"]) == ("gsm7", '"Hi"' * 30, 120)
        assert await refused(house, "/v1/preview", {}) == (422, "invalid-fields")
        assert await refused(house, "/v1/preview", {"text": "x" * 1_600}) == (422, "too-long")


# the command line


@trio_test(mock_clock=True)
async def test_the_admin_verb_explains_on_a_running_gateway(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        await up(house)
        verb = house.gateway.verbs.table()["route.explain"]
        wish = {"to": "+447700900123", "sender": "ACME", "account": "acme"}
        told: Any = await verb(wish)
        assert told == await asked(house, await operator(house), account="acme") | {"at": told["at"]}
        with pytest.raises(AdminError, match="nobody"):
            await verb({**wish, "account": "nobody"})
        with pytest.raises(AdminError, match="digits"):
            await verb({**wish, "to": "12"})


def test_without_a_gateway_the_configuration_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(f'[gateway]\ndata_dir = "{tmp_path}/var"\n' + TOML)
    arguments = ["explain", "--config", str(path), "--to", "+447700900123", "--at", LATER]
    shown = CliRunner().invoke(route, arguments, catch_exceptions=False)
    assert "uk      takes it" in shown.output
    assert "codes   no        class: transactional, and not otp" in shown.output
    assert "Lane: dead, north, south. No gateway runs" in shown.output
    told = CliRunner().invoke(route, [*arguments, "--account", "rival", "--json"], catch_exceptions=False)
    assert json.loads(told.output)["route"] == "secret"
    for wrong in (["--to", "12"], ["--at", "today"]):
        with pytest.raises(Failure):
            route.main([*arguments, *wrong], standalone_mode=False)


def test_what_would_be_refused_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_explained(
        {
            "to": "447700900123", "from": "ACME", "account": None, "class": "otp", "at": LATER,
            "number": {"country": "GB", "type": "mobile", "mcc_mnc": "23410", "ported": True},
            "route": "uk", "rules": [{"route": "uk", "matches": True, "why_not": None}], "rules_left_out": 3,
            "encoding": "gsm7", "parts": 2, "refused": {"detail": "may not"}, "running": True,
            "carriers": [
                {
                    "order": 1, "carrier": "north", "weight": None, "parts": 2, "detail": "no bind",
                    "encoding": "gsm7", "tables": "turkish single shift", "from": "12345", "text_sent": "x",
                },
            ],
        }
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert "447700900123 (GB, mobile, 23410, ported)" in shown
    assert "3 rules before these did not take it either." in shown
    assert "It would be refused: may not" in shown
    assert "gsm7, turkish single shift, other text, from 12345" in shown


@trio_test(mock_clock=True)
async def test_what_carriers_charge_is_told_to_operators_and_not_to_customers(tmp_path: Path) -> None:
    toml = TOML.replace('name = "north"', 'name = "north"\nrate_card = "north"', 1)
    async with running(tmp_path, toml) as house:
        with Builder(house.gateway.tables.directory, "north", "rates", 1) as builder:
            builder.add_prefix("44", Rate(32_500, "EUR"))
            builder.finish("test.csv")
        await house.gateway.verbs.table()["table.use"]({"name": "north", "version": 1})
        told = await asked(house, await operator(house), text="x" * 161)
        assert {one["carrier"]: one["cost"] for one in told["carriers"]} == {
            "north": {
                "price": "0.0325",
                "total": "0.065",
                "currency": "EUR",
                "by": "44",
                "rate_card": "north",
            },
            "south": None,
            "dead": None,
        }
        told = await asked(house)
        assert [one["cost"] for one in told["carriers"]] == [None, None, None]


@trio_test(mock_clock=True)
async def test_what_an_account_pays_is_in_its_previews(tmp_path: Path) -> None:
    async with running(tmp_path, TOML, rate_card="retail", default_region="GB") as house:
        with Builder(house.gateway.tables.directory, "retail", "rates", 1) as builder:
            builder.add_prefix("44", Rate(50_000, "EUR"))
            builder.finish("test.csv")
        table = house.gateway.verbs.table()
        await table["table.use"]({"name": "retail", "version": 1})
        pays = {"price": "0.05", "total": "0.1", "currency": "EUR", "by": "44", "rate_card": "retail"}
        long = "x" * 161
        for fields, cost in (
            ({"to": "07400 123456"}, pays),
            ({"to": "+33612345678"}, None),
            ({"to": "07"}, None),
            ({}, None),
        ):
            status, told = await house.http("POST", "/v1/preview", {"text": long, **fields})
            assert (status, told["cost"]) == (200, cost)
        assert (await asked(house, text=long))["cost"] == pays
        assert (await asked(house, await operator(house), text=long))["cost"] is None
        with pytest.raises(AdminError, match="account acme rate_card uses retail"):
            await table["table.drop"]({"name": "retail"})
