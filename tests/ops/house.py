"""A gateway as a process, its carrier as another, and a Prometheus that scrapes it with the alerts that ship.

Everything is on loopback, on ports and in directories of its own, and ends with its test, at the latest
after `LONGEST_S`. Real time passes: a test polls for what it wants to see, until a deadline.

Deliberately not here: what is caused, and what is expected of it (test_scenarios.py).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.message import Message
from html import unescape
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from gateway.admin_client import AdminClient
from gateway.passwords import hash_password
from smpp import codec
from smpp.pdu import BindTransceiver, Pdu, SubmitSm
from tests.interop.house import free_port, program

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "ops" / "prometheus" / "alerts.yml"
PROMETHEUS = program("prometheus")
TIMEOUT = shutil.which("timeout")
LONGEST_S = 150
WITHIN_S = 15.0  # from its cause to Overview, alert and reason
PATIENCE_S = 60.0  # of the test itself, on a busy machine
POLL_S = 0.2
PASSWORD = "secret"

CONFIG = """
[gateway]
data_dir = "{data}"
drain_timeout_s = 1
[http]
listen = ["127.0.0.1:{http}"]
[smpp]
listen = ["127.0.0.1:{smpp}"]
[store]
map_size_gb = 0.25
min_free_disk_mb = {reserve_mb}
[[carriers]]
name = "north"
host = "127.0.0.1"
port = {carrier}
system_id = "signalbox"
password = "secret"
tps = 200
reconnect_min_s = 0.2
reconnect_max_s = 1
[[routes]]
name = "default"
lane = ["north"]
"""
PROMETHEUS_CONFIG = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: signalbox
    static_configs: [{{ targets: ["127.0.0.1:{http}"] }}]
"""


class Seen(NamedTuple):
    """How a scenario was told: the top problem, its alert, the reason line, and the cause's time (UTC s)."""

    caused_at: float
    problem: dict[str, Any]
    alert: dict[str, Any]
    reason: str

    @property
    def known_after_s(self) -> float:
        """From the cause to the problem's `since`."""
        return _utc_s(self.problem["since"]) - self.caused_at

    @property
    def active_after_s(self) -> float:
        """From the cause to the alert's activeAt, without its `for`."""
        return _utc_s(self.alert["activeAt"]) - self.caused_at


