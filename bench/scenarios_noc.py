"""What traffic notices of people who watch it: five consoles that are open, and a trace on one bind.

The headline of SMPP (scenarios_smpp.headline), in windows of some seconds without and with them in turn. A
console is a page that is open: its stream of events, read as a browser reads it, and the page itself loaded
again now and then; the trace is the command. All of them share the load tool's core.

Deliberately not here: what a browser does with it (tests/browser).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple
from urllib.parse import urlencode

from bench.rig import HTTP, LOAD_CORE, ROOT, Gateway, final_json, gateway, running, scratch, smsc
from bench.scenarios_smpp import ONE, ONE_CARRIER, customers, told

Figures = dict[str, Any]

WATCHED = ("overview", "overview", "carriers", "queues", "accounts")
_NAME, _PASSWORD = "noc", "correct horse battery staple"
_WARM_S, _WINDOW_S, _RELOAD_S = 3.0, 6.0, 5.0
_PATIENCE_S = 30


def watched(tool: Path, count: int, rounds: int) -> Figures:
    """The full cycle without anybody, with five consoles and a trace, and again without, `rounds` times in
    one run of `count` messages in each: a window beside its two neighbours, as machines drift."""
    windows: list[Window] = []
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    try:
        with (
            scratch() as path,
            smsc(tool),
            gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox,
            customers(tool, ONE, "--n", count * rounds) as process,
        ):
            cookie = _signed_in(signalbox)
            _window(signalbox, process, seconds=_WARM_S)
            while (window := _in_turn(signalbox, process, cookie, watch=bool(len(windows) % 2))) is not None:
                windows.append(window)
            found = told(final_json(process, 300))
    finally:
        os.sched_setaffinity(0, cores)
    beside = windows[1:-1:2]
    around = list(zip(windows[0::2], windows[2::2], strict=False))
    ratios = [
        2 * one.per_s / (before.per_s + after.per_s)
        for one, (before, after) in zip(beside, around, strict=False)
    ]
    cpu = [
        one.cpu_us - (before.cpu_us + after.cpu_us) / 2
        for one, (before, after) in zip(beside, around, strict=False)
    ]
    return {
        "windows": len(windows),
        "per_s": statistics.median(one.per_s for one in beside),
        "per_s_alone": statistics.median(one.per_s for one in windows[0::2]),
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "cpu_us_alone": statistics.median(one.cpu_us for one in windows[0::2]),
        "cpu_us_more": {"median": statistics.median(cpu), "least": min(cpu), "most": max(cpu)},
        "load_busy": statistics.median(one.load_busy for one in windows[0::2]),
        "load_busy_watched": statistics.median(one.load_busy for one in beside),
        "events_read": sum(one.events for one in beside),
        "traced": sum(one.traced for one in beside),
        "lost": found["lost"],
        "duplicated": found["duplicated"],
    }


class Window(NamedTuple):
    """What passed in some seconds. `cpu_us`: the gateway's, for each message that ended; `load_busy`: the
    share of its core that load tool, SMSC and watchers took; `events`, `traced`: what the watchers read."""

    per_s: float
    cpu_us: float
    load_busy: float
    events: int = 0
    traced: int = 0


def _in_turn(signalbox: Gateway, process: Popen[str], cookie: str, *, watch: bool) -> Window | None:
    """One window; None: the load came to its end."""
    with ExitStack() as on:
        consoles = on.enter_context(_consoles(cookie)) if watch else []
        trace = on.enter_context(_trace(signalbox)) if watch else None
        events, traced = sum(one.events for one in consoles), trace.records if trace is not None else 0
        window = _window(signalbox, process, seconds=_WINDOW_S)
        if window is None:
            return None
        return window._replace(
            events=sum(one.events for one in consoles) - events,
            traced=(trace.records if trace is not None else 0) - traced,
        )


def _window(signalbox: Gateway, process: Popen[str], *, seconds: float) -> Window | None:
    before, ended, cpu_s, busy_s = time.monotonic(), _ended(signalbox), signalbox.cpu_s(), _busy_s()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        took = time.monotonic() - before
        count = _ended(signalbox) - ended
        cpu_us = (signalbox.cpu_s() - cpu_s) / max(1, count) * 1e6
        return Window(count / took, cpu_us, (_busy_s() - busy_s) / took)
    return None


def _ended(signalbox: Gateway) -> int:
    """Messages that are final."""
    return int(signalbox.metrics()['signalbox_messages_by_state{state="final"}'])


def _busy_s() -> float:
    """What the load's core has worked since its start."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, user, nice, system, *_ = line.split()
        if name == f"cpu{LOAD_CORE}":
            return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Traced:
    """`signalbox trace` of the carrier's one bind, shown to nobody. `records`: lines that it wrote."""

    def __init__(self, process: Popen[str]) -> None:
        self.records = 0
        self._process = process
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read_off, daemon=True)
        self._reader.start()

    def wait(self) -> None:
        assert self._begun.wait(_PATIENCE_S), "the trace shows nothing"

    def _read_off(self) -> None:
        for _ in self._process.stdout or ():
            self.records += 1
            self._begun.set()


