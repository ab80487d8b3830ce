"""What an operator may write, as frozen types: every key with its default, its limits and its words.

docs/configuration.md is generated from this file, and config.load reads by it, so a key is declared once.
Times end in _s (seconds), sizes say their unit. TPS, windows and parts count segments (submit_sm PDUs).

Invariants: a value of these types that came from `load` is complete and consistent; secrets do not show in
a repr; nothing changes after loading.

A key that is a word of Python ends in _ here (`class_`), and has none in the file.

Deliberately not here: reading TOML (config.load, config.reader), rules between keys (config.rules).
"""

# ruff: noqa: RUF009 -- key() and table() declare fields, as dataclasses.field does

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from config.apis import APIS
from router.causes import Cause, Causes
from router.health import Limits as HealthLimits
from router.judge import Fate, Judging, OnReceipt, Refusal
from router.lanes import MAX_CARRIERS
from router.plans import KINDS, VALID
from router.rules import ANY, SENDER_TYPES, TEXT_LOOKED_AT, Match, Window
from router.throttle import Limits
from smpp.national import LANGUAGES
from smpp.segment import CARRIER_ALPHABETS

T = TypeVar("T")
REQUIRED: Any = dataclasses.MISSING
CLASSES = ("otp", "transactional", "promotional", "bulk")
SHIFTS = ("none", "single", "locking", "both")
ENCODINGS = ("gsm7", "latin1", "ucs2", "binary")
NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
RETRY_S: tuple[float, ...] = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


@dataclass(frozen=True)
class Words:
    """What is known of a key beyond its type. `low` and `high` are inclusive; `pattern` matches whole."""

    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    secret: bool = False
    path: bool = False  # a relative path is resolved against the configuration's place


def key(
    default: T,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str = "",
    secret: bool = False,
    path: bool = False,
) -> T:
    """Declare a key; REQUIRED as default means that it must be given. Really a dataclass field."""
    words = Words(doc, low, high, choices, pattern, secret, path)
    made: Any = dataclasses.field(default=default, metadata={"words": words}, repr=not secret)
    return made  # type: ignore[no-any-return]


def table(kind: type[T], doc: str) -> T:
    """Declare a nested table that may be left out."""
    made: Any = dataclasses.field(default_factory=kind, metadata={"words": Words(doc)})
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Address:
    """`host:port`; an IPv6 host in brackets when written."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """`[gateway]`: the process."""

    data_dir: Path = key(
        Path("var"),
        "Where the store and the admin socket live. A local file system, not NFS. `--data-dir` overrides it.",
        path=True,
    )
    demo: bool = key(
        False, "Creates the account `demo` at the first start, allowed to post callbacks to this machine."
    )
    default_region: str = key(
        "",
        "Two letters, as `GB`: numbers without a country code are read as numbers of this country. "
        "Empty: every number needs its country code.",
        pattern="|[A-Z]{2}",
    )
    overflow_after_s: float = key(
        5.0,
        "A lower choice of a lane takes messages when the oldest has waited this long, "
        "or when no higher choice is able.",
        low=0,
        high=86_400,
    )
    rest_elsewhere_after_s: float = key(
        60.0,
        "The rest of a long message waits so long for the carrier that accepted its first parts while that "
        "one is out; then another carrier of the lane gets all of it. An OTP waits for nothing.",
        low=0,
        high=604_800,
    )
    drain_timeout_s: float = key(
        20.0, "How long SIGTERM waits for open windows before it closes the sessions.", low=0, high=3600
    )
    watchdog_s: float = key(
        60.0,
        "Messages, callbacks or commits that have not moved for so long, without a reason such as no bind or "
        "a full window, are logged as an error and shown as signalbox_stalled. 0 = nobody looks.",
        low=0,
        high=86_400,
    )


LEVELS = ("debug", "info", "warning", "error")
# Parts of the gateway as their records name them; a test holds this to what they call themselves.
COMPONENTS = (
    *("admin", "audit", "callbacks", "carrier", "cdr", "committer", "console", "figures", "gateway"),
    *("health", "http", "inbound", "keys", "numbers", "oidc", "orders", "privacy", "probes"),
    *("reload", "replan", "search", "sending", "sessions", "simulator", "smpp", "spent", "telemetry"),
    *("timers", "tls", "trace", "troubles", "watchdog"),
)


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """`[log]`: what the gateway says about itself, a record for each fact (operations.md)."""

    level: str = key("info", "How much is logged.", choices=LEVELS)
    levels: dict[str, str] = dataclasses.field(
        default_factory=dict,
        metadata={
            "words": Words(
                f'Another level for a part of the gateway, as `carrier = "debug"`: {", ".join(COMPONENTS)}.',
                choices=LEVELS,
            )
        },
    )
    format: str = key(
        "auto",
        "`json`: one object a line; `text`: for people; `auto`: text on a terminal, json elsewhere.",
        choices=("auto", "text", "json"),
    )
    file: str = key("", "Where records go; empty: to stderr, for the service manager to keep.", path=True)
    rotate_mb: float = key(
        100.0,
        "`file` is renamed to `file.1`, and a new one begun, at this size in MiB; 0 = never, where logrotate "
        "moves it away.",
        low=0,
        high=100_000,
    )
    keep_files: int = key(10, "Renamed files that are kept.", low=1, high=1_000)
    max_waiting: int = key(
        10_000,
        "Records that wait for a slow disk or a slow reader of stderr; more are dropped, and counted.",
        low=100,
        high=1_000_000,
    )


_APIS = "|".join(APIS)


@dataclass(frozen=True, kw_only=True)
class AppsConfig:
    """`[[http.apps]]`: further addresses, with nothing but APIs of other gateways (apps.md)."""

    listen: tuple[Address, ...] = key((), "Addresses to listen on.")
    listen_tls: tuple[Address, ...] = key((), "Addresses to listen on with TLS, with [http]'s certificate.")
    apis: tuple[str, ...] = key(REQUIRED, f"Those that they have: {', '.join(APIS)}.", pattern=_APIS)


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """`[http]`: the API, /metrics, /healthz, and what a peer may make grow."""

    listen: tuple[Address, ...] = key(
        (Address("127.0.0.1", 8080),), "Addresses to listen on without TLS; `[]`: none."
    )
    listen_tls: tuple[Address, ...] = key((), "Addresses to listen on with TLS 1.2 or later.")
    tls_cert_file: str = key("", "Certificate chain, PEM; read again when the file changes.", path=True)
    tls_key_file: str = key("", "Its private key, PEM, when not in the same file.", path=True)
    tls_client_ca_file: str = key("", "Clients must show a certificate that one of these signed.", path=True)
    apis: tuple[str, ...] = key(
        (),
        f"APIs of other gateways beside ours, for apps that speak them: {', '.join(APIS)} (apps.md). "
        "Accounts need leave, too (`signalbox account set NAME --apis …`).",
        pattern=_APIS,
    )
    apps: tuple[AppsConfig, ...] = key((), "Further addresses with such APIs alone.")
    max_batch: int = key(1_000, "Messages in one `POST /v1/messages/batch`.", low=1, high=1_000)
    explain_to_accounts: bool = key(
        False,
        "Whether an account's key may ask `POST /v1/routes/explain` for itself; the answer names its route "
        "and carriers, and no other route. Operators' keys always may.",
    )
    max_connections: int = key(
        1_000,
        "Open connections. One more ends the one idle for longest; where none is idle, it is refused.",
        low=1,
        high=100_000,
    )
    max_connections_per_address: int = key(
        200, "The same for one address (IPv6: one /64). A reverse proxy is one address.", low=1, high=100_000
    )
    max_pipelined: int = key(64, "Unanswered requests on one connection.", low=1, high=1_000)
    max_body_bytes: int = key(1_048_576, "Longest body of a request.", low=1_024, high=67_108_864)
    max_head_bytes: int = key(16_384, "Longest request line and headers together.", low=1_024, high=1_048_576)
    max_target_bytes: int = key(8_192, "Longest request target.", low=256, high=65_536)
    max_headers: int = key(100, "Header fields in one request.", low=8, high=1_000)
    max_unsent_bytes: int = key(
        1_048_576, "Answers that a peer has not taken; above it nothing more is read from it.", low=65_536
    )
    head_timeout_s: float = key(10.0, "From the first byte of a request to the end of its head.", low=0.1)
    body_timeout_s: float = key(30.0, "From the end of the head to the end of the body.", low=0.1)
    idle_timeout_s: float = key(75.0, "Between two requests.", low=0.1)
    write_timeout_s: float = key(30.0, "For a peer to take 64 KiB of answers.", low=0.1)
    stop_timeout_s: float = key(10.0, "For answers under way at shutdown.", low=0)


@dataclass(frozen=True, kw_only=True)
class SmppConfig:
    """`[smpp]`: our SMSC side, to which customers bind."""

    listen: tuple[Address, ...] = key((), "Addresses to listen on without TLS, IPv4 or [IPv6].")
    listen_tls: tuple[Address, ...] = key((), "Addresses to listen on with TLS 1.2 or later.")
    tls_cert_file: str = key("", "Certificate chain, PEM; read again when the file changes.", path=True)
    tls_key_file: str = key("", "Its private key, PEM, when not in the same file.", path=True)
    tls_client_ca_file: str = key("", "Clients must show a certificate that one of these signed.", path=True)
    proxy_from: tuple[str, ...] = key(
        (), "Proxies (CIDR) whose PROXY protocol header is required and believed; nobody else's is."
    )
    system_id: str = key("Signalbox", "What we call ourselves in bind responses.", pattern="[!-~]{1,15}")
    version: int = key(0x50, "Highest SMPP version we speak: 0x34 or 0x50.", low=0x34, high=0x50)
    bind_timeout_s: float = key(10.0, "From connect to a complete bind.", low=0.1)
    max_connections: int = key(10_000, "Sockets, bound and unbound.", low=1)
    max_unbound_per_address: int = key(
        100, "Sockets of one address (IPv6: one /64) that are not bound yet.", low=1
    )
    max_pdu_bytes: int = key(65_552, "Longest PDU of a bound peer; 4 KiB before the bind.", low=1024)
    enquire_link_s: float = key(30.0, "Silence after which we send enquire_link; 0 = never.", low=0)
    response_timeout_s: float = key(30.0, "For a customer to answer a deliver_sm.", low=0.1)
    inactivity_timeout_s: float = key(0.0, "Without any message we unbind; 0 = never.", low=0)
    parts_timeout_s: float = key(10.0, "How long parts of a long message wait for each other.", low=0.1)
    lock_failures: int = key(10, "Wrong passwords in a row that lock a system_id for one address.", low=1)
    lock_address_failures: int = key(50, "Wrong passwords in a row that lock an address out.", low=1)
    lock_s: float = key(60.0, "How long a lock lasts; it ends by itself.", low=0.1)
    trusted_from: tuple[str, ...] = key((), "Addresses (CIDR) that are never locked out.")


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """`[store]`: the durable queue."""

    map_size_gb: float = key(
        256.0, "Most the hot environment may ever take: address space, not disk.", low=0.01, high=16_384
    )
    accept_watermark: float = key(
        0.8,
        "Share of the map above which new work is refused; the rest is kept for state changes.",
        low=0.1,
        high=0.98,
    )
    min_free_disk_mb: int = key(512, "New work is refused when the disk has less free.", low=0)
    max_queued: int = key(
        50_000_000, "Messages waiting over all accounts; above it new work is refused.", low=1
    )
    archive_after_s: int = key(600, "A finished message moves to its day's archive after so long.", low=0)
    retention_days: int = key(
        30,
        "Days' archives go after so many days; and the rest where `[retention]` does not say otherwise.",
        low=1,
        high=3_660,
    )
    writer: str = key(
        "split",
        "How commits run: `split` puts in the loop, begin and fsync in a thread; "
        "`inline` all in the loop (tests).",
        choices=("split", "inline"),
    )


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    """`[retention]`: how long each kind of data is kept (privacy.md). Messages as a whole, and what has 0
    here, go by `[store] retention_days`; call detail records by `[cdrs] retention_days`.
    """

    texts_h: float = key(
        0.0,
        "Texts go so many hours after their message was accepted, once it has ended; its facts stay. "
        "0: with the message.",
        low=0,
        high=87_840,
    )
    mos_days: int = key(0, "Inbound messages.", low=0, high=3_660)
    given_up_days: int = key(0, "Callbacks that nobody took.", low=0, high=3_660)
    unmatched_days: int = key(0, "Receipts that belong to no message.", low=0, high=3_660)
    requests_h: float = key(
        24.0, "Requests that were carried out, by their Idempotency-Keys.", low=0.1, high=720
    )


@dataclass(frozen=True, kw_only=True)
class ReceiptsConfig:
    """`[receipts]`: matching carriers' receipts (DLRs) to messages."""

    grace_s: int = key(
        3_600, "Without a receipt, the final state is made this long after the validity ended.", low=0
    )
    window_h: int = key(73, "How long a carrier's message id stays matchable.", low=1, high=744)
    park_s: int = key(300, "How long a receipt that came before the response waits for it.", low=1)
    claim_window_h: float = key(
        6.0, "A receipt may claim a message of unknown outcome that was sent within these hours.", low=0
    )


