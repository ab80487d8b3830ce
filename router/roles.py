"""Who may do what: one table of roles and scopes. `python -m router.roles` prints it.

A scope is `what.act`: everything that an endpoint, a command over HTTP or a page of the console does needs
exactly one. A role is a set of scopes; whatever is not in it is refused. A key has the scopes of its role, or
those of them that it was given.

An account's scopes are about its own objects alone: whose object an id names is asked beside the scope, and
somebody else's is answered as one that does not exist (gateway.http.access).

Invariants: nothing is allowed that the table does not say; only `owner` holds what makes operators or shows
the configuration's secrets; `support` and `auditor` change nothing, but that support cancels messages.

Deliberately not here: keys, requests, whose an object is.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

# The access of an endpoint that is answered without a key. No role has it, no key can be given it.
PUBLIC: Final = "public"

SCOPES: Final[dict[str, str]] = {
    "messages.send": "submit messages, batches and streams; replace what is still scheduled",
    "messages.read": "look at messages and their timelines, search, export",
    "messages.text": "see what messages say, with messages.read or inbound.read",
    "messages.numbers": "see whole numbers, with messages.read or inbound.read; else they are masked",
    "messages.cancel": "cancel messages",
    "messages.preview": "encoding, parts and cost of a text, without sending it",
    "inbound.read": "look at inbound messages (MOs)",
    "routes.explain": "which way a message would go, without sending it",
    "routes.read": "look at routes and lanes",
    "routes.write": "suspend, resume and change routes for a time",
    "carriers.read": "look at carriers, their binds and their health",
    "carriers.write": "suspend, resume, drain, rebind and change carriers for a time",
    "queues.read": "what waits, and why",
    "queues.write": "move, bounce, release and force what waits",
    "binds.read": "look at customers' sessions and locks",
    "binds.write": "end sessions, ban and unlock",
    "callbacks.read": "look at endpoints, what is behind and what was given up",
    "callbacks.write": "test and replay callbacks, rotate their secrets",
    "senders.read": "look at the senders that an account may use",
    "senders.write": "change the senders that an account may use",
    "accounts.read": "look at accounts and their settings",
    "accounts.write": "make, change, suspend and close accounts, their logins and first keys",
    "keys.read": "look at the keys of accounts; never the keys themselves",
    "keys.write": "make, rotate and revoke keys of accounts",
    "operators.read": "look at operators, their roles and their keys' facts",
    "operators.write": "make, change and remove operators and their keys",
    "balance.read": "balance, rates and what was billed",
    "balance.write": "book money, change limits of credit",
    "tables.read": "look at tables of numbers and prices",
    "tables.write": "import, use and drop tables of numbers and prices",
    "events.read": "what the gateway decided by itself, and noticed",
    "audit.read": "who changed what, and whether the trail is whole",
    "config.read": "the configuration in force and its revisions, without secrets",
    "config.write": "reload and roll back the configuration",
    "config.secrets": "the configuration's secrets",
    "store.read": "figures and checks of the store",
    "store.write": "backups, retention, erasing and exporting somebody's data",
}

_TEXTS_AND_NUMBERS = ("messages.text", "messages.numbers")
_LOOKS = (
    "messages.read",
    "messages.preview",
    "inbound.read",
    "routes.explain",
    "routes.read",
    "carriers.read",
    "queues.read",
    "binds.read",
    "callbacks.read",
    "senders.read",
    "accounts.read",
    "keys.read",
    "balance.read",
    "tables.read",
    "events.read",
)


class Role(StrEnum):
    """What somebody is to this house. `account` is a customer's key, every other one is an operator's."""

    OWNER = "owner"
    OPERATOR = "operator"
    SUPPORT = "support"
    AUDITOR = "auditor"
    ACCOUNT = "account"


HOUSE: Final = (Role.OWNER, Role.OPERATOR, Role.SUPPORT, Role.AUDITOR)

_EVERYTHING = frozenset(SCOPES)
# What the owner keeps, and what is done only in a customer's own name.
_OWNERS = frozenset({"operators.read", "operators.write", "config.secrets", "store.write"})
_CUSTOMERS = frozenset({"messages.send"})

TABLE: Final[dict[Role, frozenset[str]]] = {
    Role.OWNER: _EVERYTHING - _CUSTOMERS,
    Role.OPERATOR: _EVERYTHING - _CUSTOMERS - _OWNERS,
    Role.SUPPORT: frozenset({*_LOOKS, "messages.numbers", "messages.cancel"}),
    Role.AUDITOR: frozenset(
        {
            "messages.read",
            "routes.read",
            "carriers.read",
            "queues.read",
            "binds.read",
            "callbacks.read",
            "senders.read",
            "accounts.read",
            "keys.read",
            "operators.read",
            "tables.read",
            "events.read",
            "audit.read",
            "config.read",
            "store.read",
        }
    ),
    Role.ACCOUNT: frozenset(
        {
            *_CUSTOMERS,
            *_TEXTS_AND_NUMBERS,
            "messages.read",
            "messages.cancel",
            "messages.preview",
            "inbound.read",
            "routes.explain",
            "callbacks.read",
            "callbacks.write",
            "senders.read",
            "keys.read",
            "keys.write",
            "balance.read",
        }
    ),
}

_BY_NAME: Final[dict[str, frozenset[str]]] = {role.value: scopes for role, scopes in TABLE.items()}


def allows(role: str, scope: str) -> bool:
    """Whether a role may; False where nobody knows the role, or the scope."""
    return scope in scopes_of(role)


def scopes_of(role: str, chosen: Iterable[str] = ()) -> frozenset[str]:
    """What a key may: its role's scopes, or those of them that it was given. Of an unknown role: nothing."""
    chosen, all_of_it = frozenset(chosen), _BY_NAME.get(role, frozenset())
    return all_of_it & chosen if chosen else all_of_it


def beyond(role: str, chosen: Iterable[str]) -> list[str]:
    """Of the scopes that somebody wants for a key: those that its role has not, in their order."""
    return [scope for scope in chosen if not allows(role, scope)]


def markdown() -> str:
    """The table as the documentation shows it (docs/http-api.md)."""
    lines = [
        "| scope | " + " | ".join(Role) + " | |",
        "| --- |" + " --- |" * (len(Role) + 1),
    ]
    for scope, what in SCOPES.items():
        cells = ["yes" if allows(role, scope) else "" for role in Role]
        lines.append(f"| `{scope}` | " + " | ".join(cells) + f" | {what} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
