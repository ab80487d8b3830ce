"""The endpoints of accounts, for operators. Settings come from the one table of them (account_settings)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, defstruct

from gateway.account_settings import SETTINGS, Setting
from gateway.http.endpoint import Answer, Endpoint
from gateway.http.table.types import Cursor, Id, Next, Nothing, Time

PAGE = 50
MOST_OF_A_PAGE = 200

Name = Annotated[
    str, Meta(description="up to 64 of A-Z a-z 0-9 . _ -", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
]
SystemId = Annotated[
    str, Meta(description="1 to 15 visible ASCII characters, SMPP 3.4 §5.2.1", pattern=r"^[!-~]{1,15}$")
]
Password = Annotated[
    str,
    Meta(
        description='1 to 8 printable ASCII characters; or "generated": it is drawn, and answered once',
        pattern=r"^([ -~]{1,8}|generated)$",
    ),
]


def _taken(setting: Setting) -> Any:
    """The type of a setting in a request: what its Kind reads, or null, which is as leaving it out."""
    none = f" Empty: {setting.none}." if setting.none else ""
    schema = {"anyOf": [setting.kind.schema, {"type": "null"}]}
    return Annotated[Any, Meta(description=f"{setting.help}{none}", extra_json_schema=schema)]


def _told(setting: Setting) -> Any:
    return Annotated[Any, Meta(description=setting.help, extra_json_schema=dict(setting.kind.schema))]


_WISHES: list[tuple[str, Any, Any]] = [(one.name, _taken(one) | UnsetType, UNSET) for one in SETTINGS]

AccountChange = defstruct(
    "AccountChange",
    [("suspended", bool | None, None), *_WISHES],
    forbid_unknown_fields=True,
    module=__name__,
)
NewAccount = defstruct(
    "NewAccount",
    [
        ("name", Name),
        ("system_id", SystemId | None, None),
        ("password", Password | None, None),
        *_WISHES,
    ],
    forbid_unknown_fields=True,
    module=__name__,
)
AccountOut = defstruct(
    "AccountOut",
    [
        ("id", Id),
        ("name", str),
        ("created_at", Time),
        ("suspended", bool),
        ("suspended_by", str),
        ("banned", Annotated[list[str], Meta(description="system_ids that may not bind, and by whom")]),
        ("closed", bool),
        ("queued", int),
        ("key_prefixes", list[str]),
        ("system_ids", list[str]),
        ("passwords", dict[str, int]),
        *((one.name, _told(one)) for one in SETTINGS if not one.secret),
        ("secrets", list[str]),
        ("api_key", Annotated[str, Meta(description="in the answer that made it, and never again")], ""),
        ("callback_secret", Annotated[str, Meta(description="as api_key")], ""),
        ("password", Annotated[str, Meta(description="where it was drawn; as api_key")], ""),
    ],
    module=__name__,
)


class AccountsOut(msgspec.Struct):
    """A page of them, by name."""

    accounts: list[AccountOut]  # type: ignore[valid-type]
    next: Next


class AccountsQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=MOST_OF_A_PAGE)] = PAGE
    cursor: Cursor = ""


class RotateIn(msgspec.Struct, forbid_unknown_fields=True):
    """Without a system_id: the API key."""

    system_id: SystemId | None = None
    password: Password | None = None
    keep_previous: bool | None = None


class LoginIn(msgspec.Struct, forbid_unknown_fields=True):
    system_id: SystemId
    password: Password | None = None


class LoginQuery(msgspec.Struct, forbid_unknown_fields=True):
    """For a system_id that has a slash in it."""

    system_id: SystemId


_ONE = "/v1/accounts/{name}"
_NAMED = {"name": "of the account"}
_OF_OPERATORS = ("operator-key-needed",)
_FOUND = ("operator-key-needed", "no-such-account")
_CHANGES = (*_FOUND, "account-conflict", "store-full", "store-failed")
_SHOWN = {200: Answer(AccountOut, "The account as it is now")}

LIST = Endpoint(
    method="GET",
    path="/v1/accounts",
    id="listAccounts",
    tag="Accounts",
    summary="List accounts, by name",
    access="accounts.read",
    query=AccountsQuery,
    answers={200: Answer(AccountsOut, "A page of accounts", headers=("Link",))},
    problems=_OF_OPERATORS,
)
CREATE = Endpoint(
    method="POST",
    path="/v1/accounts",
    id="createAccount",
    tag="Accounts",
    summary="Make an account",
    description="`api_key`, `callback_secret` and a drawn `password` are in this answer, and never again.",
    access="accounts.write",
    body=NewAccount,
    example={"name": "shop", "system_id": "shop1", "tps": 50, "callback_url": "https://shop.example/sms"},
    answers={201: Answer(AccountOut, "The account and its secrets", headers=("Location",))},
    problems=(*_OF_OPERATORS, "account-conflict", "store-full", "store-failed"),
    idempotency="may",
    audited=True,
)
SHOW = Endpoint(
    method="GET",
    path=_ONE,
    id="getAccount",
    tag="Accounts",
    summary="Look at an account and its settings",
    access="accounts.read",
    params=_NAMED,
    answers=_SHOWN,
    problems=_FOUND,
)
CHANGE = Endpoint(
    method="PATCH",
    path=_ONE,
    id="changeAccount",
    tag="Accounts",
    summary="Change settings of an account",
    description="What is left out, or null, stays. An empty list, an empty text or 0 empties a setting.",
    access="accounts.write",
    params=_NAMED,
    body=AccountChange,
    example={"tps": 100, "callback_url": "https://shop.example/sms"},
    answers=_SHOWN,
    problems=_CHANGES,
    audited=True,
)
ROTATE = Endpoint(
    method="POST",
    path=_ONE + "/rotate",
    id="rotateKey",
    tag="Accounts",
    summary="Make another API key, or another password of a login",
    description=(
        "The previous one works until the next rotation, unless keep_previous is false. A repetition with "
        "the same Idempotency-Key is carried out once."
    ),
    access="accounts.write",
    params=_NAMED,
    body=RotateIn,
    body_may_be_empty=True,
    example={"keep_previous": True},
    answers={200: Answer(AccountOut, "The account, with what was made")},
    problems=(*_CHANGES, "no-such-login"),
    idempotency="must",
    audited=True,
)


def _act(verb: str, summary: str, description: str = "") -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"{_ONE}/{verb}",
        id=f"{verb}Account",
        tag="Accounts",
        summary=summary,
        description=description,
        access="accounts.write",
        params=_NAMED,
        body=Nothing,
        body_may_be_empty=True,
        answers=_SHOWN,
        problems=_CHANGES,
        idempotency="kept",
        audited=True,
    )


SUSPEND = _act("suspend", "Take nothing from an account for now", "Again changes nothing.")
RESUME = _act("resume", "Take messages of a suspended account again", "Again changes nothing.")
CLOSE = _act("close", "Close an account for good", "Again changes nothing.")
ADD_LOGIN = Endpoint(
    method="POST",
    path=_ONE + "/logins",
    id="addLogin",
    tag="Accounts",
    summary="Let an account bind with one more system_id",
    access="accounts.write",
    params=_NAMED,
    body=LoginIn,
    example={"system_id": "shop2"},
    answers={201: Answer(AccountOut, "The account, with `password` where it was drawn")},
    problems=_CHANGES,
    idempotency="may",
    audited=True,
)
REMOVE_LOGIN = Endpoint(
    method="DELETE",
    path=_ONE + "/logins/{system_id}",
    id="removeLogin",
    tag="Accounts",
    summary="End a login",
    access="accounts.write",
    params={**_NAMED, "system_id": "of the login"},
    answers={204: Answer(None, "It is gone")},
    problems=(*_CHANGES, "no-such-login", "invalid-fields"),
    audited=True,
)
REMOVE_LOGIN_WITH_SLASH = Endpoint(
    method="DELETE",
    path=_ONE + "/logins",
    id="removeLoginByQuery",
    tag="Accounts",
    summary="End a login whose system_id has a slash in it",
    access="accounts.write",
    params=_NAMED,
    query=LoginQuery,
    answers={204: Answer(None, "It is gone")},
    problems=(*_CHANGES, "no-such-login"),
    audited=True,
)

ENDPOINTS = (
    LIST, CREATE, SHOW, CHANGE, ROTATE, SUSPEND, RESUME, CLOSE, ADD_LOGIN, REMOVE_LOGIN,
    REMOVE_LOGIN_WITH_SLASH,
)  # fmt: skip
