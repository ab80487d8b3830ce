"""What the gateway may ask of a store: domain verbs, batch-first, never keys or cursors.

A second engine implements `Store` and `Transaction`, adds itself to tests/store/conformance/engines.py and
passes everything in tests/store/conformance. Every verb of `Transaction` runs synchronously inside one write
transaction; nothing is durable, and no in-memory count has changed, until `commit` returned. Reads
(`Store.find`…) see the last commit.

Deliberately not here: trio, tasks, batching policy (gateway.committer), decisions (router).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from router.judge import OnReceipt
from router.money import LedgerEntry, Wallet
from router.nouns import (
    Account,
    Event,
    InboundMessage,
    LaneSpec,
    Leased,
    Message,
    Outcome,
    Phase,
    Progress,
    ReceiptFate,
    ReceiptIn,
    ReceiptsIn,
    Relay,
    Taken,
)

if TYPE_CHECKING:
    from store.erasing import Erased
    from store.options import StoreOptions
    from store.person import Answers, Kind, Looked, Number
    from store.records import Parked
    from store.tallies import Tallies

NO_ID = 1 << 63  # above every id
SMPP_ORIGIN = "smpp:"  # the origin of an account's endpoint that is its own bound sessions


class StoreError(Exception):
    """Base of what a store raises; `hint` tells an operator what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoreFull(StoreError):
    """Above a watermark: new work is refused, state changes go on."""


class BadRows(StoreError):
    """What was to be kept cannot be: the rows are to blame, not the store."""


class StoreDamaged(StoreError):
    """The tree itself is damaged: start-up must refuse."""


class StoreFormat(StoreError):
    """Written by a newer Signalbox, or not a Signalbox store."""


class StoreBusy(StoreError):
    """Another process has the store open."""


class Paced(Protocol):
    """Accounts' own limits at the sending side, asked in the middle of a claim."""

    def left(self, account: int) -> int: ...  # segments that may be leased of it now
    def took(self, account: int, segments: int) -> None: ...
    def paused(self, account: int) -> None: ...  # it has no turn any more, until `resume_paced`


class Claim(msgspec.Struct, gc=False):
    """A carrier asks for work: up to `segments` from these (lane id, index of the carrier in the lane)."""

    carrier: int
    lanes: tuple[tuple[int, int, int], ...]  # (lane id, carrier index in lane, max segments from this lane)
    segments: int
    now_ms: int
    # lane id → (mask of carriers, most): of what one of them has not had yet, at most so many segments
    reserved: dict[int, tuple[int, int]] = {}
    paced: Paced | None = None
    # lane id → mask of the carriers that messages may wait for; only lanes with some that this carrier had:
    # those that all of the mask have had it may take again
    able: dict[int, int] = {}
    # lane id → mask of the carriers that have been no part of that mask for so long that the rest of a long
    # message waits for them no longer; of the same lanes
    gone: dict[int, int] = {}
    # where it asks of one lane, which it shares with others by weights and by nothing else: its weight there,
    # and the mask of all who are able there; where each of these asks, they may be served together
    weight: int = 0
    sharers: int = 0


class ClaimResult(msgspec.Struct, gc=False):
    """What a claim got. `segments` are still to be sent, as long as they have not been rendered; `queues` has
    the same by queue, with the number of messages."""

    leased: list[Leased]
    expired: int = 0  # found past validity on the way: finished as EXPIRED in the same transaction
    lost: bool = False  # links ended while some of them were unanswered (Leased.lost)
    segments: int = 0
    queues: dict[tuple[int, int], list[int]] = {}  # (lane, tried) → [messages, segments]


class ReceiptResult(msgspec.Struct, gc=False):
    fate: ReceiptFate
    account: int = 0
    message_id: int = 0
    matched_id: str = ""  # which of ids/variants hit: the gateway learns the form from it
    final: bool = False
    state: int = 0


class Released(msgspec.Struct, gc=False):
    """A portion of `release_held`: how many went back to their queues, and where the next portion begins."""

    count: int
    after: tuple[int, int] | None  # (account, id) of the last row looked at; None = the walk is over