@dataclass(frozen=True, kw_only=True)
class MessagesConfig:
    """`[messages]`: what may be submitted, and how inbound messages find theirs."""

    validity_default_s: int = key(86_400, "Validity of a message that names none.", low=1)
    max_validity_s: int = key(604_800, "Longest validity that may be asked for.", low=1)
    max_schedule_s: int = key(7_776_000, "How far ahead `send_at` may lie.", low=0)
    max_parts: int = key(10, "Most segments of one message.", low=1, high=255)
    mo_match_days: float = key(
        3.0,
        "An inbound message answers the latest message to that number within so many days.",
        low=0,
        high=31,
    )
    mo_parts_timeout_s: float = key(
        1_200.0,
        "Parts of a long inbound message that are here after so long are delivered as they are.",
        low=1,
    )


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    """`[telemetry]`: spans of messages for a collector of OpenTelemetry's (operations.md). Needs the packages
    of `pip install "signalbox[telemetry]"`.
    """

    otlp_endpoint: str = key(
        "",
        "Where spans are POSTed, as `http://127.0.0.1:4318/v1/traces`. Empty: nothing is sent, or imported.",
        pattern=r"|https?://[^\s/]+(/\S*)?",
    )
    sample: float = key(1.0, "Share of messages whose spans are sent.", low=0, high=1)
    max_per_s: int = key(
        200, "Messages a second at most; others are dropped, and counted.", low=1, high=10_000
    )
    service_name: str = key("signalbox", "`service.name` of all spans.", pattern=r"[ -~]{1,64}")
    headers: tuple[str, ...] = key(
        (), "`name=value` that each request has, say a collector's key.", pattern=r"[!-<>-~]+=.+", secret=True
    )
    timeout_s: float = key(10.0, "For a request, with its repetitions.", low=0.1, high=60)
    ca_file: str = key("", "PEM file of certificate authorities; empty: those of the packages.", path=True)


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """`[audit]`: the trail of who did what (audit.md)."""

    head_file: str = key(
        "",
        "Where the newest entry's number and hash are noted once a day and at a stop, outside the store; "
        "`audit verify` compares. Empty: `audit.heads` in the data directory.",
        path=True,
    )


@dataclass(frozen=True, kw_only=True)
class InboundConfig:
    """`[inbound]`: whose inbound messages are. First the account with the number and a keyword that the text
    begins with, then the one with the number, then the sender of the message that is answered.
    """

    fallback_account: str = key(
        "",
        "The account that gets what is nobody's. Empty: it is kept; `signalbox inbox --unowned` shows it.",
        pattern=f"|{NAME}",
    )


@dataclass(frozen=True, kw_only=True)
class AccountsConfig:
    """`[accounts]`: what a new account starts with; each can be changed for one account."""

    weight: int = key(1, "Share among accounts of one priority.", low=1, high=1_000)
    max_queued: int = key(5_000_000, "Messages of one account that may wait.", low=1)
    receipt_default: str = key(
        "final", "Receipts of a message that does not say.", choices=("none", "final", "all")
    )
    no_receipt_state: str = key(
        "expired", "Final state when no receipt ever came.", choices=("expired", "unknown")
    )


