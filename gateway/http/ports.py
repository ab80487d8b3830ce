"""What the HTTP edge asks of the rest of the gateway, as protocols: the door, finding a message, the clock.

`gateway.door.Door` and the store fit them as they are; tests bring small fakes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.door import Accepted, Keep, Refusal, Submission
    from router.nouns import Account, Message, Progress
    from store.interface import Remembered


class DoorPort(Protocol):
    """The single door. `done` is called once, with results in the order of `requests`, after the commit."""

    def submit(
        self,
        account: Account,
        requests: Sequence[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
        *,
        keep: Keep = None,
    ) -> None: ...


class RoomyDoorPort(DoorPort, Protocol):
    """A door that says how many more messages an account may have waiting."""

    def room(self, account: Account) -> int: ...


class FinderPort(Protocol):
    """Reads of the last commit."""

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None: ...
    def find_any(self, id: int) -> tuple[Message, Progress] | None: ...
    def carrier_name(self, id: int) -> str: ...


class RememberingPort(Protocol):
    """Requests that were carried out."""

    def remembered(self, account: int, key: bytes) -> Remembered | None: ...


WallClock = Callable[[], int]  # UTC milliseconds since the epoch
