"""Which carriers take messages: looked at once a second, from what is counted anyway.

For each carrier: the sums of its answers (gateway.metrics) and of its receipts (store.tallies) since the last
look go into its router.health.Health, which decides. Orders of operators, maintenance and the circuit breaker
together are how a carrier stands: it takes messages, a few for a trial, or none; lanes then move on by
themselves. Whatever changes is a row of the event log.

Cost: one task; nothing for a message but the counting itself. Memory follows carriers and countries, bounded.

Deliberately not here: what is too bad (router.health, `[health]`), deciding on one country alone
(gateway.countries), what operators may say (gateway.orders).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio

from gateway.admin_shapes import iso
from gateway.carriers.carrier import NO_TRIAL
from gateway.countries import Countries, Decided, Verdict, place_of
from gateway.hours import Hours
from gateway.metrics import SECONDS
from gateway.notices import notice
from gateway.noticing import Noticing
from router.cells import CELL, DEAD, DELAY_MS, DELAY_SQUARES, DELAYS, country_of, regular
from router.health import RECEIPTS, TIMES, Change, Fault, Health, State
from router.judge import Fate, fate_of
from router.nouns import FINAL_STATES, MessageState, ReceiptFate
from router.waiting import Wait
from store.interface import Notice, StoreError, Transaction

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier

LOOK_S = 1.0
_BOUNDS_MS = tuple(int(bound * 1000) or 1 for bound in SECONDS)
_HEARD = frozenset(
    (int(state), int(fate))
    for state in FINAL_STATES - {MessageState.ACCEPTED}
    for fate in (ReceiptFate.MATCHED, ReceiptFate.CLAIMED)
)
_REGULAR_FROM = 200  # delays
_REGULAR_ON_TRIAL = 5  # of a carrier that was taken out for false receipts
_STATUSES_KNOWN = 1_000  # of one carrier: it may answer any 32-bit number
_BLAMES_CARRIER = frozenset((Fate.RETRY, Fate.HERE, Fate.CARRIER))
_FAULTS = {
    Fault.ERRORS: "too many submits failed or were not answered",
    Fault.SLOW: "answers take too long",
    Fault.UNDELIVERED: "too few messages are delivered",
    Fault.SILENCE: "it answers, and receipts do not come any more",
    Fault.LATE: "receipts come too late",
    Fault.FALSE: "its receipts look made up",
}

log = structlog.get_logger("health")


class _Watched:
    """One carrier, and what was counted of it up to the last look."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.settings = carrier.settings.health, carrier.settings.judging
        self.health = Health(carrier.settings.health.limits, _BOUNDS_MS)
        self.opened: dict[Fault, int] = {}  # how often, by why
        self.opened_for: dict[Fault, int] = {}  # the same for single countries
        self.looks_false = ""  # why its receipts look made up, as it was told last
        self._blames: dict[int, bool] = {}
        self._submits = [0] * (TIMES + len(_BOUNDS_MS) + 1)
        self._receipts = [0] * RECEIPTS
        self._cells: dict[int, tuple[int, ...]] = {}
        self.state_since_ms = 0
        self.maintenance: str | None = None  # why, while it lasts
        self.maintenance_since_ms = 0

    def follow(self, carrier: Carrier) -> None:
        """It is judged by other settings, or is another with the same name: what the breaker said stays."""
        self.carrier = carrier
        self.settings = carrier.settings.health, carrier.settings.judging
        self._blames.clear()
        self.health.judge_by(carrier.settings.health.limits)
        if self.health.state is State.HALF_OPEN:
            carrier.trial = self.health.limits.trial

    def blames(self, status: int) -> bool:
        """Whether a command_status is the carrier's own fault, as its configuration judges it."""
        known = self._blames.get(status)
        if known is None:
            if len(self._blames) >= _STATUSES_KNOWN:
                self._blames.clear()
            fate = fate_of(status, self.carrier.settings.judging)
            known = self._blames[status] = fate in _BLAMES_CARRIER
        return known

    def submits(self) -> list[int]:
        """Since the last call."""
        carrier, counts = self.carrier, self.carrier.counts
        answered = faults = 0
        for status, count in counts.statuses.items():
            if status == 0:
                answered += count
                continue
            if self.blames(status):
                faults += count
        times = counts.response_seconds
        return _since(
            self._submits, [answered, faults, carrier.silent, int(times.total * 1000), *times.counts]
        )

    def receipts(self, cells: Iterable[list[int]], unasked: int, claimed: int) -> list[int]:
        """Since the last call. `cells` are the carrier's, by country; `unasked`, `claimed`: store.tallies."""
        counts = self.carrier.counts
        sums = [0] * CELL
        for cell in cells:
            for column, count in enumerate(cell):
                if count:
                    sums[column] += count
        expected = max(0, counts.statuses.get(0, 0) - unasked)
        heard = sum(count for key, count in counts.receipts.items() if key in _HEARD) + claimed
        return _since(self._receipts, [*sums, expected, heard])


