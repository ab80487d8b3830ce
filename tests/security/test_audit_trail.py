"""The audit trail over HTTP: whatever changes something is told, and whatever shows a text to the house.

Deliberately not here: who may ask (test_api5), the verbs below (tests/gateway/test_audit_complete).
"""

from __future__ import annotations

import json
from pathlib import Path

from gateway.http.endpoint import Endpoint
from gateway.http.table import ENDPOINTS
from router.roles import HOUSE, PUBLIC, allows
from tests.security.house import MESSAGE, Staffed, collections, staffed, trio_test

# They answer with 2xx and change nothing; the example of a reload is a dry run.
ASKING = {"/v1/preview", "/v1/routes/explain", "/v1/config/reload"}
# Here they find nothing to do, which is not told; test_audit and test_admin_queues see them told.
IDLE = {
    "/v1/acts/callbacks.replay", "/v1/acts/deliveries.replay", "/v1/acts/deliveries.move",
    "/v1/acts/queue.move", "/v1/acts/queue.bounce",
    "/v1/acts/held.release", "/v1/callbacks/replay", "/v1/callbacks/enable",
}  # fmt: skip
TEXT, REPLY = MESSAGE["text"].encode(), b'"Yes"'


def is_for_house(endpoint: Endpoint) -> bool:
    return endpoint.access != PUBLIC and any(allows(role, endpoint.access) for role in HOUSE)


def entries(home: Staffed) -> list[tuple[str, str]]:
    """What the trail has, but for the use of keys."""
    rows = home.house.gateway.store.audit_log(10_000)
    return [(row.entry.act, row.entry.who) for row in rows if row.entry.act != "key.used"]


@trio_test(mock_clock=True)
async def test_every_request_of_an_operator_that_changes_something_is_told(tmp_path: Path) -> None:
    done: set[str] = set()
    async with staffed(tmp_path) as home:
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" or not is_for_house(endpoint) or endpoint.path in ASKING | IDLE:
                continue
            ids = {name: home.objects[things].own for name, things in collections(endpoint).items()}
            before = entries(home)
            answer = await home.call("owner", endpoint, ids)
            if answer.status < 300:
                assert len(entries(home)) > len(before), f"{endpoint.id} is not told: {answer.raw!r}"
                assert entries(home)[0][1] == "owner-ann", endpoint.id
                done.add(endpoint.id)
            else:
                assert entries(home) == before, f"{endpoint.id} answered {answer.status} and is told"
    assert len(done) >= 12, sorted(done)


@trio_test(mock_clock=True)
async def test_every_answer_that_shows_a_text_to_the_house_is_told_before(tmp_path: Path) -> None:
    shown: set[str] = set()
    async with staffed(tmp_path) as home:
        for role in HOUSE:
            for endpoint in ENDPOINTS:
                if endpoint.method != "GET" or not is_for_house(endpoint):
                    continue
                ids = {name: home.objects[things].own for name, things in collections(endpoint).items()}
                views = entries(home).count(("message.viewed", f"{role.value}-ann"))
                answer = await home.call(role.value, endpoint, ids)
                told = entries(home).count(("message.viewed", f"{role.value}-ann")) - views
                if TEXT in answer.raw or REPLY in answer.raw:
                    assert told == 1, f"{endpoint.id} shows a text to {role} and is not told"
                    assert endpoint.shows_text, endpoint.id
                    shown.add(endpoint.id)
                assert told <= 1
    declared = {one.id for one in ENDPOINTS if one.shows_text and is_for_house(one)}
    assert shown == declared, "the walk sees every endpoint that shows texts"


@trio_test(mock_clock=True)
async def test_no_text_is_in_what_has_no_texts(tmp_path: Path) -> None:
    """Records, exports, searches, callbacks, events: asked by whoever may ask for most."""
    async with staffed(tmp_path) as home:
        trail = json.dumps([row.entry.after for row in home.house.gateway.store.audit_log(10_000)])
        assert MESSAGE["text"] not in trail
        for path in (
            "/v1/messages",
            "/v1/messages/export.csv",
            "/v1/cdrs?limit=10",
            "/v1/events",
            "/metrics",
        ):
            answer = await home.ask("owner", "GET", path)
            assert TEXT not in answer.raw, path
