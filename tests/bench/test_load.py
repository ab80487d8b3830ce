"""The load tool counts exactly: its customers against its own carrier, and against the simulated one.

Real processes on loopback. Skipped where there is no C compiler, never in CI.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import load_tool
from gateway.cli.failure import Failure
from smpp.constants import CommandId
from smpp.pdu import BindTransceiver, submit_sm_body
from smpp.session import Role, Session, SessionSettings

ROOT = Path(__file__).resolve().parent.parent.parent
WITHIN_S = 60
Json = dict[str, Any]


@pytest.fixture(scope="session")
def tool() -> Path:
    if load_tool.compiler() is None and not os.environ.get("CI"):
        pytest.skip("no C compiler, with which bench/load is built")
    return load_tool.built(flags=load_tool.STRICT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on {port}")


@contextmanager
def serving(*command: object) -> Iterator[Callable[[], Json]]:
    """A server; calling what is given stops it and returns its JSON."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )

    def stop() -> Json:
        process.terminate()
        output, _ = process.communicate(timeout=WITHIN_S)
        return last_line(output)

    try:
        yield stop
    finally:
        process.kill()
        process.communicate()


@contextmanager
def carrier(tool: Path, *options: object) -> Iterator[tuple[int, Callable[[], Json]]]:
    port = free_port()
    with serving(tool, "smsc", "--port", port, *options) as stop:
        wait_for_port(port)
        yield port, stop


@contextmanager
def simulated_carrier(*options: object) -> Iterator[tuple[int, Callable[[], Json]]]:
    """`signalbox simulate`, which nobody wrote for this tool."""
    port = free_port()
    simulate = (sys.executable, "-P", "-m", "gateway.cli", "simulate", "--listen", f"127.0.0.1:{port}")
    with serving(*simulate, "--receipt-delay", "0", *options) as stop:
        wait_for_port(port)
        yield port, stop


def last_line(output: str) -> Json:
    found: Json = json.loads(output.strip().splitlines()[-1])
    return found


