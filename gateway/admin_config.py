"""The admin verbs of the configuration: reload it, show what was in force, go back.

On a stopped gateway only what was kept can be looked at, and a roll-back be ended: what a file would do is
`signalbox check`'s to say.

Deliberately not here: applying anything (gateway.reload), columns for people (gateway.cli.reload,
gateway.cli.revisions).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from config.diff import Diff
from config.load import ConfigErrors
from gateway.admin import AdminError, Nothing, Verb, bad_arguments, typed
from gateway.admin_shapes import iso
from gateway.previews import Preview
from gateway.revisions import Revision, RevisionProblem, Revisions

if TYPE_CHECKING:
    from gateway.reload import Reload, Reloaded

_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Take(msgspec.Struct, forbid_unknown_fields=True):
    """`path`: another file than the gateway's own, absolute as the gateway sees it."""

    path: str = ""
    dry_run: bool = False
    partial: bool = False
    preview: bool = False


class Numbered(msgspec.Struct, forbid_unknown_fields=True):
    number: _Number


class Back(msgspec.Struct, forbid_unknown_fields=True):
    number: _Number
    dry_run: bool = False
    partial: bool = False
    preview: bool = False


class Between(msgspec.Struct, forbid_unknown_fields=True):
    """0: what is in force."""

    older: _Number
    newer: _Number = 0


class Reread(msgspec.Struct, forbid_unknown_fields=True):
    """A reload of the gateway's own file, as an act. `partial`: leave out what needs a restart."""

    partial: bool = False
    preview: bool = False


class GoBack(msgspec.Struct, forbid_unknown_fields=True):
    """A roll-back, as an act. `partial`: leave out what needs a restart."""

    number: _Number
    partial: bool = False
    preview: bool = False


class ConfigVerbs:
    """The verbs as methods. `reload` is None when no gateway runs."""

    def __init__(self, revisions: Revisions, reload: Reload | None) -> None:
        self._revisions = revisions
        self._reload = reload

    def table(self) -> dict[str, Verb]:
        return {
            "config.reload": typed(Take, self.take),
            "config.revisions": typed(Nothing, self.list_revisions),
            "config.show": typed(Numbered, self.show),
            "config.diff": typed(Between, self.diff),
            "config.rollback": typed(Back, self.roll_back),
            "config.end_rollback": typed(Nothing, self.end_roll_back),
        }

    async def take(self, wish: Take) -> object:
        reload = self._running()
        if wish.path and not os.path.isabs(wish.path):
            raise bad_arguments("path", f"{wish.path!r} is not an absolute path")
        path = Path(wish.path) if wish.path else None
        with _Told(str(path or reload.file)):
            dry_run = wish.dry_run or wish.preview
            done = await reload.reload(path, dry_run=dry_run, partial=wish.partial)
        return previewed(done) if wish.preview else view_of(done)

    async def list_revisions(self, _: Nothing) -> object:
        """Newest first."""
        return [revision_view(one) for one in reversed(self._revisions.all())]

    async def show(self, wish: Numbered) -> object:
        with _Told(f"revision {wish.number}"):
            revision = self._revisions.find(wish.number)
            return {**revision_view(revision), "text": self._revisions.text(revision)}

    async def diff(self, wish: Between) -> object:
        with _Told(f"revision {wish.older} or {wish.newer}"):
            found = await self._running().diff_of(wish.older, wish.newer)
        return {"changes": changes_view(found), "needs_restart": list(found.restart)}

    async def roll_back(self, wish: Back) -> object:
        with _Told(f"revision {wish.number}", _GO_ON.format(number=wish.number)):
            dry_run = wish.dry_run or wish.preview
            done = await self._running().roll_back(wish.number, dry_run=dry_run, partial=wish.partial)
        return previewed(done) if wish.preview else view_of(done)

    async def end_roll_back(self, _: Nothing) -> object:
        """Only on a stopped gateway: one that runs reloads."""
        if self._reload is not None:
            raise AdminError("running", "the gateway runs", "signalbox reload")
        return {"ended": await self._revisions.end_roll_back()}

    def _running(self) -> Reload:
        if self._reload is None:
            raise AdminError("not_running", "no gateway runs there", "start it: signalbox run")
        return self._reload


_GO_ON = (
    "put what you want back into the file, with the secrets that are missing, and `signalbox reload`; "
    "`signalbox config show {number}` has the revision's text"
)


class _Told:
    """What is wrong with a configuration, as an AdminError. `what` names it."""

    def __init__(self, what: str, hint: str = "") -> None:
        """`hint`: what to do where it is a bad configuration."""
        self._what = what
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        from gateway.reload import Refused

        if isinstance(error, ConfigErrors):
            problem_s = "1 problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
            problems = "\n".join(f"  {problem}" for problem in error.problems)
            raise AdminError(
                "bad_config",
                f"{self._what} has {problem_s}; nothing was changed\n{problems}",
                self._hint,
            ) from None
        if isinstance(error, Refused):
            raise AdminError(error.code, error.message, error.hint) from None
        if isinstance(error, RevisionProblem):
            raise AdminError("revision", str(error), "signalbox config revisions lists them") from None
        if isinstance(error, OSError):
            raise AdminError(
                "unreadable", f"cannot read {self._what}: {error.strerror}; nothing was changed"
            ) from None


def view_of(done: Reloaded) -> dict[str, object]:
    return {
        "applied": done.applied,
        "file": done.file,
        "revision": done.revision,
        "changes": changes_view(done.diff),
        "needs_restart": list(done.pending),
        "warnings": list(done.warnings),
        "waiting": [msgspec.to_builtins(one) for one in done.waiting.lanes],
        "planned_anew": done.waiting.planned_anew,
    }


def previewed(done: Reloaded) -> Preview:
    """What a dry run says, as the preview of an act."""
    touches = []
    for one in done.diff.changes:
        keys = ", ".join(key.key for key in one.keys)
        rebinds = "; its binds are drained and made anew" if one.rebinds else ""
        touches.append(
            f"{one.section} {one.name}".strip() + f" {one.what}" + (f": {keys}" if keys else "") + rebinds
        )
    warnings = [*done.warnings]
    if done.pending:
        warnings.append(f"needs a restart: {', '.join(done.pending)}")
    touches += done.waiting.stay()
    messages = done.waiting.messages
    return Preview(touches or ["nothing: what is in force is the same"], messages, warnings=warnings)


def changes_view(found: Diff) -> list[dict[str, object]]:
    return [
        {
            "section": one.section,
            "name": one.name,
            "what": one.what,
            "rebinds": one.rebinds,
            "keys": [{"key": key.key, "old": key.old, "new": key.new} for key in one.keys],
        }
        for one in found.changes
    ]


def revision_view(one: Revision) -> dict[str, object]:
    return {
        "number": one.number,
        "at": iso(one.at_ms),
        "who": one.who,
        "via": one.via,
        "how": one.how,
        "back_to": one.back_to,
        "reason": one.why,
        "changes": one.changes,
        "file": one.path,
        "has_text": one.has_text,
        "digest": one.digest,
    }
