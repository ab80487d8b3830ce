"""The nouns every layer above the protocol shares: messages, lanes, outcomes, receipts.

Frozen vocabulary of the message path. The records that are stored (`Message`, `Progress`, `Part`,
`InboundMessage`, `Event`…) are array-like msgspec structs: compact on disk, and new fields are only ever
appended, with a default, so that older records stay readable.

Units: `*_ms` are UTC milliseconds since the Unix epoch, as int. `*_s` are seconds. Counts of messages on
the wire are segments (submit_sm PDUs).

Deliberately not here: any decision (routes, judge, throttle, correlate), any I/O, any clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

_AROUND_TEXTS = " \t\r\n\0"


class MessageState(IntEnum):
    """SMPP 5.0 section 4.7.15 message_state. 3.4 peers see SCHEDULED as ENROUTE, SKIPPED as REJECTED."""

    SCHEDULED = 0
    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8
    SKIPPED = 9


FINAL_STATES = frozenset(
    {
        MessageState.DELIVERED,
        MessageState.EXPIRED,
        MessageState.DELETED,
        MessageState.UNDELIVERABLE,
        MessageState.ACCEPTED,
        MessageState.UNKNOWN,
        MessageState.REJECTED,
        MessageState.SKIPPED,
    }
)


class Phase(IntEnum):
    """Where an accepted message is. Exactly one at any time: the terms of the conservation law."""

    FINAL = 0
    SCHEDULED = 1
    READY = 2
    DEFERRED = 3
    HELD = 4
    LEASED = 5
    UNKNOWN = 6  # outcome unknown: leased, then the link or the process died before the response
    AWAITING_RECEIPT = 7


class Reason(IntEnum):
    """Why a message waits or ended, readable to an operator. Stored: never renumber."""

    NONE = 0
    SCHEDULED = 1  # send_at lies ahead
    RETRY = 2  # the carrier said "later"
    THROTTLED = 3  # ESME_RTHROTTLED
    QUEUE_FULL = 4  # ESME_RMSGQFUL
    OUTCOME_UNKNOWN = 5
    RESTORED = 6  # held by `store restore` until released
    OPERATOR = 7
    NO_ROUTE = 8
    EXPIRED_IN_QUEUE = 9
    NO_RECEIPT = 10  # validity + grace passed without one
    REFUSED_BY_CARRIER = 11
    RECEIPT = 12  # the carrier's final receipt
    NO_RECEIPT_WANTED = 13  # accepted by the carrier, no receipt was asked for
    CANCELLED = 14
    TOO_MANY_ATTEMPTS = 15
    ACCOUNT_SUSPENDED = 16
    LINK_LOST = 17  # lease came back unsent
    LANE_GONE = 18
    DAMAGED = 19  # its record was damaged on disk and is quarantined
    PARTS = 20  # a part of a long message that waits for the others, or whose others never came
    SUSPECT = 21  # links ended again and again while it was unanswered: it goes alone, then it is held
    REFUSED_HELD = 22  # refused with a status that its carrier's configuration holds
    BOUNCED = 23  # an operator ended it while it waited


class MessageClass(IntEnum):
    OTP = 0
    TRANSACTIONAL = 1
    PROMOTIONAL = 2
    BULK = 3


class ReceiptWish(IntEnum):
    """Which receipts a submitter asked for (registered_delivery, SMPP 3.4 section 5.2.17). Stored."""

    NONE = 0
    FINAL = 1
    ALL = 2  # final and intermediate ones
    FAILURE = 3  # a final one, if it is not DELIVERED
    SUCCESS = 4  # a final one, if it is DELIVERED (SMPP 5.0 section 4.7.21)
    FAILURE_ALL = 5
    SUCCESS_ALL = 6
    INTERMEDIATE = 7  # only those


_ALWAYS = frozenset((int(ReceiptWish.FINAL), int(ReceiptWish.ALL)))


def wants_final(wish: int, state: int) -> bool:
    """Whether a submitter wants to be told of this final MessageState."""
    if wish in _ALWAYS:
        return True
    if wish in (ReceiptWish.FAILURE, ReceiptWish.FAILURE_ALL):
        return state != MessageState.DELIVERED
    if wish in (ReceiptWish.SUCCESS, ReceiptWish.SUCCESS_ALL):
        return state == MessageState.DELIVERED
    return False


def wants_intermediate(wish: int) -> bool:
    return wish in (
        ReceiptWish.ALL, ReceiptWish.FAILURE_ALL, ReceiptWish.SUCCESS_ALL, ReceiptWish.INTERMEDIATE
    )  # fmt: skip


class Via(IntEnum):
    """The edge a message came in by. Stored."""

    HTTP = 0
    SMPP = 1


class CallbackFormat(IntEnum):
    """How events look that leave over HTTP (gateway.callbacks.formats). Stored: never renumber."""

    STANDARD = 0
    CLOUDEVENTS = 1
    KANNEL = 2
    JASMIN = 3
    TWILIO = 4
    VONAGE = 5


class CallbackChoice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How one message's events leave, where its submitter chose that with the message.

    Where to is Message.callback_url (kannel: a template). `mask`: Kannel's dlr-mask, Jasmin's dlr-level.
    `method`: GET or POST, "" the format's usual one. `tells_sent`: also an event once a carrier took it.
    `given`: what the submitter said that its callbacks repeat, in pairs of name and value.
    """

    format: int
    mask: int = 0
    method: str = ""
    tells_sent: bool = False
    given: tuple[tuple[str, str], ...] = ()


