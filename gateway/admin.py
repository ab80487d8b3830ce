"""The local admin socket: how `signalbox account`, `message`, `store …` talk to a running gateway.

A unix socket in the data directory, mode 0600: whoever may open it may already read the store, so there is
no further log-in; the kernel says who it is, for the audit trail. Newline-delimited JSON (its shapes are in
gateway.admin_client), one request after another on a connection. Verbs are entries of a dict: name → async
function of the argument object.

Invariants: every request gets one answer or a closed connection; limits on line length, connections and
time; a verb that fails hurts nobody else; the peer of an unexpected error gets a bland answer, the log the
traceback.

Deliberately not here: what the verbs do (gateway.admin_verbs), anything reachable from the network.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from struct import Struct
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
import trio

from gateway.admin_client import SOCKET_NAME, AdminAbsent, AdminBroken, AdminClient, AdminError, short_path
from gateway.audit import LONGEST_REASON, Actor, acting, os_user
from store.interface import StoreError, Transaction

__all__ = [
    "SOCKET_NAME",
    "AdminAbsent",
    "AdminBroken",
    "AdminClient",
    "AdminError",
    "AdminServer",
    "Execute",
    "Verb",
    "WrongArguments",
    "bad_arguments",
    "typed",
]

T = TypeVar("T")
Verb = Callable[[dict[str, Any]], Awaitable[object]]
Execute = Callable[[Callable[[Transaction], T]], Awaitable[T]]  # runs in a transaction, returns after it
Arguments = TypeVar("Arguments", bound=msgspec.Struct)

MAX_REQUEST = 1024 * 1024
MAX_CONNECTIONS = 32
IDLE_S = 60.0
VERB_TIMEOUT_S = 60.0
_CREDENTIALS = Struct("3i")  # pid, uid, gid

log = structlog.get_logger("admin")


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    verb: str
    args: dict[str, Any] = {}
    reason: Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)] = ""  # for the audit trail


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a verb that has none."""


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a verb that is about one thing."""

    name: str


class WrongArguments(AdminError):
    """bad_arguments; `problems`: argument → what is wrong with it and what is allowed."""

    def __init__(self, problems: Mapping[str, str], message: str = "", hint: str = "") -> None:
        told = message or "; ".join(f"{name}: {what}" for name, what in problems.items())
        super().__init__("bad_arguments", told, hint)
        self.problems = dict(problems)


def bad_arguments(field: str, message: str, hint: str = "") -> WrongArguments:
    """An argument that cannot be: which one, what is wrong with it, what to write."""
    problem = f"{message}; {hint}" if hint else message
    return WrongArguments({field: problem}, f"{field}: {message}", hint)


def typed(arguments: type[Arguments], function: Callable[[Arguments], Awaitable[object]]) -> Verb:
    """A verb whose argument object is checked against a msgspec.Struct first."""

    async def verb(args: dict[str, Any]) -> object:
        return await function(msgspec.convert(args, arguments))

    return verb


class AdminServer:
    """Serves `verbs` on `path`.

    `timeouts_s` gives single verbs more (or less) time than VERB_TIMEOUT_S. `serve` raises AdminError
    "in_use" when another gateway already listens there; a dead gateway's socket is replaced.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        verbs: Mapping[str, Verb],
        *,
        timeouts_s: Mapping[str, float] | None = None,
    ) -> None:
        self.path = Path(path)
        self._verbs = verbs
        self._timeouts_s = dict(timeouts_s or {})
        self._connections = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; `started` once connections are accepted."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bind(self.path)))
        identity = _identity(self.path)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(trio.serve_listeners, self._converse, [listener])
                task_status.started()
        finally:
            if _identity(self.path) == identity:  # not a successor's
                self.path.unlink()

    async def _converse(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                if self._connections > MAX_CONNECTIONS:
                    await self._send(stream, refusal("busy", "too many admin connections", "try again"))
                else:
                    await self._answer_all(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the caller went away, or never spoke
        finally:
            self._connections -= 1

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        pending = bytearray()
        who = _peer_user(stream.socket)
        while True:
            end = pending.find(b"\n")
            if end >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                await self._send(stream, await self._answer(line, who))
                continue
            if len(pending) > MAX_REQUEST:
                await self._send(stream, refusal("too_long", f"a request may have {MAX_REQUEST} bytes"))
                return
            with trio.fail_after(IDLE_S):
                data = await stream.receive_some(65536)
            if not data:
                return
            pending += data

    async def _send(self, stream: trio.SocketStream, answer: bytes) -> None:
        with trio.fail_after(IDLE_S):
            await stream.send_all(answer)

    async def _answer(self, line: bytes, who: str) -> bytes:
        try:
            request = msgspec.json.decode(line, type=_Request)
        except msgspec.MsgspecError as error:
            return refusal("bad_request", f"not a request: {error}", 'send {"verb": …, "args": {…}}')
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join(sorted(self._verbs))
            return refusal("unknown_verb", f"no verb {request.verb!r}", f"this gateway knows: {known}")
        try:
            with (
                acting(Actor(who, "cli", request.reason)),
                trio.fail_after(self._timeouts_s.get(request.verb, VERB_TIMEOUT_S)),
            ):
                return accepted(await verb(request.args))
        except AdminError as error:
            return refusal(error.code, error.message, error.hint)
        except StoreError as error:
            return refusal("store", str(error), error.hint)
        except msgspec.ValidationError as error:
            return refusal("bad_arguments", f"{request.verb}: {error}")
        except trio.TooSlowError:
            return refusal("timeout", f"{request.verb} took too long and was given up", "see the log")
        except Exception:  # a task root: a bug in one verb must not end the gateway
            log.exception("admin verb failed", verb=request.verb)
            return refusal(
                "internal", f"{request.verb} failed inside the gateway", "its log has the traceback"
            )


def _peer_user(connection: trio.socket.SocketType) -> str:
    """Who is on the other side, by the kernel's word (unix(7), SO_PEERCRED)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return "unknown"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return os_user(_CREDENTIALS.unpack(credentials)[1])


def accepted(result: object) -> bytes:
    return msgspec.json.encode({"ok": True, "result": result}) + b"\n"


def refusal(code: str, message: str, hint: str = "") -> bytes:
    error = {"code": code, "message": message, "hint": hint}
    return msgspec.json.encode({"ok": False, "error": error}) + b"\n"


def bind(path: Path) -> socket.socket:
    """A listening, non-blocking unix socket with mode 0600. Errors: AdminError "in_use", OSError.

    Connecting to a socket that is bound but does not listen yet is refused, so setting the mode between the
    two leaves no moment in which others could get in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            listening.bind(name)
        path.chmod(0o600)
        listening.listen(MAX_CONNECTIONS)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise in_use(path) from None
        raise
    return listening


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AdminError("in_use", f"{path} exists and is no socket", "move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            with short_path(path) as name:
                probe.connect(name)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
    raise in_use(path)


def in_use(path: Path) -> AdminError:
    return AdminError("in_use", f"another gateway answers on {path}", "stop it, or use another --data-dir")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
