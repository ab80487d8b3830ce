"""How many files this process may open: room for connections, a reserve for everything else, one to spare.

A gateway that gave its last descriptor to a socket could open neither its archive nor its admin socket.

Deliberately not here: accepting (listener.py).
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

KEPT_BACK = 512  # the store, HTTP, callbacks, carriers


def room_for(connections: int) -> int:
    """How many of these connections may be open; asks the system for more files where it lets us.

    All of them, or what the limit of open files leaves after the reserve, and never less than half of it.
    """
    wanted = connections + KEPT_BACK
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems promise more than they give
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    return max(1, soft // 2, soft - KEPT_BACK)


class Spare:
    """One descriptor kept back, so that with all others gone a peer can still be accepted and told no."""

    def __init__(self) -> None:
        self._descriptor = -1
        self.keep()

    def keep(self) -> None:
        """Take it back, if there is one."""
        if self._descriptor < 0:
            with suppress(OSError):  # somebody was quicker; the next call tries again
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def give(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