class Encoding(IntEnum):
    """The canonical encoding decided at accept (GSM 03.38 / 23.038)."""

    GSM7 = 0
    LATIN1 = 1
    UCS2 = 2
    BINARY = 3


class Step(IntEnum):
    """Kinds of timeline events. Stored: never renumber."""

    ACCEPTED = 0
    SENT = 1  # the carrier accepted it: detail = carrier_message_id
    REFUSED = 2  # submit_sm_resp with an error: detail = status name
    DEFERRED = 3
    OUTCOME_UNKNOWN = 4
    RECEIPT = 5  # detail = "DELIVRD err=000"
    RECEIPT_REPEATED = 6
    RECEIPT_CONTRADICTS = 7
    FINAL = 8
    HELD = 9
    RELEASED = 10
    CANCEL_WISHED = 11
    CLAIMED = 12  # an unknown outcome was resolved by a receipt or a late response
    RESENT = 13  # possible duplicate
    REPLACED = 14  # its customer gave it another text
    REPLANNED = 15  # its lane was gone from the configuration: detail = the carriers of the new one
    PASSED_ON = 20  # a carrier that had accepted it did not deliver: detail = why
    REDACTED = 21  # what it said was taken out: detail = "deleted" where its customer wants it gone
    ERASED = 30  # its number and what it said were taken out, on somebody's demand
    MOVED = 22  # an operator gave it another lane: detail = from where to where, by whom and why
    FORCED = 23  # an operator sends it now: detail = over which carrier, by whom and why
    BOUNCED = 24  # an operator ended it: detail = by whom and why


class Relay(msgspec.Struct, array_like=True, gc=False):
    """What a submit_sm said beyond the message itself, handed on to the carrier as it came (3.4 §4.4.1).

    `esm_class` without its UDHI bit, which the renderer sets. `data_coding` -1: the renderer's own.
    `registered` keeps the SME acknowledgement bits. `total` > 1: one part of the customer's long message
    `reference`, numbered `index` from 1; `group` is the id that all parts of it share.
    """

    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    data_coding: int = -1
    registered: int = 0
    tlvs: tuple[tuple[int, bytes], ...] = ()
    reference: int = 0
    total: int = 0
    index: int = 0
    group: int = 0
    priority: int = 0  # priority_flag
    shown: int = 0  # submit_multi: the id its submitter was given, the first destination's
    udh: bytes = b""  # MO: its header's own elements


class Charge(IntEnum):
    """When a segment is owed. Stored: never renumber."""

    ACCEPTED = 0
    SENT = 1
    DELIVERED = 2


