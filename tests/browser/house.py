"""A running gateway with traffic, and a chromium that looks at its console.

The gateway is a process of its own on free ports: two simulated carriers that work, one that nobody listens
for, messages that come at a steady rate. `Looker` is a browser's page that notes every request that left the
gateway, every line on its console and every broken script: at the end of each test there is none.

Deliberately not here: what pages must say (the tests).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Literal
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, expect, sync_playwright

from tests.gateway.house import free_ports

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or ""
NEEDED = bool(CHROMIUM) and AXE.exists()

PATIENCE_MS = 20_000
START_S = 60
PASSWORD = "correct horse battery staple"
WIDTHS = (1440, 390)
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
# In a sandbox as root, and without a browser's own calls home.
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_SERIOUS = ("serious", "critical")

CONFIG = """
[gateway]
data_dir = "{directory}/var"
[http]
listen = ["127.0.0.1:{http}"]
[smpp]
listen = ["127.0.0.1:{smpp}"]
[store]
min_free_disk_mb = 0
[[simulators]]
name = "north"
listen = "127.0.0.1:{north}"
system_id = "sim"
password = "simpass"
[[simulators]]
name = "south"
listen = "127.0.0.1:{south}"
system_id = "sim"
password = "simpass"
[[carriers]]
name = "north"
host = "127.0.0.1"
port = {north}
system_id = "sim"
password = "simpass"
tps = 100
[[carriers]]
name = "south"
host = "127.0.0.1"
port = {south}
system_id = "sim"
password = "simpass"
[[carriers]]
name = "silent"
host = "127.0.0.1"
port = {silent}
system_id = "sim"
password = "simpass"
reconnect_max_s = 1
[[routes]]
name = "germany"
match = {{ prefix = ["49"] }}
lane = ["silent"]
[[routes]]
name = "france"
match = {{ prefix = ["33"] }}
lane = ["south"]
[[routes]]
name = "default"
lane = ["north"]
"""


class House:
    """`link`: the one-time link that the gateway printed at its start; `key`: an account's API key."""

    def __init__(self, directory: Path, config: Path, http: int, link: str) -> None:
        self.directory = directory
        self.config = config
        self.url = f"http://127.0.0.1:{http}"
        self.link = link
        self.http = http
        self.key = str(self.command("account", "create", "shop")["api_key"])

    def command(self, *words: str) -> Any:
        """`signalbox … --json`."""
        done = subprocess.run(
            [*_program(), *words, "--json", "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        return json.loads(done.stdout)

    def submit(self, to: str, text: str = "Hello", **fields: str) -> str:
        """An accepted message's id."""
        body = json.dumps({"to": to, "from": "Signalbox", "text": text, **fields}).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}/v1/messages", body, headers), timeout=START_S) as answer:
            return str(json.load(answer)["id"])


def _program() -> list[str]:
    return [sys.executable, "-P", "-m", "gateway.cli"]


@contextmanager
def running(directory: Path) -> Iterator[House]:
    """A gateway, stopped at the end."""
    http, smpp, north, south, silent = free_ports(5)
    config = directory / "gateway.toml"
    config.write_text(
        CONFIG.format(directory=directory, http=http, smpp=smpp, north=north, south=south, silent=silent)
    )
    (directory / "var").mkdir()
    with (directory / "log").open("w") as log:
        gateway = subprocess.Popen(
            [*_program(), "run", "--config", str(config)],
            stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
        )  # fmt: skip
        try:
            yield House(directory, config, http, _link(gateway))
        finally:
            gateway.terminate()
            gateway.wait(START_S)
            assert gateway.stdout is not None
            gateway.stdout.close()


def _link(gateway: subprocess.Popen[str]) -> str:
    """The one-time link among its first lines."""
    lines: Queue[str] = Queue()
    assert gateway.stdout is not None
    stdout = gateway.stdout

    def read() -> None:
        for line in stdout:
            lines.put(line)

    Thread(target=read, daemon=True).start()
    said = ""
    try:
        while True:
            said += lines.get(timeout=START_S)
            found = re.search(r"http\S+/console/welcome#\S+", said)
            if found:
                return found[0]
    except Empty:
        raise AssertionError(f"no link was printed in {START_S} s: {said}") from None


@contextmanager
def traffic(house: House, rate: int = 20, count: int = 20_000) -> Iterator[None]:
    """Messages that come at a steady rate."""
    load = subprocess.Popen(
        [
            *_program(), "load", "http", "--port", str(house.http), "--key", house.key, "--rate", str(rate),
            "--count", str(count), "--connections", "2",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    try:
        yield
    finally:
        load.kill()
        load.wait()


class Looker:
    """A page of the browser. `wrong`: what no page may do."""

    def __init__(self, house: House, context: BrowserContext) -> None:
        self.house = house
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.wrong: list[str] = []
        self.expected: list[str] = []  # parts of what a test brings about
        self.page.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.house.url + "/", "data:", "blob:")):
            self.wrong.append(f"outside: {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text} at {self.page.url}")

    def go(self, path: str) -> int:
        """A page of the console; its status."""
        answer = self.page.goto(f"{self.house.url}/console{path}", wait_until="load")
        return answer.status if answer is not None else 0

    def axe(self) -> list[str]:
        """What axe finds serious on the page as it is."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}"
            for one in found["violations"]
            if one["impact"] in _SERIOUS
        ]

    def shot(self, name: str) -> None:
        """The whole page, for a person to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True, animations="disabled")

    def check(self) -> None:
        """Nothing went wrong that was not expected."""
        wrong = [one for one in self.wrong if not any(part in one for part in self.expected)]
        assert not wrong, wrong


@contextmanager
def browser() -> Iterator[Browser]:
    """A chromium without a face."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def looking(
    house: House,
    chromium: Browser,
    *,
    cookies: Sequence[Any] = (),
    width: int = 1440,
    theme: Theme = "light",
) -> Iterator[Looker]:
    """A fresh browser window; at its end, nothing may have gone wrong."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    context.add_cookies(list(cookies))
    try:
        looker = Looker(house, context)
        yield looker
        looker.check()
    finally:
        context.close()


def in_ci() -> bool:
    return bool(os.environ.get("CI"))
