"""Keys with scopes, ends and addresses: made, listed, rotated, revoked; what is told of their use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import trio

from gateway import key_use
from gateway.admin import AdminError
from gateway.admin_keys import MOST_KEYS, within
from gateway.audit import Actor, acting
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.cli.keys import end_of
from gateway.http.auth import Keys, key_hash, new_key
from gateway.http.problems import BadRequest
from gateway.key_use import ADDRESSES_A_DAY, KeyUse, network
from gateway.keys import account_with, keys_of, operator_with, rotated
from gateway.operators import Operator
from router.nouns import Account, ApiKey
from router.roles import Role
from store.interface import AuditEntry, StoreFull, Transaction
from tests.gateway.conftest import Typed
from tests.gateway.house import START_MS, Running, carrier, route, running
from tests.trio_case import trio_test

T = TypeVar("T")
ONE = carrier("sim", 2776) + route("sim")
DAY_MS = 86_400_000


class Clock:
    """Both clocks: seconds, and UTC milliseconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return START_MS + int(self.now * 1000)


class Ledger:
    """A committer and its store, which takes everything unless it is full."""

    def __init__(self) -> None:
        self.store = self
        self.rows: dict[str, bytes] = {}
        self.told: list[AuditEntry] = []
        self.commits = 0
        self.full = False

    def meta(self, name: str) -> bytes | None:
        return self.rows.get(name)

    def put_meta(self, name: str, value: bytes) -> None:
        self.rows[name] = value

    def audit(self, entry: AuditEntry) -> None:
        self.told.append(entry)

    async def execute(self, function: Callable[[Transaction], T]) -> T:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StoreFull("the disk is full", "make room")
        self.commits += 1
        return function(cast(Transaction, self))


def bearer(key: str) -> bytes:
    return f"Bearer {key}".encode()


def refusal(ask: Callable[[], object]) -> BadRequest:
    with pytest.raises(BadRequest) as refused:
        ask()
    return refused.value


def limited(**limits: Any) -> tuple[str, Account]:
    """A key with limits, and its account."""
    key, prefix, digest = new_key()
    return key, Account(id=1, name="shop", keys=(ApiKey("k1", digest, prefix, **limits),))


async def ask(house: Running, verb: str, **args: object) -> Any:
    with acting(Actor("ann", "cli", "ticket 7")):
        return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


# checking


def test_a_key_with_scopes_opens_those_and_nothing_else() -> None:
    key, shop = limited(scopes=("messages.read",))
    keys = Keys([shop], Clock())
    assert keys.authenticate(bearer(key), "192.0.2.1", "messages.read") is shop
    refused = refusal(lambda: keys.authenticate(bearer(key), "192.0.2.1"))
    assert (refused.status, refused.code) == (403, "scope-needed")
    assert "messages.send" in refused.detail
    assert keys.use.refusals["scope"] == 1


def test_from_an_address_that_is_not_its_own_a_key_is_as_unknown_as_any_other() -> None:
    key, shop = limited(addresses=("192.0.2.0/24", "2001:db8::/48"), scopes=("messages.read",), expires_ms=1)
    keys = Keys([shop], Clock(), Clock().wall_ms)
    there = refusal(lambda: keys.authenticate(bearer(key), "198.51.100.1"))
    unknown = refusal(lambda: keys.authenticate(bearer("sbk_x"), "198.51.100.2"))
    assert (there.status, there.detail, there.headers) == (401, unknown.detail, unknown.headers)
    counted = {"unknown": 1, "revoked": 0, "address": 1, "expired": 0, "scope": 0, "kind": 0}
    assert keys.use.refusals == counted


