"""What a key may be allowed to do: every scope there is, with a line for people.

An endpoint of the table names the one scope that it needs (`Endpoint.access`), or PUBLIC. A scope is plain
text, `subject.verb`; a new one is a new line here.

Deliberately not here: who has which scopes (keys and their roles), checking them.
"""

from __future__ import annotations

from collections.abc import Mapping

PUBLIC = "public"

SCOPES: Mapping[str, str] = {
    "messages.send": "submit messages",
    "messages.read": "look at messages and their timelines",
    "routes.read": "preview texts, have routes explained",
    "accounts.read": "look at accounts and their settings",
    "accounts.write": "make, change, suspend and close accounts, and their logins",
    "keys.write": "make, rotate and end keys and passwords",
    "carriers.read": "look at carriers",
    "carriers.act": "suspend and resume carriers",
    "events.read": "read the event log",
    "config.write": "reload the configuration",
}
