"""Test messages on a schedule: real ones, through a route's lane, judged by their receipts.

They are of the account `probes`, which is made when a route first has one, without keys or logins, so that
they are never a customer's: one of that name that has any is left alone, and no probe is sent. A probe fails
when it is refused, takes another route, ends otherwise than DELIVERED, or has not ended in time. Each failure
is an event, with its number masked; so is the first success after one.

Deliberately not here: which carrier of the lane takes it (as for every message), what a failure leads to: it
is told, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from gateway.accounts import PROBES, AccountProblem
from gateway.door import Accepted, Refusal, Submission
from gateway.logs import mask_number
from router.nouns import MessageState, Phase
from store.interface import StoreError

if TYPE_CHECKING:
    from config.model import ProbeConfig
    from gateway.app import Gateway
    from router.nouns import Account

ACCOUNT = PROBES
LOOK_S = 1.0

log = structlog.get_logger("probes")


class _Probe:
    """One of a route's, and the message that is under way, if one is."""

    def __init__(self, route: str, wish: ProbeConfig, now: float) -> None:
        self.route = route
        self.wish = wish
        self.due = now + min(60.0, wish.every_s)
        self.message = 0
        self.sent = 0.0
        self.failed = False


class Probes:
    """`passed` and `failed`: counts since the start, by route."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._probes: dict[tuple[str, ProbeConfig], _Probe] = {}
        self._taken = False  # the name, by a customer
        self.passed: dict[str, int] = {}
        self.failed: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            now = trio.current_time()
            probes = self._of_now(now)
            account = await self._account() if probes else None
            for probe in probes if account is not None else ():
                assert account is not None
                if probe.message:
                    self._look_at(probe, account, now)
                elif now >= probe.due:
                    self._send(probe, account, now)

    def _of_now(self, now: float) -> list[_Probe]:
        """Those of the configuration in force; a new one begins within a minute."""
        wanted = [(route.name, wish) for route in self._gateway.config.routes for wish in route.probes]
        self._probes = {key: self._probes.get(key) or _Probe(*key, now) for key in wanted}
        return list(self._probes.values())

    async def _account(self) -> Account | None:
        accounts = self._gateway.accounts
        if ACCOUNT not in accounts.by_name:
            try:
                now_ms = self._gateway.world.wall_ms()
                await accounts.create(ACCOUNT, now_ms, key_hashes=(), key_prefixes=())
            except (AccountProblem, StoreError) as error:
                log.error("no probe is sent: its account cannot be made", error=str(error))
                return None
        account = accounts.by_name[ACCOUNT]
        if account.key_hashes or account.logins:
            if not self._taken:
                log.error(
                    "no probe is sent: the account of their name is somebody's, with keys or logins",
                    account=ACCOUNT,
                )
            self._taken = True
            return None
        self._taken = False
        return account

    def _send(self, probe: _Probe, account: Account, now: float) -> None:
        wish = probe.wish
        probe.due = max(probe.due + wish.every_s, now)
        probe.sent = now
        submission = Submission(
            wish.to,
            wish.from_,
            wish.text,
            validity_s=wish.within_s,
            receipt="final",
            tags=("probe", probe.route),
        )

        def took(results: list[Accepted | Refusal]) -> None:
            (result,) = results
            if not isinstance(result, Accepted):
                self._judged(probe, f"it was refused: {result.detail}")
            elif result.route != probe.route:
                self._judged(probe, f"it took the route {result.route}: its `to` is not of this route")
            else:
                probe.message = result.id

        self._gateway.door.submit(account, [submission], took)

    def _look_at(self, probe: _Probe, account: Account, now: float) -> None:
        found = self._gateway.store.find(account.id, probe.message)
        progress = found[1] if found is not None else None
        if progress is not None and progress.phase == Phase.FINAL:
            state = MessageState(progress.state)
            carrier = (
                self._gateway.store.carrier_name(progress.parts[0].carrier) if progress.parts else "nobody"
            )
            bad = (
                ""
                if state is MessageState.DELIVERED
                else f"{state.name} by {carrier} {progress.cause}".strip()
            )
            self._judged(probe, bad)
        elif now - probe.sent >= probe.wish.within_s:
            self._judged(probe, f"no final receipt within {probe.wish.within_s} s")

    def _judged(self, probe: _Probe, bad: str) -> None:
        counts = self.failed if bad else self.passed
        counts[probe.route] = counts.get(probe.route, 0) + 1
        digits = probe.wish.to.removeprefix("+")
        bad = bad.replace(digits, mask_number(digits))
        figures: dict[str, object] = {"message": str(probe.message), "to": mask_number(digits)}
        subject = f"route:{probe.route}"
        if bad:
            self._gateway.health.tell(
                "probe.failed", subject, f"a test message failed: {bad}", figures, warning=True
            )
        elif probe.failed:
            self._gateway.health.tell("probe.passed", subject, "a test message was delivered again", figures)
        probe.failed, probe.message = bool(bad), 0