class Replanned(msgspec.Struct, gc=False):
    """A portion of `replan`: how many messages left the lane, and for where."""

    moved: int = 0  # to another lane
    held: int = 0  # no route takes them: HELD with Reason.LANE_GONE
    lost: int = 0  # their records are damaged
    after: bytes = b""  # where to go on behind those that stay; empty: nothing is left to look at

    @property
    def handled(self) -> int:
        return self.moved + self.held + self.lost


class Which(NamedTuple):
    """Which waiting messages an act is about: those that fit all of it. An empty set: any."""

    phases: frozenset[int] = frozenset({Phase.SCHEDULED, Phase.READY, Phase.DEFERRED, Phase.HELD})
    lanes: frozenset[int] = frozenset()
    accounts: frozenset[int] = frozenset()
    priorities: frozenset[int] = frozenset()
    first_id: int = 0
    before_id: int = NO_ID
    fits: Callable[[Message], bool] | None = None  # asked last, of those that fit all else


class Waiting(NamedTuple):
    """A waiting message as it stands. `reason`: why it is held. `maybe_sent`: it is a possible duplicate."""

    message: Message
    lane: int
    phase: int
    reason: int
    maybe_sent: bool


class WaitingPage(NamedTuple):
    """Some of them, and where the next page begins; b"": that was the last."""

    found: list[Waiting]
    after: bytes


class Acted(msgspec.Struct, gc=False):
    """A portion of a mass act: how many messages it concerned, why others stay as they are, and where the
    next portion begins; b"": the walk is over."""

    count: int = 0
    segments: int = 0
    stayed: dict[str, int] = {}
    after: bytes = b""

    def stays(self, why: str, count: int = 1) -> None:
        self.stayed[why] = self.stayed.get(why, 0) + count


class Replacement(msgspec.Struct, gc=False):
    """What replace_sm changes in a message that waits; times of 0 and wishes of -1 leave what was."""

    encoding: int
    segments: int
    text: str
    data: bytes
    send_at_ms: int = 0
    expires_ms: int = 0
    receipt: int = -1  # a ReceiptWish
    acks: int = -1  # the SME acknowledgement bits of registered_delivery
    lane: int = 0  # where it goes now, if no carrier has had it; 0: where it was


class OutboxRow(msgspec.Struct, gc=False):
    endpoint: int
    seq: int
    event: Event

    @property
    def message_id(self) -> int:
        return self.event.message_id

    def whole(self) -> OutboxRow:
        return self


class ReceiptRow(msgspec.Struct, gc=False):
    """An OutboxRow that a commit has just written, with a final receipt for its account's own sessions: most
    leave without ever being made an event of their own."""

    endpoint: int
    seq: int
    message_id: int
    like: Event  # its own but for what `whole` puts in; shared by what has ended alike in that commit
    message: Message | Event  # whatever has these fields
    text: str  # as it is quoted
    done_ms: int

    def whole(self) -> OutboxRow:
        message = self.message
        event = msgspec.structs.replace(
            self.like,
            message_id=self.message_id,
            source=message.source,
            destination=message.destination,
            client_ref=message.client_ref,
            tags=message.tags,
            text=self.text,
            accepted_ms=message.accepted_ms,
            alias=message.alias,
            done_ms=self.done_ms,
        )
        return OutboxRow(self.endpoint, self.seq, event)


FreshRow = OutboxRow | ReceiptRow


class FinishedPage(msgspec.Struct, gc=False):
    """Messages that have ended, and the id behind which the next page begins; None: there is no more."""

    pairs: list[tuple[Message, Progress]]
    after: int | None


class InboundPage(msgspec.Struct, gc=False):
    """MOs, and the id behind which the next page begins; None: there is no more."""

    messages: list[InboundMessage]
    after: int | None


class Moved(msgspec.Struct, gc=False):
    """A portion of `move_events`: how many, and where the next one begins; b"": that was the last."""

    count: int
    after: bytes


class ReadyQueue(msgspec.Struct, gc=False):
    """READY messages of one account and priority in one lane. `more`: `count` is where counting ended."""

    lane: int
    priority: int
    account: int
    count: int = 0
    more: bool = False
    oldest_ms: int = 0  # when the oldest was due


