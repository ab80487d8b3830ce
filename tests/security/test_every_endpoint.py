"""Every endpoint of the table, asked by everybody, for everything: a new endpoint joins the walk by itself.

For each endpoint: without a key and with a wrong one, by every role, by keys of the right role without the
scope, and, where accounts may ask, for what is theirs, for what is another's and for what there is not.

Deliberately not here: what an endpoint answers beyond that.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.http.endpoint import Endpoint
from gateway.http.table import ENDPOINTS
from router.roles import HOUSE, PUBLIC, Role, allows
from tests.security.house import Answer, Staffed, collections, other_scope, staffed
from tests.trio_case import trio_test

NEEDS_A_KEY = [one for one in ENDPOINTS if one.access != PUBLIC]
FORBIDDEN = {"scope-needed", "operator-key-needed", "account-key-needed"}
# Accounts' own by nature: whose balance would a key of the house ask for?
ONLY_ACCOUNTS = {"getOwnBalance", "getRates", "getBalance"}


def ids(home: Staffed, endpoint: Endpoint, which: str) -> dict[str, str]:
    """Of the path: what is acme's (`own`), its rival's (`foreign`), or nobody's (`unknown`)."""
    found = {}
    for name, collection in collections(endpoint).items():
        assert collection in home.objects, (
            f"{endpoint.path}: say in tests/security/house.py whose {collection} there are"
        )
        found[name] = getattr(home.objects[collection], which)
    return found


def without(answer: Answer, said: dict[str, str]) -> tuple[int, str, bytes]:
    """The answer, but for the ids that were asked for."""
    body = answer.raw
    for id in said.values():
        body = re.sub(rb"\b%b\b" % re.escape(id).encode(), b"...", body)
    return answer.status, answer.code, body


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.id)
@trio_test(mock_clock=True)
async def test_it_lets_in_whom_it_declares_and_nobody_else(tmp_path: Path, endpoint: Endpoint) -> None:
    async with staffed(tmp_path) as home:
        own = ids(home, endpoint, "own")
        before = home.changes()
        for nobody in ("", "sbk_1_2", "sbo_1_2", "x" * 300):
            answer = await home.call(nobody, endpoint, own)
            assert (answer.status == 401) == (endpoint.access != PUBLIC), (nobody, answer.raw)
        if endpoint.access == PUBLIC:
            return
        for role in Role:
            if not allows(role, endpoint.access):
                answer = await home.call(role.value, endpoint, own)
                assert (answer.status, answer.code in FORBIDDEN) == (403, True), (role, answer.raw)
                continue
            narrow = await home.narrowed(role.value, [other_scope(role, endpoint.access)])
            before = home.changes()
            answer = await home.call(narrow, endpoint, own)
            assert (answer.status, answer.code) == (403, "scope-needed"), (role, answer.raw)
        assert home.changes() == before, "who was not let in changed something"


@pytest.mark.parametrize("endpoint", NEEDS_A_KEY, ids=lambda one: one.id)
@pytest.mark.parametrize("role", list(Role))
@trio_test(mock_clock=True)
async def test_whom_it_declares_gets_in(tmp_path: Path, endpoint: Endpoint, role: Role) -> None:
    if not allows(role, endpoint.access):
        return
    async with staffed(tmp_path) as home:
        answer = await home.call(role.value, endpoint, ids(home, endpoint, "own"))
        assert answer.status < 500, answer.raw
        if role is Role.ACCOUNT or endpoint.id not in ONLY_ACCOUNTS:
            assert answer.status not in (401, 403), answer.raw
        if collections(endpoint):
            assert answer.status != 404, answer.raw
        whole = await home.narrowed(role.value, [endpoint.access])
        again = await home.call(whole, endpoint, ids(home, endpoint, "own"))
        assert again.status != 401
        assert again.code not in FORBIDDEN - {"scope-needed"} or endpoint.id in ONLY_ACCOUNTS, again.raw


