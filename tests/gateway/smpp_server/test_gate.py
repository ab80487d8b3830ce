"""Who may bind: one sentence for each rule, on a clock that only the test moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from config.model import SmppConfig
from gateway.smpp_server.gate import Admitted, BindAsked, BindRefusal, Gate
from gateway.smpp_server.locks import Lock, Locks
from gateway.smpp_server.strikes import MOST_STRIKES
from router.nouns import Account, Login
from smpp.status import Status
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

HOME = "192.0.2.7"
AWAY = "198.51.100.9"
RIGHT, WRONG = b"secret", b"wrong"
DAY_S = 86_400.0


def account(id: int = 1, name: str = "shop", system_id: str = "shop", **settings: object) -> Account:
    return msgspec.structs.replace(
        Account(id=id, name=name, logins=(Login(system_id, (hashed("secret"),)),)), **settings
    )


class FakeAccounts:
    def __init__(self, *accounts: Account) -> None:
        self.by_id = {one.id: one for one in accounts}
        self.changed: list[Callable[[], None]] = []

    def put(self, one: Account) -> None:
        self.by_id = {**self.by_id, one.id: one}
        self.tell()

    def remove(self, id: int) -> None:
        self.by_id = {key: value for key, value in self.by_id.items() if key != id}
        self.tell()

    def tell(self) -> None:
        for hook in self.changed:
            hook()


class House:
    """A gate with its accounts, its hashing and its clock."""

    def __init__(self, *accounts: Account, hashing: Hashing | None = None, **settings: object) -> None:
        self.now = 1000.0
        self.accounts = FakeAccounts(*(accounts or (account(),)))
        self.hashing = hashing or Hashing()
        config = SmppConfig(**{"lock_failures": 3, "lock_address_failures": 6, **settings})  # type: ignore[arg-type]
        self.gate = Gate(self.accounts, config, lambda: self.now, self.hashing.passwords)

    async def ask(
        self,
        password: bytes = RIGHT,
        *,
        system_id: bytes = b"shop",
        address: str = HOME,
        bind_type: str = "transceiver",
    ) -> Admitted | BindRefusal:
        asked = BindAsked(address, system_id, password, bind_type, 0x34, False)
        return await self.gate.admit(asked)

    async def admitted(self, password: bytes = RIGHT, **how: str | bytes) -> Admitted:
        verdict = await self.ask(password, **how)  # type: ignore[arg-type]
        assert isinstance(verdict, Admitted), verdict
        return verdict

    async def refused(self, password: bytes = WRONG, **how: str | bytes) -> BindRefusal:
        verdict = await self.ask(password, **how)  # type: ignore[arg-type]
        assert isinstance(verdict, BindRefusal), verdict
        return verdict

    async def fail(self, times: int, **how: str | bytes) -> None:
        for _ in range(times):
            assert (await self.refused(**how)).status == Status.ESME_RINVPASWD  # type: ignore[arg-type]


# the password


@trio_test
async def test_the_right_password_binds() -> None:
    house = House()
    verdict = await house.admitted()
    assert verdict.account is house.accounts.by_id[1]
    assert (verdict.login, verdict.takeover) == ("shop", False)


@trio_test
async def test_each_login_of_an_account_binds_with_its_own_password() -> None:
    logins = (Login("shop", (hashed("secret"),)), Login("shop2", (hashed("second"),)))
    house = House(account(logins=logins))
    assert (await house.admitted(b"second", system_id=b"shop2")).login == "shop2"
    await house.refused(b"second", system_id=b"shop")


@trio_test
async def test_the_newest_two_passwords_of_a_login_are_valid() -> None:
    hashes = tuple(hashed(name) for name in ("new", "old", "older"))
    house = House(account(logins=(Login("shop", hashes),)))
    await house.admitted(b"new")
    await house.admitted(b"old")
    await house.refused(b"older")


@trio_test
async def test_a_login_without_a_password_never_binds() -> None:
    house = House(account(logins=(Login("shop"),)))
    refusal = await house.refused(b"")
    assert "no password yet" in refusal.reason


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"system_id": b"nobody"}, "no account has system_id 'nobody'"),
        ({"system_id": b"shop"}, "wrong password for system_id 'shop' of account 'shop'"),
        (
            {"system_id": b"far", "address": AWAY},
            f"{AWAY} is not among the allowed addresses of account 'far'",
        ),
        ({"system_id": b"\xff'\n"}, "no account has system_id"),
    ],
)
@trio_test
async def test_the_peer_learns_nothing_of_what_was_wrong_but_the_log_does(
    how: dict[str, Any], why: str
) -> None:
    house = House(account(), account(2, "far", "far", allowed_addresses=("192.0.2.0/24",)))
    refusal = await house.refused(**how)
    assert refusal.status == Status.ESME_RINVPASWD
    assert why in refusal.reason
    assert "\n" not in refusal.reason


@trio_test
async def test_an_unknown_system_id_costs_as_much_hashing_as_a_wrong_password() -> None:
    rotating = account(2, "far", "far", logins=(Login("far", (hashed("a"), hashed("b"))),))
    costs = []
    for system_id in (b"nobody", b"shop", b"far"):
        house = House(account(), rotating)
        await house.refused(system_id=system_id)
        costs.append(house.hashing.computed)
    assert costs == [2, 2, 2]


@trio_test
async def test_a_rebind_costs_no_hashing() -> None:
    house = House()
    for _ in range(5):
        await house.admitted()
    assert house.hashing.computed == 1


@trio_test
async def test_a_hundred_binds_of_one_customer_at_once_are_hashed_once() -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(house.admitted)
    assert house.hashing.computed == 1


@trio_test
async def test_a_changed_password_ends_the_old_one_at_once() -> None:
    house = House()
    await house.admitted()
    house.accounts.put(account(logins=(Login("shop", (hashed("new"),)),)))
    assert house.hashing.passwords.remembered == 0
    assert (await house.refused(RIGHT)).status == Status.ESME_RINVPASWD
    await house.admitted(b"new")


@trio_test
async def test_a_password_that_was_changed_while_it_was_verified_does_not_bind() -> None:
    house = House()
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.refused, RIGHT)
        await trio.testing.wait_all_tasks_blocked()
        house.accounts.put(account(logins=(Login("shop", (hashed("new"),)),)))
        house.hashing.hold.set()


@trio_test
async def test_a_ban_while_the_password_is_verified_lets_nobody_in_from_there() -> None:
    class Bans:
        def why(self, system_id: str, address: str) -> str:
            return "banned" if (system_id, address) in banned else ""

    banned: set[tuple[str, str]] = set()
    house = House()
    house.gate.bans = Bans()  # type: ignore[assignment]
    verdicts: dict[str, Admitted | BindRefusal] = {}

    async def ask(address: str) -> None:
        verdicts[address] = await house.ask(address=address)

    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, HOME)
        nursery.start_soon(ask, AWAY)
        await trio.testing.wait_all_tasks_blocked()
        banned.add(("shop", HOME))
        house.hashing.hold.set()
    refusal = verdicts[HOME]
    assert isinstance(refusal, BindRefusal)
    assert (refusal.status, refusal.reason) == (Status.ESME_RBINDFAIL, "banned")
    assert isinstance(verdicts[AWAY], Admitted)


@trio_test
async def test_a_system_id_that_is_gone_while_it_was_verified_does_not_bind() -> None:
    house = House()
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.refused, RIGHT)
        await trio.testing.wait_all_tasks_blocked()
        house.accounts.remove(1)
        house.hashing.hold.set()


# addresses


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "192.0.3.7", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.9/24", "192.0.2.7", True),  # host bits are no mistake
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "192.0.2.7", True),
        ("::ffff:192.0.2.0/120", "192.0.3.7", False),
        ("2001:db8::/32", "2001:db8:1::5", True),
        ("2001:db8::/32", "2001:db9::5", False),
        ("2001:db8::/32", "192.0.2.7", False),
        ("0.0.0.0/0", "2001:db8::5", False),
        ("::/0", "192.0.2.7", False),
        ("not a network", "192.0.2.7", False),
        ("192.0.2.0/24", "memory", False),
    ],
)
@trio_test
async def test_an_account_binds_from_its_allowed_addresses_only(
    allowed: str, address: str, may: bool
) -> None:
    house = House(account(allowed_addresses=("203.0.113.0/24", allowed)))
    assert isinstance(await house.ask(address=address), Admitted) is may


@trio_test
async def test_an_account_without_allowed_addresses_binds_from_anywhere() -> None:
    house = House()
    for address in (HOME, "2001:db8::5", "memory"):
        await house.admitted(address=address)


@trio_test
async def test_an_allowed_address_that_cannot_be_read_is_named_in_the_log() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/33",)))
    assert "'192.0.2.0/33' is no network" in (await house.refused(RIGHT)).reason


@trio_test
async def test_a_foreign_address_costs_no_hashing_even_with_the_right_password() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/24",)))
    assert (await house.refused(RIGHT, address=AWAY)).status == Status.ESME_RINVPASWD
    assert house.hashing.computed == 0


@trio_test
async def test_a_foreign_address_is_answered_after_the_time_that_hashing_takes() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/24",)))
    for octet in range(16):  # as many failures as are remembered
        await house.refused(address=f"192.0.2.{octet}")
    assert (await house.refused(address=AWAY)).wait_s == pytest.approx(0.004)


@trio_test
async def test_a_foreign_address_waits_its_turn_as_a_wrong_password_does() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/24",)))
    house.hashing.hold = trio.Event()
    answered = trio.Event()

    async def ask() -> None:
        await house.refused(address=AWAY)
        answered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.refused)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert not answered.is_set()
        house.hashing.hold.set()


@trio_test
async def test_changed_allowed_addresses_count_at_once() -> None:
    house = House()
    await house.admitted()
    house.accounts.put(account(allowed_addresses=("203.0.113.0/24",)))
    assert (await house.refused(RIGHT)).status == Status.ESME_RINVPASWD


@trio_test
async def test_an_address_that_is_no_longer_allowed_when_its_password_is_verified_does_not_bind() -> None:
    house = House()
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.refused, RIGHT)
        await trio.testing.wait_all_tasks_blocked()
        house.accounts.put(account(allowed_addresses=("203.0.113.0/24",)))
        house.hashing.hold.set()


# what the account may do


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"suspended": True}, "is suspended"),
        ({"closed": True}, "is closed"),
        ({"bind_types": ("receiver",)}, "may not bind as transceiver; its bind types: receiver"),
        ({"max_binds": 0}, "has 0 binds, and max_binds is 0"),
        ({"max_binds": 0, "when_binds_full": "takeover"}, "has 0 binds, and max_binds is 0"),
    ],
)
@trio_test
async def test_an_account_that_may_not_bind_hears_so_after_the_right_password_only(
    settings: dict[str, Any], why: str
) -> None:
    house = House(account(**settings))
    assert (await house.refused(WRONG)).status == Status.ESME_RINVPASWD
    refusal = await house.refused(RIGHT)
    assert refusal.status == Status.ESME_RBINDFAIL
    assert why in refusal.reason


@trio_test
async def test_binds_are_counted_for_the_account_across_its_logins_and_bind_types() -> None:
    logins = (Login("shop", (hashed("secret"),)), Login("shop2", (hashed("secret"),)))
    house = House(account(logins=logins, max_binds=2))
    house.gate.bound(1)
    await house.admitted(bind_type="receiver")
    house.gate.bound(1)
    refusal = await house.refused(RIGHT, system_id=b"shop2", bind_type="transmitter")
    assert refusal.status == Status.ESME_RBINDFAIL
    house.gate.unbound(1)
    assert house.gate.binds(1) == 1
    await house.admitted(system_id=b"shop2")


@trio_test
async def test_a_full_account_that_wishes_so_takes_over_its_stalest_bind() -> None:
    house = House(account(max_binds=1, when_binds_full="takeover"))
    assert not (await house.admitted()).takeover
    house.gate.bound(1)
    assert (await house.admitted()).takeover


@trio_test
async def test_the_binds_of_one_account_leave_room_for_others() -> None:
    house = House(account(max_binds=1), account(2, "far", "far", max_binds=1))
    house.gate.bound(1)
    await house.admitted(system_id=b"far")


def test_an_account_without_binds_has_none_left_to_lose() -> None:
    house = House()
    house.gate.unbound(1)
    assert house.gate.binds(1) == 0


# locks


@trio_test
async def test_wrong_passwords_in_a_row_lock_the_pair_and_the_lock_ends_by_itself() -> None:
    house = House(lock_s=60.0)
    await house.fail(3)
    refusal = await house.refused(RIGHT)
    assert refusal.status == Status.ESME_RBINDFAIL
    assert "locked out for 60 s more" in refusal.reason
    house.now += 59.9
    await house.refused(RIGHT)
    house.now += 0.2
    await house.admitted()


@trio_test
async def test_trying_during_a_lock_costs_no_hashing_and_does_not_prolong_it() -> None:
    house = House(lock_s=60.0)
    await house.fail(3)
    computed = house.hashing.computed
    for _ in range(59):
        house.now += 1
        await house.refused(RIGHT)
    assert house.hashing.computed == computed
    house.now += 1.1
    await house.admitted()


@trio_test
async def test_the_failure_that_locks_says_so_in_the_log() -> None:
    house = House(lock_s=60.0)
    reasons = [(await house.refused()).reason for _ in range(3)]
    assert [bool(re.search("locked for 60 s", reason)) for reason in reasons] == [False, False, True]


@trio_test
async def test_a_wrong_password_after_a_lock_locks_again() -> None:
    house = House(lock_s=60.0)
    await house.fail(3)
    house.now += 61
    await house.fail(1)
    assert (await house.refused(RIGHT)).status == Status.ESME_RBINDFAIL


@trio_test
async def test_a_success_ends_the_row_of_failures() -> None:
    house = House()
    for _ in range(5):
        await house.fail(2)
        await house.admitted()


@trio_test
async def test_an_hour_without_failures_ends_the_row_too() -> None:
    house = House()
    await house.fail(2)
    house.now += 3_601
    await house.fail(2)
    await house.admitted()


@trio_test
async def test_unknown_system_ids_are_locked_as_known_ones_are() -> None:
    house = House()
    await house.fail(3, system_id=b"nobody")
    assert (await house.refused(system_id=b"nobody")).status == Status.ESME_RBINDFAIL


@trio_test
async def test_foreign_addresses_are_locked_as_others_are() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/24",)))
    await house.fail(3, address=AWAY)
    assert (await house.refused(address=AWAY)).status == Status.ESME_RBINDFAIL


@trio_test
async def test_failing_from_one_address_locks_nobody_at_another() -> None:
    house = House()
    await house.fail(3, address=AWAY)
    await house.refused(RIGHT, address=AWAY)
    await house.admitted(address=HOME)


@trio_test
async def test_a_locked_pair_leaves_other_system_ids_of_the_address_alone() -> None:
    house = House(account(), account(2, "far", "far"))
    await house.fail(3)
    await house.admitted(system_id=b"far")


@trio_test
async def test_an_address_that_guesses_many_system_ids_is_locked_for_all() -> None:
    house = House(lock_s=60.0)
    for number in range(6):
        await house.fail(1, system_id=b"id%d" % number)
    assert (await house.refused(RIGHT)).status == Status.ESME_RBINDFAIL
    house.now += 60.1
    await house.admitted()


@trio_test
async def test_a_success_forgives_an_address_the_failures_of_its_own_system_id_only() -> None:
    house = House()
    await house.fail(2)
    for number in range(3):
        await house.fail(1, system_id=b"id%d" % number)
    await house.admitted()
    await house.fail(2, system_id=b"id8")
    await house.fail(1, system_id=b"id9")
    assert (await house.refused(system_id=b"id10")).status == Status.ESME_RBINDFAIL


@trio_test
async def test_the_addresses_of_one_ipv6_subnet_count_as_one() -> None:
    house = House()
    for host in range(3):
        await house.fail(1, address=f"2001:db8:0:1::{host + 1:x}")
    assert (await house.refused(RIGHT, address="2001:db8:0:1:ffff::1")).status == Status.ESME_RBINDFAIL
    await house.admitted(address="2001:db8:0:2::1")


@trio_test
async def test_an_ipv4_address_written_as_ipv6_counts_as_itself() -> None:
    house = House()
    await house.fail(3, address=f"::ffff:{HOME}")
    assert (await house.refused(RIGHT)).status == Status.ESME_RBINDFAIL


@trio_test
async def test_a_trusted_address_is_never_locked() -> None:
    house = House(trusted_from=("192.0.2.0/24",))
    await house.fail(20)
    for number in range(20):
        await house.fail(1, system_id=b"id%d" % number)
    await house.admitted()
    assert house.gate.status() == []


@trio_test
async def test_an_account_is_never_locked_out_of_an_address_from_which_it_bound_well() -> None:
    house = House()
    await house.admitted()
    await house.fail(20)
    await house.admitted()


@trio_test
async def test_nobody_behind_the_same_address_locks_a_customer_out_by_guessing_other_system_ids() -> None:
    house = House()
    await house.admitted()
    for number in range(6):
        await house.fail(1, system_id=b"id%d" % number)
    assert (await house.refused(system_id=b"id9")).status == Status.ESME_RBINDFAIL
    await house.admitted()


@trio_test
async def test_the_mistakes_of_a_known_customer_lock_nobody_else_behind_its_address() -> None:
    house = House(account(), account(2, "far", "far"))
    await house.admitted()
    await house.fail(20)
    await house.admitted(system_id=b"far")


@trio_test
async def test_an_address_is_good_for_the_account_that_bound_from_it_only() -> None:
    house = House(account(), account(2, "far", "far"))
    await house.admitted()
    await house.fail(3, system_id=b"far")
    assert (await house.refused(RIGHT, system_id=b"far")).status == Status.ESME_RBINDFAIL


@trio_test
async def test_an_address_stays_good_for_thirty_days() -> None:
    house = House()
    await house.admitted()
    house.now += 29 * DAY_S
    await house.fail(3)
    await house.admitted()
    house.now += 31 * DAY_S
    await house.fail(3)
    await house.refused(RIGHT)


@trio_test
async def test_a_bind_that_lasted_for_months_leaves_a_good_address() -> None:
    house = House()
    await house.admitted()
    house.gate.bound(1)
    house.now += 90 * DAY_S
    house.gate.unbound(1, HOME)
    await house.fail(3)
    await house.admitted()


@trio_test
async def test_an_account_remembers_a_limited_number_of_good_addresses_of_its_own() -> None:
    house = House(account(), account(2, "far", "far"))
    await house.admitted(system_id=b"far")
    await house.admitted()
    for number in range(64):
        await house.admitted(address=f"198.51.100.{number}")
    await house.fail(3)
    await house.refused(RIGHT)
    house.now += 61
    await house.fail(3, system_id=b"far")
    await house.admitted(system_id=b"far")


def test_an_attacker_with_many_addresses_costs_a_limited_memory() -> None:
    locks = Locks(lambda: 0.0, pair_failures=1, network_failures=1, lock_s=60.0, entries=100)
    for number in range(1_000):
        locks.failed(f"2001:db8:{number:x}::/64", "shop", spared=False)
    kept = {(lock.network, lock.system_id) for lock in locks.status()}
    latest = [f"2001:db8:{number:x}::/64" for number in range(900, 1_000)]
    assert kept == {(network, system_id) for network in latest for system_id in ("", "shop")}


def test_the_row_that_was_added_to_last_is_forgotten_last() -> None:
    locks = Locks(lambda: 0.0, pair_failures=2, network_failures=99, lock_s=60.0, entries=2)
    for network in ("a", "b", "a", "c"):
        locks.failed(network, "shop", spared=False)
    assert [lock.network for lock in locks.status()] == ["a"]


def test_a_failure_that_was_under_way_when_the_lock_came_does_not_prolong_it() -> None:
    now = [0.0]
    locks = Locks(lambda: now[0], pair_failures=1, network_failures=99, lock_s=60.0)
    assert locks.failed(HOME, "shop", spared=False) == (0.0, True)
    now[0] = 50.0
    assert locks.failed(HOME, "shop", spared=False) == (0.5, False)
    assert locks.left_s(HOME, "shop") == 10.0


@trio_test
async def test_guesses_that_wait_when_the_lock_comes_are_not_looked_at() -> None:
    house = House()
    house.hashing.hold = trio.Event()
    statuses: list[int] = []

    async def guess(number: int) -> None:
        statuses.append((await house.refused(b"guess%d" % number)).status)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(guess, number)
        await trio.testing.wait_all_tasks_blocked()
        house.hashing.hold.set()
    assert house.hashing.computed == 3
    assert statuses.count(Status.ESME_RINVPASWD) == 3
    assert statuses.count(Status.ESME_RBINDFAIL) == 47


# back-off and queues


@trio_test
async def test_each_failure_in_a_row_is_answered_later_up_to_five_seconds() -> None:
    house = House(lock_failures=100, lock_address_failures=100)
    waits = [(await house.refused()).wait_s for _ in range(9)]
    assert waits == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0]
    await house.admitted()
    assert (await house.refused()).wait_s == 0.0


@trio_test
async def test_guessing_other_system_ids_does_not_shorten_the_wait() -> None:
    house = House(lock_failures=100, lock_address_failures=100)
    waits = [(await house.refused(system_id=b"id%d" % number)).wait_s for number in range(4)]
    assert waits == [0.0, 0.5, 1.0, 2.0]


@trio_test
async def test_when_too_many_wait_a_bind_is_asked_to_come_again_and_is_no_failure() -> None:
    house = House(hashing=Hashing(most_waiting=1))
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(house.refused, b"guess%d" % number)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            refusal = await house.refused(RIGHT)
            assert (refusal.status, refusal.wait_s) == (Status.ESME_RSYSERR, 1.0)
        house.hashing.hold.set()
    await house.admitted()


@trio_test
async def test_a_customer_that_bound_well_before_is_served_before_strangers() -> None:
    house = House(account(logins=(Login("shop", (hashed("secret"), hashed("older"))),)))
    await house.admitted()
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(house.ask, b"guess%d" % number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stranger, house)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(house.ask, b"older")
        await trio.testing.wait_all_tasks_blocked()
        house.hashing.hold.set()
    assert house.hashing.asked[-1] == b"stranger"


async def stranger(house: House) -> None:
    await house.ask(b"stranger", address=AWAY)


@trio_test
async def test_one_that_fails_too_often_waits_with_the_strangers_and_is_not_locked_out() -> None:
    house = House(account(logins=(Login("shop", (hashed("secret"), hashed("older"))),)))
    await house.admitted()
    await house.fail(3)
    house.hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.ask, b"guess")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stranger, house)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(house.admitted, b"older")
        await trio.testing.wait_all_tasks_blocked()
        house.hashing.hold.set()
    assert house.hashing.asked[-2:] == [b"stranger", b"older"]


# operators


@trio_test
async def test_operators_see_who_is_locked_for_how_long() -> None:
    house = House(lock_s=60.0)
    await house.fail(3)
    house.now += 10
    await house.fail(3, system_id=b"nobody", address="2001:db8::5")
    seen = [(lock.network, lock.system_id, lock.failures, lock.left_s) for lock in house.gate.status()]
    assert seen == [("2001:db8::/64", "nobody", 3, 60.0), (HOME, "shop", 3, 50.0)]
    house.now += 60
    assert house.gate.status() == []


@trio_test
async def test_operators_see_an_address_that_is_locked_for_all_system_ids() -> None:
    house = House()
    for number in range(6):
        await house.fail(1, system_id=b"id%d" % number)
    assert [(lock.network, lock.system_id) for lock in house.gate.status()] == [(HOME, "")]


@pytest.mark.parametrize("name", ["2001:db8::5", "2001:db8::/64", "shop"])
@trio_test
async def test_operators_unlock_an_address_a_network_or_a_system_id(name: str) -> None:
    house = House()
    await house.fail(3, address="2001:db8::5")
    assert house.gate.unlock("192.0.2.99") == 0
    assert house.gate.unlock(name) == 1
    assert house.gate.status() == []
    await house.admitted(address="2001:db8::5")


@trio_test
async def test_unlocking_an_address_forgets_all_its_failures() -> None:
    house = House()
    for number in range(6):
        await house.fail(1, system_id=b"id%d" % number)
    assert house.gate.unlock(HOME) == 1
    assert (await house.refused()).wait_s == 0.0


@trio_test
async def test_an_address_that_the_account_lists_is_never_locked_out() -> None:
    house = House(account(allowed_addresses=("192.0.2.0/24",)), lock_failures=2, lock_address_failures=2)
    await house.fail(10, address="192.0.2.9")
    await house.admitted(address="192.0.2.9")


@trio_test
async def test_where_customers_bound_well_is_known_after_a_restart() -> None:
    before = House()
    await before.admitted(address="192.0.2.9")
    after = House(lock_failures=2, lock_address_failures=2)
    after.gate.remember(before.gate.remembered())
    await after.fail(10, address="192.0.2.9")
    await after.admitted(address="192.0.2.9")
    after.gate.remember(b"rubbish")


# those who do not even ask


def never_ask(gate: Gate, address: str = HOME, network: str = HOME, times: int = MOST_STRIKES) -> float:
    """So many connections end without a bind request. For how many seconds the address is shut out."""
    for _ in range(times):
        gate.never_asked(address, network)
    return gate.shut_out_s(address, network)


@trio_test
async def test_who_keeps_connecting_and_never_asks_is_shut_out_for_the_length_of_a_lock() -> None:
    house = House(lock_s=60.0)
    assert never_ask(house.gate, times=MOST_STRIKES - 1) == 0
    assert never_ask(house.gate, times=1) == 60
    assert house.gate.shut_out_s(AWAY, AWAY) == 0
    house.now += 60
    assert house.gate.shut_out_s(HOME, HOME) == 0


@trio_test
async def test_trusted_addresses_are_never_shut_out_but_others_of_their_network_are() -> None:
    network, trusted, other = "2001:db8::/64", "2001:db8::1", "2001:db8::2"
    house = House(trusted_from=(trusted,))
    assert never_ask(house.gate, trusted, network, times=1_000) == 0
    assert never_ask(house.gate, other, network) == 60
    assert house.gate.shut_out_s(trusted, network) == 0


@trio_test
async def test_locks_are_counted_by_their_kind_now_and_ever() -> None:
    house = House(lock_s=60.0)
    assert house.gate.lock_counts() == {"login": (0, 0), "address": (0, 0), "never_asked": (0, 0)}
    await house.fail(3)
    assert house.gate.lock_counts()["login"] == (1, 1)
    await house.fail(3, system_id=b"other")
    assert house.gate.lock_counts()["address"] == (1, 1)
    assert never_ask(house.gate, AWAY, AWAY) == 60
    assert house.gate.lock_counts()["never_asked"] == (1, 1)
    house.now += 60
    assert house.gate.lock_counts() == {"login": (0, 2), "address": (0, 1), "never_asked": (0, 1)}


@trio_test
@pytest.mark.parametrize(
    ("listed", "address", "network", "spared"),
    [
        (HOME, HOME, HOME, True),
        ("192.0.2.0/24", HOME, HOME, True),
        ("192.0.2.0/23", HOME, HOME, False),
        ("0.0.0.0/0", HOME, HOME, False),
        (AWAY, HOME, HOME, False),
        ("2001:db8::1", "2001:db8::1", "2001:db8::/64", True),
        ("2001:db8::/56", "2001:db8::1", "2001:db8::/64", True),
        ("2001:db8::/55", "2001:db8::1", "2001:db8::/64", False),
        ("::ffff:192.0.2.0/120", HOME, HOME, True),
    ],
)
async def test_an_address_that_an_account_lists_among_few_is_never_shut_out(
    listed: str, address: str, network: str, spared: bool
) -> None:
    house = House(account(), account(2, "other", "other", allowed_addresses=("10.0.0.0/8", listed)))
    assert never_ask(house.gate, address, network, times=1_000) == (0 if spared else 60)


@trio_test
async def test_others_of_a_listed_addresss_network_are_shut_out_and_it_is_not() -> None:
    network, listed, other = "2001:db8::/64", "2001:db8::1", "2001:db8::2"
    house = House(account(allowed_addresses=(listed,)))
    assert never_ask(house.gate, other, network) == 60
    assert house.gate.shut_out_s(listed, network) == 0


@trio_test
async def test_what_an_account_lists_counts_from_then_on_and_until_it_is_closed() -> None:
    house = House(account(allowed_addresses=(AWAY,)))
    assert never_ask(house.gate) == 60
    house.accounts.put(account(allowed_addresses=(HOME,)))
    assert house.gate.shut_out_s(HOME, HOME) == 0
    house.accounts.put(account(allowed_addresses=(HOME,), closed=True))
    assert house.gate.shut_out_s(HOME, HOME) == 60


@trio_test
async def test_a_network_from_where_a_customer_bound_within_thirty_days_is_never_shut_out() -> None:
    house = House()
    await house.admitted()
    assert never_ask(house.gate, times=1_000) == 0
    house.now += 30 * DAY_S + 1
    assert never_ask(house.gate) == 60


@trio_test
async def test_a_bind_from_a_network_that_was_shut_out_lets_it_in_again() -> None:
    house = House()
    never_ask(house.gate)
    await house.admitted()
    assert house.gate.shut_out_s(HOME, HOME) == 0


@trio_test
async def test_a_shut_out_network_is_shown_to_operators_who_can_let_it_in() -> None:
    house = House()
    never_ask(house.gate)
    assert house.gate.status() == [Lock(HOME, "", MOST_STRIKES, 60.0)]
    assert house.gate.unlock(HOME) == 1
    assert house.gate.shut_out_s(HOME, HOME) == 0
    assert house.gate.status() == []
