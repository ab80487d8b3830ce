"""/openapi.json says all that is declared; /docs says it to people, and fetches nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from gateway.http.auth import Keys
from gateway.http.documents import add_documents
from gateway.http.house import add_house
from gateway.http.openapi import PROBLEM, document
from gateway.http.problems import TYPE
from gateway.http.routes import Routes
from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC
from tests.gateway.http.wire import guard, request, serving
from tests.trio_case import trio_test

SAID = document(ENDPOINTS, "1.2.3")


def resolved(one: Any) -> Any:
    while isinstance(one, dict) and "$ref" in one:
        found: Any = SAID
        for step in one["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        one = found
    return one


def refs(one: Any) -> list[str]:
    if isinstance(one, dict):
        own = [one["$ref"]] if isinstance(one.get("$ref"), str) else []
        return own + [ref for value in one.values() for ref in refs(value)]
    return [ref for value in one for ref in refs(value)] if isinstance(one, list) else []


def test_every_reference_leads_somewhere() -> None:
    assert len(refs(SAID)) > 100
    for ref in set(refs(SAID)):
        assert resolved({"$ref": ref})


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.id)
def test_an_operation_says_all_that_is_declared(endpoint: Any) -> None:
    told = SAID["paths"][endpoint.path][endpoint.method.lower()]
    assert told["operationId"] == endpoint.id
    assert ("security" in told) == (endpoint.access != PUBLIC)
    codes: set[str] = set()
    for answer in told["responses"].values():
        problem = resolved(answer).get("content", {}).get(PROBLEM)
        if problem is not None:
            codes |= set(problem["schema"]["properties"]["type"]["enum"])
    assert codes == {TYPE + code for code in endpoint.codes}
    assert {str(status) for status in endpoint.answers} <= set(told["responses"])
    named = {given["name"] for given in told.get("parameters", ()) if given["in"] == "path"}
    assert named == set(re.findall(r"\{(\w+)\}", endpoint.path))


def test_a_field_says_what_is_allowed_in_it() -> None:
    message = SAID["components"]["schemas"]["MessageIn"]
    assert message["required"] == ["to", "from"]
    assert message["properties"]["priority"]["description"] == "a whole number from 0 to 3; 3 goes first"
    assert message["properties"]["data"]["anyOf"][0]["pattern"].endswith("$")
    settings = SAID["components"]["schemas"]["NewAccount"]["properties"]
    assert settings["max_binds"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10_000}


@trio_test
async def test_both_are_served_without_a_key_and_known_again_by_their_tag() -> None:
    routes = Routes()
    add_house(routes, ready=str, metrics=lambda: ("text/plain", b""))
    add_documents(routes, "1.2.3")
    async with serving(routes) as here:
        client = here.client()
        for path in ("/openapi.json", "/docs", "/docs/style.css"):
            answer = await client.ask(request(path))
            assert answer.status == 200
            tag = answer.headers["etag"]
            known = await client.ask(request(path, headers=(f'If-None-Match: "other", W/{tag}',)))
            assert (known.status, known.body, known.headers["etag"]) == (304, b"", tag)
            assert (await client.ask(request(path, headers=('If-None-Match: "other"',)))).body == answer.body
        told: Any = (await client.ask(request("/openapi.json"))).json()
        assert (told["openapi"], told["info"]["version"]) == ("3.1.0", "1.2.3")
        assert set(told["paths"]) == {endpoint.path for endpoint in routes.served}


@trio_test
async def test_the_page_needs_nothing_from_elsewhere() -> None:
    routes = Routes(guard(Keys([], trio.current_time)))
    for endpoint in ENDPOINTS:
        if endpoint.tag != "House":
            routes.serve(endpoint, lambda request, respond: None)
    add_documents(routes, "1.2.3")
    async with serving(routes) as here:
        answer = await here.client().ask(request("/docs"))
    page = answer.body.decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "<script" not in page
    assert " style=" not in page
    assert set(re.findall(r"(?:src|href)=\"([^\"#]+)", page)) == {"/docs/style.css", "/openapi.json"}
    for endpoint in routes.served:
        assert f'id="{endpoint.id}"' in page
    assert "$URL/v1/messages/$ID" in page


# The last few, kept in memory; lanes as they are now; one setting of an account, replaced as a whole.
SHORT = {"listCallbackAttempts", "listQueues", "listSenders"}
SHAPES: dict[str, Any] = SAID["components"]["schemas"]
ANSWERED = [
    name
    for name in SHAPES
    if not name.endswith("In") and name not in ("NewAccount", "AccountChange", "Problem", "FieldError")
]


def formats(schema: dict[str, Any]) -> set[str]:
    """What it may be: its format, else its type."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return set().union(*(formats(one) for one in schema["anyOf"]))
    return {schema.get("format") or schema.get("type", "anything")}


@pytest.mark.parametrize("name", ANSWERED)
def test_names_mean_the_same_everywhere(name: str) -> None:
    for field, schema in SHAPES[name].get("properties", {}).items():
        found = formats(schema) - {"null"}
        if field.endswith(("_at", "_until")) or field in ("at", "since", "until", "valid_from"):
            assert found == {"date-time"}, field
        if field in ("id", "number") and "$ref" not in schema:
            assert found == {"string"}, field
        if field.endswith("_s"):
            assert found <= {"number", "integer"}, field
        assert field == field.lower()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.id)
def test_a_list_comes_in_pages(endpoint: Any) -> None:
    if not endpoint.id.startswith("list") or endpoint.id in SHORT:
        return
    told = SAID["paths"][endpoint.path]["get"]
    page = resolved(told["responses"]["200"]["content"]["application/json"]["schema"])
    assert "next" in page["properties"]
    assert {"limit", "cursor"} <= {given["name"] for given in told["parameters"]}
    (limit,) = (given["schema"] for given in told["parameters"] if given["name"] == "limit")
    assert limit["maximum"] <= 1_000
    assert "Link" in told["responses"]["200"]["headers"]
