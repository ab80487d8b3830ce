"""Signing in through an OpenID provider: what is believed of it, and everything that is not."""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from config.load import ConfigErrors, load
from config.model import OidcConfig
from gateway import oidc
from gateway.console.pages import oidc as pages
from gateway.oidc import Provider
from gateway.vouched import TICKET_S, NotVouched, Vouched
from router.roles import Role
from tests.gateway.console.house import CARRIERS, Shown
from tests.gateway.console.provider import CLIENT, SECRET, Op
from tests.gateway.console.test_sign_in import Browser
from tests.gateway.house import Running, free_ports, running, write_config
from tests.trio_case import trio_test

ISSUER, PUBLIC = "https://login.example.net", "https://sms.example.net"
START_S = 1_790_000_000
CONFIG = OidcConfig(
    issuer=ISSUER,
    client_id=CLIENT,
    client_secret=SECRET,
    roles={"admins": "owner", "noc": "operator", "everybody": "auditor"},
)


class Pair:
    """A provider and what asks it, on trio's clock."""

    def __init__(self, config: OidcConfig = CONFIG) -> None:
        self.op = Op(ISSUER, self.now_s)
        self.ours = Provider(config, PUBLIC, lambda: int(self.now_s() * 1000), transport=self.op.transport)

    def now_s(self) -> float:
        return START_S + trio.current_time()

    async def sign_in(self, **came: str) -> Vouched:
        address, browser = await self.ours.begin("/console/me")
        assert address.startswith(ISSUER + "/authorize?")
        return await self.ours.finish({**self.op.sign_in(address), **came}, browser)

    async def refused(self, word: str, **came: str) -> NotVouched:
        with pytest.raises(NotVouched, match=word) as refused:
            await self.sign_in(**came)
        return refused.value


@trio_test(mock_clock=True)
async def test_it_vouches_for_a_person_a_role_and_a_subject() -> None:
    pair = Pair()
    assert await pair.sign_in() == Vouched(
        "ann@example.net", Role.OPERATOR, f"{ISSUER} subject-1", "/console/me"
    )
    (token,) = [one for one in pair.op.asked if one[1] == "/token"]
    assert token[2]["redirect_uri"] == PUBLIC + "/console/sign-in/back"
    assert "client_secret" not in token[2]
    assert base64.b64decode(token[3].removeprefix("Basic ")) == b"signalbox:s3cret%2F%2B+of+client"


@trio_test(mock_clock=True)
async def test_what_it_says_of_itself_is_asked_once_an_hour() -> None:
    pair = Pair()
    for _ in range(3):
        await pair.sign_in()
    assert [one[1] for one in pair.op.asked].count("/.well-known/openid-configuration") == 1
    assert [one[1] for one in pair.op.asked].count("/keys") == 1
    await trio.sleep(3_601)
    await pair.sign_in()
    assert [one[1] for one in pair.op.asked].count("/.well-known/openid-configuration") == 2


@trio_test(mock_clock=True)
async def test_the_role_is_of_the_first_line_that_fits_and_default_nobodys() -> None:
    for groups, role in (
        (["noc", "admins"], Role.OWNER),
        ("noc", Role.OPERATOR),
        (["everybody", 7, None], Role.AUDITOR),
        (["owner"], None),
        ([], None),
        (None, None),
        ({"noc": True}, None),
    ):
        pair = Pair()
        pair.op.claims["groups"] = groups
        assert (await pair.sign_in()).role == role, groups


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"aud": "another"}, "another application"),
        ({"aud": None}, "another application"),
        ({"aud": [CLIENT, "another"]}, "another application"),
        ({"azp": "another"}, "another application"),
        ({"exp": START_S - 61}, "not of now"),
        ({"exp": None}, "does not say when"),
        ({"exp": "4000000000"}, "does not say when"),
        ({"exp": True}, "does not say when"),
        ({"iat": START_S - 700}, "not of now"),
        ({"iat": START_S + 300}, "not of now"),
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"nonce": ["x"]}, "another sign-in"),
        ({"sub": ""}, "log says why"),
        ({"sub": 7}, "log says why"),
        ({"sub": "x" * 256}, "log says why"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email": None}, "no name"),
        ({"email": "two words"}, "no name"),
        ({"email": ["ann@example.net"]}, "no name"),
    ],
)
@trio_test(mock_clock=True)
async def test_a_token_that_says_anything_else_is_not_taken(claims: dict[str, Any], word: str) -> None:
    pair = Pair()
    pair.op.claims = claims
    await pair.refused(word)


