"""Sessions: from one sign-in to its end, over restarts, bounded, and never a secret in the store or a log."""

from __future__ import annotations

import pytest
import trio

from gateway import sessions as subject
from gateway.audit import Actor, acting
from gateway.operators import Operators
from gateway.sessions import CONFIRMED_S, Sessions, csrf_right
from router.roles import Role, scopes_of
from store.interface import StoreFull
from tests.gateway.test_operators import SlowCommits
from tests.trio_case import trio_test

HERE, THERE = "192.0.2.7", "198.51.100.9"


class House:
    """Operators and sessions on a store of the test's own. `at_ms` is the time of day."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000
        self.commits = SlowCommits()
        self.restart()

    def restart(self) -> None:
        self.operators = Operators(self.commits, lambda: self.at_ms)
        self.sessions = Sessions(
            self.commits, self.operators, lambda: self.at_ms, idle_s=600, longest_s=3_600
        )

    async def sign_in(self, name: str = "ann") -> str:
        token, _ = await self.sessions.start(name, HERE, "password", "Firefox")
        return token

    def name_of(self, token: str, address: str = HERE) -> str:
        who = self.sessions.signed_in(token, address)
        return who.name if who is not None else ""

    def told(self, act: str) -> list[str]:
        return [
            str(one.after.get("why", one.after.get("how"))) for one in self.commits.told if one.act == act
        ]


async def a_house(*names: str) -> House:
    house = House()
    for name in names or ("ann",):
        await house.operators.admit(name, Role.OPERATOR)
    return house


@trio_test
async def test_a_token_is_its_person_with_the_scopes_of_its_role() -> None:
    house = await a_house()
    token, who = await house.sessions.start("ann", HERE, "password")
    assert house.sessions.signed_in(token, HERE) == who
    assert (who.name, who.role, who.scopes) == ("ann", "operator", scopes_of("operator"))
    for wrong in ("", "x", token[:-1], token + "x", token.upper(), "\udc80", "x" * 10_000):
        assert house.sessions.signed_in(wrong, HERE) is None


@trio_test
async def test_no_token_and_no_csrf_is_in_the_store_the_trail_or_a_repr() -> None:
    house = await a_house()
    token, who = await house.sessions.start("ann", HERE, "password")
    kept = b"".join(house.commits.rows.values()) + repr(house.commits.told).encode()
    shown = repr(who) + repr(house.sessions.of("ann")) + repr(house.operators.by_name)
    for secret in (token, who.csrf):
        assert secret.encode() not in kept
        assert secret not in shown


@trio_test
async def test_each_sign_in_has_a_token_and_a_csrf_of_its_own() -> None:
    house = await a_house()
    first, second = [(await house.sessions.start("ann", HERE, "password")) for _ in range(2)]
    assert first[0] != second[0]
    assert csrf_right(first[1], first[1].csrf)
    for wrong in ("", second[1].csrf, first[1].csrf[:-1], "é", "\udc80"):
        assert not csrf_right(first[1], wrong)


@trio_test
async def test_a_session_ends_when_it_is_not_used_and_when_it_is_too_old() -> None:
    house = await a_house()
    token = await house.sign_in()
    for _ in range(5):
        house.at_ms += 599_000
        assert house.name_of(token) == "ann"
    house.at_ms += 601_000
    assert house.name_of(token) == ""
    busy = await house.sign_in()
    for _ in range(7):
        house.at_ms += 500_000
        assert house.name_of(busy) == "ann"
    house.at_ms += 101_000
    assert house.name_of(busy) == ""
    await house.sessions.save()
    assert house.told("session.ended") == ["not used", "too old"]


@trio_test
async def test_sessions_outlive_a_restart_with_their_ends() -> None:
    house = await a_house()
    token = await house.sign_in()
    house.at_ms += 500_000
    assert house.name_of(token, THERE) == "ann"
    await house.sessions.save()
    house.restart()
    assert house.name_of(token) == "ann"
    (one,) = house.sessions.of("ann")
    assert (one.address, one.how, one.agent) == (HERE, "password", "Firefox")
    house.at_ms += 601_000
    house.restart()
    assert house.name_of(token) == ""


@trio_test
async def test_another_role_or_password_and_removal_end_sessions() -> None:
    house = await a_house("ann", "bob", "cid")
    tokens = {name: await house.sign_in(name) for name in ("ann", "bob", "cid")}
    with acting(Actor("root", "cli")):
        await house.operators.change_role("ann", Role.AUDITOR)
        await house.operators.remove("bob")
    await house.sessions.save()
    assert [house.name_of(tokens[name]) for name in ("ann", "bob", "cid")] == ["", "", "cid"]
    ended = [(one.who, one.subject.split(":")[1]) for one in house.commits.told if one.act == "session.ended"]
    assert ended == [("root", "ann"), ("root", "bob")]
    assert house.told("session.ended") == ["another role or password", "the operator was removed"]


@trio_test
async def test_what_changed_while_no_gateway_ran_ends_sessions_too() -> None:
    house = await a_house()
    token = await house.sign_in()
    elsewhere = Operators(house.commits, lambda: house.at_ms)
    await elsewhere.change_role("ann", Role.AUDITOR)
    house.restart()
    assert house.name_of(token) == ""


@trio_test
async def test_an_ended_session_stays_ended_over_a_restart_and_another_goes_on() -> None:
    house = await a_house()
    token, who = await house.sessions.start("ann", HERE, "password")
    other = await house.sign_in()
    assert await house.sessions.end(who.session, "signed out")
    assert not await house.sessions.end(who.session, "signed out")
    house.restart()
    assert (house.name_of(token), house.name_of(other)) == ("", "ann")
    assert house.told("session.ended") == ["signed out"]
    assert await house.sessions.end_all("ann", "ended by bob") == 1
    assert house.name_of(other) == ""


@trio_test
async def test_a_session_that_could_not_be_kept_is_none() -> None:
    house = await a_house()
    house.commits.full = True
    with pytest.raises(StoreFull):
        await house.sign_in()
    assert house.sessions.of("ann") == []


@trio_test
async def test_an_end_that_could_not_be_written_is_written_later() -> None:
    house = await a_house()
    token, who = await house.sessions.start("ann", HERE, "password")
    house.commits.full = True
    with pytest.raises(StoreFull):
        await house.sessions.end(who.session, "signed out")
    assert house.name_of(token) == ""
    house.commits.full = False
    await house.sessions.save()
    house.restart()
    assert (house.name_of(token), house.told("session.ended")) == ("", ["signed out"])


@trio_test
async def test_the_stalest_session_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_OF_ONE", 2)
    monkeypatch.setattr(subject, "MOST", 3)
    house = await a_house("ann", "bob")
    tokens: list[str] = []
    for name in ("ann", "ann", "ann", "bob", "bob"):
        house.at_ms += 1_000
        tokens.append(await house.sign_in(name))
    assert [house.name_of(token) for token in tokens] == ["", "", "ann", "bob", "bob"]


@trio_test
async def test_a_use_costs_no_commit_and_is_written_with_the_next() -> None:
    house = await a_house()
    token = await house.sign_in()
    before = dict(house.commits.rows)
    for _ in range(100):
        house.at_ms += 2_000
        house.sessions.signed_in(token, HERE)
    assert house.commits.rows == before
    await house.sessions.save()
    house.restart()
    assert house.sessions.of("ann")[0].last_ms == house.at_ms


@trio_test
async def test_a_confirmation_is_of_one_session_and_ends_soon() -> None:
    house = await a_house()
    _, who = await house.sessions.start("ann", HERE, "password")
    _, other = await house.sessions.start("ann", HERE, "password")
    house.at_ms += int(CONFIRMED_S * 1000) - 1
    assert house.sessions.confirmed(who)
    house.at_ms += 1
    house.sessions.confirm(other)
    assert (house.sessions.confirmed(who), house.sessions.confirmed(other)) == (False, True)
    await house.sessions.end(other.session, "signed out")
    assert not house.sessions.confirmed(other)
    assert not house.sessions.still(other)


@trio_test
async def test_damaged_rows_let_nobody_in_and_hurt_no_others() -> None:
    house = await a_house()
    tokens = [await house.sign_in() for _ in range(5)]
    row = f"sessions:{subject._digest(tokens[0])[0] % 64}"
    house.commits.rows[row] = b"\xc1"
    house.restart()
    gone = {token for token in tokens if f"sessions:{subject._digest(token)[0] % 64}" == row}
    assert [house.name_of(token) for token in tokens] == ["" if one in gone else "ann" for one in tokens]


@trio_test
async def test_sign_ins_at_the_same_time_do_not_undo_each_other() -> None:
    house = await a_house("ann", "bob")
    async with trio.open_nursery() as nursery:
        for name in ("ann", "bob") * 5:
            nursery.start_soon(house.sign_in, name)
    house.restart()
    assert (len(house.sessions.of("ann")), len(house.sessions.of("bob"))) == (5, 5)


@trio_test(mock_clock=True)
async def test_while_it_runs_ends_are_written_at_once_and_uses_once_a_minute() -> None:
    house = await a_house("ann", "bob")
    token = await house.sign_in("ann")
    await house.sign_in("bob")
    async with trio.open_nursery() as nursery:
        await nursery.start(house.sessions.run)
        house.at_ms += 5_000
        house.sessions.signed_in(token, THERE)
        await house.operators.remove("bob")
        await trio.sleep(1)
        assert house.told("session.ended") == ["the operator was removed"]
        await trio.sleep(subject.EVERY_S)
        nursery.cancel_scope.cancel()
    house.restart()
    assert [one.address for one in house.sessions.of("ann")] == [THERE]
