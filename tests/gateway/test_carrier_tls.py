"""TLS to a carrier (failure mode 35): who is let in, who is not, and what the operator reads then.

Real sockets on loopback, certificates made for each run. Nothing waits but for what a peer does; the one
timeout that has to pass is 0.1 s.

Deliberately not here: TLS of callbacks (tests/gateway/callbacks).
"""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trustme

from config.load import parse
from gateway.carriers.fleet import client_tls
from gateway.carriers.tls import tls_problem
from gateway.simulator.behaviour import Behaviour
from gateway.simulator.smsc import SimulatedSmsc
from gateway.world import RealWorld
from tests.gateway.house import Running, carrier, free_ports, route, running
from tests.trio_case import trio_test

NAME = "smsc.example.net"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Smsc:
    """A simulated carrier behind TLS on one port; `names` are what clients asked for by SNI."""

    def __init__(self, certificate: trustme.LeafCert | None) -> None:
        self.names: list[str | None] = []
        self.smsc = SimulatedSmsc(Behaviour(response_delay_s=(0, 0), receipt_delay_s=(0, 0)))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate is not None:
            certificate.configure_cert(self.context)
        self.context.sni_callback = self._asked

    def _asked(self, _: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)

    async def serve(
        self, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        secured: list[trio.abc.Listener[trio.abc.Stream]] = [
            trio.SSLListener(one, self.context) for one in listeners
        ]
        await self.smsc.serve(secured, task_status=task_status)


@asynccontextmanager
async def house_with(directory: Path, smsc: Smsc, **settings: object) -> AsyncIterator[Running]:
    """A gateway whose one carrier is `smsc`; `settings` are the carrier's."""
    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=True, reconnect_min_s=30, **settings) + route("north")
    async with trio.open_nursery() as nursery:
        await nursery.start(smsc.serve, port)
        async with running(
            directory, toml, RealWorld(), http_port=http_port, customer_port=customer_port
        ) as house:
            yield house
        nursery.cancel_scope.cancel()


async def why_not(directory: Path, smsc: Smsc, **settings: object) -> str:
    """What the operator reads of a link that does not come up."""
    async with house_with(directory, smsc, **settings) as house:
        (link,) = house.gateway.carriers[0].links
        await house.until(lambda: link.last_error, PATIENCE_S)
        assert not link.bound
        assert smsc.smsc.tally.binds == 0
        facts = house.gateway.facts()["carriers"]
        assert isinstance(facts, dict)
        assert facts["north"]["links"]["north/1"]["last_error"] == link.last_error
        return link.last_error


def trusted(authority: trustme.CA, directory: Path) -> str:
    path = directory / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@trio_test
async def test_fm35_a_carrier_with_a_certificate_of_its_name_is_bound_and_gets_messages(
    tmp_path: Path, authority: trustme.CA
) -> None:
    smsc = Smsc(authority.issue_cert(NAME))
    settings = {"tls_ca_file": trusted(authority, tmp_path), "tls_server_name": NAME}
    async with house_with(tmp_path, smsc, **settings) as house:
        await house.bound(PATIENCE_S)
        message = await house.final(await house.submit("447700900123"), PATIENCE_S)
        assert message["state"] == "DELIVERED"


@trio_test
async def test_fm35_the_configured_name_is_asked_for_by_sni(tmp_path: Path, authority: trustme.CA) -> None:
    smsc = Smsc(authority.issue_cert(NAME))
    settings = {"tls_ca_file": trusted(authority, tmp_path), "tls_server_name": NAME}
    async with house_with(tmp_path, smsc, **settings) as house:
        await house.bound(PATIENCE_S)
    assert smsc.names == [NAME]


@trio_test
async def test_fm35_without_a_configured_name_each_host_is_asked_for_by_its_own(
    tmp_path: Path, authority: trustme.CA
) -> None:
    smsc = Smsc(authority.issue_cert("localhost"))
    settings = {
        "tls_ca_file": trusted(authority, tmp_path),
        "host": "127.0.0.1",  # the primary, for which the certificate is not
        "reconnect_min_s": 0.1,
    }
    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=True, hosts=[f"localhost:{port}"], **settings) + route("north")
    async with trio.open_nursery() as nursery:
        await nursery.start(smsc.serve, port)
        async with running(
            tmp_path, toml, RealWorld(), http_port=http_port, customer_port=customer_port
        ) as house:
            await house.bound(PATIENCE_S)
            assert house.gateway.carriers[0].links[0].host == f"localhost:{port}"
        nursery.cancel_scope.cancel()
    assert "localhost" in smsc.names


@trio_test
async def test_fm35_a_certificate_of_another_name_is_refused_with_the_setting_that_helps(
    tmp_path: Path, authority: trustme.CA
) -> None:
    smsc = Smsc(authority.issue_cert("other.example.net"))
    why = await why_not(tmp_path, smsc, tls_ca_file=trusted(authority, tmp_path), tls_server_name=NAME)
    assert why.endswith(f"its certificate is not for '{NAME}': set tls_server_name to a name it is for")


@trio_test
async def test_fm35_an_expired_certificate_is_refused_and_called_expired(
    tmp_path: Path, authority: trustme.CA
) -> None:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    smsc = Smsc(authority.issue_cert(NAME, not_after=yesterday))
    why = await why_not(tmp_path, smsc, tls_ca_file=trusted(authority, tmp_path), tls_server_name=NAME)
    assert "certificate has expired" in why


