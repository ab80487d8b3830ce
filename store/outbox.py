"""COMMIT D and where events come from: what accounts still have to be told.

`outbox` holds what may go now, by endpoint and in commit order; `outbox_due` what waits for its retry. A
retried event comes back under a new number, behind the endpoint's others, so that a reader that goes forward
never misses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isal.isal_zlib import crc32

from router.nouns import Event, EventKind, MessageState, Relay, Via
from store.interface import SMPP_ORIGIN, OutboxRow
from store.records import OUTBOX_DUE_KEY, OUTBOX_KEY, decode_event, encode
from store.values import VALUE_VERSION, pack_head

USER_MESSAGE_REFERENCE = 0x0204  # a TLV that comes back in receipts (SMPP 3.4 section 5.3.2.17)
_HTTP_ONLY = frozenset((int(EventKind.SENT), int(EventKind.ACCOUNT)))
RECEIPT_TEXT = 20  # characters of the message that a receipt quotes (SMPP 3.4 Appendix B)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.nouns import Account, Message, Progress
    from store.batch import Batch
    from store.interface import FreshRow


def outbox_done(batch: Batch, rows: Sequence[FreshRow]) -> None:
    """These were delivered."""
    pack = OUTBOX_KEY.pack
    batch.delete_all(batch.tables.outbox, [pack(row.endpoint, row.seq) for row in rows])


def outbox_retry(batch: Batch, rows: Sequence[OutboxRow], due_ms: int) -> None:
    """These wait until due_ms; the caller has counted the attempt in the event."""
    delete = batch.deleter(batch.tables.outbox)
    for row in rows:
        if delete(OUTBOX_KEY.pack(row.endpoint, row.seq)):
            key = OUTBOX_DUE_KEY.pack(due_ms, row.endpoint, row.seq)
            batch.put(batch.tables.outbox_due, key, encode(row.event))


def move_due_events(batch: Batch, now_ms: int, limit: int) -> int:
    """Events whose retry is due, back into the outbox."""
    moved = 0
    for key, payload in batch.scan(batch.tables.outbox_due, b"\0", limit):
        due_ms, endpoint, _ = OUTBOX_DUE_KEY.unpack(key)
        if due_ms > now_ms:
            break
        batch.delete(batch.tables.outbox_due, key)
        put_event(batch, endpoint, payload)
        known = batch.core.names.endpoints.get(endpoint)
        if known is not None and known.origin == SMPP_ORIGIN:
            hand_over(batch, OutboxRow(endpoint, batch.outbox_seq, decode_event(payload)))
        moved += 1
    return moved


def tell(batch: Batch, event: Event) -> bool:
    """Queue an event for its account, if there is anywhere to send it."""
    endpoint, over_smpp = way_of(batch, event)
    if not endpoint:
        return False
    put_event(batch, endpoint, encode(event))
    if over_smpp:
        hand_over(batch, OutboxRow(endpoint, batch.outbox_seq, event))
    return True


def hand_over(batch: Batch, row: OutboxRow) -> None:
    """To its account's own sessions, after the commit."""
    batch.told.setdefault(row.endpoint, []).append(row)


def way_of(batch: Batch, event: Event) -> tuple[int, bool]:
    """(the endpoint it goes to, 0 = nowhere; whether that is its account's own sessions).

    Follows from kind, account, via and URL, and stays the same within one commit.
    """
    account = batch.memory.accounts.get(event.account)
    if account is None:
        return 0, False
    url = event.url or _address(account, event)
    if not url:
        return 0, False
    return batch.core.names.endpoint_at_event(event.account, url), url is SMPP_ORIGIN


def account_url(account: Account, event: Event) -> str:
    """The account's own URL for such an event, "" = none."""
    return (account.mo_url if event.kind == EventKind.MO else "") or account.callback_url


def _address(account: Account, event: Event) -> str:
    """A callback URL, SMPP_ORIGIN for the account's own sessions, or "" """
    url = account_url(account, event)
    if not account.logins or event.kind in _HTTP_ONLY:
        return url
    if event.kind == EventKind.MO:
        over_smpp = account.mos_via == "smpp" or (account.mos_via == "auto" and not url)
    else:
        over_smpp = account.receipts_via == "smpp" or (
            account.receipts_via == "same" and event.via == Via.SMPP
        )
    return SMPP_ORIGIN if over_smpp or not url else url


def put_event(batch: Batch, endpoint: int, payload: bytes) -> None:
    batch.outbox_seq += 1
    key = OUTBOX_KEY.pack(endpoint, batch.outbox_seq)
    batch.putter(batch.tables.outbox)(key, pack_head(VALUE_VERSION, crc32(key + payload)) + payload)


def receipt_event(
    message: Message,
    progress: Progress,
    state: int,
    at_ms: int,
    error: str = "",
    final: bool = True,
    part: int = 0,
    done_ms: int = 0,
) -> Event:
    """What an account hears of a message's state."""
    parts = progress.parts
    relay = message.relay
    quoted = tuple(one for one in relay.tlvs if one[0] == USER_MESSAGE_REFERENCE) if relay is not None else ()
    event = Event(
        EventKind.RECEIPT,
        message.account,
        message.id,
        at_ms,
        message.source,
        message.destination,
        state,
        progress.reason,
        error,
        message.segments,
        message.client_ref,
        message.tags,
        message.callback_url,
        carrier=parts[0].carrier if parts else 0,
        final=final,
        part=part,
        text=message.text[:RECEIPT_TEXT],
        accepted_ms=message.accepted_ms,
        source_type=message.source_ton << 4 | message.source_npi,
        destination_type=message.destination_type,
        alias=message.alias,
        via=message.via,
        relay=Relay(tlvs=quoted) if quoted else None,
        shown=relay.shown if relay is not None else 0,
        done_ms=done_ms,
    )
    if message.callback is not None:
        event.callback = message.callback
        event.carrier_message_id = parts[0].carrier_message_id if parts else ""
    return event


def tell_sent(batch: Batch, message: Message, progress: Progress, at_ms: int) -> None:
    """A carrier took the message: for those who asked to hear of that."""
    event = receipt_event(message, progress, MessageState.ENROUTE, at_ms, final=False)
    event.kind = EventKind.SENT
    tell(batch, event)


def tell_account(batch: Batch, account: int, what: str, data: bytes, at_ms: int) -> bool:
    """Something about the account itself: `what` is a word such as low_balance, `data` a JSON object.

    False where the account has no callback URL: nobody waits for it then.
    """
    return tell(batch, Event(EventKind.ACCOUNT, account, at_ms, at_ms, "", "", error=what, data=data))


STATE_NAMES = {int(state): state.name for state in MessageState}
