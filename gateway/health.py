"""Which carriers take messages, once a second: orders of operators are carried out, and end by themselves.

Deliberately not here: what operators may say (gateway.orders), how a carrier stands aside (gateway.carriers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from store.interface import StoreError

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.carriers.carrier import Carrier

_LOOK_S = 1.0

log = structlog.get_logger("health")


class HealthWatch:
    """`apply` does what is decided at once; `run` looks again once a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.orders.changed.append(self.apply)
        self.apply()

    async def run(self) -> None:
        while True:
            try:
                await self._gateway.orders.end_old()
            except StoreError as error:
                log.error("an order did not end in time", error=str(error), hint=error.hint)
            await trio.sleep(_LOOK_S)

    def apply(self) -> None:
        """Carriers take messages or do not, as things stand."""
        orders = self._gateway.orders.by_carrier
        for carrier in self._gateway.carriers:
            suspended = carrier.name in orders
            if suspended != carrier.suspended:
                carrier.stand(suspended=suspended, out=carrier.out, trial=carrier.trial)

    def view(self, carrier: Carrier, now_ms: int) -> dict[str, object]:
        """For people and programs; a figure is None while there is too little to tell."""
        return {
            "out": None,
            "health": {
                "error_ratio": None,
                "response_p90_s": None,
                "delivered_ratio": None,
                "receipt_p50_s": None,
            },
        }
