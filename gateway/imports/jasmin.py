"""Jasmin's configuration: /etc/jasmin with jasmin.cfg, and what jcli persisted in store/, in our terms.

SMPP client connectors become carriers, MT routes become routes, users become accounts with their usernames
and passwords (Jasmin keeps MD5 of them; they go on being right, see gateway.passwords), MO routes say which
account inbound messages go to. The store's files are pickles of Jasmin's objects, read as data
(gateway.imports.pickled). Source: Jasmin 0.11's classes of users, filters, routes and connectors, and its
documentation of jcli.

Deliberately not here: interceptors and EvalPy filters, which are programs; the state of quotas.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.imports.found import AccountFound, Found, Value, named
from gateway.imports.pickled import BadPickle, Thing, read

_MOST_BYTES = 50_000_000
_STORE = ("store", "")
_PROFILE = "jcli-prod"
_LISTS: Mapping[str, type] = {"smppccs": dict, "router-users": Thing}  # the others are tables of routes
_PREFIX = re.compile(r"\^?(?:\\\+|\+)?\??([0-9]{1,15})(?:\.\*|\[0-9\][*+]|\\d[*+])?\$?")
_MANY = re.compile(r"\^?\(([0-9|]+)\)(?:\.\*)?\$?")
_EXACT = re.compile(r"\^?([A-Za-z0-9 _.-]{1,20})\$?")
_EVERYTHING = frozenset(("", ".*", "^.*", "^.*$", ".+", "^.+$"))
_ALPHABETS = {1: "ascii", 3: "latin1"}


class BadJasmin(Exception):
    """It cannot be read; says what and where."""


def translated(directory: Path) -> Found:
    """What a directory of Jasmin's says, in our terms. Errors: BadJasmin."""
    if not directory.is_dir():
        raise BadJasmin(f"{directory} is no directory; Jasmin's is /etc/jasmin")
    try:
        return _translated(directory)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise BadJasmin(f"{directory}: something in it is not as Jasmin writes it: {error}") from None


def _translated(directory: Path) -> Found:
    found = Found(str(directory))
    _settings(found, directory / "jasmin.cfg")
    connectors = _carriers(found, _stored(directory, "smppccs"))
    users = _users(found, _stored(directory, "router-users"))
    _routes(found, _stored(directory, "router-mtroutes"), connectors, users)
    _inbound(found, _stored(directory, "router-moroutes"), users)
    for name in ("router-mtinterceptors", "router-mointerceptors"):
        rows = _stored(directory, name)
        if rows:
            found.leave(
                f"{_PROFILE}.{name}", f"{len(rows)} interceptors", "scripts are not run on messages here"
            )
    if not found.carriers and not found.accounts:
        raise BadJasmin(f"{directory} has no connectors and no users; run `persist` in jcli first")
    return found


def _stored(directory: Path, name: str) -> Any:
    """What jcli persisted under this name; None: nothing. Errors: BadJasmin."""
    path = next((path for sub in _STORE if (path := directory / sub / f"{_PROFILE}.{name}").is_file()), None)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadJasmin(f"{path}: more than {_MOST_BYTES:,} bytes")
        head, _, data = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise BadJasmin(f"cannot read {path}: {error.strerror}") from None
    if not head.startswith(b"Persisted on "):
        raise BadJasmin(f"{path} was not written by jcli: its first line is not `Persisted on …`")
    try:
        found = read(data)
    except BadPickle as problem:
        raise BadJasmin(f"{path}: {problem}") from None
    rows = found if name in _LISTS else _table(found)
    if not isinstance(rows, list) or not all(isinstance(row, _LISTS.get(name, tuple)) for row in rows):
        raise BadJasmin(f"{path} holds no list of what it should; was it written by jcli's `persist`?")
    return rows


def _settings(found: Found, path: Path) -> None:
    if not path.is_file():
        found.leave(
            str(path), "jasmin.cfg", "is not there; listeners have Jasmin's default ports, on loopback"
        )
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error as error:
        raise BadJasmin(f"{path}: {error}") from None

    def said(section: str, name: str, default: str) -> str:
        text = parser.get(section, name, fallback=default)
        return text.strip().strip('"').strip("'")

    def address(section: str, port: str) -> str:
        return f"{said(section, 'bind', '127.0.0.1')}:{said(section, 'port', port)}"

    found.listeners.append({"listen": [address("http-api", "1401")], "apis": ["jasmin"]})
    found.sections["smpp"] = {"listen": [address("smpp-server", "2775")]}
    for section in parser.sections():
        if section not in ("http-api", "smpp-server") and parser.items(section):
            names = ", ".join(name for name, _ in parser.items(section))
            found.leave(f"{path.name} [{section}]", names[:120], _SECTIONS.get(section, "has no counterpart"))


