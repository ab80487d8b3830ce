"""What a bound customer may ask beyond submit_sm: data_sm, submit_multi, query, cancel, replace.

Deliberately not here: what is refused by its command alone (smpp.answers: the session says so by itself),
submit_sm (connection), what cancel and replace may touch (store).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
import trio

from gateway.committer import Committer
from gateway.door import Accepted, Refusal, Submission
from gateway.smpp_server.translate import (
    content_of,
    destination_of,
    id_of,
    parse_id,
    source_of,
    status_of,
    submission,
    times_of,
    wish_of,
)
from router.nouns import Account, Message, MessageState, Progress
from router.numbers import NumberProblem
from smpp.constants import CommandId
from smpp.fields import DistributionList, SmeAddress, UnsuccessSme
from smpp.pdu import (
    CancelSm,
    CancelSmResp,
    DataSm,
    Pdu,
    QuerySm,
    QuerySmResp,
    ReplaceSm,
    ReplaceSmResp,
    SubmitMulti,
    SubmitMultiResp,
)
from smpp.smpptime import format_absolute
from smpp.status import Status
from store.interface import Replacement, Store, StoreError, Transaction

if TYPE_CHECKING:
    from gateway.smpp_server.connection import Connection
    from gateway.smpp_server.server import SmppServer

log = structlog.get_logger("smpp")

_MOST_DESTINATIONS = 254  # number_of_dests (3.4 section 4.5.1)
_ALIAS_LIMIT = 1 << 32
_SEARCHED_HERE = 200  # waiting messages that are searched without a thread
_SHOWN_34 = {MessageState.SCHEDULED: MessageState.ENROUTE, MessageState.SKIPPED: MessageState.REJECTED}
_CANCEL = {
    "cancelled": Status.ESME_ROK,
    "unknown": Status.ESME_RINVMSGID,
    "leased": Status.ESME_RCANCELFAIL,
    "sent": Status.ESME_RCANCELFAIL,
    "final": Status.ESME_RCANCELFAIL,
}
_REPLACE = {
    "replaced": Status.ESME_ROK,
    "unknown": Status.ESME_RINVMSGID,
    "leased": Status.ESME_RREPLACEFAIL,
    "sent": Status.ESME_RREPLACEFAIL,
    "final": Status.ESME_RREPLACEFAIL,
}


class Operations:
    def __init__(self, server: SmppServer, committer: Committer, store: Store) -> None:
        self._server = server
        self._committer = committer
        self._store = store
        self._searches: deque[tuple[Search, Callable[[Sequence[int]], None]]] = deque()
        self._wake = trio.Event()
        self._handlers: Mapping[int, Callable[[Connection, Any], None]] = {
            int(CommandId.DATA_SM): self._data,
            int(CommandId.SUBMIT_MULTI): self._multi,
            int(CommandId.QUERY_SM): self._query,
            int(CommandId.CANCEL_SM): self._cancel,
            int(CommandId.REPLACE_SM): self._replace,
        }

    def take(self, connection: Connection, pdu: Pdu) -> None:
        """Do what smpp.answers calls served."""
        self._handlers[pdu.command_id](connection, pdu)

    def _data(self, connection: Connection, pdu: DataSm) -> None:
        connection.submit([pdu])

    # submit_multi

    def _multi(self, connection: Connection, pdu: SubmitMulti) -> None:
        account = connection.tenant.account
        destinations, unknown = self._destinations(account, pdu)
        if unknown:
            connection.refuse(pdu, unknown)
            return
        beyond = connection.unanswered >= account.window  # within one read; between reads nothing is read
        if beyond or not connection.may_submit(len(destinations)):
            if beyond or not connection.may_wait(pdu):
                connection.refuse(pdu, Status.ESME_RTHROTTLED)
            return
        self._submit_multi(connection, pdu, destinations)

    def paced_multi(self, connection: Connection, pdu: SubmitMulti) -> None:
        """One that waited for the account's rate, and has paid for one of its destinations."""
        account = connection.tenant.account
        destinations, unknown = self._destinations(account, pdu)
        if unknown:  # its list has gone meanwhile
            connection.refuse(pdu, unknown)
            return
        connection.tenant.throttle.take(len(destinations) - 1, trio.current_time())
        self._submit_multi(connection, pdu, destinations)

    def _submit_multi(
        self, connection: Connection, pdu: SubmitMulti, destinations: Sequence[SmeAddress]
    ) -> None:
        account = connection.tenant.account
        now_ms = self._server.world.wall_ms()
        requests: list[Submission] = []
        for to in destinations:
            request = submission(pdu, account, now_ms, connection.session.peer_version)
            if not isinstance(request, Submission):
                connection.refuse(pdu, request)
                return
            request.to = destination_of(to.destination_addr, to.dest_addr_ton)
            request.destination_type = (to.dest_addr_ton & 15) << 4 | to.dest_addr_npi & 15
            request.multi = True
            requests.append(request)
        connection.took(len(requests))
        done = partial(self._multi_answered, connection, account, pdu, destinations)
        self._server.submit(account, requests, done)

    def _destinations(self, account: Account, pdu: SubmitMulti) -> tuple[list[SmeAddress], int]:
        """Every address, lists written out; or the status that refuses the whole."""
        found: list[SmeAddress] = []
        most = max(_MOST_DESTINATIONS, *(len(members) for members in account.lists.values()), 0)
        for one in pdu.dest_address:
            if isinstance(one, SmeAddress):
                found.append(one)
            else:
                assert isinstance(one, DistributionList)
                members = account.lists.get(one.dl_name.decode("latin-1"))
                if members is None:
                    return [], Status.ESME_RINVDLNAME
                found.extend(SmeAddress(1, 1, member.lstrip("+").encode()) for member in members)
            if len(found) > most:
                return [], Status.ESME_RINVNUMDESTS
        if not found:
            return [], Status.ESME_RINVNUMDESTS
        return found, 0

    def _multi_answered(
        self,
        connection: Connection,
        account: Account,
        pdu: SubmitMulti,
        destinations: Sequence[SmeAddress],
        results: Sequence[Accepted | Refusal],
    ) -> None:
        """One id for all that were accepted; the others named with their status."""
        connection.took(-len(results))
        refused: list[UnsuccessSme] = []
        shown = b""
        version = connection.session.peer_version
        for to, result in zip(destinations, results, strict=True):
            if isinstance(result, Accepted):
                if not shown:
                    shown = id_of(account.id_form, result.id, result.alias)[:-1]
            else:
                status = status_of(result, version, account.unpaid_status)
                refused.append(UnsuccessSme(to.dest_addr_ton, to.dest_addr_npi, to.destination_addr, status))
        connection.session.respond(
            SubmitMultiResp(
                message_id=shown,
                unsuccess_sme=refused[:255],
                command_status=0 if shown else int(Status.ESME_RSUBMITFAIL),
                sequence_number=pdu.sequence_number,
            )
        )
        connection.flush()

    # a message's fate

    def _find(self, connection: Connection, text: bytes) -> tuple[Message, Progress] | None:
        """A message of this account, by the id it was given."""
        account = connection.tenant.account
        number = parse_id(account.id_form, text)
        if number is None:
            return None
        if account.id_form == "short" and number < _ALIAS_LIMIT:
            number = self._store.find_alias(account.id, number) or number
        if not 0 < number < 1 << 63:
            return None
        return self._store.find(account.id, number)

    def _query(self, connection: Connection, pdu: QuerySm) -> None:
        """The real state; the final date when there is one (3.4 section 4.8)."""
        found = self._find(connection, pdu.message_id)
        if found is None or not _same_source(found[0], pdu):
            connection.refuse(pdu, Status.ESME_RQUERYFAIL if found else Status.ESME_RINVMSGID)
            return
        _, progress = found
        state = MessageState(progress.state)
        if connection.session.peer_version < 0x50:
            state = _SHOWN_34.get(state, state)
        error = next((part.error for part in progress.parts if part.error), "")
        connection.session.respond(
            QuerySmResp(
                message_id=pdu.message_id,
                final_date=format_absolute(progress.finished_ms),
                message_state=state,
                error_code=int(error) & 0xFF if error.isdecimal() and error.isascii() else 0,
                sequence_number=pdu.sequence_number,
            )
        )

    def _cancel(self, connection: Connection, pdu: CancelSm) -> None:
        """One message, or with message_id NULL all that match the addresses (3.4 section 4.9)."""
        now_ms = self._server.world.wall_ms()
        account = connection.tenant.account
        if pdu.message_id:
            found = self._find(connection, pdu.message_id)
            if found is None or not _same_source(found[0], pdu):
                connection.refuse(pdu, Status.ESME_RINVMSGID if found is None else Status.ESME_RCANCELFAIL)
                return
            id = found[0].id

            def cancel(txn: Transaction) -> int:
                return int(_CANCEL.get(txn.cancel(account.id, id, now_ms), Status.ESME_RCANCELFAIL))

            self._committer.call_soon(cancel, partial(_settled, connection, pdu, CancelSmResp), awaited=True)
            return
        addresses = self._addresses(account, pdu)
        if isinstance(addresses, int):
            connection.refuse(pdu, addresses)
            return
        search = Search(account, *addresses, pdu.service_type.decode("latin-1") or None)
        self._enqueue(search, partial(self._cancel_found, connection, pdu, account, now_ms))

    def _cancel_found(
        self, connection: Connection, pdu: CancelSm, account: Account, now_ms: int, ids: Sequence[int]
    ) -> None:
        if not ids:
            connection.refuse(pdu, Status.ESME_RCANCELFAIL)
            connection.flush()
            return

        def cancel(txn: Transaction) -> int:
            ended = [txn.cancel(account.id, id, now_ms) for id in ids]
            return int(Status.ESME_ROK if "cancelled" in ended else Status.ESME_RCANCELFAIL)

        self._committer.call_soon(cancel, partial(_settled, connection, pdu, CancelSmResp), awaited=True)

    def _addresses(self, account: Account, pdu: CancelSm) -> tuple[str, str] | int:
        source = source_of(pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi)
        if isinstance(source, int):
            return source
        if not pdu.destination_addr:
            return int(Status.ESME_RINVDSTADR)
        try:
            return source[0], self._server.door.recipient(
                account, destination_of(pdu.destination_addr, pdu.dest_addr_ton)
            )
        except NumberProblem:
            return int(Status.ESME_RINVDSTADR)

    def _replace(self, connection: Connection, pdu: ReplaceSm) -> None:
        """Another text, time, validity and receipt wish for a message that waits (3.4 section 4.10)."""
        account = connection.tenant.account
        found = self._find(connection, pdu.message_id)
        if found is None or not _same_source(found[0], pdu):
            connection.refuse(pdu, Status.ESME_RINVMSGID if found is None else Status.ESME_RREPLACEFAIL)
            return
        message = found[0]
        now_ms = self._server.world.wall_ms()
        times = times_of(pdu, now_ms)
        if isinstance(times, int):
            connection.refuse(pdu, times)
            return
        data_coding = _data_coding(message)
        content = content_of(pdu.short_message, 0, data_coding, pdu.tlvs, account.alphabet)
        if isinstance(content, int):
            connection.refuse(pdu, content)
            return
        receipt, acks = wish_of(pdu.registered_delivery, connection.session.peer_version)
        replacement = Replacement(
            encoding=content.encoding,
            segments=content.segments,
            text=content.text,
            data=content.data,
            send_at_ms=times[0],
            expires_ms=times[1],
            receipt=receipt,
            acks=acks,
        )
        account_id, id = account.id, message.id

        def replace(txn: Transaction) -> int:
            return int(
                _REPLACE.get(txn.replace(account_id, id, replacement, now_ms), Status.ESME_RREPLACEFAIL)
            )

        self._committer.call_soon(replace, partial(_settled, connection, pdu, ReplaceSmResp), awaited=True)

    # by address: one at a time for all, since each must see what the one before it changed

    def submit_replacing(
        self, account: Account, request: Submission, done: Callable[[Sequence[Accepted | Refusal]], None]
    ) -> None:
        """Accept it, and in the same commit end what it replaces (3.4 section 5.2.18)."""
        source = request.source[0] if request.source else request.sender
        try:
            destination = self._server.door.recipient(account, request.to)
        except NumberProblem:
            destination = ""  # the door refuses it
        search = Search(account, source, destination, request.relay.service_type if request.relay else "")
        self._enqueue(search, partial(self._replace_found, account, request, done))

    def _replace_found(
        self,
        account: Account,
        request: Submission,
        done: Callable[[Sequence[Accepted | Refusal]], None],
        ids: Sequence[int],
    ) -> None:
        now_ms = self._server.world.wall_ms()

        def end(txn: Transaction) -> None:
            for id in ids:
                txn.cancel(account.id, id, now_ms)

        self._server.door.submit(account, [request], done, end if ids else None)

    def _enqueue(self, search: Search, found: Callable[[Sequence[int]], None]) -> None:
        self._searches.append((search, found))
        self._wake.set()

    async def run(self) -> None:
        """Search for those that asked by address, in order."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._searches:
                search, found = self._searches.popleft()
                account = search.account
                ids: Sequence[int] = ()
                if self._store.queued(account.id):
                    arguments = (account.id, search.source, search.destination, search.service_type)
                    if self._store.queued(account.id) <= _SEARCHED_HERE:
                        ids = self._store.find_waiting(*arguments)
                    else:
                        ids = await trio.to_thread.run_sync(self._store.find_waiting, *arguments)
                found(ids)
                with suppress(StoreError):  # what was found stays to be done; the next search may go on
                    await self._committer.execute(lambda txn: None)


class Search(NamedTuple):
    """Waiting messages of an account by their addresses and service_type, None for any (3.4 section 4.9)."""

    account: Account
    source: str
    destination: str
    service_type: str | None


def _same_source(message: Message, pdu: QuerySm | CancelSm | ReplaceSm) -> bool:
    """The source must be the one the message was submitted with, NULL included (3.4 section 4.8.1)."""
    source = source_of(pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi)
    return not pdu.source_addr or (not isinstance(source, int) and source[0] == message.source)


def _data_coding(message: Message) -> int:
    """A replacement comes in the data_coding of what it replaces: replace_sm has none of its own."""
    if message.relay is not None and message.relay.data_coding >= 0:
        return message.relay.data_coding
    return {0: 0, 1: 3, 2: 8}.get(message.encoding, 4)


def _settled(connection: Connection, pdu: Pdu, response: type[Pdu], call: Any) -> None:
    """The commit is durable, or the store had not even the room that is kept for such changes: answer."""
    if call.error is not None:
        log.error("operation failed", command=pdu.command, error=str(call.error))
        connection.refuse(pdu, Status.ESME_RSYSERR)
    elif call.result:
        connection.refuse(pdu, call.result)
    else:
        connection.session.respond(response(sequence_number=pdu.sequence_number))
    connection.flush()
