"""Kill the gateway again and again under load, then count: nothing answered may be lost.

Real processes on loopback: a carrier that survives, the gateway, and this one, which posts batches, and
submits over SMPP, and remembers what was answered. Used by tests/crash and by bin/crashtest.

Deliberately not here: what is asserted (test_kills.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.customer import PASSWORD, SYSTEM_ID, Customer

ROOT = Path(__file__).resolve().parent.parent.parent
_CONFIG = """
[gateway]
data_dir = "{data}"
demo = true
[log]
format = "json"
[http]
listen = ["127.0.0.1:{http}"]
[smpp]
listen = ["127.0.0.1:{smpp}"]
[unknown]
resend_after_s = 0.3
[[carriers]]
name = "c"
host = "127.0.0.1"
port = {carrier}
system_id = "u"
password = "p"
sessions = 2
window = 50
reconnect_min_s = 0.1
reconnect_max_s = 0.2
unbind_pause_s = 0
[[routes]]
name = "default"
lane = ["c"]
"""


def free_ports(count: int) -> list[int]:
    """Different ones, below those that outgoing connections take: they must be free at each restart."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


@dataclass
class Report:
    """What a run came to."""

    kills: int = 0
    answered: dict[str, str] = field(default_factory=dict)  # id → text
    announced: int = 0  # unknown outcomes that start-ups told of
    seen: Counter[str] = field(default_factory=Counter)
    totals: dict[str, float] = field(default_factory=dict)
    findings: str = ""
    told: dict[str, set[str]] = field(default_factory=dict)  # over SMPP: id → final states
    over_smpp: int = 0  # of those answered

    @property
    def not_told(self) -> list[str]:
        """Answered over SMPP and without exactly one final state in its receipts."""
        return [
            id
            for id, text in self.answered.items()
            if text.startswith("over smpp") and len(self.told.get(id, ())) != 1
        ]

    @property
    def lost(self) -> list[str]:
        return [id for id, text in self.answered.items() if not self.seen[text]]

    @property
    def sent_again(self) -> int:
        return sum(count - 1 for count in self.seen.values())

    @property
    def not_final(self) -> float:
        return self.totals["accepted"] - self.totals["final"]

    def summary(self) -> dict[str, object]:
        return {
            "kills": self.kills,
            "answered": len(self.answered),
            "over_smpp": self.over_smpp,
            "without_one_receipt": len(self.not_told),
            "lost": len(self.lost),
            "sent_again": self.sent_again,
            "announced": self.announced,
            "not_final": self.not_final,
            "store_check": self.findings,
        }


