"""Accounts that the load tool binds as, made in the store of a stopped gateway with the commands people use.

Deliberately not here: what they do (scenarios_smpp.py).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import trio

from gateway.accounts import Accounts
from gateway.cli import offline
from gateway.cli.root import run as signalbox

if TYPE_CHECKING:
    from gateway.committer import Committer

PASSWORD = "secret"


@dataclass(frozen=True)
class Customers:
    """`count` accounts: name001, name002…, which is also their system_id; `window` is of each bind."""

    name: str = "cust"
    count: int = 1
    binds: int = 1
    window: int = 500

    @property
    def pattern(self) -> str:
        """As the load tool's --system-id takes it."""
        return f"{self.name}%03d"

    @property
    def names(self) -> list[str]:
        return [self.pattern % number for number in range(1, self.count + 1)]


def make(config: Path, data: Path, groups: Iterable[Customers]) -> None:
    """Make the accounts that `data`'s store has not got. Raises RuntimeError with what the command said."""
    groups = list(groups)
    if not groups:
        return
    for name in _missing(data, groups):
        _command(
            "account", "create", name, "--system-id", name, "--password", PASSWORD, "--config", str(config)
        )
    with offline.opened(data / offline.STORE_DIRECTORY) as store:
        accounts = Accounts(cast("Committer", offline.Direct(store)))
        for group in groups:
            for name in group.names:
                trio.run(partial(accounts.update, name, window=group.window, max_binds=group.binds))


def _missing(data: Path, groups: list[Customers]) -> list[str]:
    wanted = [name for group in groups for name in group.names]
    if not (data / offline.STORE_DIRECTORY).is_dir():
        return wanted
    with offline.opened(data / offline.STORE_DIRECTORY) as store:
        known = {account.name for account in store.accounts().values()}
    return [name for name in wanted if name not in known]


def _command(*arguments: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = signalbox(list(arguments))
    if code:
        raise RuntimeError(f"signalbox {' '.join(arguments)}: {said.getvalue().strip()}")
