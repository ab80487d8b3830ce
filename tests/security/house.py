"""A whole gateway with somebody of every role, and things of two accounts for them to reach for.

`Staffed.objects` has, for each collection that a path of the API names (`messages` in /v1/messages/{id}), one
thing of the account `acme`, one of its `rival`, and one that there is not. A collection that is missing here
fails the walk, so that no new one goes unchecked.

Deliberately not here: what is expected (the tests say it).
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from gateway.http.endpoint import Endpoint
from router.nouns import InboundMessage
from router.roles import HOUSE, Role, scopes_of
from tests.gateway.house import NUMBER, Running, Script, carrier, route, running_with
from tests.trio_case import trio_test

TOML = "[http]\nexplain_to_accounts = true\n" + carrier("north", 2790) + route("north")
MESSAGE = {"to": "447700900123", "from": NUMBER, "text": "Your code is 4711"}

__all__ = ["MESSAGE", "Answer", "Staffed", "Thing", "staffed", "trio_test"]


class Answer:
    """`raw` is the body; `code` the kind of problem, "" for none."""

    def __init__(self, wire: bytes) -> None:
        head, _, self.raw = wire.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).rpartition(":")[2]


class Thing(NamedTuple):
    """Ids: of acme's, of its rival's, and of none."""

    own: str
    foreign: str
    unknown: str


class Staffed:
    """`keys`: of acme ("account"), "rival", and of an operator of each role."""

    def __init__(self, house: Running, keys: dict[str, str], objects: dict[str, Thing]) -> None:
        self.house = house
        self.keys = keys
        self.objects = objects

    async def ask(self, key: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """`key`: itself, or whose it is."""
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {
            "authorization": f"Bearer {self.keys.get(key, key)}",
            "content_type": "application/json",
            "content_length": str(len(payload)),
            **headers,
        }
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        stream = await self.house.world.connect("127.0.0.1", self.house.http_port)
        async with stream:
            said = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{head}\r\n"
            await stream.send_all(said.encode() + payload)
            return Answer(b"".join([part async for part in stream]))

    async def narrowed(self, role: str, scopes: list[str]) -> str:
        """A key of that role (of acme, for `account`) that may these things only."""
        verb = self.house.gateway.verbs.table()["key.create"]
        owner = {"account": "acme"} if role == Role.ACCOUNT else {"operator": f"{role}-ann"}
        made: Any = await verb({**owner, "scopes": scopes})
        return str(made["key"])

    async def call(
        self, key: str, endpoint: Endpoint, ids: dict[str, str] | None = None, **given: object
    ) -> Answer:
        """The endpoint asked as it wants to be; `ids`: of its path, `given`: instead of what it declares."""
        path = re.sub(r"\{(\w+)\}", lambda found: (ids or {}).get(found[1], "none"), endpoint.path)
        query = given.get("query", self._query(endpoint))
        body = given.get("body", _body(endpoint))
        return await self.ask(
            key,
            endpoint.method,
            f"{path}?{query}" if query else path,
            body,
            content_type=endpoint.body_media,
            idempotency_key=str(given.get("once", "")) or _fresh(),
        )

    def _query(self, endpoint: Endpoint) -> str:
        """What a query must have; acme's, where it is about something."""
        fields = msgspec.structs.fields(endpoint.query) if endpoint.query is not None else ()
        named = {"system_id": "logins"}
        wanted = {one.encode_name: named.get(one.encode_name, "") for one in fields if one.required}
        return urlencode(
            {name: self.objects[things].own if things else "x" for name, things in wanted.items()}
        )

    def changes(self) -> list[str]:
        """Everything that was done so far, by the trail; and how many messages were taken."""
        store = self.house.gateway.store
        acts = [row.entry.act for row in store.audit_log(10_000)]
        told = [act for act in acts if act not in ("key.used", "key.refused", "message.viewed")]
        return [*told, f"{store.totals().accepted} messages"]


_asked = [0]


def _fresh() -> str:
    _asked[0] += 1
    return f"request-{_asked[0]}"


def collections(endpoint: Endpoint) -> dict[str, str]:
    """The parameters of its path, and what they are ids of: {"id": "messages"}."""
    parts = endpoint.path.split("/")
    return {part[1:-1]: parts[at - 1] for at, part in enumerate(parts) if part.startswith("{")}


def _body(endpoint: Endpoint) -> object:
    if endpoint.body is None:
        return None
    if endpoint.body_media.endswith("ndjson"):
        return json.dumps(MESSAGE).encode() + b"\n"
    return endpoint.example if endpoint.example is not None else {}


@asynccontextmanager
async def staffed(directory: Path) -> AsyncIterator[Staffed]:
    async with running_with(directory, TOML, Script(), numbers=(NUMBER,)) as (house, _):
        gateway = house.gateway
        _, rival = await gateway.accounts.create(
            "rival", house.world.wall_ms(), callback_url="http://127.0.0.1:9001/hook", private_callbacks=True
        )
        keys = {Role.ACCOUNT.value: house.key, "rival": rival}
        for role in HOUSE:
            _, keys[role.value] = await gateway.operators.create(f"{role.value}-ann", role)
        home = Staffed(house, keys, {})
        for name in ("acme", "rival"):
            login = {"system_id": f"{name}-esme"}
            assert (await home.ask("owner", "POST", f"/v1/accounts/{name}/logins", login)).status == 201
        messages: list[str] = []
        for key in (house.key, rival):
            later = {**MESSAGE, "from": "ACME", "send_at": "2026-12-01T09:30:00Z"}
            answer = await home.ask(key, "POST", "/v1/messages", later)
            assert answer.status == 202, answer.raw
            messages.append(answer.json["id"])
        mos = await _inbound(house)
        own_key = (await home.ask("account", "POST", "/v1/keys", {"name": "spare"})).json["id"]
        foreign_key = (await home.ask("rival", "GET", "/v1/keys")).json["keys"][0]["id"]
        callbacks = [
            str((await home.ask(key, "GET", "/v1/callbacks?all=true")).json["endpoints"][0]["endpoint"])
            for key in (house.key, rival)
        ]
        home.objects |= {
            "callbacks": Thing(callbacks[0], callbacks[1], "4294967295"),
            "messages": Thing(messages[0], messages[1], "4611686018427387999"),
            "mos": Thing(mos[0], mos[1], "4611686018427387999"),
            "keys": Thing(own_key, foreign_key, "k0123456789abcdef"),
            "accounts": Thing("acme", "rival", "nobody"),
            "logins": Thing("acme-esme", "rival-esme", "nobody-esme"),
            "carriers": Thing("north", "north", "nowhere"),
        }
        yield home


async def _inbound(house: Running) -> list[str]:
    """An MO of acme's, and one of its rival's."""
    store, now_ms = house.gateway.store, house.gateway.world.wall_ms()
    accounts = house.gateway.accounts.by_name
    first = store.next_ids(2, now_ms)
    north = store.carrier_id("north")
    mos = [
        InboundMessage(
            first + at, accounts[name].id, north, now_ms, "447700900001", NUMBER, 0, "Yes", b"", parts=1
        )
        for at, name in enumerate(("acme", "rival"))
    ]
    await house.gateway.committer.execute(lambda txn: txn.inbound(mos, now_ms))
    return [str(one.id) for one in mos]


def other_scope(role: str, scope: str) -> str:
    """One that the role has beside this one."""
    return min(scopes_of(role) - {scope})
