"""Every setting of an account, one by one: taken, shown, kept, and refused in words where it cannot be.

Commands are run as they are typed, on a stopped gateway; the running one is asked as its admin socket asks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.account_settings import BY_NAME, SETTINGS, WrongSettings, read_settings
from gateway.admin import AdminError
from gateway.cli.failure import FAILED, OK, USAGE
from router import nouns
from router.nouns import Account, Login
from router.rates import Rate
from smpp.pdu import Unbind
from smpp.status import Status
from store.table_build import Builder
from store.tables import Table, Tables
from tests.gateway.conftest import Typed
from tests.gateway.house import Running, carrier, route, running, running_with
from tests.gateway.house import Script as Peer
from tests.gateway.smpp_server.esme import bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + route("sim")
SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")

# field of Account → (as it is typed, as JSON). Not one of them is the default.
EXAMPLES: dict[str, tuple[tuple[str, ...], object]] = {
    "callback_url": (("https://shop.example/sms",), "https://shop.example/sms"),
    "mo_url": (("https://shop.example/mo?from=%p",), "https://shop.example/mo?from=%p"),
    "callback_format": (("kannel",), "kannel"),
    "callback_method": (("get",), "get"),
    "callback_signature": (("sha256",), "sha256"),
    "callback_batch": (("20",), 20),
    "private_callbacks": ((), True),
    "numbers": (("+44 7700 900123,12345", "54321"), ["447700900123", "12345", "54321"]),
    "keywords": (("12345 stop", "12345 stop  all"), ["12345 STOP", "12345 STOP ALL"]),
    "mos_via": (("smpp",), "smpp"),
    "weight": (("7",), 7),
    "max_queued": (("1000",), 1000),
    "max_priority": (("1",), 1),
    "allowed_addresses": (
        ("192.0.2.7", "2001:db8::/32,10.1.2.3/8"),
        ["192.0.2.7/32", "2001:db8::/32", "10.0.0.0/8"],
    ),
    "bind_types": (("receiver,transmitter",), ["receiver", "transmitter"]),
    "apis": (("kannel,jasmin",), ["kannel", "jasmin"]),
    "max_binds": (("2",), 2),
    "when_binds_full": (("takeover",), "takeover"),
    "window": (("10",), 10),
    "tps": (("12.5",), 12.5),
    "tps_mode": (("pace",), "pace"),
    "burst": (("25",), 25),
    "rate_card": (("retail-2026",), "retail-2026"),
    "send_tps": (("2.5",), 2.5),
    "send_per_minute": (("100",), 100),
    "send_per_hour": (("5000",), 5000),
    "send_per_day": (("100000",), 100_000),
    "billing": (("prepaid",), "prepaid"),
    "currency": (("EUR",), "EUR"),
    "charge": (("delivered",), "delivered"),
    "overdraft_limit": (("12.50",), "12.5"),
    "low_balance": (("0.000001",), "0.000001"),
    "cap_per_day": (("100",), "100"),
    "cap_per_month": (("999999999999",), "999999999999"),
    "quota_per_day": (("500",), 500),
    "quota_per_month": (("10000",), 10_000),
    "billing_zone": (("Europe/Berlin",), "Europe/Berlin"),
    "unpaid_status": (("0x450",), "0x0450"),
    "group": (("resellers",), "resellers"),
    "senders": (("ACME*,+44 7700 900123", "My Shop"), ["ACME*", "447700900123", "My Shop"]),
    "destinations": (("+44,353*",), ["44", "353"]),
    "default_region": (("gb",), "GB"),
    "allowed_number_types": (("mobile,fixed_or_mobile",), ["mobile", "fixed_or_mobile"]),
    "validity_default_s": (("60",), 60),
    "validity_max_s": (("3600",), 3600),
    "duplicate_guard_s": (("30",), 30),
    "message_class": (("otp",), "otp"),
    "alphabet": (("latin1",), "latin1"),
    "smart_encoding": ((), True),
    "tlv_values": (
        ("dlt_entity=1101234567890123456", "dlt_hash=a b"),
        {"dlt_entity": "1101234567890123456", "dlt_hash": "a b"},
    ),
    "parts_timeout": (("fail",), "fail"),
    "receipt_default": (("all",), "all"),
    "no_receipt_state": (("unknown",), "unknown"),
    "per_part_receipts": ((), True),
    "correction_events": ((), True),
    "receipts_via": (("http",), "http"),
    "id_form": (("short",), "short"),
    "receipt_layout": (("seconds",), "seconds"),
    "receipt_error_form": (("hex",), "hex"),
    "error_codes": (("no_route=11", "expired_in_queue=0A"), {"no_route": "11", "expired_in_queue": "0A"}),
    "receipt_tlvs": ((), False),
    "deliver_with": (("data_sm",), "data_sm"),
    "deliver_rate": (("0.5",), 0.5),
    "deliver_expiry_s": (("600",), 600),
    "outbind": (("[2001:db8::1]:2776",), "[2001:db8::1]:2776"),
    "outbind_password": (("geheim 1",), "geheim 1"),
    "lists": (
        ("staff=+447700900123,447700900124", "one=447700900125"),
        {"staff": ["447700900123", "447700900124"], "one": ["447700900125"]},
    ),
}
NEEDED = {"billing": ("currency", "rate_card")}
WRONG: dict[str, tuple[object, ...]] = {
    "callback_url": ("ftp://x", "https://", 7, "https://user@shop.example/"),
    "mo_url": ("ftp://x", "http://%p.example/"),
    "callback_format": ("", "nexmo", 2),
    "callback_method": ("put", "GET"),
    "callback_signature": ("crc32", True),
    "callback_batch": (0, 101, "7", 1.5, True),
    "private_callbacks": ("yes", 1, None),
    "numbers": (["abc"], ["1"], "12345", [12345], ["12345"] * 1001),
    "keywords": (["STOP"], ["12345 "], ["12345 " + "x" * 33]),
    "mos_via": ("same", ["smpp"]),
    "weight": (0, 1001),
    "max_queued": (0, -1, 1e9),
    "max_priority": (4, -1),
    "allowed_addresses": (["10.0.0.0/33"], ["shop.example"], ["fe80::1%eth0/200"], "10.0.0.0/8"),
    "bind_types": ([], ["trx"], ["receiver", "all"]),
    "apis": (["soap"], "kannel", ["kannel", 7]),
    "max_binds": (0, 10_001),
    "when_binds_full": ("drop", ""),
    "window": (0, 10_001),
    "tps": (-1, 0.001, 1e9, "fast", float("nan"), True),
    "tps_mode": ("slow",),
    "burst": (-1, 1_000_001, 1.5, "10", True),
    "rate_card": ("two words", "../x", 5),
    "send_tps": (-1, 0.001, "fast"),
    "send_per_minute": (-1, 1.5, "10"),
    "send_per_hour": (-1, 1.5, "10"),
    "send_per_day": (-1, 1.5, "10"),
    "billing": ("yes", 1, None),
    "currency": ("euro", "eur", "€", 5),
    "charge": ("paid", 1),
    "overdraft_limit": ("-1", "1,5", "0.0000001", 12, 1.5, None),
    "low_balance": ("much", -1),
    "cap_per_day": ("1e3", 0),
    "cap_per_month": ("9" * 13, True),
    "quota_per_day": (-1, 1.5, "10"),
    "quota_per_month": (-1, 1_000_000_001),
    "billing_zone": ("Mars/Olympus", "../etc/passwd", 1),
    "unpaid_status": ("0x500", "ESME_RSYSERR", -1, 1104),
    "group": ("two words", "-", "x" * 64, 5, None),
    "senders": (["AC*ME"], [""], ["x" * 22], ["a\nb"]),
    "destinations": (["uk"], [""], ["*"], ["1" * 16]),
    "default_region": ("XX", "Britain", "001", 44),
    "allowed_number_types": (["landline"], ["mobile", 1], "mobile"),
    "validity_default_s": (-1, 31_536_001),
    "validity_max_s": (-1, "1h"),
    "duplicate_guard_s": (-1, 86_401),
    "message_class": ("urgent", 1),
    "alphabet": ("ascii",),
    "smart_encoding": ("yes", 1),
    "tlv_values": ({"DLT": "1"}, {"dlt": ""}, {"dlt": 1}, {"dlt": "ü"}, {"dlt": "x" * 255}, ["dlt=1"]),
    "parts_timeout": ("wait",),
    "receipt_default": ("some", 1),
    "no_receipt_state": ("delivered", 2),
    "per_part_receipts": (0,),
    "correction_events": ("no",),
    "receipts_via": ("auto",),
    "id_form": ("uuid",),
    "receipt_layout": ("iso",),
    "receipt_error_form": ("oct",),
    "error_codes": ({"NO ROUTE": "11"}, {"no_route": ""}, {"no_route": 11}, {"rain": "1"}, ["x=11"]),
    "receipt_tlvs": ("true",),
    "deliver_with": ("submit_sm",),
    "deliver_rate": (-0.5,),
    "deliver_expiry_s": (0,),
    "outbind": ("smsc.example", "http://x:1", ":2776", 2776),
    "outbind_password": ("ninechars", "ü", 7),
    "lists": ({"staff": []}, {"staff": ["Ann"]}, {"": ["447700900123"]}, {"x" * 21: ["447700900123"]}, []),
}  # fmt: skip


@pytest.fixture(autouse=True)
def rate_card(tmp_path: Path) -> None:
    """The example's: an account that pays needs one that is there."""
    directory = tmp_path / "var" / "tables"
    with Builder(directory, "retail-2026", "rates", 1) as builder:
        builder.add_prefix("44", Rate(50_000, "EUR"))
        builder.finish("test.csv")
    tables = Tables(directory)
    table = Table(tables.path("retail-2026", 1))
    tables.record(table)
    table.close()


