"""What must hold between the keys of a configuration, each rule with words for a person.

Every rule notes problems (the configuration is refused) or warnings (it runs, and says so at start).

Deliberately not here: types and ranges of single keys (config.model, config.reader).
"""

from __future__ import annotations

import datetime
import importlib.util
import ipaddress
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from config.carrier_rules import check_writing
from config.model import COMPONENTS, CarrierConfig, Config, ExpectConfig, RouteConfig, address_of
from config.problems import Notes, Path, meant
from router.causes import Causes, plain_error
from router.judge import Fate, Refusal
from router.lanes import MAX_CARRIERS
from router.numbers import NumberProblem, known_region, normalise, sender_of
from router.rules import ANY, Match
from smpp.status import Status

MOST_ROUTES = 10_000

_SHOWN = 20  # prefixes of one rule that are never reached
_PAUSING = (Fate.CARRIER.value, Fate.THROTTLED.value, Fate.QUEUE_FULL.value)
_PAUSING_HINT = f"then = one of {', '.join(_PAUSING)}"
_ZONE = re.compile(r"[+-](0[0-9]|1[0-4]):(00|15|30|45)")
_STATUS = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
_ERROR = re.compile(r"[!-~]{1,10}")
_NETWORK = re.compile(r"([0-9]{1,3}):(0[xX][0-9a-fA-F]{1,4}|[0-9]{1,5})")


def check(config: Config, notes: Notes) -> None:
    """Note everything that does not fit together."""
    _names(config, notes)
    _log(config, notes)
    _telemetry(config, notes)
    _listeners(config, notes)
    _listeners_tls(config, notes)
    _smpp(config, notes)
    _console(config, notes)
    _values(config, notes)
    for index, carrier in enumerate(config.carriers):
        _carrier(carrier, ("carriers", index), notes)
    _groups(config, notes)
    _delays(config, notes)
    for index, route in enumerate(config.routes):
        _lane(config, route, ("routes", index), notes)
    for index, expect in enumerate(config.expect):
        _expect(config, expect, ("expect", index), notes)
    _reach(config.routes, notes)
    _use(config, notes)


# the whole


def _names(config: Config, notes: Notes) -> None:
    lists: tuple[tuple[str, Iterable[str]], ...] = (
        ("carriers", (each.name for each in config.carriers)),
        ("routes", (each.name for each in config.routes)),
        ("simulators", (each.name for each in config.simulators)),
    )
    for section, names in lists:
        first: dict[str, int] = {}
        for index, name in enumerate(names):
            if not name:
                continue
            if name in first:
                line = notes.line_of((section, first[name]))
                notes.wrong(
                    (section, index, "name"),
                    f'"{name}" is taken by the one in line {line}',
                    "give each its own name",
                )
            first.setdefault(name, index)


def _log(config: Config, notes: Notes) -> None:
    for name in config.log.levels:
        if name not in COMPONENTS:
            hint = meant(name, COMPONENTS) or f"one of {', '.join(COMPONENTS)}"
            notes.wrong(("log", "levels", name), "no part of the gateway is called so", hint)


def _telemetry(config: Config, notes: Notes) -> None:
    if config.telemetry.otlp_endpoint and not _can_import("opentelemetry.exporter.otlp.proto.http"):
        notes.wrong(
            ("telemetry", "otlp_endpoint"),
            "OpenTelemetry's packages are not installed",
            'pip install "signalbox[telemetry]", or leave the key out',
        )


