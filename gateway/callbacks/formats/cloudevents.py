"""CloudEvents 1.0 in structured JSON mode, with a Standard Webhooks signature over the whole body.

Source: CloudEvents 1.0.2, its JSON format and its HTTP binding (sections 3.2 and 3.3). An event's data are
those of our own format; a batch is a JSON array in the media type for batches.

Deliberately not here: binary mode, the data themselves (standard).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.callbacks.formats.outgoing import Format, Outgoing, Terms
from gateway.callbacks.formats.standard import Data, batch_id, data_of, event_id, rfc3339, signed, type_of
from router.nouns import Event, EventKind

_ONE = ("Content-Type", "application/cloudevents+json; charset=utf-8")
_BATCH = ("Content-Type", "application/cloudevents-batch+json; charset=utf-8")


class _CloudEvent(msgspec.Struct, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str
    datacontenttype: str
    data: Data


_encode = msgspec.json.Encoder().encode


def render(events: Sequence[Event], terms: Terms) -> Outgoing:
    """One event, or an array of them for accounts that want batches."""
    if terms.batch:
        body, webhook_id, kind = _encode([_event(one, terms) for one in events]), batch_id(events), _BATCH
    else:
        body, webhook_id, kind = _encode(_event(events[0], terms)), event_id(events[0]), _ONE
    return Outgoing("POST", terms.url, (kind, *signed(terms, webhook_id, body)), body)


def _event(event: Event, terms: Terms) -> _CloudEvent:
    about_account = event.kind == EventKind.ACCOUNT
    return _CloudEvent(
        "1.0",
        event_id(event),
        f"/accounts/{terms.name}",
        f"signalbox.{type_of(event)}",
        rfc3339(event.at_ms),
        f"account/{terms.name}" if about_account else f"message/{event.message_id}",
        "application/json",
        data_of(event),
    )


FORMAT = Format(render, batches=True)