def run(tool: Path, *arguments: object) -> Json:
    """One command to its end."""
    done = subprocess.run(
        [tool, *map(str, arguments)], capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    return last_line(done.stdout)


def test_every_submit_is_answered_and_told_once_between_the_tools_own_two_ends(tool: Path) -> None:
    with carrier(tool) as (port, stop):
        seen = run(
            tool, "esme", "--port", port, "--n", 2000, "--customers", 4, "--binds", 2,
            "--system-id", "cust%02d", "--window", 20,
        )  # fmt: skip
        sent = stop()
    assert seen["sent"] == seen["answered"] == seen["accepted"] == 2000
    assert seen["receipts"] == seen["delivered"] == 2000
    assert [seen[name] for name in ("lost", "duplicated", "unknown", "unanswered", "closed", "stray")] == [
        0
    ] * 6
    assert seen["latency"]["count"] == seen["receipt_latency"]["count"] == 2000
    assert 0 < seen["latency"]["p50_ms"] <= seen["latency"]["p99_ms"] <= seen["latency"]["max_ms"]
    assert sent["accepted"] == sent["receipts"] == sent["receipts_acked"] == 2000
    assert sorted(sent["accounts"]) == ["cust01", "cust02", "cust03", "cust04"]
    assert sum(account["accepted"] for account in sent["accounts"].values()) == 2000


def test_an_open_loop_gives_every_bind_its_share_and_keeps_to_its_rate(tool: Path) -> None:
    with carrier(tool) as (port, stop):
        seen = run(
            tool, "esme", "--port", port, "--n", 1000, "--rate", 5000, "--customers", 5,
            "--system-id", "c%d",
        )  # fmt: skip
        sent = stop()
    assert seen["least_of_a_customer"] == seen["most_of_a_customer"] == 200
    assert seen["lost"] == 0
    assert seen["submit_s"] >= 999 / 5000
    assert sent["accounts"]["c5"]["submits"] == 200


def test_receipts_sent_twice_are_counted_twice_over_the_simulated_carrier(tool: Path) -> None:
    with simulated_carrier("--duplicate-receipts", "1") as (port, stop):
        seen = run(tool, "esme", "--port", port, "--n", 2000, "--window", 100, "--linger", 1)
        sent = stop()
    assert seen["accepted"] == sent["accepted"] == 2000
    assert seen["receipts"] == sent["receipts"] == 4000
    assert (seen["lost"], seen["duplicated"], seen["unknown"]) == (0, 2000, 0)


def test_a_share_of_lost_and_doubled_receipts_adds_up(tool: Path) -> None:
    options = ("--duplicate-receipts", "0.3", "--no-receipt", "0.2", "--receipt-as", "tlv")
    with simulated_carrier(*options) as (port, stop):
        seen = run(tool, "esme", "--port", port, "--n", 1000, "--wait", 1)
        sent = stop()
    assert seen["lost"] > 0
    assert seen["duplicated"] > 0
    assert seen["receipts"] == sent["receipts"] == 1000 - seen["lost"] + seen["duplicated"]


def test_receipts_before_their_response_are_neither_lost_nor_unknown(tool: Path) -> None:
    with simulated_carrier("--early-receipts", "1", "--id-form", "uuid") as (port, _):
        seen = run(tool, "esme", "--port", port, "--n", 500)
    assert (seen["receipts"], seen["lost"], seen["duplicated"], seen["unknown"]) == (500, 0, 0, 0)


def test_each_magic_number_is_counted_for_what_becomes_of_it(tool: Path) -> None:
    with simulated_carrier() as (port, _):
        seen = run(tool, "esme", "--port", port, "--first", 9890, "--n", 30, "--wait", 1)
    assert seen["statuses"] == {"0x00000058": 1, "0x0000000b": 1, "0x00000014": 1}
    assert (seen["refused"], seen["unanswered"], seen["lost"], seen["mos"]) == (3, 1, 1, 1)
    assert (seen["receipts"], seen["delivered"]) == (25, 22)


def test_a_carrier_refuses_every_tenth_with_the_status_asked_for(tool: Path) -> None:
    with carrier(tool, "--fail-every", "10:0x08") as (port, stop):
        seen = run(tool, "esme", "--port", port, "--n", 200)
        assert stop()["refused"] == 20
    assert seen["statuses"] == {"0x00000008": 20}
    assert (seen["accepted"], seen["receipts"], seen["lost"]) == (180, 180, 0)


def test_a_carrier_throttles_what_is_above_its_limit(tool: Path) -> None:
    with carrier(tool, "--throttle", 50) as (port, stop):
        seen = run(tool, "esme", "--port", port, "--n", 300)
        sent = stop()
    assert seen["accepted"] == sent["accepted"] >= 50
    assert seen["statuses"] == {"0x00000058": sent["throttled"]}
    assert sent["accepted"] + sent["throttled"] == 300
    assert sent["most_in_a_second"] <= 300


def test_a_carrier_that_fell_silent_answers_nothing_more(tool: Path) -> None:
    with carrier(tool, "--silent-after", 100) as (port, stop):
        seen = run(tool, "esme", "--port", port, "--n", 1000, "--window", 10, "--wait", 0.5)
        assert stop()["unanswered"] == 10
    assert (seen["answered"], seen["unanswered"]) == (100, 10)


def test_hex_ids_differ_between_tlv_and_text_and_still_match(tool: Path) -> None:
    with carrier(tool, "--hex-ids", "--resp-delay", 5, "--dlr-delay", 5) as (port, _):
        seen = run(tool, "esme", "--port", port, "--n", 100)
    assert (seen["ids_differ"], seen["lost"], seen["duplicated"]) == (100, 0, 0)
    assert seen["latency"]["p50_ms"] >= 5
    assert seen["receipt_latency"]["p50_ms"] >= 10


def test_without_receipts_everything_accepted_is_lost_unless_none_was_asked_for(tool: Path) -> None:
    with carrier(tool, "--no-dlr") as (port, _):
        asked = run(tool, "esme", "--port", port, "--n", 50, "--wait", 0.3)
        not_asked = run(tool, "esme", "--port", port, "--n", 50, "--dlr", 0)
    assert (asked["lost"], not_asked["lost"]) == (50, 0)


def test_a_customer_that_stops_reading_holds_up_nobody_else(tool: Path) -> None:
    with carrier(tool) as (port, stop):
        seen = run(
            tool, "esme", "--port", port, "--n", 600, "--customers", 3, "--stall", 1, "--window", 10,
            "--system-id", "cust%d",
        )  # fmt: skip
        sent = stop()
    assert (seen["stalled_customers"], seen["stalled_sent"]) == (1, 10)
    assert (seen["sent"], seen["lost"]) == (600, 0)
    assert sent["accounts"]["cust1"]["accepted"] == 10


def test_inbound_messages_are_not_taken_for_receipts(tool: Path) -> None:
    with carrier(tool, "--mo-rate", 200) as (port, _):
        seen = run(tool, "esme", "--port", port, "--n", 100, "--rate", 200)
    assert seen["mos"] > 0
    assert (seen["receipts"], seen["unknown"]) == (100, 0)


def test_a_receipt_comes_on_another_bind_when_its_own_is_gone(tool: Path) -> None:
    with carrier(tool, "--dlr-delay", 200) as (port, stop):
        first, second = Client(port), Client(port)
        first.submit()
        first.close()
        assert second.deliver()
        second.close()
        sent = stop()
    assert (sent["binds"], sent["accepted"], sent["receipts_acked"]) == (2, 1, 1)


class Client:
    """One bind as `shop`, by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
        self.session = Session(Role.ESME, SessionSettings(window=10), 0.0)
        self.session.bind(BindTransceiver(system_id=b"shop", password=b"x", interface_version=0x34), 0.0)
        self.until("Bound")

    def until(self, wanted: str) -> Any:
        """The next event of this kind."""
        while True:
            self.socket.sendall(self.session.data_to_send())
            for event in self.session.receive(self.socket.recv(65_536), 0.0):
                if type(event).__name__ == wanted:
                    return event

    def submit(self) -> None:
        body = submit_sm_body(
            b"", 5, 0, b"SHOP", 1, 1, b"447700900123", 0, 0, 0, b"", b"", 1, 0, 0, 0, b"hello"
        )
        self.session.submit_raw(body, int(CommandId.SUBMIT_SM), 0.0, "the submit")
        assert self.until("Response").pdu.command_status == 0

    def deliver(self) -> bool:
        """Wait for a deliver_sm and answer it. True for a receipt."""
        pdu = self.until("Request").pdu
        self.session.respond_raw(int(CommandId.DELIVER_SM_RESP), 0, pdu.sequence_number, b"\0")
        self.socket.sendall(self.session.data_to_send())
        return bool(pdu.esm_class & 0x04)

    def close(self) -> None:
        self.socket.close()


def test_idle_sessions_and_unbound_sockets_are_held_until_the_end(tool: Path) -> None:
    with carrier(tool) as (port, stop):
        idle = subprocess.Popen(
            [tool, "idle", "--port", str(port), "--sessions", "5", "--unbound", "3"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert idle.stdout is not None
        ready = json.loads(idle.stdout.readline())
        idle.terminate()
        output, _ = idle.communicate(timeout=WITHIN_S)
        assert stop()["binds"] == 5
    assert (ready["ready"], ready["bound"], ready["unbound"]) == (1, 5, 3)
    assert (last_line(output)["ended"], last_line(output)["unbound_closed"]) == (0, 0)


def test_a_bind_that_fails_says_which_and_why(tool: Path) -> None:
    port = free_port()
    done = subprocess.run(
        [tool, "esme", "--port", str(port)], capture_output=True, text=True, timeout=WITHIN_S
    )
    assert done.returncode == 1
    assert f"esme at 127.0.0.1:{port}: bind failed: Connection refused" in done.stderr


def test_requests_are_filled_in_and_batched_events_counted_one_by_one(tool: Path) -> None:
    port = free_port()
    body = '{"events":[{"id":"{n}","data":{"to":"{to}","tags":["a]}","\\""]}},{"id":"x"}]}'
    with serving(tool, "sink", "--port", port) as stop:
        wait_for_port(port)
        load = ("http", "--port", port, "--n", 100, "--conns", 4, "--method", "POST", "--target", "/{n}")
        batched = run(tool, *load, "--body", body)
        single = run(tool, *load, "--body", "{text}", "--rate", 2000)
        sent = stop()
    assert (batched["ok"], batched["bad"], batched["unanswered"]) == (100, 0, 0)
    assert (single["ok"], single["latency"]["count"]) == (100, 100)
    assert (sent["requests"], sent["events"]) == (200, 300)


def test_refused_requests_are_bad_and_the_first_is_shown(tool: Path) -> None:
    port = free_port()
    with serving(tool, "sink", "--port", port, "--fail-every", 10) as stop:
        wait_for_port(port)
        seen = run(tool, "http", "--port", port, "--n", 100, "--conns", 1, "--close")
        sent = stop()
    assert (seen["ok"], seen["bad"]) == (90, 10)
    assert seen["first_bad"].startswith("HTTP/1.1 503 Busy")
    assert (sent["failed"], sent["events"]) == (10, 90)


def test_unbound_sockets_are_opened_again_when_the_server_closes_them(tool: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = ("--port", port, "--unbound", 2, "--addresses", 2, "--redial", "--dials", 100)
        with serving(tool, "idle", *options) as stop:
            seen = set()
            for _ in range(6):
                connection, address = server.accept()
                connection.close()
                seen.add(address[0])
            found = stop()
    assert seen == {"127.77.0.1", "127.77.0.2"}
    assert found["unbound_closed"] >= found["redialled"] >= 4


def test_customers_who_all_stall_are_held_for_the_duration(tool: Path) -> None:
    with carrier(tool) as (port, _):
        seen = run(tool, "esme", "--port", port, "--stall", 1, "--window", 5, "--duration", 0.3)
    assert (seen["stalled_sent"], seen["sent"], seen["closed"]) == (5, 0, 0)


def test_an_option_nobody_knows_is_refused_with_its_name(tool: Path) -> None:
    done = subprocess.run([tool, "esme", "--windw", "5"], capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 2
    assert "no such option: --windw" in done.stderr


def test_without_a_compiler_the_bench_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(Failure) as caught:
        load_tool.built(tmp_path)
    assert "no C compiler" in caught.value.message
    assert "apt-get install gcc" in caught.value.hint
