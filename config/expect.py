"""Expectations: where the operator said that a message should go, asked of the routes beside them.

Each that fails becomes a Problem with its line, what came instead, and why the expected route did not take
it. They are asked on a configuration that is right otherwise, without carriers, accounts or tables of
numbers.

Deliberately not here: whether they can be asked (config.rules), what follows from a failure (`signalbox
check` refuses, a start only warns).
"""

from __future__ import annotations

from config.lines import lines_of
from config.model import CLASSES, Config, ExpectConfig
from config.problems import Notes, Problem
from config.routing import table_of
from config.rules import instant_of
from router.knowledge import Knowledge
from router.numbers import normalise, sender_of
from router.routes import Considered, Route, RouteTable
from router.rules import Facts
from smpp.alphabet import TextError
from smpp.segment import AUTO, plan


class Known:
    """router.knowledge.Knowledge with the network that an expectation names."""

    def __init__(self, numbers: Knowledge) -> None:
        self._numbers = numbers
        self.network = ""

    def country(self, digits: str) -> str:
        return self._numbers.country(digits)

    def number_type(self, digits: str) -> str:
        return self._numbers.number_type(digits)

    def mcc_mnc(self, digits: str) -> str:
        return self.network

    def ported(self, digits: str) -> bool:
        return self._numbers.ported(digits)


def failures(config: Config, now_ms: int, numbers: Knowledge) -> list[Problem]:
    """What does not go where it should. `now_ms` (UTC): for those that do not say when."""
    if not config.expect:
        return []
    known = Known(numbers)
    table = table_of(config, range(1, len(config.routes) + 1), known)
    notes = Notes(str(config.path), lines_of(config.source))
    for index, expect in enumerate(config.expect):
        known.network = expect.mcc_mnc.replace("-", "")
        problem = _failure(config, table, expect, now_ms)
        if problem:
            notes.wrong(("expect", index), *problem)
    return notes.problems


def _failure(config: Config, table: RouteTable, expect: ExpectConfig, now_ms: int) -> tuple[str, str] | None:
    """(what came instead, why)."""
    message = f"a message to {expect.to} from {expect.from_}"
    try:
        encoding, segments = plan(expect.text, AUTO)
    except TextError as error:
        return f"{message} cannot be sent: {error}", ""
    region = config.gateway.default_region
    source, ton, _ = sender_of(expect.from_, region)
    at_ms = instant_of(expect.at) if expect.at else None
    facts = Facts(
        normalise(expect.to, region),
        source,
        ton,
        expect.account,
        expect.group,
        CLASSES.index(expect.class_),
        expect.tag,
        expect.text,
        encoding,
        segments,
        now_ms if at_ms is None else at_ms,
    )
    asked = table.explain(facts)
    came = asked[-1].route if asked and not asked[-1].why_not else None
    if (came.name if came is not None else "") != expect.route:
        return f"{message} should {_to(expect.route)}, and would {_to(came.name if came else '')}", _why(
            expect.route, asked, came
        )
    if came is not None and expect.lane:
        lane = next(one for one in config.routes if one.name == came.name).carriers
        if lane != expect.lane:
            return (
                f"{message} should go to {', '.join(expect.lane)}, and would go to {', '.join(lane)}",
                f'that is the lane of the route "{came.name}"',
            )
    return None


def _to(route: str) -> str:
    return f'go by the route "{route}"' if route else "have no route"


def _why(wanted: str, asked: list[Considered], came: Route | None) -> str:
    for one in asked:
        if one.route.name == wanted:
            return f'the route "{wanted}" does not take it: {one.why_not}'
    return f'the route "{came.name}" takes it first' if came is not None and wanted else ""
