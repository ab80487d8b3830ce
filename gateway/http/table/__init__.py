"""Every endpoint of the HTTP API, each declared once: the table.

To add one:
1. Declare it in the file of its subject here: an `Endpoint` with method, path, id, what it needs, its types.
   The types are msgspec Structs; those that a request is decoded into are the ones that are declared.
2. Where its handlers are put into the routes: `routes.serve(table.messages.SEND, self.submit)`.
3. A problem code of its own is a line in gateway/http/codes.py, a new scope a line in router/roles.py.
Routes, /openapi.json, /docs, the checks of keys and the tests follow from that. A new file of endpoints is
imported below.

Invariants: importing this imports no handler; paths and ids are unique.

Deliberately not here: what the entries are (endpoint.py), handlers.
"""

from __future__ import annotations

from gateway.http.endpoint import Endpoint
from gateway.http.table import (
    accounts,
    acts,
    callbacks,
    cdrs,
    house,
    inbound,
    keys,
    messages,
    money,
    operations,
    overview,
    privacy,
    routing,
    senders,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *messages.ENDPOINTS,
    *inbound.ENDPOINTS,
    *routing.ENDPOINTS,
    *accounts.ENDPOINTS,
    *money.ENDPOINTS,
    *keys.ENDPOINTS,
    *senders.ENDPOINTS,
    *callbacks.ENDPOINTS,
    *cdrs.ENDPOINTS,
    *operations.ENDPOINTS,
    *acts.ENDPOINTS,
    *privacy.ENDPOINTS,
    *overview.ENDPOINTS,
    *house.ENDPOINTS,
)