_SECTIONS = {
    "amqp-broker": "there is no broker: the queue is on disk",
    "redis-client": "there is no Redis: receipts are matched in the store",
    "jcli": "commands are `signalbox …`, over a local socket",
    "router": "there is one process",
    "client-management": "there is one process",
    "smpp-server-pb": "there is one process",
    "service-smppclient": "logs go to stdout",
    "dlr-thrower": "see [callbacks]: what is not taken is tried again for three days",
    "deliversm-thrower": "see [callbacks]: what is not taken is tried again for three days",
    "dlr": "receipts are matched in the store",
    "sm-listener": "see [carriers.retry]",
    "interceptor-client": "scripts are not run on messages here",
}


def _carriers(found: Found, rows: Any) -> dict[str, str]:
    """Our name of each connector."""
    names: dict[str, str] = {}
    for row in rows or ():
        id, config = str(row.get("id")), row.get("config")
        if not isinstance(config, Thing):
            continue
        name = names[id] = named(id, names.values())
        found.carriers.append(_carrier(found, config, name))
        if not row.get("service_status"):
            found.leave(f"connector {id}", "stopped", f"signalbox carrier suspend {name} keeps it so")
    return names


def _carrier(found: Found, config: Thing, name: str) -> dict[str, Value]:
    where = f"connector {name}"
    values: dict[str, Value] = {
        "name": name,
        "host": _text(config.get("host")),
        "port": int(config.get("port") or 2775),
        "system_id": _text(config.get("username")),
        "password": _text(config.get("password")),
    }
    bind = _text(config.get("bindOperation")) or "transceiver"
    if bind != "transceiver":
        values["bind"] = bind
    tps = config.get("submit_sm_throughput")
    if isinstance(tps, int | float) and tps > 0:
        values["tps"] = tps
    for theirs, ours in (("systemType", "system_type"), ("service_type", "service_type")):
        if _text(config.get(theirs)):
            values[ours] = _text(config.get(theirs))
    if _text(config.get("addressRange")):
        values["address_range"] = _text(config.get("addressRange"))
    for theirs, ours in (
        ("enquireLinkTimerSecs", "enquire_link_s"),
        ("responseTimerSecs", "response_timeout_s"),
    ):
        if isinstance(config.get(theirs), int):
            values[ours] = config.get(theirs)
    if config.get("useSSL"):
        values["tls"] = True
        if _text(config.get("SSLCertificateFile")):
            values["tls_cert_file"] = _text(config.get("SSLCertificateFile"))
    coding = config.get("data_coding")
    if coding in _ALPHABETS:
        found.leave(
            where, f"data_coding = {coding}", f'`alphabet = "{_ALPHABETS[coding]}"` may be what is meant'
        )
    if _text(config.get("source_addr")):
        found.leave(where, "source_addr", "[[carriers.senders]] replaces senders")
    if _text(config.get("validity_period")):
        found.leave(where, "validity_period", "[messages] validity_default_s, and what each message says")
    return values


def _users(found: Found, rows: Any) -> dict[str, AccountFound]:
    """Our account of each uid."""
    made: dict[str, AccountFound] = {}
    for user in rows or ():
        username, uid = _text(user.get("username")), str(user.get("uid"))
        account = AccountFound(named(username or uid, (one.name for one in made.values())))
        account.settings["apis"] = ["jasmin"]
        digest = user.get("password")
        if isinstance(digest, bytes) and len(digest) == 16 and username:
            account.digests[username] = digest
            account.system_id = username
        else:
            found.leave(
                f"user {uid}",
                "password",
                f"is not known: signalbox account app set {account.name} {username}",
            )
        group = user.get("group")
        if isinstance(group, Thing):
            account.settings["group"] = str(group.get("gid"))
            if group.get("enabled") is False:
                account.settings["suspended"] = True
        if user.get("enabled") is False:
            account.settings["suspended"] = True
        _credentials(found, f"user {uid}", account, user.get("mt_credential"), user.get("smpps_credential"))
        made[uid] = account
        found.accounts.append(account)
    return made


