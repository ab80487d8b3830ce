"""The table of roles and scopes: what each role must never hold, and how keys narrow it."""

from __future__ import annotations

import pytest

from router.roles import HOUSE, PUBLIC, SCOPES, TABLE, Role, allows, beyond, markdown, scopes_of


def test_every_role_has_a_row_and_every_scope_is_known_and_held_by_somebody() -> None:
    assert set(TABLE) == set(Role)
    assert set().union(*TABLE.values()) == set(SCOPES)
    assert set(HOUSE) == set(Role) - {Role.ACCOUNT}


def test_what_is_not_in_the_table_is_refused() -> None:
    for role in Role:
        assert not allows(role, "messages")
        assert not allows(role, "nothing.known")
        assert not allows(role, PUBLIC)
        assert not allows(role, "")


def test_support_and_auditors_see_no_text_and_change_nothing_but_that_support_cancels() -> None:
    changes = {scope for scope in SCOPES if scope.endswith((".write", ".send"))}
    for role in (Role.SUPPORT, Role.AUDITOR):
        assert not TABLE[role] & {"messages.text", "config.secrets", *changes}
    assert allows(Role.SUPPORT, "messages.cancel")
    assert not allows(Role.AUDITOR, "messages.cancel")
    assert not allows(Role.AUDITOR, "messages.numbers")


@pytest.mark.parametrize("scope", ["operators.write", "config.secrets", "store.write"])
def test_only_the_owner_has_the_owners_things(scope: str) -> None:
    assert [role for role in Role if allows(role, scope)] == [Role.OWNER]


def test_nobody_of_the_house_sends_in_a_customers_name() -> None:
    assert [role for role in Role if allows(role, "messages.send")] == [Role.ACCOUNT]


def test_an_account_touches_nothing_of_the_house() -> None:
    for what in (
        "accounts",
        "carriers",
        "queues",
        "binds",
        "operators",
        "audit",
        "config",
        "store",
        "events",
        "tables",
    ):
        assert not [scope for scope in TABLE[Role.ACCOUNT] if scope.startswith(f"{what}.")]


def test_a_key_has_all_scopes_of_its_role_or_those_of_them_that_it_was_given() -> None:
    assert scopes_of(Role.ACCOUNT) == TABLE[Role.ACCOUNT]
    assert scopes_of(Role.ACCOUNT, ["messages.send"]) == {"messages.send"}
    assert scopes_of(Role.SUPPORT, ["audit.read", "messages.read"]) == {"messages.read"}
    assert scopes_of(Role.SUPPORT, ["audit.read"]) == frozenset()
    assert scopes_of("janitor") == scopes_of("") == frozenset()
    assert beyond(Role.SUPPORT, ["audit.read", "messages.read", "x"]) == ["audit.read", "x"]


def test_the_table_can_be_printed() -> None:
    lines = markdown().splitlines()
    assert len(lines) == len(SCOPES) + 2
    assert lines[0].startswith("| scope | owner | operator | support | auditor | account |")
    assert "| `messages.send` |  |  |  |  | yes |" in markdown()
