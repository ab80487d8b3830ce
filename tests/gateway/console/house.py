"""What tests of the console share: people who are signed in, and a browser that knows no scripts.

A visitor keeps its cookies, follows redirects and reads pages as text; `Known` says who a cookie belongs to,
without the sign-in that tests/gateway/test_sessions.py is about.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import trio

from gateway.console.live import COOKIE
from router.roles import Role, scopes_of
from tests.gateway.house import Running, running

CARRIERS = """
[[carriers]]
name = "north"
host = "127.0.0.1"
port = 9101
system_id = "x"
password = "x"

[[routes]]
name = "all"
lane = ["north"]
"""


class Person(NamedTuple):
    name: str
    role: str
    scopes: frozenset[str]
    csrf: str = "csrf-token"
    session: str = "s0"


class Known:
    """Sessions by their tokens: one for each role, named as the role."""

    def __init__(self) -> None:
        self.people = {role.value: Person(f"a-{role}", role.value, scopes_of(role.value)) for role in Role}

    def signed_in(self, token: str, address: str) -> Person | None:
        return self.people.get(token)


class Shown(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Visitor:
    """`role`: whose cookie it has; "": nobody's."""

    def __init__(self, house: Running, role: str = "owner") -> None:
        self._house = house
        self._role = role

    async def get(self, path: str, **headers: str) -> Shown:
        return await self._ask("GET", path, b"", headers)

    async def post(self, path: str, form: Mapping[str, str], **headers: str) -> Shown:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return await self._ask("POST", path, urlencode(form).encode(), headers)

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Shown:
        stream = await self.stream(method, path, body, headers, close=True)
        async with stream:
            answer = b"".join([part async for part in stream])
        head, _, rest = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines[1:])
        return Shown(
            int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}, rest.decode()
        )

    async def stream(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, close: bool = False
    ) -> trio.abc.Stream:
        """The connection, with the request sent."""
        stream = await self._house.world.connect("127.0.0.1", self._house.http_port)
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        cookie = f"Cookie: {COOKIE}={self._role}\r\n" if self._role else ""
        ends = "Connection: close\r\n" if close else ""
        await stream.send_all(
            f"{method} {path} HTTP/1.1\r\nHost: test\r\n{ends}{cookie}{more}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return stream


@asynccontextmanager
async def console(directory: Path, toml: str = CARRIERS) -> AsyncIterator[Running]:
    """A gateway whose console knows `Known` people."""
    async with running(directory, toml) as house:
        known = Known()
        house.gateway.console.whois = lambda: known
        yield house


def text_of(html: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()
