"""The configurations that were in force: each accepted one is kept, the newest `MOST_REVISIONS` of them.

A revision has a number, who brought it in, when, why and how (start, reload, rollback), the SHA-256 of its
text, and the text itself without the secrets that are written out in it (config.kept). A roll-back makes a
revision of its own and is pinned: it is what a restart takes, whatever the file says, until the next reload.

Invariants: no secret is kept; a revision, its pin and its line in the audit trail are one commit.

Deliberately not here: reading configurations (config.load), applying them (gateway.reload).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import trio

from config.diff import Diff, diff
from config.kept import kept_text, secrets_of
from config.load import ConfigErrors, parse
from config.model import Config
from gateway.admin import Execute
from gateway.audit import actor_now, entry
from gateway.committer import Keeping
from store.interface import Transaction
from store.values import Damaged

MOST_REVISIONS = 100
MOST_TOLD = 50  # keys in one entry of the audit trail

_LIST = "revisions"
_PIN = "revisions:pinned"


class Revision(msgspec.Struct, frozen=True, array_like=True):
    """One configuration that was accepted. Only grows at the end."""

    number: int
    at_ms: int
    who: str
    via: str
    why: str
    how: str  # start | reload | rollback
    digest: str  # of the text as it is kept
    path: str  # the file that the text is from
    has_text: bool
    back_to: int = 0  # of a roll-back: the revision whose text this is
    changes: int = 0  # tables that differ from the revision before


class RevisionProblem(Exception):
    """A revision is not there, or cannot be used; says what to do."""


class Revisions:
    def __init__(self, store: Keeping, execute: Execute[Any] | None, wall_ms: Callable[[], int]) -> None:
        """`execute` runs in a transaction and returns after it; None: only to read."""
        self._store = store
        self._execute = execute
        self._wall_ms = wall_ms

    def all(self) -> list[Revision]:
        """Oldest first."""
        try:
            row = self._store.meta(_LIST)
            return msgspec.msgpack.decode(row, type=list[Revision]) if row else []
        except (Damaged, msgspec.DecodeError):
            return []

    def find(self, number: int) -> Revision:
        """Errors: RevisionProblem."""
        revisions = self.all()
        for one in revisions:
            if one.number == number:
                return one
        kept = f"{revisions[0].number} to {revisions[-1].number}" if revisions else "none yet"
        raise RevisionProblem(f"there is no revision {number}; kept are: {kept}")

    def text(self, revision: Revision) -> str:
        """Errors: RevisionProblem where it was not kept, or is damaged."""
        if not revision.has_text:
            raise RevisionProblem(
                f"the text of revision {revision.number} was not kept, because a secret in it could not be "
                "taken out for certain; write secrets as ${env:NAME} or into files"
            )
        try:
            row = self._store.meta(_place(revision.number))
        except Damaged:
            row = None
        if row is None or _digest(row) != revision.digest:
            raise RevisionProblem(f"the text of revision {revision.number} is damaged")
        return row.decode()

    def pinned(self) -> Revision | None:
        """The roll-back that is in force. Errors: RevisionProblem where its record is damaged."""
        try:
            row = self._store.meta(_PIN)
        except Damaged:
            raise RevisionProblem("what is kept of the roll-back in force is damaged") from None
        return self.find(int(row)) if row else None

    def config(self, revision: Revision, like: Config) -> Config:
        """Read again, its secrets and its place from `like`. Errors: RevisionProblem, ConfigErrors."""
        return again(self.text(revision), like)

    async def keep(
        self,
        config: Config,
        how: str,
        *,
        back_to: int = 0,
        found: Diff | None = None,
        planned_anew: int = 0,
    ) -> Revision:
        """A configuration is in force from now on. At a start, one that is the newest anyway stays so.
        `planned_anew`: messages whose lane goes with it, for the audit trail.

        Errors: StoreError.
        """
        assert self._execute is not None
        text = kept_text(config.source)
        row = (text or "").encode()
        digest = _digest(row)
        revisions = self.all()
        last = revisions[-1] if revisions else None
        actor = actor_now()
        if last is not None and last.digest == digest and last.has_text and how == "start":
            return last
        if how == "start" and last is not None:
            found = self._since(last, config)
        revision = Revision(
            last.number + 1 if last is not None else 1,
            self._wall_ms(),
            actor.who,
            actor.via,
            actor.reason,
            how,
            digest,
            str(config.path),
            text is not None,
            back_to,
            len(found.changes) if found is not None else 0,
        )
        kept = msgspec.msgpack.encode([*revisions, revision][-MOST_REVISIONS:])
        told = entry(
            self._wall_ms(),
            {"reload": "config.reloaded", "rollback": "config.rolled_back"}.get(how, "config.started"),
            f"revision:{revision.number}",
            *_told(found, back_to, planned_anew),
        )

        def put(txn: Transaction) -> None:
            txn.put_meta(_LIST, kept)
            txn.put_meta(_place(revision.number), row)
            if how == "rollback":
                txn.put_meta(_PIN, str(revision.number).encode())
            elif how == "reload":
                txn.put_meta(_PIN, b"")
            if how != "start" or last is not None:
                txn.audit(told)

        with trio.CancelScope(shield=True):
            await self._execute(put)
        return revision

    async def tell_unchanged(self, revision: Revision) -> None:
        """Somebody had the same configuration read again. Errors: StoreError."""
        assert self._execute is not None
        told = entry(
            self._wall_ms(), "config.reloaded", f"revision:{revision.number}", after={"changes": "none"}
        )
        await self._execute(lambda txn: txn.audit(told))

    def _since(self, last: Revision, config: Config) -> Diff | None:
        """What a start brings that was not in force before it; None: that one cannot be read any more."""
        try:
            return diff(self.config(last, config), config)
        except (RevisionProblem, ConfigErrors):
            return None

    async def end_roll_back(self) -> bool:
        """From now on a start reads the file again; whether there was one. Errors: StoreError."""
        assert self._execute is not None
        if not self._store.meta(_PIN):
            return False
        told = entry(self._wall_ms(), "config.rollback_ended", "revision:pinned", {}, {"rolled_back": False})

        def put(txn: Transaction) -> None:
            txn.put_meta(_PIN, b"")
            txn.audit(told)

        await self._execute(put)
        return True


def _told(
    found: Diff | None, back_to: int, planned_anew: int = 0
) -> tuple[dict[str, object], dict[str, object]]:
    """For the audit trail: (before, after) by key, as `carriers.north.tps`."""
    before: dict[str, object] = {}
    after: dict[str, object] = {"back_to": back_to} if back_to else {}
    if planned_anew:
        after["messages_planned_anew"] = planned_anew
    for change in found.changes if found is not None else ():
        table = f"{change.section}.{change.name}".rstrip(".")
        if change.what in ("added", "removed"):
            after[table] = change.what
            continue
        for key in change.keys:
            before[f"{table}.{key.key}"], after[f"{table}.{key.key}"] = key.old, key.new
    if len(after) > MOST_TOLD:
        left_out = len(after) - MOST_TOLD
        after = {**dict(list(after.items())[:MOST_TOLD]), "and": f"{left_out} more"}
    return {name: value for name, value in before.items() if name in after}, after


def again(text: str, like: Config) -> Config:
    """A kept text, read as a configuration, its secrets and its place from `like`. Errors: ConfigErrors."""
    return parse(text, like.path, secrets=secrets_of(like))


def same_text(source: str, other: str) -> bool:
    """Whether two texts say the same but for secrets that are written out in them."""
    return source == other or (kept_text(source) or source) == (kept_text(other) or other)


def read_text(path: Path) -> str | None:
    """A configuration file as config.load reads it; None where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None


def _digest(row: bytes) -> str:
    return hashlib.sha256(row).hexdigest()


def _place(number: int) -> str:
    return f"revision:{number % MOST_REVISIONS}"
