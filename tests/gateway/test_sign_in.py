"""Signing in: what is right, what is refused and how, what guessing meets, links, second factors."""

from __future__ import annotations

from pathlib import Path

import pyotp
import pytest
import trio

from gateway import refusals as counting
from gateway.operators import OperatorProblem, Operators
from gateway.passwords import Passwords, Verification, hash_password, inline, person_password_problem
from gateway.sealing import KEY_FILE, Seal, SealProblem
from gateway.second_factor import recovery_of, step_of
from gateway.sessions import Sessions
from gateway.sign_in import (
    BLAND,
    CodeNeeded,
    Outcome,
    PasswordNeeded,
    Refused,
    SignIns,
    Started,
    gently,
)
from gateway.sign_in_links import FIRST_OWNER, LASTS_S, path_of
from router.roles import Role
from tests.gateway.test_operators import SlowCommits
from tests.trio_case import trio_test

HERE, THERE = "192.0.2.7", "198.51.100.9"
RIGHT, OTHER = "correct horse battery", "staple of the house"
START_MS = 1_790_000_000_000


class House:
    """Everything that signs people in, on a store of the test's own and trio's clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.commits = SlowCommits()
        self.restart()

    def wall_ms(self) -> int:
        return START_MS + int(trio.current_time() * 1000)

    def restart(self) -> None:
        self.operators = Operators(self.commits, self.wall_ms)
        self.sessions = Sessions(self.commits, self.operators, self.wall_ms)
        self.sign_ins = SignIns(
            self.commits,
            self.operators,
            self.sessions,
            Seal(self.directory / KEY_FILE),
            self.wall_ms,
            trusted_from=("203.0.113.0/24",),
            passwords=Passwords(run=inline, at_once=1, most_remembered=0, make=hash_password),
        )

    async def person(self, name: str = "ann", role: Role = Role.OPERATOR) -> None:
        await self.operators.admit(name, role)
        await self.sign_ins.set_password(name, RIGHT, due=False)

    async def sign_in(self, name: str = "ann", password: str = RIGHT, address: str = HERE) -> Outcome:
        return await self.sign_ins.with_password(name, password, address, "Firefox")

    async def told(self, act: str) -> list[dict[str, object]]:
        await self.sessions.save()
        return [{"subject": one.subject, **one.after} for one in self.commits.told if one.act == act]

    def code(self, secret: str, steps: int = 0) -> str:
        return pyotp.TOTP(secret).at(self.wall_ms() / 1000 + 30 * steps)


def started(outcome: Outcome) -> Started:
    assert isinstance(outcome, Started), outcome
    return outcome


def refused(outcome: object) -> Refused:
    assert isinstance(outcome, Refused), outcome
    return outcome


def ticket(outcome: Outcome) -> str:
    assert isinstance(outcome, CodeNeeded | PasswordNeeded), outcome
    return outcome.ticket


# passwords


@trio_test(mock_clock=True)
async def test_the_right_password_begins_a_session_that_the_trail_tells_of(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    one = started(await house.sign_in())
    assert house.sessions.signed_in(one.token, HERE) == one.who
    (told,) = await house.told("session.started")
    assert told == {"subject": f"session:ann:{one.who.session}", "address": HERE, "how": "password"}


@trio_test(mock_clock=True)
async def test_wrong_name_wrong_password_and_no_password_are_refused_alike(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    await house.operators.create("robot")
    outcomes = [
        refused(await house.sign_in(*wrong))
        for wrong in (("ann", OTHER), ("nobody", RIGHT), ("robot", ""), ("robot", RIGHT), ("", ""))
    ]
    assert {(one.status, one.text, one.wait_s) for one in outcomes} == {(401, BLAND, 0)}
    assert house.sessions.of("ann") == []


@trio_test(mock_clock=True)
async def test_each_kind_of_refusal_hashes_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    hashed: list[str] = []

    def verify(hash: str, password: bytes) -> bool:
        hashed.append(hash)
        return False

    house.sign_ins.passwords._verify = verify
    for name in ("ann", "nobody", "x" * 1_000):
        hashed.clear()
        await house.sign_in(name, OTHER)
        assert len(hashed) == 1


@trio_test(mock_clock=True)
async def test_the_same_password_typed_with_combining_letters_is_the_same(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    await house.sign_ins.set_password("ann", "grüne Straße über", due=False)
    started(await house.sign_in(password="grüne Straße über"))


def test_what_a_password_must_be() -> None:
    for password, word in (
        ("short", "12 to 128"),
        ("x" * 129, "12 to 128"),
        ("abababababab", "same few"),
        ("annabel is here", "the name"),
        ("line\nline and line", "printable"),
    ):
        assert word in person_password_problem(password, "annabel"), password
    assert person_password_problem("ann is in here", "ann") == ""
    assert person_password_problem(RIGHT, "annabel") == ""


@trio_test(mock_clock=True)
async def test_a_password_that_is_due_must_be_changed_before_anything_else(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    await house.sign_ins.set_password("ann", RIGHT, due=True)
    needed = ticket(await house.sign_in())
    assert house.sessions.of("ann") == []
    assert refused(await house.sign_ins.with_new_password(needed, RIGHT, HERE)).status == 422
    assert refused(await house.sign_ins.with_new_password(needed, "short", HERE)).status == 422
    assert refused(await house.sign_ins.with_new_password(needed, OTHER, THERE)).status == 401
    started(await house.sign_ins.with_new_password(needed, OTHER, HERE))
    assert refused(await house.sign_ins.with_new_password(needed, RIGHT, HERE)).status == 401
    started(await house.sign_in(password=OTHER))


@trio_test(mock_clock=True)
async def test_changing_ones_password_ends_all_sessions_of_before_and_begins_one(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    first, second = started(await house.sign_in()), started(await house.sign_in())
    assert refused(await house.sign_ins.change_password(first.who, OTHER, OTHER, HERE)).text == BLAND
    assert refused(await house.sign_ins.change_password(first.who, RIGHT, RIGHT, HERE)).status == 422
    now = await house.sign_ins.change_password(first.who, RIGHT, OTHER, HERE)
    assert isinstance(now, Started)
    alive = [house.sessions.signed_in(one.token, HERE) for one in (first, second, now)]
    assert [one is not None for one in alive] == [False, False, True]
    (told,) = [one for one in await house.told("operator.password_set") if "its owner" in str(one)]
    assert told["subject"] == "operator:ann"


# guessing


@trio_test(mock_clock=True)
async def test_wrong_passwords_lock_that_name_for_that_network_and_the_lock_ends_by_itself(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    await house.person()
    await house.person("bob")
    for _ in range(10):
        assert refused(await house.sign_in(password=OTHER)).status == 401
    locked = refused(await house.sign_in())
    assert locked.status == 429
    assert 0 < locked.wait_s <= 61
    assert f"Wait {locked.wait_s} s" in locked.text
    started(await house.sign_in("bob"))
    started(await house.sign_in(address=THERE))
    await trio.sleep(locked.wait_s)
    started(await house.sign_in())


@trio_test(mock_clock=True)
async def test_an_unknown_name_locks_as_a_known_one_does(tmp_path: Path) -> None:
    house = House(tmp_path)
    statuses = [refused(await house.sign_in("nobody")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]


@trio_test(mock_clock=True)
async def test_guessing_many_names_locks_the_network(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    for number in range(50):
        await house.sign_in(f"name{number}", OTHER)
    assert refused(await house.sign_in()).status == 429
    started(await house.sign_in(address=THERE))


@trio_test(mock_clock=True)
async def test_guessing_one_name_from_everywhere_locks_it_but_not_where_its_owner_was(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    await house.person()
    started(await house.sign_in())
    for number in range(50):
        await house.sign_in(password=OTHER, address=f"10.0.{number}.1")
    assert refused(await house.sign_in(address=THERE)).status == 429
    started(await house.sign_in())
    started(await house.sign_in(address="203.0.113.9"))
    house.restart()
    for number in range(50):
        await house.sign_in(password=OTHER, address=f"10.1.{number}.1")
    started(await house.sign_in())
    assert refused(await house.sign_in(address=THERE)).status == 429
    assert house.sign_ins.unlock("ann") == 1
    started(await house.sign_in(address=THERE))


@trio_test(mock_clock=True)
async def test_a_network_asks_one_name_one_question_at_a_time(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    started(await house.sign_in())
    statuses: list[int] = []

    async def guess() -> None:
        statuses.append(refused(await house.sign_in(password=OTHER)).status)

    for _ in range(8):  # a good network is not locked, but slowed down
        await guess()
    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(guess)
    assert sorted(statuses[8:]) == [401, 429, 429, 429, 429]
    assert trio.current_time() - before == pytest.approx(5.0)


@trio_test(mock_clock=True)
async def test_hashing_leaves_three_quarters_of_a_core_to_traffic() -> None:
    async def thirty_ms(verification: Verification) -> str | None:
        await trio.sleep(0.03)
        return verification()

    passwords = Passwords(run=lambda one: gently(one, thirty_ms), at_once=1, verify=lambda *_: False)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(passwords.check, b"name%d" % number, b"guess", ())
    assert trio.current_time() == pytest.approx(10 * 0.12)


@trio_test(mock_clock=True)
async def test_guessing_is_told_but_cannot_fill_the_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_AN_HOUR", 20)
    house = House(tmp_path)
    await house.person()
    for number in range(60):
        await house.sign_in("ann" if number % 2 else f"my secret {number}", OTHER, f"10.0.{number}.1")
    told = await house.told("session.refused")
    assert len(told) == 20
    assert {one["subject"] for one in told} == {"operator", "operator:ann"}
    assert "my secret" not in repr(house.commits.told)
    assert OTHER not in repr(house.commits.told)
    await trio.sleep(3_600)
    await house.sign_in(password=OTHER, address=THERE)
    last = (await house.told("session.refused"))[-1]
    assert int(str(last["others_not_told"])) >= 40


@trio_test(mock_clock=True)
async def test_a_lock_is_a_warning_in_the_event_log_once_an_hour_and_counted_while_it_lasts(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    await house.person()
    warned: list[tuple[str, str, bool]] = []

    def warn(kind: str, subject: str, text: str, figures: object, *, warning: bool) -> None:
        warned.append((kind, subject, warning))

    house.sign_ins.refusals.warn = warn
    for _ in range(10):
        await house.sign_in(password=OTHER)
    assert warned == [("sign_in.locked", "operator:ann", True)]
    assert house.sign_ins.locks == 1
    await trio.sleep(61)
    assert house.sign_ins.locks == 0
    await house.sign_in(password=OTHER)  # locks again, and is not told again
    for number in range(60):
        for _ in range(10):
            await house.sign_in(f"name{number}", OTHER, f"10.0.{number}.1")
    assert len(warned) > 2
    assert len(warned) == len(set(warned))
    assert house.sign_ins.refusals.count > 600
    await trio.sleep(3_600)
    for _ in range(10):
        await house.sign_in(password=OTHER)
    assert warned[-1] == ("sign_in.locked", "operator:ann", True)


# second factor


@trio_test(mock_clock=True)
async def test_a_second_factor_is_asked_for_after_the_password_and_each_code_works_once(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    await house.person()
    secret, _, _ = await house.sign_ins.make_factor("ann")
    shown = ticket(await house.sign_in())
    assert house.sessions.of("ann") == []
    code = house.code(secret)
    assert refused(await house.sign_ins.with_code(shown, code, THERE)).status == 401
    assert refused(await house.sign_ins.with_code("x", code, HERE)).status == 401
    started(await house.sign_ins.with_code(shown, code, HERE))
    assert refused(await house.sign_ins.with_code(shown, code, HERE)).status == 401
    again = ticket(await house.sign_in())
    assert "used already" in refused(await house.sign_ins.with_code(again, code, HERE)).text
    house.restart()
    again = ticket(await house.sign_in())
    assert refused(await house.sign_ins.with_code(again, code, HERE)).status == 401
    one = started(await house.sign_ins.with_code(again, house.code(secret, 1), HERE))
    assert (await house.told("session.started"))[-1]["how"] == "password+code"
    await trio.sleep(90)
    code = house.code(secret)
    assert await house.sign_ins.confirm(one.who, code, HERE) is None
    house.restart()
    again = ticket(await house.sign_in())
    assert refused(await house.sign_ins.with_code(again, code, HERE)).status == 401


@trio_test(mock_clock=True)
async def test_five_wrong_codes_lock_the_codes_of_that_name_wherever_they_come_from(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    started(await house.sign_in(address="203.0.113.9"))
    secret, _, _ = await house.sign_ins.make_factor("ann")
    shown = ticket(await house.sign_in(address="203.0.113.9"))
    for _ in range(5):
        outcome = await house.sign_ins.with_code(shown, "000000", "203.0.113.9")
        assert refused(outcome).status == 401
    again = ticket(await house.sign_in(address=THERE))
    locked = refused(await house.sign_ins.with_code(again, house.code(secret), THERE))
    assert locked.status == 429
    await trio.sleep(locked.wait_s)
    again = ticket(await house.sign_in(address=THERE))
    started(await house.sign_ins.with_code(again, house.code(secret), THERE))


@trio_test(mock_clock=True)
async def test_a_recovery_code_works_once_and_is_kept_as_a_hash(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    _, _, codes = await house.sign_ins.make_factor("ann")
    for code in codes:
        assert code.replace("-", "").encode() not in house.commits.rows["operators"]
    shown = ticket(await house.sign_in())
    started(await house.sign_ins.with_code(shown, codes[3].upper(), HERE))
    shown = ticket(await house.sign_in())
    assert refused(await house.sign_ins.with_code(shown, codes[3], HERE)).status == 401
    assert await house.told("operator.recovery_used") == [{"subject": "operator:ann", "left": 9}]


@trio_test(mock_clock=True)
async def test_a_second_factors_secret_is_sealed_by_a_key_that_is_not_in_the_store(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    await house.person("bob")
    secret, _, _ = await house.sign_ins.make_factor("ann")
    row = house.commits.rows["operators"]
    assert secret.encode() not in row
    assert pyotp.TOTP(secret).byte_secret() not in row
    key = tmp_path / KEY_FILE
    assert (key.stat().st_mode & 0o777, key.read_bytes() in row) == (0o600, False)
    seal = Seal(key)
    assert seal.unseal(seal.seal(b"it", "totp:ann"), "totp:ann") == b"it"
    with pytest.raises(SealProblem, match="not the key"):
        seal.unseal(house.operators.by_name["ann"].totp, "totp:bob")
    key.chmod(0o644)
    with pytest.raises(SealProblem, match="chmod 600"):
        Seal(key).unseal(seal.seal(b"it", "totp:ann"), "totp:ann")
    key.unlink()
    house.restart()
    shown = ticket(await house.sign_in())
    answer = refused(await house.sign_ins.with_code(shown, house.code(secret), HERE))
    assert (answer.status, "log" in answer.text) == (503, True)


@trio_test(mock_clock=True)
async def test_a_factor_is_in_force_only_once_its_first_code_was_shown(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    one = started(await house.sign_in())
    new = house.sign_ins.begin_factor(one.who, HERE)
    assert new.secret not in repr(new)
    wrong = await house.sign_ins.finish_factor(one.who, new.ticket, "000000", HERE)
    assert refused(wrong).status == 422
    started(await house.sign_in())
    codes = await house.sign_ins.finish_factor(one.who, new.ticket, house.code(new.secret), HERE)
    assert isinstance(codes, list)
    assert len(codes) == 10
    ticket(await house.sign_in())
    assert house.sessions.still(one.who)
    await house.sign_ins.drop_factor("ann")
    started(await house.sign_in())


def test_codes_one_step_early_or_late_are_taken_and_others_not() -> None:
    secret = b"12345678901234567890"  # RFC 6238 appendix B
    assert step_of(secret, "081804", 1_111_111_109) == 37_037_036
    assert step_of(secret, " 081 804 ", 1_111_111_109 + 30) == 37_037_036
    assert step_of(secret, "081804", 1_111_111_109 + 90) is None
    assert step_of(secret, "081804", 1_111_111_109, 37_037_036) is None
    for wrong in ("", "08180", "0818045", "abcdef", "٠٨١٨٠٤"):
        assert step_of(secret, wrong, 1_111_111_109) is None
    assert recovery_of("", ()) is None


# confirming


@trio_test(mock_clock=True)
async def test_a_session_is_confirmed_by_password_or_code_and_not_by_anything_else(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    one = started(await house.sign_in())
    await trio.sleep(601)
    assert not house.sessions.confirmed(one.who)
    assert refused(await house.sign_ins.confirm(one.who, OTHER, HERE)).status == 401
    assert not house.sessions.confirmed(one.who)
    assert await house.sign_ins.confirm(one.who, RIGHT, HERE) is None
    assert house.sessions.confirmed(one.who)
    secret, _, _ = await house.sign_ins.make_factor("ann")
    await trio.sleep(601)
    assert await house.sign_ins.confirm(one.who, house.code(secret), HERE) is None
    assert house.sessions.confirmed(one.who)


# links


@trio_test(mock_clock=True)
async def test_the_first_owner_chooses_name_and_password_by_a_link_that_works_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.sign_ins.nobody_yet
    token = await house.sign_ins.make_link(FIRST_OWNER)
    assert path_of(token).startswith("/console/welcome#")
    assert token.encode() not in b"".join(house.commits.rows.values())
    assert house.sign_ins.whose_link(token) == FIRST_OWNER
    for name, password in (("two words", RIGHT), ("", RIGHT), ("ann", "short")):
        assert refused(await house.sign_ins.with_link(token, password, HERE, name=name)).status == 422
    house.restart()
    one = started(await house.sign_ins.with_link(token, RIGHT, HERE, name="ann"))
    assert (one.who.name, one.who.role) == ("ann", "owner")
    assert not house.sign_ins.nobody_yet
    assert refused(await house.sign_ins.with_link(token, RIGHT, HERE, name="eve")).status == 401
    with pytest.raises(OperatorProblem, match="for whom"):
        await house.sign_ins.make_link(FIRST_OWNER)
    house.restart()
    assert house.sign_ins.whose_link(token) is None
    assert not house.sign_ins.nobody_yet
    started(await house.sign_in())


@trio_test(mock_clock=True)
async def test_two_at_the_same_time_do_not_both_use_a_link(tmp_path: Path) -> None:
    house = House(tmp_path)
    token = await house.sign_ins.make_link(FIRST_OWNER)
    outcomes: list[Outcome] = []

    async def use(name: str) -> None:
        outcomes.append(await house.sign_ins.with_link(token, RIGHT, HERE, name=name))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, "ann")
        nursery.start_soon(use, "eve")
    assert sorted(isinstance(one, Started) for one in outcomes) == [False, True]
    assert len(house.operators.by_name) == 1


@trio_test(mock_clock=True)
async def test_a_link_for_the_first_owner_ends_when_somebody_has_a_password(tmp_path: Path) -> None:
    house = House(tmp_path)
    token = await house.sign_ins.make_link(FIRST_OWNER)
    await house.person()
    assert house.sign_ins.whose_link(token) is None
    assert refused(await house.sign_ins.with_link(token, RIGHT, HERE, name="eve")).status == 401
    assert list(house.operators.by_name) == ["ann"]


@trio_test(mock_clock=True)
async def test_a_link_of_an_operator_sets_its_password_and_asks_for_its_second_factor(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    older = await house.sign_ins.make_link("ann")
    token = await house.sign_ins.make_link("ann")
    assert house.sign_ins.whose_link(older) is None
    secret, _, _ = await house.sign_ins.make_factor("ann")
    shown = ticket(await house.sign_ins.with_link(token, OTHER, HERE))
    assert house.sessions.of("ann") == []
    started(await house.sign_ins.with_code(shown, house.code(secret), HERE))
    ticket(await house.sign_in(password=OTHER))
    (told,) = [one for one in await house.told("operator.password_set") if one.get("by") == "a sign-in link"]
    assert told["subject"] == "operator:ann"


@trio_test(mock_clock=True)
async def test_a_link_ends_after_an_hour_and_with_a_sign_in(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    token = await house.sign_ins.make_link("ann")
    await trio.sleep(LASTS_S)
    assert house.sign_ins.whose_link(token) is None
    assert refused(await house.sign_ins.with_link(token, OTHER, HERE)).status == 401
    token = await house.sign_ins.make_link("ann")
    started(await house.sign_in())
    assert house.sign_ins.whose_link(token) is None


@trio_test(mock_clock=True)
async def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.person()
    secret, _, _ = await house.sign_ins.make_factor("ann")
    asked = await house.sign_in()
    one = started(await house.sign_ins.with_code(ticket(asked), house.code(secret), HERE))
    shown = repr([asked, one, house.operators.by_name, house.sign_ins._tickets, house.sign_ins.links._links])
    for word in (ticket(asked), one.token, one.who.csrf, secret, "argon2"):
        assert word not in shown
