"""The settings of an account: one table of names, types, checks and helps, for every edge that takes them.

A setting has one value in three forms: in the Account, as JSON (admin verbs, the HTTP API, the audit trail),
and as text (the command line). `read` goes from JSON to the Account and refuses what cannot be, naming what
is allowed; `json` goes back, and what it gives `read` takes again. `from_text` and `to_text` are between JSON
and text.

Invariants: every field of an Account that an operator may choose is here and nowhere else; a secret setting
is taken and never told.

It imports nothing slow, because every `signalbox account` begins with it.

Deliberately not here: what belongs to one account only (gateway.accounts), who it is: name, keys, logins,
being suspended or closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

from config.apis import APIS

if TYPE_CHECKING:
    from router.nouns import Account

BIND_TYPES = ("transmitter", "receiver", "transceiver")
NUMBER_TYPES = (  # router.plans.KINDS
    "mobile", "fixed", "fixed_or_mobile", "toll_free", "premium", "shared", "voip", "personal", "pager",
    "uan", "voicemail", "unknown",
)  # fmt: skip
MOST_MEMBERS = 10_000  # of one distribution list

_MOST_ENTRIES = 1_000
_YEAR_S = 31_536_000
_NUMBER = re.compile(r"[0-9]{2,20}")
_PREFIX = re.compile(r"[0-9]{1,15}")
_SENDER = re.compile(r"[!-)+-~]([ -)+-~]{0,19}[!-)+-~])?\*?|\*")
_KEYWORD = re.compile(r"[0-9]{2,20} (?=.{1,32}$)[^\s,]+( [^\s,]+)*")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ADDRESS = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
_PASSWORD = re.compile(r"[ -~]{1,8}")
_CODE = re.compile(r"[!-~]{1,10}")
_GROUP = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_VALUE = re.compile(r"[ -~]{1,254}")
_LIST_NAME = re.compile(r"[!-<>-~]{1,20}")


class Wrong(Exception):
    """A value that a setting cannot have; says what is allowed."""


class WrongSettings(Exception):
    """`problems`: setting → what is wrong with its value and what is allowed."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


class Kind(NamedTuple):
    """What a setting's values are. `shape` is yes_no, one, many or pairs: how a command line takes it."""

    shape: str
    allowed: str
    read: Callable[[Any], object]  # JSON → the Account's. Errors: Wrong
    json: Callable[[Any], object]
    from_text: Callable[[str], object]  # of one occurrence on a command line
    schema: Mapping[str, object]  # JSON Schema of what `read` can take


class Setting(NamedTuple):
    """`name` is the field of Account; `none` says what an empty value (or 0) means."""

    name: str
    kind: Kind
    help: str
    none: str = ""
    secret: bool = False

    @property
    def allowed(self) -> str:
        return self.kind.allowed

    def read(self, value: object) -> object:
        """Errors: Wrong."""
        return self.kind.read(value)

    def json(self, account: Account) -> object:
        return self.kind.json(getattr(account, self.name))

    def from_texts(self, texts: Iterable[str]) -> object:
        """The JSON value of what a command line says, once or more often; an empty text is an empty value."""
        given = [text for text in texts if text.strip()]
        read = self.kind.from_text
        if self.kind.shape == "many":
            return [one for text in given for one in text.split(",") if one.strip()]
        if self.kind.shape == "pairs":
            return dict(_pair(text, read) for text in given)
        nothing = 0 if self.none and read is _number_from_text else ""
        return read(given[-1]) if given else nothing

    def to_text(self, value: Any) -> str:
        """A JSON value for people."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if not value and self.none:
            return self.none if isinstance(value, str | list | dict) else f"{value:g} ({self.none})"
        if isinstance(value, list):
            return ", ".join(map(str, value))
        if isinstance(value, dict):
            return "; ".join(f"{key}={_flat(one)}" for key, one in value.items())
        return f"{value:g}" if isinstance(value, float) else str(value)


def _pair(text: str, read: Callable[[str], object]) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    return key.strip(), read(value) if equals else None


def _flat(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


# kinds


def _same(value: Any) -> object:
    return value


def _listed(value: Iterable[object]) -> object:
    return list(value)


def _number_from_text(text: str) -> object:
    """What is no number stays text, for `read` to refuse."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _whole(low: int, high: int) -> Kind:
    allowed = f"a whole number from {low} to {high}"

    def read(value: Any) -> object:
        if type(value) is not int or not low <= value <= high:
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return value

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind("one", allowed, read, _same, _number_from_text, schema)


