"""The listening side of our SMSC: who gets in, as whom, who has to go, and what TLS does about it."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from pathlib import Path

import pytest
import structlog.testing
import trio
import trio.testing
import trustme

from config.model import Address, SmppConfig
from gateway.certificates import CertificateProblem
from gateway.smpp_server import descriptors
from gateway.smpp_server.listener import Peer, SmppListeners
from tests.gateway.house import MemoryWorld
from tests.gateway.smpp_server.listening import (
    NAME,
    PLAIN,
    Files,
    House,
    answers,
    is_closed,
    listening,
    standing_still,
    until,
)
from tests.gateway.smpp_server.proxy_headers import LOCAL, v1, v2
from tests.trio_case import trio_test

EVER_S = 3600.0  # a deadline that no test waits for


def settings(**chosen: object) -> SmppConfig:
    fields: dict[str, object] = {"listen": (PLAIN,), "bind_timeout_s": EVER_S, **chosen}
    return SmppConfig(**fields)  # type: ignore[arg-type]


def behind_proxy(**chosen: object) -> SmppConfig:
    return settings(proxy_from=("127.0.0.0/8", "::1"), **chosen)


def secured(files: Files, *, mutual: bool = False, **chosen: object) -> SmppConfig:
    return settings(listen=(), **files.settings(mutual=mutual), **chosen)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# plain


@trio_test
async def test_a_plain_connection_is_handed_over_as_the_bare_socket_with_its_address() -> None:
    async with listening(settings()) as house:
        client, peer = await house.accepted("127.0.0.3")
        assert isinstance(peer.stream, trio.SocketStream)
        port = client.socket.getsockname()[1]
        assert (peer.address, peer.port, peer.via_proxy) == ("127.0.0.3", port, "")
        assert (peer.tls, peer.certificate_subject) == (False, "")
        assert await answers(client)


@trio_test
async def test_a_connection_is_tuned_for_a_long_session() -> None:
    async with listening(settings()) as house:
        _, peer = await house.accepted()
        assert isinstance(peer.stream, trio.SocketStream)
        option = peer.stream.socket.getsockopt
        assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


@trio_test
async def test_ipv4_and_ipv6_listen_on_the_same_port_side_by_side() -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text().strip():
        pytest.skip("no IPv6 here")
    with socket.create_server(("::", 0), family=socket.AF_INET6) as probe:
        port = probe.getsockname()[1]
    both = (Address("0.0.0.0", port), Address("::", port))
    async with listening(settings(listen=both)) as house:
        _, older = await house.accepted("127.0.0.1")
        _, newer = await house.accepted("::1")
        assert (older.address, newer.address) == ("127.0.0.1", "::1")


@trio_test(mock_clock=True)
async def test_memory_streams_are_served_too() -> None:
    world = MemoryWorld()
    peers: list[Peer] = []

    async def serve(peer: Peer) -> None:
        peers.append(peer)
        await peer.stream.send_all(await peer.stream.receive_some())

    listeners = SmppListeners(settings(listen=(Address("127.0.0.1", 2775),)), world, serve)
    async with trio.open_nursery() as nursery:
        await nursery.start(listeners.run)
        client = await world.connect("127.0.0.1", 2775)
        assert await answers(client)
        assert await is_closed(client)
        assert [(peer.address, peer.port) for peer in peers] == [("memory", 0)]
        nursery.cancel_scope.cancel()


@trio_test
async def test_an_address_in_use_is_named_and_nothing_stays_open() -> None:
    async with listening(settings()) as house:
        taken = Address("127.0.0.1", house.ports[0])
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = Address("127.0.0.1", probe.getsockname()[1])
        with pytest.raises(OSError, match="in use") as caught:
            await _run_alone(settings(listen=(free, taken)))
        assert caught.value.filename == f"{taken}, [smpp] listen"
        async with listening(settings(listen=(free,))) as other:
            await other.accepted()


async def _run_alone(chosen: SmppConfig) -> None:
    """Errors of `run` as they are, outside of a nursery."""
    await House(chosen).run(task_status=trio.TASK_STATUS_IGNORED)


def test_a_proxy_that_is_no_cidr_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="north"):
        House(settings(proxy_from=("north",)))


@trio_test
async def test_after_stop_nobody_new_comes_and_whoever_is_there_stays() -> None:
    async with listening(settings()) as house:
        client, _ = await house.accepted()
        house.listeners.stop()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="connect"):
            await house.connect()
        assert await answers(client)
        assert not house.ended.is_set()
        await client.aclose()
        await house.ended.wait()


@trio_test
async def test_stop_before_run_ends_it_at_once() -> None:
    house = House(settings())
    house.listeners.stop()
    async with trio.open_nursery() as nursery:
        await nursery.start(house.run)
        await house.ended.wait()


@trio_test
async def test_a_connection_that_fails_is_logged_and_closed_and_the_others_go_on() -> None:
    async with listening(settings()) as house:
        older, _ = await house.accepted()
        failing, _ = await house.accepted()
        with structlog.testing.capture_logs() as logs:
            await failing.send_all(b"raise")
            assert await is_closed(failing)
        assert [line["event"] for line in logs] == ["SMPP connection failed"]
        assert await answers(older)
        await until(lambda: house.counts.open == 1)


# room


@trio_test
async def test_one_address_holds_so_many_unbound_sockets_and_another_address_is_not_its_concern() -> None:
    async with listening(settings(max_unbound_per_address=2)) as house:
        first, _ = await house.accepted()
        _, second = await house.accepted()
        with structlog.testing.capture_logs() as logs:
            assert await is_closed(await house.connect())
        assert logs[0]["why"] == "2 sockets of 127.0.0.1 wait for a bind already"
        assert house.counts.refused["per_address"] == 1
        await house.accepted("127.0.0.2")

        house.listeners.bound(second)
        await house.accepted()
        assert await is_closed(await house.connect())

        await first.aclose()
        await until(lambda: house.counts.open == 3)
        await house.accepted()
        assert await is_closed(await house.connect())
        assert (house.counts.accepted, house.counts.open, house.counts.unbound) == (5, 4, 3)
        assert house.counts.refused["per_address"] == 3


@trio_test
async def test_ipv6_sockets_of_one_64_count_together() -> None:
    async with listening(behind_proxy(max_unbound_per_address=2)) as house:
        for address in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"):
            client = await house.connect()
            await client.send_all(v2(address) + b"hello")
            assert (await house.next_peer()).address == address
        third = await house.connect()
        await third.send_all(v2("2001:db8:0:1::3"))
        assert await is_closed(third)
        neighbour = await house.connect()
        await neighbour.send_all(v2("2001:db8:0:2::1") + b"hello")
        assert (await house.next_peer()).address == "2001:db8:0:2::1"
        assert house.counts.refused["per_address"] == 1
        assert house.counts.unbound == 3


@trio_test
async def test_when_all_are_taken_the_oldest_unbound_socket_makes_room() -> None:
    async with listening(settings(max_connections=3)) as house:
        bound, peer = await house.accepted()
        house.listeners.bound(peer)
        oldest, _ = await house.accepted("127.0.0.2")
        middle, _ = await house.accepted("127.0.0.3")
        newest, _ = await house.accepted("127.0.0.4")
        assert await is_closed(oldest)
        await house.accepted("127.0.0.5")
        assert await is_closed(middle)
        assert await answers(bound)
        assert await answers(newest)
        assert house.counts.refused["evicted"] == 2
        assert (house.counts.open, house.counts.unbound) == (3, 2)


@trio_test
async def test_a_crowd_that_never_binds_keeps_no_customer_out() -> None:
    async with listening(settings(max_connections=20, max_unbound_per_address=20)) as house:
        crowd = [await house.connect(source="127.0.0.66") for _ in range(30)]
        customer, peer = await house.accepted("127.0.0.7")
        house.listeners.bound(peer)
        crowd += [await house.connect(source="127.0.0.67") for _ in range(30)]
        assert await answers(customer)
        await until(lambda: house.counts.open <= 20)


@trio_test
async def test_when_all_are_bound_a_new_peer_is_closed_at_once() -> None:
    async with listening(settings(max_connections=2)) as house:
        clients = []
        for _ in range(2):
            client, peer = await house.accepted()
            house.listeners.bound(peer)
            clients.append(client)
        assert await is_closed(await house.connect())
        assert house.counts.refused["full"] == 1
        assert all([await answers(client) for client in clients])
        await clients[0].aclose()
        await until(lambda: house.counts.open == 1)
        await house.accepted()


@standing_still
async def test_refusals_are_said_now_and_then_with_how_many_were_not(clock: trio.testing.MockClock) -> None:
    async with listening(settings(max_unbound_per_address=1)) as house:
        await house.accepted()
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                assert await is_closed(await house.connect())
            clock.jump(10)
            assert await is_closed(await house.connect())
        assert [line["others_since_last_said"] for line in logs] == [0, 4]
        assert house.counts.refused["per_address"] == 6


# those who say nothing, and those who never ask


@standing_still
async def test_a_silent_socket_costs_no_task_and_is_closed_at_the_deadline_of_a_bind(
    clock: trio.testing.MockClock,
) -> None:
    async with listening(settings(bind_timeout_s=10.0)) as house:
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        clients = [await house.connect() for _ in range(20)]
        await until(lambda: house.counts.unbound == 20)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        clock.jump(9.9)
        await trio.testing.wait_all_tasks_blocked()
        assert house.counts.open == 20
        with structlog.testing.capture_logs() as logs:
            clock.jump(0.2)
            assert all([await is_closed(client) for client in clients])
        assert house.counts.refused["silent"] == 20
        assert [line["why"] for line in logs] == ["it said nothing within 10 s"]
        assert house.counts.open == 0


@standing_still
async def test_the_time_for_a_bind_runs_from_accept_and_not_from_the_first_octet(
    clock: trio.testing.MockClock,
) -> None:
    async with listening(settings()) as house:
        client = await house.connect()
        await until(lambda: house.counts.open == 1)
        accepted_at = trio.current_time()
        clock.jump(7)
        assert await answers(client)
        assert (await house.next_peer()).accepted_at == accepted_at


@trio_test
async def test_a_silent_peer_that_leaves_is_no_refusal() -> None:
    async with listening(settings()) as house:
        with structlog.testing.capture_logs() as logs:
            await (await house.connect()).aclose()
            await until(lambda: house.counts.accepted == 1 and house.counts.open == 0)
        assert sum(house.counts.refused.values()) == 0
        assert logs == []


@trio_test
async def test_silent_sockets_make_room_the_oldest_first() -> None:
    async with listening(settings(max_connections=2)) as house:
        oldest, middle = [await house.connect() for _ in range(2)]
        await until(lambda: house.counts.open == 2)
        await house.accepted()
        assert await is_closed(oldest)
        assert await answers(middle)
        assert house.counts.refused["evicted"] == 1


@trio_test
async def test_silent_sockets_are_closed_at_a_stop() -> None:
    async with listening(settings()) as house:
        silent = await house.connect()
        client, _ = await house.accepted()
        house.listeners.stop()
        assert await is_closed(silent)
        assert await answers(client)
        assert house.counts.open == 1


class FakeStrangers:
    """A gate that shuts out whom it is told to, and remembers who never asked."""

    def __init__(self, *out: str) -> None:
        self.out = set(out)
        self.never: list[tuple[str, str]] = []

    def shut_out_s(self, address: str, network: str) -> float:
        return 60.0 if network in self.out else 0.0

    def never_asked(self, address: str, network: str) -> None:
        self.never.append((address, network))


async def is_turned_away(house: House, source: str) -> bool:
    """It is reset, perhaps before it knows that it is connected."""
    try:
        client = await house.connect(source=source)
    except OSError:
        return True
    return await is_closed(client)


@trio_test
async def test_a_network_that_is_shut_out_is_closed_at_once_and_others_are_not_its_concern() -> None:
    strangers = FakeStrangers("127.0.0.66")
    async with listening(settings(), strangers) as house:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                assert await is_turned_away(house, "127.0.0.66")
        assert (house.counts.accepted, house.counts.refused["never_asked"]) == (0, 3)
        assert [line["why"] for line in logs] == [
            "connections of 127.0.0.66 keep ending without a bind request; for 60 s more"
        ]
        await house.accepted("127.0.0.67")
        strangers.out.clear()
        await house.accepted("127.0.0.66")
        assert strangers.never == []


@standing_still
async def test_who_is_shut_out_is_said_once_a_minute_with_how_many_knocked(
    clock: trio.testing.MockClock,
) -> None:
    async with listening(settings(), FakeStrangers("127.0.0.66")) as house:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                assert await is_turned_away(house, "127.0.0.66")
                clock.jump(13)
        assert [line["others_since_last_said"] for line in logs] == [0]
        with structlog.testing.capture_logs() as logs:
            assert await is_turned_away(house, "127.0.0.66")
        assert [line["others_since_last_said"] for line in logs] == [4]


@trio_test
async def test_a_connection_that_ends_without_a_bind_request_is_told_to_the_gate() -> None:
    strangers = FakeStrangers()
    async with listening(settings(), strangers) as house:
        silent = await house.connect(source="127.0.0.2")
        await until(lambda: house.counts.open == 1)
        await silent.aclose()
        speaking, _ = await house.accepted("127.0.0.3")
        asking, asker = await house.accepted("127.0.0.4")
        bound, customer = await house.accepted("127.0.0.5")
        house.listeners.asked(asker)
        house.listeners.asked(customer)
        house.listeners.bound(customer)
        for client in (speaking, asking, bound):
            await client.aclose()
        await until(lambda: house.counts.open == 0)
        assert sorted(strangers.never) == [("127.0.0.2",) * 2, ("127.0.0.3",) * 2]


@trio_test
async def test_a_proxy_is_never_shut_out_but_the_clients_that_it_names_are() -> None:
    strangers = FakeStrangers("127.0.0.1", "192.0.2.66")
    async with listening(behind_proxy(), strangers) as house:
        bad = await house.connect()
        await bad.send_all(v1("192.0.2.66"))
        assert await is_closed(bad)
        assert house.counts.refused["never_asked"] == 1
        good = await house.connect()
        assert await answers_after(good, v1("192.0.2.77"), b"hello")
        check = await house.connect()
        assert await answers_after(check, v2(command=LOCAL), b"hello")
        await good.aclose()
        await check.aclose()
        await until(lambda: house.counts.open == 0)
        assert strangers.never == [("192.0.2.77", "192.0.2.77")]


@trio_test
async def test_a_header_alone_costs_no_task() -> None:
    async with listening(behind_proxy(max_unbound_per_address=1)) as house:
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        client = await house.connect()
        await client.send_all(v1("192.0.2.77"))
        another = await house.connect()
        await another.send_all(v1("192.0.2.77"))
        assert await is_closed(another)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert await answers(client)


def test_fewer_connections_fit_than_configured_when_few_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert descriptors.room_for(1_000) == 1_000
    assert limits[-1] == (1_512, 4096)
    assert descriptors.room_for(10_000) == 4096 - 512
    assert limits[-1] == (4096, 4096)
    limits.append((256, 256))
    assert descriptors.room_for(10_000) == 128
    limits.append((resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptors.room_for(10_000) == 10_000


def test_a_system_that_refuses_more_files_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limit: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert descriptors.room_for(10_000) == 512


# accept fails


class Scripted(trio.abc.Listener[trio.abc.Stream]):
    """Each accept does the next thing of the script; then none comes."""

    def __init__(self, *script: OSError | trio.abc.Stream) -> None:
        self.script = list(script)

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.script:
            await trio.sleep_forever()
        item = self.script.pop(0)
        if isinstance(item, OSError):
            raise item
        return item

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class ScriptedWorld(MemoryWorld):
    def __init__(self, listener: Scripted) -> None:
        super().__init__()
        self.listener = listener

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[trio.abc.Stream]]:
        return [self.listener]


def no_descriptors() -> OSError:
    return OSError(errno.EMFILE, "Too many open files")


async def _serve_until_it_ends(peer: Peer) -> None:
    async for _ in peer.stream:
        pass


@trio_test(mock_clock=True)
async def test_without_descriptors_the_oldest_unbound_socket_makes_room() -> None:
    (older, older_end), (newer, newer_end) = (trio.testing.memory_stream_pair() for _ in range(2))
    listener = Scripted(older_end, no_descriptors(), newer_end)
    listeners = SmppListeners(settings(), ScriptedWorld(listener), _serve_until_it_ends)
    async with trio.open_nursery() as nursery:
        await nursery.start(listeners.run)
        with structlog.testing.capture_logs() as logs:
            assert await is_closed(older)
            await trio.sleep(1)
        assert listeners.counts.accepted == 2
        assert [line["event"] for line in logs] == [
            "cannot accept SMPP connections",
            "SMPP connection refused",
        ]
        assert listeners.counts.refused["evicted"] == 1
        nursery.cancel_scope.cancel()
    assert await is_closed(newer)


@trio_test(mock_clock=True)
async def test_without_descriptors_and_with_all_bound_whoever_waits_is_told_no_and_it_goes_on() -> None:
    waiting, waiting_end = trio.testing.memory_stream_pair()
    later, later_end = trio.testing.memory_stream_pair()
    listener = Scripted(no_descriptors(), waiting_end, no_descriptors(), no_descriptors(), later_end)
    listeners = SmppListeners(settings(), ScriptedWorld(listener), _serve_until_it_ends)
    async with trio.open_nursery() as nursery:
        with structlog.testing.capture_logs() as logs:
            await nursery.start(listeners.run)
            assert await is_closed(waiting)
            await trio.sleep(1)
        assert listeners.counts.accepted == 1
        assert listeners.counts.refused["no_descriptor"] == 1
        assert [line["event"] for line in logs] == ["cannot accept SMPP connections"]
        nursery.cancel_scope.cancel()
    assert await is_closed(later)


@trio_test(mock_clock=True)
async def test_a_lasting_want_of_descriptors_is_said_once_a_minute_and_does_not_spin() -> None:
    listener = Scripted(*(no_descriptors() for _ in range(10_000)))
    listeners = SmppListeners(settings(), ScriptedWorld(listener), _serve_until_it_ends)
    async with trio.open_nursery() as nursery:
        with structlog.testing.capture_logs() as logs:
            await nursery.start(listeners.run)
            await trio.sleep(150)
        assert len(logs) == 3
        assert 590 <= logs[2]["times_since_last_said"] <= 610
        assert len(listener.script) > 10_000 - 3_500  # each pause takes two
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_another_failure_of_accept_costs_nobody_his_connection() -> None:
    older, older_end = trio.testing.memory_stream_pair()
    _newer, newer_end = trio.testing.memory_stream_pair()
    listener = Scripted(older_end, OSError(errno.EPROTO, "Protocol error"), newer_end)
    listeners = SmppListeners(settings(), ScriptedWorld(listener), _serve_until_it_ends)
    async with trio.open_nursery() as nursery:
        await nursery.start(listeners.run)
        await trio.sleep(1)
        assert listeners.counts.open == 2
        assert listeners.counts.refused["evicted"] == 0
        await older.send_all(b"still here")
        nursery.cancel_scope.cancel()


# PROXY protocol


HEADERS = {
    "v1": (v1("192.0.2.77", 4711), "192.0.2.77", 4711),
    "v1 IPv6": (v1("2001:db8::77", 4711), "2001:db8::77", 4711),
    "v2": (v2("192.0.2.77", 4711), "192.0.2.77", 4711),
    "v2 IPv6": (v2("2001:db8::77", 4711), "2001:db8::77", 4711),
    "v2 IPv4 in IPv6": (v2("::ffff:192.0.2.77", 4711), "192.0.2.77", 4711),
    "v2 with TLVs": (v2("192.0.2.77", 4711, tlvs=bytes(500)), "192.0.2.77", 4711),
}


@pytest.mark.parametrize("name", HEADERS)
@trio_test
async def test_a_named_proxy_says_who_the_client_is(name: str) -> None:
    header, address, port = HEADERS[name]
    async with listening(behind_proxy()) as house:
        client = await house.connect()
        assert await answers_after(client, header, b"\0\0\0\x10 a PDU right behind the header")
        peer = await house.next_peer()
        assert (peer.address, peer.port, peer.via_proxy) == (address, port, "127.0.0.1")
        assert isinstance(peer.stream, trio.SocketStream)


async def answers_after(client: trio.SocketStream, header: bytes, data: bytes) -> bool:
    """Header and data in one segment; whether the data comes back whole."""
    await client.send_all(header + data)
    got = b""
    while len(got) < len(data):
        more = await client.receive_some()
        if not more:
            return False
        got += more
    return got == data


@pytest.mark.parametrize("name", ["v1", "v2 IPv6"])
@trio_test
async def test_a_header_may_come_in_pieces(name: str) -> None:
    header, address, _ = HEADERS[name]
    async with listening(behind_proxy()) as house:
        client = await house.connect()
        for place in range(len(header)):
            await client.send_all(header[place : place + 1])
            await trio.testing.wait_all_tasks_blocked()
        assert await answers(client)
        assert (await house.next_peer()).address == address


@pytest.mark.parametrize("header", [v2(command=LOCAL), v2(), b"PROXY UNKNOWN\r\n"])
@trio_test
async def test_a_header_that_names_nobody_leaves_the_proxys_own_address(header: bytes) -> None:
    async with listening(behind_proxy()) as house:
        client = await house.connect()
        assert await answers_after(client, header, b"hello")
        peer = await house.next_peer()
        assert peer.address == peer.via_proxy == "127.0.0.1"
        assert peer.port == client.socket.getsockname()[1]


@pytest.mark.parametrize("header", [v1("192.0.2.77"), v2("192.0.2.77")])
@trio_test
async def test_a_header_from_anybody_else_is_never_believed(header: bytes) -> None:
    """It goes on to SMPP, as what it is there: garbage."""
    async with listening(settings(proxy_from=("127.0.0.2", "2001:db8::/32"))) as house:
        client = await house.connect(source="127.0.0.3")
        assert await answers(client, header)
        peer = await house.next_peer()
        assert (peer.address, peer.via_proxy) == ("127.0.0.3", "")


@trio_test
async def test_a_named_proxy_that_sends_no_header_is_refused() -> None:
    async with listening(behind_proxy()) as house:
        client = await house.connect()
        with structlog.testing.capture_logs() as logs:
            await client.send_all(bytes.fromhex("0000002f000000090000000000000001"))
            assert await is_closed(client)
        assert logs[0]["reason"] == "proxy_header"
        assert logs[0]["why"].startswith("begins with 00 00 00 2f")
        assert house.counts.refused["proxy_header"] == 1
        await until(lambda: house.counts.open == 0)


@trio_test
async def test_a_header_that_ends_in_its_middle_is_refused() -> None:
    async with listening(behind_proxy()) as house:
        client = await house.connect()
        await client.send_all(v2("192.0.2.77")[:20])
        await client.send_eof()
        assert await is_closed(client)
        assert house.counts.refused["proxy_header"] == 1


@trio_test
async def test_a_proxy_that_only_looks_whether_we_are_there_is_no_refusal() -> None:
    async with listening(behind_proxy()) as house:
        with structlog.testing.capture_logs() as logs:
            client = await house.connect()
            await client.aclose()
            await until(lambda: house.counts.accepted == 1 and house.counts.open == 0)
        assert sum(house.counts.refused.values()) == 0
        assert logs == []


@standing_still
async def test_a_proxy_that_says_nothing_more_is_closed_at_the_deadline_of_a_bind(
    clock: trio.testing.MockClock,
) -> None:
    async with listening(behind_proxy(bind_timeout_s=10.0)) as house:
        client = await house.connect()
        await client.send_all(b"PROXY")
        await until(lambda: house.counts.open == 1)
        clock.jump(9.9)
        await trio.testing.wait_all_tasks_blocked()
        assert house.counts.open == 1
        clock.jump(0.2)
        assert await is_closed(client)
        assert house.counts.refused["proxy_header"] == 1


@trio_test
async def test_clients_of_one_proxy_count_each_for_himself() -> None:
    async with listening(behind_proxy(max_unbound_per_address=1)) as house:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            client = await house.connect()
            await client.send_all(v1(address) + b"hello")
            assert (await house.next_peer()).address == address
        again = await house.connect()
        await again.send_all(v1("192.0.2.2"))
        assert await is_closed(again)
        assert house.counts.refused["per_address"] == 1


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@trio_test
async def test_tls_1_2_and_1_3_are_spoken(version: ssl.TLSVersion, files: Files) -> None:
    context = files.client()
    context.minimum_version = context.maximum_version = version
    async with listening(secured(files)) as house:
        client = await house.secure(context)
        peer = await house.next_peer()
        assert (peer.address, peer.tls, peer.certificate_subject) == ("127.0.0.1", True, "")
        assert await answers(client)
        await client.aclose()
        await until(lambda: house.counts.open == 0)
        assert sum(house.counts.refused.values()) == 0


@trio_test
async def test_plain_and_tls_are_listened_on_side_by_side(files: Files) -> None:
    async with listening(settings(**files.settings())) as house:
        assert await answers(await house.connect(0))
        assert await answers(await house.secure(files.client(), 1))
        assert [(await house.next_peer()).tls for _ in range(2)] == [False, True]


@trio_test
async def test_who_speaks_no_tls_on_a_tls_port_is_refused_and_the_others_go_on(files: Files) -> None:
    async with listening(secured(files)) as house:
        older = await house.secure(files.client())
        with structlog.testing.capture_logs() as logs:
            plain = await house.connect()
            await plain.send_all(bytes.fromhex("0000002f000000090000000000000001") + bytes(31))
            assert await is_closed(plain)
        assert logs[0]["reason"] == "tls"
        assert "probably no TLS client" in logs[0]["why"]
        assert house.counts.refused["tls"] == 1
        assert await answers(older)
        await until(lambda: house.counts.open == 1)


@trio_test
async def test_a_client_that_does_not_trust_us_is_counted(files: Files) -> None:
    stranger = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    async with listening(secured(files)) as house:
        with structlog.testing.capture_logs() as logs:
            with pytest.raises(trio.BrokenResourceError):
                await house.secure(stranger)
            house.leave()
            await until(lambda: house.counts.refused["tls"] == 1)
        assert "perhaps it does not trust our certificate" in logs[0]["why"]


@trio_test
async def test_the_alert_of_a_client_is_told(files: Files) -> None:
    stranger = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = stranger.wrap_bio(incoming, outgoing, server_hostname=NAME)

    async def shake_hands() -> None:
        while True:
            try:
                return client.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
                incoming.write(await stream.receive_some())

    async with listening(secured(files)) as house:
        stream = await house.connect()
        with structlog.testing.capture_logs() as logs:
            with pytest.raises(ssl.SSLCertVerificationError):
                await shake_hands()
            await stream.send_all(outgoing.read())
            await until(lambda: house.counts.refused["tls"] == 1)
        assert logs[0]["why"].endswith("alert unknown ca")


@trio_test
async def test_a_peer_that_only_looks_whether_we_are_there_is_no_refusal(files: Files) -> None:
    async with listening(secured(files)) as house:
        with structlog.testing.capture_logs() as logs:
            client = await house.connect()
            await client.aclose()
            await until(lambda: house.counts.accepted == 1 and house.counts.open == 0)
        assert sum(house.counts.refused.values()) == 0
        assert logs == []


@standing_still
async def test_a_slow_handshake_is_closed_at_the_deadline_of_a_bind(
    clock: trio.testing.MockClock, files: Files
) -> None:
    async with listening(secured(files, bind_timeout_s=10.0)) as house:
        client = await house.connect()
        await client.send_all(bytes.fromhex("160301"))
        await until(lambda: house.counts.open == 1)
        clock.jump(9.9)
        await trio.testing.wait_all_tasks_blocked()
        assert house.counts.open == 1
        clock.jump(0.2)
        assert await is_closed(client)
        assert house.counts.refused["tls"] == 1


@standing_still
async def test_header_and_handshake_share_one_deadline(clock: trio.testing.MockClock, files: Files) -> None:
    async with listening(secured(files, proxy_from=("127.0.0.1",), bind_timeout_s=10.0)) as house:
        client = await house.connect()
        await until(lambda: house.counts.open == 1)
        clock.jump(9)
        await client.send_all(v2("192.0.2.77"))
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(2)
        assert await is_closed(client)
        assert house.counts.refused["tls"] + house.counts.refused["proxy_header"] == 1


@pytest.mark.parametrize("header", [v1("192.0.2.77"), v2("192.0.2.77", tlvs=bytes(20))])
@trio_test
async def test_a_proxy_header_comes_before_tls(header: bytes, files: Files) -> None:
    async with listening(secured(files, proxy_from=("127.0.0.1",))) as house:
        client = await house.secure(files.client(), header=header)
        peer = await house.next_peer()
        assert (peer.address, peer.via_proxy, peer.tls) == ("192.0.2.77", "127.0.0.1", True)
        assert await answers(client)


@trio_test
async def test_a_proxy_header_from_anybody_else_is_no_tls(files: Files) -> None:
    async with listening(secured(files)) as house:
        with pytest.raises(trio.BrokenResourceError):
            await house.secure(files.client(), header=v2("192.0.2.77"))
        await until(lambda: house.counts.refused["tls"] == 1)


@trio_test
async def test_a_new_certificate_is_used_without_dropping_an_open_connection(files: Files) -> None:
    async with listening(secured(files)) as house:
        older = await house.secure(files.client())
        before = older.getpeercert(binary_form=True)
        renewed = files.renew()
        house.listeners.reload()
        newer = await house.secure(files.client())
        assert newer.getpeercert(binary_form=True) == renewed != before
        assert await answers(older)
        assert await answers(newer)


@trio_test
async def test_a_bad_new_certificate_is_refused_and_the_old_one_stays(files: Files) -> None:
    async with listening(secured(files)) as house:
        before = (await house.secure(files.client())).getpeercert(binary_form=True)
        files.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        with structlog.testing.capture_logs() as logs:
            house.listeners.reload()
        assert logs[0]["event"] == "new TLS certificate refused"
        assert str(files.key) in logs[0]["why"]
        assert (await house.secure(files.client())).getpeercert(binary_form=True) == before


@trio_test
async def test_a_bad_certificate_at_the_start_is_an_error(files: Files) -> None:
    files.certificate.unlink()
    with pytest.raises(CertificateProblem, match="No such file"):
        await _run_alone(secured(files))


@trio_test
async def test_without_tls_there_is_nothing_to_reload() -> None:
    async with listening(settings()) as house:
        with structlog.testing.capture_logs() as logs:
            house.listeners.reload()
        assert logs == []


@trio_test
async def test_mutual_tls_tells_the_subject_of_the_client(files: Files) -> None:
    known = files.authority.issue_cert(common_name="acme", organization_name="Acme, Ltd")
    async with listening(secured(files, mutual=True)) as house:
        client = await house.secure(files.client(known))
        assert await answers(client)
        subject = (await house.next_peer()).certificate_subject
        assert subject.startswith("CN=acme,")
        assert "O=Acme\\, Ltd" in subject


@pytest.mark.parametrize("stranger", ["without a certificate", "of another authority"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@trio_test
async def test_mutual_tls_refuses_a_client(stranger: str, version: ssl.TLSVersion, files: Files) -> None:
    other = trustme.CA().issue_cert(common_name="acme")
    context = files.client(other if stranger == "of another authority" else None)
    context.minimum_version = context.maximum_version = version
    async with listening(secured(files, mutual=True)) as house:
        with structlog.testing.capture_logs() as logs:
            try:
                client = await house.secure(context)
                assert not await answers(client)
            except trio.BrokenResourceError:
                pass
            await until(lambda: house.counts.refused["tls"] == 1)
        assert "certificate" in logs[0]["why"]
        assert house.counts.open == 0


@trio_test
async def test_the_authority_of_clients_is_read_again_too(files: Files) -> None:
    other = trustme.CA()
    async with listening(secured(files, mutual=True)) as house:
        known = files.client(other.issue_cert(common_name="acme"))
        files.client_authority.write_bytes(other.cert_pem.bytes())
        house.listeners.reload()
        assert await answers(await house.secure(known))