class Harness:
    """Use as a context manager; everything it started ends with it."""

    def __init__(self, directory: Path, seed: int = 0) -> None:
        self.directory = directory
        self.rng = random.Random(seed)
        self.http, carrier, smpp = free_ports(3)
        self.customer = Customer(smpp)
        self.config = directory / "gateway.toml"
        self.config.write_text(
            _CONFIG.format(data=directory / "data", http=self.http, carrier=carrier, smpp=smpp)
        )
        self.submits = directory / "submits.log"
        self.submits.touch()
        self.log = directory / "gateway.log"
        self.report = Report()
        self._number = 0
        self._python = sys.executable
        self._carrier = subprocess.Popen(
            [self._python, "-m", "tests.crash.carrier", str(carrier), str(self.submits)], cwd=ROOT
        )
        self.gateway: subprocess.Popen[bytes] | None = None
        self._run("account", "create", SYSTEM_ID, "--system-id", SYSTEM_ID, "--password", PASSWORD)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [self._python, "-P", "-m", "gateway.cli", *command, "--config", str(self.config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or done.stderr.strip()

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_: object) -> None:
        self.customer.stop()
        for process in (self.gateway, self._carrier):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def start(self, crash_at: str = "") -> bool:
        """Start the gateway; False when it died before it listened (a start-up phase was the wish)."""
        env = {**os.environ, "SIGNALBOX_CRASH_AT": crash_at}
        with self.log.open("ab") as log:
            self.gateway = subprocess.Popen(
                [self._python, "-P", "-m", "gateway.cli", "run", "--config", str(self.config)],
                cwd=ROOT,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        key = self.directory / "data" / "demo.key"
        while self.gateway.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.http)) == 0 and key.exists():
                    return True
            time.sleep(0.01)
        return False

    def post(self, until: float, most: int = 1_000_000) -> None:
        """Post batches until the time, the count or the gateway's death."""
        key = (self.directory / "data" / "demo.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        sent = 0
        self.customer.start()
        with contextlib.suppress(OSError, http.client.HTTPException):
            while time.monotonic() < until and sent < most:
                size = self.rng.choice((1, 1, 5, 20))
                texts = [f"crash {self._number + offset}" for offset in range(size)]
                self._number += size
                sent += size
                batch = [{"to": "+447700900123", "from": "CRASH", "text": text} for text in texts]
                connection.request("POST", "/v1/messages/batch", json.dumps(batch), headers)
                answer = json.loads(connection.getresponse().read())
                for text, result in zip(texts, answer.get("results", ()), strict=False):
                    if result.get("status") == 202:
                        self.report.answered[result["id"]] = text
        connection.close()

    def stream(self, texts: Sequence[str], most: int) -> dict[str, Any]:
        """Send these as one stream, with the same Idempotency-Key each time; read until so many are answered.

        Returns the last line of the answer, {} where `most` came first.
        """
        key = (self.directory / "data" / "demo.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "one stream"}
        headers["Content-Type"] = "application/x-ndjson"
        lines = (json.dumps({"to": "+447700900123", "from": "CRASH", "text": text}) for text in texts)
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/messages/stream", "\n".join(lines), headers)
            answer = connection.getresponse()
            for _ in range(most):
                said: dict[str, Any] = json.loads(answer.readline())
                if "done" in said:
                    return said
                text = texts[said["line"] - 1]
                assert self.report.answered.setdefault(said["id"], text) == text
        return {}

    def kill(self) -> None:
        assert self.gateway is not None
        self.gateway.send_signal(signal.SIGKILL)
        self.gateway.wait()
        self.customer.stop()
        self.report.kills += 1

    def died(self) -> None:
        """It killed itself at a named phase."""
        assert self.gateway is not None
        self.gateway.wait(30)
        self.customer.stop()
        self.report.kills += 1

    def finish(self, within_s: float = 60) -> Report:
        """Let everything end, stop politely, check the store, count."""
        assert self.start()
        self.report.answered.update(self.customer.answered)
        self.report.over_smpp = len(self.customer.answered)
        self.report.told = self.customer.told
        self.customer.start(submitting=False)
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            self.report.totals = self._totals()
            if self.report.totals["accepted"] == self.report.totals["final"] and not self.report.not_told:
                break
            time.sleep(0.05)
        assert self.gateway is not None
        self.gateway.terminate()
        self.gateway.wait(60)
        self.customer.stop()
        self.report.findings = self._run("store", "check")
        self.report.seen = Counter(self.submits.read_text().splitlines())
        for line in self.log.read_text().splitlines():
            if "unknown outcome after the last stop" in line:
                self.report.announced += int(json.loads(line)["count"])
        return self.report

    def _totals(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        prefix = 'signalbox_messages_by_state{state="'
        rows = [line[len(prefix) :].split('"} ') for line in lines if line.startswith(prefix)]
        return {state: float(value) for state, value in rows}


def random_kills(directory: Path, kills: int, seed: int, *, progress: bool = False) -> Report:
    """Kill at so many random moments under load."""
    with Harness(directory, seed) as harness:
        for number in range(kills):
            assert harness.start(), "the gateway did not start; its log: " + str(harness.log)
            moment_s = harness.rng.uniform(0.0, 0.6)
            harness.post(time.monotonic() + moment_s)
            harness.kill()
            if progress and number % 10 == 9:
                print(
                    f"{number + 1} kills, {len(harness.report.answered)} answered",
                    file=sys.stderr,
                    flush=True,
                )
        return harness.finish()
