"""Processes of a benchmark: who runs on which core, on which port, and how they end.

The gateway (or the floor, or Kannel) has core 0, or both where it says so; the load tools have core 1. Every
process is stopped by its owner, whatever happens. The load tool is smppload, a neutral C program; it is found
beside the clone or named by SIGNALBOX_SMPPLOAD.

Deliberately not here: what is measured (scenarios.py).
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SMSC, HTTP, SINK, FLOOR = 12775, 18080, 19999, 12780


def smppload() -> Path:
    """The compiled load tool. Raises FileNotFoundError with what to do."""
    source = Path(os.environ.get("SIGNALBOX_SMPPLOAD", ROOT.parent / "shared" / "bench" / "smppload.c"))
    if not source.is_file():
        raise FileNotFoundError("the load tool smppload.c is not there; name it in SIGNALBOX_SMPPLOAD")
    built = Path(tempfile.gettempdir()) / f"signalbox-smppload-{os.getuid()}"
    if not built.is_file() or built.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-w", "-o", str(built), str(source)], check=True)
    return built


@contextmanager
def running(*command: object, core: str = "1", log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process for the length of the block, pinned, interrupted at its end."""
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
    """The JSON line a load tool prints at its end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


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


CONFIG = """
[gateway]
data_dir = "{data}"
demo = true
log_level = "error"
[http]
listen = ["127.0.0.1:{http}"]
[callbacks]
concurrency_per_endpoint = 16
[[carriers]]
name = "c"
host = "127.0.0.1"
port = {smsc}
system_id = "u"
password = "p"
sessions = 2
window = {window}
tps = {tps}
reconnect_min_s = 0.1
[[routes]]
name = "default"
lane = ["c"]
"""


class Gateway:
    """A running Signalbox with one carrier."""

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
            check=True,
        )
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

    def anonymous_memory_kib(self) -> int:
        """RssAnon: LMDB's map counts into RSS and means nothing."""
        pid = self.process.pid
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1])
        return 0

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway(
    path: Path, *, window: int = 500, tps: int = 0, batch: int = 0, core: str = "0"
) -> Iterator[Gateway]:
    """Signalbox on its core; `batch` > 0: the demo account's events go to the sink, so many in one POST."""
    config = path / "gateway.toml"
    config.write_text(CONFIG.format(data=path / "data", http=HTTP, smsc=SMSC, window=window, tps=tps))
    python = ROOT / ".venv" / "bin" / "python"
    log = path / "gateway.log"
    with running(python, "-P", "-m", "gateway.cli", "run", "--config", config, core=core, log=log) as process:
        wait_for_port(HTTP)
        for line in process.stdout or ():
            if "curl" in line:
                break
        made = Gateway(path, process)
        if batch:
            url = f"http://127.0.0.1:{SINK}/events"
            made.command("account", "set", "demo", "--callback-url", url, "--callback-batch", str(batch))
        yield made


def post_load(tool: Path, key: str, count: int, *, connections: int = 32, batch: int = 1) -> dict[str, Any]:
    """`count` POSTs over keep-alive connections; latencies and rate as the tool saw them."""
    one = '{"to":"+%1$s","from":"BENCH","text":"%2$s"}'
    body = one if batch == 1 else "[" + ",".join([one] * batch) + "]"
    target = "/v1/messages" if batch == 1 else "/v1/messages/batch"
    ok = "202" if batch == 1 else "200"
    with running(
        tool, "http", "--host", "127.0.0.1", "--port", HTTP, "--n", count, "--conns", connections,
        "--target", target, "--method", "POST", "--body", body, "--ok", ok,
        "--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json",
    ) as process:  # fmt: skip
        output, _ = process.communicate(timeout=300)
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    if found["bad"]:
        raise RuntimeError(f"{found['bad']} requests were refused: {found['first_bad']}")
    return found
