"""The callback endpoints: whose callbacks, what is behind, a test, a replay, another secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from gateway.callbacks.signature import verify
from router.nouns import InboundMessage
from router.roles import Role
from tests.gateway.house import MemoryWorld, Running, carrier, route, running, simulator
from tests.gateway.receiver import Receiver, answer
from tests.trio_case import trio_test

TOML = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CALLBACKS = "[callbacks]\nretry_s = [5, 5]\nbreaker_failures = 100\n"


@asynccontextmanager
async def hearing(path: Path, **account: object) -> AsyncIterator[tuple[Running, Receiver]]:
    """A gateway whose account `acme` is called at /hook, and another account `other`."""
    world, receiver = MemoryWorld(), Receiver()
    async with trio.open_nursery() as nursery:
        url = await receiver.listen(world, nursery)
        settings: dict[str, Any] = {"callback_url": f"{url}/hook", **account}
        async with running(path, TOML + CALLBACKS, world, **settings) as house:
            yield house, receiver
        nursery.cancel_scope.cancel()


async def another(house: Running) -> str:
    """The key of another account, without a callback URL."""
    _, key = await house.gateway.accounts.create("other", house.world.wall_ms())
    return key


async def operator(house: Running, role: Role = Role.OPERATOR) -> str:
    made = await house.gateway.verbs.table()["operator.create"]({"name": f"ann-{role}", "role": str(role)})
    assert isinstance(made, dict)
    return str(made["operator_key"])


@trio_test(mock_clock=True)
async def test_a_test_shows_what_was_sent_and_what_came_back(tmp_path: Path) -> None:
    async with hearing(tmp_path, callback_secrets=(KEY,)) as (
        house,
        receiver,
    ):
        receiver.say = lambda got: answer(b"thanks")
        status, told = await house.http("POST", "/v1/callbacks/test", {})
        assert (status, told["taken"], told["status"], told["answer"]) == (200, True, 200, "thanks")
        (got,) = receiver.got
        assert (told["request"]["url"], told["request"]["body"]) == (
            "http://127.0.0.1:9001/hook",
            got.body.decode(),
        )
        headers = told["request"]["headers"]
        signed = headers["webhook-signature"]
        verify([KEY], headers["webhook-id"], headers["webhook-timestamp"], got.body, signed, None)
        receiver.say = lambda got: answer(b"", 500)
        status, told = await house.http("POST", "/v1/callbacks/test", {"kind": "received"})
        assert (status, told["taken"], told["error"]) == (200, False, "HTTP 500")
        assert house.gateway.store.outbox_backlog() == 0


@trio_test(mock_clock=True)
async def test_what_is_behind_is_listed_inspected_and_replayed(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, receiver):
        receiver.say = lambda got: answer(b"", 500)
        id = await house.submit("447700900123")
        await house.until(lambda: receiver.got)
        await trio.sleep(1)
        _, listed = await house.http("GET", "/v1/callbacks")
        (endpoint,) = listed["endpoints"]
        assert (endpoint["origin"], endpoint["backlog"], endpoint["retrying"], endpoint["last_error"]) == (
            "http://127.0.0.1:9001", 1, 1, "HTTP 500",
        )  # fmt: skip
        here = f"/v1/callbacks/{endpoint['endpoint']}"
        _, waiting = await house.http("GET", f"{here}/events?state=retrying")
        (event,) = waiting["events"]
        assert (event["message_id"], event["attempts"], event["type"]) == (id, 1, "message.receipt")
        assert event["due_at"] is not None
        _, told = await house.http("GET", f"{here}/attempts")
        assert [(one["outcome"], one["error"]) for one in told["attempts"]] == [("failed", "HTTP 500")]
        await house.until(lambda: house.gateway.store.given_up_count())
        _, lost = await house.http("GET", f"{here}/events?state=given_up")
        assert lost["events"][0]["given_up_at"] is not None
        receiver.say = lambda got: answer()
        status, done = await house.http("POST", "/v1/callbacks/replay", {"given_up": True})
        assert (status, done) == (200, {"account": "acme", "events": 1})
        await house.until(lambda: not house.gateway.store.outbox_backlog())
        ids = {got.headers["webhook-id"] for got in receiver.got}
        assert (len(receiver.got), ids) == (4, {event["id"]})


@trio_test(mock_clock=True)
async def test_receipts_that_were_told_are_told_again_by_id_and_by_time(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, receiver):
        id = await house.submit("447700900123")
        await house.submit("447700900124")
        await house.until(lambda: len(receiver.got) == 2)
        assert (await house.http("POST", "/v1/callbacks/replay", {"id": id}))[1]["events"] == 1
        await house.until(lambda: len(receiver.got) == 3)
        range = {"since": "2020-01-01", "until": "2099-01-01", "state": "delivered"}
        assert (await house.http("POST", "/v1/callbacks/replay", range))[1]["events"] == 2
        await house.until(lambda: len(receiver.got) == 5)
        assert (await house.http("POST", "/v1/callbacks/replay", {"since": "2099-01-01"}))[1]["events"] == 0
        for wrong, field in (
            ({}, "since"),
            ({"since": "soon"}, "since"),
            ({"since": "2030-01-01", "until": "2029-01-01"}, "until"),
            ({"state": "SENT"}, "state"),
            ({"id": "x"}, "id"),
            ({"given_up": True, "id": id}, "given_up"),
            ({"color": "red"}, "color"),
        ):
            status, problem = await house.http("POST", "/v1/callbacks/replay", wrong)
            assert (status, problem["errors"][0]["field"]) == (422, field)
        assert (await house.http("POST", "/v1/callbacks/replay", {"id": "7"}))[0] == 404


@trio_test(mock_clock=True)
async def test_what_said_410_is_enabled_over_http(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, receiver):
        receiver.say = lambda got: answer(b"", 410)
        await house.submit("447700900123")
        await house.until(lambda: house.gateway.accounts.by_name["acme"].callbacks_gone)
        _, listed = await house.http("GET", "/v1/callbacks")
        (endpoint,) = listed["endpoints"]
        assert (endpoint["state"], endpoint["tried_again_at"]) == ("disabled", None)
        receiver.say = lambda got: answer()
        assert (await house.http("POST", "/v1/callbacks/enable", {}))[1] == {
            "enabled": ["http://127.0.0.1:9001"]
        }
        await house.until(lambda: not house.gateway.store.outbox_backlog())


@trio_test(mock_clock=True)
async def test_a_secret_is_rotated_over_http(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, _):
        status, made = await house.http("POST", "/v1/callbacks/rotate-secret", {"overlap_s": 60})
        assert (status, made["callback_secrets"]) == (200, 2)
        assert made["callback_secret"] in house.gateway.accounts.by_name["acme"].callback_secrets
        status, made = await house.http("POST", "/v1/callbacks/rotate-secret", {"overlap_s": 0})
        assert (status, made["callback_secrets"], made["until"]) == (200, 1, None)
        assert (await house.http("POST", "/v1/callbacks/rotate-secret", {"overlap_s": -1}))[0] == 422


@trio_test(mock_clock=True)
async def test_nobody_reaches_anothers_callbacks(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, receiver):
        receiver.say = lambda got: answer(b"", 500)
        await house.submit("447700900123")
        await house.until(lambda: receiver.got)
        (endpoint,) = (await house.http("GET", "/v1/callbacks"))[1]["endpoints"]
        number, key = endpoint["endpoint"], await another(house)
        requests: list[tuple[str, str, object]] = [
            ("GET", f"/v1/callbacks/{number}/events", None),
            ("GET", f"/v1/callbacks/{number}/attempts", None),
            ("POST", "/v1/callbacks/enable", {"endpoint": number}),
            ("POST", "/v1/callbacks/replay", {"endpoint": number}),
        ]
        for method, path, body in requests:
            foreign = await house.http(method, path, body, key=key)
            unknown = await house.http(method, path.replace(f"/{number}/", "/999/"),
                                       {"endpoint": 999} if body else None, key=key)  # fmt: skip
            assert foreign[0] == unknown[0] == 404
            assert foreign[1]["type"] == unknown[1]["type"]
        for path in ("test", "replay", "enable", "rotate-secret"):
            body = {"account": "acme", **({"id": "7"} if path == "replay" else {})}
            assert (await house.http("POST", f"/v1/callbacks/{path}", body, key=key))[0] == 404
        assert (await house.http("GET", "/v1/callbacks?account=acme", key=key))[0] == 404
        assert (await house.http("GET", "/v1/callbacks?all=true", key=key))[1] == {
            "endpoints": [],
            "next": None,
        }
        status, problem = await house.http("POST", "/v1/callbacks/test", {}, key=key)
        assert (status, problem["detail"]) == (409, "account 'other' has no callback URL")


@trio_test(mock_clock=True)
async def test_an_operator_says_whose_and_an_auditor_only_looks(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, _):
        key = await operator(house)
        assert (await house.http("POST", "/v1/callbacks/test", {"account": "acme"}, key=key))[0] == 200
        status, problem = await house.http("POST", "/v1/callbacks/test", {}, key=key)
        assert (status, problem["errors"][0]["field"]) == (422, "account")
        assert (await house.http("POST", "/v1/callbacks/test", {"account": "nobody"}, key=key))[0] == 404
        assert (await house.http("GET", "/v1/callbacks?all=true", key=key))[0] == 200
        eyes = await operator(house, Role.AUDITOR)
        assert (await house.http("GET", "/v1/callbacks", key=eyes))[0] == 200
        assert (await house.http("POST", "/v1/callbacks/test", {"account": "acme"}, key=eyes))[0] == 403


@trio_test(mock_clock=True)
async def test_inbound_messages_are_told_again_by_time_and_by_id(tmp_path: Path) -> None:
    async with hearing(tmp_path) as (house, receiver):
        mo = InboundMessage(1 << 40, 1, 1, house.world.wall_ms(), "447700900123", "12345", 0, "Yes", b"")
        await house.gateway.committer.execute(lambda txn: txn.inbound([mo], mo.received_ms))
        await house.until(lambda: len(receiver.got) == 1)
        for wish in ({"since": "1970-01-01"}, {"id": str(1 << 40)}):
            done = (await house.http("POST", "/v1/callbacks/replay", {"kind": "received", **wish}))[1]
            assert done["events"] == 1
        await house.until(lambda: len(receiver.got) == 3)
        assert {got.headers["webhook-id"] for got in receiver.got} == {f"mo_{1 << 40}"}
        status, problem = await house.http(
            "POST", "/v1/callbacks/replay", {"kind": "received", "since": "1970-01-01", "state": "DELIVERED"}
        )
        assert (status, problem["errors"][0]["field"]) == (422, "state")
