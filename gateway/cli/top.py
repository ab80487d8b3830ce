"""`signalbox top`: a live screen, like top: problems first, carriers and accounts by rate, queue or errors.

One admin verb (`top`) is asked once a second; the gateway has counted already. On a terminal it takes the
whole screen and puts it back, however it ends; into a pipe, or with --once, it prints once.

Invariants: what others wrote (names, reasons) cannot steer the terminal; a frame is never wider or higher
than the terminal.

Deliberately not here: the figures (gateway.figures), a frame's lines (top_frame.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import OK, UNREACHABLE, Failure
from gateway.cli.place import Place, json_option, place_options
from gateway.cli.top_frame import SORTS, Look, plain

_SLICE_S = 0.1  # how soon a key or another size of the terminal is noticed


@click.command()
@click.option("--once", is_flag=True, help="Print once, without taking the screen.")
@click.option("--count", type=click.IntRange(1), help="With --json: so many, one a second.")
@click.option("--sort", type=click.Choice(list(SORTS.values())), default="rate", show_default=True)
@place_options
@json_option
def top(once: bool, count: int | None, sort: str, place: Place, as_json: bool) -> int:
    """What passes now: problems, carriers and accounts, live. Keys: q quit, r/w/e sort, p pause, ? help.

    --json prints one snapshot a line.
    """
    if count is not None and not as_json:
        raise click.UsageError("--count goes with --json")
    look = Look(sort=sort)
    if as_json:
        for number in range(count or 1):
            if number:
                time.sleep(1)
            click.echo(json.dumps(_asked(place), ensure_ascii=True))
    elif once or not _has_a_screen():
        click.echo(plain(_asked(place), look))
    else:
        _watch(place, look)
    return OK


def _has_a_screen() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _asked(place: Place, absent: str = "") -> dict[str, Any]:
    try:
        found = place.ask_running("top", timeout_s=10)
    except AdminAbsent:
        raise Failure(
            absent or f"no gateway runs on {place.data_dir}", "start it: signalbox run", UNREACHABLE
        ) from None
    assert isinstance(found, dict)
    return found


def _watch(place: Place, look: Look) -> None:
    """Until q, Ctrl-C, or the gateway goes away, which is told once the screen is back."""
    from rich.console import Console
    from rich.live import Live

    from gateway.cli.top_frame import frame

    snapshot = _asked(place)
    console = Console(highlight=False)
    with contextlib.suppress(KeyboardInterrupt), _as_interrupt(), _single_keys() as keys:  # noqa: SIM117
        with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False) as live:
            while True:
                size = console.size
                live.update(frame(snapshot, look, size.width, size.height), refresh=True)
                changed, until = False, time.monotonic() + 1
                while not changed and time.monotonic() < until:
                    key = _key(keys)
                    if key in ("q", "Q", "\x04"):
                        return
                    changed = look.press(key) or console.size != size
                if not look.paused and not changed:
                    snapshot = _asked(place, "the gateway went away")


def _key(keys: int) -> str:
    """One that was pressed within a moment, or "". The end of the input is a q."""
    if not select.select([keys], [], [], _SLICE_S)[0]:
        return ""
    return os.read(keys, 1).decode("latin-1") or "q"


@contextlib.contextmanager
def _single_keys() -> Iterator[int]:
    """Keys come one by one and are not shown; the terminal is put back as it was."""
    import termios
    import tty

    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys, termios.TCSADRAIN)
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _as_interrupt() -> Iterator[None]:
    """A SIGTERM or a SIGHUP ends it as Ctrl-C does, so that the terminal is put back."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
