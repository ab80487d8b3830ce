"""The calling side of the admin socket: synchronous, standard library only, so that the CLI starts fast.

One JSON object a line: `{"verb": …, "args": {…}}` out, with `"reason": …` for the audit trail where there is
one; `{"ok": true, "result": …}` or `{"ok": false, "error": {"code", "message", "hint"}}` back.

Deliberately not here: the server (gateway.admin), any verb, any retry.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOCKET_NAME = "admin.sock"
MAX_LINE = 16 * 1024 * 1024
_LONGEST_PATH = 100  # sun_path holds 108 bytes on Linux, 104 elsewhere


class AdminError(Exception):
    """A verb said no. `code` is a stable word, `hint` tells a person what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class AdminAbsent(Exception):
    """No gateway listens there: no socket, or one that a dead gateway left behind."""


class AdminBroken(Exception):
    """Something is there, but it did not answer as an admin socket does. The text says what to do."""


class AdminClient:
    """Calls verbs of the gateway whose admin socket is at `path`; one connection a call.

    `call` returns the verb's result as plain JSON values. Errors: AdminAbsent, AdminBroken, AdminError.
    """

    def __init__(self, path: str | os.PathLike[str], timeout_s: float = 60, reason: str = "") -> None:
        """`reason`: why the caller does what it does."""
        self.path = Path(path)
        self._reason = reason
        self._timeout_s = timeout_s

    def call(self, verb: str, /, *, timeout_s: float | None = None, **args: Any) -> Any:
        said = {"reason": self._reason} if self._reason else {}
        request = json.dumps({"verb": verb, "args": args, **said}).encode() + b"\n"
        wait_s = timeout_s or self._timeout_s
        with self._connected(wait_s) as connection:
            try:
                connection.sendall(request)
                line = _read_line(connection)
            except TimeoutError:
                raise AdminBroken(
                    f"the gateway did not answer {verb} within {wait_s:g} s; see its log"
                ) from None
            except OSError as error:
                raise AdminBroken(f"the gateway hung up during {verb} ({error}); see its log") from None
        return _result(line, verb)

    @contextlib.contextmanager
    def _connected(self, timeout_s: float) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            try:
                with short_path(self.path) as path:
                    connection.connect(path)
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                raise AdminAbsent(str(self.path)) from None
            except PermissionError:
                raise AdminBroken(
                    f"{self.path} belongs to somebody else; run this as the user the gateway runs as"
                ) from None
            except OSError as error:
                raise AdminBroken(f"cannot connect to {self.path}: {error}") from None
            yield connection


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a socket that fits into sun_path however deep its directory lies. Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _read_line(connection: socket.socket) -> bytes:
    """One line without its newline; what came, when the other side closed early or sent too much."""
    pieces = bytearray()
    while b"\n" not in pieces and len(pieces) <= MAX_LINE:
        piece = connection.recv(65536)
        if not piece:
            break
        pieces += piece
    return bytes(pieces)


def _result(line: bytes, verb: str) -> Any:
    try:
        answer = json.loads(line)
        if answer["ok"]:
            return answer["result"]
        error = answer["error"]
        refused = AdminError(str(error["code"]), str(error["message"]), str(error["hint"]))
    except (ValueError, KeyError, TypeError):
        raise AdminBroken(
            f"the gateway's answer to {verb} was cut short or is not JSON; see its log"
        ) from None
    raise refused
