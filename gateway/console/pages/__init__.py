"""The console's pages, a module for each subject: what it serves, and what of it changes each second.

To add one: a module with `PAGES` and `TOPICS`, named below. Templates are in ../templates; one whose name
begins with _ is a part of others.

Deliberately not here: figures and acts; a page asks gateway's own functions and writes them down.
"""

from __future__ import annotations

from gateway.console.page import Page, Topic, Topics
from gateway.console.pages import (
    accounts,
    acts,
    callbacks,
    carrier,
    carriers,
    configuration,
    inbound,
    me,
    messages,
    oidc,
    overview,
    people,
    queues,
    routes,
    sign_in,
    trail,
)

# in the order of the navigation
_MODULES = (
    overview, carriers, carrier, routes, queues, messages, accounts, callbacks, inbound, trail, configuration,
    people, acts, sign_in, oidc, me,
)  # fmt: skip

PAGES: tuple[Page, ...] = tuple(page for module in _MODULES for page in module.PAGES)
TOPICS: tuple[Topic | Topics, ...] = tuple(
    topic for module in _MODULES for topic in getattr(module, "TOPICS", ())
)