@contextmanager
def _trace(signalbox: Gateway) -> Iterator[Traced]:
    """Until it is shown, it has begun."""
    bind = f"{ONE_CARRIER[0].name}/1"
    python = ROOT / ".venv" / "bin" / "python"
    config = signalbox.path / "gateway.toml"
    with running(
        python, "-P", "-m", "gateway.cli", "trace", "--bind", bind, "--for", "1h", "--config", config,
        log=signalbox.path / "trace.log",
    ) as process:  # fmt: skip
        traced = Traced(process)
        traced.wait()
        yield traced


@contextmanager
def _consoles(cookie: str) -> Iterator[list[Console]]:
    consoles = [Console(topic, cookie) for topic in WATCHED]
    for one in consoles:
        one.start()
    try:
        yield consoles
    finally:
        for one in consoles:
            one.stop()


class Console:
    """One page, open. `events`: how many it was told."""

    def __init__(self, topic: str, cookie: str) -> None:
        self.events = 0
        self._topic = topic
        self._headers = {"Cookie": cookie}
        self._over = threading.Event()
        self._stream = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=_PATIENCE_S)
        self._threads = [threading.Thread(target=self._watch), threading.Thread(target=self._reload)]

    def start(self) -> None:
        self._load()
        self._stream.request("GET", f"/console/live/{self._topic}", headers=self._headers)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._stream.sock is not None:
            self._stream.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._stream.close()

    def _watch(self) -> None:
        answer = self._stream.getresponse()
        assert answer.status == 200, answer.status
        while not self._over.is_set():
            line = answer.readline()
            if not line:
                break
            self.events += line.startswith(b"id:")

    def _reload(self) -> None:
        while not self._over.wait(_RELOAD_S):
            self._load()

    def _load(self) -> None:
        page = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=_PATIENCE_S)
        page.request("GET", f"/console/{self._topic}", headers=self._headers)
        answer = page.getresponse()
        answer.read()
        page.close()
        assert answer.status == 200, answer.status


def _signed_in(signalbox: Gateway) -> str:
    """An owner's cookie, by a one-time link as people use it."""
    signalbox.command("operator", "create", _NAME, "--role", "owner")
    said = signalbox.command("operator", "sign-in-link", _NAME, "--json")
    token = re.search(r"welcome#([\w.~-]+)", json.dumps(json.loads(said)))
    assert token is not None, said
    form = {"link": token[1], "name": _NAME, "password": _PASSWORD, "again": _PASSWORD}
    connection = http.client.HTTPConnection("127.0.0.1", HTTP, timeout=_PATIENCE_S)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/welcome", urlencode(form), headers)
    answer = connection.getresponse()
    answer.read()
    cookie = (answer.headers["Set-Cookie"] or "").partition(";")[0]
    connection.close()
    assert cookie, answer.status
    return cookie