def bent(change: Callable[[str], str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda said: {**said, "id_token": change(said["id_token"])}


def unsigned(token: str) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def altered(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps({**claims, "groups": ["admins"]}).encode())
    return ".".join((head, other.rstrip(b"=").decode(), signature))


def by_a_shared_secret(token: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    key = OctKey.import_key(SECRET.encode() * 2)
    return jwt.encode({"alg": "HS256", "kid": "one"}, claims, key, algorithms=["HS256"])


def by_another_key(token: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return jwt.encode({"alg": "ES256", "kid": "one"}, claims, ECKey.generate_key("P-256"))


@pytest.mark.parametrize(
    "change", [unsigned, altered, by_a_shared_secret, by_another_key, lambda token: "x", lambda token: ""]
)
@trio_test(mock_clock=True)
async def test_a_token_that_the_provider_did_not_sign_is_not_taken(change: Callable[[str], str]) -> None:
    pair = Pair()
    pair.op.token_answer = bent(change)
    await pair.refused("not signed by a key")


@trio_test(mock_clock=True)
async def test_a_new_key_is_fetched_and_an_unknown_one_does_not_make_us_ask_all_the_time() -> None:
    pair = Pair()
    await pair.sign_in()
    await trio.sleep(61)
    pair.op.key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
    pair.op.algorithm = "RS256"
    pair.op.published = [pair.op.key]
    assert (await pair.sign_in()).role == Role.OPERATOR
    pair.op.key = RSAKey.generate_key(2048, {"kid": "three", "use": "sig"})
    for _ in range(5):
        await pair.refused("not signed by a key")
    assert [one[1] for one in pair.op.asked].count("/keys") == 2


@trio_test(mock_clock=True)
async def test_a_state_works_once_in_its_browser_and_for_a_while() -> None:
    pair = Pair()
    address, browser = await pair.ours.begin("/console/me")
    came = pair.op.sign_in(address)
    for other in ("", "another"):
        with pytest.raises(NotVouched, match=r"another browser|too long"):
            await pair.ours.finish(came, other)
    address, browser = await pair.ours.begin("/console/me")
    came = pair.op.sign_in(address)
    await pair.ours.finish(came, browser)
    with pytest.raises(NotVouched, match="done already"):
        await pair.ours.finish(came, browser)
    address, browser = await pair.ours.begin("/console/me")
    came = pair.op.sign_in(address)
    await trio.sleep(TICKET_S)
    with pytest.raises(NotVouched, match="too long"):
        await pair.ours.finish(came, browser)
    await pair.refused("too long", state="another")


@trio_test(mock_clock=True)
async def test_what_the_provider_refuses_is_refused_without_its_words() -> None:
    pair = Pair()
    refused = await pair.refused("did not sign you in", error="access_denied<script>")
    assert refused.why.endswith("(access_deniedscript).")
    await pair.refused("not of the provider", iss="https://evil.example")
    await pair.refused("no code", code="")
    pair.op.status = 500
    assert (await pair.refused("refused to answer")).status == 502


@trio_test(mock_clock=True)
async def test_nothing_is_asked_of_hosts_that_are_not_named() -> None:
    for metadata in (
        {"token_endpoint": "https://evil.example/token"},
        {"jwks_uri": "https://login.example.net.evil.example/keys"},
        {"jwks_uri": "http://login.example.net/keys"},
        {"token_endpoint": "https://login.example.net@evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"issuer": "https://evil.example"},
        {"jwks_uri": None},
    ):
        pair = Pair()
        pair.op.metadata = metadata
        assert (await pair.refused("log says why")).status == 502
        assert [one[1] for one in pair.op.asked] == ["/.well-known/openid-configuration"]
    named = Pair(dataclasses.replace(CONFIG, hosts=("keys.example.net",)))
    named.op.metadata = {"jwks_uri": "https://keys.example.net/keys"}
    assert (await named.sign_in()).role == Role.OPERATOR


@trio_test(mock_clock=True)
async def test_an_answer_that_is_too_long_or_no_json_is_not_taken() -> None:
    pair = Pair()
    pair.op.metadata = {"more": "x" * 300_000}
    assert (await pair.refused("log says why")).status == 502
    pair = Pair()
    pair.op.answer = lambda *_: (200, ["a list"])  # type: ignore[method-assign]
    assert (await pair.refused("log says why")).status == 502


# the way through the console


class Way:
    """A console whose provider is `op`, and a browser that goes to it and back."""

    def __init__(self, house: Running, op: Op) -> None:
        self.house = house
        self.op = op
        self.browser = Browser(house)

    async def sign_in(self) -> Shown:
        sent = await self.browser.get("/console/sign-in/provider?next=%2Fconsole%2Fme")
        assert sent.status == 303, sent.text
        cookie = sent.headers["set-cookie"]
        assert "samesite=lax" in cookie.lower()
        assert "httponly" in cookie.lower()
        came = self.op.sign_in(sent.headers["location"])
        query = "&".join(f"{name}={value}" for name, value in came.items())
        self.browser._role = ""
        shown = await self.browser.get(
            f"/console/sign-in/back?{query}", Cookie=cookie.partition(";")[0], Sec_Fetch_Site="cross-site"
        )
        if shown.status != 200:
            self.browser._role = ""
        return shown


def toml(issuer: str = ISSUER) -> str:
    roles = '{ "admins" = "owner", "noc" = "operator" }'
    return (
        f'[console]\npublic_url = "http://127.0.0.1:8080"\n[console.oidc]\nissuer = "{issuer}"\n'
        f'client_id = "{CLIENT}"\nclient_secret = "{SECRET}"\nroles = {roles}\n' + CARRIERS
    )


def way_of(house: Running) -> Way:
    op = Op(ISSUER, lambda: house.world.wall_ms() / 1000)
    config = house.gateway.config.console
    house.gateway.provider = Provider(
        config.oidc, config.public_url, house.world.wall_ms, transport=op.transport
    )
    return Way(house, op)


@trio_test(mock_clock=True)
async def test_somebody_comes_in_by_the_provider_and_is_an_operator_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path, toml()) as house:
        way = way_of(house)
        assert f"Sign in with {ISSUER[8:]}" in (await way.browser.get("/console/sign-in")).text
        shown = await way.sign_in()
        assert shown.headers["refresh"] == "0; url=/console/me"
        operator = house.gateway.operators.by_name["ann@example.net"]
        assert (operator.role, operator.subject, operator.password) == ("operator", f"{ISSUER} subject-1", "")
        (session,) = house.gateway.sessions.of("ann@example.net")
        assert session.how == "oidc"
        told = [row.entry.act for row in house.gateway.store.audit_log()]
        assert {"operator.created", "session.started"} <= set(told)
        way.op.claims["groups"] = ["admins"]
        await way.sign_in()
        assert house.gateway.operators.by_name["ann@example.net"].role == "owner"
        assert len(house.gateway.sessions.of("ann@example.net")) == 1  # the one with the other role ended
        way.op.claims = {"groups": ["gone"]}
        shown = await way.sign_in()
        assert (shown.status, "no role here" in shown.text) == (403, True)
        assert house.gateway.sessions.of("ann@example.net") == []


@trio_test(mock_clock=True)
async def test_a_name_that_somebody_else_has_is_not_taken_over(tmp_path: Path) -> None:
    async with running(tmp_path, toml()) as house:
        way = way_of(house)
        await house.gateway.operators.create("ann@example.net", Role.OWNER)
        shown = await way.sign_in()
        assert (shown.status, "who is not the provider" in shown.text) == (409, True)
        assert house.gateway.sessions.of("ann@example.net") == []
        await house.gateway.operators.remove("ann@example.net")
        await way.sign_in()
        way.op.claims["sub"] = "subject-2"  # another person with the same address
        assert (await way.sign_in()).status == 409


@trio_test(mock_clock=True)
async def test_somebody_without_a_role_ends_no_session_of_a_namesake(tmp_path: Path) -> None:
    async with running(tmp_path, toml()) as house:
        way = way_of(house)
        await house.gateway.operators.create("ann@example.net", Role.OWNER)
        await house.gateway.sessions.start("ann@example.net", "memory", "password")
        way.op.claims = {"groups": ["gone"]}
        assert (await way.sign_in()).status == 403
        assert len(house.gateway.sessions.of("ann@example.net")) == 1


@trio_test(mock_clock=True)
async def test_a_way_back_that_nobody_began_signs_nobody_in(tmp_path: Path) -> None:
    async with running(tmp_path, toml()) as house:
        way_of(house)
        shown = await Browser(house).get("/console/sign-in/back?code=x&state=y")
        assert (shown.status, "session" in shown.headers.get("set-cookie", "")) == (401, False)
        await house.gateway.sessions.save()
        (told,) = [row.entry for row in house.gateway.store.audit_log() if row.entry.act == "session.refused"]
        assert "took too long" in str(told.after["why"])


@trio_test(mock_clock=True)
async def test_without_a_provider_there_is_no_way_to_one(tmp_path: Path) -> None:
    async with running(tmp_path, CARRIERS) as house:
        assert house.gateway.provider is None
        for path in ("provider", "back"):
            assert (await Browser(house).get(f"/console/sign-in/{path}")).status == 404
        assert "provider" not in (await Browser(house).get("/console/sign-in")).text


@trio_test
async def test_strangers_who_ask_again_and_again_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    trust = oidc._trust

    def counted(ca_file: str) -> ssl.SSLContext:
        made.append(ca_file)
        return trust(ca_file)

    monkeypatch.setattr(oidc, "_trust", counted)
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        issuer = f"https://127.0.0.1:{taken.getsockname()[1]}"
        ours = Provider(dataclasses.replace(CONFIG, issuer=issuer), PUBLIC, lambda: 0)
        for _ in range(3):
            with pytest.raises(NotVouched, match="does not answer"):
                await ours.begin("/console/me")
    assert made == [""]  # a tenth of a second of work each, and not once for every question


@trio_test(mock_clock=True)
async def test_no_more_is_asked_of_a_provider_at_once_than_it_can_answer() -> None:
    waiting = 0

    async def never(request: httpx.Request) -> httpx.Response:
        nonlocal waiting
        waiting += 1
        await trio.sleep_forever()
        raise AssertionError

    ours = Provider(CONFIG, PUBLIC, lambda: 0, transport=httpx.MockTransport(never))
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(NotVouched):
                await ours.begin("/console/me")

        for _ in range(100):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting == oidc.MOST_AT_ONCE


@trio_test
async def test_over_a_real_socket_on_this_machine() -> None:
    (port,) = free_ports(1)
    issuer = f"http://127.0.0.1:{port}"
    op = Op(issuer, lambda: START_S)
    config = dataclasses.replace(CONFIG, issuer=issuer)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            trio.serve_tcp,
            op.serve,
            port,
        )
        ours = Provider(config, PUBLIC, lambda: START_S * 1000)
        address, browser = await ours.begin("/console/me")
        vouched = await ours.finish(op.sign_in(address), browser)
        assert vouched.subject == f"{issuer} subject-1"
        nursery.cancel_scope.cancel()
    with pytest.raises(NotVouched, match="does not answer"):
        await Provider(config, PUBLIC, lambda: START_S * 1000).begin("/console/me")


def test_no_secret_is_in_a_repr() -> None:
    assert SECRET not in repr(CONFIG)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ('issuer = "http://login.example.net"', "must be https"),
        ('issuer = "https://login.example.net?x=y"', "is no issuer"),
        ('issuer = "https://login.example.net"\nscopes = ["email"]', '"openid"'),
        ('issuer = "https://login.example.net"\nroles = { "a" = "account" }', "one of the choices"),
    ],
)
def test_a_provider_that_cannot_be_is_refused_when_the_configuration_is_read(
    said: str, word: str, tmp_path: Path
) -> None:
    text = f'[console]\npublic_url = "https://sms.example.net"\n[console.oidc]\nclient_id = "x"\n{said}\n'
    with pytest.raises(ConfigErrors) as errors:
        load(write_config(tmp_path, text + CARRIERS))
    assert word in repr(errors.value.problems)


def test_what_a_provider_needs_is_asked_for(tmp_path: Path) -> None:
    text = f'[console.oidc]\nissuer = "{ISSUER}"\n'
    with pytest.raises(ConfigErrors) as errors:
        load(write_config(tmp_path, text + CARRIERS))
    said = repr(errors.value.problems)
    assert ("client_id" in said, "public_url" in said) == (True, True)
    assert pages.COOKIE != ""
