"""The v1 account endpoints on a whole gateway: each of them, what each refuses, what the trail tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from gateway.account_settings import SETTINGS
from gateway.http import retries
from gateway.http.accounts import hashing_in_a_thread
from gateway.http.paging import cursor
from gateway.logs import mask
from gateway.passwords import verifies
from router.nouns import Account
from smpp.pdu import Unbind
from smpp.status import Status
from store.interface import StoreFull
from tests.gateway.house import Running, Script, carrier, route, running_with
from tests.gateway.smpp_server.esme import bound, connected
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

TOML = '[smpp]\nlisten = ["127.0.0.1:2775"]\n' + carrier("north", 2790) + route("north")
PROBLEM = "urn:signalbox:problem:"


class Answer:
    def __init__(self, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.raw = body
        self.json: Any = json.loads(body) if body else None

    @property
    def code(self) -> str:
        """What kind of problem it is; "" for none."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        assert self.json["status"] == self.status
        return str(self.json["type"]).removeprefix(PROBLEM)

    @property
    def fields(self) -> dict[str, str]:
        return {one["field"]: one["detail"] for one in self.json.get("errors", ())}


class Operator:
    """Somebody with an operator's key, and the gateway that is asked."""

    def __init__(self, house: Running, key: str) -> None:
        self.house = house
        self.key = key

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """`headers`: underscores stand for dashes. Bytes go out as they are."""
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {
            "authorization": f"Bearer {self.key}",
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

    async def made(self, name: str = "shop", **fields: object) -> dict[str, Any]:
        answer = await self.ask("POST", "/v1/accounts", {"name": name, **fields})
        assert answer.status == 201, answer.raw
        assert isinstance(answer.json, dict)
        return answer.json

    async def told(self, subject: str = "") -> list[dict[str, Any]]:
        """The audit trail but for uses of keys, oldest first."""
        rows = await self.house.gateway.verbs.table()["audit.list"]({"subject": subject})
        return [one for one in reversed(json.loads(json.dumps(rows))) if one["act"] != "key.used"]

    def kept(self, name: str = "shop") -> Account:
        return self.house.gateway.accounts.named(name)


@asynccontextmanager
async def operator(directory: Path) -> AsyncIterator[Operator]:
    """A whole gateway in memory, whose passwords are hashed by `hashed`, and ann, who operates it."""

    async def hash_at_once(password: str) -> str:
        await trio.lowlevel.checkpoint()
        return HASHES.setdefault(password, FORM.format(len(HASHES)))

    async with running_with(directory, TOML, Script()) as (house, _):
        house.gateway.account_api.hashed = hash_at_once
        house.gateway.smpp.gate.passwords = Hashing().passwords
        _, key = await house.gateway.operators.create("ann")
        yield Operator(house, key)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged, as gateway.logs lets it through."""
    lines: list[str] = []

    def keep(_: Any, __: str, event: Any) -> str:
        lines.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, mask, keep])
    yield lines
    structlog.reset_defaults()


FORM = "$argon2id$v=19$m=4096,t=2,p=1$" + "A" * 22 + "${:043}"
HASHES: dict[str, str] = {}


def hash_of(password: str) -> str:
    return HASHES[password]


# who may


EVERY = [
    ("GET", "/v1/accounts"),
    ("POST", "/v1/accounts"),
    ("GET", "/v1/accounts/acme"),
    ("PATCH", "/v1/accounts/acme"),
    ("POST", "/v1/accounts/acme/rotate"),
    ("POST", "/v1/accounts/acme/suspend"),
    ("POST", "/v1/accounts/acme/resume"),
    ("POST", "/v1/accounts/acme/close"),
    ("POST", "/v1/accounts/acme/logins"),
    ("DELETE", "/v1/accounts/acme/logins"),
    ("DELETE", "/v1/accounts/acme/logins/esme"),
]


async def changes(ann: Operator) -> int:
    """Entries of the trail, but for those about keys that were refused."""
    return sum(one["act"] != "key.refused" for one in await ann.told())


@trio_test(mock_clock=True)
async def test_no_key_is_a_401_and_an_accounts_key_a_403_that_says_what_to_do(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        before = await changes(ann)
        for method, path in EVERY:
            of_account = await ann.ask(method, path, {}, authorization=f"Bearer {ann.house.key}")
            assert (of_account.status, of_account.code) == (403, "operator-key-needed")
            assert "signalbox operator create" in of_account.json["detail"]
        for (method, path), header in zip(EVERY, ["", "Basic x", "Bearer sbo_1_2"] * 4, strict=False):
            nobody = await ann.ask(method, path, {}, authorization=header)
            assert nobody.status in (401, 429)
            assert "signalbox operator create" in nobody.json["detail"] or nobody.status == 429
        assert (await ann.ask("GET", "/v1/accounts")).status == 200, "a good key is not held up by bad ones"
        assert await changes(ann) == before


@trio_test(mock_clock=True)
async def test_a_removed_operator_is_out_at_the_next_request(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.house.gateway.operators.remove("ann")
        assert (await ann.ask("GET", "/v1/accounts")).status == 401


@trio_test(mock_clock=True)
async def test_another_method_is_told_which_ones_go(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        answer = await ann.ask("PUT", "/v1/accounts/acme", {})
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, PATCH")
        assert (await ann.ask("GET", "/v1/accounts/acme/elsewhere")).status == 404


# create, show, list


@trio_test(mock_clock=True)
async def test_a_new_account_works_at_once_and_its_secrets_are_answered_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.ask(
            "POST",
            "/v1/accounts",
            {
                "name": "shop",
                "system_id": "esme",
                "password": "first",
                "tps": 5,
                "numbers": ["+44 7700 900123"],
            },
        )
        assert (made.status, made.headers["location"]) == (201, "/v1/accounts/shop")
        assert made.headers["cache-control"] == "no-store"
        assert (made.json["tps"], made.json["numbers"], made.json["system_ids"]) == (
            5,
            ["447700900123"],
            ["esme"],
        )
        assert "password" not in made.json, "it is the caller's own"
        assert ann.kept().logins[0].hashes == (hash_of("first"),)
        message = {"to": "447700900777", "from": "12345", "text": "Hello"}
        assert (await ann.house.http("POST", "/v1/messages", message, key=made.json["api_key"]))[0] == 202
        secrets = [made.json["api_key"], made.json["callback_secret"], hash_of("first")]
        for path in ("/v1/accounts/shop", "/v1/accounts"):
            shown = (await ann.ask("GET", path)).raw.decode()
            assert not [secret for secret in secrets if secret in shown]
            assert ann.kept().key_hashes[0] not in shown
        (told,) = await ann.told("shop")
        assert (told["act"], told["who"], told["via"]) == ("account.created", "ann", "http")
        assert not [secret for secret in secrets if secret in json.dumps(told)]


@trio_test(mock_clock=True)
async def test_a_password_that_is_not_given_is_drawn(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        for name, fields in (("one", {}), ("two", {"password": "generated"}), ("three", {"password": None})):
            made = await ann.made(name, system_id=name, **fields)
            assert len(made["password"]) == 8
            assert ann.kept(name).logins[0].hashes == (hash_of(made["password"]),)


@trio_test(mock_clock=True)
async def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        wrong = {
            "name": "two words",
            "system_id": "x" * 16,
            "password": "ninechars",
            "window": 0,
            "tsp": 5,
            "callback_url": "ftp://shop.example/",
            "password_hash": "x",
        }
        answer = await ann.ask("POST", "/v1/accounts", wrong)
        assert (answer.status, answer.code) == (422, "invalid-fields")
        assert set(answer.fields) == set(wrong)
        for field, word in (
            ("name", "up to 64 of A-Z"),
            ("system_id", "1 to 15 visible"),
            ("password", "1 to 8 printable"),
            ("window", "a whole number from 1 to 10000"),
            ("tsp", "there is no such setting; there are: callback_url"),
            ("callback_url", "http:// or https://"),
            ("password_hash", "send password"),
        ):
            assert word in answer.fields[field]
        assert "ninechars" not in answer.raw.decode()
        assert "shop" not in str(ann.house.gateway.accounts.by_name)


@pytest.mark.parametrize(
    ("fields", "field", "word"),
    [
        ({}, "name", "up to 64"),
        ({"name": 7}, "name", "7 is no text"),
        ({"name": "a", "system_id": 7}, "system_id", "7 is no text"),
        ({"name": "a", "password": "x"}, "password", "goes with a system_id"),
        ({"name": "a", "system_id": "", "password": "x"}, "system_id", "belong together"),
        ({"name": "a", "system_id": "x", "password": ""}, "password", "1 to 8"),
        ({"name": "a", "system_id": "x", "password": 12}, "password", "no text"),
        ({"name": "a", "suspended": True}, "suspended", "no such setting"),
        ({"name": "a", "validity_default_s": 9, "validity_max_s": 8}, "validity_default_s", "9 is more"),
    ],
)
def test_one_wrong_field_is_named_with_what_is_allowed(
    tmp_path: Path, fields: dict[str, object], field: str, word: str
) -> None:
    @trio_test(mock_clock=True)
    async def case() -> None:
        async with operator(tmp_path) as ann:
            answer = await ann.ask("POST", "/v1/accounts", fields)
            assert (answer.status, list(answer.fields)) == (422, [field])
            assert word in answer.fields[field]
            assert len(await ann.told()) == 2, "acme and ann alone"

    case()


@trio_test(mock_clock=True)
async def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        for method, path in EVERY[1:2] + EVERY[3:4] + EVERY[8:9]:
            for body, status in ((b"", 400), (b"{", 400), (b"[]", 422), (b'"x"', 422), (b"\xff", 400)):
                answer = await ann.ask(method, path, body)
                assert (answer.status, answer.code) == (
                    status,
                    "malformed-json" if status == 400 else "invalid-fields",
                )
            answer = await ann.ask(method, path, b"a=b", content_type="application/x-www-form-urlencoded")
            assert (answer.status, answer.code) == (415, "not-json")
            deep = await ann.ask(method, path, b'{"name": ' + b"[" * 100_000)
            assert (deep.status, deep.code) == (400, "malformed-json")
            large = await ann.ask(method, path, b"", content_length="1048577")
            assert (large.status, large.code) == (413, "body-too-large")


@trio_test(mock_clock=True)
async def test_what_another_account_has_is_a_conflict_that_names_the_field(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme", numbers=["111"], keywords=["222 GO"])
        for fields, field, word in (
            ({"name": "shop"}, "name", "exists"),
            ({"name": "other", "numbers": ["111"]}, "numbers", "belongs to account 'shop'"),
            ({"name": "other", "keywords": ["222 go"]}, "keywords", "belongs to account 'shop'"),
            ({"name": "other", "system_id": "esme"}, "system_id", "account 'shop' has"),
        ):
            answer = await ann.ask("POST", "/v1/accounts", fields)
            assert (answer.status, answer.code, list(answer.fields)) == (409, "account-conflict", [field])
            assert word in answer.fields[field]


@trio_test(mock_clock=True)
async def test_an_account_is_shown_as_the_command_line_shows_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(outbind_password="geheim")
        shown = await ann.ask("GET", "/v1/accounts/shop")
        assert shown.json == await ann.house.gateway.verbs.table()["account.show"]({"name": "shop"})
        assert {one.name for one in SETTINGS if not one.secret} <= set(shown.json)
        assert shown.json["secrets"] == ["outbind_password"]
        assert "geheim" not in shown.raw.decode()
        head = await ann.ask("HEAD", "/v1/accounts/shop")
        assert (head.status, head.raw) == (200, b"")
        for path in ("/v1/accounts/shpo", "/v1/accounts/" + "x" * 5_000, "/v1/accounts/%2e%2e"):
            missing = await ann.ask("GET", path)
            assert (missing.status, missing.code) == (404, "no-such-account")
            assert "there are: acme, shop" in missing.json["detail"]
            assert len(missing.json["detail"]) < 300


@trio_test(mock_clock=True)
async def test_an_unknown_account_is_a_404_everywhere(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        for method, path in EVERY[2:]:
            answer = await ann.ask(method, path.replace("acme", "shpo"), {}, idempotency_key="1")
            assert (answer.status, answer.code) == (404, "no-such-account")


@trio_test(mock_clock=True)
async def test_the_list_is_paged_by_name(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        for name in ("b", "d", "c", "A.1"):
            await ann.made(name)
        whole = await ann.ask("GET", "/v1/accounts")
        assert [one["name"] for one in whole.json["accounts"]] == ["A.1", "acme", "b", "c", "d"]
        assert whole.json["next"] is None
        assert "link" not in whole.headers
        seen: list[list[str]] = []
        following = "/v1/accounts?limit=2"
        while following:
            page = await ann.ask("GET", following)
            seen.append([one["name"] for one in page.json["accounts"]])
            following = page.json["next"]
            assert page.headers.get("link") == (f'<{following}>; rel="next"' if following else None)
        assert seen == [["A.1", "acme"], ["b", "c"], ["d"]]
        behind_all = f"/v1/accounts?cursor={cursor('zzz')}"
        assert (await ann.ask("GET", behind_all)).json == {"accounts": [], "next": None}
        for query, field in (
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=", "limit"),
            ("limit=%C2%B2", "limit"),
            ("page=2", "page"),
            ("cursor=zzz", "cursor"),
        ):
            answer = await ann.ask("GET", f"/v1/accounts?{query}")
            assert (answer.status, list(answer.fields)) == (422, [field])


# change


@trio_test(mock_clock=True)
async def test_settings_change_together_and_count_at_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made(tps=5)
        changed = await ann.ask(
            "PATCH",
            "/v1/accounts/shop",
            {"tps": 10, "senders": ["ACME"], "weight": None},
            audit_reason="ticket 7",
        )
        assert (changed.status, changed.json["tps"], changed.json["weight"]) == (200, 10, made["weight"])
        assert not {"api_key", "callback_secret", "password"} & set(changed.json)
        message = {"to": "447700900777", "from": "OTHER", "text": "Hello"}
        status, problem = await ann.house.http("POST", "/v1/messages", message, key=made["api_key"])
        assert (status, problem["type"]) == (403, PROBLEM + "sender-not-allowed")
        told = (await ann.told("shop"))[-1]
        assert (told["act"], told["who"], told["via"], told["reason"]) == (
            "account.changed",
            "ann",
            "http",
            "ticket 7",
        )
        assert (told["before"]["tps"], told["after"]["tps"]) == (5, 10)


@trio_test(mock_clock=True)
async def test_a_change_that_is_wrong_anywhere_changes_nothing(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(tps=5)
        before = len(await ann.told())
        wrong = {"tps": 10, "window": 0, "suspended": "yes", "tsp": 1}
        answer = await ann.ask("PATCH", "/v1/accounts/shop", wrong)
        assert (answer.status, set(answer.fields)) == (422, {"window", "suspended", "tsp"})
        answer = await ann.ask("PATCH", "/v1/accounts/shop", {"name": "other", "window": 0})
        assert (answer.status, set(answer.fields)) == (422, {"name", "window"})
        assert ann.kept().tps == 5
        assert len(await ann.told()) == before
        assert (await ann.ask("PATCH", "/v1/accounts/shop", {})).status == 200
        assert len(await ann.told()) == before, "nothing was changed"


@trio_test(mock_clock=True)
async def test_a_secret_setting_is_taken_and_not_told(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        changed = await ann.ask("PATCH", "/v1/accounts/shop", {"outbind_password": "geheim"})
        assert changed.json["secrets"] == ["outbind_password"]
        assert "geheim" not in changed.raw.decode() + json.dumps(await ann.told())


@trio_test(mock_clock=True)
async def test_a_reason_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        answer = await ann.ask("PATCH", "/v1/accounts/acme", {"tps": 1}, audit_reason="x" * 501)
        assert (answer.status, list(answer.fields)) == (422, ["Audit-Reason"])
        await ann.ask("PATCH", "/v1/accounts/acme", {"tps": 1}, audit_reason="für Grün")
        assert (await ann.told("acme"))[-1]["reason"] == "für Grün"


# suspend, resume, close


@trio_test(mock_clock=True)
async def test_a_suspended_account_is_refused_at_its_next_request_and_unbound(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        key = (await ann.made(system_id="esme", password="secret"))["api_key"]
        await ann.house.bound()
        await use_plain_hashes(ann, "esme", "secret")
        async with bound(ann.house.world, system_id="esme") as esme:
            assert await post(ann, key) == (202, "")
            suspended = await ann.ask("POST", "/v1/accounts/shop/suspend")
            assert (suspended.status, suspended.json["suspended"]) == (200, True)
            assert await post(ann, key) == (403, "account-suspended")
            await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        assert await bind_status(ann, "esme", "secret") == Status.ESME_RBINDFAIL
        again = await ann.ask("POST", "/v1/accounts/shop/suspend", {})
        assert (again.status, again.json["suspended"]) == (200, True)
        resumed = await ann.ask("POST", "/v1/accounts/shop/resume")
        assert (resumed.status, resumed.json["suspended"]) == (200, False)
        assert await post(ann, key) == (202, "")
        assert await bind_status(ann, "esme", "secret") == 0
        acts = [one["act"] for one in await ann.told("shop") if one["via"] == "http"]
        assert acts == ["account.created", "account.suspended", "account.resumed"]


@trio_test(mock_clock=True)
async def test_a_closed_account_is_refused_for_good_and_closing_it_again_changes_nothing(
    tmp_path: Path,
) -> None:
    async with operator(tmp_path) as ann:
        key = (await ann.made(system_id="esme", password="secret", numbers=["111"]))["api_key"]
        await ann.house.bound()
        await use_plain_hashes(ann, "esme", "secret")
        async with bound(ann.house.world, system_id="esme") as esme:
            closed = await ann.ask("POST", "/v1/accounts/shop/close", {})
            assert (closed.status, closed.json["closed"], closed.json["numbers"]) == (200, True, [])
            await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        assert await post(ann, key) == (403, "account-closed")
        assert await bind_status(ann, "esme", "secret") == Status.ESME_RBINDFAIL
        again = await ann.ask("POST", "/v1/accounts/shop/close")
        assert (again.status, again.json) == (200, closed.json)
        for method, path, body in (
            ("PATCH", "", {"tps": 1}),
            ("POST", "/resume", None),
            ("POST", "/suspend", None),
            ("POST", "/rotate", None),
            ("POST", "/logins", {"system_id": "x"}),
            ("DELETE", "/logins/esme", None),
        ):
            answer = await ann.ask(method, f"/v1/accounts/shop{path}", body, idempotency_key="1")
            assert (answer.status, answer.code) == (409, "account-conflict")
            assert "closed for good" in answer.json["detail"]
        assert [one["act"] for one in await ann.told("shop")].count("account.closed") == 1


@trio_test(mock_clock=True)
async def test_what_takes_no_fields_refuses_them(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme")
        for method, path in (
            ("POST", "suspend"),
            ("POST", "resume"),
            ("POST", "close"),
            ("DELETE", "logins/esme"),
        ):
            answer = await ann.ask(method, f"/v1/accounts/shop/{path}", {"why": "so"})
            assert (answer.status, list(answer.fields)) == (422, ["why"])
        account = ann.kept()
        assert (account.suspended, account.closed, len(account.logins)) == (False, False, 1)


# rotate


@trio_test(mock_clock=True)
async def test_a_rotated_key_leaves_the_previous_one_working_until_told_otherwise(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        first = (await ann.made())["api_key"]
        rotated = await ann.ask("POST", "/v1/accounts/shop/rotate", idempotency_key="1")
        second = rotated.json["api_key"]
        assert (rotated.status, len(rotated.json["key_prefixes"])) == (200, 2)
        assert [await post(ann, key) for key in (first, second)] == [(202, ""), (202, "")]
        rotated = await ann.ask(
            "POST", "/v1/accounts/shop/rotate", {"keep_previous": False}, idempotency_key="2"
        )
        third = rotated.json["api_key"]
        assert [(await post(ann, key))[0] for key in (first, second, third)] == [401, 401, 202]
        told = [one for one in await ann.told("shop") if one["act"] == "account.key_rotated"]
        assert [(one["who"], one["via"]) for one in told] == [("ann", "http")] * 2
        assert not [key for key in (first, second, third) if key in json.dumps(told)]


@trio_test(mock_clock=True)
async def test_while_rotating_a_login_two_passwords_are_right(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme", password="first")

        async def rotate(key: str, **fields: object) -> Answer:
            body = {"system_id": "esme", **fields}
            return await ann.ask("POST", "/v1/accounts/shop/rotate", body, idempotency_key=key)

        def valid() -> list[str]:
            known = {hash_: password for password, hash_ in HASHES.items()}
            return [known[hash_] for hash_ in ann.kept().logins[0].hashes]

        answer = await rotate("1", password="second")
        assert (answer.status, answer.json["passwords"]) == (200, {"esme": 2})
        assert not {"password", "api_key"} & set(answer.json)
        assert valid() == ["second", "first"]
        drawn = (await rotate("2")).json["password"]
        assert valid() == [drawn, "second"]
        answer = await rotate("3", keep_previous=False)
        assert (answer.json["passwords"], "password" in answer.json) == ({"esme": 1}, False)
        assert valid() == [drawn]
        last = (await rotate("4", keep_previous=False, password="generated")).json["password"]
        assert valid() == [last]
        told = [one["act"] for one in await ann.told("esme")]
        assert told == ["login.rotated"] * 4


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"keep_previous": "yes"}, 422, "keep_previous"),
        ({"password": "x"}, 422, "password"),
        ({"system_id": "esme", "password": "ninechars"}, 422, "password"),
        ({"system_id": 7}, 422, "system_id"),
        ({"keep": True}, 422, "keep"),
        ({"system_id": "other"}, 404, ""),
    ],
)
def test_a_rotation_that_cannot_be_is_refused(
    tmp_path: Path, body: dict[str, object], status: int, field: str
) -> None:
    @trio_test(mock_clock=True)
    async def case() -> None:
        async with operator(tmp_path) as ann:
            await ann.made(system_id="esme", password="first")
            before = ann.kept()
            answer = await ann.ask("POST", "/v1/accounts/shop/rotate", body, idempotency_key="1")
            assert (answer.status, list(answer.fields)) == (status, [field] if field else [])
            assert ann.kept() == before
            if status == 404:
                assert (answer.code, "it has: esme" in answer.json["detail"]) == ("no-such-login", True)

    case()


# logins


@trio_test(mock_clock=True)
async def test_logins_are_added_and_removed_and_count_at_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        await ann.house.bound()
        added = await ann.ask("POST", "/v1/accounts/shop/logins", {"system_id": "esme"})
        assert (added.status, added.json["system_ids"]) == (201, ["esme"])
        assert ann.kept().logins[0].hashes == (hash_of(added.json["password"]),)
        await use_plain_hashes(ann, "esme", "secret")
        async with bound(ann.house.world, system_id="esme") as esme:
            gone = await ann.ask("DELETE", "/v1/accounts/shop/logins/esme")
            assert (gone.status, gone.raw) == (204, b"")
            await esme.until(lambda: any(isinstance(pdu, Unbind) for pdu in esme.pdus))
        assert await bind_status(ann, "esme", "secret") == Status.ESME_RINVPASWD
        missing = await ann.ask("DELETE", "/v1/accounts/shop/logins/esme")
        assert (missing.status, missing.code) == (404, "no-such-login")
        told = [(one["act"], one["who"], one["via"]) for one in await ann.told("esme")]
        assert told[0] == ("login.added", "ann", "http")
        assert told[-1] == ("login.removed", "ann", "http")


@trio_test(mock_clock=True)
async def test_a_system_id_with_a_slash_is_removed_by_its_query(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="a/b&c%")
        assert (await ann.ask("DELETE", "/v1/accounts/shop/logins?system_id=a%2Fb%26c%25")).status == 204
        assert ann.kept().logins == ()
        answer = await ann.ask("DELETE", "/v1/accounts/shop/logins")
        assert (answer.status, list(answer.fields)) == (422, ["system_id"])


@trio_test(mock_clock=True)
async def test_a_login_that_cannot_be_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme")
        await ann.made("other")
        for name, body, status, fields in (
            ("shop", {"system_id": "esme"}, 409, ["system_id"]),
            ("other", {"system_id": "esme"}, 409, ["system_id"]),
            ("shop", {}, 422, ["system_id"]),
            ("shop", {"system_id": "two words"}, 422, ["system_id"]),
            ("shop", {"system_id": "x" * 16, "password": "ninechars"}, 422, ["password", "system_id"]),
            ("shop", {"system_id": "x", "passwort": "x"}, 422, ["passwort"]),
        ):
            answer = await ann.ask("POST", f"/v1/accounts/{name}/logins", body)
            assert (answer.status, list(answer.fields)) == (status, fields), body
        assert [len(ann.kept(name).logins) for name in ("shop", "other")] == [1, 0]


# once and not twice


@trio_test(mock_clock=True)
async def test_a_rotation_is_not_done_without_a_key_of_its_own(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        before = ann.kept("acme")
        for key in ("", "x" * 256, "a\tb"):
            answer = await ann.ask("POST", "/v1/accounts/acme/rotate", idempotency_key=key)
            assert (answer.status, answer.code) == (400, "idempotency-key-needed")
            assert "such as a UUID" in answer.json["detail"]
        assert ann.kept("acme") == before
        answer = await ann.ask("POST", "/v1/accounts", {"name": "shop"}, idempotency_key="")
        assert (answer.status, answer.code) == (400, "idempotency-key-needed")


@trio_test(mock_clock=True)
async def test_a_repeated_request_is_answered_as_before_and_done_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        for path, body in (
            ("/v1/accounts", {"name": "shop", "system_id": "esme"}),
            ("/v1/accounts/shop/rotate", {}),
            ("/v1/accounts/shop/rotate", {"system_id": "esme"}),
            ("/v1/accounts/shop/logins", {"system_id": "esme2"}),
        ):
            key = path + str(body)
            first, second = [await ann.ask("POST", path, body, idempotency_key=key) for _ in range(2)]
            assert first.status < 300
            assert (first.status, first.json, first.headers.get("location")) == (
                second.status,
                second.json,
                second.headers.get("location"),
            )
        acts = [one["act"] for one in await ann.told("shop")]
        assert acts == ["account.created", "account.key_rotated", "login.rotated", "login.added"]


@trio_test(mock_clock=True)
async def test_the_same_key_for_another_request_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        rotate = "/v1/accounts/{}/rotate"
        assert (await ann.ask("POST", rotate.format("shop"), idempotency_key="1")).status == 200
        for name, body in (("acme", None), ("shop", {"keep_previous": False})):
            answer = await ann.ask("POST", rotate.format(name), body, idempotency_key="1")
            assert (answer.status, answer.code) == (422, "idempotency-key-reused")
        _, other = await ann.house.gateway.operators.create("bob")
        answer = await ann.ask(
            "POST", rotate.format("acme"), idempotency_key="1", authorization=f"Bearer {other}"
        )
        assert answer.status == 200, "bob has keys of his own"


@trio_test(mock_clock=True)
async def test_what_was_refused_may_be_tried_again(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme")
        body = {"name": "other", "system_id": "esme"}
        assert (await ann.ask("POST", "/v1/accounts", body, idempotency_key="1")).status == 409
        await ann.ask("DELETE", "/v1/accounts/shop/logins/esme")
        assert (await ann.ask("POST", "/v1/accounts", body, idempotency_key="1")).status == 201


@trio_test(mock_clock=True)
async def test_two_at_the_same_time_are_one(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme")
        release = trio.Event()

        async def slowly(password: str) -> str:
            await release.wait()
            return FORM.format(0)

        ann.house.gateway.account_api.hashed = slowly
        answers: list[Answer] = []

        async def rotate() -> None:
            answers.append(
                await ann.ask("POST", "/v1/accounts/shop/rotate", {"system_id": "esme"}, idempotency_key="1")
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rotate)
            nursery.start_soon(rotate)
            await ann.house.until(lambda: answers)
            assert (answers[0].status, answers[0].code) == (409, "still-running")
            assert answers[0].headers["retry-after"] == "1"
            release.set()
        assert answers[1].status == 200


@trio_test(mock_clock=True)
async def test_after_a_restart_or_long_after_a_retry_is_told_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ANSWER_MS", 2_000)
    monkeypatch.setattr(retries, "REMEMBERED_MS", 30_000)
    async with operator(tmp_path) as ann:
        _, lasting = await ann.house.gateway.operators.create("bob")
        bob = f"Bearer {lasting}"
        path = "/v1/accounts/acme/rotate"
        assert (await ann.ask("POST", path, idempotency_key="1", authorization=bob)).status == 200
        await trio.sleep(retries.ANSWER_MS / 1000 + 1)
        late = await ann.ask("POST", path, idempotency_key="1", authorization=bob)
        assert (late.status, late.code) == (409, "already-done")
    async with operator_again(tmp_path) as ann:
        before = ann.kept("acme")
        answer = await ann.ask("POST", path, idempotency_key="1", authorization=bob)
        assert (answer.status, answer.code) == (409, "already-done")
        assert "send another Idempotency-Key" in answer.json["detail"]
        assert ann.kept("acme") == before
        await trio.sleep(retries.REMEMBERED_MS / 1000)
        assert (await ann.ask("POST", path, idempotency_key="1", authorization=bob)).status == 200


@trio_test(mock_clock=True)
async def test_what_is_remembered_has_an_end_and_says_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MOST_REMEMBERED", 3)
    async with operator(tmp_path) as ann:
        await ann.made(system_id="esme")
        sizes = []
        for number in range(8):
            body = {"system_id": "esme", "password": "secret"}
            answer = await ann.ask(
                "POST", "/v1/accounts/shop/rotate", body, idempotency_key=f"retry-{number}"
            )
            assert answer.status == 200
            row = ann.house.gateway.store.meta("idempotency") or b""
            sizes.append(len(row))
            assert b"secret" not in row
            assert b"retry" not in row
        assert sizes[2:] == sizes[2:3] * 6


# what it costs others, and what is never said


@trio_test
async def test_a_password_is_hashed_in_a_thread_beside_the_loop() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0)
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        hash_ = await hashing_in_a_thread()("secret")
        nursery.cancel_scope.cancel()
    assert verifies(hash_, b"secret")
    assert turns > 0


@trio_test(mock_clock=True)
async def test_no_secret_gets_into_a_log(tmp_path: Path, logged: list[str]) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made(system_id="esme", password="pass123", outbind_password="geheim")
        rotated = await ann.ask("POST", "/v1/accounts/shop/rotate", idempotency_key="1")

        async def broken(password: str) -> str:
            raise RuntimeError("hashing broke")

        ann.house.gateway.account_api.hashed = broken
        answer = await ann.ask("POST", "/v1/accounts", {"name": "b", "system_id": "b", "password": "pass456"})
        assert (answer.status, answer.code) == (500, "internal")
        everything = "\n".join(logged)
        assert "hashing broke" in everything
        for secret in (
            ann.key,
            made["api_key"],
            made["callback_secret"],
            rotated.json["api_key"],
            "pass123",
            "pass456",
            "geheim",
        ):
            assert secret not in everything


# tools


@asynccontextmanager
async def operator_again(directory: Path) -> AsyncIterator[Operator]:
    """The gateway after a restart; its accounts and operators are there."""
    async with running_with(directory, TOML, Script()) as (house, _):
        yield Operator(house, "")


async def post(ann: Operator, key: str) -> tuple[int, str]:
    """A message with an account's key: the status, and what kind of problem it was."""
    message = {"to": "447700900777", "from": "12345", "text": "Hello"}
    answer = await ann.ask("POST", "/v1/messages", message, authorization=f"Bearer {key}")
    return answer.status, answer.code


async def use_plain_hashes(ann: Operator, system_id: str, password: str) -> None:
    """Give the login a hash that tests.gateway.smpp_server.hashing verifies."""
    await ann.house.gateway.accounts.rotate_login("shop", system_id, hashed(password), keep_previous=False)


async def bind_status(ann: Operator, system_id: str, password: str) -> int:
    async with connected(ann.house.world) as esme:
        return int((await esme.bind(system_id=system_id, password=password)).command_status)


# a store without room


@trio_test(mock_clock=True)
async def test_a_change_on_a_full_store_is_refused_at_once_and_can_be_sent_again(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        store, full = ann.house.gateway.store, [True]
        commit = store.commit

        def failing(txn: Any) -> None:
            if full:
                raise StoreFull("the disk is full", "free space on the data directory's disk")
            commit(txn)

        store.commit = failing  # type: ignore[method-assign]
        retry = {"idempotency_key": "11112222333344445555"}
        with trio.fail_after(5):
            for method, path, body, more in (
                ("POST", "/v1/accounts", {"name": "other"}, {}),
                ("PATCH", "/v1/accounts/shop", {"tps": 7}, {}),
                ("POST", "/v1/accounts/shop/rotate", {}, retry),
                ("POST", "/v1/accounts/shop/suspend", None, {}),
                ("POST", "/v1/accounts/shop/close", None, {}),
                ("POST", "/v1/accounts/shop/logins", {"system_id": "esme"}, {}),
            ):
                answer = await ann.ask(method, path, body, **more)
                assert (answer.status, answer.code) == (503, "store-full"), answer.raw
                assert "nothing was changed" in answer.json["detail"]
                assert answer.headers["retry-after"] == "5"
            for verb, args in (
                ("account.create", {"name": "other"}),
                ("account.set", {"name": "shop", "tps": 7}),
                ("operator.create", {"name": "bob"}),
            ):
                with pytest.raises(StoreFull) as refused:
                    await ann.house.gateway.verbs.table()[verb](args)
                assert "free space" in refused.value.hint
        full.clear()
        shop = ann.kept()
        assert (shop.tps, shop.suspended, shop.closed, len(shop.key_hashes), shop.logins) == (
            0,
            False,
            False,
            1,
            (),
        )
        assert (await ann.ask("POST", "/v1/accounts/shop/rotate", {}, **retry)).status == 200
        assert [one["act"] for one in await ann.told("shop")] == ["account.created", "account.key_rotated"]


@trio_test(mock_clock=True)
async def test_accounts_change_in_the_room_that_is_kept_when_new_messages_are_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made()
        store, commit = ann.house.gateway.store, ann.house.gateway.store.commit

        def failing(txn: Any) -> None:
            if txn.batch.accepted:
                raise StoreFull("the disk is full", "free space on the data directory's disk")
            commit(txn)

        store.commit = failing  # type: ignore[method-assign]
        answers: list[Answer] = []

        async def submit() -> None:
            message = {"to": "+447700900123", "from": "ACME", "text": "Hello"}
            key = f"Bearer {made['api_key']}"
            answers.append(await ann.ask("POST", "/v1/messages", message, authorization=key))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            assert (await ann.ask("PATCH", "/v1/accounts/shop", {"tps": 7})).status == 200
        assert [answer.status for answer in answers] == [503]
        assert ann.kept().tps == 7