class Before(NamedTuple):
    """How many messages go before one. `more`: there are more than `counted`."""

    counted: int
    more: bool


class GivenUp(msgspec.Struct, gc=False):
    """An event that its receiver never took."""

    endpoint: int
    given_up_ms: int
    event: Event


class Endpoint(msgspec.Struct, frozen=True):
    """Where events of one account go: one origin, so that a dead one delays nobody else."""

    id: int
    account: int
    origin: str


class MoPart(msgspec.Struct, array_like=True, gc=False):
    """One part of a concatenated MO, keyed by (source, destination, reference, total)."""

    carrier: int
    source: str
    destination: str
    reference: int
    total: int
    index: int  # 1-based
    encoding: int
    data: bytes  # user data without the UDH
    received_ms: int
    relay: Relay | None = None
    source_type: int = 0x11
    destination_type: int = 0x11


class Remembered(msgspec.Struct, array_like=True, gc=False):
    """A request that was carried out; what it was answered is the gateway's to read."""

    request: bytes  # what was asked, as a digest
    at_ms: int
    answer: bytes = b""


class Totals(msgspec.Struct):
    """The conservation counters, in messages and in segments; index = Phase."""

    accepted: int = 0
    accepted_segments: int = 0
    messages: list[int] = msgspec.field(default_factory=lambda: [0] * 8)
    segments: list[int] = msgspec.field(default_factory=lambda: [0] * 8)


class Finding(msgspec.Struct):
    """One thing `store check` found."""

    where: str
    what: str


class AuditEntry(msgspec.Struct, array_like=True, gc=False):
    """One change that somebody made; without secrets. `previous` is the store's to fill in."""

    at_ms: int
    who: str  # an OS user, an operator key's name, or "signalbox"
    via: str  # cli | http | console | gateway
    act: str  # account.changed, lock.released…
    subject: str  # kind:name, such as account:shop or login:shop:esme1
    before: dict[str, Any] = {}  # of what changed
    after: dict[str, Any] = {}
    reason: str = ""
    previous: bytes = b""  # hash of the entry before


class AuditRow(msgspec.Struct, gc=False):
    """An entry as it is kept: its number from 1 on, and its hash in hex."""

    number: int
    entry: AuditEntry
    digest: str


class AuditState(msgspec.Struct):
    """What `audit_verify` saw: how many entries, the newest one's number and hash, what is wrong."""

    entries: int
    last: int
    digest: str
    findings: list[Finding]


class Notice(msgspec.Struct, array_like=True, gc=False):
    """One thing that the gateway noticed or decided by itself. Only grows at the end."""

    at_ms: int
    kind: str  # carrier.opened, probe.failed…: gateway.notices lists them
    subject: str  # kind:name, such as carrier:north or route:uk
    text: str  # for people: what happened, and why
    figures: dict[str, Any] = {}  # what it was decided by
    warning: bool = False  # somebody should look


class NoticeRow(msgspec.Struct, gc=False):
    """A notice as it is kept: with its number from 1 on."""

    number: int
    notice: Notice


class OtherLimits(NamedTuple):
    """Messages older than the id `before` may be in the wrong one of `lanes`: `lane_now` (lane, message) says
    which one it is by now, one with the same carriers and weights."""

    lanes: Collection[int]
    before: int
    lane_now: Callable[[int, Message], int]


class Anew(Protocol):
    """A file that is being written anew, in portions, by worker threads one after the other."""

    def step(self) -> bool:
        """One portion; False when nothing is left. Errors: StoreError."""

    def finish(self) -> bool:
        """It takes the old one's place; False: that one is gone meanwhile. Errors: StoreError."""

    def drop(self) -> None:
        """As if it had not begun."""


