"""Another configuration for the gateway that runs: read, compared, applied as one, kept as a revision.

Everything that can fail comes first: the whole file is checked, certificates are loaded, addresses for
outbinds are taken, lanes and routes are compiled, the revision is committed. Then everything is swapped in
one go, so that no message meets half of it. Only what must be drained takes longer, beside the traffic: binds
that are replaced, carriers that leave.

Invariants: a configuration that cannot be accepted changes nothing; one reload at a time; messages that wait
in lanes that are gone are planned anew (gateway.replan), those in hand go on as they were leased.

Deliberately not here: what differs (config.diff), how carriers change (gateway.carriers.fleet), the words of
the command (gateway.cli.reload).
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

import gateway.logs as logs
from config.diff import Diff, diff, without_restart
from config.expect import failures
from config.load import ConfigErrors, load
from config.model import Config
from config.routing import accounts_named
from gateway.admin_shapes import iso
from gateway.audit import Actor, acting
from gateway.callbacks.client import tls_context
from gateway.carriers.fleet import ClientTls, Listeners, client_tls
from gateway.carriers.lanes import Wish
from gateway.revisions import Revision, RevisionProblem, Revisions, read_text, same_text
from router.routes import RouteTable
from store.interface import StoreError

if TYPE_CHECKING:
    from gateway.app import Gateway

log = structlog.get_logger("reload")

InThread = Callable[[Callable[[], Config]], Awaitable[Config]]


class Refused(Exception):
    """Nothing was changed: why, and what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Reloaded(msgspec.Struct):
    """What a reload did, or would do. `pending`: keys that need a restart and were left as they are."""

    applied: bool
    diff: Diff
    pending: tuple[str, ...]
    revision: int  # in force now; 0: none is kept
    file: str
    warnings: tuple[str, ...]


class _Ready(msgspec.Struct):
    """All that is needed to apply a configuration, made before anything is changed."""

    config: Config
    diff: Diff
    routes: RouteTable
    lanes: list[Wish]
    tls: dict[str, ClientTls | None]
    listeners: dict[str, Listeners]
    callbacks: ssl.SSLContext