def _rate(high: int) -> Kind:
    allowed = f"a number a second from 0.01 to {high}, or 0 for no limit"

    def read(value: Any) -> object:
        if type(value) not in (int, float) or not (value == 0 or 0.01 <= value <= high):
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return float(value)

    schema = {"anyOf": [{"type": "number", "minimum": 0.01, "maximum": high}, {"const": 0}]}
    return Kind("one", allowed, read, _same, _number_from_text, schema)


def _money() -> Kind:
    """Micro-units in the Account, exact text elsewhere; 0 is told as an empty text."""
    allowed = 'an amount in the account\'s currency, such as "12.50", with at most 6 decimals'

    def read(value: Any) -> object:
        from router.money import micro

        try:
            amount = micro(value) if isinstance(value, str) and value else 0
        except ValueError:
            amount = -1
        if amount < 0 or not isinstance(value, str):
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return amount

    def json(value: int) -> object:
        from router.money import text

        return text(value) if value else ""

    return Kind("one", allowed, read, json, str.strip, {"type": "string", "maxLength": 20})


def _zone() -> Kind:
    allowed = "a time zone such as Europe/Berlin; empty for UTC"

    def read(value: Any) -> object:
        from zoneinfo import ZoneInfo

        try:
            if not isinstance(value, str) or (value and not ZoneInfo(value.strip())):
                raise ValueError
        except (ValueError, KeyError, OSError):
            raise Wrong(f"{_shown(value)} is not {allowed}") from None
        return value.strip()

    return Kind("one", allowed, read, _same, str.strip, {"type": "string", "maxLength": 64})


def _status() -> Kind:
    allowed = "a command_status for it, 0x0001 to 0x04FF, such as 0x0450; empty for none"

    def read(value: Any) -> object:
        try:
            status = int(value, 16) if isinstance(value, str) and value else 0
        except ValueError:
            status = -1
        if not isinstance(value, str) or not 0 <= status <= 0x4FF:
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return status

    def json(value: int) -> object:
        return f"0x{value:04X}" if value else ""

    return Kind("one", allowed, read, json, str.strip, {"type": "string", "maxLength": 10})


def _yes_no() -> Kind:
    def read(value: Any) -> object:
        if type(value) is not bool:
            raise Wrong(f"{_shown(value)} is neither true nor false")
        return value

    return Kind("yes_no", "true or false", read, _same, _same, {"type": "boolean"})


def _choice(*choices: str) -> Kind:
    allowed = "one of " + ", ".join(filter(None, choices)) + ("; empty for none" if "" in choices else "")

    def read(value: Any) -> object:
        if value not in choices or not isinstance(value, str):
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return value

    return Kind("one", allowed, read, _same, str.strip, {"enum": list(choices)})


def _named(enumeration: str, *words: str) -> Kind:
    """Members of an enumeration of router.nouns, stored by number and told by name."""
    choice = _choice(*words)

    def read(value: Any) -> object:
        from router import nouns

        return int(getattr(nouns, enumeration)[str(choice.read(value)).upper()])

    def json(value: int) -> object:
        from router import nouns

        return getattr(nouns, enumeration)(value).name.lower()

    return Kind("one", choice.allowed, read, json, str.strip, choice.schema)


def _many(allowed: str, read_one: Callable[[str], str], *, least: int = 0, most: int = _MOST_ENTRIES) -> Kind:
    """A list without repetitions, in the order given."""
    whole = f"a list of {f'1 to {most}' if least else f'at most {most}'}: {allowed}"

    def read(value: Any) -> object:
        if not isinstance(value, list | tuple):
            raise Wrong(f"{_shown(value)} is not {whole}")
        if not least <= len(value) <= most:
            raise Wrong(f"these are {len(value)}; {whole}")
        found = []
        for one in value:
            if not isinstance(one, str):
                raise Wrong(f"{_shown(one)} is not text; {whole}")
            found.append(_read_entry(one.strip(), read_one, allowed))
        return tuple(dict.fromkeys(found))

    schema = {"type": "array", "items": {"type": "string"}, "minItems": least, "maxItems": most}
    return Kind("many", whole, read, _listed, str.strip, schema)


