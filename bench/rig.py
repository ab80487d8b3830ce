"""Processes of a benchmark: who runs on which core, on which port, and how they end.

The gateway (or the floor, or Kannel) has the first core, or all where it says so; the load tool and the
simulated carriers have the last. Every process is stopped by its owner, whatever happens.

Deliberately not here: what is measured (scenarios.py, scenarios_smpp.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import customers
from bench.customers import Customers

ROOT = Path(__file__).resolve().parent.parent
SMSC, HTTP, SINK, FLOOR, SMPP = 12775, 18080, 19999, 12780, 12776
GATEWAY_CORE, LOAD_CORE = (str(core) for core in (min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))))
ALL_CORES = ",".join(map(str, sorted(os.sched_getaffinity(0))))


@contextmanager
def running(
    *command: object, core: str = LOAD_CORE, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process for the length of the block, pinned, interrupted at its end; stderr goes to `log`."""
    with (log or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=ROOT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Stop a load tool and read the JSON line it prints at its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return final_json(process, within_s=30)


def final_json(
    process: subprocess.Popen[str], within_s: float, meanwhile: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Wait for a load tool's own end and read its JSON line; `meanwhile` is called every second.

    Raises TimeoutError, and RuntimeError when it ended without a result.
    """
    end = time.monotonic() + within_s
    while meanwhile is not None and process.poll() is None and time.monotonic() < end:
        meanwhile()
        time.sleep(1)
    try:
        output, _ = process.communicate(timeout=max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{process.args!r} was not done after {within_s:.0f} s") from None
    lines = output.strip().splitlines()
    if not lines:
        raise RuntimeError(f"{process.args!r} ended with status {process.returncode} and no result")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Seconds of CPU that it has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_port(port: int, within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {within_s} s")


@contextmanager
def scratch() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="signalbox-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def smsc(
    tool: Path, *options: object, port: int = SMSC, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A simulated carrier that listens."""
    with running(tool, "smsc", "--port", port, *options, log=log) as process:
        wait_for_port(port)
        yield process


@dataclass(frozen=True)
class Carrier:
    """One [[carriers]] entry; the route takes `prefix`, or everything."""

    name: str = "c"
    port: int = SMSC
    system_id: str = "u"
    sessions: int = 2
    window: int = 500
    tps: float = 0
    prefix: str = ""

    def toml(self) -> str:
        return (
            f'[[carriers]]\nname = "{self.name}"\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'system_id = "{self.system_id}"\npassword = "p"\nsessions = {self.sessions}\n'
            f"window = {self.window}\ntps = {self.tps}\nreconnect_min_s = 0.1\n"
        )


def routes_toml(carriers: tuple[Carrier, ...]) -> str:
    """A route for each prefix; the carriers without one share the rest evenly."""
    own = [carrier for carrier in carriers if carrier.prefix]
    shared = ", ".join(f'{{ carrier = "{c.name}", weight = 1 }}' for c in carriers if not c.prefix)
    routes = [
        f'[[routes]]\nname = "{c.name}"\nmatch = {{ prefix = ["{c.prefix}"] }}\nlane = ["{c.name}"]\n'
        for c in own
    ]
    if shared:
        routes.append(f'[[routes]]\nname = "default"\nlane = [{shared}]\n')
    return "".join(routes)


CONFIG = """
[gateway]
data_dir = "{data}"
demo = true
[log]
level = "error"
[http]
listen = ["127.0.0.1:{http}"]
{more}
[callbacks]
concurrency_per_endpoint = 16
"""
SMPP_CONFIG = f"""
[smpp]
listen = ["127.0.0.1:{SMPP}"]
"""


class Gateway:
    """A running Signalbox."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self.process = process
        self.key = (path / "data" / "demo.key").read_text().strip()

    def command(self, *arguments: str) -> str:
        """A `signalbox` verb on this gateway."""
        done = subprocess.run(
            [ROOT / "bin" / "signalbox", *arguments, "--config", str(self.path / "gateway.toml")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"signalbox {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in rows}

    def wait_final(self, count: int, within_s: float = 120) -> None:
        """Until `count` messages are final and no callback is left."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            now = self.metrics()
            if (
                now['signalbox_messages_by_state{state="final"}'] >= count
                and not now["signalbox_callback_backlog"]
            ):
                return
            time.sleep(0.1)
        raise TimeoutError(f"{count} messages were not final after {within_s} s")

    def anonymous_memory_mib(self) -> float:
        """RssAnon: LMDB's map counts into RSS and means nothing."""
        pid = self.process.pid
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu_s(self) -> float:
        return cpu_s(self.process)


@contextmanager
def gateway(
    path: Path,
    carriers: tuple[Carrier, ...] = (Carrier(),),
    *,
    groups: Sequence[Customers] = (),
    batch: int = 0,
    more: str = "",
    http: str = "",
    core: str = GATEWAY_CORE,
) -> Iterator[Gateway]:
    """Signalbox on its core, which keeps its data in `path`.

    `groups`: customers that may bind; it listens for SMPP then. `batch` > 0: the demo account's events go to
    the sink, so many in one POST. `more`: further tables of the configuration, `http`: further keys of
    [http].
    """
    config = path / "gateway.toml"
    head = CONFIG.format(data=path / "data", http=HTTP, more=http) + (SMPP_CONFIG if groups else "") + more
    config.write_text(head + "".join(carrier.toml() for carrier in carriers) + routes_toml(carriers))
    customers.make(config, path / "data", groups)
    python = ROOT / ".venv" / "bin" / "python"
    log = path / "gateway.log"
    with running(python, "-P", "-m", "gateway.cli", "run", "--config", config, core=core, log=log) as process:
        wait_for_port(HTTP)
        if groups:
            wait_for_port(SMPP)
        for line in process.stdout or ():
            if "curl" in line:
                break
        made = Gateway(path, process)
        if batch:
            url = f"http://127.0.0.1:{SINK}/events"
            made.command("account", "set", "demo", "--callback-url", url, "--callback-batch", str(batch))
        yield made


def post_load(
    tool: Path,
    key: str,
    count: int,
    *,
    connections: int = 32,
    batch: int = 1,
    rate_per_s: float = 0,
    within_s: float = 300,
) -> dict[str, Any]:
    """`count` POSTs over keep-alive connections, in closed loop or at a rate; figures as the tool saw them.

    Raises RuntimeError when one was not accepted.
    """
    one = '{"to":"+{to}","from":"BENCH","text":"{text}"}'
    body = one if batch == 1 else "[" + ",".join([one] * batch) + "]"
    target = "/v1/messages" if batch == 1 else "/v1/messages/batch"
    ok = "202" if batch == 1 else "200"
    with running(
        tool, "http", "--port", HTTP, "--n", count, "--conns", connections, "--rate", rate_per_s,
        "--target", target, "--method", "POST", "--body", body, "--ok", ok,
        "--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json",
    ) as process:  # fmt: skip
        found = final_json(process, within_s)
    if found["bad"] or found["unanswered"]:
        raise RuntimeError(
            f"{found['bad']} requests were refused, {found['unanswered']} not answered: {found['first_bad']}"
        )
    return found