class Transaction(Protocol):
    """One write transaction. Verbs are applied in the order of architecture §2: D, B, C, A, L."""

    def finish(self) -> None:
        """No verb follows: write what was left for the end. `Store.commit` does it, too, in its thread."""

    # D
    def outbox_done(self, rows: Sequence[FreshRow]) -> None:
        """These were taken by their receiver."""

    def outbox_retry(self, rows: Sequence[OutboxRow], due_ms: int) -> None:
        """These wait until `due_ms`; `move_due` puts them behind the endpoint's others, under new numbers."""

    def outbox_give_up(self, rows: Sequence[OutboxRow], now_ms: int) -> None:
        """Nobody took these: they leave the outbox and are kept where operators find them."""

    # B
    def settle(self, outcomes: Sequence[Outcome | Taken], now_ms: int) -> None:
        """What carriers answered for leased messages, part by part; the last part's answer concludes.

        Taken is what an Outcome for each of its messages would be.

        An outcome for a message that is not leased (any more) is a late answer: recorded, and where the
        outcome was unknown it settles that. The same outcome twice changes nothing.
        """

    # C
    def receipts(self, receipts: Sequence[ReceiptIn | ReceiptsIn], now_ms: int) -> list[ReceiptResult | None]:
        """The fate of each, in order; None, of those in columns alone: matched by the id that came, as final.

        Matched by id (`ids`, then other forms where the recipient agrees and the hit is unique), claiming an
        unknown outcome, or parked for a message that has not got its id yet. The first final state of a
        message is told to its account; later ones are recorded.
        """

    def inbound(self, messages: Sequence[InboundMessage], now_ms: int) -> None:
        """Keep these MOs and tell the account that owns each (0: nobody, kept only)."""

    def inbound_parts(self, parts: Sequence[MoPart], now_ms: int) -> list[list[MoPart] | None]:
        """For each part: all parts in order, when it was the last one missing; None until then."""

    # A
    def reserve(self, messages: Sequence[Message], refused: dict[int, str]) -> list[Message]:
        """Of one account's new messages, each with a bill, those that are paid for, in order: accept them in
        this transaction. `refused` gets why of the others (router.money), by id."""

    def credit(self, account: int, entry: LedgerEntry) -> LedgerEntry:
        """Money put into an account's wallet, or taken out; the row of its ledger."""

    def accept(self, messages: Sequence[Message]) -> None:
        """Queue new messages, READY, or SCHEDULED when `send_at_ms` lies ahead. Ids must be new."""

    # L
    def claim(self, claims: Sequence[Claim]) -> list[ClaimResult]:
        """What each carrier gets, in order: LEASED to it, by priority, then fair among accounts, then by age.

        Never a message whose tried mask has the carrier's index. At most `segments`, except that a first
        message longer than that is taken whole. What has expired on the way ends EXPIRED.
        """

    # the slow verbs, a few hundred rows each, lowest claim on the writer
    def move_due(self, now_ms: int, limit: int) -> int:
        """Waiting messages and retried events whose time has come; how many, at most `limit`."""

    def expire(self, now_ms: int, limit: int, grace_ms: int) -> int:
        """End what outlived its validity; how many rows were handled, at most `limit`.

        AWAITING_RECEIPT gets `grace_ms` more and then the account's `no_receipt_state`; UNKNOWN ends UNKNOWN;
        what a carrier has in hand is left to its answer.
        """

    def after_silence(self, now_ms: int, limit: int) -> int:
        """Messages whose receipts are overdue by their routes' `fail_over` go to the next carrier; how many
        were looked at, at most `limit`."""

    def release_held(
        self, reason: int, limit: int, after: tuple[int, int] = (0, 0), carrier: int = 0
    ) -> Released:
        """Messages held for `reason` become READY; of those behind `after`, and of one carrier if given."""

    def cancel(self, account: int, id: int, now_ms: int) -> str:
        """`cancelled`, `leased` (not sent again when it comes back), `sent`, `final` or `unknown`."""

    def replan(
        self, lane: int, decide: Callable[[Message], int], limit: int, after: bytes = b""
    ) -> Replanned:
        """Up to `limit` READY messages of a lane, `after` an earlier portion, go where `decide` says; 0:
        nowhere, HELD(LANE_GONE)."""

    def replan_held(self, decide: Callable[[Message], int], after: tuple[int, int], limit: int) -> Released:
        """HELD(LANE_GONE) messages behind `after` go where `decide` says by now; 0: they stay."""

    def move(
        self, which: Which, decide: Callable[[Message], int | str], said: str, limit: int, after: bytes = b""
    ) -> Acted:
        """Up to `limit` waiting messages, `after` an earlier portion, go to the lane that `decide` names, or
        stay for the reason it gives; `said` (by whom and why) is for their timelines. Never what carriers
        have in hand, nor what nobody knows the outcome of. What is in its lane already is passed over."""

    def bounce(
        self, which: Which, state: int, now_ms: int, said: str, limit: int, after: bytes = b""
    ) -> Acted:
        """Up to `limit` of them end in this MessageState with Reason.BOUNCED, and are told; but not what may
        have been sent before."""

    def reroute(self, account: int, id: int, lane: int, said: str) -> str:
        """One waiting message goes to this lane: `moved`, `there` already, or why not: `unknown`, `leased`,
        `sent`, `final`, `outcome_unknown`, `parts`, `had` (all carriers there accepted it before)."""

    def force(self, account: int, id: int, carrier: int, now_ms: int, said: str) -> str:
        """One waiting message is ready now, and the next that this carrier of its lane takes there: `forced`,
        or why not, as `reroute` says it; `elsewhere`: the carrier is not in its lane; `expired`."""

    def release_groups(self, before_ms: int, now_ms: int, limit: int) -> int:
        """Parts of customers' long messages that waited since before `before_ms` go on without the rest."""

    def replace(self, account: int, id: int, replacement: Replacement, now_ms: int) -> str:
        """Other text and times for a message that waits: `replaced`, or why not (`unpaid`: more segments than
        the account has money for)."""

    def redact(self, account: int, id: int, now_ms: int, detail: str = "") -> str:
        """What a message that has ended said is taken out: `redacted`, `waits` (it has not ended), `unknown`
        (it may be archived: `redact_archived`). `detail` goes into its timeline."""

    def take_stale_parts(self, before_ms: int, limit: int) -> list[list[MoPart]]:
        """Parts of MOs whose first sibling came before `before_ms`, taken out, a list for each message."""

    def housekeep(self, now_ms: int, limit: int) -> int:
        """Park time and retention: what nobody claimed becomes unmatched, what is too old goes; how many."""

    def replay_given_up(self, endpoints: Sequence[int], before_ms: int, limit: int) -> int:
        """Given-up events of these endpoints go back into the outbox; how many."""

    def tell_again(self, pairs: Sequence[tuple[Message, Progress]], now_ms: int) -> int:
        """Final receipts of finished messages, once more, to those who wanted them; how many."""

    def tell_inbound_again(self, messages: Sequence[InboundMessage], now_ms: int) -> int:
        """MOs, once more, to whom they belong; answers to them start nothing. How many."""

    def move_events(
        self,
        source: int,
        url: str,
        skip: Collection[int],
        now_ms: int,
        limit: int,
        after: bytes = b"",
    ) -> Moved:
        """Events that wait for this endpoint wait for `url` from now on (SMPP_ORIGIN: bound sessions).

        Looks at `limit` rows behind `after`. `skip`: numbers of rows that are being sent just now.
        """

    def drop_given_up(self, before_ms: int, limit: int) -> int:
        """Retention of given-up events."""

    def erase(
        self, rows: Sequence[tuple[str, bytes]], number: Number, now_ms: int, drop_events: bool
    ) -> Erased:
        """Rows (kind, key) that `look` found lose the number, or go; what has to stay is counted by why.
        `drop_events`: also events that wait for delivery."""

    def end_for_erasing(self, account: int, id: int, now_ms: int) -> str:
        """Let a message end whose number is to be erased: `ended`, `leased` or `final`."""

    def drop_unmatched(self, before_ms: int, limit: int) -> int:
        """Retention of unmatched receipts; how many went."""

    def forget(self, rows: Sequence[Any]) -> int:
        """Third step of archiving: rows of `pick_finished` that `write_finished` has made durable leave."""

    def put_account(self, account: Account) -> None:
        """A new account, or all of a known one."""

    def resume_paced(self, accounts: Sequence[int]) -> None:
        """These accounts, which a claim has paused (Paced), have turns again."""

    def remember(self, account: int, key: bytes, row: Remembered) -> None:
        """That this transaction carries out the request which `account` (0: operators) calls `key`."""

    def seal_finished(self, until_ms: int) -> None:
        """From this commit on no message ends before then, whatever the clock says (`finished_after`)."""

    def put_meta(self, name: str, value: bytes) -> None:
        """A small value by name, for the gateway's own memory."""

    def tell_account(self, account: int, what: str, data: bytes, at_ms: int) -> bool:
        """Queue a callback about the account itself, `data` a JSON object; False where it has no URL."""

    def notice(self, notices: Sequence[Notice]) -> int:
        """Add to the event log, of which the newest 10,000 are kept. Returns the last one's number."""

    def audit(self, entry: AuditEntry) -> int:
        """Tell of a change that this transaction makes; for ever, behind all others. Returns its number."""