def _read_entry(text: str, read_one: Callable[[str], str], allowed: str) -> str:
    try:
        return read_one(text)
    except ValueError:
        raise Wrong(f"{_shown(text)} is not allowed; {allowed}") from None


def _matching(pattern: re.Pattern[str], cleaned: Callable[[str], str] = _same) -> Callable[[str], str]:  # type: ignore[assignment]
    def read(text: str) -> str:
        clean = cleaned(text)
        if not pattern.fullmatch(clean):
            raise ValueError
        return clean

    return read


def _digits(text: str) -> str:
    return text.lstrip("+").replace(" ", "")


def _prefix(text: str) -> str:
    return _digits(text).removesuffix("*")


def _sender(text: str) -> str:
    """Numbers as messages have them: digits alone."""
    return _digits(text) if re.fullmatch(r"\+?[0-9][0-9 ]*\*?", text) else text


def _keyword(text: str) -> str:
    number, _, word = text.partition(" ")
    return f"{_digits(number)} {' '.join(word.split()).upper()}"


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _bind_type(text: str) -> str:
    if text not in BIND_TYPES:
        raise ValueError
    return text


def _api(text: str) -> str:
    if text not in APIS:
        raise ValueError
    return text


def _number_type(text: str) -> str:
    if text != "valid" and text not in NUMBER_TYPES:
        raise ValueError
    return text


def _region() -> Kind:
    allowed = "two letters of ISO 3166, such as GB; empty for none"

    def read(value: Any) -> object:
        from router.numbers import known_region

        if not isinstance(value, str) or (value and not known_region(value.strip().upper())):
            raise Wrong(f"{_shown(value)} is not {allowed}")
        return value.strip().upper()

    return Kind("one", allowed, read, _same, str.strip, {"type": "string"})


def _url() -> Kind:
    allowed = "http:// or https://, a host, and at most 2048 characters in all; empty for none"

    def read(value: Any) -> object:
        from gateway.callbacks.guard import Refused, parse_url

        if not isinstance(value, str):
            raise Wrong(f"{_shown(value)} is not {allowed}")
        try:
            if value:
                parse_url(value)
        except Refused as refused:
            raise Wrong(f"{_shown(value)}: {refused}; {allowed}") from None
        return value

    return Kind("one", allowed, read, _same, str.strip, {"type": "string", "maxLength": 2048})


def _text(allowed: str, pattern: re.Pattern[str]) -> Kind:
    """Also an empty one."""

    def read(value: Any) -> object:
        if not isinstance(value, str) or (value and not pattern.fullmatch(value)):
            raise Wrong(f"this is not {allowed}")
        return value

    return Kind("one", allowed, read, _same, _same, {"type": "string"})


def _pairs(
    allowed: str, key: re.Pattern[str], value_of: Callable[[Any], object], from_text: Callable[[str], object]
) -> Kind:
    def read(value: Any) -> object:
        if not isinstance(value, dict) or len(value) > _MOST_ENTRIES:
            raise Wrong(f"{_shown(value)} is not an object of at most {_MOST_ENTRIES}: {allowed}")
        for one in value:
            if not isinstance(one, str) or not key.fullmatch(one):
                raise Wrong(f"{_shown(one)} is not allowed; {allowed}")
        return {one: value_of(what) for one, what in value.items()}

    def json(value: Mapping[str, Any]) -> object:
        return {one: list(what) if isinstance(what, tuple) else what for one, what in value.items()}

    schema = {
        "type": "object",
        "propertyNames": {"pattern": f"^{key.pattern}$"},
        "maxProperties": _MOST_ENTRIES,
    }
    return Kind("pairs", allowed, read, json, from_text, schema)