@dataclass(frozen=True, kw_only=True)
class CallbacksConfig:
    """`[callbacks]`: receipts and inbound messages as signed JSON POSTs."""

    timeout_s: float = key(15.0, "From the first byte sent to the whole answer.", low=0.1, high=300)
    connect_timeout_s: float = key(5.0, "For the connection and its TLS handshake.", low=0.1, high=60)
    concurrency_per_endpoint: int = key(
        8, "Requests under way at one origin of one account.", low=1, high=256
    )
    max_connections: int = key(256, "Connections over all endpoints.", low=1, high=10_000)
    retry_s: tuple[float, ...] = key(
        RETRY_S,
        "Waits between attempts; after the last the event is given up, and kept for the retention.",
        low=0,
    )
    jitter: float = key(0.1, "Each wait times 1 ± this.", low=0, high=0.9)
    retry_after_cap_s: float = key(86_400.0, "Longest `Retry-After` that is obeyed.", low=0)
    breaker_failures: int = key(5, "Failures in a row after which an endpoint is only probed.", low=1)
    allow_private: bool = key(
        False,
        "Allows loopback and private addresses for every account. Leave it off: it opens your network to "
        "whoever may set a callback URL.",
    )
    ca_file: str = key("", "PEM file of certificate authorities; empty: the system's.", path=True)


@dataclass(frozen=True, kw_only=True)
class OidcConfig:
    """`console.oidc`: signing in through an OpenID provider, beside passwords. Off without `issuer`."""

    issuer: str = key(
        "",
        "Whose ID tokens count, exactly as they say it: `https://login.example.net`. Empty: nobody's.",
        pattern=r"(https?://[!-~]+)?",
    )
    client_id: str = key("", "As the provider gave it.", pattern=r"[ -~]{0,256}")
    client_secret: str = key(
        "", "As the provider gave it, best as `${env:NAME}`. Empty: none, PKCE alone.", secret=True
    )
    scopes: tuple[str, ...] = key(
        ("openid", "profile", "email"), "What it is asked for.", pattern=r"[!-~]{1,64}"
    )
    name_claim: str = key(
        "email",
        "The claim that names an operator here; an address must be a verified one.",
        pattern=r"[!-~]{1,64}",
    )
    role_claim: str = key("groups", "The claim, a word or a list, that roles go by.", pattern=r"[!-~]{1,64}")
    roles: dict[str, str] = dataclasses.field(
        default_factory=dict,
        metadata={
            "words": Words(
                'Whose members are what: `"noc" = "operator"`. The first line that fits decides; whom none '
                "fits is not let in.",
                choices=("owner", "operator", "support", "auditor"),
            )
        },
    )
    hosts: tuple[str, ...] = key(
        (),
        "Hosts beside the issuer's own that its endpoints may be on.",
        pattern=r"[A-Za-z0-9.:\[\]-]{1,255}",
    )
    timeout_s: float = key(10.0, "For each of its answers.", low=0.1, high=60)
    ca_file: str = key("", "PEM file of certificate authorities; empty: the system's.", path=True)


@dataclass(frozen=True, kw_only=True)
class ConsoleConfig:
    """`[console]`: people in a browser, and how they sign in."""

    public_url: str = key(
        "",
        "How browsers reach us, as `https://sms.example.net`: for links, and for `console.oidc`. With https, "
        "cookies go over TLS only.",
        pattern=r"(https?://[A-Za-z0-9.:\[\]-]+)?",
    )
    secure_cookies: bool = key(
        False, "Cookies go over TLS only, also where a proxy ends it and we see none of it."
    )
    proxy_from: tuple[str, ...] = key(
        (),
        "Addresses (CIDR) of proxies before us, whose `X-Forwarded-For` says where a browser is. Without it "
        "all browsers behind a proxy count as one address.",
    )
    session_idle_s: float = key(3_600.0, "A session unused for so long ends.", low=60, high=604_800)
    session_max_s: float = key(
        43_200.0, "A session ends after so long, however used.", low=60, high=2_592_000
    )
    trusted_from: tuple[str, ...] = key((), "Addresses (CIDR) that are never locked out.")
    oidc: OidcConfig = table(OidcConfig, "Signing in through an OpenID provider.")


@dataclass(frozen=True, kw_only=True)
class LookupConfig:
    """`numbers.lookup`: a web service (HLR, MNP) that is asked where a route asks for a number's network."""

    url: str = key(
        "",
        "A GET of it, `{number}` being the number in digits, as `https://hlr.example/v1/{number}`. Empty: "
        "nobody is asked.",
        secret=True,
    )
    header: str = key(
        "",
        "One more header, as `Authorization: Bearer ${env:HLR_KEY}`.",
        pattern=r"|[!-9;-~]+: [ -~]+",
        secret=True,
    )
    pointer: tuple[str, ...] = key(
        ("/mccmnc",),
        "Where the answer, JSON, has the MCC and MNC (RFC 6901); several are joined, as `/mcc` and `/mnc`. "
        "Nothing there, or 404: not known.",
        pattern="/.*",
    )
    deadline_s: float = key(1.0, "How long a message waits for it at most.", low=0.01, high=10)
    ttl_s: float = key(86_400.0, "How long an answer is remembered.", low=1)
    unknown_ttl_s: float = key(3_600.0, "The same where the service did not know.", low=1)
    max_cached: int = key(100_000, "Answers that are remembered.", low=1, high=10_000_000)
    concurrency: int = key(8, "Requests under way, each on a connection of its own.", low=1, high=256)
    max_waiting: int = key(
        10_000, "Numbers that wait; beyond it messages go on with what the tables say.", low=1, high=1_000_000
    )
    breaker_failures: int = key(5, "Failures in a row after which the service is left alone.", low=1)
    breaker_pause_s: float = key(
        5.0, "For so long; twice as long after each probe that failed, at most 16 times.", low=0.1, high=3600
    )
    allow_private: bool = key(False, "Whether it may have a loopback or private address.")
    ca_file: str = key("", "PEM file of certificate authorities; empty: the system's.", path=True)


@dataclass(frozen=True, kw_only=True)
class NumbersConfig:
    """`[numbers]`: which recipients are taken, and what is known about them (numbers.md)."""

    allowed_types: tuple[str, ...] = key(
        (),
        "Number types that accounts without `allowed_number_types` of their own may send to; `valid` is all "
        "but unknown. Empty: every number that is possible.",
        choices=(VALID, *KINDS),
    )
    prefix_table: str = key(
        "",
        "A table of prefixes (`signalbox table import prefix NAME FILE`): which network a number is of.",
        pattern=f"|{NAME}",
    )
    mnp_table: str = key(
        "",
        "A table of ported numbers (`signalbox table import mnp NAME FILE`); it goes before `prefix_table`.",
        pattern=f"|{NAME}",
    )
    lookup: LookupConfig = table(LookupConfig, "A web service that knows more than the tables.")


@dataclass(frozen=True, kw_only=True)
class CdrsConfig:
    """`[cdrs]`: a record of each attempt and of each final state, in files (money.md)."""

    enabled: bool = key(False, "Whether they are written.")
    csv: bool = key(False, "Whether as CSV, too, beside the JSON lines.")
    rotate_mb: float = key(64.0, "A file is whole when it is this large, in MiB.", low=0.001, high=4_096)
    rotate_s: int = key(3_600, "And at this age, if it has a record.", low=1, high=86_400)
    retention_days: int = key(400, "Whole files go after this.", low=1, high=36_500)


_RESEND = ("resend", "hold")


@dataclass(frozen=True, kw_only=True)
class UnknownConfig:
    """`[unknown]` for all carriers, `carriers.unknown` for one: what to do when the outcome of a submit is
    unknown, because the link was lost or no response came. A carrier's own table goes before the common
    one. `resend` may deliver twice; `hold` waits for a receipt until the validity ends, and may not deliver
    at all.
    """

    otp: str = key("resend", "For class otp: at once.", choices=_RESEND)
    transactional: str = key("resend", "For class transactional.", choices=_RESEND)
    promotional: str = key("resend", "For class promotional.", choices=_RESEND)
    bulk: str = key("resend", "For class bulk.", choices=_RESEND)
    resend_after_s: float = key(60.0, "How long all but otp wait for a late response or a receipt.", low=0)
    otp_resend_after_s: float = key(0.0, "The same for otp.", low=0)


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """`carriers.retry`: after a temporary refusal. `python -m router.judge` prints the whole table."""

    max_attempts: int = key(
        10,
        "Attempts that count; then the message is UNDELIVERABLE. 0 = until its validity ends; then EXPIRED.",
        low=0,
        high=1_000,
    )
    first_s: float = key(5.0, "First wait; doubled for each attempt, with jitter.", low=0.1)
    max_s: float = key(900.0, "Longest wait.", low=0.1)
    throttled_pause_s: float = key(
        1.0, "The carrier pauses 1 to 2 times this after ESME_RTHROTTLED.", low=0.05
    )
    queue_full_pause_s: float = key(
        15.0,
        "After ESME_RMSGQFUL the message waits 1 to 2 times this, an older one a tenth of its age. For three"
        " recipients in a row: the carrier pauses so long.",
        low=0.05,
    )
    refused_pause_s: float = key(30.0, "The same after an error of bind or credentials.", low=0.05)


