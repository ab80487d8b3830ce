"""Templates: one environment, what every page has around it, and how values are written for people.

Filters: `count` 12,345; `age` seconds as "3 min"; `when` milliseconds as UTC; `share` 0.93 as "93 %"; `rate`
"1,203.5"; `seconds` "4 ms"; `bytes` "3.4 MiB"; `named` a subject; `slug` a name as an id; `plain` a
sentence with times in it. `place(subject)` is
the path of its page, "": it has none. All escape; an unknown name in a template is an error.

Deliberately not here: what pages show (pages/).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.acts import BY_VERB
from gateway.console.assets import Assets
from gateway.console.subjects import named, place_of

if TYPE_CHECKING:
    from gateway.console.page import Page, Visit

TEMPLATES = Path(__file__).parent / "templates"


class Frame:
    """`version` and `started` stand at the foot of each page."""

    def __init__(self, assets: Assets, version: str, pages: tuple[Page, ...] = ()) -> None:
        self.assets = assets
        self._pages = [page for page in pages if page.nav]
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "count": count, "age": age, "when": when, "share": share, "rate": rate, "bytes": octets,
            "named": named, "slug": slug, "seconds": seconds, "plain": plain,
        }  # fmt: skip
        paths = {page.path for page in pages if page.nav}
        self._environment.globals |= {
            "asset": assets.url,
            "version": version,
            "has_asset": assets.has,
            "act_of": BY_VERB.get,
            "place": lambda subject: place_of(subject, paths),
        }

    def page(self, template: str, visit: Visit, facts: Mapping[str, Any]) -> str:
        """A whole page."""
        who = visit.who
        nav = [page for page in self._pages if who is not None and visit.may(page.scope)]
        return self._environment.get_template(template).render(
            {
                **_of(visit),
                "nav": nav,
                "page": visit.page,
                "topic": visit.page.topic,
                "title": visit.page.title,
            }
            | dict(facts)
        )

    def part(self, template: str, visit: Visit, facts: Mapping[str, Any]) -> str:
        """A fragment for one visitor."""
        return self._environment.get_template(template).render({**_of(visit), **facts})

    def shared(self, template: str, **facts: Any) -> str:
        """A fragment that everybody gets: it knows nobody."""
        return self._environment.get_template(template).render(facts)


def _of(visit: Visit) -> dict[str, Any]:
    return {"who": visit.who, "may": visit.may, "path": visit.request.url.path}


def count(value: float) -> str:
    """12345 → 12,345"""
    return f"{int(value):,}"


def rate(value: float) -> str:
    """Messages a second: 0, 0.4, 12.5, 1,203"""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def share(value: float | None) -> str:
    """0.934 → 93 %; None → –"""
    return "–" if value is None else f"{value:.0%}".replace("%", " %")


def age(seconds: float | None) -> str:
    """4 s, 3 min, 2 h, 5 d; None → –"""
    if seconds is None:
        return "–"
    for unit, size, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def when(ms: int | None) -> str:
    """2026-11-21 14:03:07 UTC; 0 and None → –"""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms else "–"


def octets(value: float) -> str:
    """3.4 MiB"""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def seconds(value: float | None) -> str:
    """How long something took: 4 ms, 0.35 s, 12 s; None → –"""
    if value is None:
        return "–"
    if value < 0.1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def slug(name: str) -> str:
    """A name as an id of HTML: always the same, and safe."""
    return f"{zlib.crc32(name.encode()):08x}"


def plain(words: str) -> str:
    """A sentence with times for programs in it, as people write them: until 2026-11-21 14:03 UTC"""
    return _TIME.sub(r"\1 \2 UTC", words)


_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z")
