"""The endpoints of acts, made of the table of acts: one for each, and the list of them.

The body is the act's arguments and `reason`, which only a preview may leave out.

Deliberately not here: which acts there are (gateway.acts).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.acts import ACTS as TABLE
from gateway.acts import Act, Preview
from gateway.audit import LONGEST_REASON
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.table.types import Time

Reason = Annotated[
    str,
    Meta(
        max_length=LONGEST_REASON,
        description=f"why it is done: 1 to {LONGEST_REASON} printable characters; a preview needs none",
    ),
]


class ActDone(msgspec.Struct):
    """A preview, and nothing was done; or what the act answered."""

    verb: str
    done: bool
    preview: Preview | None
    result: Any


class ActTold(msgspec.Struct):
    """`ends`: it can be given an end, as `for_s`. `arguments`: its fields, what it is about first."""

    verb: str
    title: str
    does: str
    subject: str
    scope: str
    ends: bool
    arguments: list[str]


class ActToEnd(msgspec.Struct):
    """What ends an order before its time."""

    verb: str
    arguments: dict[str, Any]


class OrderTold(msgspec.Struct):
    """What is in force by an operator's word. `subject` is kind:name, `value` what it was set to."""

    kind: str
    subject: str
    by: str
    reason: str
    since: Time
    until: Annotated[Time | None, Meta(description="null: until somebody ends it")]
    value: str
    end: ActToEnd


class ActsOut(msgspec.Struct):
    """`acts`: what the key may do."""

    acts: list[ActTold]
    in_force: list[OrderTold]


ACTS = Endpoint(
    method="GET",
    path="/v1/acts",
    id="getActs",
    tag="Acts",
    summary="What may be done to live traffic, and what is in force now",
    access="events.read",
    answers={200: Answer(ActsOut, "The acts that the key may do, and all orders")},
    problems=("operator-key-needed",),
)

_PROBLEMS = (
    "operator-key-needed", "no-such-subject", "act-refused", "bad-config", "needs-restart", "store-full",
    "store-failed",
)  # fmt: skip


def _endpoint(act: Act) -> Endpoint:
    name = "".join(part.capitalize() for part in act.verb.replace("_", ".").split("."))
    return Endpoint(
        method="POST",
        path=f"/v1/acts/{act.verb}",
        id=f"act{name}",
        tag="Acts",
        summary=act.title,
        description=f"{act.does} With preview: only what it would touch.",
        access=act.scope,
        body=_body(act, f"Act{name}In"),
        example={**act.example, "reason": "their maintenance"},
        answers={200: Answer(ActDone, "What was done, or would be touched")},
        problems=_PROBLEMS,
        idempotency="kept",
    )


def _body(act: Act, name: str) -> type[msgspec.Struct]:
    """The act's arguments and the reason."""
    fields: list[Any] = []
    for one in msgspec.structs.fields(act.arguments):
        if one.required:
            fields.append((one.encode_name, one.type))
        elif one.default_factory is not msgspec.NODEFAULT:
            fields.append((one.encode_name, one.type, msgspec.field(default_factory=one.default_factory)))
        else:
            fields.append((one.encode_name, one.type, one.default))
    fields.append(("reason", Reason, ""))
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True)


BY_ACT: tuple[tuple[Act, Endpoint], ...] = tuple((one, _endpoint(one)) for one in TABLE)
ENDPOINTS = (ACTS, *(endpoint for _, endpoint in BY_ACT))