def _error_codes() -> Kind:
    allowed = "REASON=CODE, such as no_route=11: a cause or reason of ours, 1 to 10 visible characters"

    def code(value: Any) -> object:
        if not isinstance(value, str) or not _CODE.fullmatch(value):
            raise Wrong(f"{_shown(value)} is no code; {allowed}")
        return value

    pairs = _pairs(allowed, _REASON, code, str.strip)

    def read(value: Any) -> object:
        from router.causes import Cause
        from router.nouns import Reason

        reasons = [*(str(cause) for cause in Cause), *(reason.name.lower() for reason in Reason)]
        codes = pairs.read(value)
        for one in value:
            if one not in reasons:
                raise Wrong(f"{one!r} is no reason; {allowed}. They are: {', '.join(dict.fromkeys(reasons))}")
        return codes

    return pairs._replace(read=read)


def _tlv_values() -> Kind:
    allowed = "NAME=VALUE, such as dlt_entity=1101234567890123456: a word, 1 to 254 visible characters"

    def value(given: Any) -> object:
        if not isinstance(given, str) or not _VALUE.fullmatch(given):
            raise Wrong(f"{_shown(given)} is no value; {allowed}")
        return given

    return _pairs(allowed, _REASON, value, str.strip)


def _lists() -> Kind:
    allowed = f"NAME=NUMBER,NUMBER…: a name of 1 to 20 visible characters, 1 to {MOST_MEMBERS} numbers"
    members = _many(
        "numbers in digits, with country code", _matching(_NUMBER, _digits), least=1, most=MOST_MEMBERS
    )

    def from_text(text: str) -> object:
        return [one.strip() for one in text.split(",") if one.strip()]

    return _pairs(allowed, _LIST_NAME, members.read, from_text)


