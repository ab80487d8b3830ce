"""The endpoints of senders: which ones an account may use."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.http.endpoint import Answer, Endpoint
from router.rules import SENDER_TYPES

AccountName = Annotated[
    str, Meta(max_length=64, description="whose; an operator's key says it, an account's may leave it out")
]
Sender = Annotated[
    str,
    Meta(description="a number, or up to 21 characters; a * at the end for all that begin so", max_length=64),
]

SenderType = Annotated[str, Meta(extra_json_schema={"enum": list(SENDER_TYPES)})]


class SenderOut(msgspec.Struct):
    """`pattern`: all that begin so; its type is null where numbers and names may begin so."""

    sender: str
    type: SenderType | None
    pattern: bool


class SendersOut(msgspec.Struct):
    """`any`: the account may use every sender."""

    account: str
    any: bool
    senders: list[SenderOut]
    default: Annotated[str | None, Meta(description="the first whole one: of apps' messages that name none")]


class SendersQuery(msgspec.Struct, forbid_unknown_fields=True):
    account: AccountName = ""


class SendersIn(msgspec.Struct, forbid_unknown_fields=True):
    account: Annotated[str, Meta(max_length=64, description="an account's name")]
    senders: Annotated[list[Sender], Meta(max_length=1_000, description="a list of senders; empty: any")]


_PATH = "/v1/senders"
_EXAMPLE = {
    "account": "shop", "any": False, "default": "ACME",
    "senders": [
        {"sender": "ACME", "type": "alphanumeric", "pattern": False},
        {"sender": "4477*", "type": None, "pattern": True},
    ],
}  # fmt: skip

LIST = Endpoint(
    method="GET",
    path=_PATH,
    id="listSenders",
    tag="Senders",
    summary="List the senders that an account may use",
    description="Of the key's own account; an operator's key says whose with `account`.",
    access="senders.read",
    query=SendersQuery,
    answers={200: Answer(SendersOut, "The account's senders, in their order", _EXAMPLE)},
    problems=("no-such-account",),
)
REPLACE = Endpoint(
    method="PUT",
    path=_PATH,
    id="replaceSenders",
    tag="Senders",
    summary="Say which senders an account may use",
    description="These and no others from now on. An empty list: any sender.",
    access="senders.write",
    body=SendersIn,
    example={"account": "shop", "senders": ["ACME", "4477*"]},
    answers={200: Answer(SendersOut, "The account's senders as they are now", _EXAMPLE)},
    problems=("operator-key-needed", "no-such-account", "account-conflict", "store-full", "store-failed"),
    idempotency="kept",
    audited=True,
)

ENDPOINTS = (LIST, REPLACE)
