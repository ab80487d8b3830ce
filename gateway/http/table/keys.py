"""The endpoints of API keys: of an account's own, and of all for operators."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.admin_keys import LONGEST_NAME, MOST_ADDRESSES
from gateway.admin_operators import LONGEST_OVERLAP_S
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.fields import Instant
from gateway.http.table.types import Cursor, Next, Time
from router.roles import SCOPES, Role

PAGE = 50
MOST_OF_A_PAGE = 200

KeyId = Annotated[str, Meta(description="of a key; it stays when the key is rotated", max_length=64)]
Network = Annotated[
    str, Meta(description="an address or network, IPv4 or IPv6", max_length=64, examples=["192.0.2.0/24"])
]
Scope = Annotated[str, Meta(description="of the roles' table", extra_json_schema={"enum": list(SCOPES)})]
AccountName = Annotated[str, Meta(max_length=64, description="an account's keys")]
OperatorName = Annotated[str, Meta(max_length=64, description="an operator's keys")]


class KeyOut(msgspec.Struct):
    """A key without itself. One of account and operator is null."""

    id: KeyId
    account: str | None
    operator: str | None
    role: str
    name: str
    prefix: str
    scopes: list[str]
    addresses: list[str]
    created_at: Time | None
    created_by: str
    expires_at: Time | None
    ended: bool
    last_used_at: Annotated[Time | None, Meta(description="to the minute, while it goes on being used")]
    last_used_from: str | None
    previous_prefix: Annotated[str | None, Meta(description="of the secret before the last rotation")]
    previous_until: Time | None
    key: Annotated[str, Meta(description="in the answer that made it, and never again")] = ""


class KeysOut(msgspec.Struct):
    """A page of them, by id."""

    keys: list[KeyOut]
    next: Next


class KeysQuery(msgspec.Struct, forbid_unknown_fields=True):
    account: AccountName = ""
    operator: OperatorName = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class NewKeyIn(msgspec.Struct, forbid_unknown_fields=True):
    """An account's key may leave account out. No scopes: all of the role; no addresses: from anywhere."""

    account: AccountName | None = None
    operator: OperatorName | None = None
    name: Annotated[str, Meta(max_length=LONGEST_NAME)] | None = None
    scopes: list[Scope] | None = None
    addresses: Annotated[list[Network], Meta(max_length=MOST_ADDRESSES)] | None = None
    expires_at: Instant | None = None


class RotateKeyIn(msgspec.Struct, forbid_unknown_fields=True):
    overlap_s: (
        Annotated[
            float,
            Meta(ge=0, le=LONGEST_OVERLAP_S, description="how much longer the present secret works; an hour"),
        ]
        | None
    ) = None


_ONE = "/v1/keys/{id}"
_NAMED = {"id": "of the key"}
_EXAMPLE = {
    "id": "k5c0ffee500000000", "account": "shop", "operator": None, "role": Role.ACCOUNT.value, "name": "app",
    "prefix": "sbk_5c0ffee5", "scopes": ["messages.send"], "addresses": ["192.0.2.0/24"],
    "created_at": "2030-01-31T09:30:00.000Z", "created_by": "account:shop", "expires_at": None,
    "ended": False, "last_used_at": None, "last_used_from": None, "previous_prefix": None,
    "previous_until": None,
}  # fmt: skip
_CHANGES = ("key-conflict", "store-full", "store-failed")

LIST = Endpoint(
    method="GET",
    path="/v1/keys",
    id="listKeys",
    tag="Keys",
    summary="List API keys",
    description="An account's key sees its account's; who may not look at operators sees those of accounts.",
    access="keys.read",
    query=KeysQuery,
    answers={200: Answer(KeysOut, "A page of keys", headers=("Link",))},
    problems=("no-such-account", "no-such-operator"),
)
CREATE = Endpoint(
    method="POST",
    path="/v1/keys",
    id="createKey",
    tag="Keys",
    summary="Make an API key",
    description=(
        "`key` is in this answer, and never again. A key gives no more than it has: scopes, addresses and "
        "end are within its own, and are its own where they are left out."
    ),
    access="keys.write",
    body=NewKeyIn,
    example={"name": "app", "scopes": ["messages.send"], "addresses": ["192.0.2.0/24"]},
    answers={
        201: Answer(
            KeyOut, "The key, this once", {**_EXAMPLE, "key": "sbk_5c0ffee5_…"}, headers=("Location",)
        )
    },
    problems=("no-such-account", "no-such-operator", *_CHANGES),
    idempotency="may",
    audited=True,
)
SHOW = Endpoint(
    method="GET",
    path=_ONE,
    id="getKey",
    tag="Keys",
    summary="Look at an API key: what it may, from where, until when, when it was used last",
    access="keys.read",
    params=_NAMED,
    answers={200: Answer(KeyOut, "The key, without itself", _EXAMPLE)},
    problems=("no-such-key",),
)
ROTATE = Endpoint(
    method="POST",
    path=_ONE + "/rotate",
    id="rotateApiKey",
    tag="Keys",
    summary="Give an API key another secret",
    description=(
        "Its id, scopes, addresses and end stay. The present secret works overlap_s longer, the one before "
        "it no more. A repetition with the same Idempotency-Key is carried out once."
    ),
    access="keys.write",
    params=_NAMED,
    body=RotateKeyIn,
    body_may_be_empty=True,
    example={"overlap_s": 600},
    answers={200: Answer(KeyOut, "The key, this once", {**_EXAMPLE, "key": "sbk_5c0ffee5_…"})},
    problems=("no-such-key", *_CHANGES),
    idempotency="must",
    audited=True,
)
REVOKE = Endpoint(
    method="DELETE",
    path=_ONE,
    id="revokeKey",
    tag="Keys",
    summary="Revoke an API key",
    description="It opens nothing any more, at once, not even what follows with itself.",
    access="keys.write",
    params=_NAMED,
    answers={204: Answer(None, "It is gone")},
    problems=("no-such-key", *_CHANGES),
    audited=True,
)

ENDPOINTS = (LIST, CREATE, SHOW, ROTATE, REVOKE)