class House:
    """A gateway that runs. `carrier` is the simulator's process."""

    def __init__(self, directory: Path, http: int, smpp: int, prometheus: int) -> None:
        self.directory = directory
        self.http_port = http
        self.smpp_port = smpp
        self.prometheus_port = prometheus
        self.carrier: subprocess.Popen[bytes] | None = None
        self.admin = AdminClient(directory / "data" / "admin.sock", reason="a scenario")
        self.operator = ""  # an operator's key
        self._cookie = ""  # of the console

    def account(self, name: str, **settings: object) -> str:
        """A new account's API key. With a system_id of its own it may bind."""
        chosen: dict[str, Any] = dict(settings)
        if chosen.pop("binds", False):
            chosen |= {"system_id": name, "password_hash": hash_password(PASSWORD.encode())}
        return str(self.admin.call("account.create", name=name, **chosen)["api_key"])

    def submit(self, key: str, count: int) -> None:
        messages = [
            {"to": f"4477009{number:05}", "from": "12345", "text": "Hello"} for number in range(count)
        ]
        status, answer = self.ask("POST", "/v1/messages/batch", key, messages)
        assert status in (200, 202, 207), answer
        assert answer["refused"] == 0, answer

    def ask(self, method: str, path: str, key: str = "", body: object = None) -> tuple[int, Any]:
        """(status, JSON or text)"""
        return _ask(self.http_port, method, path, key or self.operator, body)

    def overview(self) -> str:
        """The first problem on the console's page, as its reader sees it; "" where there is none."""
        if not self._cookie:
            self.admin.call("operator.password", name="noc", password="the noc of this test")
            form = urlencode({"name": "noc", "password": "the noc of this test"})
            headers, _ = self._console("POST", "/console/sign-in", form)
            self._cookie = str(headers["set-cookie"]).partition(";")[0]
        _, page = self._console("GET", "/console/overview")
        first = re.search(r'<li class="problem .*?</li>', page, re.DOTALL)
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", first[0]))).strip() if first else ""

    def _console(self, method: str, path: str, form: str = "") -> tuple[Message, str]:
        """A browser without scripts: the answer's headers and its page."""
        connection = HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        headers |= {"Cookie": self._cookie} if self._cookie else {}
        with contextlib.closing(connection):
            connection.request(method, path, form or None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status in (200, 302, 303), (answer.status, text)
            return answer.headers, text

    def problems(self) -> list[dict[str, Any]]:
        _, health = self.ask("GET", "/v1/health")
        return list(health["problems"])

    def lane_reason(self) -> str:
        _, found = self.ask("GET", "/v1/queues")
        return str(found["lanes"][0]["detail"]) if found["lanes"] else ""

    def firing(self, name: str) -> dict[str, Any] | None:
        _, found = _ask(self.prometheus_port, "GET", "/api/v1/alerts", "", None)
        alerts = [one for one in found["data"]["alerts"] if one["labels"]["alertname"] == name]
        return next((one for one in alerts if one["state"] == "firing"), None)

    def seen(self, caused_at: float, code: str, name: str, reason: Callable[[], str], words: str) -> Seen:
        """Once the problem is on top of Overview, its alert fires, and the reason has the words."""
        state: dict[str, Any] = {}

        def all_of_it() -> bool:
            state["problems"] = self.problems()
            state["reason"] = reason()
            state["alert"] = self.firing(name)
            state["overview"] = self.overview()
            top = state["problems"][:1]
            is_top = bool(top) and top[0]["code"] == code and bool(top[0]["since"])
            shown = is_top and start_of(top[0]["what"]) in state["overview"]
            return shown and words in state["reason"] and state["alert"] is not None

        until(all_of_it, lambda: f"{name} is not all told: {state}")
        return Seen(caused_at, state["problems"][0], state["alert"], state["reason"])


class Silent:
    """A customer that binds, submits, and does not read any more."""

    def __init__(self, port: int, system_id: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        bind = BindTransceiver(
            system_id=system_id.encode(), password=PASSWORD.encode(), interface_version=0x34
        )
        self._send(bind, 1)
        answer = self._socket.recv(4096)
        assert answer[8:12] == bytes(4), f"the bind was refused: {answer!r}"

    def submit(self, count: int) -> None:
        for number in range(count):
            message = SubmitSm(
                source_addr=b"12345",
                destination_addr=b"4477009%05d" % number,
                short_message=b"Hello",
                registered_delivery=1,
            )
            self._send(message, number + 2)

    def _send(self, pdu: Pdu, number: int) -> None:
        pdu.sequence_number = number
        self._socket.sendall(codec.encode(pdu))

    def close(self) -> None:
        self._socket.close()


class Hook(ThreadingHTTPServer):
    """A customer's web server that answers 500 to everything; `first_at`: when it did so first (UTC s)."""

    first_at = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Broken)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Broken(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Hook)
        self.server.first_at = self.server.first_at or time.time()
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def broken_hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def gateway(directory: Path, *carrier: str, data: Path | None = None, reserve_mb: int = 0) -> Iterator[House]:
    """Gateway, carrier (with these options of `signalbox simulate`) and Prometheus, all well."""
    http, smpp, prometheus, port = free_port(), free_port(), free_port(), free_port()
    (directory / "data").symlink_to(data) if data else (directory / "data").mkdir()
    config = directory / "gateway.toml"
    config.write_text(
        CONFIG.format(data=directory / "data", http=http, smpp=smpp, carrier=port, reserve_mb=reserve_mb)
    )
    scrapes = directory / "prometheus.yml"
    scrapes.write_text(PROMETHEUS_CONFIG.format(rules=RULES, http=http))
    house = House(directory, http, smpp, prometheus)
    with contextlib.ExitStack() as ends:

        def start(*words: str) -> subprocess.Popen[bytes]:
            return ends.enter_context(_process(directory, *words))

        simulate = ["simulate", "--listen", f"127.0.0.1:{port}", "--receipt-delay", "0.1", *carrier]
        house.carrier = start(str(ROOT / "bin" / "signalbox"), *simulate)
        start(str(ROOT / "bin" / "signalbox"), "run", "--config", str(config))
        assert PROMETHEUS is not None
        start(
            PROMETHEUS,
            f"--config.file={scrapes}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            "--log.level=error",
        )
        until(lambda: _is_up(http, "/readyz") and _is_up(prometheus, "/-/ready"), lambda: said(directory))
        house.operator = str(house.admin.call("operator.create", name="noc", role="operator")["operator_key"])
        if not reserve_mb:
            until(lambda: house.problems() == [], lambda: f"not well: {house.problems()}")
        yield house


@contextmanager
def _process(directory: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Ends with the block, and by itself after LONGEST_S."""
    assert TIMEOUT is not None
    name = Path(words[0]).name + ("-" + words[1] if words[1][:1] != "-" else "")
    python = [sys.executable] if Path(words[0]).name == "signalbox" else []
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [TIMEOUT, "-k", "5", str(LONGEST_S), *python, *words], stdout=log, stderr=log, cwd=ROOT
        )
        try:
            yield process
        finally:
            process.terminate()  # timeout passes it on
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(holds: Callable[[], object], told: Callable[[], str]) -> None:
    """Poll until it is so. A process that is not there yet is no failure before the deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError, json.JSONDecodeError):
            if holds():
                return
        assert time.monotonic() < deadline, told()
        time.sleep(POLL_S)


def said(directory: Path) -> str:
    """The ends of all logs."""
    return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in directory.glob("*.log"))


def start_of(what: str) -> str:
    """Of a problem's text: up to the first figure, which moves on."""
    return re.split(r"\d", what, maxsplit=1)[0].strip()


def for_s(name: str) -> float:
    """The `for` of an alert, as it ships."""
    found = re.search(rf"- alert: {name}\n.*?\n        for: (\d+)s\n", RULES.read_text(), re.DOTALL)
    assert found is not None
    return float(found[1])


def _is_up(port: int, path: str) -> bool:
    return _ask(port, "GET", path, "", None)[0] == 200


def _ask(port: int, method: str, path: str, key: str, body: object) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    data = None
    if body is not None:
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            status, text = refusal.code, refusal.read().decode()
    return status, json.loads(text) if text[:1] in "{[" and text else text


def _utc_s(text: str) -> float:
    """RFC 3339; Prometheus writes nanoseconds."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    return datetime.fromisoformat(text).timestamp()