def _credentials(found: Found, where: str, account: AccountFound, mt: Any, smpps: Any) -> None:
    if isinstance(mt, Thing):
        filters, defaults, quotas = (mt.get(name, {}) for name in ("value_filters", "defaults", "quotas"))
        allowed = _prefixes(_pattern(filters.get("destination_address")))
        if allowed:
            account.settings["destinations"] = allowed
        elif allowed is None:
            found.leave(where, "filter of destination_address", "write the prefixes: --destinations")
        sender = _text(defaults.get("source_address"))
        if sender:
            account.settings["senders"] = [sender, "*"]
        if _pattern(filters.get("source_address")) not in _EVERYTHING:
            exact = _EXACT.fullmatch(_pattern(filters.get("source_address")))
            if exact is not None:
                account.settings["senders"] = [exact[1]]
            else:
                found.leave(where, "filter of source_address", "write the senders: --senders")
        rate = max((quotas.get(name) or 0 for name in ("http_throughput", "smpps_throughput")), default=0)
        if rate:
            account.settings["tps"] = float(rate)
        if quotas.get("balance") is not None:
            found.leave(
                where,
                f"balance of {quotas['balance']}",
                f"signalbox account set {account.name} --billing prepaid --currency …, then account credit",
            )
        if quotas.get("submit_sm_count") is not None:
            found.leave(where, "submit_sm_count", f"signalbox account set {account.name} --quota-per-month …")
        off = [
            name
            for name, on in (mt.get("authorizations") or {}).items()
            if on is False and name != "http_bulk"
        ]
        if off:
            found.leave(
                where, f"not allowed: {', '.join(sorted(off))}", "has no counterpart; whole APIs can be off"
            )
    if isinstance(smpps, Thing):
        binds = (smpps.get("quotas") or {}).get("max_bindings")
        if isinstance(binds, int) and binds > 0:
            account.settings["max_binds"] = binds


def _routes(
    found: Found, table: Any, connectors: Mapping[str, str], users: Mapping[str, AccountFound]
) -> None:
    """By order, the highest first, as Jasmin asks them."""
    names: list[str] = []
    for order, route in table or ():
        where = f"mtroute {order}"
        match, problem = _match(route.get("filters") or (), users)
        if problem:
            found.leave(where, route.name, f"{problem}; the route was left out")
            continue
        chosen = route.get("connector")
        several = chosen if isinstance(chosen, list | tuple) else [chosen]
        lane = [
            connectors[one.get("cid")]
            for one in several
            if isinstance(one, Thing) and one.get("cid") in connectors
        ]
        if not lane:
            found.leave(where, route.name, "its connectors are not there; the route was left out")
            continue
        name = named("default" if route.name == "DefaultRoute" else f"route-{order}", names)
        names.append(name)
        values: dict[str, Value] = {"name": name}
        if match:
            values["match"] = match
        if route.name == "RandomRoundrobinMTRoute" and len(lane) > 1:
            shares: list[Mapping[str, Value]] = [{"carrier": one, "weight": 1} for one in lane]
            values["lane"] = shares
        else:
            values["lane"] = lane
        found.routes.append(values)
        rate = route.get("rate")
        if rate:
            found.leave(where, f"rate of {rate}", "accounts pay by rate cards: signalbox table import rates")


def _match(filters: Sequence[Any], users: Mapping[str, AccountFound]) -> tuple[dict[str, Value], str]:
    """What they ask for in our keys, and what cannot be asked for here."""
    match: dict[str, Value] = {}
    for one in filters:
        kind = one.name if isinstance(one, Thing) else ""
        if kind in ("TransparentFilter",):
            continue
        if kind == "UserFilter":
            account = users.get(str(_inner(one, "user").get("uid")))
            if account is None:
                return {}, "its user is not there"
            match["account"] = [account.name]
        elif kind == "GroupFilter":
            match["group"] = [str(_inner(one, "group").get("gid"))]
        elif kind == "TagFilter":
            match["tag"] = [str(one.get("tag"))]
        elif kind == "DestinationAddrFilter":
            prefixes = _prefixes(_pattern(one.get("destination_addr")))
            if prefixes is None:
                return {}, f"its destination {_pattern(one.get('destination_addr'))!r} is no list of prefixes"
            if prefixes:
                match["prefix"] = prefixes
        elif kind == "SourceAddrFilter":
            text = _pattern(one.get("source_addr"))
            exact = _EXACT.fullmatch(text)
            if text not in _EVERYTHING:
                if exact is None:
                    return {}, f"its sender {text!r} is not one that can be asked for with * and ?"
                match["sender"] = [exact[1]]
        elif kind == "TimeIntervalFilter":
            first, last = (_time(part) for part in one.get("timeInterval") or (None, None))
            if not first or not last:
                return {}, "its hours cannot be read"
            match["hours"] = [f"{first}-{last}"]
        elif kind == "DateIntervalFilter":
            first, last = (_date(part) for part in one.get("dateInterval") or (None, None))
            if not first or not last:
                return {}, "its dates cannot be read"
            match["dates"] = [f"{first}..{last}"]
        elif kind == "ShortMessageFilter":
            text = _pattern(one.get("short_message"))
            exact = _EXACT.fullmatch(text)
            if exact is None:
                return {}, f"its text {text!r} is no glob"
            match["text"] = [exact[1]]
        else:
            return {}, f"{kind or 'a filter'} has no counterpart"
    return match, ""


