"""Numbers are masked and texts left out for roles that may not see them."""

from __future__ import annotations

from gateway.console.shown import number, text
from gateway.sessions import SignedIn
from router.roles import HOUSE, scopes_of


def person(role: str) -> SignedIn:
    return SignedIn("ann", role, scopes_of(role), "", "")


def test_numbers_are_whole_for_those_who_may_see_them_and_masked_for_others() -> None:
    shown = {role.value: number(person(role), "447700900123") for role in HOUSE}
    assert shown == {
        "owner": "447700900123",
        "operator": "447700900123",
        "support": "447700900123",
        "auditor": "4477*****123",
    }
    assert number(None, "447700900123") == "4477*****123"
    assert (number(None, "+447700900123")[-3:], number(None, "12345")) == ("123", "*****")


def test_a_senders_name_calls_nobody() -> None:
    assert number(None, "ACME") == "ACME"


def test_texts_are_for_those_who_may_read_them() -> None:
    shown = {role.value: text(person(role), "Your code is 4711") for role in HOUSE}
    assert shown == {
        "owner": "Your code is 4711",
        "operator": "Your code is 4711",
        "support": None,
        "auditor": None,
    }
    assert text(None, "Your code is 4711") is None