_PREFIX_DOC = "Beginnings of recipients' numbers with country code."
_COUNTRY_DOC = "Whose number the recipient's is: two letters of ISO 3166, as `IN`."


@dataclass(frozen=True, kw_only=True)
class SenderRule:
    """`[[carriers.senders]]`: what becomes of senders with this carrier, country by country. The first rule
    that fits every key that is given decides; encoding.md has examples.
    """

    prefix: tuple[str, ...] = key((), _PREFIX_DOC, pattern=r"\+?[0-9]{1,15}")
    country: tuple[str, ...] = key((), _COUNTRY_DOC)
    sender: tuple[str, ...] = key(
        (), "Senders, whole or with a `*` at the end for all that begin so.", pattern=r"[ -~]{1,21}"
    )
    sender_type: tuple[str, ...] = key(
        (), "Kinds of senders; a number of up to 8 digits is a short code.", choices=SENDER_TYPES
    )
    use: str = key("", "The sender that goes out instead: a number, a short code or a name.")
    ton: int | None = key(None, "Its TON.", low=0, high=255)
    npi: int | None = key(None, "Its NPI.", low=0, high=255)
    refuse: bool = key(False, "This carrier must not have such messages: they go to the next one.")


@dataclass(frozen=True, kw_only=True)
class TlvRule:
    """`[[carriers.tlvs]]`: TLVs of our own in this carrier's submit_sm. Of several rules with one tag the
    first that fits every key that is given, and finds a value, decides; encoding.md has examples.
    """

    tag: int = key(REQUIRED, "Its tag, as `0x1400`.", low=1, high=0xFFFF)
    text: str = key("", "Its value, as text (UTF-8).", pattern=r".{1,254}")
    hex: str = key("", "Its value, as octets in hexadecimal.", pattern=r"([0-9A-Fa-f]{2}){1,254}")
    number: int | None = key(None, "Its value, as a number.", low=0, high=0xFFFFFFFF)
    octets: int = key(0, "Octets of `number`; 0 = the fewest of 1, 2 and 4.", low=0, high=4)
    from_tag: str = key(
        "",
        "Its value is what the message's tag says that begins with this word and a colon: with "
        '`"dlt_template"` and the tag `dlt_template:1107…` that number.',
        pattern=r"[a-z][a-z0-9_]{0,39}",
    )
    from_account: str = key(
        "",
        "Its value is what the account's setting tlv_values says under this word.",
        pattern=r"[a-z][a-z0-9_]{0,39}",
    )
    terminated: bool = key(False, "Whether a NUL follows the text (C-octet string).")
    prefix: tuple[str, ...] = key((), _PREFIX_DOC, pattern=r"\+?[0-9]{1,15}")
    country: tuple[str, ...] = key((), _COUNTRY_DOC)
    class_: tuple[str, ...] = key((), "Message classes.", choices=CLASSES)
    account: tuple[str, ...] = key((), "Names of accounts.", pattern=r"[!-~]{1,64}")


@dataclass(frozen=True, kw_only=True)
class RouteLimitsConfig:
    """`routes.limits`: at most so many segments of this route, beside `tps`; 0 = no limit."""

    per_minute: int = key(0, "In any minute.", low=0, high=1_000_000_000)
    per_hour: int = key(0, "In any hour.", low=0, high=1_000_000_000)
    per_day: int = key(0, "In any 24 hours; outlives a restart, as an hour does.", low=0, high=1_000_000_000)

    @property
    def horizons(self) -> Limits:
        return Limits(self.per_minute, self.per_hour, self.per_day)


EACH = "each:"  # what names of limits of each sender begin with


@dataclass(frozen=True, kw_only=True)
class LimitConfig:
    """`[[carriers.limits]]`, or `limits = { per_day = 100_000 }`: at most so many segments, beside `tps` of
    the carrier. With prefix, sender or each_sender it concerns those messages alone, and never holds up the
    others. 0 = no limit.
    """

    prefix: tuple[str, ...] = key(
        (),
        "Only to numbers that begin so, with country code; all of them share the limit.",
        pattern=r"\+?[0-9]{1,15}",
    )
    sender: tuple[str, ...] = key(
        (),
        "Only from these senders, letter by letter, or with a `*` at the end all that begin so; "
        "all of them share the limit.",
        pattern=r"[ -~]{1,21}\*?",
    )
    each_sender: bool = key(
        False,
        "Not all of them together, but each sender on its own: so many senders at a time as docs/routing.md "
        "says, any more of them together. With tps and per_minute.",
    )
    tps: float = key(
        0.0, "Segments a second; only with prefix, sender or each_sender.", low=0, high=1_000_000
    )
    burst: int = key(1, "At most tps + burst - 1 segments in any second.", low=1, high=100_000)
    per_minute: int = key(0, "In any minute.", low=0, high=1_000_000_000)
    per_hour: int = key(0, "In any hour.", low=0, high=1_000_000_000)
    per_day: int = key(0, "In any 24 hours; outlives a restart, as an hour does.", low=0, high=1_000_000_000)

    @property
    def horizons(self) -> Limits:
        return Limits(self.per_minute, self.per_hour, self.per_day)

    @property
    def selects(self) -> bool:
        """Whether it concerns some messages only."""
        return bool(self.prefix or self.sender or self.each_sender)

    @property
    def name(self) -> str:
        """What it is known by, in lanes and in what has been spent of it: whom it concerns."""
        prefixes = "+".join(sorted(one.removeprefix("+") for one in self.prefix))
        senders = ",".join(sorted(self.sender))
        name = f"{prefixes}@{senders}" if senders else prefixes
        return EACH + name if self.each_sender else name


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """`[health]` for all carriers, `carriers.health` for one: when a carrier is bad enough to be taken out,
    and how it comes back. A carrier's own table goes before the common one; 0 switches a threshold off. What
    blames the message or its recipient is not counted. docs/routing.md explains it.
    """

    act: str = key(
        "suspend",
        "`suspend` takes a bad carrier out by itself; `tell` only writes the event log.",
        choices=("suspend", "tell"),
    )
    countries: str = key(
        "act",
        "`act`: a carrier that is bad for one country (calling code) is left out for it; `tell` only writes "
        "the event log.",
        choices=("act", "tell"),
    )
    window_s: int = key(60, "Answers of so long are looked at together.", low=1, high=3_600)
    min_submits: int = key(20, "Fewer answers say nothing.", low=1, high=1_000_000)
    max_error_ratio: float = key(
        0.5, "Share of errors and missing answers from which it is out.", low=0, high=1
    )
    max_response_s: float = key(15.0, "It is out when one answer of ten takes longer.", low=0, high=3_600)
    receipt_window_s: int = key(600, "Receipts of so long are looked at together.", low=1, high=86_400)
    min_receipts: int = key(50, "Fewer receipts say nothing.", low=1, high=1_000_000)
    min_delivered_ratio: float = key(
        0.2,
        "Share of delivered messages, of those delivered or failed, below which it is out.",
        low=0,
        high=1,
    )
    max_receipt_s: float = key(
        0.0, "It is out when half of the delivered messages' receipts take longer.", low=0, high=86_400
    )
    silence_s: int = key(
        300,
        "A carrier that has given receipts before is out when of `min_receipts` segments that were sent "
        "longer ago hardly any has one.",
        low=0,
        high=86_400,
    )
    min_receipt_ratio: float = key(0.05, "What hardly any means.", low=0, high=1)
    even_alone: bool = key(
        False, "Whether receipts may take out the only able carrier of a lane; else it is only told."
    )
    open_s: int = key(
        30, "How long it is out the first time; doubled each time in a row.", low=1, high=86_400
    )
    open_max_s: int = key(900, "How long it is out at most.", low=1, high=86_400)
    trial: int = key(10, "Segments that it is given then, before it is trusted again.", low=1, high=10_000)
    trial_wait_s: int = key(120, "How long they may take to be answered and delivered.", low=1, high=86_400)
    false_receipts: str = key("tell", "What is done when receipts look made up.", choices=("tell", "suspend"))
    regular_ratio: float = key(
        0.02,
        "Receipts look made up when the standard deviation of 200 delays is a smaller share of their mean.",
        low=0,
        high=1,
    )
    dead_numbers: tuple[str, ...] = key(
        (),
        "Numbers to which nothing can be delivered: a receipt that says so looks made up.",
        pattern=r"\+?[0-9]{1,15}",
    )
    drop_ratio: float = key(
        0.3,
        "An hour in which the delivered share is by so much of it lower than in the same hour a week ago, or "
        "the share of submit errors by so much higher, is told.",
        low=0,
        high=1,
    )

    @cached_property
    def limits(self) -> HealthLimits:
        """For router.health: milliseconds and permille."""
        return HealthLimits(
            act=self.act == "suspend",
            window_s=self.window_s,
            min_submits=self.min_submits,
            max_errors=round(self.max_error_ratio * 1000),
            max_response_ms=round(self.max_response_s * 1000),
            receipt_window_s=self.receipt_window_s,
            min_receipts=self.min_receipts,
            min_delivered=round(self.min_delivered_ratio * 1000),
            max_receipt_ms=round(self.max_receipt_s * 1000),
            silence_s=self.silence_s,
            min_heard=round(self.min_receipt_ratio * 1000),
            even_alone=self.even_alone,
            open_s=self.open_s,
            open_max_s=self.open_max_s,
            trial=self.trial,
            trial_wait_s=self.trial_wait_s,
        )

    @cached_property
    def country_limits(self) -> HealthLimits:
        """The same for one country, of which nobody knows how many receipts should come."""
        act = self.act == "suspend" and self.countries == "act"
        return msgspec.structs.replace(self.limits, act=act, silence_s=0)

    @cached_property
    def dead(self) -> frozenset[str]:
        """`dead_numbers` as digits."""
        return frozenset(number.removeprefix("+") for number in self.dead_numbers)


