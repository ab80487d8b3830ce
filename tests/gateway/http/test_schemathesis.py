"""A running gateway answers all that its /openapi.json allows, and refuses all that it forbids.

schemathesis (as a program, seeded) makes requests from the document, good and bad ones, and holds each answer
to it: status, codes, headers, types. Once with an account's key, once with an operator's, each for what its
role may do. `SIGNALBOX_SCHEMATHESIS_EXAMPLES` asks for more than the usual few of each endpoint, and
`SIGNALBOX_SCHEMATHESIS_SEED` for others.

Deliberately not here: what is right beyond the document (the tests beside this one).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.http.table import ENDPOINTS
from router.roles import PUBLIC, TABLE, Role

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = os.environ.get("SIGNALBOX_SCHEMATHESIS_EXAMPLES", "5")
HIGHEST_S = 900

# A gateway as `bin/signalbox run` starts it, but that it never holds up who keeps sending no key, as the tool
# does all the time; tests of that are in test_auth.py.
RUN = """
import gateway.http.auth as auth
auth._FREE_FAILURES = 10**9
from gateway.cli import main
main()
"""

CONFIG = """
[gateway]
data_dir = "{directory}/var"
[http]
listen = ["127.0.0.1:{http}"]
explain_to_accounts = true
[smpp]
listen = []
[store]
map_size_gb = 0.25
min_free_disk_mb = 0
[[simulators]]
name = "sim"
listen = "127.0.0.1:{smsc}"
system_id = "signalbox"
password = "secret"
[[carriers]]
name = "north"
host = "127.0.0.1"
port = {smsc}
system_id = "signalbox"
password = "secret"
[[routes]]
name = "default"
lane = ["north"]
"""

# 422: the document says what is well formed; whether a number exists, or a sender, only the gateway does.
SETTINGS = """
hooks = "{directory}/hooks.py"
request-timeout = 120.0

[checks]
enabled = true # all of them
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]

# Not ready is no failure of a gateway whose carrier was just suspended by this very test.
[[operations]]
include-operation-id = "getReadiness"
checks.not_a_server_error.enabled = false
checks.positive_data_acceptance.enabled = false

# It answers for as long as it is asked to; tests/gateway/test_tracing.py.
[[operations]]
include-operation-id = "trace"
enabled = false

# Each message of a batch or a stream is answered on its own: one that cannot be sent leaves the whole a 200.
# What an export cannot begin with is in its only line, as its status was said before its body came.
[[operations]]
include-operation-id = ["sendMessages", "streamMessages", "exportNumber"]
checks.negative_data_rejection.enabled = false
"""

HOOKS = """
import schemathesis
schemathesis.serializer.alias("application/x-ndjson", "text/plain")
"""


class House:
    """A gateway in a process of its own, and a key of each kind."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "gateway.toml"
        http, smsc = free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        self.config.write_text(CONFIG.format(directory=directory, http=http, smsc=smsc))
        (directory / "schemathesis.toml").write_text(SETTINGS.format(directory=directory))
        (directory / "hooks.py").write_text(HOOKS)
        self.log = (directory / "gateway.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", RUN, "run", "--config", str(self.config)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.account_key = self.operator_key = ""

    def prepare(self) -> None:
        """Wait until it serves, and make the keys."""
        assert self.process.stdout is not None
        assert any("a crash can send" in line for line in self.process.stdout), "it did not start"
        self.account_key = str(self.command("account", "create", "demo-shop")["api_key"])
        self.operator_key = str(self.command("operator", "create", "portal")["operator_key"])

    def command(self, *words: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "gateway.cli", *words, "--json", "--config", str(self.config)],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        )
        told = json.loads(done.stdout)
        assert isinstance(told, dict)
        return told

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)
        self.log.close()


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    running = House(tmp_path_factory.mktemp("schemathesis"))
    try:
        running.prepare()
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("who", ["account", "operator"])
def test_every_answer_is_as_the_document_says(house: House, who: str) -> None:
    key = house.account_key if who == "account" else house.operator_key
    allowed = TABLE[Role.ACCOUNT if who == "account" else Role.OWNER]
    opened = [one.id for one in ENDPOINTS if one.access == PUBLIC or one.access in allowed]
    which = [word for id in opened for word in ("--include-operation-id", id)]
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            str(house.config.parent / "schemathesis.toml"),
            "run",
            f"{house.url}/openapi.json",
            *("-H", f"Authorization: Bearer {key}"),
            *which,
            *("--phases", "examples,coverage,fuzzing"),  # stateful: it finds no links that say more
            *("--max-examples", EXAMPLES),
            *("--seed", os.environ.get("SIGNALBOX_SCHEMATHESIS_SEED", "1")),
            *("--suppress-health-check", "all"),
            "--no-color",
        ],
        cwd=house.config.parent,
        capture_output=True,
        check=False,
        text=True,
        timeout=HIGHEST_S,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert house.process.poll() is None
