"""HTTP load: keep-alive connections, each with one POST under way, closed loop or at a rate.

Written by hand on sockets, so that the generator costs a fraction of what it measures. Deliberately not
here: TLS, redirects, anything a client library is for.
"""

from __future__ import annotations

import time

import httptools
import msgspec
import trio


class HttpLoad(msgspec.Struct, frozen=True):
    """`batch` messages a POST; `rate_per_s` POSTs over all connections, 0 = as fast as answers come."""

    host: str
    port: int
    key: str
    count: int
    connections: int = 32
    batch: int = 1
    rate_per_s: float = 0
    prefix: str = "4477009"
    text: str = "hello from the load generator"


class Outcome(msgspec.Struct):
    """Counts of messages, latencies of POSTs in seconds."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = []

    def as_dict(self) -> dict[str, float]:
        ordered = sorted(self.latencies_s)
        last = len(ordered) - 1
        return {
            "sent": self.sent,
            "accepted": self.accepted,
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.accepted / self.seconds, 1) if self.seconds else 0,
            "p50_ms": round(ordered[last // 2] * 1e3, 2) if ordered else 0,
            "p99_ms": round(ordered[int(last * 0.99)] * 1e3, 2) if ordered else 0,
        }


class _Answers:
    """httptools callbacks: counts complete responses."""

    def __init__(self) -> None:
        self.done = False
        self.parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        self.done = True


async def run(load: HttpLoad) -> Outcome:
    """Send `count` messages and return what came of them. Errors: OSError when nothing listens."""
    outcome = Outcome()
    numbers = iter(range(load.count // load.batch))
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(min(load.connections, load.count)):
            nursery.start_soon(_client, load, numbers, outcome, started)
    outcome.seconds = time.perf_counter() - started
    return outcome


async def _client(load: HttpLoad, numbers: object, outcome: Outcome, started: float) -> None:
    stream = await trio.open_tcp_stream(load.host, load.port)
    async with stream:
        for number in numbers:  # type: ignore[attr-defined]
            if load.rate_per_s:
                due = started + number / load.rate_per_s
                await trio.sleep(max(0.0, due - time.perf_counter()))
            body = _body(load, number * load.batch)
            path = "/v1/messages" if load.batch == 1 else "/v1/messages/batch"
            head = (
                f"POST {path} HTTP/1.1\r\nHost: {load.host}\r\nAuthorization: Bearer {load.key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            sent = time.perf_counter()
            await stream.send_all(head.encode() + body)
            answers = _Answers()
            while not answers.done:
                data = await stream.receive_some(65536)
                if not data:
                    raise trio.BrokenResourceError("the server closed the connection")
                answers.parser.feed_data(bytes(data))
            outcome.latencies_s.append(time.perf_counter() - sent)
            outcome.sent += load.batch
            if answers.parser.get_status_code() in (200, 202):
                outcome.accepted += load.batch
            else:
                outcome.refused += load.batch


def _body(load: HttpLoad, first: int) -> bytes:
    one = [
        f'{{"to":"+{load.prefix}{number % 90_000 + 10_000}","from":"LOAD","text":"{load.text} {number}"}}'
        for number in range(first, first + load.batch)
    ]
    return (one[0] if load.batch == 1 else "[" + ",".join(one) + "]").encode()
