"""What traffic notices of people who watch it: five consoles that are open, and a trace on one bind.

The headline of SMPP (scenarios_smpp.headline) in turn without and with them. A console is a page that is
open: its stream of events, read as a browser reads it, and the page itself loaded again now and then; the
trace is the command. All of them share the load tool's core.

Deliberately not here: what a browser does with it (tests/browser).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.rig import HTTP, LOAD_CORE, ROOT, Gateway, final_json, gateway, running, scratch, smsc
from bench.scenarios_smpp import ONE, ONE_CARRIER, customers, told

Figures = dict[str, Any]

WATCHED = ("overview", "overview", "carriers", "queues", "accounts")
_NAME, _PASSWORD = "noc", "correct horse battery staple"
_RELOAD_S = 10.0
_PATIENCE_S = 30


def watched(tool: Path, count: int, rounds: int) -> Figures:
    """The full cycle with five consoles and a trace, and without, in turn."""
    alone: list[Figures] = []
    beside: list[Figures] = []
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    try:
        for _ in range(rounds):
            alone.append(_cycle(tool, count, watch=False))
            beside.append(_cycle(tool, count, watch=True))
    finally:
        os.sched_setaffinity(0, cores)
    ratios = [one["per_s"] / other["per_s"] for one, other in zip(beside, alone, strict=True)]
    return {
        "per_s": statistics.median(figures["per_s"] for figures in beside),
        "per_s_alone": statistics.median(figures["per_s"] for figures in alone),
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "cpu_us": statistics.median(figures["cpu_us"] for figures in beside),
        "cpu_us_alone": statistics.median(figures["cpu_us"] for figures in alone),
        "events_read": min(figures["events_read"] for figures in beside),
        "lost": sum(figures["lost"] for figures in (*alone, *beside)),
        "duplicated": sum(figures["duplicated"] for figures in (*alone, *beside)),
    }


def _cycle(tool: Path, count: int, *, watch: bool) -> Figures:
    with (
        scratch() as path,
        smsc(tool),
        gateway(path, ONE_CARRIER, groups=[ONE]) as signalbox,
        ExitStack() as on,
    ):
        consoles = on.enter_context(_consoles(signalbox)) if watch else []
        if watch:
            on.enter_context(_trace(signalbox))
        before = signalbox.cpu_s()
        with customers(tool, ONE, "--n", count) as process:
            found = told(final_json(process, 300))
        cpu_us = (signalbox.cpu_s() - before) / count * 1e6
        return {**found, "cpu_us": cpu_us, "events_read": sum(one.events for one in consoles)}


@contextmanager
def _trace(signalbox: Gateway) -> Iterator[None]:
    """Of the carrier's one bind, shown to nobody."""
    bind = f"{ONE_CARRIER[0].name}/1"
    python = ROOT / ".venv" / "bin" / "python"
    config = signalbox.path / "gateway.toml"
    with running(
        python, "-P", "-m", "gateway.cli", "trace", "--bind", bind, "--for", "1h", "--config", config,
        log=signalbox.path / "trace.log",
    ) as process:  # fmt: skip
        reader = threading.Thread(target=_read_off, args=(process,), daemon=True)
        reader.start()
        yield


def _read_off(process: Any) -> None:
    for _ in process.stdout:
        pass


@contextmanager
def _consoles(signalbox: Gateway) -> Iterator[list[Console]]:
    cookie = _signed_in(signalbox)
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
        for thread in self._threads:
            thread.join()
        self._stream.close()

    def _watch(self) -> None:
        answer = self._stream.getresponse()
        assert answer.status == 200, answer.status
        while not self._over.is_set():
            line = answer.readline()
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