def _shown(value: object) -> str:
    """What was given, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]


# the table

_NO_LIMIT = "no limit"

SETTINGS: tuple[Setting, ...] = (
    # callbacks
    Setting("callback_url", _url(), "Where receipts and inbound messages are POSTed.", "none"),
    Setting("mo_url", _url(), "Where inbound messages go, if elsewhere.", "callback_url"),
    Setting(
        "callback_format",
        _choice("standard", "cloudevents", "kannel", "jasmin", "twilio", "vonage"),
        "How callbacks look; with kannel the URLs are templates.",
    ),
    Setting(
        "callback_method",
        _choice("", "get", "post", "json"),
        "How jasmin and vonage callbacks are sent; empty: jasmin by post, vonage by json.",
        "the format's usual one",
    ),
    Setting(
        "callback_signature",
        _choice("", "md5hash", "md5", "sha1", "sha256", "sha512"),
        "How vonage callbacks are signed.",
        "unsigned",
    ),
    Setting("callback_batch", _whole(1, 100), "Events in one POST, for standard and cloudevents."),
    Setting("private_callbacks", _yes_no(), "Whether callbacks may go to loopback and private addresses."),
    # inbound
    Setting(
        "numbers",
        _many("numbers in digits: a short code, or E.164 such as 447700900123", _matching(_NUMBER, _digits)),
        "Inbound numbers it owns.",
        "none",
    ),
    Setting(
        "keywords",
        _many('a number, a blank and one or more words, such as "12345 STOP"', _matching(_KEYWORD, _keyword)),
        "Inbound messages to a shared number that begin with the word are its own.",
        "none",
    ),
    Setting(
        "mos_via", _choice("auto", "smpp", "http"), "How inbound messages reach it; auto: http with a URL."
    ),
    Setting(
        "apis",
        _many(", ".join(APIS), _api, most=len(APIS)),
        "Other APIs that its apps may speak, where a listener has them.",
        "none",
    ),
    # the queue
    Setting("weight", _whole(1, 1_000), "Its share beside other accounts."),
    Setting("max_queued", _whole(1, 1_000_000_000), "Messages it may have waiting; then ESME_RMSGQFUL, 429."),
    Setting("max_priority", _whole(0, 3), "The highest priority its messages get."),
    # binds
    Setting(
        "allowed_addresses",
        _many("networks such as 192.0.2.0/24, 198.51.100.7 or 2001:db8::/32", _network),
        "From where it may bind.",
        "from anywhere",
    ),
    Setting(
        "bind_types",
        _many("transmitter, receiver, transceiver", _bind_type, least=1, most=3),
        "How it may bind.",
    ),
    Setting("max_binds", _whole(1, 10_000), "Binds at a time."),
    Setting(
        "when_binds_full",
        _choice("refuse", "takeover"),
        "A bind beyond max_binds: refuse it, or end the stalest for it.",
    ),
    Setting("window", _whole(1, 10_000), "Requests unanswered on each bind, in each direction."),
    Setting("tps", _rate(1_000_000), "Submits a second over all its binds, and HTTP.", _NO_LIMIT),
    Setting(
        "tps_mode",
        _choice("refuse", "pace"),
        "Beyond tps: refuse with ESME_RTHROTTLED, or answer at that rate.",
    ),
    Setting(
        "burst",
        _whole(0, 1_000_000),
        "Submits that may come at once, within tps.",
        "a second's worth",
    ),
    # how fast what was accepted leaves
    Setting("send_tps", _rate(1_000_000), "Segments a second that carriers take of it, over all.", _NO_LIMIT),
    Setting("send_per_minute", _whole(0, 1_000_000_000), "The same in any minute.", _NO_LIMIT),
    Setting("send_per_hour", _whole(0, 1_000_000_000), "The same in any hour.", _NO_LIMIT),
    Setting("send_per_day", _whole(0, 1_000_000_000), "The same in any 24 hours.", _NO_LIMIT),
    # what it may submit, and where it goes
    Setting(
        "rate_card",
        _text("the name of a table of rates, as table import gave it; empty for none", _GROUP),
        "What it pays for a segment, for previews and guards.",
        "not known",
    ),
    Setting(
        "billing",
        _choice("off", "prepaid", "postpaid"),
        "Whether it pays, from what was put in (prepaid) or later; needs a currency and a rate card.",
    ),
    Setting(
        "currency", _text("three letters, such as EUR; empty for none", _CURRENCY), "What it pays in.", "none"
    ),
    Setting(
        "charge",
        _named("Charge", "accepted", "sent", "delivered"),
        "When a segment is owed; what is reserved for others comes back.",
    ),
    Setting(
        "overdraft_limit",
        _money(),
        "How far below 0 its balance may go.",
        "prepaid not below 0, postpaid without end",
    ),
    Setting(
        "low_balance", _money(), "The balance below which it is told (account.low_balance).", "never told"
    ),
    Setting("cap_per_day", _money(), "The most it spends in a day.", _NO_LIMIT),
    Setting("cap_per_month", _money(), "The most it spends in a month.", _NO_LIMIT),
    Setting("quota_per_day", _whole(0, 1_000_000_000), "Messages that it may submit in a day.", _NO_LIMIT),
    Setting(
        "quota_per_month", _whole(0, 1_000_000_000), "Messages that it may submit in a month.", _NO_LIMIT
    ),
    Setting("billing_zone", _zone(), "Whose days and months those are.", "UTC"),
    Setting(
        "unpaid_status",
        _status(),
        "What SMPP answers where money or quota is missing.",
        "ESME_RSUBMITFAIL",
    ),
    Setting(
        "group",
        _text("a name of 1 to 63 letters, digits, dots, dashes and underscores; empty for none", _GROUP),
        "By which [[routes]] tell accounts apart.",
        "none",
    ),
    Setting(
        "senders",
        _many(
            "a number, or up to 21 characters; a * at the end for all that begin so",
            _matching(_SENDER, _sender),
        ),
        "Senders it may use.",
        "all",
    ),
    Setting(
        "destinations",
        _many("the first digits of numbers with their country code, such as 44", _matching(_PREFIX, _prefix)),
        "Where it may send.",
        "everywhere",
    ),
    Setting(
        "default_region",
        _region(),
        "Whose numbers those without a country code are, as GB.",
        "the configuration's",
    ),
    Setting(
        "allowed_number_types",
        _many("valid (all but unknown), " + ", ".join(NUMBER_TYPES), _number_type),
        "Types of numbers it may send to.",
        "the configuration's",
    ),
    Setting("validity_default_s", _whole(0, _YEAR_S), "Validity where none is given.", "the configuration's"),
    Setting("validity_max_s", _whole(0, _YEAR_S), "The longest validity.", "the configuration's"),
    Setting(
        "duplicate_guard_s",
        _whole(0, 86_400),
        "Same sender, recipient, text and reference within it: the earlier id.",
        "off",
    ),
    Setting(
        "message_class",
        _named("MessageClass", "otp", "transactional", "promotional", "bulk"),
        "The class of what it submits over SMPP.",
    ),
    Setting("alphabet", _choice("gsm7", "latin1"), "What its data_coding 0 means."),
    Setting(
        "smart_encoding",
        _yes_no(),
        "Replace typographic quotes, dashes, accents… by GSM 7-bit's where that saves segments.",
    ),
    Setting(
        "tlv_values",
        _tlv_values(),
        "What carriers add to its messages by [[carriers.tlvs]] rules with from_account.",
        "none",
    ),
    Setting(
        "parts_timeout",
        _choice("send", "fail"),
        "A long message whose parts did not all come: send those that did, or fail.",
    ),
    # receipts
    Setting(
        "receipt_default",
        _named(
            "ReceiptWish",
            "none",
            "final",
            "all",
            "failure",
            "success",
            "failure_all",
            "success_all",
            "intermediate",
        ),
        "Receipts of a message that does not say.",
    ),
    Setting(
        "no_receipt_state",
        _named("MessageState", "expired", "unknown"),
        "How a message ends whose receipt never came.",
    ),
    Setting("per_part_receipts", _yes_no(), "Whether each part of a long message is told of, too."),
    Setting("correction_events", _yes_no(), "Whether it hears of a receipt that contradicts the final one."),
    Setting("receipts_via", _choice("same", "smpp", "http"), "How receipts reach it; same: as it submitted."),
    Setting(
        "id_form",
        _choice("decimal", "hex", "short"),
        "Message ids over SMPP; short: 8 hexadecimal digits.",
    ),
    Setting(
        "receipt_layout",
        _choice("standard", "seconds"),
        "Text of receipts over SMPP; seconds: dates with them.",
    ),
    Setting("receipt_error_form", _choice("dec3", "hex"), "Error codes in receipts over SMPP."),
    Setting(
        "error_codes", _error_codes(), "The code it expects in err: for our reasons.", "the carrier's own"
    ),
    Setting("receipt_tlvs", _yes_no(), "Whether receipts over SMPP carry TLVs."),
    # deliveries over SMPP
    Setting("deliver_with", _choice("deliver_sm", "data_sm"), "The PDU that receipts and messages come in."),
    Setting("deliver_rate", _rate(1_000_000), "Of those a second over all its binds.", _NO_LIMIT),
    Setting("deliver_expiry_s", _whole(1, _YEAR_S), "How long what it was not bound for is kept."),
    Setting(
        "outbind",
        _text("a host and a port, such as smsc.example:2776; empty for none", _ADDRESS),
        "Where it is called when it is not bound and has something to hear.",
        "none",
    ),
    Setting(
        "outbind_password",
        _text("up to 8 printable ASCII characters", _PASSWORD),
        "By which it knows us then.",
        "none",
        secret=True,
    ),
    Setting("lists", _lists(), "Distribution lists for submit_multi.", "none"),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def read_settings(given: Mapping[str, object]) -> dict[str, object]:
    """Fields of an Account from JSON values. Errors: WrongSettings, with everything that is wrong."""
    problems: dict[str, str] = {}
    fields: dict[str, object] = {}
    for name, value in given.items():
        setting = BY_NAME.get(name)
        if setting is None:
            problems[name] = "there is no such setting; there are: " + ", ".join(BY_NAME)
            continue
        try:
            fields[name] = setting.read(value)
        except Wrong as wrong:
            problems[name] = str(wrong)
    if problems:
        raise WrongSettings(problems)
    return fields


def check_together(account: Account) -> None:
    """Settings that are right one by one. Errors: WrongSettings."""
    default_s, most_s = account.validity_default_s, account.validity_max_s
    if most_s and default_s > most_s:
        raise WrongSettings({"validity_default_s": f"{default_s} is more than validity_max_s, {most_s}"})
    if account.billing != "off":
        needed = {"currency": account.currency, "rate_card": account.rate_card}
        missing = {name: f"billing {account.billing} needs it" for name, value in needed.items() if not value}
        if missing:
            raise WrongSettings(missing)


def view_of(account: Account) -> dict[str, object]:
    """All settings as JSON values, without the secret ones."""
    return {setting.name: setting.json(account) for setting in SETTINGS if not setting.secret}


def secrets_of(account: Account) -> list[str]:
    """Which secret settings it has."""
    return [setting.name for setting in SETTINGS if setting.secret and getattr(account, setting.name)]
