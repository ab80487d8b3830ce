"""The admin verbs of the audit trail: who changed what, and whether the trail is whole.

Deliberately not here: what is written into it (gateway.audit, and the verbs themselves), columns for people
(gateway.cli.audit).
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import trio

from gateway.admin import Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from store.interface import NO_ID, AuditRow
from store.lmdb_store import LmdbStore

_NOTED = re.compile(r"([1-9][0-9]{0,17}):([0-9A-Fa-f]{64})")


class Entries(msgspec.Struct, forbid_unknown_fields=True):
    """Newest first. `subject`: an account, a system_id…; `before`: the number behind which to go on."""

    subject: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    before: Annotated[int, msgspec.Meta(ge=0, le=NO_ID - 1)] = 0


class Verify(msgspec.Struct, forbid_unknown_fields=True):
    """`noted`: NUMBER:HASH of an entry, as an earlier `audit verify` printed it."""

    noted: str = ""


class AuditVerbs:
    """The verbs as methods."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store

    def table(self) -> dict[str, Verb]:
        return {
            "audit.list": typed(Entries, self.list_entries),
            "audit.verify": typed(Verify, self.verify),
        }

    async def list_entries(self, wish: Entries) -> object:
        rows = self._store.audit_log(wish.limit, wish.before or NO_ID, wish.subject)
        return [entry_view(row) for row in rows]

    async def verify(self, wish: Verify) -> object:
        """Walks all of it, in a thread beside the traffic."""
        number, digest = 0, ""
        if wish.noted:
            noted = _NOTED.fullmatch(wish.noted)
            if noted is None:
                raise bad_arguments(
                    "noted", f"{wish.noted!r} is not NUMBER:HASH", "as audit verify prints it"
                )
            number, digest = int(noted[1]), noted[2]
        state = await trio.to_thread.run_sync(self._store.audit_verify, number, digest)
        return {
            "entries": state.entries,
            "last": f"{state.last}:{state.digest}" if state.entries else "",
            "findings": state.findings,
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