class Reload:
    """`file` is what the gateway was started with: what a reload reads unless it is told another."""

    def __init__(self, gateway: Gateway, revisions: Revisions) -> None:
        self.revisions = revisions
        self.file = gateway.config.path.absolute()
        self.revision: Revision | None = None
        self.rolled_back: Revision | None = None
        self.pending: tuple[str, ...] = ()
        self.loaded_ms = gateway.world.wall_ms()
        self.succeeded = True  # the last one that was asked for
        self.counts = {"applied": 0, "refused": 0}
        self.data_dir: Path | None = None  # given on the command line, before what files say
        self.in_thread: InThread = trio.to_thread.run_sync
        self._gateway = gateway
        self._one_at_a_time = trio.Lock()

    async def started(self, rolled_back: Revision | None = None) -> None:
        """The gateway runs with its first configuration; `rolled_back`: it is that of a roll-back."""
        self.rolled_back = self.revision = rolled_back
        if rolled_back is None:
            try:
                self.revision = await self.revisions.keep(self._gateway.config, "start")
            except StoreError as error:
                log.warning("the configuration is not kept as a revision", error=str(error), hint=error.hint)

    # what can be asked

    async def reload(
        self, path: Path | None = None, *, dry_run: bool = False, partial: bool = False
    ) -> Reloaded:
        """Read the file and apply it. Errors: Refused, ConfigErrors, OSError, StoreError."""
        async with self._one_at_a_time:
            return await self._counted(dry_run, self._reload(path or self.file, dry_run, partial))

    async def roll_back(self, number: int, *, dry_run: bool = False, partial: bool = False) -> Reloaded:
        """Put an earlier revision in force, until the next reload. Errors: the same, RevisionProblem."""
        async with self._one_at_a_time:
            return await self._counted(dry_run, self._roll_back(number, dry_run, partial))

    async def by_signal(self) -> None:
        """SIGHUP: the log says how it went."""
        with acting(Actor("SIGHUP", "gateway")):
            try:
                await self.reload()
            except ConfigErrors as errors:
                for problem in errors.problems:
                    log.error("configuration refused", problem=str(problem))
            except (Refused, StoreError) as refusal:
                log.error("configuration refused", why=str(refusal), hint=refusal.hint)
            except OSError as error:
                log.error("configuration refused", file=str(self.file), why=error.strerror or str(error))

    def diff_of(self, older: int, newer: int) -> Diff:
        """From one revision to another; 0: what is in force. Errors: RevisionProblem, ConfigErrors."""
        return diff(*(self._numbered(number) for number in (older, newer)))

    def _numbered(self, number: int) -> Config:
        return self._placed(self._again(self.revisions.find(number))) if number else self._gateway.config

    def state(self) -> dict[str, object]:
        """For `signalbox status`: which configuration is in force, and whether it is the file's."""
        text = read_text(self.file)
        if text is None:
            differs = "the file cannot be read"
        elif self.rolled_back is not None:
            differs = f"rolled back to revision {self.rolled_back.back_to}"
        elif not same_text(text, self._gateway.config.source):
            differs = "the file was changed since"
        else:
            differs = "a restart is needed for a part of it" if self.pending else ""
        return {
            "file": str(self.file),
            "loaded_at": iso(self.loaded_ms),
            "revision": self.revision.number if self.revision is not None else 0,
            "rolled_back_to": self.rolled_back.back_to if self.rolled_back is not None else 0,
            "differs_from_file": differs,
            "needs_restart": list(self.pending),
        }

    # how it is done

    async def _counted(self, dry_run: bool, work: Awaitable[Reloaded]) -> Reloaded:
        try:
            done = await work
        except BaseException:
            if not dry_run:
                self.succeeded = False
                self.counts["refused"] += 1
            raise
        if not dry_run:
            self.succeeded = True
            self.counts["applied"] += 1
        return done

    async def _reload(self, file: Path, dry_run: bool, partial: bool) -> Reloaded:
        config = self._expected(self._placed(await self.in_thread(lambda: load(file))))
        return await self._take(config, "reload", dry_run=dry_run, partial=partial)

    async def _roll_back(self, number: int, dry_run: bool, partial: bool) -> Reloaded:
        revision = self.revisions.find(number)
        config = self._placed(self._again(revision))
        return await self._take(config, "rollback", dry_run=dry_run, partial=partial, back_to=revision.number)

    def _expected(self, config: Config) -> Config:
        """Errors: ConfigErrors where messages would not go as `[[expect]]` says."""
        wrong = failures(config, self._gateway.world.wall_ms(), self._gateway.known)
        if wrong:
            raise ConfigErrors(wrong)
        return config

    def _placed(self, config: Config) -> Config:
        if self.data_dir is None:
            return config
        return dataclasses.replace(
            config, gateway=dataclasses.replace(config.gateway, data_dir=self.data_dir)
        )

    def _again(self, revision: Revision) -> Config:
        """A revision's configuration, with the secrets there are now and its paths as the file's."""
        like = dataclasses.replace(self._gateway.config, path=self.file)
        return self.revisions.config(revision, like)

    async def _take(
        self, config: Config, how: str, *, dry_run: bool, partial: bool, back_to: int = 0
    ) -> Reloaded:
        gateway = self._gateway
        found = diff(gateway.config, config)
        warnings = [str(warning) for warning in config.warnings]
        strangers = sorted(accounts_named(config) - gateway.accounts.by_name.keys())
        if strangers:
            warnings.append(f"[[routes]] match names accounts that do not exist: {', '.join(strangers[:20])}")
        if dry_run:
            number = self.revision.number if self.revision is not None else 0
            return Reloaded(False, found, found.restart, number, str(config.path), tuple(warnings))
        if gateway.stopping.is_set():
            raise Refused("stopping", "the gateway is shutting down")
        if found.restart and not partial:
            raise Refused(
                "needs_restart",
                f"{', '.join(found.restart)}: cannot be changed while the gateway runs; nothing was changed",
                "restart it, or apply all the rest now with --partial",
            )
        pending = found.restart
        applied = without_restart(gateway.config, config) if pending else config
        ready = await self._prepared(applied)
        try:
            revision = await self._kept(config, ready.diff, how, back_to)
            self._apply(ready)
        except BaseException:
            for listeners in ready.listeners.values():
                for listener in listeners:
                    await trio.aclose_forcefully(listener)
            raise
        self.revision, self.pending = revision, pending
        self.rolled_back = revision if how == "rollback" else None
        self.loaded_ms = gateway.world.wall_ms()
        log.info(
            "configuration applied",
            file=str(config.path),
            revision=revision.number if revision is not None else 0,
            how=how,
            changes=[f"{one.section}.{one.name} {one.what}" for one in ready.diff.changes],
            needs_restart=list(pending),
        )
        number = revision.number if revision is not None else 0
        return Reloaded(True, ready.diff, pending, number, str(config.path), tuple(warnings))

    async def _kept(self, config: Config, found: Diff, how: str, back_to: int) -> Revision | None:
        """As a revision; a reload that changes nothing is none, unless it ends a roll-back."""
        nothing_new = self.revision is not None and not found and config.source == self._gateway.config.source
        if how == "reload" and nothing_new and self.rolled_back is None:
            return self.revision
        return await self.revisions.keep(config, how, back_to=back_to, found=found)

    async def _prepared(self, config: Config) -> _Ready:
        """Errors: Refused."""
        gateway = self._gateway
        found = diff(gateway.config, config)
        tls: dict[str, ClientTls | None] = {}
        listeners: dict[str, Listeners] = {}
        old = {one.name: one for one in gateway.config.carriers}
        changed = {one.name for one in found.changes if one.section == "carriers" and one.what != "removed"}
        for one in config.carriers:
            if one.name not in changed:
                continue
            try:
                tls[one.name] = client_tls(one)
                before = old[one.name].outbind_listen if one.name in old else ""
                if one.outbind_listen != before:
                    listeners[one.name] = await gateway.fleet.listen(one)
            except (OSError, ssl.SSLError) as error:
                where = f" ({error.filename})" if error.filename else ""
                raise Refused(
                    "carrier",
                    f"carrier {one.name!r}: {error.strerror or error}{where}; nothing was changed",
                    "its certificate files and outbind_listen must be good before it is changed",
                ) from None
        try:
            routes, lanes = gateway.compiled(config)
        except ValueError as error:
            raise Refused("routes", f"{error}; nothing was changed") from None
        try:
            callbacks = tls_context(config.callbacks.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Refused("callbacks", f"[callbacks] ca_file: {error.strerror or error}") from None
        return _Ready(config, found, routes, lanes, tls, listeners, callbacks)

    def _apply(self, ready: _Ready) -> None:
        """Everything at once: nothing else runs in between."""
        gateway, config = self._gateway, ready.config
        fleet = gateway.fleet
        fleet.drain_timeout_s = config.gateway.drain_timeout_s
        settings = {one.name: one for one in config.carriers}
        for change in ready.diff.changes:
            if change.section != "carriers":
                continue
            name = change.name
            if change.what == "removed":
                fleet.remove(name)
            elif change.what == "added":
                fleet.add(settings[name], ready.tls[name], ready.listeners.get(name, ()))
            else:
                fleet.change(
                    settings[name],
                    rebinds=change.rebinds,
                    tls=ready.tls[name],
                    listeners=ready.listeners.get(name),
                )
        gateway.take_lanes(config, ready.lanes)
        gateway.change(config, ready.routes, ready.callbacks)
        logs.set_level(config.gateway.log_level)
        gateway.committer.wake()


__all__ = ["Refused", "Reload", "Reloaded", "RevisionProblem"]