@dataclass(frozen=True, kw_only=True)
class RefusalConfig:
    """`[[carriers.refusals]]`: what becomes of a message that the carrier refuses with one of these statuses.
    What is left out, or 0, is as in `retry`.
    """

    status: tuple[str, ...] = key(REQUIRED, "As `ESME_RSYSERR`, `0x42e` or `0x0400-0x04FF`.")
    then: str = key(
        REQUIRED,
        "`here`: again to this carrier, `retry`: again, the next carrier first, `next`: soon, to the next, "
        "`hold`: until `signalbox store release --reason refused`, `carrier`: the next, and this one pauses, "
        "`throttled`, `queue-full`: it pauses and goes on, with `queue-full` only for several recipients in "
        "a row, `undeliverable`, `rejected`: the end.",
        choices=tuple(fate.value for fate in Fate if fate is not Fate.SENT),
    )
    first_s: float = key(0.0, "First wait; doubled for each attempt, with jitter.", low=0)
    max_s: float = key(0.0, "Longest wait.", low=0)
    max_attempts: int = key(0, "Attempts that count; then the message is UNDELIVERABLE.", low=0, high=1_000)
    pause_s: float = key(
        0.0,
        "The carrier pauses 1 to 2 times this, with `carrier`, `throttled` and `queue-full`.",
        low=0,
        high=86_400,
    )


@dataclass(frozen=True, kw_only=True)
class MaintenanceConfig:
    """`[[carriers.maintenance]]`: when the carrier works on its own house. It takes nothing new then; its
    binds stay, receipts go on coming, nothing is held against it, and its reason is shown. Keys that are
    given must all fit.
    """

    hours: tuple[str, ...] = key(
        (), '`"02:00-04:00"`; one over midnight belongs to the day on which it began.'
    )
    days: tuple[str, ...] = key((), '`"sun"`, `"mon-fri"`.')
    dates: tuple[str, ...] = key((), '`"2026-12-24"`, `"2026-12-24..2026-12-26"`; the last day is included.')
    zone: str = key("UTC", "The time zone of hours, days and dates: `UTC`, `Europe/Berlin`, `+02:00`.")
    reason: str = key("", "Shown while it lasts.", pattern=r".{0,200}")