@pytest.mark.parametrize("address", ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8:0:7::9"])
def test_an_address_of_its_own_opens_it(address: str) -> None:
    key, shop = limited(addresses=("192.0.2.0/24", "2001:db8::/48"))
    assert Keys([shop], Clock()).authenticate(bearer(key), address) is shop


def test_a_key_ends_by_the_time_of_day() -> None:
    clock = Clock()
    key, shop = limited(expires_ms=clock.wall_ms() + 1000)
    keys = Keys([shop], clock, clock.wall_ms)
    assert keys.authenticate(bearer(key), "192.0.2.1") is shop
    clock.now += 1
    refused = refusal(lambda: keys.authenticate(bearer(key), "192.0.2.1"))
    assert (refused.status, "ended at 2026" in refused.detail) == (401, True)


def test_a_rotated_key_keeps_its_id_and_limits_and_its_old_secret_for_the_overlap() -> None:
    clock = Clock()
    old, shop = limited(scopes=("messages.send",), name="app")
    new, prefix, digest = new_key()
    second = account_with(
        shop, shop.keys[0], rotated(shop.keys[0], digest, prefix, clock.wall_ms(), overlap_s=60)
    )
    keys = Keys([second], clock, clock.wall_ms)
    for key in (old, new):
        assert keys.authenticate(bearer(key), "192.0.2.1") is second
        assert refusal(lambda: keys.authenticate(bearer(key), "192.0.2.1", "messages.read")).status == 403  # noqa: B023
    assert [(one.id, one.name, one.scopes) for one in second.keys] == [("k1", "app", ("messages.send",))]
    clock.now += 60
    assert keys.authenticate(bearer(new), "192.0.2.1") is second
    assert refusal(lambda: keys.authenticate(bearer(old), "192.0.2.1")).status == 401


def test_an_overlap_never_outlives_the_key() -> None:
    key = rotated(ApiKey("k1", "old", "", expires_ms=5_000), "new", "", 1_000, overlap_s=60)
    assert (key.previous_until_ms, key.expires_ms) == (5_000, 5_000)
    assert rotated(key, "newer", "", 1_000, overlap_s=0).previous_hash == ""


def test_operators_from_before_there_were_roles_are_owners_and_an_unknown_role_may_nothing() -> None:
    made = {role: new_key("sbo") for role in ("", "support", "janitor")}
    keys = Keys([], Clock())
    keys.rebuild_operators(
        Operator(role or "old", digest, prefix, 0, role=role) for role, (_, prefix, digest) in made.items()
    )
    scopes = {role: keys.caller(bearer(made[role][0]), "192.0.2.1").scopes for role in made}
    assert ("operators.write" in scopes[""], scopes["janitor"]) == (True, frozenset())
    assert refusal(lambda: keys.operator(bearer(made["support"][0]), "192.0.2.1")).code == "scope-needed"
    assert keys.operator(bearer(made["support"][0]), "192.0.2.1", "carriers.read").name == "support"


def test_all_keys_of_an_owner_look_alike_and_a_main_key_can_be_taken_out_or_rotated() -> None:
    shop = Account(id=1, name="shop", key_hashes=("new", "old"), key_prefixes=("n", "o"))
    first, second = keys_of(shop)
    assert [(one.hash, one.prefix) for one in (first, second)] == [("new", "n"), ("old", "o")]
    assert first.id != second.id
    assert keys_of(account_with(shop, second, None)) == [first]
    turned = account_with(shop, first, rotated(first, "newest", "x", 0, 60))
    assert [(one.id, one.hash) for one in keys_of(turned)][1] == (first.id, "newest")
    assert turned.key_hashes == ("old",)
    ann = Operator("ann", "new", "n", 1, "old", "o", 99)
    (main,) = keys_of(ann)
    (again,) = keys_of(operator_with(ann, main, rotated(main, "newest", "x", 0, 60)))
    assert (again.id, again.hash, again.previous_hash) == (main.id, "newest", "new")
    assert keys_of(operator_with(ann, main, None)) == []


def test_what_is_noted_of_a_key_outlives_a_change_of_its_account() -> None:
    key, _, digest = new_key()
    keys = Keys([Account(id=1, name="shop", key_hashes=(digest,))], Clock())
    caller = keys.caller(bearer(key), "192.0.2.1")
    keys.rebuild([Account(id=1, name="shop", key_hashes=(digest,), weight=7)])
    assert keys.caller(bearer(key), "192.0.2.1") is caller
    assert (caller.account is not None and caller.account.weight, caller.address) == (7, "192.0.2.1")
    keys.rebuild([])
    assert (keys.by_id, keys.use.last(caller.key.id)) == ({}, (0, ""))


# who may give what


def giver(**limits: Any) -> Any:
    _, shop = limited(**limits)
    return next(iter(Keys([shop], Clock()).by_id.values()))


def test_a_key_gives_no_more_than_it_has() -> None:
    shop = Account(id=1, name="shop")
    asks = giver(scopes=("messages.read", "keys.write"), addresses=("192.0.2.0/24",), expires_ms=5_000)
    given = within(asks, ApiKey("k2", "", ""), shop)
    assert (given.scopes, given.addresses, given.expires_ms) == (
        ("messages.read", "keys.write"),
        ("192.0.2.0/24",),
        5_000,
    )
    less = ApiKey("k2", "", "", scopes=("messages.read",), addresses=("192.0.2.7",), expires_ms=4_000)
    assert within(asks, less, shop) == less
    for wish, field in (
        (ApiKey("k2", "", "", scopes=("messages.send",)), "scopes"),
        (ApiKey("k2", "", "", addresses=("0.0.0.0/0",)), "addresses"),
        (ApiKey("k2", "", "", addresses=("2001:db8::1",)), "addresses"),
        (ApiKey("k2", "", "", expires_ms=6_000), "expires_at"),
        (ApiKey("k2", "hash", ""), "id"),  # rotating it would hand out its rights
    ):
        with pytest.raises(AdminError, match=field):
            within(asks, wish, shop)


def test_a_whole_key_gives_all_of_its_role() -> None:
    wish = ApiKey("k2", "hash", "", scopes=("messages.send",))
    assert within(giver(), wish, Account(id=1, name="shop")) == wish


# use


@trio_test
async def test_use_is_noted_in_memory_and_written_in_bulk() -> None:
    clock, ledger = Clock(), Ledger()
    use = KeyUse(clock.wall_ms, clock)
    key, shop = limited()
    keys = Keys([shop], clock, clock.wall_ms, use)
    for _ in range(100):
        keys.authenticate(bearer(key), "192.0.2.1")
    assert (use.last("k1"), ledger.commits) == ((clock.wall_ms(), "192.0.2.1"), 0)
    await use.save(ledger)
    assert len(ledger.rows) == 1
    assert [(one.act, one.who, one.subject, one.after) for one in ledger.told] == [
        ("key.used", "account:shop", "key:shop:k1", {"address": "192.0.2.1"})
    ]
    clock.now += 60
    keys.authenticate(bearer(key), "192.0.2.1")
    await use.save(ledger)
    again = KeyUse(clock.wall_ms, clock)
    again.load(ledger)
    assert again.last("k1") == (clock.wall_ms(), "192.0.2.1")
    Keys([shop], clock, clock.wall_ms, again).authenticate(bearer(key), "192.0.2.1")
    await again.save(ledger)
    assert len(ledger.told) == 1  # the day's addresses survive a restart


@trio_test
async def test_the_trail_has_each_new_address_of_a_day_once_and_not_without_end() -> None:
    clock, ledger = Clock(), Ledger()
    use = KeyUse(clock.wall_ms, clock)
    key, shop = limited()
    keys = Keys([shop], clock, clock.wall_ms, use)
    for number in [*range(100), *range(100)]:
        keys.authenticate(bearer(key), f"192.0.2.{number}")
    await use.save(ledger)
    assert len(ledger.told) == ADDRESSES_A_DAY
    assert ledger.told[-1].after["note"] == "further addresses of this day are not told"
    clock.now += 86_400
    for host in range(5):
        keys.authenticate(bearer(key), f"2001:db8::{host:x}")  # one network
    await use.save(ledger)
    assert [one.after["address"] for one in ledger.told[ADDRESSES_A_DAY:]] == ["2001:db8::/64"]


@trio_test
async def test_what_the_store_does_not_take_is_told_later() -> None:
    clock, ledger = Clock(), Ledger()
    use = KeyUse(clock.wall_ms, clock)
    key, shop = limited()
    Keys([shop], clock, clock.wall_ms, use).authenticate(bearer(key), "192.0.2.1")
    ledger.full = True
    await use.save(ledger)
    ledger.full = False
    await use.save(ledger)
    assert [one.act for one in ledger.told] == ["key.used"]


@trio_test
async def test_a_damaged_row_is_as_none() -> None:
    ledger = Ledger()
    ledger.rows["key_use:7"] = b"\xc1"
    use = KeyUse(Clock().wall_ms, Clock())
    use.load(ledger)
    assert use.last("k1") == (0, "")


def test_refusals_are_counted_and_told_once_an_hour_for_each_key() -> None:
    clock = Clock()
    key, shop = limited(addresses=("192.0.2.1",))
    keys = Keys([shop], clock, clock.wall_ms)
    told: list[tuple[Any, ...]] = []
    keys.use.tell = lambda *said, warning=False: told.append((*said, warning))
    for _ in range(50):
        refusal(lambda: keys.authenticate(bearer(key), "198.51.100.1"))
    assert keys.use.refusals["address"] == 50
    assert [(one[0], one[1], one[3]["address"]) for one in told] == [
        ("key.wrong_address", "key:shop:k1", "198.51.100.1")
    ]
    clock.now += key_use.TELL_AGAIN_S
    refusal(lambda: keys.authenticate(bearer(key), "198.51.100.1"))
    assert told[1][3]["times"] == 50


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:7::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_peer_counts_by_its_network_however_it_is_written(address: str, counts_as: str) -> None:
    assert network(address) == counts_as


# on a stopped gateway


def test_a_key_is_made_rotated_and_revoked_on_the_command_line(typed: Typed) -> None:
    typed("account", "create", "shop")
    code, told = typed(
        "key", "create", "shop", "--scopes", "messages.send, messages.read", "--expires", "90d",
        "--address", "192.0.2.0/24", "--address", "2001:db8::/48", "--name", "app", "--json",
    )  # fmt: skip
    made = json.loads(told)
    assert (code, made["account"], made["role"], made["name"]) == (OK, "shop", "account", "app")
    assert made["scopes"] == ["messages.send", "messages.read"]
    assert made["addresses"] == ["192.0.2.0/24", "2001:db8::/48"]
    assert made["key"].startswith(made["prefix"] + "_")
    code, told = typed("key", "rotate", made["id"], "--overlap", "600", "--json")
    second = json.loads(told)
    assert (code, second["id"], second["previous_prefix"]) == (OK, made["id"], made["prefix"])
    assert "shown this once" in typed("key", "rotate", made["id"])[1]
    listed = typed("key", "list", "shop")[1]
    assert all(word in listed for word in ("main", "app", made["id"]))
    assert "192.0.2.0/24" in typed("key", "show", made["id"])[1]
    code, told = typed("key", "revoke", made["id"], "--reason", "leaked")
    assert (code, "opens nothing" in told) == (OK, True)
    assert made["id"] not in typed("key", "list")[1]
    trail = json.loads(typed("audit", "list", "--subject", made["id"], "--json")[1])
    assert [one["act"] for one in trail] == ["key.revoked", "key.rotated", "key.rotated", "key.created"]
    assert (trail[0]["reason"], trail[0]["subject"]) == ("leaked", f"key:shop:{made['id']}")
    shown = json.dumps([trail, json.loads(typed("key", "list", "--json")[1])])
    for key in (made["key"], second["key"]):
        assert key.split("_")[2] not in shown
        assert key_hash(key) not in shown


def test_an_operator_has_a_role_and_further_keys(typed: Typed) -> None:
    typed("operator", "create", "ann", "--role", "owner")
    assert json.loads(typed("operator", "create", "bob", "--json")[1])["role"] == "operator"
    assert typed("operator", "create", "eve", "--role", "account")[0] == USAGE
    assert "bob is support now" in typed("operator", "set", "bob", "--role", "support")[1]
    made = json.loads(typed("key", "create", "--operator", "bob", "--scopes", "messages.read", "--json")[1])
    assert (made["operator"], made["role"], made["key"][:4]) == ("bob", "support", "sbo_")
    assert {one["operator"] for one in json.loads(typed("key", "list", "--json")[1])} == {"ann", "bob"}
    trail = json.loads(typed("audit", "list", "--subject", "operator:bob", "--json")[1])
    assert (trail[0]["act"], trail[0]["before"]["role"], trail[0]["after"]["role"]) == (
        "operator.role_changed",
        "operator",
        "support",
    )


def test_what_cannot_be_is_refused_in_words(typed: Typed) -> None:
    typed("account", "create", "shop")
    typed("operator", "create", "ann", "--role", "support")
    for line, code, word in (
        (("create",), USAGE, "whose key"),
        (("create", "nobody"), FAILED, "no account"),
        (("create", "probes"), USAGE, "test messages"),
        (("create", "shop", "--operator", "ann"), USAGE, "whose key"),
        (("create", "shop", "--scopes", "carriers.write"), USAGE, "has not carriers.write"),
        (("create", "shop", "--scopes", "everything"), USAGE, "is no scope"),
        (("create", "--operator", "ann", "--scopes", "messages.text"), USAGE, "has not messages.text"),
        (("create", "shop", "--address", "example.org"), USAGE, "is no address"),
        (("create", "shop", "--expires", "2020-01-01"), USAGE, "in the future"),
        (("create", "shop", "--expires", "soon"), USAGE, "in the future"),
        (("create", "shop", "--expires", "2030-02-31"), USAGE, "no day"),
        (("create", "shop", "--name", "x" * 65), USAGE, "printable"),
        (("rotate", "k0"), FAILED, "there is no key 'k0'"),
        (("revoke", "k0"), FAILED, "there is no key 'k0'"),
        (("show", "k0"), FAILED, "there is no key 'k0'"),
    ):
        exit_code, told = typed("key", *line)
        assert (exit_code, word in told) == (code, True), (line, told)


def test_an_end_may_be_said_as_a_span_or_a_day() -> None:
    assert end_of("2d", 0) == "1970-01-03T00:00:00.000Z"
    assert end_of("12h", 0) == "1970-01-01T12:00:00.000Z"
    assert end_of("2030-01-31", 0) == "2030-01-31T00:00:00+00:00"
    assert end_of("", 0) == ""


# on a running one


@trio_test(mock_clock=True)
async def test_a_key_works_at_once_from_its_addresses_and_its_use_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        made = await ask(house, "key.create", account="acme", addresses=["198.51.100.0/24"])
        keys = house.gateway.keys
        assert refusal(lambda: keys.authenticate(bearer(made["key"]), "192.0.2.1")).status == 401
        assert keys.authenticate(bearer(made["key"]), "198.51.100.7").name == "acme"
        await trio.sleep(2)
        shown = await ask(house, "key.show", id=made["id"])
        assert (shown["last_used_from"], bool(shown["last_used_at"])) == ("198.51.100.7", True)
        trail = await ask(house, "audit.list", subject=made["id"])
        assert [one["act"] for one in trail] == ["key.used", "key.refused", "key.created"]
        assert trail[1]["after"] == {"cause": "address", "address": "192.0.2.1", "times": 1}
        (event,) = await ask(house, "events.list", subject=made["id"])
        assert (event["kind"], event["warning"]) == ("key.wrong_address", True)
        assert 'signalbox_key_refusals_total{cause="address"} 1.0' in house.gateway.metrics.render().decode()
        await ask(house, "key.revoke", id=made["id"])
        assert refusal(lambda: keys.authenticate(bearer(made["key"]), "198.51.100.7")).status == 401
    async with running(tmp_path, ONE) as house:
        main = house.gateway.keys.caller(bearer(house.key), "192.0.2.1")
        assert main.role == Role.ACCOUNT


@trio_test(mock_clock=True)
async def test_who_comes_with_a_revoked_or_replaced_key_is_told_by_name_also_after_a_restart(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ONE) as house:
        made = await ask(house, "key.create", account="acme")
        turned = await ask(house, "key.rotate", id=made["id"], overlap_s=0)
        keys = house.gateway.keys
        refusal(lambda: keys.authenticate(bearer(made["key"]), "192.0.2.7"))
        await ask(house, "key.revoke", id=made["id"])
        refusal(lambda: keys.authenticate(bearer(turned["key"]), "192.0.2.7"))
        refusal(lambda: keys.authenticate(bearer("sbk_" + "x" * 43), "192.0.2.7"))
        assert (keys.use.refusals["revoked"], keys.use.refusals["unknown"]) == (2, 1)
        await trio.sleep(120)
    async with running(tmp_path, ONE) as house:
        keys = house.gateway.keys
        for _ in range(30):
            refusal(lambda: keys.authenticate(bearer(turned["key"]), "192.0.2.8"))
        await trio.sleep(2)
        trail = await ask(house, "audit.list", subject=made["id"])
        refused = [one["after"] for one in trail if one["act"] == "key.refused"]
        assert [(one["cause"], one["address"]) for one in refused] == [
            ("revoked", "192.0.2.8"),
            ("revoked", "192.0.2.7"),
        ]
        (event, _) = await ask(house, "events.list", subject=made["id"])
        assert event["kind"] == "key.revoked_used"


@trio_test(mock_clock=True)
async def test_last_uses_survive_a_stop(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        made = await ask(house, "key.create", account="acme")
        house.gateway.keys.authenticate(bearer(made["key"]), "198.51.100.7")
    async with running(tmp_path, ONE) as house:
        assert (await ask(house, "key.show", id=made["id"]))["last_used_from"] == "198.51.100.7"


@trio_test(mock_clock=True)
async def test_there_may_be_only_so_many(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        for _ in range(MOST_KEYS):
            await ask(house, "key.create", account="acme")
        with pytest.raises(AdminError, match="has 50 keys"):
            await ask(house, "key.create", account="acme")


@trio_test(mock_clock=True)
async def test_changes_of_keys_at_the_same_time_do_not_undo_each_other(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        async with trio.open_nursery() as nursery:
            for name in ("one", "two", "three"):
                nursery.start_soon(lambda name: ask(house, "key.create", account="acme", name=name), name)
        names = {one["name"] for one in await ask(house, "key.list", account="acme")}
        assert names == {"main", "one", "two", "three"}
