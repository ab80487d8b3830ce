"""Who acts, and what an act looks like in the audit trail (store.audit).

Every edge at which somebody can change something says who it is with `acting`; verbs below it take it from
there. What nobody asked for (the demo account) is done by "signalbox".

Invariant: no secret is in an entry: settings that are secret are named, and hashes are counted.

Deliberately not here: keeping entries and verifying them (store.audit), showing them (gateway.admin_audit).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from gateway.account_settings import SETTINGS, view_of
from router.nouns import Account
from store.interface import AuditEntry

LONGEST_REASON = 500

_NOT_SHOWN = "(not shown)"


class Actor(NamedTuple):
    """`via`: cli, http, console or gateway; `reason` is what whoever acts says about it."""

    who: str
    via: str
    reason: str = ""


_ITSELF = Actor("signalbox", "gateway")
_acting: ContextVar[Actor] = ContextVar("acting", default=_ITSELF)


def actor_now() -> Actor:
    """Who acts now."""
    return _acting.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """All that is done in the block is done by `actor`."""
    before = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(before)


def os_user(uid: int | None = None) -> str:
    """The name of an OS user, this process's own by default."""
    number = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def entry(
    at_ms: int,
    act: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """What whoever acts now does to `subject`, kind:name."""
    actor = actor_now()
    return AuditEntry(
        at_ms, actor.who, actor.via, act, subject, dict(before or {}), dict(after or {}), actor.reason
    )


def account_entry(
    at_ms: int, act: str, subject: str, before: Account | None, after: Account
) -> AuditEntry | None:
    """What a change of an account changes; None: nothing. `act` "": that of what changed."""
    old, new = _told(before or Account(after.id, after.name)), _told(after)
    changed = [name for name in new if old[name] != new[name]]
    secret = [
        one.name
        for one in SETTINGS
        if one.secret and getattr(before, one.name, "") != getattr(after, one.name)
    ]
    if not (act or changed or secret):
        return None
    hidden = dict.fromkeys(secret, _NOT_SHOWN)
    return entry(
        at_ms,
        act or _act_of(changed, secret, after),
        subject,
        {} if before is None else {**{name: old[name] for name in changed}, **hidden},
        {**{name: new[name] for name in changed}, **hidden},
    )


def _act_of(changed: list[str], secret: list[str], after: Account) -> str:
    if changed == ["suspended"] and not secret:
        return "account.suspended" if after.suspended else "account.resumed"
    return "account.changed"


def _told(account: Account) -> dict[str, Any]:
    return {
        "suspended": account.suspended,
        "closed": account.closed,
        "key_prefixes": list(account.key_prefixes),
        "passwords": {login.system_id: len(login.hashes) for login in account.logins},
        "apps": {login.system_id: len(login.hashes) for login in account.app_logins},
        **view_of(account),
    }
