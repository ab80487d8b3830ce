"""The admin verbs of the audit trail: who changed what, and whether the trail is whole.

Deliberately not here: what is written into it (gateway.audit, and the verbs themselves), columns for people
(gateway.cli.audit).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec
import trio

from gateway.admin import AdminError, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.audit_heads import noted_in
from store.interface import NO_ID, AuditRow, Finding
from store.lmdb_store import LmdbStore

_NOTED = re.compile(r"([1-9][0-9]{0,17}):([0-9A-Fa-f]{64})")


class Entries(msgspec.Struct, forbid_unknown_fields=True):
    """Newest first. `subject`: an account, a system_id…; `before`: the number behind which to go on."""

    subject: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    before: Annotated[int, msgspec.Meta(ge=0, le=NO_ID - 1)] = 0


class Export(msgspec.Struct, forbid_unknown_fields=True):
    """Oldest first, numbered above `after`."""

    after: Annotated[int, msgspec.Meta(ge=0, le=NO_ID - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1_000


class Verify(msgspec.Struct, forbid_unknown_fields=True):
    """`noted`: NUMBER:HASH of an entry, as an earlier `audit verify` printed it; `heads`: a file of such
    lines, an absolute path, in place of the gateway's own."""

    noted: str = ""
    heads: str = ""


class AuditVerbs:
    """The verbs as methods."""

    def __init__(self, store: LmdbStore, heads: Path) -> None:
        """`heads`: the file in which newest entries were noted (gateway.audit_heads)."""
        self._store = store
        self._heads = heads
        self._verifying = False

    def table(self) -> dict[str, Verb]:
        return {
            "audit.export": typed(Export, self.export),
            "audit.list": typed(Entries, self.list_entries),
            "audit.verify": typed(Verify, self.verify),
        }

    async def list_entries(self, wish: Entries) -> object:
        rows = self._store.audit_log(wish.limit, wish.before or NO_ID, wish.subject)
        return [entry_view(row) for row in rows]

    async def export(self, wish: Export) -> object:
        """A page of all there is; what is damaged is said to be."""
        rows = self._store.audit_after(wish.after, wish.limit)
        return [
            entry_view(row) if row is not None else {"number": number, "damaged": True}
            for number, row in rows
        ]

    async def verify(self, wish: Verify) -> object:
        """Walks all of it, in a thread beside the traffic, one walk at a time, and compares with what was
        noted outside."""
        if wish.heads and not os.path.isabs(wish.heads):
            raise bad_arguments("heads", f"{wish.heads!r} is not an absolute path")
        path = Path(wish.heads) if wish.heads else self._heads
        try:
            noted, strange = await trio.to_thread.run_sync(noted_in, path)
        except OSError as error:
            raise AdminError("unreadable", f"cannot read {path}: {error.strerror}") from None
        heads = len(noted)
        if wish.noted:
            given = _NOTED.fullmatch(wish.noted)
            if given is None:
                raise bad_arguments(
                    "noted", f"{wish.noted!r} is not NUMBER:HASH", "as audit verify prints it"
                )
            noted.append((int(given[1]), given[2]))
        if self._verifying:
            raise AdminError("busy", "the trail is being verified already", "wait for it")
        self._verifying = True
        try:
            state = await trio.to_thread.run_sync(self._store.audit_verify, noted)
        finally:
            self._verifying = False
        findings = list(state.findings)
        if strange:
            findings.append(Finding(str(path), f"{strange} of its lines are not as they were written"))
        return {
            "entries": state.entries,
            "last": f"{state.last}:{state.digest}" if state.entries else "",
            "heads": heads,
            "head_file": str(path),
            "findings": findings,
        }


def entry_view(row: AuditRow) -> dict[str, object]:
    entry = row.entry
    return {
        "number": row.number,
        "at": iso(entry.at_ms),
        "who": entry.who,
        "via": entry.via,
        "act": entry.act,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
        "hash": row.digest,
    }
