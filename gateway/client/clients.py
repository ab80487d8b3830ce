"""The two clients: one that waits, one for trio. They differ in how they wait, and in nothing else.

A call is tried again when the connection broke, or the gateway said 429 or 503: after Retry-After, else after
a wait that doubles, with chance, until `patience_s` is over. Calls that change something carry an
Idempotency-Key, the same each time.

Deliberately not here: what is asked and answered (calls.py).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

import httpx
import trio

from gateway.client import calls
from gateway.client.calls import Call, Refused
from gateway.client.types import Accepted, Balance, Inbound, InboundPage, Message, Page, Preview, Problem, Row

T = TypeVar("T")

_AGAIN = frozenset((429, 503))
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 20.0
_LONGEST_ASKED_S = 60.0  # of a Retry-After


class Unreachable(Exception):
    """No answer came within the client's patience. What was asked may have happened: an Idempotency-Key was
    sent with it, so the same call within 24 hours with that `idempotency_key` tells."""

    def __init__(self, why: str, idempotency_key: str) -> None:
        super().__init__(why)
        self.idempotency_key = idempotency_key


class _Attempts:
    """One call's tries: what is sent, and how long to wait after each."""

    def __init__(self, call: Call[T], key: str, patience_s: float, idempotency_key: str) -> None:
        self.call = call
        self.idempotency_key = (idempotency_key or str(uuid.uuid4())) if call.once else ""
        self.headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        if call.body:
            self.headers["Content-Type"] = "application/json"
        if self.idempotency_key:
            self.headers["Idempotency-Key"] = self.idempotency_key
        self._left_s = patience_s
        self._wait_s = _FIRST_WAIT_S

    def again(self, asked_s: float = 0) -> float:
        """Seconds to wait before the next try; -1: there is none."""
        wait_s = max(asked_s, self._wait_s * random.uniform(0.5, 1.0))
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        if wait_s > self._left_s:
            return -1
        self._left_s -= wait_s
        return wait_s

    def unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"no answer to {self.call.method} {self.call.path}: {error}", self.idempotency_key)


def _asked_s(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_ASKED_S) if text.isdecimal() else 0.0


class Signalbox:
    """A client that waits. Errors of every call: Refused, Unreachable."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 30.0, patience_s: float = 60.0) -> None:
        """`timeout_s`: for one try. `patience_s`: of waiting between tries; 0: one try."""
        self._http = httpx.Client(base_url=url, timeout=timeout_s)
        self._key = key
        self._patience_s = patience_s

    def __enter__(self) -> Signalbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def send(
        self, to: str, sender: str, text: str | None = None, *, idempotency_key: str = "", **given: Any
    ) -> Accepted:
        """One message, which is on disk when this returns. `given`: data (bytes), send_at, message_class,
        priority, validity_s, receipt, callback_url, client_ref, tags, smart_encoding, encoding."""
        return self._do(calls.send(to, sender, text, given), idempotency_key)

    def send_many(self, messages: Iterable[Mapping[str, Any]]) -> Iterator[Accepted | Problem]:
        """Any number of messages, as bodies of a submit, by 1,000 at a time; a result for each, in order."""
        for portion in calls.portions(messages):
            yield from self._do(calls.send_many(portion))

    def message(self, id: str) -> Message:
        """A message and its timeline."""
        return self._do(calls.get(id))

    def messages(self, **filters: Any) -> Iterator[Row]:
        """Messages, newest first: to, sender, state, client_ref, tag, since, until, limit (of a page)."""
        page = self._do(calls.messages(filters))
        while True:
            yield from page.messages
            if not page.next:
                return
            page = self._do(calls.more(page.next, Page))

    def inbound(self, **filters: Any) -> Iterator[Inbound]:
        """Messages from handsets, newest first: sender, to, since, until, limit (of a page)."""
        page = self._do(calls.inbound(filters))
        while True:
            yield from page.mos
            if not page.next:
                return
            page = self._do(calls.more(page.next, InboundPage))

    def cancel(self, id: str) -> None:
        """It is not sent any more. Errors: Refused, `already-sent` and others."""
        self._do(calls.cancel(id))

    def change(self, id: str, **given: Any) -> Message:
        """Another text or time for a message that waits."""
        return self._do(calls.change(id, given))

    def preview(self, text: str, **given: Any) -> Preview:
        """Encoding, parts and cost; nothing is sent."""
        return self._do(calls.preview(text, given))

    def balance(self) -> Balance:
        return self._do(calls.balance())

    def _do(self, call: Call[T], idempotency_key: str = "") -> T:
        tries = _Attempts(call, self._key, self._patience_s, idempotency_key)
        while True:
            try:
                answer = self._http.request(call.method, call.path, headers=tries.headers, content=call.body)
            except httpx.TransportError as error:
                wait_s = tries.again()
                if wait_s < 0:
                    raise tries.unreachable(error) from error
            else:
                if answer.status_code < 400:
                    return call.read(answer.content)
                wait_s = tries.again(_asked_s(answer)) if answer.status_code in _AGAIN else -1
                if wait_s < 0:
                    raise calls.refusal(answer.status_code, answer.content)
            time.sleep(wait_s)


class TrioSignalbox:
    """The same for trio: `async with`, and every call is awaited."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 30.0, patience_s: float = 60.0) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s)
        self._key = key
        self._patience_s = patience_s

    async def __aenter__(self) -> TrioSignalbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(
        self, to: str, sender: str, text: str | None = None, *, idempotency_key: str = "", **given: Any
    ) -> Accepted:
        return await self._do(calls.send(to, sender, text, given), idempotency_key)

    async def send_many(self, messages: Iterable[Mapping[str, Any]]) -> AsyncIterator[Accepted | Problem]:
        for portion in calls.portions(messages):
            for one in await self._do(calls.send_many(portion)):
                yield one

    async def message(self, id: str) -> Message:
        return await self._do(calls.get(id))

    async def messages(self, **filters: Any) -> AsyncIterator[Row]:
        page = await self._do(calls.messages(filters))
        while True:
            for one in page.messages:
                yield one
            if not page.next:
                return
            page = await self._do(calls.more(page.next, Page))

    async def inbound(self, **filters: Any) -> AsyncIterator[Inbound]:
        page = await self._do(calls.inbound(filters))
        while True:
            for one in page.mos:
                yield one
            if not page.next:
                return
            page = await self._do(calls.more(page.next, InboundPage))

    async def cancel(self, id: str) -> None:
        await self._do(calls.cancel(id))

    async def change(self, id: str, **given: Any) -> Message:
        return await self._do(calls.change(id, given))

    async def preview(self, text: str, **given: Any) -> Preview:
        return await self._do(calls.preview(text, given))

    async def balance(self) -> Balance:
        return await self._do(calls.balance())

    async def _do(self, call: Call[T], idempotency_key: str = "") -> T:
        tries = _Attempts(call, self._key, self._patience_s, idempotency_key)
        while True:
            try:
                answer = await self._http.request(
                    call.method, call.path, headers=tries.headers, content=call.body
                )
            except httpx.TransportError as error:
                wait_s = tries.again()
                if wait_s < 0:
                    raise tries.unreachable(error) from error
            else:
                if answer.status_code < 400:
                    return call.read(answer.content)
                wait_s = tries.again(_asked_s(answer)) if answer.status_code in _AGAIN else -1
                if wait_s < 0:
                    raise calls.refusal(answer.status_code, answer.content)
            await trio.sleep(wait_s)


__all__ = ["Refused", "Signalbox", "TrioSignalbox", "Unreachable"]