@trio_test
async def test_fm35_a_certificate_of_an_unknown_authority_is_refused_with_the_setting_that_helps(
    tmp_path: Path, authority: trustme.CA
) -> None:
    smsc = Smsc(trustme.CA().issue_cert(NAME))
    why = await why_not(tmp_path, smsc, tls_ca_file=trusted(authority, tmp_path), tls_server_name=NAME)
    assert "an authority we do not trust" in why
    assert "tls_ca_file" in why


@trio_test
async def test_fm35_with_checks_off_any_certificate_will_do(tmp_path: Path) -> None:
    async with house_with(tmp_path, Smsc(trustme.CA().issue_cert(NAME)), tls_verify=False) as house:
        await house.bound(PATIENCE_S)


@trio_test
async def test_fm35_a_carrier_that_wants_our_certificate_gets_it(
    tmp_path: Path, authority: trustme.CA
) -> None:
    smsc = Smsc(authority.issue_cert(NAME))
    smsc.context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(smsc.context)
    ours = authority.issue_cert("signalbox.example.net")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "ours.pem")
    settings = {
        "tls_ca_file": trusted(authority, tmp_path),
        "tls_server_name": NAME,
        "tls_cert_file": str(tmp_path / "ours.pem"),
        "tls_key_file": str(tmp_path / "ours.pem"),
    }
    async with house_with(tmp_path, smsc, **settings) as house:
        await house.bound(PATIENCE_S)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@trio_test
async def test_fm35_a_carrier_that_speaks_nothing_newer_than_tls_1_1_is_refused(
    tmp_path: Path, authority: trustme.CA
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    heard: list[str] = []

    def old(listener: socket.socket) -> None:
        """Not trio's: that one says no alert before it hangs up."""
        taken, _ = listener.accept()
        with taken:
            try:
                context.wrap_socket(taken, server_side=True)
            except ssl.SSLError as error:
                heard.append(error.reason)

    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=True, tls_ca_file=trusted(authority, tmp_path), reconnect_min_s=30)
    with socket.create_server(("127.0.0.1", port)) as listener:
        async with (
            trio.open_nursery() as nursery,
            running(
                tmp_path, toml + route("north"), RealWorld(), http_port=http_port, customer_port=customer_port
            ) as house,
        ):
            nursery.start_soon(trio.to_thread.run_sync, old, listener)
            (link,) = house.gateway.carriers[0].links
            await house.until(lambda: link.last_error, PATIENCE_S)
            assert link.last_error.endswith("it does not speak TLS 1.2 or later")
    assert heard == ["UNSUPPORTED_PROTOCOL"]


@pytest.mark.parametrize(("tls_verify", "mode"), [("true", ssl.CERT_REQUIRED), ("false", ssl.CERT_NONE)])
def test_fm35_nothing_older_than_tls_1_2_is_ever_offered(tls_verify: str, mode: int, tmp_path: Path) -> None:
    config = parse(
        f'[[carriers]]\nname = "north"\nhost = "a"\nsystem_id = "u"\ntls = true\ntls_verify = {tls_verify}\n',
        tmp_path / "gateway.toml",
    )
    tls = client_tls(config.carriers[0])
    assert tls is not None
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.context.verify_mode == mode
    assert tls.context.check_hostname == (mode == ssl.CERT_REQUIRED)


@trio_test
async def test_fm35_a_peer_that_connects_and_never_shakes_hands_is_given_up(tmp_path: Path) -> None:
    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=True, connect_timeout_s=0.1) + route("north")
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")  # the kernel accepts, nobody reads
    async with running(
        tmp_path, toml, RealWorld(), http_port=http_port, customer_port=customer_port
    ) as house:
        (link,) = house.gateway.carriers[0].links
        await house.until(lambda: link.last_error, PATIENCE_S)
        assert link.last_error == f"no connection with its TLS handshake to 127.0.0.1:{port} within 0.1 s"
        async with await listeners[0].accept(), await listeners[0].accept():
            pass  # it tried again after its back-off
    await listeners[0].aclose()


@trio_test
async def test_fm35_a_carrier_that_speaks_plain_smpp_is_called_that(tmp_path: Path) -> None:
    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=True) + route("north")
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with running(
        tmp_path, toml, RealWorld(), http_port=http_port, customer_port=customer_port
    ) as house:
        (link,) = house.gateway.carriers[0].links
        async with await listeners[0].accept() as stream:
            await stream.send_all(bytes.fromhex("00000010800000000000000300000000"))
            await house.until(lambda: link.last_error, PATIENCE_S)
        assert "does not answer in TLS" in link.last_error
    await listeners[0].aclose()


@pytest.mark.parametrize("tls", [True, False])
@trio_test
async def test_a_port_where_nobody_listens_is_said_in_few_words(tmp_path: Path, tls: bool) -> None:
    port, http_port, customer_port = free_ports(3)
    toml = carrier("north", port, tls=tls) + route("north")
    async with running(
        tmp_path, toml, RealWorld(), http_port=http_port, customer_port=customer_port
    ) as house:
        (link,) = house.gateway.carriers[0].links
        await house.until(lambda: link.last_error, PATIENCE_S)
        assert link.last_error == f"cannot connect to 127.0.0.1:{port}: Connection refused"


def _verification(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_code = code
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (lambda: _verification(9, "not yet valid"), "check this machine's clock"),
        (lambda: _verification(23, "certificate revoked"), "not accepted: certificate revoked"),
        (lambda: ssl.SSLEOFError(8, "EOF"), "in the middle of TLS (we asked for the name 'a')"),
        (lambda: ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (lambda: ssl.SSLError(1, "something new"), "something new"),
    ],
)
def test_fm35_what_else_can_go_wrong_is_said_in_words(cause: Callable[[], OSError], words: str) -> None:
    assert words in tls_problem(cause(), "a")