@dataclass(frozen=True, kw_only=True)
class CarrierConfig:
    """`[[carriers]]`: an SMSC that we bind to as an ESME."""

    name: str = key(
        REQUIRED, "Unique; in lanes, metrics and logs. Keep it: stored messages refer to it.", pattern=NAME
    )
    host: str = key("", "Host name or address.")
    port: int = key(2775, "Port of `host`, and of any address below that names none.", low=1, high=65_535)
    hosts: tuple[str, ...] = key(
        (), "Several addresses as `host` or `host:port`, primary first; the next is tried after a failure."
    )
    tx_host: str = key("", 'Address for transmitters, where it differs; bind = "transmitter+receiver".')
    rx_host: str = key("", 'Address for receivers, where it differs; bind = "transmitter+receiver".')
    local_address: str = key("", "Our source address, where the carrier lets only one in.")
    outbind_listen: str = key("", "Listen here for the carrier's outbind, as `host:port`.")
    system_id: str = key(REQUIRED, "As the carrier gave it; at most 15 characters.", pattern=r"[ -~]{0,15}")
    password: str = key(
        "",
        "At most 8 characters by the specification, 16 here. Better `${env:NAME}` or password_file.",
        pattern=r"[ -~]{0,16}",
        secret=True,
    )
    password_file: str = key("", "A file that holds the password.", path=True)
    bind: str = key(
        "transceiver",
        "What each session binds as; with `transmitter+receiver` each is a pair of connections.",
        choices=("transceiver", "transmitter", "receiver", "transmitter+receiver"),
    )
    sessions: int = key(1, "Binds (or pairs of them) at the same time.", low=1, high=100)
    window: int = key(10, "Unanswered submits on one bind.", low=1, high=10_000)
    tps: float = key(0.0, "Segments a second, 0 = no limit.", low=0, high=1_000_000)
    burst: int = key(1, "At most tps + burst - 1 segments in any second.", low=1, high=100_000)
    throttle_scope: str = key(
        "carrier",
        "Whether tps, and limits without prefix and sender, are of the carrier or of each bind.",
        choices=("carrier", "bind"),
    )
    limits: tuple[LimitConfig, ...] = key(
        (), "More limits: per minute, hour and day, and for some messages only; all of them hold."
    )
    adaptive: bool = key(
        True,
        "Whether the rate follows what the carrier answers: ESME_RTHROTTLED, ESME_RMSGQFUL, congestion_state "
        "and rising response times lower it, success raises it again up to tps.",
    )
    system_type: str = key("", "As the carrier gave it.", pattern=r"[ -~]{0,12}")
    interface_version: str = key("3.4", "A 3.3 peer is sent no TLVs.", choices=("3.3", "3.4", "5.0"))
    address_range: str = key(
        "", "Which numbers a receiver serves, as the carrier gave it.", pattern=r"[ -~]{0,40}"
    )
    addr_ton: int = key(0, "TON of address_range.", low=0, high=255)
    addr_npi: int = key(0, "NPI of address_range.", low=0, high=255)
    service_type: str = key("", "In every submit_sm.", pattern=r"[ -~]{0,5}")
    source_ton: int | None = key(
        None, "TON of senders; unset: 5 for names, 1 for numbers, 3 for short codes.", low=0, high=255
    )
    source_npi: int | None = key(None, "NPI of senders; unset: 1 for numbers, else 0.", low=0, high=255)
    dest_ton: int = key(1, "TON of recipients.", low=0, high=255)
    dest_npi: int = key(1, "NPI of recipients.", low=0, high=255)
    number_format: str = key(
        "digits",
        "How the carrier wants recipients: 447700900123, +447…, 00447…, or with national_prefix 07700….",
        choices=("digits", "+", "00", "national"),
    )
    national_prefix: str = key(
        "", 'The country code that number_format = "national" replaces by 0.', pattern=r"|[1-9][0-9]{0,3}"
    )
    receipt_id: str = key(
        "auto",
        "How receipts write the message id: `auto` learns it; `same`, or what the receipt uses where the "
        "response used the other.",
        choices=("auto", "same", "hex", "dec"),
    )
    receipt_zone: str = key("UTC", "Time zone of the dates in receipts: `UTC`, `Europe/Berlin`, `+02:00`.")
    receipt_group: str = key(
        "",
        "Carriers with the same word get each other's receipts. Empty: this carrier alone.",
        pattern=f"|{NAME}",
    )
    rate_card: str = key(
        "",
        "What it costs: a rate card (`signalbox table import rates NAME FILE`).",
        pattern=f"|{NAME}",
    )
    alphabet: str = key(
        "gsm7",
        "What data_coding 0 means to the carrier; `gsm7` is one septet in each octet. What it lacks goes as "
        "UCS-2 (encoding.md).",
        choices=CARRIER_ALPHABETS,
    )
    data_coding: int | None = key(None, "Sent for GSM text instead of 0.", low=0, high=255)
    national_shift: str = key(
        "none",
        "Whether a text outside GSM 7-bit may go under national language tables instead of UCS-2, where that "
        "saves segments.",
        choices=SHIFTS,
    )
    national_languages: tuple[str, ...] = key(
        (), "The languages whose tables the carrier's networks know; empty: all.", choices=tuple(LANGUAGES)
    )
    smart_encoding: bool = key(
        False,
        "Whether typographic quotes, dashes, accents and the like are replaced by what GSM 7-bit has, where "
        "that saves segments. It changes the text.",
    )
    long_messages: str = key(
        "udh8", "How the carrier wants long messages.", choices=("udh8", "udh16", "sar", "payload")
    )
    suspect_after: int = key(
        3,
        "A message that was unanswered on so many lost links in a row is sent alone, with nothing else on "
        "its bind, and held if that link is lost, too; 0 = never.",
        low=0,
        high=14,
    )
    max_parts: int = key(255, "Longer messages do not go to this carrier.", low=1, high=255)
    send_validity: bool = key(True, "Whether validity_period, the time that is left, is sent.")
    validity_form: str = key("relative", "How it is written.", choices=("relative", "absolute"))
    validity_zone: str = key(
        "UTC", "Time zone of an absolute validity_period: `UTC`, `Europe/Berlin`, `+02:00`."
    )
    user_message_reference: bool = key(
        False,
        "Whether our 16-bit reference of a message is sent as TLV 0x0204. A receipt that repeats it says "
        "whose it is when the outcome of the submit was unknown; some carriers refuse TLVs.",
    )
    senders: tuple[SenderRule, ...] = key((), "What becomes of senders, country by country.")
    tlvs: tuple[TlvRule, ...] = key((), "TLVs of our own in each submit_sm.")
    tls: bool = key(False, "TLS from the first byte.")
    tls_verify: bool = key(True, "Whether the certificate and its name are checked.")
    tls_server_name: str = key("", "The name to ask for (SNI) and to check; empty: the host.")
    tls_ca_file: str = key("", "PEM file of certificate authorities; empty: the system's.", path=True)
    tls_cert_file: str = key("", "Our certificate, where the carrier asks for one.", path=True)
    tls_key_file: str = key("", "The key of tls_cert_file.", path=True)
    connect_timeout_s: float = key(10.0, "For the connection and its TLS handshake.", low=0.1, high=300)
    bind_timeout_s: float = key(10.0, "For the answer to a bind.", low=0.1, high=300)
    reconnect_min_s: float = key(1.0, "First wait after a failure; doubled for each, with jitter.", low=0.1)
    reconnect_max_s: float = key(
        60.0, "Longest wait. A refused bind waits too: carriers lock accounts.", low=0.1
    )
    unbind_pause_s: float = key(30.0, "Wait after an unbind, ours or theirs.", low=0)
    enquire_link_s: float = key(30.0, "Silence after which enquire_link is sent, 0 = never.", low=0)
    response_timeout_s: float = key(30.0, "Then the outcome of a submit is unknown.", low=0.1)
    late_response_grace_s: float = key(120.0, "A response still counts so long after its timeout.", low=0)
    write_timeout_s: float = key(60.0, "Unacknowledged bytes for so long end the connection.", low=1)
    unknown: UnknownConfig = table(
        UnknownConfig, "When the outcome is unknown; what is left out is as `[unknown]`."
    )
    maintenance: tuple[MaintenanceConfig, ...] = key((), "When it takes nothing new.")
    retry: RetryConfig = table(RetryConfig, "After refusals.")
    health: HealthConfig = table(
        HealthConfig, "When it is taken out by itself; what is left out is as `[health]`."
    )
    refusals: tuple[RefusalConfig, ...] = key(
        (),
        "What becomes of messages that the carrier refuses with some statuses; the first that fits decides.",
    )
    statuses: dict[str, str] = dataclasses.field(
        default_factory=dict,
        metadata={
            "words": Words(
                'This carrier\'s own meaning of a status, as `"0x0000042e" = "rejected"`, '
                '`"0x0400-0x04FF" = "next"` or `ESME_RINVDSTADR = "retry"`. A single one goes before ranges '
                "and `refusals`.",
                choices=tuple(fate.value for fate in Fate if fate is not Fate.SENT),
            )
        },
    )
    error_map: dict[str, str] = dataclasses.field(
        default_factory=dict,
        metadata={
            "words": Words(
                "What this carrier means by its codes, where it is not the usual (error-codes.md): "
                '`"err:001" = "absent_subscriber"` of receipts, `"status:0x42E"` of submit_sm_resp, '
                '`"net:3:1"` of network_error_code.',
                choices=tuple(map(str, Cause)),
            )
        },
    )
    status_refusals: tuple[Refusal, ...] = dataclasses.field(default=(), metadata={"derived": True})
    outages: tuple[tuple[Window, str], ...] = dataclasses.field(default=(), metadata={"derived": True})
    status_fates: dict[int, Fate] = dataclasses.field(default_factory=dict, metadata={"derived": True})
    causes: Causes = dataclasses.field(default_factory=Causes, metadata={"derived": True})

    @cached_property
    def targets(self) -> tuple[Address, ...]:
        """`host` and `hosts`, primary first."""
        written = ((self.host,) if self.host else ()) + self.hosts
        return tuple(address_of(text, self.port) for text in written)

    @cached_property
    def tx_targets(self) -> tuple[Address, ...]:
        return (address_of(self.tx_host, self.port),) if self.tx_host else self.targets

    @cached_property
    def rx_targets(self) -> tuple[Address, ...]:
        return (address_of(self.rx_host, self.port),) if self.rx_host else self.targets

    @cached_property
    def outbind_address(self) -> Address | None:
        return address_of(self.outbind_listen, self.port) if self.outbind_listen else None

    @property
    def version(self) -> int:
        """interface_version as the wire has it: 0x33, 0x34, 0x50."""
        return {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}[self.interface_version]

    @property
    def group_name(self) -> str:
        """Which carriers' receipts may come on each other's binds."""
        return self.receipt_group or self.name

    @property
    def sends(self) -> bool:
        return self.bind != "receiver"

    @property
    def horizons(self) -> Limits:
        """`limits` that concern every message; of several the lowest holds."""
        every = [one.horizons for one in self.limits if not one.selects]
        return Limits(
            *(min((most for most in column if most), default=0) for column in zip(*every, strict=True))
        )

    @property
    def some_limits(self) -> tuple[LimitConfig, ...]:
        """`limits` that concern some messages only."""
        return tuple(one for one in self.limits if one.selects)

    @property
    def possible_duplicates(self) -> int:
        """What a crash can send twice at most, in segments."""
        return self.sessions * self.window if self.sends else 0

    @cached_property
    def judging(self) -> Judging:
        """This carrier's part of router.judge's table."""
        retry, unknown = self.retry, self.unknown
        later_s = unknown.resend_after_s
        return Judging(
            max_attempts=retry.max_attempts,
            retry_first_s=retry.first_s,
            retry_max_s=retry.max_s,
            throttled_pause_s=retry.throttled_pause_s,
            queue_full_pause_s=retry.queue_full_pause_s,
            refused_pause_s=retry.refused_pause_s,
            hold_unknown=(
                unknown.otp == "hold",
                unknown.transactional == "hold",
                unknown.promotional == "hold",
                unknown.bulk == "hold",
            ),
            resend_after_s=(unknown.otp_resend_after_s, later_s, later_s, later_s),
            fates=self.status_fates,
            refusals=self.status_refusals,
            suspect_after=self.suspect_after,
        )


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What can be asked of a message."""

    prefix: tuple[str, ...] = key(
        (),
        'Beginnings of numbers with country code; `"!4477"` leaves one out. The longest that a number begins '
        "with "
        "decides.",
        pattern=r"!?\+?[0-9]{1,15}",
    )
    country: tuple[str, ...] = key((), "Whose number it is: two letters of ISO 3166, as `GB`.")
    mcc_mnc: tuple[str, ...] = key(
        (),
        "The network that serves the number, as far as a number table says: `234-15`, `23415`, or `234` for "
        "all of a country.",
        pattern=r"[2-7][0-9]{2}(-?[0-9]{2,3})?",
    )
    ported: bool | None = key(
        None, "Whether the number has left the network of its prefix, as far as is known."
    )
    number_type: tuple[str, ...] = key((), "What kind of number it is, by its beginning.", choices=KINDS)
    sender: tuple[str, ...] = key(
        (),
        "Senders, with capitals as they are written: whole, or with `*` (any characters), `?` (one) and `#` "
        "(one digit).",
        pattern=r"[ -~\u00a1-\u00ff\u0394-\u03a9]{1,21}",
    )
    sender_type: tuple[str, ...] = key(
        (), "Kinds of senders; a number of up to 8 digits is a short code.", choices=SENDER_TYPES
    )
    account: tuple[str, ...] = key((), "Names of accounts.", pattern=r"[!-~]{1,64}")
    group: tuple[str, ...] = key((), "Accounts' `group` setting.", pattern=NAME)
    class_: tuple[str, ...] = key((), "Message classes.", choices=CLASSES)
    tag: tuple[str, ...] = key((), "Any of the message's tags.", pattern=r".{1,64}")
    text: tuple[str, ...] = key(
        (),
        "Found anywhere in the text, whatever the case, with `*`, `?` and `#` as in `sender`. No regular "
        f"expressions: they have no limit of time. The first {TEXT_LOOKED_AT:,} characters are looked at.",
    )
    encoding: tuple[str, ...] = key((), "The encoding that the text needs.", choices=ENCODINGS)
    min_segments: int = key(0, "At least so many segments; 0 = any.", low=0, high=255)
    max_segments: int = key(0, "At most so many segments; 0 = any.", low=0, high=255)
    hours: tuple[str, ...] = key(
        (),
        '`"08:00-20:00"`; one over midnight belongs to the day on which it began. For a scheduled message: '
        "of the "
        "time when it is to leave.",
    )
    days: tuple[str, ...] = key((), '`"mon"`, `"mon-fri"`.')
    dates: tuple[str, ...] = key((), '`"2026-12-24"`, `"2026-12-24..2026-12-26"`; the last day is included.')
    zone: str = key("UTC", "The time zone of hours, days and dates: `UTC`, `Europe/Berlin`, `+02:00`.")


@dataclass(frozen=True, kw_only=True)
class NotConfig(Conditions):
    """`routes.match.not`: what the rule leaves out. A message that fits any of these keys is not taken."""


@dataclass(frozen=True, kw_only=True)
class MatchConfig(Conditions):
    """`routes.match`: which messages a route takes: those that fit every key that is given, and of a list any
    entry. Left out: all that are left. docs/routing.md has examples.
    """

    prefix_file: str = key(
        "",
        "A CSV file with more prefixes: the first column of each line, as in `prefix`. A first line of "
        "headings, empty lines and lines with `#` are skipped.",
        path=True,
    )
    not_: NotConfig = table(NotConfig, "What it leaves out.")


@dataclass(frozen=True, kw_only=True)
class OnReceiptConfig:
    """`routes.on_receipt`: what moves a message to the lane's next carrier after one has accepted it. Left
    out: nothing does. Its customer is told of one final state, whichever carrier gave it. Only for messages
    with receipts, and not for parts of customers' own long messages.
    """

    undelivered: str = key(
        "final",
        "After a receipt that says it was not delivered; what blames the recipient is final all the same.",
        choices=("final", "next"),
    )
    no_receipt_s: int = key(
        0,
        "Without a final receipt so long after it was sent it goes on, and may arrive twice. 0 = never.",
        low=0,
        high=604_800,
    )
    max_carriers: int = key(3, "So many carriers are given it at most, one after the other.", low=1, high=64)
    again: bool = key(False, "Whether, once all have had it, those that had it before are given it again.")

    @property
    def policy(self) -> OnReceipt | None:
        """For router.judge; None: nothing is asked for."""
        if self.undelivered == "final" and not self.no_receipt_s:
            return None
        return OnReceipt(self.undelivered == "next", self.no_receipt_s, self.max_carriers, self.again)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """`[[routes.probes]]`: a test message on a schedule, of the account `probes`, judged by its receipt. It
    costs what a message costs.
    """

    to: str = key(
        REQUIRED, "A number that this route takes, and somebody watches.", pattern=r"\+?[0-9]{3,15}"
    )
    from_: str = key(REQUIRED, "Its sender.", pattern=r"[ -~]{1,21}")
    text: str = key("probe", "What it says.", pattern=r".{1,160}")
    every_s: int = key(600, "How often it is sent.", low=10, high=604_800)
    within_s: int = key(120, "How long it may take to be delivered; also its validity.", low=5, high=86_400)


@dataclass(frozen=True, kw_only=True)
class LaneEntry:
    """One carrier of a lane."""

    carrier: str = key(REQUIRED, "A carrier's name.")
    weight: int | None = key(
        None,
        "Its share; 0: it drains, which is to take nothing new while its receipts go on coming. Left out: "
        "the lane is in order of preference.",
        low=0,
        high=1_000,
    )


@dataclass(frozen=True, kw_only=True)
class RouteConfig:
    """`[[routes]]`: rules in order, the first match wins."""

    name: str = key(REQUIRED, "Unique; stored with each message.", pattern=NAME)
    match: MatchConfig = table(MatchConfig, "Which messages; left out: all that are left.")
    rule: Match = dataclasses.field(default=ANY, metadata={"derived": True})
    lane: tuple[LaneEntry, ...] = key(
        REQUIRED,
        f"Up to {MAX_CARRIERS} carriers: names in order of preference, or "
        '`{ carrier = "north", weight = 70 }` for each.',
    )
    tps: float = key(
        0.0, "Segments a second of this route, 0 = what the carriers allow.", low=0, high=1_000_000
    )
    burst: int = key(1, "At most tps + burst - 1 segments in any second.", low=1, high=100_000)
    limits: RouteLimitsConfig = table(RouteLimitsConfig, "The same per minute, hour and day.")
    when_down: str = key(
        "queue",
        "With no carrier up: `queue` keeps messages, `reject` refuses them.",
        choices=("queue", "reject"),
    )
    max_queue_age_s: int = key(
        0,
        "A message that no carrier has accepted so long after it could leave ends EXPIRED, and its customer "
        "is told. 0 = as long as it is valid.",
        low=0,
        high=604_800,
    )
    choose: str = key(
        "",
        "How one of the lane's carriers is chosen: in their `order`, by their `weights`, the `cheapest` for "
        "the number by their rate cards, or the `best` by what they delivered lately. Empty: by weights "
        "where there are any, else in order.",
        choices=("", "order", "weights", "cheapest", "best"),
    )
    sticky: str = key(
        "",
        "By weights: all messages to one `recipient`, or from one `sender`, go to the same carrier while it "
        "is able. Empty: they do not.",
        choices=("", "recipient", "sender"),
    )
    allow_loss: bool = key(
        False,
        'With `choose = "cheapest"`: also carriers that cost more than the account pays by its rate card. '
        "Otherwise they never get its messages, nor do those whose price is not known.",
    )
    probes: tuple[ProbeConfig, ...] = key((), "Test messages on a schedule.")
    on_receipt: OnReceiptConfig = table(
        OnReceiptConfig, "What moves a message on after a carrier has accepted it."
    )

    @property
    def prefixes(self) -> tuple[str, ...]:
        """`match.prefix` and `prefix_file` as digits; () = every number."""
        return self.rule.prefixes

    @property
    def limited(self) -> bool:
        """Whether it has a limit of its own, and so a queue of its own."""
        return bool(self.tps or any(self.limits.horizons))

    @property
    def reject_when_down(self) -> bool:
        return self.when_down == "reject"

    @property
    def carriers(self) -> tuple[str, ...]:
        return tuple(entry.carrier for entry in self.lane)

    @property
    def weights(self) -> tuple[int, ...]:
        """Parallel to `carriers`; () for a lane in order."""
        if all(entry.weight is None for entry in self.lane):
            return ()
        return tuple(entry.weight or 0 for entry in self.lane)

    @property
    def guarded(self) -> bool:
        """Whether a carrier must not cost more than the account pays."""
        return self.choose == "cheapest" and not self.allow_loss

    @property
    def own_queue(self) -> bool:
        """Whether no other route may share its lane: it has a limit of its own, or chooses by the message."""
        return self.limited or bool(self.sticky) or self.choose in ("cheapest", "best")


@dataclass(frozen=True, kw_only=True)
class ExpectConfig:
    """`[[expect]]`: where a message should go. `signalbox check` asks the routes and says which of these
    fail.
    """

    to: str = key(REQUIRED, "The recipient's number.")
    from_: str = key("Signalbox", "The sender.")
    account: str = key("", "The account's name.")
    group: str = key("", "The account's `group`.")
    class_: str = key("transactional", "The message class.", choices=CLASSES)
    tag: tuple[str, ...] = key((), "Its tags.")
    text: str = key("Hello", "What it says; by it go encoding and segments, too.")
    mcc_mnc: str = key(
        "", "The network that a number table would name.", pattern=r"|[2-7][0-9]{2}-?[0-9]{2,3}"
    )
    at: str = key("", 'When, as `"2026-11-23T03:00:00Z"`. Empty: when it is checked.')
    route: str = key(REQUIRED, "The name of the route that should take it; empty: none.")
    lane: tuple[str, ...] = key((), "The carriers that its lane should have, in order. Empty: whichever.")


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """`[[simulators]]`: a carrier simulator inside the gateway, so that a demo has somebody to talk to."""

    name: str = key(REQUIRED, "Unique among simulators.", pattern=NAME)
    listen: Address = key(REQUIRED, "`host:port`; keep it on loopback.")
    system_id: str = key("signalbox", "What a bind must give.", pattern=r"[ -~]{0,15}")
    password: str = key("", "What a bind must give.", pattern=r"[ -~]{0,16}", secret=True)
    tps: float = key(0.0, "Above it the simulator answers ESME_RTHROTTLED; 0 = no limit.", low=0)
    response_delay_s: tuple[float, ...] = key(
        (0.0, 0.005), "From submit_sm to its response: least and most.", low=0
    )
    receipt_delay_s: tuple[float, ...] = key(
        (0.2, 1.0), "From the response to the final receipt: least and most.", low=0
    )
    error_rate: float = key(0.0, "Share of submits answered ESME_RSYSERR.", low=0, high=1)
    failure_rate: float = key(0.0, "Share of final receipts that say UNDELIV.", low=0, high=1)
    no_response: float = key(0.0, "Share of submits never answered.", low=0, high=1)
    no_receipt: float = key(0.0, "Share of messages that get no receipt.", low=0, high=1)
    early_receipts: float = key(0.0, "Share of receipts sent before the response.", low=0, high=1)
    duplicate_receipts: float = key(0.0, "Share of receipts sent twice.", low=0, high=1)
    receipt_as: str = key("text", "Where a receipt says what it says.", choices=("text", "tlv", "both"))
    id_form: str = key("dec", "The message id in responses.", choices=("dec", "hex", "uuid"))
    receipt_id_form: str = key(
        "same", "The message id in receipts.", choices=("same", "dec", "hex", "upper", "padded")
    )
    mo_rate_per_s: float = key(0.0, "Messages from handsets, each second.", low=0, high=10_000)
    reply_ratio: float = key(0.0, "Share of delivered messages that are replied to.", low=0, high=1)

    @property
    def behaviour(self) -> dict[str, Any]:
        """Keyword arguments for gateway.simulator's Behaviour."""
        return {
            "tps": self.tps,
            "response_delay_s": self.response_delay_s,
            "receipt_delay_s": self.receipt_delay_s,
            "submit_errors": {0x08: self.error_rate} if self.error_rate else {},
            "states": {"DELIVRD": 1 - self.failure_rate, "UNDELIV": self.failure_rate},
            "no_response": self.no_response,
            "no_receipt": self.no_receipt,
            "early_receipts": self.early_receipts,
            "duplicate_receipts": self.duplicate_receipts,
            "receipt_as": self.receipt_as,
            "id_form": self.id_form,
            "receipt_id_form": self.receipt_id_form,
            "mo_rate_per_s": self.mo_rate_per_s,
            "reply_ratio": self.reply_ratio,
        }


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration. `path` is the file it came from, `source` its text as read."""

    gateway: GatewayConfig = table(GatewayConfig, "The process.")
    log: LogConfig = table(LogConfig, "What the gateway says about itself.")
    http: HttpConfig = table(HttpConfig, "The API.")
    smpp: SmppConfig = table(SmppConfig, "Our SMSC side.")
    console: ConsoleConfig = table(ConsoleConfig, "People in a browser.")
    store: StoreConfig = table(StoreConfig, "The durable queue.")
    retention: RetentionConfig = table(RetentionConfig, "How long each kind of data is kept.")
    receipts: ReceiptsConfig = table(ReceiptsConfig, "Matching receipts.")
    messages: MessagesConfig = table(MessagesConfig, "What may be submitted.")
    numbers: NumbersConfig = table(NumbersConfig, "Which recipients, and what is known about them.")
    cdrs: CdrsConfig = table(CdrsConfig, "Records of attempts and final states.")
    telemetry: TelemetryConfig = table(TelemetryConfig, "Spans of messages.")
    audit: AuditConfig = table(AuditConfig, "The trail of who did what.")
    inbound: InboundConfig = table(InboundConfig, "Whose inbound messages are.")
    accounts: AccountsConfig = table(AccountsConfig, "What a new account starts with.")
    callbacks: CallbacksConfig = table(CallbacksConfig, "Signed JSON POSTs.")
    unknown: UnknownConfig = table(UnknownConfig, "Unknown outcomes, for all carriers.")
    health: HealthConfig = table(HealthConfig, "When a carrier is taken out by itself.")
    carriers: tuple[CarrierConfig, ...] = key((), "SMSCs that we bind to.")
    routes: tuple[RouteConfig, ...] = key((), "Rules in order; the first match wins.")
    expect: tuple[ExpectConfig, ...] = key((), "Where messages should go, for `signalbox check`.")
    simulators: tuple[SimulatorConfig, ...] = key((), "Embedded carrier simulators.")
    path: Path = dataclasses.field(default=Path(), metadata={"derived": True})
    source: str = dataclasses.field(default="", repr=False, metadata={"derived": True})
    warnings: tuple[Any, ...] = dataclasses.field(default=(), metadata={"derived": True})

    @property
    def admin_socket(self) -> Path:
        return self.gateway.data_dir / "admin.sock"

    @property
    def possible_duplicates(self) -> int:
        """What a crash can send twice at most, in segments: carriers × sessions × window."""
        return sum(carrier.possible_duplicates for carrier in self.carriers)


def address_of(text: str, default_port: int | None = None) -> Address:
    """`host`, `host:port`, `[v6]:port` or a bare v6 address. ValueError says what is wrong."""
    text = text.strip()
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("write an IPv6 address with a port as [::1]:2775")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or any(letter.isspace() for letter in host):
        raise ValueError("write it as host:port, for instance 127.0.0.1:8080")
    if not port:
        if default_port is None:
            raise ValueError("the port is missing; write host:port, for instance 127.0.0.1:8080")
        return Address(host, default_port)
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"the port must be 1 to 65535, not {port!r}")
    return Address(host, int(port))
