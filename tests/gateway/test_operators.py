"""Operators: made, listed and removed, on a running and on a stopped gateway; what their keys do not open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest
import trio
import trio.testing

from gateway import operators as subject
from gateway.admin import AdminError
from gateway.audit import Actor, acting
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.http.auth import Keys, key_hash
from gateway.http.problems import BadRequest
from gateway.operators import OperatorProblem, Operators
from store.interface import AuditEntry, StoreFull, Transaction
from store.lmdb_store import LmdbStore
from store.options import StoreOptions
from store.values import Damaged
from tests.gateway.conftest import Typed
from tests.gateway.house import Running, carrier, route, running
from tests.trio_case import trio_test

T = TypeVar("T")
ONE = carrier("sim", 2776) + route("sim")


class SlowCommits:
    """A committer and its store: what `execute` puts is there only after everybody else had a turn."""

    def __init__(self) -> None:
        self.store = self
        self.rows: dict[str, bytes] = {}
        self.told: list[AuditEntry] = []
        self.asked = trio.Event()
        self.full = False
        self.damaged = False

    def meta(self, name: str) -> bytes | None:
        if self.damaged:
            raise Damaged(b"m:" + name.encode(), b"?")
        return self.rows.get(name)

    def put_meta(self, name: str, value: bytes) -> None:
        self.rows[name] = value

    def audit(self, entry: AuditEntry) -> None:
        self.told.append(entry)

    async def execute(self, function: Callable[[Transaction], T]) -> T:
        self.asked.set()
        if self.full:
            raise StoreFull("the disk is full", "make room")
        await trio.testing.wait_all_tasks_blocked()
        return function(cast(Transaction, self))


def some_operators() -> tuple[Operators, SlowCommits]:
    commits = SlowCommits()
    return Operators(commits, lambda: 7), commits


async def ask(house: Running, verb: str, **args: object) -> Any:
    with acting(Actor("ann", "cli", "ticket 7")):
        return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


# on a stopped gateway


def test_a_key_is_printed_once_and_kept_as_a_hash(tmp_path: Path, typed: Typed) -> None:
    code, told = typed("operator", "create", "ann@noc", "--json", "--reason", "ticket 7")
    key = json.loads(told)["operator_key"]
    assert (code, key.startswith(f"sbo_{json.loads(told)['key_prefix']}_")) == (OK, True)
    assert "shown this once" in typed("operator", "create", "bob")[1]
    listed = typed("operator", "list")[1]
    assert all(word in listed for word in ("ann@noc", "bob", key.split("_")[1]))
    store = LmdbStore(tmp_path / "var" / "store", StoreOptions())
    try:
        row = store.meta("operators") or b""
        trail = repr(store.audit_log())
    finally:
        store.close()
    assert key_hash(key).encode() in row
    for text in (listed, typed("operator", "list", "--json")[1], typed("audit", "list", "--json")[1]):
        assert key not in text
        assert key.split("_")[2] not in text
        assert key_hash(key) not in text
    assert key_hash(key) not in trail


def test_a_rotated_key_is_printed_once_and_listed_with_the_one_before_it(typed: Typed) -> None:
    typed("operator", "create", "ann")
    code, told = typed("operator", "rotate", "ann", "--overlap", "600", "--reason", "ticket 8")
    assert (code, "shown this once" in told, "sbo_" in told) == (OK, True, True)
    key = json.loads(typed("operator", "rotate", "ann", "--json")[1])
    listed = typed("operator", "list")[1]
    assert all(word in listed for word in ("WORKS UNTIL", key["key_prefix"], key["previous_prefix"]))
    assert key["operator_key"].split("_")[2] not in listed + typed("audit", "list", "--json")[1]


def test_making_and_removing_one_is_in_the_audit_trail(typed: Typed) -> None:
    typed("operator", "create", "ann", "--reason", "ticket 7")
    code, told = typed("operator", "remove", "ann", "--reason", "left", "--json")
    gone = json.loads(told)
    assert (code, gone["name"]) == (OK, "ann")
    trail = json.loads(typed("audit", "list", "--subject", "ann", "--json")[1])
    assert [(one["act"], one["subject"], one["via"], one["reason"]) for one in trail] == [
        ("operator.removed", "operator:ann", "cli", "left"),
        ("operator.created", "operator:ann", "cli", "ticket 7"),
    ]
    assert trail[1]["after"] == trail[0]["before"] == {"key_prefix": gone["key_prefix"], "role": "operator"}
    assert "is whole" in typed("audit", "verify")[1]
    assert "No operators yet" in typed("operator", "list")[1]


def test_what_cannot_be_is_refused_in_words(typed: Typed) -> None:
    typed("operator", "create", "ann")
    for line, code, word in (
        (("create", "ann"), FAILED, "operator 'ann' exists"),
        (("create", "two words"), USAGE, "A-Z a-z 0-9"),
        (("create", ""), USAGE, "A-Z a-z 0-9"),
        (("create", "x" * 65), USAGE, "up to 64"),
        (("remove", "bob"), FAILED, "there are: ann"),
        (("rotate", "bob"), FAILED, "there are: ann"),
        (("rotate", "ann", "--overlap", "-1"), USAGE, "--overlap"),
    ):
        exit_code, told = typed("operator", *line)
        assert (exit_code, word in told) == (code, True), told
    assert [one["name"] for one in json.loads(typed("operator", "list", "--json")[1])] == ["ann"]


# on a running one


@trio_test(mock_clock=True)
async def test_a_key_works_at_once_and_no_longer_than_its_operator(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = (await ask(house, "operator.create", name="ann"))["operator_key"]
        header = f"Bearer {key}".encode()
        assert house.gateway.keys.operator(header, "local").name == "ann"
        await ask(house, "operator.remove", name="ann")
        with pytest.raises(Exception, match="not known"):
            house.gateway.keys.operator(header, "local")
        told = await ask(house, "audit.list", subject="operator:ann")
        assert [(one["act"], one["who"], one["reason"]) for one in told] == [
            ("operator.removed", "ann", "ticket 7"),
            ("operator.created", "ann", "ticket 7"),
        ]
        with pytest.raises(AdminError) as refused:
            await ask(house, "operator.remove", name="ann")
        assert refused.value.code == "not_found"


@trio_test(mock_clock=True)
async def test_a_rotated_key_works_through_its_overlap_and_a_restart_and_then_no_more(tmp_path: Path) -> None:
    def name_of(house: Running, key: str) -> str:
        try:
            return house.gateway.keys.operator(f"Bearer {key}".encode(), "local").name
        except BadRequest:
            return ""

    async with running(tmp_path, ONE) as house:
        first = (await ask(house, "operator.create", name="ann"))["operator_key"]
        made = await ask(house, "operator.rotate", name="ann", overlap_s=600)
        second = made["operator_key"]
        assert (made["previous_prefix"], made["key_prefix"]) == (first.split("_")[1], second.split("_")[1])
        assert (name_of(house, first), name_of(house, second)) == ("ann", "ann")
        with pytest.raises(BadRequest, match="an operator's key"):
            house.gateway.keys.authenticate(f"Bearer {first}".encode(), "local")
        told = (await ask(house, "audit.list", subject="ann"))[0]
        assert (told["act"], told["who"], told["reason"]) == ("operator.key_rotated", "ann", "ticket 7")
        assert told["before"] == {"key_prefix": first.split("_")[1]}
        assert told["after"] == {"key_prefix": second.split("_")[1]}
    async with running(tmp_path, ONE) as house:
        await trio.sleep(500)
        assert (name_of(house, first), name_of(house, second)) == ("ann", "ann")
        await trio.sleep(200)
        assert (name_of(house, first), name_of(house, second)) == ("", "ann")
        third = (await ask(house, "operator.rotate", name="ann"))["operator_key"]
        fourth = (await ask(house, "operator.rotate", name="ann"))["operator_key"]
        assert [name_of(house, key) for key in (second, third, fourth)] == ["", "ann", "ann"]
        fifth = (await ask(house, "operator.rotate", name="ann", overlap_s=0))["operator_key"]
        assert [name_of(house, key) for key in (third, fourth, fifth)] == ["", "", "ann"]
        (one,) = await ask(house, "operator.list")
        assert (one["previous_prefix"], one["previous_until"]) == ("", "")
        await ask(house, "operator.rotate", name="ann")
        await ask(house, "operator.remove", name="ann")
        assert name_of(house, fifth) == ""


@trio_test(mock_clock=True)
async def test_an_operators_key_submits_nothing_and_is_told_what_does(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = (await ask(house, "operator.create", name="ann"))["operator_key"]
        for method, path in (
            ("POST", "/v1/messages"),
            ("POST", "/v1/messages/batch"),
            ("PATCH", "/v1/messages/7"),
        ):
            status, problem = await house.http(method, path, key=key)
            assert (status, problem["type"]) == (403, "urn:signalbox:problem:account-key-needed")
            assert "signalbox account create" in problem["detail"]


@trio_test(mock_clock=True)
async def test_operators_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        key = (await ask(house, "operator.create", name="ann"))["operator_key"]
    async with running(tmp_path, ONE) as house:
        assert house.gateway.keys.operator(f"Bearer {key}".encode(), "local").name == "ann"


# what overlaps, fails, or is damaged


@trio_test
async def test_changes_at_the_same_time_do_not_undo_each_other() -> None:
    operators, commits = some_operators()
    async with trio.open_nursery() as nursery:
        for name in ("ann", "bob", "cid"):
            nursery.start_soon(operators.create, name)
    assert sorted(Operators(commits, lambda: 7).by_name) == ["ann", "bob", "cid"]
    refused: list[str] = []

    async def remove() -> None:
        try:
            await operators.remove("bob")
        except OperatorProblem as problem:
            refused.append(str(problem))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        nursery.start_soon(remove)
    assert refused == ["no operator 'bob'; there are: ann, cid"]
    assert [one.act for one in commits.told] == ["operator.created"] * 3 + ["operator.removed"]


@trio_test
async def test_a_change_under_way_is_waited_for_when_its_caller_gives_up() -> None:
    operators, commits = some_operators()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operators.create, "ann")
        await commits.asked.wait()
        nursery.cancel_scope.cancel()
    assert list(operators.by_name) == list(Operators(commits, lambda: 7).by_name) == ["ann"]


@trio_test
async def test_what_was_not_committed_is_not_there() -> None:
    operators, commits = some_operators()
    commits.full = True
    with pytest.raises(StoreFull):
        await operators.create("ann")
    assert (operators.by_name, commits.rows, commits.told) == ({}, {}, [])


@trio_test
async def test_there_may_be_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_OPERATORS", 2)
    operators, _ = some_operators()
    await operators.create("ann")
    await operators.create("bob")
    with pytest.raises(OperatorProblem, match="there are 2 operators"):
        await operators.create("cid")


@trio_test
async def test_a_damaged_list_lets_nobody_in_and_the_next_one_made_is_the_first() -> None:
    operators, commits = some_operators()
    await operators.create("ann")
    for rows, damaged in ((dict(commits.rows), True), ({"operators": b"\xc1"}, False)):
        commits.rows, commits.damaged = rows, damaged
        operators.reload()
        assert (operators.by_name, operators.damaged) == ({}, True)
    await operators.create("bob")
    assert (list(operators.by_name), operators.damaged) == (["bob"], False)


@trio_test
async def test_operators_that_an_older_release_wrote_are_owners_with_the_keys_they_had() -> None:
    commits = SlowCommits()
    old = ["ann", key_hash("sbo_1_2"), "1", 5, key_hash("sbo_0_1"), "0", 9]
    commits.rows["operators"] = msgspec.msgpack.encode([old])
    operators = Operators(commits, lambda: 7)
    keys = Keys([], lambda: 1.0, lambda: 7)
    keys.rebuild_operators(operators.by_name.values())
    for key in (b"Bearer sbo_1_2", b"Bearer sbo_0_1"):
        assert keys.admit(key, "192.0.2.1", "operators.write").name == "ann"
