"""`simulate`, `load`, `bench`: programs of their own behind the one command; they read their own options.

Each is a module with `main(arguments) -> int | None`. Their options, --help included, go through untouched.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

from gateway.cli.failure import Failure

_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)


@click.command(context_settings=_THROUGH)
@_arguments
def simulate(arguments: tuple[str, ...]) -> int:
    """A carrier simulator on a port."""
    return program("gateway.simulator.cli")(list(arguments)) or 0


@click.command(context_settings=_THROUGH)
@_arguments
def load(arguments: tuple[str, ...]) -> int:
    """A load generator, SMPP and HTTP."""
    return program("gateway.load.cli")(list(arguments)) or 0


@click.command(context_settings=_THROUGH)
@_arguments
def bench(arguments: tuple[str, ...]) -> int:
    """Measure this machine; JSON and a table."""
    return program("bench.main")(list(arguments)) or 0


def program(module: str) -> Callable[[list[str]], int | None]:
    """A module's `main`. Raises Failure where the module is not installed (a wheel carries no bench/)."""
    try:
        main: Callable[[list[str]], int | None] = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise Failure(f"{module} is not part of this installation", "run bin/signalbox in a clone") from None
    return main
