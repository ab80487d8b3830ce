"""The engines there are, and what a test needs of one beyond an open store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from store.backup import restore
from store.interface import Store
from store.lmdb_store import LmdbStore
from store.options import StoreOptions


class Engine(Protocol):
    name: str

    def open(self, path: Path, options: StoreOptions) -> Store:
        """Open the store in `path`, or make a new one there."""

    def restore(self, source: Path, path: Path, options: StoreOptions) -> None:
        """Make `path` a store from what `Store.backup` wrote to `source`; all that waited then is held."""


class Lmdb:
    name = "lmdb"

    def open(self, path: Path, options: StoreOptions) -> Store:
        return LmdbStore(path, options)

    def restore(self, source: Path, path: Path, options: StoreOptions) -> None:
        restore(source, path, options)


ENGINES: tuple[Engine, ...] = (Lmdb(),)
