"""outbind: we call a customer that is not bound and has something to hear (SMPP 3.4 section 2.2.1).

For accounts with an `outbind` address. The customer answers with bind_receiver (or bind_transceiver) on the
connection we made, and passes the gate like anybody. One attempt at a time for each account, with a pause.

Deliberately not here: a connection's life (connection), what is delivered (deliveries).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from gateway.smpp_server.connection import Connection
from gateway.smpp_server.listener import Peer
from router.nouns import Account
from smpp.pdu import Outbind
from store.interface import SMPP_ORIGIN, Store

if TYPE_CHECKING:
    from gateway.smpp_server.server import SmppServer

log = structlog.get_logger("smpp")

_LOOK_S = 5.0
_PAUSE_S = 60.0
_CONNECT_S = 10.0


class Outbinds:
    def __init__(self, server: SmppServer, store: Store) -> None:
        self._server = server
        self._store = store
        self._not_before: dict[int, float] = {}  # account → when to call again

    async def run(self) -> None:
        """Call those who have something to hear and are not here."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(_LOOK_S)
                now = trio.current_time()
                for account in self._server.accounts_by_id().values():
                    if (
                        account.outbind
                        and self._not_before.get(account.id, 0.0) <= now
                        and self._waits(account)
                    ):
                        self._not_before[account.id] = now + _PAUSE_S
                        nursery.start_soon(self._call, account)

    def _waits(self, account: Account) -> bool:
        if account.suspended or account.closed:
            return False
        port = self._server.deliveries.ports.get(account.id)
        if port is not None and port.receivers:
            return False
        return any(
            self._store.outbox_page(endpoint.id, 0, 1)
            for endpoint in self._store.outbox_endpoints().values()
            if endpoint.account == account.id and endpoint.origin == SMPP_ORIGIN
        )

    async def _call(self, account: Account) -> None:
        host, _, port = account.outbind.rpartition(":")
        host = host.strip("[]")
        try:
            with trio.fail_after(_CONNECT_S):
                stream = await self._server.world.connect(host, int(port))
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            why = str(error) or "no answer"
            log.warning("outbind failed", account=account.name, address=account.outbind, error=why)
            return
        log.info("outbind", account=account.name, address=account.outbind)
        pdu = Outbind(
            system_id=self._server.settings.system_id.encode(), password=account.outbind_password.encode()
        )
        try:
            peer = Peer(stream=stream, address=host, port=int(port), tls=False)
            await self._server.serve(Connection(peer, self._server, outbind=pdu))
        finally:
            self._not_before[account.id] = trio.current_time() + _PAUSE_S
            await trio.aclose_forcefully(stream)