def _inbound(found: Found, table: Any, users: Mapping[str, AccountFound]) -> None:
    """An account of its own for each HTTP connector; the account itself for a system_id."""
    for order, route in table or ():
        where, connector = f"moroute {order}", route.get("connector")
        if isinstance(connector, list | tuple):
            found.leave(
                where, route.name, "an inbound message goes to one account; the first connector was taken"
            )
            connector = connector[0] if connector else None
        if not isinstance(connector, Thing):
            continue
        account = _receiver(found, connector, users)
        if account is None:
            found.leave(where, connector.name, "has no counterpart; give an account the number")
            continue
        filters = route.get("filters") or ()
        if route.name == "DefaultRoute":
            found.sections.setdefault("inbound", {})["fallback_account"] = account.name
            continue
        numbers = [
            number
            for one in filters
            if isinstance(one, Thing) and one.name == "DestinationAddrFilter"
            for number in _prefixes(_pattern(one.get("destination_addr"))) or ()
        ]
        if numbers and len(filters) == 1:
            account.settings["numbers"] = [*_listed(account.settings.get("numbers")), *numbers]
        else:
            found.leave(
                where, route.name, f"give {account.name} its numbers: signalbox account set --number …"
            )


def _receiver(found: Found, connector: Thing, users: Mapping[str, AccountFound]) -> AccountFound | None:
    if connector.name == "SmppServerSystemIdConnector":
        wanted = _text(connector.get("system_id"))
        account = next((one for one in users.values() if one.system_id == wanted), None)
        if account is not None:
            account.settings["mos_via"] = "smpp"
        return account
    if connector.name != "HttpConnector":
        return None
    url = _text(connector.get("baseurl"))
    there = next((one for one in found.accounts if one.settings.get("mo_url") == url), None)
    if there is not None:
        return there
    settings: dict[str, Value] = {"mo_url": url, "callback_format": "jasmin"}
    method = _text(connector.get("method")).lower()
    if method in ("get", "post"):
        settings["callback_method"] = method
    made = AccountFound(named(f"mo-{connector.get('cid')}", (one.name for one in found.accounts)), settings)
    found.accounts.append(made)
    return made


# small things


def _table(table: Any) -> list[tuple[int, Thing]]:
    """(order, route), the highest order first."""
    rows = table.get("table") if isinstance(table, Thing) else None
    found = [
        (int(order), route)
        for row in rows or ()
        if isinstance(row, dict)
        for order, route in row.items()
        if isinstance(route, Thing)
    ]
    return sorted(found, key=lambda one: -one[0])


def _inner(one: Thing, name: str) -> Thing:
    inner = one.get(name)
    return inner if isinstance(inner, Thing) else Thing("")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _pattern(value: Any) -> str:
    """A compiled regular expression's text."""
    if isinstance(value, Thing) and value.kind == "re._compile" and value.arguments:
        return _text(value.arguments[0])
    return _text(value)


def _prefixes(pattern: str) -> list[str] | None:
    """Of `^44.*` and `^(44|49)`; []: everything, None: no list of prefixes."""
    if pattern in _EVERYTHING:
        return []
    one, many = _PREFIX.fullmatch(pattern), _MANY.fullmatch(pattern)
    if one is not None:
        return [one[1]]
    return [part for part in many[1].split("|") if part] if many is not None else None


def _listed(value: object) -> list[str]:
    return list(value) if isinstance(value, list) else []


def _time(value: Any) -> str:
    """`08:00`, of a pickled datetime.time: its octets begin with hour and minute."""
    octets = _octets(value, "datetime.time")
    return f"{octets[0] & 0x7F:02}:{octets[1]:02}" if len(octets) >= 2 else ""


def _date(value: Any) -> str:
    octets = _octets(value, "datetime.date")
    return f"{octets[0] << 8 | octets[1]:04}-{octets[2]:02}-{octets[3]:02}" if len(octets) >= 4 else ""


def _octets(value: Any, kind: str) -> bytes:
    if not isinstance(value, Thing) or value.kind != kind or not value.arguments:
        return b""
    first = value.arguments[0]
    return first.encode("latin-1", "replace") if isinstance(first, str) else bytes(first)
