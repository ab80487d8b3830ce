"""The console's pages, a module for each subject: what it serves, and what of it changes each second.

To add one: a module with `PAGES` and `TOPICS`, named below. Templates are in ../templates; one whose name
begins with _ is a part of others.

Deliberately not here: figures and acts; a page asks gateway's own functions and writes them down.
"""

from __future__ import annotations

from gateway.console.page import Page, Topic
from gateway.console.pages import acts, messages, overview

PAGES: tuple[Page, ...] = (*overview.PAGES, *messages.PAGES, *acts.PAGES)
TOPICS: tuple[Topic, ...] = (*overview.TOPICS, *acts.TOPICS)
