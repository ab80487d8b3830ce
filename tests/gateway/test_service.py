"""What systemd is told, over a real datagram socket; and the unit that goes with it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from config.model import GatewayConfig
from gateway.cli.failure import CONFIG, USAGE
from gateway.service import Service, notify
from store.interface import Transaction
from tests.gateway.house import Script, carrier, route, running, running_with, simulator
from tests.trio_case import trio_test

ONE = carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
UNIT = Path(__file__).resolve().parents[2] / "ops" / "systemd" / "signalbox.service"


class Manager:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(self.address)

    def told(self) -> list[str]:
        """The datagrams since this was asked last, but for how it goes."""
        found: list[str] = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


def of_kind(told: list[str], kind: str) -> list[str]:
    return [one for one in told if one.startswith(kind)]


@trio_test(mock_clock=True)
async def test_it_is_told_when_it_is_ready_how_it_goes_and_when_it_stops(
    tmp_path: Path, manager: Manager
) -> None:
    async with running(tmp_path, ONE) as house, trio.open_nursery() as nursery:
        service = Service.of_environment(house.gateway, {"NOTIFY_SOCKET": manager.address})
        await house.bound()
        nursery.start_soon(service.run)
        await trio.sleep(1)
        assert manager.told() == ["READY=1\nSTATUS=0 accepted/s, 0 waiting"]
        for _ in range(10):
            await house.submit("447700900123", send_at="2026-10-30T00:00:00Z")
        await trio.sleep(5)
        (status,) = manager.told()
        assert re.fullmatch(r"STATUS=2 accepted/s, 0 waiting", status), status
        house.gateway.stop()
        await trio.sleep(0.1)
        assert manager.told()[0].startswith("STOPPING=1\nSTATUS=stopping")
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_the_status_names_the_worst_problem(tmp_path: Path) -> None:
    async with running(tmp_path, carrier("dead", 2776) + route("dead")) as house:
        await trio.sleep(30)
        status = Service(house.gateway, "/nowhere", 0).status()
        assert "critical): carrier:dead no bind" in status
        assert "\n" not in status


@trio_test(mock_clock=True)
async def test_signs_of_life_are_given_only_while_the_committer_moves(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, ONE) as house, trio.open_nursery() as nursery:
        environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "20000000"}
        nursery.start_soon(Service.of_environment(house.gateway, environment).run)
        await trio.sleep(21)
        assert len(of_kind(manager.told(), "WATCHDOG=1")) == 5
        free = trio.Event()
        writer = house.gateway.committer._writer
        commit = writer.commit

        async def stands(txn: Transaction, has_more: Callable[[], bool]) -> Transaction | None:
            await free.wait()
            return await commit(txn, has_more)

        monkeypatch.setattr(writer, "commit", stands)
        nursery.start_soon(house.submit, "447700900123")
        await trio.sleep(6)
        manager.told()
        await trio.sleep(20)
        assert of_kind(manager.told(), "WATCHDOG=1") == []
        free.set()
        await trio.sleep(6)
        assert of_kind(manager.told(), "WATCHDOG=1")
        nursery.cancel_scope.cancel()


@trio_test(mock_clock=True)
async def test_a_reload_is_told_as_one_from_its_begin_to_its_end(tmp_path: Path, manager: Manager) -> None:
    async with running(tmp_path, ONE) as house:
        service = Service(house.gateway, manager.address, 0)
        async with service.reloading(), service.reloading():
            (told,) = manager.told()
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=[0-9]+", told)
        (told,) = manager.told()
        assert told.startswith("READY=1\nSTATUS=")


@trio_test(mock_clock=True)
async def test_a_manager_that_is_not_there_or_does_not_read_stops_nothing(
    tmp_path: Path, manager: Manager
) -> None:
    notify(str(tmp_path / "nobody"), "READY=1")
    notify("@nobody-has-this-name", "READY=1")
    for _ in range(5_000):  # more than a socket holds
        notify(manager.address, "STATUS=" + "x" * 100)
    async with running_with(tmp_path, carrier("north", 2790) + route("north"), Script()) as (house, _):
        for environment in ({}, {"WATCHDOG_USEC": "1000000"}, {"WATCHDOG_USEC": "x", "WATCHDOG_PID": "1"}):
            service = Service.of_environment(house.gateway, environment)
            with trio.fail_after(1):
                await service.run()  # at once: nobody is to be told


def unit_value(name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found, name
    return str(found[-1])


def test_the_unit_gives_a_stop_the_time_that_the_gateway_takes() -> None:
    seconds = int(unit_value("TimeoutStopSec"))
    assert seconds >= GatewayConfig().drain_timeout_s + 60
    assert unit_value("RestartPreventExitStatus").split() == [str(USAGE), str(CONFIG)]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's systemd")
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(tmp_path: Path) -> None:
    made = tmp_path / UNIT.name
    made.write_text(UNIT.read_text().replace("/opt/signalbox/bin/signalbox", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", made], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout  # an exposure of at most 1.5 of 10
