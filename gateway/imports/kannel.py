"""Kannel's configuration (kannel.conf, and the files that it includes) in our terms.

smsc groups become carriers, what they allow and prefer becomes routes, sendsms-users become accounts with
their names and passwords, sms-services become accounts that inbound messages go to. Source: Kannel's user
guide 1.4.5 and the rules of its configuration reader: groups are separated by empty lines, a line is
`name = value`, a value may be in double quotes, `include = …` names a file or a directory.

Deliberately not here: other SMSC protocols than SMPP, WAP, what our keys mean (config.model).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from gateway.imports.found import AccountFound, Found, Value, named

_LINE = re.compile(r"([A-Za-z0-9-]+)\s*=\s*(.*)")
_MOST_FILES = 100
_MOST_BYTES = 10_000_000
_DEEPEST = 5

_NOT_NEEDED = "not needed here"
_ELSEWHERE = "the host's logging keeps what goes to stdout"
_CORE = {
    "admin-password": "operators have keys: signalbox operator create NAME",
    "status-password": "/status.xml takes an operator's key: signalbox operator create NAME --role auditor",
    "smsbox-port": "there are no boxes: one process does all",
    "smsbox-interface": "there are no boxes: one process does all",
    "wapbox-port": "WAP is not spoken here",
    "box-allow-ip": "there are no boxes: one process does all",
    "box-deny-ip": "there are no boxes: one process does all",
    "store-file": "every message is on disk before it is answered; see [store]",
    "store-type": "every message is on disk before it is answered; see [store]",
    "store-location": "every message is on disk before it is answered; see [store]",
    "store-dump-freq": _NOT_NEEDED,
    "dlr-storage": "receipts are matched in the store",
    "log-file": _ELSEWHERE,
    "access-log": _ELSEWHERE,
    "log-level": "[log] level has words: debug, info, warning, error",
    "sms-resend-freq": "see [carriers.retry]",
    "sms-resend-retry": "see [carriers.retry]",
    "sms-combine-concatenated-mo": "parts of an inbound message are always joined",
    "sms-outgoing-queue-limit": "[store] max_queued and accounts' max_queued say so",
    "sms-incoming-queue-limit": _NOT_NEEDED,
    "unified-prefix": "accounts have default_region; carriers number_format",
    "white-list": "an account's destinations say where it may send",
    "black-list": "an account's destinations say where it may send; !prefix in a route leaves out",
}
_IGNORED = frozenset(
    ("group", "smsc", "smsc-id", "include", "log-file", "log-level", "smsbox-id", "bearerbox-host",
     "bearerbox-port", "bearerbox-port-ssl", "sendsms-chars", "access-log", "dlr-storage")
)  # fmt: skip
_ALPHABETS = {
    "ascii": "ascii", "us-ascii": "ascii", "ansi": "ascii", "iso-8859-1": "latin1", "latin1": "latin1",
    "windows-1252": "latin1", "gsm": "gsm7", "gsm0338": "gsm7",
}  # fmt: skip
_VERSIONS = {"33": "3.3", "34": "3.4", "50": "5.0"}
# theirs → ours, as whole numbers
_NUMBERS = {
    "enquire-link-interval": "enquire_link_s",
    "max-pending-submits": "window",
    "reconnect-delay": "reconnect_max_s",
    "wait-ack": "response_timeout_s",
    "connection-timeout": "write_timeout_s",
    "instances": "sessions",
    "source-addr-ton": "source_ton",
    "source-addr-npi": "source_npi",
    "dest-addr-ton": "dest_ton",
    "dest-addr-npi": "dest_npi",
    "bind-addr-ton": "addr_ton",
    "bind-addr-npi": "addr_npi",
}
_TEXTS = {"system-type": "system_type", "address-range": "address_range", "service-type": "service_type"}
_OF_SMSC = {
    "msg-id-type": "how a carrier writes ids in receipts is learnt (receipt_id)",
    "alt-addr-charset": "alphanumeric senders are written in the carrier's alphabet",
    "source-addr-autodetect": "types of senders are always found out",
    "transceiver-mode": "",
    "my-number": "",
    "esm-class": "the default message mode is used",
    "wait-ack-expire": "see [carriers.unknown]: what becomes of a submit without an answer",
    "retry": "a refused bind is tried again (reconnect_max_s)",
    "validityperiod": "a message's own validity is sent (send_validity); [messages] validity_default_s",
    "our-host": "local_address takes an address",
    "unified-prefix": "number_format says how the carrier wants recipients",
    "reroute": "routes say which carrier takes what",
    "reroute-smsc-id": "routes say which carrier takes what",
    "dead-start": "suspend it: signalbox carrier suspend NAME",
}


class BadKannel(Exception):
    """It cannot be read; says what and where."""


@dataclass
class Group:
    """`options`: name → (value, line)."""

    kind: str
    file: str
    line: int
    options: dict[str, tuple[str, int]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def get(self, *names: str) -> str:
        """The first of them that is there; those asked for count as understood."""
        self.used.update(names)
        return next((self.options[name][0] for name in names if name in self.options), "")

    def where(self, name: str = "") -> str:
        line = self.options[name][1] if name in self.options else self.line
        return f"{self.file}:{line}"


def read(path: Path) -> list[Group]:
    """Every group of a file and of what it includes. Errors: BadKannel."""
    files = [0]
    return _read(path, files, 0)


def _read(path: Path, files: list[int], depth: int) -> list[Group]:
    files[0] += 1
    if files[0] > _MOST_FILES or depth > _DEEPEST:
        raise BadKannel(f"{path}: too many files, or they include each other")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadKannel(f"{path}: more than {_MOST_BYTES:,} bytes is no configuration")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadKannel(f"cannot read {path}: {error.strerror}") from None
    groups: list[Group] = []
    group: Group | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line:
            group = None
            continue
        if line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadKannel(f"{path}:{number}: {line[:60]!r} is not `name = value`")
        name, value = found[1], _unquoted(found[2])
        if name == "include":
            groups += _included(path, value, files, depth)
        elif name == "group":
            group = Group(value, path.name, number)
            groups.append(group)
        elif group is None:
            raise BadKannel(f"{path}:{number}: {name} stands in no group; a group begins with `group = …`")
        else:
            group.options[name] = (value, number)
    return groups


def _included(path: Path, value: str, files: list[int], depth: int) -> list[Group]:
    there = Path(value) if Path(value).is_absolute() else path.parent / value
    many = sorted(one for one in there.iterdir() if one.is_file()) if there.is_dir() else [there]
    return [group for one in many for group in _read(one, files, depth + 1)]


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


# translation


def translated(groups: Iterable[Group], source: str) -> Found:
    """What they say, in our terms."""
    found = Found(source)
    by_kind: dict[str, list[Group]] = {}
    for group in groups:
        by_kind.setdefault(group.kind, []).append(group)
    core = by_kind.pop("core", [])
    boxes = by_kind.pop("smsbox", [])
    _core(found, core, boxes)
    carriers = _carriers(found, by_kind.pop("smsc", []))
    users = _users(found, by_kind.pop("sendsms-user", []), boxes)
    _routes(found, carriers, users)
    _services(found, by_kind.pop("sms-service", []), carriers)
    for kind, others in by_kind.items():
        for group in others:
            found.leave(group.where(), f"group {kind}", _GROUPS.get(kind, "has no counterpart"))
    return found


_GROUPS = {
    "fake-smsc": "signalbox simulate is a carrier for trying",
    "smsbox-route": "there are no boxes: one process does all",
    "wapbox": "WAP is not spoken here",
    "modems": "modems are not served here",
    "sendota-user": "sendota is not there",
    "ota-setting": "sendota is not there",
    "smpp-tlv": "[[carriers.tlvs]] adds TLVs; meta-data takes TLVs by the names of the specification",
    "dlr-db": "receipts are matched in the store",
}


def _core(found: Found, core: list[Group], boxes: list[Group]) -> None:
    http: dict[str, Value] = {}
    for group in core:
        port = group.get("admin-port")
        if port:
            http["listen"] = [f"127.0.0.1:{port}"]
            http["apis"] = ["kannel"]
            found.leave(
                group.where("admin-port"),
                "admin-port",
                "our API and /status.xml listen there, on loopback; commands are `signalbox …`",
            )
        group.get("admin-interface", "admin-allow-ip", "admin-deny-ip")
        _rest(found, group, "core", _CORE)
    if http:
        found.sections["http"] = http
    for group in boxes:
        port = group.get("sendsms-port")
        if port:
            host = group.get("sendsms-interface") or "127.0.0.1"
            found.listeners.append({"listen": [f"{host}:{port}"], "apis": ["kannel"]})
            if "sendsms-interface" not in group.options:
                found.leave(
                    group.where("sendsms-port"),
                    "sendsms-port",
                    "smsbox listens on every address; this listens on loopback until [[http.apps]] listen "
                    "says more",
                )
        group.get("global-sender")
        _rest(found, group, "smsbox", _CORE)


@dataclass
class _Carrier:
    """`ids`: what messages may call it by; `only`: it takes nothing but those."""

    name: str
    group: Group
    id: str
    ids: list[str]
    only: bool
    prefixes: list[str]
    wanted: list[str]  # preferred prefixes


def _carriers(found: Found, groups: list[Group]) -> list[_Carrier]:
    made: list[_Carrier] = []
    for group in groups:
        kind = group.get("smsc")
        if kind != "smpp":
            found.leave(group.where("smsc"), f"smsc = {kind}", "carriers are bound over SMPP only")
            continue
        id = group.get("smsc-id", "smsc-admin-id")
        name = named(id or group.get("host") or "smsc", (one.name for one in made))
        found.carriers.append(_carrier(found, group, name))
        preferred, allowed = _list(group.get("preferred-smsc-id")), _list(group.get("allowed-smsc-id"))
        prefixes = _prefixes(group.get("allowed-prefix"))
        denied = _prefixes(group.get("denied-prefix"))
        if denied:
            prefixes = [*prefixes, *(f"!{one}" for one in denied)] if prefixes else []
            if not prefixes:
                found.leave(
                    group.where("denied-prefix"),
                    "denied-prefix",
                    f"write the prefixes that {name} may have into its route; !{denied[0]} leaves one out",
                )
        if group.get("denied-smsc-id"):
            found.leave(group.where("denied-smsc-id"), "denied-smsc-id", "leave it out of the lanes instead")
        ids = list(dict.fromkeys([*([id] if id else []), *preferred, *allowed]))
        made.append(
            _Carrier(name, group, id, ids, bool(allowed), prefixes, _prefixes(group.get("preferred-prefix")))
        )
        _rest(found, group, f"smsc {name}", _OF_SMSC)
    return made


def _carrier(found: Found, group: Group, name: str) -> dict[str, Value]:
    port, receive_port = group.get("port"), group.get("receive-port")
    both = group.get("transceiver-mode").lower() in ("true", "yes", "1", "on")
    values: dict[str, Value] = {"name": name, "host": group.get("host")}
    _number(found, group, values, "port", "port" if _digits(port) else "receive-port")
    values["system_id"], values["password"] = group.get("smsc-username"), group.get("smsc-password")
    if both:
        pass  # a transceiver, as ours are
    elif _digits(port) and _digits(receive_port):
        values["bind"] = "transmitter+receiver"
        if port != receive_port:
            values["rx_host"] = f"{group.get('host')}:{receive_port}"
    else:
        values["bind"] = "transmitter" if _digits(port) else "receiver"
    for theirs, ours in _NUMBERS.items():
        _number(found, group, values, ours, theirs)
    for theirs, ours in _TEXTS.items():
        if group.get(theirs):
            values[ours] = group.get(theirs)
    tps = group.get("throughput")
    if tps:
        try:
            values["tps"] = float(tps)
        except ValueError:
            found.leave(group.where("throughput"), "throughput", f"{tps!r} is no number")
    version = group.get("interface-version")
    if version and version in _VERSIONS:
        values["interface_version"] = _VERSIONS[version]
    elif version:
        found.leave(group.where("interface-version"), "interface-version", f"{version!r} is not known here")
    charset = group.get("alt-charset").lower()
    if charset in _ALPHABETS:
        values["alphabet"] = _ALPHABETS[charset]
    elif charset:
        found.leave(group.where("alt-charset"), "alt-charset", f"{charset!r}: see `alphabet` of [[carriers]]")
    if group.get("use-ssl").lower() in ("true", "yes", "1", "on"):
        values["tls"] = True
    for theirs, ours in (("ssl-client-certkey-file", "tls_cert_file"), ("ssl-server-ca-file", "tls_ca_file")):
        if group.get(theirs):
            values[ours] = group.get(theirs)
    return values


def _users(found: Found, groups: list[Group], boxes: list[Group]) -> list[tuple[AccountFound, Group]]:
    senders = [one for box in boxes if (one := box.get("global-sender"))]
    made: list[tuple[AccountFound, Group]] = []
    for group in groups:
        user, password = group.get("username"), group.get("password")
        if not user or not password:
            found.leave(group.where(), "group sendsms-user", "it has no username, or no password")
            continue
        account = AccountFound(named(user, (one.name for one, _ in made)))
        account.settings["apis"] = ["kannel"]
        if ":" in user or not user.isascii() or len(user) > 64:
            found.leave(group.where("username"), "username", f"{user!r} cannot be an app's name here")
        else:
            account.apps[user] = password
        faked, default = group.get("faked-sender"), group.get("default-sender")
        if faked:
            account.settings["senders"] = [faked]
            found.leave(
                group.where("faked-sender"), "faked-sender", f"{account.name} may send as {faked} "
                "only; another sender is refused, not replaced",
            )  # fmt: skip
        elif default or senders:
            account.settings["senders"] = [default or senders[0], "*"]
        prefixes = _prefixes(group.get("allowed-prefix"))
        if prefixes:
            account.settings["destinations"] = prefixes
        addresses = _addresses(found, group, "user-allow-ip")
        if addresses:
            account.settings["allowed_addresses"] = addresses
        denied = group.get("user-deny-ip")
        if denied and not addresses:
            found.leave(
                group.where("user-deny-ip"), "user-deny-ip", "an account's allowed_addresses say from where"
            )
        if group.get("dlr-url"):
            account.settings["callback_url"] = group.get("dlr-url")
            account.settings["callback_format"] = "kannel"
        _rest(found, group, f"sendsms-user {user}", _OF_USER)
        made.append((account, group))
        found.accounts.append(account)
    return made


_OF_USER = {
    "max-messages": "[messages] max_parts says how many parts a message may have",
    "concatenation": "long messages are always sent in parts",
    "split-chars": "texts are cut where a part is full",
    "split-suffix": "texts are cut where a part is full",
    "omit-empty": "an empty message is never sent",
    "header": "write it into the text",
    "footer": "write it into the text",
    "name": "the account has a name",
    "default-smsc": "a route that asks for the account (match = { account = […] }) says so",
    "forced-smsc": "",
    "denied-prefix": "destinations say where the account may send",
    "white-list": "destinations say where the account may send",
    "black-list": "destinations say where the account may send",
}


def _routes(found: Found, carriers: list[_Carrier], users: list[tuple[AccountFound, Group]]) -> None:
    """By account that is forced to an smsc, by smsc that a message asks for, by prefix, and the rest."""
    names: list[str] = []

    def add(wanted: str, lane: list[_Carrier], match: Mapping[str, Value] | None) -> None:
        name = named(wanted, names)
        names.append(name)
        values: dict[str, Value] = {"name": name}
        if match:
            values["match"] = match
        if len(lane) == 1:
            values["lane"] = [lane[0].name]
        else:
            shares: list[Mapping[str, Value]] = [{"carrier": one.name, "weight": 1} for one in lane]
            values["lane"] = shares
        found.routes.append(values)

    for account, group in users:
        wanted = group.get("forced-smsc")
        lane = [one for one in carriers if wanted and wanted in one.ids]
        if lane:
            add(f"{account.name}-forced", lane, {"account": [account.name]})
        elif wanted:
            found.leave(group.where("forced-smsc"), "forced-smsc", f"there is no smsc {wanted!r}")
    for id in dict.fromkeys(id for one in carriers for id in one.ids):
        add(f"smsc-{id}", [one for one in carriers if id in one.ids], {"tag": [f"smsc:{id}"]})
    rest = [one for one in carriers if not one.only]
    for one in rest:
        if one.wanted:
            add(f"{one.name}-preferred", [one], {"prefix": one.wanted})
    for one in rest:
        if one.prefixes:
            add(f"{one.name}-prefixes", [one], {"prefix": one.prefixes})
    everywhere = [one for one in rest if not one.prefixes]
    if everywhere:
        add("default", everywhere, None)
    elif carriers:
        found.leave("routes", "default", "no smsc takes everything: what no route takes is refused")


def _services(found: Found, groups: list[Group], carriers: list[_Carrier]) -> None:
    numbers = [
        number for one in carriers for number in _list(one.group.get("my-number")) if number.isdecimal()
    ]
    taken = [account.name for account in found.accounts]
    for group in groups:
        keyword = group.get("keyword")
        url, post = group.get("get-url"), group.get("post-url")
        aliases = _list(group.get("aliases"))
        words = [keyword, *aliases]
        name = named(group.get("name") or f"service-{keyword or group.line}", taken)
        if not url:
            what = next((one for one in _CONTENTS if one in group.options), "post-url" if post else "")
            group.get(*_CONTENTS, "post-url")
            found.leave(group.where(), f"sms-service {keyword}", _CONTENTS.get(what, "it has no get-url"))
            continue
        taken.append(name)
        settings: dict[str, Value] = {"mo_url": url, "callback_format": "kannel"}
        if keyword.lower() == "default" or group.get("catch-all").lower() in ("true", "yes", "1"):
            found.sections.setdefault("inbound", {})["fallback_account"] = name
        elif numbers:
            settings["keywords"] = [f"{number} {word}" for number in numbers for word in words if word]
        else:
            found.leave(
                group.where("keyword"),
                f"keyword = {keyword}",
                "keywords belong to a number here, and no smsc has my-number: signalbox account set "
                f"{name} --keyword 'NUMBER {keyword.upper()}'",
            )
        found.accounts.append(AccountFound(name, settings))
        _rest(found, group, f"sms-service {keyword}", _OF_SERVICE)


_CONTENTS = {
    "text": "a fixed reply needs an app that answers; there is none inside",
    "file": "a reply from a file needs an app that answers; there is none inside",
    "exec": "a reply from a program needs an app that answers: programs are not run here",
    "post-xml": "callbacks are GET or JSON",
    "post-url": "write the service as a get-url, or take callback_format standard (JSON by POST)",
}
_OF_SERVICE = {
    "max-messages": "what a callback answers is not sent as a reply; send it by sendsms",
    "omit-empty": "what a callback answers is not sent as a reply; send it by sendsms",
    "concatenation": _NOT_NEEDED,
    "accepted-smsc": "the number that was written to decides, not the carrier",
    "accept-x-kannel-headers": "what a callback answers is not sent as a reply; send it by sendsms",
    "send-sender": _NOT_NEEDED,
    "strip-keyword": "%b is the text as it came",
    "assume-plain-text": _NOT_NEEDED,
    "default-sender": "what a callback answers is not sent as a reply; send it by sendsms",
    "faked-sender": "what a callback answers is not sent as a reply; send it by sendsms",
    "keyword-regex": "keywords are words here",
}


# small things


def _rest(found: Found, group: Group, what: str, known: Mapping[str, str]) -> None:
    """What nobody asked for."""
    for name in group.options:
        if name in group.used or name in _IGNORED:
            continue
        why = known.get(name, "has no counterpart")
        if why:
            found.leave(group.where(name), f"{what}: {name}", why)


def _number(found: Found, group: Group, values: dict[str, Value], ours: str, theirs: str) -> None:
    text = group.get(theirs)
    if _digits(text):
        values[ours] = int(text)
    elif text:
        found.leave(group.where(theirs), theirs, f"{text!r} is no whole number")


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0


def _list(text: str) -> list[str]:
    return [one.strip() for one in text.split(";") if one.strip()]


def _prefixes(text: str) -> list[str]:
    """In E.164 digits: a +, or 00, goes."""
    found = (re.sub(r"^(\+|00)", "", one) for one in _list(text))
    return list(dict.fromkeys(one for one in found if one.isdecimal()))


def _addresses(found: Found, group: Group, name: str) -> list[str]:
    """`10.0.0.*;192.0.2.7` as networks."""
    networks = []
    for one in _list(group.get(name)):
        parts = one.split(".")
        stars = sum(part == "*" for part in parts)
        try:
            if stars and parts[-stars:] != ["*"] * stars:
                raise ValueError
            whole = ".".join("0" if part == "*" else part for part in parts)
            network = str(ip_network(f"{whole}/{32 - 8 * stars}" if stars else whole))
        except ValueError:
            found.leave(group.where(name), name, f"{one!r} is no address or network")
            continue
        if network != "0.0.0.0/0":
            networks.append(network)
    return networks
