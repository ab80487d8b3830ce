"""Where in the console a subject is shown, and how it is called: `carrier:north` → /console/carriers/north.

Problems, events and the audit trail name what they are about so. A kind that has no page has no link.

Deliberately not here: pages.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

# kind → path below /console; {} is the name
PLACES = {
    "carrier": "/carriers/{}",
    "lease": "/carriers/{}",
    "route": "/routes/{}",
    "lane": "/queues?lane={}",
    "account": "/accounts/{}",
    "messages": "/queues",
    "due": "/queues",
    "events": "/callbacks",
    "callback": "/callbacks",
    "callbacks": "/callbacks",
    "config": "/config",
    "link": "/carriers/{}",
}


def place_of(subject: str, paths: Collection[str]) -> str:
    """The path of a subject's page; "" where it has none among `paths`, the pages that there are."""
    kind, _, name = subject.partition(":")
    place = PLACES.get(kind, "")
    name = name.partition("/")[0] if kind == "link" else name
    if not place or (not name and "{}" in place):
        return ""
    page = "/" + place[1:].partition("/")[0].partition("?")[0]
    return "/console" + place.format(quote(name, safe="")) if page in paths else ""


def named(subject: str) -> str:
    """`carrier:north` → Carrier north"""
    kind, _, name = subject.partition(":")
    return f"{kind.capitalize()} {name}".strip().replace("_", " ") if kind != "config" else "Configuration"