def _since(before: list[int], now: list[int]) -> list[int]:
    """What was added; `before` becomes `now`."""
    added = [new - old for new, old in zip(now, before, strict=True)]
    before[:] = now
    return added


def _signs_of_false(one: _Watched, sums: list[int], enough: int) -> list[str]:
    """For people. `sums` of receipts; `enough` delays of them tell whether a clock made them."""
    settings = one.carrier.settings.health
    signs = []
    if sums[DEAD]:
        signs.append(f"{sums[DEAD]} delivered to numbers known to be dead")
    permille = round(settings.regular_ratio * 1000)
    if permille and sums[DELAYS] >= enough:
        mean_ms = sums[DELAY_MS] // sums[DELAYS]
        if regular(sums[DELAYS], sums[DELAY_MS], sums[DELAY_SQUARES], permille):
            signs.append(f"{sums[DELAYS]} receipts, all after {mean_ms} ms, as by a clock")
    return signs


class HealthWatch:
    """`apply` does at once what is decided; `run` looks again once a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._watched: dict[str, _Watched] = {}
        self.countries = Countries()
        self.told: dict[str, int] = {}  # events since the start, by kind
        self._notices: list[Notice] = []
        self.noticing = Noticing(gateway, self.tell)
        self._hours = Hours(gateway.store.meta)
        self._rows: dict[str, bytes] = {}  # of hours that ended
        gateway.orders.changed.append(self.apply)
        self.settings_changed()

    def settings_changed(self) -> None:
        """Carriers have other settings, or are others."""
        self._gateway.store.tallies().dead = frozenset().union(
            *(carrier.settings.health.dead for carrier in self._gateway.carriers)
        )
        names = {carrier.name for carrier in self._gateway.carriers}
        self._watched = {name: one for name, one in self._watched.items() if name in names}
        self.countries.keep(carrier.id for carrier in self._gateway.carriers)
        self.apply()

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            try:
                self.look()
                self.noticing.look()
            except Exception:
                # Whoever watches must not be what falls over.
                log.exception("cannot look at how carriers are")
            try:
                await self._gateway.orders.end_old()
                await self._write()
            except StoreError as error:
                log.error("events are kept for later", error=str(error), hint=error.hint)

    def look(self) -> None:
        """Feed what was counted since the last look, and decide."""
        now_s = int(trio.current_time())
        tallies = self._gateway.store.tallies()
        by_carrier = self.countries.by_carrier(tallies.cells)
        watched = self._all()
        limits = {one.carrier.id: one.carrier.settings.health.country_limits for one in watched}
        self.countries.feed(now_s, tallies.cells, limits)
        for one in watched:
            carrier = one.carrier
            receipts = self._receipts_of(one, by_carrier)
            submits = one.submits()
            self.countries.excuse(carrier.id, submits, receipts)
            if self._in_maintenance(one):
                continue  # nothing of it counts
            self._compare(one, submits, receipts)
            one.health.feed(now_s, submits, receipts)
            out = self._looks_false(one) and carrier.settings.health.false_receipts == "suspend"
            alone = self._gateway.board.alone(carrier.id)
            to_blame = partial(self.countries.to_blame, carrier.id, now_s)
            change = one.health.look(now_s, alone=alone, false_receipts=out, excused=to_blame)
            if change is not None:
                self._changed(one, change, "" if one.health.limits.act else "its health is only told now")
            elif carrier.trial <= 0 and carrier.idle and (left := one.health.trial_left()):
                carrier.stand(suspended=carrier.suspended, out=carrier.out, trial=left)
            if one.health.state is State.CLOSED:
                self._look_at_countries(one, now_s)

    def _look_at_countries(self, one: _Watched, now_s: int) -> None:
        carrier, now_ms = one.carrier, self._gateway.world.wall_ms()
        patience_s = carrier.settings.response_timeout_s + 5
        alone = partial(self._gateway.board.alone_in, carrier.id)
        for decided in self.countries.look(carrier.id, now_s, now_ms, patience_s, alone):
            self._country_changed(one, decided)
        if carrier.standings is not None:
            self._gateway.committer.wake()  # its trial may have got other messages, and nothing else may come

    def apply(self) -> None:
        """Carriers take messages or do not, as things stand."""
        for one in self._all():
            carrier, health = one.carrier, one.health
            suspended = carrier.name in self._gateway.orders.by_carrier
            out = Wait.CIRCUIT_OPEN if health.state is State.OPEN else None
            if one.maintenance is not None:
                out = Wait.MAINTENANCE
            if carrier.standings is not self.countries.standings.get(carrier.id):
                self._stand_in(one, more=True)
            trial = carrier.trial if health.state is State.HALF_OPEN else NO_TRIAL
            if (suspended, out, trial) != (carrier.suspended, carrier.out, carrier.trial):
                carrier.stand(suspended=suspended, out=out, trial=trial)

    def close(self, name: str) -> None:
        """An operator trusts this carrier again, whatever the breaker says, in every country."""
        one = self._watched.get(name)
        if one is not None:
            now_ms = self._gateway.world.wall_ms()
            for decided in self.countries.close(one.carrier.id, int(trio.current_time()), now_ms):
                self._country_changed(one, decided, "an operator said so")
        change = one.health.close(int(trio.current_time())) if one is not None else None
        if one is not None and change is not None:
            self._changed(one, change, "an operator said so")

    def tell(
        self, kind: str, subject: str, text: str, figures: dict[str, object], *, warning: bool = False
    ) -> None:
        """Log it, count it, and write it into the event log with the next look. The log says `what`: what is
        called text is taken for a message's, and hidden (gateway.logs)."""
        made = notice(self._gateway.world.wall_ms(), kind, subject, text, figures, warning=warning)
        self._notices.append(made)
        self.told[kind] = self.told.get(kind, 0) + 1
        (log.warning if warning else log.info)(kind, subject=subject, what=text, **figures)

    def opened(self) -> Iterable[tuple[str, Fault, int]]:
        """(carrier, why, how often it was taken out since the start)."""
        return [
            (name, fault, one.opened.get(fault, 0)) for name, one in self._watched.items() for fault in Fault
        ]

    def opened_for(self) -> Iterable[tuple[str, Fault, int]]:
        """(carrier, why, how often it was left out for a country since the start)."""
        return [
            (name, fault, one.opened_for.get(fault, 0))
            for name, one in self._watched.items()
            for fault in Fault
            if fault not in (Fault.SILENCE, Fault.FALSE)
        ]

    def bad(self, name: str) -> str:
        """What a carrier would be taken out for, and goes on all the same; "" where nothing is bad."""
        one = self._watched.get(name)
        fault = one.health.bad if one is not None else None
        return "" if fault is None else _FAULTS[fault]

    def out_for(self) -> Iterable[tuple[str, Verdict]]:
        """(carrier, country that it is out for, or on trial in), as of now."""
        return [
            (name, verdict)
            for name, one in self._watched.items()
            for verdict in self.countries.verdicts(one.carrier.id)
        ]

    def states(self) -> Iterable[tuple[str, State]]:
        return [(name, one.health.state) for name, one in self._watched.items()]

    def figures(self) -> Iterable[tuple[str, dict[str, int]]]:
        """(carrier, router.health's figures) as of now."""
        now_s = int(trio.current_time())
        return [(name, one.health.figures(now_s)) for name, one in self._watched.items()]

    def delivered_ratio(self, carrier: Carrier, code: int = 0) -> float | None:
        """Share of its messages that it delivered lately, to a calling code where there is enough of it; None
        while there is too little to tell."""
        if code:
            ratio = self.countries.delivered_ratio(carrier.id, code, int(trio.current_time()))
            if ratio is not None:
                return ratio
        permille = self._watch(carrier).health.figures(int(trio.current_time()))["delivered_permille"]
        return None if permille < 0 else permille / 1000

    def view(self, carrier: Carrier, now_ms: int) -> dict[str, object]:
        """For people and programs; a figure is None while there is too little to tell."""
        one = self._watch(carrier)
        health = one.health
        figures = health.figures(int(trio.current_time()))
        out: dict[str, object] | None = None
        if one.maintenance is not None:
            since, reason = iso(one.maintenance_since_ms), one.maintenance
            out = {"why": "maintenance", "reason": reason, "since": since, "until": ""}
        elif health.state is not State.CLOSED:
            ends_in_s = health.until_s - trio.current_time()
            out = {
                "why": carrier.facts(trio.current_time()).out,
                "reason": "" if health.fault is None else _FAULTS[health.fault],
                "since": iso(one.state_since_ms),
                "until": iso(now_ms + int(ends_in_s * 1000)) if health.state is State.OPEN else "",
            }
            out["why"] = "circuit_open" if health.state is State.OPEN else "trial"
        return {
            "out": out,
            "out_for": [self._verdict(verdict, now_ms) for verdict in self.countries.verdicts(carrier.id)],
            "health": {
                "circuit": health.state.value,
                "submits": figures["submits"],
                "error_ratio": _ratio(figures["error_permille"]),
                "response_mean_s": _seconds(figures["response_mean_ms"]),
                "response_p90_s": _seconds(figures["response_p90_ms"]),
                "receipts": figures["receipts"],
                "receipts_blameless": figures["receipts_blameless"],
                "delivered_ratio": _ratio(figures["delivered_permille"]),
                "receipt_p50_s": _seconds(figures["receipt_p50_ms"]),
                "looks_false": one.looks_false,
                "bad": "" if health.bad is None else _FAULTS[health.bad],
                "countries": self.countries.view(carrier.id, int(trio.current_time()), _FAULTS),
            },
        }

    def told_for(self, carrier: int, code: int) -> str:
        """Why a carrier takes nothing to a country: "out for 44: …"; "" where it stands there as usual."""
        verdict = self.countries.verdict(carrier, code)
        if verdict is None:
            return ""
        view = self._verdict(verdict, self._gateway.world.wall_ms())
        end = f", until {view['until']}" if view["until"] else ""
        how = "out" if verdict.state is State.OPEN else "on trial"
        return f"{how} for {code}: {view['reason']}{end}"

    # inside

    def _verdict(self, verdict: Verdict, now_ms: int) -> dict[str, object]:
        is_open = verdict.state is State.OPEN
        left_s = verdict.until_s - trio.current_time()
        return {
            "code": verdict.code,
            "country": country_of(verdict.code),
            "why": "circuit_open" if is_open else "trial",
            "reason": "" if verdict.fault is None else _FAULTS[verdict.fault],
            "since": iso(verdict.since_ms),
            "until": iso(now_ms + int(left_s * 1000)) if is_open else "",
        }

    def _all(self) -> list[_Watched]:
        return [self._watch(carrier) for carrier in self._gateway.carriers]

    def _watch(self, carrier: Carrier) -> _Watched:
        """What was counted before a carrier is new, or judged otherwise by a reload, is not judged."""
        one = self._watched.get(carrier.name)
        judged_by = carrier.settings.health, carrier.settings.judging
        if one is None:
            one = self._watched[carrier.name] = _Watched(carrier)
        elif one.carrier is carrier and one.settings == judged_by:
            return one
        else:
            one.follow(carrier)
            self.countries.judge_by(carrier.id, carrier.settings.health.country_limits)
        carrier.sample = partial(self.countries.sample, one.blames)
        one.submits()
        self._receipts_of(one, self.countries.by_carrier(self._gateway.store.tallies().cells))
        return one

    def _receipts_of(self, one: _Watched, by_carrier: dict[int, list[list[int]]]) -> list[int]:
        """Since the last call."""
        id, tallies = one.carrier.id, self._gateway.store.tallies()
        return one.receipts(by_carrier.get(id, ()), tallies.unasked.get(id, 0), tallies.claimed.get(id, 0))

    def _changed(self, one: _Watched, change: Change, why: str = "") -> None:
        carrier, now_ms = one.carrier, self._gateway.world.wall_ms()
        one.state_since_ms = now_ms
        subject, reason = f"carrier:{carrier.name}", _FAULTS[change.fault] if change.fault else ""
        figures: dict[str, object] = {name: count for name, count in change.figures.items() if count >= 0}
        if not change.done:
            self.tell(
                "carrier.would_open", subject, f"{reason}; it goes on taking messages", figures, warning=True
            )
            return
        if change.state is State.OPEN:
            assert change.fault is not None
            one.opened[change.fault] = one.opened.get(change.fault, 0) + 1
            for_s = change.until_s - int(trio.current_time())
            figures["until"] = iso(now_ms + for_s * 1000)
            self.tell("carrier.opened", subject, f"out for {for_s} s: {reason}", figures, warning=True)
        elif change.state is State.HALF_OPEN:
            carrier.trial = change.figures["trial"]
            text = f"gets {carrier.trial} messages on trial; it was out: {reason}"
            self.tell("carrier.half_open", subject, text, figures)
        else:
            self.countries.forget(carrier.id)
            self.tell("carrier.closed", subject, why or "its trial went well", figures)
        self.apply()
        if change.state is State.HALF_OPEN:
            carrier.stand(suspended=carrier.suspended, out=carrier.out, trial=carrier.trial)

    def _country_changed(self, one: _Watched, decided: Decided, why: str = "") -> None:
        """A country is out, on trial or back; or its carrier is bad there, or good again, and goes on."""
        code, change, anew = decided
        subject, place = f"carrier:{one.carrier.name}", place_of(code)
        figures: dict[str, object] = {"code": code, "country": country_of(code)}
        if change is None:
            self.tell("carrier.country_good", subject, f"{place}: no more so", figures)
            return
        figures |= {name: count for name, count in change.figures.items() if count >= 0}
        reason = _FAULTS[change.fault] if change.fault is not None else ""
        if not change.done:
            text = f"{place}: {reason}; it goes on taking messages to there"
            self.tell("carrier.country_bad", subject, text, figures, warning=True)
            return
        if change.state is State.OPEN:
            assert change.fault is not None
            one.opened_for[change.fault] = one.opened_for.get(change.fault, 0) + 1
            for_s = change.until_s - int(trio.current_time())
            figures["until"] = iso(self._gateway.world.wall_ms() + for_s * 1000)
            text = f"{place}: out for {for_s} s: {reason}"
            self.tell("carrier.country_opened", subject, text, figures, warning=True)
            if anew:
                one.health.forget()  # what it did there is judged by itself from now on
        elif change.state is State.HALF_OPEN:
            text = f"{place}: gets {change.figures['trial']} messages on trial; it was out: {reason}"
            self.tell("carrier.country_half_open", subject, text, figures)
        else:
            if not why and not one.carrier.settings.health.country_limits.act:
                why = "its countries are only told now"
            text = f"{place}: {why or 'its trial went well'}"
            self.tell("carrier.country_closed", subject, text, figures)
        self._stand_in(one, more=anew)

    def _stand_in(self, one: _Watched, *, more: bool) -> None:
        """The carrier learns for which countries it is out; `more`: for one that it was not out for."""
        carrier = one.carrier
        standings = self.countries.standings.get(carrier.id)
        carrier.heard = None if standings is None else partial(self.countries.heard, one.blames)
        carrier.standings = standings
        self._gateway.board.stands_otherwise(carrier.id, more=more)
        carrier.follow_standings()

    def _compare(self, one: _Watched, submits: list[int], receipts: list[int]) -> None:
        """Once an hour with the same hour a week ago."""
        name = one.carrier.name
        ended = self._hours.add(name, self._gateway.world.wall_ms(), submits, receipts)
        if ended is None:
            return
        drop = round(one.carrier.settings.health.drop_ratio * 1000)
        for what, figures in self._hours.worse(name, ended, drop):
            text = f"{what} than in the same hour a week ago"
            self.tell("carrier.worse", f"carrier:{name}", text, figures, warning=True)
        row, value = self._hours.keep(name, ended)
        self._rows[row] = value

    def _in_maintenance(self, one: _Watched) -> bool:
        """Whether it works on its own house now; the beginning and the end are events."""
        now_ms = self._gateway.world.wall_ms()
        why = next(
            (
                f"{reason or 'no reason given'}; {window.said()}"
                for window, reason in one.carrier.settings.outages
                if window.holds(now_ms)
            ),
            None,
        )
        if (why is None) != (one.maintenance is None):
            subject, was = f"carrier:{one.carrier.name}", one.maintenance
            one.maintenance, one.maintenance_since_ms = why, now_ms
            if why is not None:
                self.tell("carrier.maintenance", subject, f"takes nothing new: {why}", {})
            else:
                one.health.forget()
                self.countries.forget(one.carrier.id)
                self.tell("carrier.maintained", subject, f"takes messages again; it was {was}", {})
            self.apply()
        return why is not None

    def _looks_false(self, one: _Watched) -> bool:
        """Signs of receipts that nobody's handset caused; each is told once, while it lasts. A carrier on
        trial is asked for those of the trial alone, and of fewer."""
        if one.health.state is State.HALF_OPEN:
            return bool(_signs_of_false(one, one.health.trial_receipts, _REGULAR_ON_TRIAL))
        signs = _signs_of_false(one, one.health.receipts.sums, _REGULAR_FROM)
        if signs and not one.looks_false:
            sums = one.health.receipts.sums
            figures = {"receipts": sums[DELAYS], "dead": sums[DEAD]}
            self.tell(
                "carrier.false_receipts",
                f"carrier:{one.carrier.name}",
                "its receipts look made up: " + "; ".join(signs),
                figures,  # type: ignore[arg-type]
                warning=True,
            )
        one.looks_false = "; ".join(signs)
        return bool(signs)

    async def _write(self) -> None:
        """Into the event log; after a refusal they wait for the next time, and the oldest go."""
        if not self._notices and not self._rows:
            return
        notices, self._notices = self._notices[-1_000:], []
        rows, self._rows = self._rows, {}

        def write(txn: Transaction) -> None:
            for name, row in rows.items():
                txn.put_meta(name, row)
            if notices:
                txn.notice(notices)

        try:
            await self._gateway.committer.execute(write)
        except StoreError:
            self._notices = notices + self._notices
            self._rows = rows | self._rows
            raise


def _ratio(permille: int) -> float | None:
    return None if permille < 0 else permille / 1000


def _seconds(ms: int) -> float | None:
    return None if ms < 0 else ms / 1000
