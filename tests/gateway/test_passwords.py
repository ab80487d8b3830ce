"""SMPP passwords: what is hashed, how often, and what is remembered of it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from argon2 import extract_parameters

from gateway.passwords import (
    NoLongerWanted,
    Passwords,
    TooBusy,
    hash_password,
    inline,
    verifies,
)
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

SECRET = (hashed("secret"),)


def test_a_hash_is_argon2id_and_verifies_its_password_only() -> None:
    made = hash_password(b"geheim12")
    parameters = extract_parameters(made)
    assert made.startswith("$argon2id$v=19$")
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (4096, 2, 1)
    assert verifies(made, b"geheim12")
    assert not verifies(made, b"geheim13")


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password(b"geheim12") != hash_password(b"geheim12")


@trio_test
async def test_a_password_is_verified_in_a_thread() -> None:
    made = hash_password(b"geheim12")
    passwords = Passwords()
    assert await passwords.check(b"esme", b"geheim12", (made,)) == made
    assert await passwords.check(b"esme", b"wrong", (made,)) is None


@trio_test
async def test_hashing_can_run_in_the_loop_for_a_clock_that_jumps() -> None:
    made = hash_password(b"geheim12")
    assert await Passwords(run=inline).check(b"esme", b"geheim12", (made,)) == made


@trio_test
async def test_a_password_that_was_right_needs_no_second_hash() -> None:
    hashing = Hashing()
    for _ in range(3):
        assert await hashing.passwords.check(b"esme", b"secret", SECRET) == SECRET[0]
    assert hashing.computed == 1


@trio_test
async def test_what_was_right_before_is_known_without_waiting() -> None:
    hashing = Hashing()
    known = hashing.passwords.known
    assert not known(b"esme", b"secret", SECRET)
    await hashing.passwords.check(b"esme", b"secret", SECRET)
    assert known(b"esme", b"secret", SECRET)
    assert not known(b"esme", b"wrong", SECRET)
    assert not known(b"esme", b"secret", ())


@trio_test
async def test_a_wrong_password_is_hashed_every_time() -> None:
    hashing = Hashing()
    for _ in range(3):
        assert await hashing.passwords.check(b"esme", b"wrong", SECRET) is None
    assert (hashing.computed, hashing.passwords.remembered) == (3, 0)


@trio_test
async def test_a_right_password_is_remembered_for_its_system_id_only() -> None:
    hashing = Hashing()
    await hashing.passwords.check(b"esme", b"secret", SECRET)
    assert await hashing.passwords.check(b"other", b"secret", (hashed("theirs"),)) is None
    assert await hashing.passwords.check(b"esmes", b"ecret", SECRET) is None  # the same octets in a row
    assert hashing.computed == 3


@trio_test
async def test_both_passwords_of_a_rotation_are_right_and_both_are_remembered() -> None:
    hashing = Hashing()
    both = (hashed("new"), hashed("old"))
    for password, found in ((b"new", both[0]), (b"old", both[1])) * 2:
        assert await hashing.passwords.check(b"esme", password, both, rounds=2) == found
    assert hashing.computed == 1 + 2


@trio_test
async def test_a_remembered_password_is_wrong_once_its_hash_is_gone() -> None:
    hashing = Hashing()
    await hashing.passwords.check(b"esme", b"secret", SECRET)
    assert await hashing.passwords.check(b"esme", b"secret", (hashed("changed"),)) is None


@trio_test
async def test_what_was_verified_against_a_hash_that_is_gone_is_forgotten() -> None:
    hashing = Hashing()
    await hashing.passwords.check(b"esme", b"secret", SECRET)
    await hashing.passwords.check(b"other", b"theirs", (hashed("theirs"),))
    hashing.passwords.keep({hashed("theirs")})
    assert hashing.passwords.remembered == 1
    await hashing.passwords.check(b"other", b"theirs", (hashed("theirs"),))
    assert hashing.computed == 2


@trio_test
async def test_the_password_that_was_used_longest_ago_is_forgotten_when_there_are_too_many() -> None:
    hashing = Hashing(most_remembered=2)
    for name in ("a", "b", "a", "c"):
        await hashing.passwords.check(name.encode(), name.encode(), (hashed(name),))
    assert hashing.passwords.remembered == 2
    before = hashing.computed
    await hashing.passwords.check(b"a", b"a", (hashed("a"),))
    assert hashing.computed == before
    await hashing.passwords.check(b"b", b"b", (hashed("b"),))
    assert hashing.computed == before + 1


@pytest.mark.parametrize(
    ("system_id", "hashes"), [(b"unknown", ()), (b"esme", SECRET), (b"both", (hashed("new"), hashed("old")))]
)
@trio_test
async def test_a_failure_costs_the_same_for_every_login(system_id: bytes, hashes: tuple[str, ...]) -> None:
    hashing = Hashing()
    assert await hashing.passwords.check(system_id, b"wrong", hashes, rounds=2) is None
    assert hashing.computed == 2


@pytest.mark.parametrize(
    "damaged", ["", "scrypt$16384$8$1$AAAA$AAAA", "$argon2id$v=19$m=4096,t=2,p=1$AA", "ü"]
)
@trio_test
async def test_a_damaged_hash_is_wrong_and_costs_what_the_others_cost(damaged: str) -> None:
    computed = []

    def verify(made: str, password: bytes) -> bool:
        right = verifies(made, password)
        computed.append(made)
        return right

    passwords = Passwords(run=inline, verify=verify)
    assert await passwords.check(b"esme", b"secret", (damaged,)) is None
    assert len(computed) == 1


@trio_test
async def test_the_same_question_asked_a_hundred_times_at_once_is_hashed_once() -> None:
    hashing = Hashing()
    answers = []

    async def ask() -> None:
        answers.append(await hashing.passwords.check(b"esme", b"secret", SECRET))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    assert answers == [SECRET[0]] * 100
    assert hashing.computed == 1


@trio_test
async def test_whoever_asks_first_may_give_up_without_taking_the_answer_from_the_others() -> None:
    hashing = Hashing()
    hashing.hold = trio.Event()
    impatient = trio.CancelScope()
    answers = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            answers.append(await hashing.passwords.check(b"esme", b"secret", SECRET))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hashing.passwords.check, b"busy", b"busy", ())
        await trio.testing.wait_all_tasks_blocked()
        for scope in (impatient, trio.CancelScope(), trio.CancelScope()):
            nursery.start_soon(ask, scope)
            await trio.testing.wait_all_tasks_blocked()
        impatient.cancel()
        await trio.testing.wait_all_tasks_blocked()
        hashing.hold.set()
    assert answers == [SECRET[0]] * 2
    assert hashing.computed == 2


@trio_test
async def test_peers_that_are_known_go_first() -> None:
    hashing = Hashing()
    hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        for name in (b"now", b"strange1", b"strange2"):
            nursery.start_soon(hashing.passwords.check, name, name, ())
            await trio.testing.wait_all_tasks_blocked()
        for name in (b"known1", b"known2"):
            nursery.start_soon(_check_first, hashing.passwords, name)
            await trio.testing.wait_all_tasks_blocked()
        assert hashing.passwords.waiting == 4
        hashing.hold.set()
    assert hashing.asked == [b"now", b"known1", b"known2", b"strange1", b"strange2"]


async def _check_first(passwords: Passwords, name: bytes) -> None:
    await passwords.check(name, name, (), first=True)


@trio_test
async def test_the_queue_of_strangers_has_an_end_and_leaves_room_for_those_who_are_known() -> None:
    hashing = Hashing(most_waiting=2)
    hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        for name in (b"now", b"strange1", b"strange2"):
            nursery.start_soon(hashing.passwords.check, name, name, ())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TooBusy):
            await hashing.passwords.check(b"strange3", b"strange3", ())
        with pytest.raises(TooBusy):
            await hashing.passwords.pretend()
        nursery.start_soon(_check_first, hashing.passwords, b"known")
        await trio.testing.wait_all_tasks_blocked()
        hashing.hold.set()
    assert b"known" in hashing.asked
    assert hashing.passwords.waiting == 0


@trio_test
async def test_a_waiting_question_that_is_cancelled_leaves_the_queue() -> None:
    hashing = Hashing()
    hashing.hold = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hashing.passwords.check, b"now", b"now", ())
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await hashing.passwords.check(b"gone", b"gone", ())
        assert hashing.passwords.waiting == 0
        hashing.hold.set()
    assert hashing.asked == [b"now"]
    assert await hashing.passwords.check(b"esme", b"secret", SECRET) == SECRET[0]


@trio_test
async def test_a_verification_that_nobody_wants_any_more_is_not_made() -> None:
    hashing = Hashing()
    with pytest.raises(NoLongerWanted):
        await hashing.passwords.check(b"esme", b"secret", SECRET, wanted=lambda: False)
    assert hashing.computed == 0


@trio_test
async def test_pretending_hashes_nothing_and_tells_what_a_failure_took() -> None:
    hashing = Hashing()
    await hashing.passwords.check(b"esme", b"wrong", SECRET, rounds=2)
    computed = hashing.computed
    assert 0.008 in [round(await hashing.passwords.pretend(), 6) for _ in range(2)]
    assert hashing.computed == computed


@trio_test
async def test_pretending_waits_for_its_turn() -> None:
    hashing = Hashing()
    hashing.hold = trio.Event()
    done = trio.Event()

    async def pretend() -> None:
        await hashing.passwords.pretend()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hashing.passwords.check, b"now", b"now", ())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pretend)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        hashing.hold.set()
    assert done.is_set()