class Store(Protocol):
    """An open store. `begin`/`commit`/`abort` may be called from one dedicated thread, verbs from another."""

    def begin(self) -> Transaction:
        """The one write transaction; nobody else has one until it is committed or aborted."""

    def commit(self, txn: Any) -> None:
        """Durable when it returns. Errors: StoreFull, StoreDamaged, StoreError; `abort` then."""

    def abort(self, txn: Any) -> None:
        """Nothing happened, in memory neither."""

    def close(self) -> None:
        """Give the directory up. What was committed stays."""

    # opening
    @property
    def options(self) -> StoreOptions:
        """What it was opened with."""

    @property
    def epoch(self) -> int:
        """How often this store has been opened."""

    def recover(self, decide: Callable[[Message, Progress | None, int], Outcome], now_ms: int) -> int:
        """Settle those by `decide(message, progress, carrier id)`; how many outcomes were unknown.

        Before the first claim. A message that was settled before the end is not asked about; parts of a long
        one that were answered keep their answers.
        """

    # admission
    def next_ids(self, count: int, now_ms: int = 0) -> int:
        """The first of `count` consecutive new message ids; they grow for ever, whatever the clock does."""

    def admission(self) -> StoreError | None:
        """Why new work is refused now; None: welcome. As fresh as the last `refresh_usage`."""

    def refresh_usage(self) -> None:
        """Look at the space there is; to be called about once a second."""

    def usage(self) -> dict[str, int]:
        """used_bytes, map_bytes, readers, quarantined, free_disk_bytes."""

    # names, kept for ever
    def carrier_id(self, name: str) -> int:
        """From 1 on; a new name is kept with the next commit."""

    def carrier_name(self, id: int) -> str:
        """The name, or one made of the id where nobody knows it."""

    def carriers(self) -> dict[str, int]:
        """Every carrier there ever was, by name."""

    def group_id(self, name: str) -> int:
        """Of a receipt group: carriers whose receipts may come on one another's binds."""

    def endpoint_for(self, account: int, url: str) -> int:
        """One for each account and origin of its URLs. Errors: StoreError for too many origins."""

    def lane_id(self, spec: LaneSpec) -> int:
        """From 1 on, the same for an equal rule. Errors: StoreError for more than 16 carriers."""

    def lane(self, id: int) -> LaneSpec:
        """The rule; one without carriers where nobody knows the id."""

    def lanes(self) -> dict[int, LaneSpec]:
        """Every lane there ever was, by id."""

    # reads of the last commit
    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        """An account's message and how far it came, from the queue or the archive."""

    def find_any(self, id: int) -> tuple[Message, Progress] | None:
        """For operators, who know no account."""

    def find_waiting(
        self, account: int, source: str, destination: str, service_type: str | None
    ) -> list[int]:
        """Ids of an account's messages with these addresses (service_type None: any) that wait, or are in a
        carrier's hands without an answer yet; from a thread."""

    def find_alias(self, account: int, alias: int) -> int:
        """The id behind a 32-bit one that `accept` gave out (Message.alias); 0: none."""

    def accepted_since(self, account: int, since_ms: int, limit: int) -> list[Message]:
        """What an account submitted since then, oldest first; of more than `limit` the newest. Finished ones,
        too, though of very many archived ones perhaps not the oldest. For starting: it may take seconds."""

    def latest_to(
        self, recipient: str, sender: str, since_ms: int, reference: int = -1
    ) -> tuple[int, int] | None:
        """(account, id) of the newest message to `recipient` sent with this reference, else from `sender`."""

    def inbox(
        self, account: int | Sequence[int], limit: int = 100, before: int = NO_ID
    ) -> list[InboundMessage]:
        """MOs of one account or of several, 0 = of nobody, newest first; `before` an id goes on behind it."""

    def unmatched(self, limit: int = 100) -> list[Parked]:
        """Receipts that no message claimed, newest first."""

    def parked(self, limit: int = 100) -> list[Parked]:
        """Receipts that still wait for their message, newest first."""

    def meta(self, name: str) -> bytes | None:
        """What `put_meta` kept."""

    def remembered(self, account: int, key: bytes) -> Remembered | None:
        """What `remember` kept, for `options.remembered_ms`."""

    def accounts(self) -> dict[int, Account]:
        """By id. Not to be changed: `put_account` does."""

    def totals(self) -> Totals:
        """The conservation counters."""

    def lane_totals(self) -> dict[int, list[int]]:
        """Messages of each lane that has had any: index = Phase, SCHEDULED to UNKNOWN; the others are 0."""

    def outcome_unknown(self) -> dict[int, int]:
        """Messages held now because nobody knows whether they were sent, by carrier id."""

    def queued(self, account: int) -> int:
        """How many messages of the account no carrier has for certain."""

    def wallet(self, account: int) -> Wallet:
        """An account's money. Not to be changed."""

    def ledger(self, account: int, limit: int = 100, before: int = NO_ID) -> list[LedgerEntry]:
        """What was put in and taken out, newest first, numbered below `before`."""

    def tallies(self) -> Tallies:
        """How messages ended and which receipts matched nothing, since the store was opened."""

    def ready_lanes(self) -> set[int]:
        """Lanes that have READY messages of accounts that are not suspended."""

    def ready_masks(self, lane: int) -> tuple[int, ...]:
        """Of the lane's queues that have turns: the masks of carriers that had the messages."""

    def oldest_ready_ms(self, lane: int, unseen_by: int = 0) -> int | None:
        """Due time of the lane's oldest READY message; None: none. `unseen_by`: not had by all of a mask."""

    def ready_queues(self, lane: int) -> dict[int, int]:
        """The lane's queues that have turns: mask of carriers that had the messages → oldest due time."""

    def oldest_by_lane(self, most: int = 2_000) -> dict[int, int]:
        """Lane → due time of its oldest ready message, of lanes that have any; looks at so many queues."""

    def waiting_queues(self, most_each: int, most: int) -> list[ReadyQueue]:
        """All ready queues, those without turns, too, by lane and priority, 3 first. Counts `most_each` rows
        of a queue and `most` in all, but one of each queue; it costs as much as it counts."""

    def before(self, account: int, id: int, most: int) -> Before | None:
        """About how many ready messages go before this one in its lane, `most` of them counted; None: it is
        not ready."""

    def waiting_page(self, which: Which, after: bytes, limit: int) -> WaitingPage:
        """Up to `limit` waiting messages that `move` and `bounce` would look at, from where `after`, of the
        page before, says; b"": from the first."""

    def leases(self) -> Iterable[tuple[int, int, int]]:
        """(carrier id, lease, message id) of everything in carriers' hands. Leases grow with time."""

    def due_rows(self) -> int:
        """Scheduled and deferred messages, and events to be retried."""

    def next_due_ms(self) -> int | None:
        """When `move_due` has something to do next; None: nothing waits for a time."""

    def fail_over(self, policies: Mapping[str, OnReceipt]) -> None:
        """By route: what moves a message on after a carrier has accepted it. Of no other routes."""

    def other_limits(self, changed: OtherLimits | None) -> None:
        """Limits of carriers on some messages are for others than before: what becomes ready from now on
        (falls due, is released or comes back) goes by them. None: nothing has changed."""

    def expired_rows(self, before_ms: int, most: int) -> list[tuple[int, int]]:
        """(minute, message id) of what should have ended before then, the first `most`."""

    def next_silence_ms(self) -> int | None:
        """When `after_silence` has something to look at next; None: nothing is waited for."""

    def outbox_page(self, endpoint: int, after_seq: int, limit: int) -> list[OutboxRow]:
        """An endpoint's events numbered above `after_seq`, oldest first."""

    def has_event(self, row: FreshRow) -> bool:
        """Whether it still waits in the outbox, under its number."""

    def watch_events(self) -> None:
        """From now on `take_fresh_events` has what is queued for accounts' own sessions."""

    def take_fresh_events(self) -> dict[int, list[FreshRow]]:
        """Rows queued by the commits since the last call, by endpoint and in order. A hint: `outbox_page` has
        them too."""

    def outbox_endpoints(self) -> dict[int, Endpoint]:
        """Every endpoint there ever was, by id."""

    def given_up(self, endpoints: Sequence[int], limit: int = 100) -> list[GivenUp]:
        """Events of these endpoints that nobody took, the last given up first."""

    def given_up_count(self) -> int:
        """Events that nobody took, kept until they are put back or too old."""

    def outbox_backlog(self) -> int:
        """Events not delivered yet, retries included."""

    def audit_log(self, limit: int = 100, before: int = NO_ID, subject: str = "") -> list[AuditRow]:
        """Entries newest first, numbered below `before`; of one subject, or with it among its parts."""

    def notices(self, limit: int = 100, before: int = NO_ID, subject: str = "") -> list[NoticeRow]:
        """The event log, newest first, numbered below `before`; of one subject, or with it among its
        parts."""

    def audit_after(self, number: int, limit: int = 1_000) -> list[tuple[int, AuditRow | None]]:
        """Entries oldest first, numbered above `number`; None: it is damaged."""

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the newest entry; (0, "") for none."""

    def audit_verify(self, noted: Iterable[tuple[int, str]] = ()) -> AuditState:
        """Whether every entry is there, as it was written; those `noted` must have these hashes."""

    def finished_page(
        self, account: int, after: int, to: int = NO_ID, state: int = -1, limit: int = 500
    ) -> FinishedPage:
        """An account's messages that ended in `state` (-1: any), after < id < to, also archived ones."""

    def inbound_page(self, account: int, after: int, to: int = NO_ID, limit: int = 500) -> InboundPage:
        """An account's MOs with after < id < to, oldest first."""

    # what has ended
    def pick_finished(self, now_ms: int, limit: int) -> Sequence[Any]:
        """First step of archiving: messages that ended long enough ago, oldest first, as opaque rows. As many
        as `limit`, and what else is with the last one of them."""

    def follow_finished(self, followed: bytes | None) -> None:
        """Messages that ended behind this row stay where `finished_after` finds them; None: nobody asks."""

    def finished_after(self, key: bytes, before_s: int, limit: int) -> Sequence[Any]:
        """Messages that ended up to that second, behind this row, oldest first; `seal_finished` first. Those
        of one row (`key`) come together, so there may be more than `limit`: go on behind the last one's."""

    def write_finished(self, rows: Sequence[Any]) -> None:
        """Second step: durable in the archive; may run in a thread. Repeating it changes nothing."""

    def redact_archived(self, account: int, id: int, now_ms: int, detail: str = "") -> bool:
        """What an archived message said is taken out; whether it is archived. May run in a thread."""

    def look(self, number: Number, kind: Kind, after: bytes, answers: Answers) -> Looked:
        """A portion of what is kept of one kind about a number; may be called from a thread."""

    def look_at_archive(self, number: Number, day: str, after: bytes) -> Looked:
        """The same of an archived day."""

    def without_number(self, day: str, number: Number, now_ms: int) -> Anew:
        """An archived day, written anew without a number; from a thread."""

    def days_with_old_texts(self, now_ms: int) -> list[str]:
        """Archived days whose texts are to be gone by now (`options.texts_ms`); from a thread."""

    def without_texts(self, day: str, now_ms: int) -> Anew:
        """Such a day, written anew without them; from a thread."""

    def drop_old(self, now_ms: int, retention_days: int) -> list[str]:
        """Archived days past the retention are gone; their names."""

    # looking after it
    def check(self) -> list[Finding]:
        """What is wrong; nothing, if the store agrees with itself. Beside traffic, from a thread."""

    def backup(self, target: Path) -> None:
        """Copy it as it is at one commit into a new directory, beside traffic, from a thread."""