@pytest.mark.parametrize(
    "endpoint",
    [one for one in NEEDS_A_KEY if collections(one) and allows(Role.ACCOUNT, one.access)],
    ids=lambda one: one.id,
)
@trio_test(mock_clock=True)
async def test_what_is_anothers_is_answered_as_what_there_is_not(tmp_path: Path, endpoint: Endpoint) -> None:
    async with staffed(tmp_path) as home:
        before = home.changes()
        foreign, unknown = (ids(home, endpoint, which) for which in ("foreign", "unknown"))
        answers = [await home.call("account", endpoint, one) for one in (foreign, unknown)]
        assert answers[0].status == 404, answers[0].raw
        assert without(answers[0], foreign) == without(answers[1], unknown)
        assert home.changes() == before


@pytest.mark.parametrize(
    "endpoint",
    [
        one
        for one in NEEDS_A_KEY
        if allows(Role.ACCOUNT, one.access)
        and "account" in {field.encode_name for field in msgspec.structs.fields(one.query or msgspec.Struct)}
    ],
    ids=lambda one: one.id,
)
@trio_test(mock_clock=True)
async def test_another_account_named_in_a_query_is_as_one_that_there_is_not(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async with staffed(tmp_path) as home:
        answers = [
            await home.call("account", endpoint, ids(home, endpoint, "own"), query=f"account={name}")
            for name in ("rival", "nobody")
        ]
        assert answers[0].status in (403, 404, 422), answers[0].raw
        assert without(answers[0], {"": "rival"}) == without(answers[1], {"": "nobody"})


@pytest.mark.parametrize(
    "endpoint",
    [
        one
        for one in NEEDS_A_KEY
        if allows(Role.ACCOUNT, one.access)
        and isinstance(one.body, type)
        and issubclass(one.body, msgspec.Struct)
        and "account" in {field.encode_name for field in msgspec.structs.fields(one.body)}
    ],
    ids=lambda one: one.id,
)
@trio_test(mock_clock=True)
async def test_another_account_named_in_a_body_is_as_one_that_there_is_not(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async with staffed(tmp_path) as home:
        given = endpoint.example if isinstance(endpoint.example, dict) else {}
        answers = [
            await home.call(
                "account",
                endpoint,
                ids(home, endpoint, "own"),
                body={**given, "account": name},
            )
            for name in ("rival", "nobody")
        ]
        assert answers[0].status in (403, 404, 422), answers[0].raw
        assert without(answers[0], {"": "rival"}) == without(answers[1], {"": "nobody"})


@trio_test(mock_clock=True)
async def test_lists_show_an_account_nothing_of_another(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        hidden = [thing.foreign for thing in home.objects.values() if thing.foreign != thing.own]
        for endpoint in NEEDS_A_KEY:
            if (
                endpoint.method == "GET"
                and not collections(endpoint)
                and allows(Role.ACCOUNT, endpoint.access)
            ):
                answer = await home.call("account", endpoint)
                assert answer.status in (200, 422, 503), (endpoint.id, answer.raw)
                shown = set(re.findall(r"[\w-]{4,}", answer.raw.decode()))
                assert shown.isdisjoint(hidden), endpoint.id


@pytest.mark.parametrize("endpoint", NEEDS_A_KEY, ids=lambda one: one.id)
def test_what_answers_with_texts_of_messages_to_the_house_is_declared(endpoint: Endpoint) -> None:
    if not any(allows(role, endpoint.access) for role in HOUSE):
        return
    shown = {name for answer in endpoint.answers.values() for name in fields_of(answer.type)}
    if "text" in shown and endpoint.id not in ("listEvents",):  # what an event says is the gateway's own
        assert endpoint.shows_text, "say shows_text, so that each view is in the audit trail"


def fields_of(of: object) -> set[str]:
    """Names of fields in a type, however deep."""
    names: set[str] = set()
    if of not in (None, bytes):
        for schema in msgspec.json.schema_components([of])[1].values():
            names |= set(schema.get("properties", {}))
    return names
