"""Another configuration for the gateway that runs: read, compared, applied as one, kept as a revision.

Everything that can fail comes first: the whole file is checked, certificates are loaded, addresses for
outbinds are taken, lanes and routes are compiled, the revision is committed. Then everything is swapped in
one go, so that no message meets half of it. Only what must be drained takes longer, beside the traffic: binds
that are replaced, carriers that leave.

What takes long with many routes and prefixes (reading, comparing, expectations, compiling) is done in a
thread; the loop only swaps.

Invariants: a configuration that cannot be accepted changes nothing; one reload at a time; messages that wait
in lanes that are gone are planned anew (gateway.replan), those in hand go on as they were leased.

Deliberately not here: what differs (config.diff), what it does to messages that wait
(gateway.reload_effects), how carriers change (gateway.carriers.fleet), the words of the command
(gateway.cli.reload).
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

import gateway.logs as logs
from config.diff import Diff, diff, without_restart
from config.expect import failures
from config.kept import kept_text
from config.load import ConfigErrors, load
from config.model import Config
from config.problems import Problem
from config.routing import accounts_named, table_of
from gateway.admin_shapes import iso
from gateway.audit import Actor, acting
from gateway.callbacks.client import tls_context
from gateway.carriers.fleet import ClientTls, Listeners, client_tls
from gateway.carriers.lanes import Wish
from gateway.reload_effects import Effects, effects, lost_secrets
from gateway.revisions import Revision, RevisionProblem, Revisions, again, read_text, same_text
from router.numbers import normalise
from router.plans import facts
from router.routes import RouteTable
from store.interface import StoreError

if TYPE_CHECKING:
    from gateway.app import Gateway

log = structlog.get_logger("reload")

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


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
    warnings: tuple[str, ...]  # `waiting.warnings()` are among them
    waiting: Effects = Effects()  # what the change does to messages that wait


class _Ready(msgspec.Struct):
    """All that is needed to apply a configuration, made before anything is changed."""

    config: Config
    diff: Diff
    routes: RouteTable
    lanes: list[Wish]
    tls: dict[str, ClientTls | None]
    listeners: dict[str, Listeners]
    callbacks: ssl.SSLContext


class _Numbers:
    """router.knowledge.Knowledge for a thread, where tables cannot be asked: what is ported is known."""

    def __init__(self, ported: frozenset[str]) -> None:
        self._ported = ported

    def country(self, digits: str) -> str:
        return facts(digits).country

    def number_type(self, digits: str) -> str:
        return facts(digits).kind

    def mcc_mnc(self, digits: str) -> str:
        return ""  # expectations name it

    def ported(self, digits: str) -> bool:
        return digits in self._ported


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
                done = await self.reload()
                for warning in done.warnings:
                    log.warning("configuration applied, with a warning", warning=warning)
            except ConfigErrors as errors:
                for problem in errors.problems:
                    log.error("configuration refused", problem=str(problem))
            except (Refused, StoreError) as refusal:
                log.error("configuration refused", why=str(refusal), hint=refusal.hint)
            except OSError as error:
                log.error("configuration refused", file=str(self.file), why=error.strerror or str(error))

    async def diff_of(self, older: int, newer: int) -> Diff:
        """From one revision to another; 0: what is in force. Errors: RevisionProblem, ConfigErrors."""
        before, after = await self._numbered(older), await self._numbered(newer)
        found: Diff = await self.in_thread(lambda: diff(before, after))
        return found

    async def _numbered(self, number: int) -> Config:
        return await self._again(self.revisions.find(number)) if number else self._gateway.config

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
        config = await self._read(lambda: load(file))
        await self._expect(config)
        return await self._take(config, "reload", dry_run=dry_run, partial=partial)

    async def _roll_back(self, number: int, dry_run: bool, partial: bool) -> Reloaded:
        revision = self.revisions.find(number)
        config = await self._again(revision)
        return await self._take(config, "rollback", dry_run=dry_run, partial=partial, back_to=revision.number)

    async def _read(self, read: Callable[[], Config]) -> Config:
        """What is kept of its text is worked out as well, and remembered (config.kept)."""

        def work() -> Config:
            config = read()
            kept_text(config.source)
            return config

        return self._placed(await self.in_thread(work))

    async def _expect(self, config: Config) -> None:
        """Errors: ConfigErrors where messages would not go as `[[expect]]` says."""
        if not config.expect:
            return
        rules = [one.rule for one in config.routes]
        ported: frozenset[str] = frozenset()
        if any(one.ported or (one.none_of is not None and one.none_of.ported) for one in rules):
            region = config.gateway.default_region
            asked = {normalise(one.to, region) for one in config.expect}
            ported = frozenset(one for one in asked if self._gateway.known.ported(one))
        now_ms = self._gateway.world.wall_ms()
        wrong = await self.in_thread(lambda: failures(config, now_ms, _Numbers(ported)))
        if wrong:
            raise ConfigErrors(wrong)

    def _placed(self, config: Config) -> Config:
        if self.data_dir is None:
            return config
        return dataclasses.replace(
            config, gateway=dataclasses.replace(config.gateway, data_dir=self.data_dir)
        )

    async def _again(self, revision: Revision) -> Config:
        """A revision's configuration, with the secrets there are now and its paths as the file's."""
        like = dataclasses.replace(self._gateway.config, path=self.file)
        text = self.revisions.text(revision)
        try:
            return await self._read(lambda: again(text, like))
        except ConfigErrors as errors:
            raise _of_revision(revision.number, str(like.path), errors) from None

    async def _take(
        self, config: Config, how: str, *, dry_run: bool, partial: bool, back_to: int = 0
    ) -> Reloaded:
        gateway = self._gateway
        found: Diff = await self.in_thread(lambda: diff(gateway.config, config))
        warnings = [str(warning) for warning in config.warnings]
        strangers = sorted(accounts_named(config) - gateway.accounts.by_name.keys())
        if strangers:
            warnings.append(f"[[routes]] match names accounts that do not exist: {', '.join(strangers[:20])}")
        waiting = await effects(gateway, config, found, look=dry_run)
        warnings += waiting.warnings()
        if found:
            warnings += await self.in_thread(lambda: lost_secrets(gateway.config, config))
        if dry_run:
            number = self.revision.number if self.revision is not None else 0
            told = tuple(warnings)
            return Reloaded(False, found, found.restart, number, str(config.path), told, waiting)
        if gateway.stopping.is_set():
            raise Refused("stopping", "the gateway is shutting down")
        if found.restart and not partial:
            raise Refused(
                "needs_restart",
                f"{', '.join(found.restart)}: cannot be changed while the gateway runs; nothing was changed",
                "restart it, or apply all the rest now with --partial",
            )
        pending, applied = found.restart, config
        if pending:
            applied = without_restart(gateway.config, config)
            found = await self.in_thread(lambda: diff(gateway.config, applied))
        ready = await self._prepared(applied, found)
        try:
            revision = await self._kept(config, ready.diff, how, back_to, waiting.planned_anew)
            self._apply(ready)
        except BaseException:
            await _close(ready.listeners)
            raise
        self.revision, self.pending = revision, pending
        self.rolled_back = revision if how == "rollback" else None
        self.loaded_ms = gateway.world.wall_ms()
        await gateway.terms.follow_routes()  # an order may have come since the lanes were made
        log.info(
            "configuration applied",
            file=str(config.path),
            revision=revision.number if revision is not None else 0,
            how=how,
            changes=[f"{one.section}.{one.name} {one.what}" for one in ready.diff.changes],
            needs_restart=list(pending),
            planned_anew=waiting.planned_anew,
        )
        number = revision.number if revision is not None else 0
        return Reloaded(True, ready.diff, pending, number, str(config.path), tuple(warnings), waiting)

    async def _kept(
        self, config: Config, found: Diff, how: str, back_to: int, planned_anew: int
    ) -> Revision | None:
        """As a revision; a reload that changes nothing is none, unless it ends a roll-back."""
        nothing_new = self.revision is not None and not found and config.source == self._gateway.config.source
        if how == "reload" and nothing_new and self.rolled_back is None:
            assert self.revision is not None
            await self.revisions.tell_unchanged(self.revision)
            return self.revision
        return await self.revisions.keep(config, how, back_to=back_to, found=found, planned_anew=planned_anew)

    async def _prepared(self, config: Config, found: Diff) -> _Ready:
        """Errors: Refused, StoreError; then nothing stays open."""
        listeners: dict[str, Listeners] = {}
        try:
            return await self._made(config, found, listeners)
        except BaseException:
            await _close(listeners)
            raise

    async def _made(self, config: Config, found: Diff, listeners: dict[str, Listeners]) -> _Ready:
        """`listeners`, by carrier, has those that were opened, even after an error."""
        gateway = self._gateway
        tls: dict[str, ClientTls | None] = {}
        old = {one.name: one for one in gateway.config.carriers}
        changed = {one.name for one in found.changes if one.section == "carriers" and one.what != "removed"}
        for one in config.carriers:
            if one.name not in changed:
                continue
            try:
                tls[one.name] = await self.in_thread(partial(client_tls, one))
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
            lanes = gateway.wishes(config)
            ids = [lane.id for lane in lanes]
            ordered = gateway.terms.ordered(config)
            routes = await self.in_thread(lambda: table_of(ordered, ids, gateway.known))
        except ValueError as error:
            raise Refused("routes", f"{error}; nothing was changed") from None
        try:
            callbacks = await self.in_thread(lambda: tls_context(config.callbacks.ca_file))
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
        logs.set_level(config.log.level, config.log.levels)
        gateway.committer.wake()


def _of_revision(number: int, file: str, errors: ConfigErrors) -> ConfigErrors:
    """What is wrong with a kept text, by its revision: the file's lines are others by now."""
    return ConfigErrors(
        Problem(f"revision {number}", 0, one.key, one.message, one.hint) if one.file == file else one
        for one in errors.problems
    )


async def _close(listeners: Mapping[str, Listeners]) -> None:
    for ours in listeners.values():
        for listener in ours:
            await trio.aclose_forcefully(listener)


__all__ = ["Refused", "Reload", "Reloaded", "RevisionProblem"]
