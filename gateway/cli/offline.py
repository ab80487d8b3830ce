"""The store of a stopped gateway, opened by the command itself, and admin verbs run on it.

Invariants: the store's own lock is held while a verb runs, so a gateway cannot start in the middle; nothing
is recovered or sent.

Deliberately not here: a second implementation of any verb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gateway.cli.failure import FAILED, STORE, UNREACHABLE, USAGE, Failure
from store.interface import BadRows, StoreBusy, StoreError, Transaction

if TYPE_CHECKING:
    from gateway.cli.place import Place
    from gateway.committer import Committer
    from store.lmdb_store import LmdbStore

T = TypeVar("T")
STORE_DIRECTORY = "store"  # inside the data directory
_MAY_CREATE = frozenset({"account.create", "operator.create", "table.use"})


class Direct:
    """Commits each verb at once: what gateway.accounts needs of a committer, without a loop."""

    def __init__(self, store: LmdbStore) -> None:
        self.store = store

    async def execute(self, function: Callable[[Transaction], T]) -> T:
        txn = self.store.begin()
        try:
            result = function(txn)
        except BaseException:
            self.store.abort(txn)
            raise
        self.store.commit(txn)
        return result


def ask_stopped(place: Place, verb: str, args: dict[str, Any]) -> Any:
    """The verb's result from the store itself. Raises Failure."""
    with opened(place.data_dir / STORE_DIRECTORY, create=verb in _MAY_CREATE) as store:
        return run_verb(store, verb, args, place.reason)


def run_verb(store: LmdbStore, verb: str, args: dict[str, Any], reason: str = "") -> Any:
    """One admin verb on an open store; plain JSON values, as over the socket. Raises Failure."""
    import msgspec
    import trio

    from gateway.accounts import Accounts
    from gateway.admin import AdminError
    from gateway.admin_verbs import AdminVerbs
    from gateway.audit import LONGEST_REASON, Actor, acting, os_user
    from gateway.cli.place import refused
    from gateway.operators import Operators
    from gateway.orders import Orders
    from gateway.world import RealWorld

    direct = Direct(store)
    accounts = Accounts(cast("Committer", direct))
    wall_ms = RealWorld().wall_ms
    operators = Operators(direct, wall_ms)
    verbs = AdminVerbs(
        accounts, store, direct.execute, wall_ms, operators=operators, orders=Orders(direct, wall_ms)
    )
    table = verbs.table()
    if len(reason) > LONGEST_REASON:
        raise Failure(f"--reason: at most {LONGEST_REASON} characters", exit_code=USAGE)
    try:
        with acting(Actor(os_user(), "cli", reason)):
            return msgspec.to_builtins(trio.run(table[verb], args))
    except AdminError as error:
        raise refused(error) from None
    except msgspec.ValidationError as error:
        raise Failure(f"{verb}: {error}") from None
    finally:
        verbs.tables.close()


@contextmanager
def opened(directory: Path, *, create: bool = False) -> Iterator[LmdbStore]:
    """The store in `directory`, open for the length of the block. Raises Failure."""
    if not create and not directory.is_dir():
        raise Failure(
            f"no gateway runs there, and there is no store in {directory}",
            "is --data-dir (or --config) right? `signalbox run` makes a new one",
            FAILED,
        )
    with store_failures():
        store = open_store(directory)
    try:
        with store_failures():
            yield store
    finally:
        store.close()


def open_store(directory: Path) -> LmdbStore:
    from store.lmdb_store import LmdbStore
    from store.options import StoreOptions

    return LmdbStore(directory, StoreOptions())


@contextmanager
def store_failures() -> Iterator[None]:
    """What a store refuses, as a command's failure."""
    try:
        yield
    except StoreBusy as error:
        hint = error.hint or "a gateway that does not answer yet, or another command, has it open; try again"
        raise Failure(str(error), hint, UNREACHABLE) from None
    except BadRows as error:
        raise Failure(str(error), error.hint, FAILED) from None
    except StoreError as error:
        raise Failure(str(error), error.hint, STORE) from None
