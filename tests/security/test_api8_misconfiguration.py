"""API8:2023 Security misconfiguration: nothing is open that nobody opened, errors tell strangers nothing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from config.load import load
from gateway.http.endpoint import Endpoint
from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC
from tests.gateway.house import running, write_config
from tests.security.house import Staffed, collections, staffed
from tests.trio_case import trio_test

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "gateway.toml"


def test_what_is_shipped_listens_on_this_machine_only() -> None:
    config = load(SHIPPED)
    addresses = [*config.http.listen, *config.smpp.listen, *config.smpp.listen_tls]
    assert addresses
    assert {address.host for address in addresses} <= {"127.0.0.1", "::1", "localhost"}
    assert config.http.explain_to_accounts is False


@trio_test(mock_clock=True)
async def test_there_are_no_credentials_that_nobody_made(tmp_path: Path) -> None:
    async with running(tmp_path, "") as house:
        gateway = house.gateway
        assert gateway.operators.by_name == {}
        assert {account.name for account in gateway.accounts.by_id.values()} == {"acme"}  # the test's own
        home = Staffed(house, {}, {})
        for guess in ("admin", "sbk_00000000_" + "0" * 64, "sbo_00000000_" + "0" * 64, "signalbox", "null"):
            assert (await home.ask(guess, "GET", "/v1/keys")).status == 401


@trio_test(mock_clock=True)
async def test_the_admin_socket_and_the_data_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        socket = home.house.gateway.config.admin_socket
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600


PRIVATE = [one for one in ENDPOINTS if one.access != PUBLIC]


@pytest.mark.parametrize("endpoint", PRIVATE, ids=lambda one: one.id)
@trio_test(mock_clock=True)
async def test_private_answers_are_not_kept_by_anybody_on_the_way(tmp_path: Path, endpoint: Endpoint) -> None:
    async with staffed(tmp_path) as home:
        ids = {name: home.objects[things].own for name, things in collections(endpoint).items()}
        for who in ("", "account", "owner"):
            answer = await home.call(who, endpoint, ids)
            cached = answer.headers.get("cache-control", "")
            kept = "no-store" in cached or endpoint.id == "sendMessage"
            assert kept or answer.status in (202, 204), (who, answer.status, answer.headers)
            assert "access-control-allow-origin" not in answer.headers
            for name in ("server", "x-powered-by"):
                assert not any(digit.isdigit() for digit in answer.headers.get(name, ""))


@trio_test(mock_clock=True)
async def test_an_error_inside_tells_a_stranger_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staffed(tmp_path) as home:

        def broken(*_: object) -> None:
            raise RuntimeError("password=hunter2 in /etc/signalbox")

        monkeypatch.setattr(home.house.gateway.store, "find", broken)
        answer = await home.ask("account", "GET", f"/v1/messages/{home.objects['messages'].own}")
        assert (answer.status, answer.code) == (500, "internal")
        for word in (b"hunter2", b"Traceback", b".py", b"RuntimeError"):
            assert word not in answer.raw


@trio_test(mock_clock=True)
async def test_a_preflight_of_a_browser_is_given_no_leave(tmp_path: Path) -> None:
    async with staffed(tmp_path) as home:
        answer = await home.ask(
            "", "OPTIONS", "/v1/messages", origin="https://evil.example", access_control_request_method="POST"
        )
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_secrets_of_the_configuration_are_in_no_print_of_it(tmp_path: Path) -> None:
    carrier = '[[carriers]]\nname = "n"\nhost = "h"\nport = 1\nsystem_id = "s"\npassword = "hunter22"\n'
    route = '[[routes]]\nname = "all"\nlane = ["n"]\n'
    config = load(write_config(tmp_path, carrier + route))
    assert "hunter22" not in repr(config)
