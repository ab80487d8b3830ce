"""Run an async function as a test, on the real clock or on trio's autojumping MockClock.

Deliberately not pytest-trio: no fixtures of its own, a test is a plain coroutine function.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, overload

import trio
import trio.testing

AsyncTest = Callable[..., Awaitable[None]]
SyncTest = Callable[..., None]


@overload
def trio_test(function: AsyncTest, /) -> SyncTest: ...
@overload
def trio_test(*, mock_clock: bool = False) -> Callable[[AsyncTest], SyncTest]: ...
def trio_test(function: AsyncTest | None = None, /, *, mock_clock: bool = False) -> Any:
    """Decorate `async def test_…`: real clock by default, autojumping MockClock with mock_clock=True."""

    def decorate(test: AsyncTest) -> SyncTest:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            clock = trio.testing.MockClock(autojump_threshold=0) if mock_clock else None
            trio.run(functools.partial(test, *args, **kwargs), clock=clock)

        return run

    return decorate(function) if function is not None else decorate
