"""Accounts: who does what now, and one account's binds, backlog, last refusals and settings to copy.

Deliberately not here: figures (gateway.figures), changing settings (signalbox account, the HTTP API).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gateway.console.frame import Frame
from gateway.console.page import Page, Refusal, Topic, Visit
from gateway.console.pages.callbacks import rows_of
from gateway.figures import AccountFigures

if TYPE_CHECKING:
    from gateway.app import Gateway
    from router.nouns import Account

MOST = 200
_HTTP_NEVER = frozenset(
    {"id", "name", "created_at", "queued", "key_prefixes", "suspended", "suspended_by", "banned", "closed"}
)


def listed(visit: Visit) -> Response:
    gateway, asked = visit.gateway, visit.query("q").lower()
    doing = {one.name for one in _doing(gateway)}
    quiet = [
        one
        for name, one in sorted(gateway.accounts.by_name.items())
        if name not in doing and asked in name.lower()
    ]
    return visit.render(
        "accounts.html",
        accounts=_doing(gateway),
        quiet=quiet[:MOST],
        more=max(0, len(quiet) - MOST),
        asked=asked,
    )


def parts(gateway: Gateway, frame: Frame) -> Mapping[str, str]:
    return {"accounts": frame.shared("_accounts.html", accounts=_doing(gateway))}


async def show(visit: Visit) -> Response:
    gateway = visit.gateway
    account = gateway.accounts.by_name.get(visit.params["name"])
    if account is None:
        raise Refusal(404, f"There is no account {visit.params['name'][:64]!r}.")
    settings = await visit.ask("account.show", name=account.name)
    binds = await visit.ask("binds.list", account=account.name) if visit.may("binds.read") else []
    figures = next((one for one in _doing(gateway) if one.name == account.name), None)
    endpoints, more = rows_of(gateway, account.id)
    bans = gateway.smpp.gate.bans
    return visit.render(
        "account.html",
        bans=bans.of(settings["system_ids"]) if bans is not None else [],
        account=account,
        view=settings,
        binds=binds,
        figures=figures,
        to_be_told=sum(one.waiting for one in endpoints),
        more_to_be_told=more > 0 or any(one.waiting >= one.counted for one in endpoints),
        more=more,
        endpoints=endpoints if visit.may("callbacks.read") else [],
        refused=_refused(gateway, account.name),
        settings=[(name, _plain(value)) for name, value in settings.items() if name not in _HTTP_NEVER],
        bind=_bind(gateway, account),
        queued=gateway.store.queued(account.id),
    )


def _doing(gateway: Gateway) -> list[AccountFigures]:
    return (gateway.figures.snapshot().accounts or [])[:MOST]


def _refused(gateway: Gateway, name: str) -> list[tuple[str, str, int]]:
    """(code, api, messages) since the start, the most first."""
    counts = gateway.counts.refusals.items()
    found = [(code, api, count) for (account, api, code), count in counts if account == name]
    return sorted(found, key=lambda one: -one[2])[:10]


def _bind(gateway: Gateway, account: Account) -> list[tuple[str, str]]:
    """What a customer's SMPP client is set to; nothing where it has no login."""
    listeners = gateway.config.smpp
    addresses = [*(f"{one}" for one in listeners.listen), *(f"{one} (TLS)" for one in listeners.listen_tls)]
    if not account.logins or not addresses:
        return []
    return [
        ("address", ", ".join(addresses)),
        ("system_id", ", ".join(one.system_id for one in account.logins)),
        ("password", "as it was set: it is kept as a hash alone"),
        ("bind", ", ".join(account.bind_types)),
        ("binds", f"at most {account.max_binds}"),
        ("window", f"{account.window}"),
        ("TPS", f"{account.tps:g}" if account.tps else "no limit"),
        ("SMPP version", "3.3, 3.4 or 5.0"),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items()) or "–"
    return str(value) if value != "" else "–"


PAGES = (
    Page("/accounts", "accounts.read", listed, "Accounts", "Accounts", "a", "accounts"),
    Page("/accounts/{name}", "accounts.read", show, "Account"),
)
TOPICS = (Topic("accounts", "accounts.read", parts),)
