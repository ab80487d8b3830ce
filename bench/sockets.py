"""HTTP clients that take up room: idle ones, kept alive, and slow ones that never finish a head.

A process of its own, so that its memory and its CPU are not the gateway's. Run as
`python -m bench.sockets idle|slow PORT COUNT`; it prints a line when all are there, and ends at SIGINT with
one more: how many are still open.

Deliberately not here: what is measured meanwhile (scenarios_http.py).
"""

from __future__ import annotations

import json
import resource
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress

_PER_ADDRESS = 150  # loopback addresses to come from, so that no limit of one address is met
_EVERY_S = 1.0  # an octet of each slow head
_HEAD = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nX-Slow: "
_ASK = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"


def main(kind: str, port: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1_000, max(count + 1_000, _most_files())))
    sockets = [_connected(number, port, kind) for number in range(count)]
    print(json.dumps({"open": len(sockets)}), flush=True)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGINT, stop)
    while not stopped:
        time.sleep(_EVERY_S)
        if kind == "slow":
            for number, one in enumerate(sockets):
                try:
                    one.send(b"a")
                except OSError:  # cut off: it comes back, as such clients do
                    one.close()
                    with suppress(OSError):
                        sockets[number] = _connected(number, port, kind)
    print(json.dumps({"open": _still_open(sockets)}), flush=True)


def _connected(number: int, port: int, kind: str) -> socket.socket:
    index = number // _PER_ADDRESS
    one = socket.create_connection(
        ("127.0.0.1", port), 10, (f"127.0.{1 + index // 250}.{1 + index % 250}", 0)
    )
    one.sendall(_HEAD if kind == "slow" else _ASK)
    if kind == "idle":
        answer = b""
        while b"ok" not in answer:
            answer += one.recv(4_096)
    one.setblocking(False)
    return one


def _still_open(sockets: list[socket.socket]) -> int:
    """Those on which nothing is to be read: an end would be."""
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            with suppress(ValueError, KeyError):
                selector.register(one, selectors.EVENT_READ)
        ended = {key.fileobj for key, _ in selector.select(0)}
    return sum(one not in ended for one in sockets)


def _most_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