class Bill(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a message costs its account, decided when it was accepted. Stored: fields are only appended."""

    price: int  # of a segment, in micro-units of `currency`; 0: only counted
    currency: str = ""
    rule: int = Charge.SENT
    mcc_mnc: str = ""  # the number's network, as known then


ALIAS_WANTED = -1  # Message.alias before COMMIT A, which gives it its own


class Message(msgspec.Struct, array_like=True, gc=False):
    """What was accepted. Written once at COMMIT A; only replace_sm changes it, while nothing was sent.

    `text` for GSM7/LATIN1/UCS2, `data` for BINARY. `source` is alphanumeric, or digits, `destination`
    digits (E.164 without +). `segments` counts the canonical encoding.
    """

    id: int
    account: int
    accepted_ms: int
    source: str
    source_ton: int
    source_npi: int
    destination: str
    encoding: int
    text: str
    data: bytes
    segments: int
    lane: int
    priority: int  # 0..3, 3 first
    message_class: int
    send_at_ms: int  # 0 = at once
    expires_ms: int
    receipt: int
    route: str
    callback_url: str = ""  # "" = the account's
    client_ref: str = ""
    tags: tuple[str, ...] = ()
    udh: bytes = b""  # BINARY only: user data header given by the submitter
    via: int = Via.HTTP
    destination_type: int = 0x11  # TON << 4 | NPI, as the submitter wrote it: its receipts come from there
    alias: int = 0  # 32 bits, for an account whose ids have at most 8 hex digits; 0 = none
    relay: Relay | None = None
    valid_until_ms: int = (
        0  # for carriers and receipts, where its route's max_queue_age_s makes expires_ms earlier
    )
    callback: CallbackChoice | None = None  # None: its events leave in its account's way
    bill: Bill | None = None  # of an account that is billed or has a quota
    trace: bytes | None = None  # its customer's traceparent: trace id, parent id, flags


class Part(msgspec.Struct, array_like=True, gc=False):
    """One segment as a carrier knows it."""

    carrier: int
    carrier_message_id: str
    state: int = MessageState.ENROUTE
    error: str = ""
    cause: str = ""  # what `error` means: router.causes


class Progress(msgspec.Struct, array_like=True, gc=False):
    """What has happened to a message so far. Absent until something has: READY, SCHEDULED or LEASED then."""

    phase: int
    state: int
    reason: int = Reason.NONE
    until_ms: int = 0
    attempts: int = 0
    lane: int = 0
    tried: int = 0  # bit i: the lane's i-th carrier has been tried
    lease: int = 0  # the lease that last settled it: start-up recovery compares
    possible_duplicate: bool = False
    cancel_wished: bool = False
    finished_ms: int = 0
    parts: list[Part] = []
    events: list[tuple[int, int, int, str]] = []  # (at_ms, Step, carrier id or 0, detail)
    group: int = 0  # receipt_group of the last carrier
    queue_mask: int = 0  # the queue it stands in: `tried`, or all but the carrier of its first parts
    done_ms: int = 0  # when it ended, as the carrier's receipts say; finished_ms is when we heard of it
    cause: str = ""  # why it ended without being delivered: router.causes
    passed_on: int = 0  # how often it left a carrier that had accepted it (store.fail_over)
    delivered_by: int = 0  # an earlier carrier that delivered it while it was leased to another one
    failed_state: int = 0  # what the receipts said that it was passed on for; 0: nothing


class Settle(IntEnum):
    """What a carrier's answer (or its absence) does to a leased message."""

    SENT = 0  # this part was accepted
    RETRY = 1  # back to the lane at until_ms
    FINAL = 2
    UNKNOWN_RESEND = 3  # outcome unknown: again at until_ms, marked possible_duplicate
    UNKNOWN_HOLD = 4  # outcome unknown: held until validity ends, claimable
    RETURNED = 5  # never written to a socket: back to the head of its queue, no attempt counted
    HOLD = 6  # refused: held until an operator releases it, or its validity ends


class Outcome(msgspec.Struct, gc=False):
    """One answered (or lost) segment of a leased message: COMMIT B's input, decided by judge()."""

    account: int
    id: int
    lease: int
    carrier: int
    group: int
    part: int  # 0-based
    total: int
    settle: Settle
    carrier_message_id: str = ""
    state: int = MessageState.ENROUTE  # with FINAL
    reason: int = Reason.NONE
    detail: str = ""  # "ESME_RTHROTTLED", "link lost"…: goes into the timeline
    until_ms: int = 0
    count_attempt: bool = True
    mark_tried: bool = False  # the next attempt goes to another carrier of the lane
    receipt_expected: bool = True
    sent_ms: int = 0
    cause: str = ""  # what a refusal means: router.causes
    lost: int = 0  # links in a row that ended while it was unanswered, this one included
    lane: int = 0  # RETURNED: to this one, of the same carriers in the same order; 0 = to its own


class Taken(msgspec.Struct, gc=False):
    """Messages that a carrier accepted in one read, each whole as one segment: what an Outcome with SENT says
    of each, in columns."""

    carrier: int
    group: int
    leased: list[Leased]
    ids: list[str]  # what the carrier calls them, one each

    def outcome(self, at: int) -> Outcome:
        """What is said of one of them."""
        leased = self.leased[at]
        message = leased.message
        expected = message.receipt != ReceiptWish.NONE
        return Outcome(
            message.account, message.id, leased.lease, self.carrier, self.group, 0, 1, Settle.SENT,
            self.ids[at], receipt_expected=expected, sent_ms=leased.sent_ms,
        )  # fmt: skip


class ReceiptIn(msgspec.Struct, gc=False):
    """A carrier's receipt, parsed: COMMIT C's input."""

    group: int
    carrier: int
    ids: tuple[str, ...]  # to try in order: exact first, then the learned form
    variants: tuple[str, ...]  # tried after that, only with the same recipient and a unique hit
    recipient: str  # digits of the handset (source_addr of the deliver_sm)
    sender: str
    state: int  # MessageState; ENROUTE or ACCEPTED are intermediate
    error: str
    at_ms: int
    done_ms: int  # the carrier's done date, 0 unknown
    raw: bytes = b""  # short_message as received, kept when unmatched
    text: str = ""  # the receipt's text: prefix
    user_message_reference: int = -1
    flagged: bool = True  # False: known as a receipt by its text alone, which a handset could have written
    cause: str = ""  # what state and codes mean: router.causes


class Said(msgspec.Struct, frozen=True, eq=False):
    """What receipts of one wording have in common, with the names that ReceiptIn has for it."""

    sender: str
    state: int
    error: str
    done_ms: int
    words: bytes  # of the short_message: all between the id and the text
    user_message_reference: int = -1
    cause: str = ""


class ReceiptsIn(msgspec.Struct, gc=False):
    """Receipts of the usual form that came in one read: what a ReceiptIn says of each, in columns."""

    group: int
    carrier: int
    at_ms: int
    ids: Sequence[str]  # as they came
    recipients: Sequence[str]
    texts: Sequence[bytes]
    said: Sequence[Said]
    forms: Sequence[tuple[str, ...]] = ()  # ids to try for each, where others than its own are to be tried

    def one(self, at: int) -> ReceiptIn:
        """What one of them says."""
        id, said, text = self.ids[at], self.said[at], self.texts[at]
        return ReceiptIn(
            self.group, self.carrier, self.forms[at] if self.forms else (id,), (), self.recipients[at],
            said.sender, said.state, said.error, self.at_ms, said.done_ms,
            b"id:" + id.encode("latin-1") + said.words + text, text.decode("latin-1").strip(_AROUND_TEXTS),
            said.user_message_reference, True, said.cause,
        )  # fmt: skip


class ReceiptFate(IntEnum):
    MATCHED = 0
    PARKED = 1  # no such id yet: early, or never ours
    REPEATED = 2
    CONTRADICTS = 3
    CLAIMED = 4  # resolved an unknown outcome


class InboundMessage(msgspec.Struct, array_like=True, gc=False):
    """An MO, whole (after reassembly)."""

    id: int
    account: int  # 0 = nobody owns the number: kept and listed
    carrier: int
    received_ms: int
    source: str
    destination: str
    encoding: int
    text: str
    data: bytes
    in_reply_to: int = 0  # our message id
    parts: int = 1
    complete: bool = True
    udh: bytes = b""
    relay: Relay | None = None  # what its PDU said beyond it; of a long one, its first part's
    source_type: int = 0x11  # TON << 4 | NPI, as the carrier wrote them
    destination_type: int = 0x11
    erased_ms: int = 0  # when its number and text were taken out; 0: they were not


class EventKind(IntEnum):
    RECEIPT = 0
    MO = 1
    SENT = 2  # a carrier took the message; only where its CallbackChoice asks for it, only over HTTP
    ACCOUNT = 3  # about the account itself: `error` is what happened, `data` JSON with more; only over HTTP


class Event(msgspec.Struct, array_like=True, gc=False):
    """One thing to tell an account: an outbox row, rendered to JSON (or a deliver_sm) when it leaves."""

    kind: int
    account: int
    message_id: int
    at_ms: int
    source: str
    destination: str
    state: int = 0
    reason: int = 0
    error: str = ""
    segments: int = 1
    client_ref: str = ""
    tags: tuple[str, ...] = ()
    url: str = ""  # "" = the account's
    text: str = ""
    data: bytes = b""
    encoding: int = 0
    in_reply_to: int = 0
    carrier: int = 0
    final: bool = True
    attempts: int = 0
    last_error: str = ""
    part: int = 0  # 1-based with an account's per-part receipts, 0 = the whole message
    accepted_ms: int = 0
    source_type: int = 0x11  # TON << 4 | NPI
    destination_type: int = 0x11
    alias: int = 0
    via: int = Via.HTTP
    relay: Relay | None = None  # MO: what the carrier's PDU said beyond it
    shown: int = 0  # the id its submitter was given, where that is another (submit_multi)
    cause: str = ""  # why it was not delivered, in our words (router.causes), where the carrier said why
    done_ms: int = 0  # receipts: the carrier's done date, 0 = it gave none worth believing
    since_ms: int = 0  # from when its receiver's time runs; 0 = at_ms, another where it was put back later
    callback: CallbackChoice | None = None  # as its message's
    carrier_message_id: str = ""  # only with `callback`
    again: bool = False  # an MO that was taken before and is told once more: answers to it start nothing


class Login(msgspec.Struct, frozen=True, array_like=True):
    """A system_id that may bind, and the hashes of its valid passwords, newest first (two while rotating)."""

    system_id: str
    hashes: tuple[str, ...] = ()


class ApiKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of an account or an operator, of which only hashes are kept. Only grows at the end."""

    id: str
    hash: str  # sha256 hex
    prefix: str
    name: str = ""  # what its owner calls it
    scopes: tuple[str, ...] = ()  # of its role's (router.roles); () = all of them
    addresses: tuple[str, ...] = ()  # CIDR, IPv4 and IPv6; () = from anywhere
    created_ms: int = 0
    created_by: str = ""
    expires_ms: int = 0  # 0 = never
    previous_hash: str = ""  # of the secret before the last rotation
    previous_prefix: str = ""
    previous_until_ms: int = 0  # when that one stops working


class Account(msgspec.Struct):
    """A customer. Kept in memory as a whole (accounts are few), stored as one record each."""

    id: int
    name: str
    key_hashes: tuple[str, ...] = ()  # sha256 hex of API keys
    key_prefixes: tuple[str, ...] = ()
    callback_url: str = ""
    callback_secrets: tuple[str, ...] = ()  # whsec_…, newest first
    callback_batch: int = 1  # events in one POST, up to 100
    numbers: tuple[str, ...] = ()  # MO destinations it owns
    weight: int = 1
    max_queued: int = 5_000_000
    suspended: bool = False
    created_ms: int = 0
    receipt_default: int = ReceiptWish.FINAL
    per_part_receipts: bool = False
    correction_events: bool = False
    no_receipt_state: int = MessageState.EXPIRED  # synthetic final after validity + grace
    private_callbacks: bool = False  # may POST to loopback and private ranges (the demo)
    # binding over SMPP
    logins: tuple[Login, ...] = ()
    closed: bool = False  # for good: its name and ids stay taken
    allowed_addresses: tuple[str, ...] = ()  # CIDR, IPv4 and IPv6; () = from anywhere
    bind_types: tuple[str, ...] = ("transmitter", "receiver", "transceiver")
    max_binds: int = 10
    when_binds_full: str = "refuse"  # or "takeover": the stalest bind makes room
    window: int = 100  # unanswered submit_sm it may have, and deliver_sm we have to it, on each bind
    tps: float = 0.0  # submits a second over all its binds; 0 = no limit
    tps_mode: str = "refuse"  # ESME_RTHROTTLED, or "pace": answered at that rate
    # what it may submit
    senders: tuple[str, ...] = ()  # allowed source addresses, exact or ending in *; () = all
    destinations: tuple[str, ...] = ()  # allowed prefixes; () = all
    validity_default_s: int = 0  # 0 = the configuration's
    validity_max_s: int = 0
    max_priority: int = 3
    duplicate_guard_s: int = 0  # same source, destination, text and ref within it: the earlier id; 0 = off
    message_class: int = MessageClass.TRANSACTIONAL  # of what it submits over SMPP
    alphabet: str = "gsm7"  # its data_coding 0: gsm7 | latin1
    parts_timeout: str = "send"  # what came of a long message whose parts did not all come: send | fail
    # what it is told, and how
    id_form: str = "decimal"  # message_id in responses and receipts: decimal | hex | short (8 hex digits)
    receipts_via: str = "same"  # as submitted | smpp | http
    mos_via: str = "auto"  # http where a callback URL is set, else smpp | smpp | http
    receipt_layout: str = "standard"  # as 3.4 Appendix B | seconds: its dates with seconds
    receipt_error_form: str = "dec3"  # err: in decimal | hex
    receipt_tlvs: bool = True
    deliver_with: str = "deliver_sm"  # or data_sm
    deliver_rate: float = 0.0  # deliver_sm a second over all its binds; 0 = no limit
    deliver_expiry_s: int = 604_800  # how long what it was not there for is kept
    outbind: str = ""  # host:port that we call when it has something to hear and is not bound
    outbind_password: str = ""  # by which the customer knows us; kept as it is
    keywords: tuple[str, ...] = ()  # "12345 STOP": MOs to a shared number that begin so are its own
    error_codes: dict[str, str] = {}  # our cause (router.causes) → the code it expects in err:
    lists: dict[str, tuple[str, ...]] = {}  # distribution lists for submit_multi
    burst: int = 0  # submits that may come at once within tps; 0 = a second's worth
    default_region: str = ""  # whose numbers those without country code are; "" = the configuration's
    allowed_number_types: tuple[str, ...] = ()  # words of router.plans.kinds_of; () = the configuration's
    group: str = ""  # by which routes tell accounts apart
    smart_encoding: bool = False  # typographic characters by their likenesses, where that saves segments
    tlv_values: dict[str, str] = {}  # what carriers' TLV rules with from_account take
    rate_card: str = ""  # what it pays: a table of rates (store.tables); "" = that is not known
    # what carriers may take of it, in segments over all lanes; 0 = no limit
    send_tps: float = 0.0
    send_per_minute: int = 0
    send_per_hour: int = 0
    send_per_day: int = 0
    # callbacks, further
    callback_format: str = "standard"  # names of CallbackFormat in lower case
    callback_method: str = ""  # get | post | json, where the format leaves a choice; "" = its usual one
    callback_signature: str = ""  # vonage: md5hash | md5 | sha1 | sha256 | sha512; "" = unsigned
    mo_url: str = ""  # where inbound messages are sent; "" = callback_url
    callback_secrets_until_ms: int = 0  # when all secrets but the newest end; 0 = at the next rotation
    callbacks_gone: tuple[str, ...] = ()  # URLs of its own that answered 410: nothing is sent there
    keys: tuple[ApiKey, ...] = ()  # beside key_hashes, with scopes, ends and addresses of their own
    # money, in micro-units of its currency (router.money); 0 = no limit
    billing: str = "off"  # off | prepaid | postpaid
    currency: str = ""  # ISO 4217, as EUR
    charge: int = Charge.SENT
    overdraft_limit: int = (
        0  # how far below 0 its balance may go; 0: prepaid not at all, postpaid without end
    )
    low_balance: int = 0  # below it, it is told
    cap_per_day: int = 0
    cap_per_month: int = 0
    quota_per_day: int = 0  # messages
    quota_per_month: int = 0
    billing_zone: str = ""  # whose days and months those are; "" = UTC
    unpaid_status: int = 0  # command_status of what is refused for them; 0 = ESME_RSUBMITFAIL
    # other APIs that its apps may speak (gateway.http.apps), and the names and passwords they do it with
    apis: tuple[str, ...] = ()
    app_logins: tuple[Login, ...] = ()


class LaneSpec(msgspec.Struct, frozen=True):
    """The set of carriers that may take a message and the rule by which they take turns.

    `carriers` are carrier ids in order (at most 16); `weights` parallel to it, () for order with overflow.
    """

    carriers: tuple[int, ...]
    weights: tuple[int, ...] = ()
    route: str = ""  # non-empty when the route has limits of its own, so that its queue is its own
    limits: tuple[
        tuple[int, str], ...
    ] = ()  # (carrier, name): its limits on some messages that these are under
    country: int = (
        0  # calling code: for messages to there alone, as some carrier is or was out for it; 0 = any
    )


class Leased(msgspec.Struct, gc=False):
    """A message in a carrier's hands: COMMIT L's output."""

    message: Message
    lease: int
    attempts: int
    possible_duplicate: bool
    first_part: int = 0  # parts before it were accepted by this same carrier already
    lane: int = 0  # the lane it was claimed from
    tried: int = 0  # the queue: carriers of the lane that have had it and are not to have it now
    fresh: bool = False  # nothing seems to have happened to it before
    lost: int = 0  # links in a row that ended while it was unanswered
    sent_ms: int = 0  # when it was written to a socket, of one segment