def options(name: str) -> list[str]:
    """The setting's example as somebody types it, with those that it needs."""
    return [word for one in (*NEEDED.get(name, ()), name) for word in _options(one)]


def _options(name: str) -> list[str]:
    texts, value = EXAMPLES[name]
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [word for text in texts for word in (f"--{flag}", text)]


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


# the table


def test_every_field_that_an_operator_may_choose_is_a_setting_with_an_example() -> None:
    identity = {
        "id", "name", "created_ms", "key_hashes", "key_prefixes", "callback_secrets", "logins",
        "suspended", "closed", "callback_secrets_until_ms", "callbacks_gone", "keys", "app_logins",
    }  # fmt: skip
    assert set(BY_NAME) == set(Account.__struct_fields__) - identity
    assert set(EXAMPLES) == set(WRONG) == set(BY_NAME)
    defaults = Account(1, "shop")
    same = [name for name, (_, value) in EXAMPLES.items() if value == BY_NAME[name].json(defaults)]
    assert same == []


def test_the_words_of_the_table_are_those_of_the_enumerations() -> None:
    for name, enumeration in (("message_class", nouns.MessageClass), ("receipt_default", nouns.ReceiptWish)):
        for one in enumeration:
            assert BY_NAME[name].read(one.name.lower()) == one


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_wrong_value_is_refused_with_the_settings_name_and_what_is_allowed(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(WrongSettings) as wrong:
            read_settings({name: value})
        (problem,) = wrong.value.problems.values()
        assert str(wrong.value).startswith(f"{name}: ")
        assert set(problem.lower().split()) & set(BY_NAME[name].allowed.lower().split())


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(WrongSettings) as wrong:
        read_settings({"window": 0, "tps": -1, "color": "red", "weight": 2})
    assert list(wrong.value.problems) == ["window", "tps", "color"]
    assert "callback_url" in wrong.value.problems["color"]


SHOWN = [setting.name for setting in SETTINGS if not setting.secret]


@pytest.mark.parametrize("name", SHOWN)
def test_a_setting_is_typed_shown_and_still_there_after_a_restart(
    tmp_path: Path, typed: Typed, name: str
) -> None:
    assert typed("account", "create", "shop")[0] == OK
    code, told = typed("account", "set", "shop", *options(name), "--json")
    assert code == OK, told
    assert json.loads(told)[name] == EXAMPLES[name][1]
    code, told = typed("account", "show", "shop", "--json")  # the store was closed in between
    assert json.loads(told)[name] == EXAMPLES[name][1]
    code, told = typed("account", "show", "shop")
    (line,) = (line for line in told.splitlines() if line.split()[0] == name)
    assert len(line.split()) > 1


def test_a_secret_setting_is_taken_and_never_shown(tmp_path: Path, typed: Typed) -> None:
    code, told = typed(
        "account", "create", "shop", "--outbind", "a.example:1", "--outbind-password", "geheim"
    )
    assert (code, "geheim" in told) == (OK, False)
    shown = typed("account", "show", "shop", "--json")[1]
    assert ("geheim" in shown, json.loads(shown)["secrets"]) == (False, ["outbind_password"])
    code, told = typed("account", "set", "shop", "--outbind-password", "much too long")
    assert (code, "outbind_password" in told, "much too" in told) == (USAGE, True, False)


@trio_test(mock_clock=True)
async def test_all_settings_together_outlive_a_restart_of_the_gateway(tmp_path: Path) -> None:
    wanted = {name: EXAMPLES[name][1] for name in SHOWN}
    async with running(tmp_path, ONE, numbers=()) as house:
        await ask(house, "account.create", name="shop")
        changed = await ask(house, "account.set", name="shop", **wanted)
        assert {name: changed[name] for name in wanted} == wanted
    async with running(tmp_path, ONE, numbers=()) as house:
        shown = await ask(house, "account.show", name="shop")
        assert {name: shown[name] for name in wanted} == wanted
        again = await ask(house, "account.set", name="shop", **wanted)
        assert again == shown, "what is shown can be set"
        with pytest.raises(AdminError, match="validity_default_s: 9000 is more than validity_max_s"):
            await ask(house, "account.set", name="shop", validity_default_s=9000)
        empty: dict[str, object] = {setting.name: [] for setting in SETTINGS if setting.kind.shape == "many"}
        del empty["bind_types"]
        cleared = await ask(house, "account.set", name="shop", error_codes={}, lists={}, **empty)
        assert [cleared[name] for name in ("senders", "lists")] == [[], {}]


def test_a_wrong_setting_that_is_typed_names_itself_and_changes_nothing(typed: Typed) -> None:
    typed("account", "create", "shop", "--tps", "10")
    for line in (
        ("--window", "many"),
        ("--allowed-addresses", "10.0.0.0/33"),
        ("--error-codes", "no_route"),
        ("--tps", "100", "--bind-types", "trx"),
    ):
        code, told = typed("account", "set", "shop", *line)
        assert (code, line[-2].strip("-").replace("-", "_") + ": " in told) == (USAGE, True), told
    assert json.loads(typed("account", "show", "shop", "--json")[1])["tps"] == 10
    code, told = typed("account", "set", "shop", "--senders", "", "--json")
    assert (code, json.loads(told)["senders"]) == (OK, [])


# suspended and closed


@trio_test(mock_clock=True)
async def test_a_closed_account_neither_binds_nor_submits_and_its_name_stays_taken(tmp_path: Path) -> None:
    login = (Login("acme", (hashed("secret"),)),)
    async with running_with(tmp_path, SMPP, Peer(), logins=login, keywords=("777 STOP",)) as (house, _):
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        sent = await house.submit("447700900123")
        async with bound(house.world) as esme:
            await ask(house, "account.set", name="acme", suspended=True)
            await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        await ask(house, "account.set", name="acme", suspended=False)
        async with bound(house.world) as esme:
            closed = await ask(house, "account.close", name="acme")
            assert (closed["closed"], closed["numbers"], closed["keywords"]) == (True, [], [])
            await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        async with connected(house.world) as esme:
            assert (await esme.bind()).command_status == Status.ESME_RBINDFAIL
        status, problem = await house.http(
            "POST", "/v1/messages", {"to": "447700900123", "from": "A", "text": "x"}
        )
        assert (status, problem["type"].rpartition(":")[2]) == (403, "account-closed")
        assert (await house.message(sent))["id"] == sent
        for verb, args in (
            ("account.set", {"suspended": False}),
            ("account.rotate", {}),
            ("account.close", {}),
            ("account.login.remove", {"system_id": "acme"}),
        ):
            with pytest.raises(AdminError, match="closed for good"):
                await ask(house, verb, name="acme", **args)
        with pytest.raises(AdminError, match="exists"):
            await ask(house, "account.create", name="acme")


def test_accounts_are_suspended_resumed_and_closed_by_commands(typed: Typed) -> None:
    typed("account", "create", "shop")
    assert (
        json.loads(typed("account", "suspend", "shop", "--json", "--reason", "ticket 7")[1])["suspended"]
        is True
    )
    assert "suspended" in typed("account", "list")[1]
    assert (
        json.loads(typed("account", "resume", "shop", "--json", "--reason", "ticket 7")[1])["suspended"]
        is False
    )
    assert json.loads(typed("account", "close", "shop", "--yes", "--json")[1])["closed"] is True
    code, told = typed("account", "resume", "shop", "--reason", "ticket 7")
    assert (code, "closed for good" in told) == (FAILED, True)
    assert "closed" in typed("account", "list")[1]


@pytest.mark.parametrize("name", [one.name for one in SETTINGS if one.none and one.kind.shape != "yes_no"])
def test_an_empty_text_empties_each_setting_of_which_the_help_says_so(name: str) -> None:
    setting = BY_NAME[name]
    emptied = setting.read(setting.from_texts(("",)))
    assert emptied == getattr(Account(0, ""), name)