def _can_import(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _listeners(config: Config, notes: Notes) -> None:
    listeners: list[tuple[Path, str]] = [
        (("http", "listen", index), str(each)) for index, each in enumerate(config.http.listen)
    ]
    listeners += [
        (("http", "listen_tls", index), str(each)) for index, each in enumerate(config.http.listen_tls)
    ]
    listeners += [(("smpp", "listen", index), str(each)) for index, each in enumerate(config.smpp.listen)]
    listeners += [
        (("smpp", "listen_tls", index), str(each)) for index, each in enumerate(config.smpp.listen_tls)
    ]
    listeners += [
        (("simulators", index, "listen"), str(each.listen)) for index, each in enumerate(config.simulators)
    ]
    for index, app in enumerate(config.http.apps):
        for name in ("listen", "listen_tls"):
            addresses = enumerate(getattr(app, name))
            listeners += [(("http", "apps", index, name, number), str(each)) for number, each in addresses]
        if not app.listen and not app.listen_tls:
            notes.wrong(("http", "apps", index), "an address is needed", 'listen = ["127.0.0.1:13013"]')
    first: dict[str, Path] = {}
    for path, address in listeners:
        if address in first:
            line = notes.line_of(first[address])
            notes.wrong(path, f"{address} is listened on already, see line {line}", "choose another port")
        first.setdefault(address, path)
    if not config.http.listen and not config.http.listen_tls:
        notes.wrong(("http", "listen"), "at least one address is needed", 'listen = ["127.0.0.1:8080"]')


def _listeners_tls(config: Config, notes: Notes) -> None:
    """Files of the listeners that have TLS."""
    for section, port in (("smpp", 3550), ("http", 8443)):
        chosen = getattr(config, section)
        apps_too = section == "http" and any(one.listen_tls for one in config.http.apps)
        has_tls = bool(chosen.listen_tls) or apps_too
        for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
            _files(getattr(chosen, name), (section, name), notes)
            if getattr(chosen, name) and not has_tls:
                notes.wrong(
                    (section, name), "has no effect without listen_tls", f'listen_tls = ["0.0.0.0:{port}"]'
                )
        if has_tls and not chosen.tls_cert_file:
            notes.wrong((section, "listen_tls"), "there is no certificate", 'tls_cert_file = "chain.pem"')


def _smpp(config: Config, notes: Notes) -> None:
    """Our SMSC side."""
    smpp = config.smpp
    for name in ("proxy_from", "trusted_from"):
        for index, text in enumerate(getattr(smpp, name)):
            if not _is_network(text):
                notes.wrong(("smpp", name, index), f'"{text}" is no address and no network', '"192.0.2.0/24"')


def _console(config: Config, notes: Notes) -> None:
    """Who may sign in."""
    console = config.console
    for name in ("proxy_from", "trusted_from"):
        for index, text in enumerate(getattr(console, name)):
            if not _is_network(text):
                where = ("console", name, index)
                notes.wrong(where, f'"{text}" is no address and no network', '"192.0.2.0/24"')
    if console.session_idle_s > console.session_max_s:
        notes.warn(("console", "session_idle_s"), "is longer than session_max_s: it has no effect")
    oidc, path = console.oidc, ("console", "oidc")
    if not oidc.issuer:
        return
    issuer = urlsplit(oidc.issuer)
    if not issuer.hostname or issuer.query or issuer.fragment:
        notes.wrong((*path, "issuer"), "is no issuer", '"https://login.example.net"')
    elif issuer.scheme != "https" and not _is_loopback(issuer.hostname):
        notes.wrong((*path, "issuer"), "must be https, but for a provider on this machine", "https://…")
    if not oidc.client_id:
        notes.wrong((*path, "client_id"), "is missing", "the provider gives one to each application")
    if not console.public_url:
        notes.wrong(
            ("console", "public_url"),
            "is missing: the provider must know where to send people back to",
            'public_url = "https://sms.example.net"',
        )
    if "openid" not in oidc.scopes:
        notes.wrong((*path, "scopes"), 'has no "openid"', '["openid", "profile", "email"]')
    if not oidc.roles:
        notes.warn((*path, "roles"), "is empty: nobody is let in", 'roles = { "noc" = "operator" }')
    _files(oidc.ca_file, (*path, "ca_file"), notes)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return True


def _values(config: Config, notes: Notes) -> None:
    messages = config.messages
    if messages.validity_default_s > messages.max_validity_s:
        notes.wrong(
            ("messages", "validity_default_s"),
            f"is longer than max_validity_s, {messages.max_validity_s}",
            "raise max_validity_s or lower this",
        )
    region = config.gateway.default_region
    if region and not known_region(region):
        notes.wrong(
            ("gateway", "default_region"), f'"{region}" is no region', "two letters of ISO 3166, as GB"
        )
    _lookup(config, notes)
    if not config.callbacks.retry_s:
        notes.warn(("callbacks", "retry_s"), "is empty: a callback that fails once is given up")
    if config.receipts.window_h * 3600 < config.messages.validity_default_s:
        notes.warn(
            ("receipts", "window_h"), "is shorter than the usual validity: late receipts will match nothing"
        )
    _files(config.callbacks.ca_file, ("callbacks", "ca_file"), notes)


def _lookup(config: Config, notes: Notes) -> None:
    lookup, path = config.numbers.lookup, ("numbers", "lookup")
    scheme, _, rest = lookup.url.partition("://")
    host, _, where = rest.partition("/")
    if lookup.url and (scheme not in ("http", "https") or not host or "{number}" in host):
        notes.wrong((*path, "url"), "is no URL", '"https://hlr.example/v1/{number}"')
    elif lookup.url and "{number}" not in where:
        notes.wrong((*path, "url"), "has no {number}", '"https://hlr.example/v1/{number}"')
    if lookup.url and not lookup.pointer:
        notes.wrong((*path, "pointer"), "is empty", 'pointer = ["/mccmnc"]')
    _files(lookup.ca_file, (*path, "ca_file"), notes)
    numbers = config.numbers
    if lookup.url or numbers.prefix_table or numbers.mnp_table:
        return
    for index, route in enumerate(config.routes):
        if route.match.mcc_mnc or route.match.ported is not None:
            key = "mcc_mnc" if route.match.mcc_mnc else "ported"
            hint = '[numbers] prefix_table = "networks" (docs/numbers.md)'
            notes.warn(
                ("routes", index, "match", key),
                "no table and no look-up says of which network a number is",
                hint,
            )


def _use(config: Config, notes: Notes) -> None:
    """Nothing that the operator wrote should be there for nothing."""
    if len(config.routes) > MOST_ROUTES:
        message = f"there are {len(config.routes):,} routes, at most {MOST_ROUTES:,}"
        notes.wrong(("routes", MOST_ROUTES), message, "many numbers to one lane: prefix_file of one route")
    if not config.routes:
        notes.warn(("routes",), "there is no route: every message will be refused", "add a [[routes]] table")
    used = {entry.carrier for route in config.routes for entry in route.lane}
    for index, carrier in enumerate(config.carriers):
        if carrier.name and carrier.sends and carrier.name not in used:
            notes.warn(("carriers", index), f"no route names the carrier {carrier.name}: it only receives")


# carriers


def _carrier(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    for rule in (_hosts, _zone, _formats, check_writing, _tls, _pauses, _limits):
        rule(carrier, path, notes)
    for text in carrier.statuses:
        _status(text, (*path, "statuses", text), notes)
    for number, refusal in enumerate(carrier.refusals):
        place = (*path, "refusals", number)
        for index, text in enumerate(refusal.status):
            _status(text, (*place, "status", index), notes)
        if refusal.pause_s and refusal.then not in _PAUSING:
            notes.wrong((*place, "pause_s"), f'has no effect with then = "{refusal.then}"', _PAUSING_HINT)
    _error_map(carrier, (*path, "error_map"), notes)
    if carrier.tps and carrier.window * carrier.sessions < carrier.tps * 0.02:
        notes.warn(
            (*path, "window"),
            f"{carrier.sessions} sessions x window {carrier.window} may be too few for {carrier.tps:g} TPS",
            "a response usually takes 20 ms and more",
        )


def _status(text: str, where: Path, notes: Notes) -> None:
    if statuses_of(text) is None:
        notes.wrong(
            where,
            f'"{text}" is not a status',
            meant(text, (status.name for status in Status))
            or 'write "0x0000042e", "0x0400-0x04FF" or a name as ESME_RSYSERR',
        )


def _error_map(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    first: dict[tuple[str, object], str] = {}
    for text in carrier.error_map:
        code = code_of(text)
        if code is None:
            notes.wrong(
                (*path, text),
                f'"{text}" is not a code',
                '"err:012" of receipts, "status:0x0B" of submit_sm_resp, or "net:3:1" of network_error_code',
            )
        elif code in first:
            line = notes.line_of((*path, first[code]))
            notes.wrong(
                (*path, text), f'is the same code as "{first[code]}" in line {line}', "keep one of them"
            )
        else:
            first[code] = text


def _hosts(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    pair = carrier.bind == "transmitter+receiver"
    complete = bool(carrier.host or carrier.hosts or carrier.outbind_listen)
    if not complete and not (pair and carrier.tx_host and carrier.rx_host):
        notes.wrong(path, "has no host", 'host = "smsc.example.net"')
    if not pair:
        for name in ("tx_host", "rx_host"):
            if getattr(carrier, name):
                notes.wrong(
                    (*path, name),
                    f'does not go with bind = "{carrier.bind}"',
                    'bind = "transmitter+receiver"',
                )
    written: list[tuple[Path, str]] = [
        ((*path, "hosts", index), host) for index, host in enumerate(carrier.hosts)
    ]
    written += [
        ((*path, key), getattr(carrier, key)) for key in ("host", "tx_host", "rx_host", "outbind_listen")
    ]
    for where, text in written:
        try:
            if text:
                address_of(text, carrier.port)
        except ValueError as error:
            notes.wrong(where, f'"{text}" is not an address', str(error))
    if carrier.interface_version == "3.3" and carrier.bind == "transceiver":
        notes.wrong(
            (*path, "bind"),
            "SMPP 3.3 has no bind_transceiver",
            'bind = "transmitter+receiver" or interface_version',
        )


def _zone(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    for name in ("receipt_zone", "validity_zone"):
        zone = getattr(carrier, name)
        if zone_of(zone) is None:
            notes.wrong(
                (*path, name),
                f'"{zone}" is not a time zone',
                meant(zone, zoneinfo.available_timezones()) or "UTC, Europe/Berlin or +02:00",
            )
    if (*path, "validity_zone") in notes.lines and carrier.validity_form == "relative":
        notes.wrong(
            (*path, "validity_zone"),
            "has no effect on relative times",
            'validity_form = "absolute", or leave it out',
        )


def _formats(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    if carrier.number_format == "national" and not carrier.national_prefix:
        notes.wrong(
            (*path, "number_format"), "needs national_prefix, the country code", 'national_prefix = "44"'
        )
    if carrier.interface_version == "3.3" and carrier.user_message_reference:
        notes.wrong((*path, "user_message_reference"), "is a TLV, which SMPP 3.3 has not", "leave it out")
    if carrier.interface_version == "3.3" and carrier.long_messages in ("sar", "payload"):
        notes.wrong(
            (*path, "long_messages"),
            f'"{carrier.long_messages}" needs TLVs, which SMPP 3.3 has not',
            "use udh8",
        )


def _tls(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    names = ("tls_ca_file", "tls_cert_file", "tls_key_file")
    for name in names:
        _files(getattr(carrier, name), (*path, name), notes)
    if not carrier.tls:
        for name in (*names, "tls_server_name"):
            if getattr(carrier, name):
                notes.wrong((*path, name), "has no effect without tls", "tls = true")
    elif not carrier.tls_verify:
        notes.warn((*path, "tls_verify"), "is off: whoever is between us and the carrier can read and answer")
    if bool(carrier.tls_cert_file) != bool(carrier.tls_key_file):
        notes.wrong(path, "tls_cert_file and tls_key_file go together")


def _pauses(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    if carrier.reconnect_max_s < carrier.reconnect_min_s:
        notes.wrong((*path, "reconnect_max_s"), f"is less than reconnect_min_s, {carrier.reconnect_min_s:g}")
    if carrier.retry.max_s < carrier.retry.first_s:
        notes.wrong((*path, "retry", "max_s"), f"is less than first_s, {carrier.retry.first_s:g}")


def _limits(carrier: CarrierConfig, path: Path, notes: Notes) -> None:
    first: dict[str, int] = {}
    for index, limit in enumerate(carrier.limits):
        place = (*path, "limits", index)
        where = place if place in notes.lines else (*path, "limits")  # one table, or a list of them
        if not limit.tps and not any(limit.horizons):
            notes.wrong(where, "limits nothing", "tps, per_minute, per_hour or per_day")
        elif limit.tps and not limit.selects:
            notes.wrong(
                (*where, "tps"),
                "is a limit of all messages: write it beside the carrier's own keys",
                f"tps = {limit.tps:g}, or prefix or sender in this limit",
            )
        if limit.each_sender and (limit.per_hour or limit.per_day):
            notes.wrong(
                (*where, "each_sender"),
                "goes with tps and per_minute: what each has spent is not kept over a restart",
                "a limit of an hour or a day for all of them, or for senders that are named",
            )
        if limit.selects and limit.name in first:
            line = notes.line_of((*path, "limits", first[limit.name]))
            notes.wrong(where, f"concerns the same messages as the one in line {line}", "make one of them")
        first.setdefault(limit.name, index)


def _groups(config: Config, notes: Notes) -> None:
    names = {carrier.name for carrier in config.carriers}
    for index, carrier in enumerate(config.carriers):
        group = carrier.receipt_group
        if group in names and group != carrier.name:
            other = next(each for each in config.carriers if each.name == group)
            if other.group_name != group:
                notes.wrong(
                    ("carriers", index, "receipt_group"),
                    f"is the name of a carrier that is in the group {other.group_name}",
                    "give all of them the same receipt_group",
                )


def _delays(config: Config, notes: Notes) -> None:
    for index, simulator in enumerate(config.simulators):
        for name in ("response_delay_s", "receipt_delay_s"):
            delays: tuple[float, ...] = getattr(simulator, name)
            if len(delays) != 2 or delays[0] > delays[1]:
                notes.wrong(
                    ("simulators", index, name),
                    "must be the least and the most delay",
                    f"{name} = [0.1, 0.5]",
                )


def _files(name: str, path: Path, notes: Notes) -> None:
    if name and not FilePath(name).is_file():
        notes.wrong(path, f"there is no file {name}", "relative names begin beside the configuration")


# routes


def _lane(config: Config, route: RouteConfig, path: Path, notes: Notes) -> None:
    carriers = {carrier.name: carrier for carrier in config.carriers}
    where = (*path, "lane")
    if not route.lane:
        if where in notes.lines and not notes.has_wrong(where):
            notes.wrong(where, "is empty", "name at least one carrier")
        return
    if len(route.lane) > MAX_CARRIERS:
        notes.wrong(where, f"has {len(route.lane)} carriers, at most {MAX_CARRIERS}")
    seen: set[str] = set()
    for index, entry in enumerate(route.lane):
        place = (*where, index)
        carrier = carriers.get(entry.carrier)
        if not entry.carrier:
            continue
        if carrier is None:
            notes.wrong(place, f'there is no carrier "{entry.carrier}"', meant(entry.carrier, carriers))
        elif not carrier.sends:
            notes.wrong(place, f'"{entry.carrier}" binds as receiver and cannot send', 'bind = "transceiver"')
        if entry.carrier in seen:
            notes.wrong(place, f'"{entry.carrier}" is named twice')
        seen.add(entry.carrier)
    if route.on_receipt.policy is not None and len(route.lane) == 1 and not route.on_receipt.again:
        notes.warn((*path, "on_receipt"), "has no effect: the lane has no other carrier")
    _silence(route, path, notes)
    if route.weights and any(entry.weight is None for entry in route.lane):
        notes.wrong(where, "some carriers have a weight and some have none", "give all of them one, or none")
    elif route.weights and not any(route.weights):
        notes.wrong(where, "every carrier has weight 0: nobody would take anything", "give one of them more")
    _choice(route, carriers, bool(route.weights), path, notes)


def _silence(route: RouteConfig, path: Path, notes: Notes) -> None:
    """A message is passed on within its time in the queue, which no receipt may outlast."""
    silence_s, most_s = route.on_receipt.no_receipt_s, route.max_queue_age_s
    if 0 < most_s <= silence_s:
        notes.warn(
            (*path, "on_receipt", "no_receipt_s"),
            f"has no effect: after {silence_s} s nothing is passed on any more, max_queue_age_s is {most_s}",
            "make no_receipt_s shorter, or max_queue_age_s longer",
        )


def _choice(
    route: RouteConfig, carriers: Mapping[str, CarrierConfig], weighted: bool, path: Path, notes: Notes
) -> None:
    """`choose`, `sticky` and `allow_loss`."""
    if weighted and route.choose not in ("", "weights"):
        notes.wrong((*path, "choose"), f'"{route.choose}" has no use for weights', "leave one of the two out")
    if route.choose == "weights" and not weighted:
        notes.wrong((*path, "choose"), "the lane has no weights", '{ carrier = "north", weight = 70 }')
    if route.sticky and not weighted:
        notes.wrong(
            (*path, "sticky"), "goes with weights: in order, the first able carrier is everybody's", ""
        )
    unpriced = [name for name in route.carriers if name in carriers and not carriers[name].rate_card]
    if route.choose == "cheapest" and unpriced:
        what = "tried last" + (", and never for accounts with a rate card" if route.guarded else "")
        notes.warn((*path, "choose"), f"no rate_card, so {what}: {', '.join(unpriced)}")
    if route.allow_loss and route.choose != "cheapest":
        notes.wrong((*path, "allow_loss"), 'goes with choose = "cheapest": else no price is looked at', "")


def _reach(routes: tuple[RouteConfig, ...], notes: Notes) -> None:
    """A rule behind one that takes everything of it would never be asked."""
    taken: dict[str, RouteConfig] = {}
    same: dict[Match, RouteConfig] = {}
    for index, route in enumerate(routes):
        rule = route.rule
        where = ("routes", index, "match")
        if notes.has_wrong(where):
            continue
        if rule == ANY and where in notes.lines:
            notes.wrong(where, "asks for nothing", "leave out match to take every message")
            continue
        covered = [prefix for prefix in rule.prefixes or ("",) if _cover(prefix, taken) is not None]
        for prefix in covered[:_SHOWN]:
            other = _cover(prefix, taken)
            assert other is not None
            line = notes.line_of(("routes", routes.index(other)))
            what = f'"{prefix}"' if prefix else "every number"
            notes.wrong(
                ("routes", index, *(("match", "prefix") if prefix else ())),
                f'{what} is taken by the route "{other.name}" before (line {line}), so it is never reached',
                "rules are asked in order: put this one above it",
            )
        if rule in same and not covered:
            line = notes.line_of(("routes", routes.index(same[rule])))
            notes.wrong(
                where,
                f'asks for the same as the route "{same[rule].name}" (line {line}), so it is never reached',
                "keep one of the two",
            )
        same.setdefault(rule, route)
        if rule.prefix_only:
            for prefix in rule.prefixes or ("",):
                taken.setdefault(prefix, route)


def _cover(prefix: str, taken: dict[str, RouteConfig]) -> RouteConfig | None:
    return next((taken[prefix[:n]] for n in range(len(prefix) + 1) if prefix[:n] in taken), None)


def _expect(config: Config, expect: ExpectConfig, path: Path, notes: Notes) -> None:
    """Whether it can be asked at all; config.expect asks."""
    for key, read in (("to", normalise), ("from", sender_of)):
        text = expect.to if key == "to" else expect.from_
        try:
            read(text, config.gateway.default_region)
        except NumberProblem as problem:
            if text or (*path, key) in notes.lines:
                notes.wrong((*path, key), f'"{text}" does not do: {problem}')
    if expect.at and instant_of(expect.at) is None:
        notes.wrong((*path, "at"), f'"{expect.at}" is no time', 'with its zone, as "2026-11-23T03:00:00Z"')
    names = {route.name for route in config.routes}
    if expect.route and expect.route not in names:
        notes.wrong((*path, "route"), f'there is no route "{expect.route}"', meant(expect.route, names))
    carriers = {carrier.name for carrier in config.carriers}
    for index, name in enumerate(expect.lane):
        if name not in carriers:
            notes.wrong((*path, "lane", index), f'there is no carrier "{name}"', meant(name, carriers))


# words with a meaning


def instant_of(text: str) -> int | None:
    """`2026-11-23T03:00:00Z` as UTC milliseconds; None when it is no time with a zone."""
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else int(at.timestamp() * 1000)


def status_of(text: str) -> int | None:
    """`0x42e`, `1070` or `ESME_RSYSERR` as a number."""
    if text in Status.__members__:
        return int(Status[text])
    if _STATUS.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0x", "0X") else int(text)
        return number if 0 < number <= 0xFFFFFFFF else None
    return None


def statuses_of(text: str) -> tuple[int, int] | None:
    """`0x0400-0x04FF` or a single status as its first and last number; None when it is none of these."""
    first, dash, last = text.partition("-")
    numbers = status_of(first.strip()), status_of(last.strip() if dash else first.strip())
    if numbers[0] is None or numbers[1] is None or numbers[0] > numbers[1]:
        return None
    return numbers[0], numbers[1]


def refusals_of(carrier: CarrierConfig) -> tuple[Refusal, ...]:
    """A carrier's `refusals`, and the ranges among its `statuses`, as router.judge wants them."""
    found: list[Refusal] = []
    for one in carrier.refusals:
        fate = Fate(one.then) if one.then in {fate.value for fate in Fate} else Fate.RETRY
        for span in map(statuses_of, one.status):
            if span is not None:
                found.append(Refusal(*span, fate, one.first_s, one.max_s, one.max_attempts, one.pause_s))
    for text, word in carrier.statuses.items():
        span = statuses_of(text)
        if span is not None and status_of(text) is None:
            found.append(Refusal(*span, Fate(word)))
    return tuple(found)


def fates_of(statuses: dict[str, str]) -> dict[int, Fate]:
    """A carrier's `statuses` as router.judge wants them; ranges, and what is no status, are left out."""
    numbers = ((status_of(text), word) for text, word in statuses.items())
    return {number: Fate(word) for number, word in numbers if number is not None}


def code_of(text: str) -> tuple[str, object] | None:
    """A key of `error_map`: ("err", "12"), ("status", 11) or ("net", (3, 1)); None when it is none."""
    kind, _, code = text.partition(":")
    if kind == "err" and _ERROR.fullmatch(code):
        return kind, plain_error(code)
    if kind == "status":
        status = status_of(code)
        return None if status is None else (kind, status)
    network = _NETWORK.fullmatch(code) if kind == "net" else None
    if network is None:
        return None
    kind_and_code = int(network[1]), int(network[2], 0 if network[2][:2] in ("0x", "0X") else 10)
    return (kind, kind_and_code) if kind_and_code[0] < 256 and kind_and_code[1] < 65_536 else None


def causes_of(error_map: dict[str, str]) -> Causes:
    """A carrier's `error_map` as router.causes wants it; what is no code is left out."""
    found: dict[str, dict[Any, str]] = {"status": {}, "err": {}, "net": {}}
    for text, cause in error_map.items():
        code = code_of(text)
        if code is not None:
            found[code[0]][code[1]] = cause
    return Causes(found["status"], found["err"], found["net"])


def zone_of(text: str) -> datetime.tzinfo | None:
    """`UTC`, `Europe/Berlin`, `+02:00`; None when it is none of these."""
    if _ZONE.fullmatch(text):
        minutes = int(text[1:3]) * 60 + int(text[4:6])
        return datetime.timezone(datetime.timedelta(minutes=-minutes if text[0] == "-" else minutes))
    if text in ("UTC", "Z"):
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
