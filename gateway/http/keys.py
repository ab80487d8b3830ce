"""The v1 key endpoints: an account's key manages its own account's, an operator's those of accounts.

What they do are the admin verbs of keys (gateway.admin_keys), so that a change over HTTP and one by
`signalbox key` are checked, kept and audited by the same code.

Invariants: a key that somebody may not see is answered as one that does not exist; those of operators are
seen with operators.read and changed with operators.write only, but that an operator has its own; nobody gives
more than the key by which it is asked has.

Deliberately not here: who is let in (access.py), what was carried out already (retries.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.admin import AdminError, WrongArguments
from gateway.admin_keys import Absent, KeyOf, KeyRotation, KeyVerbs, NewKey
from gateway.http.auth import Caller, Keys
from gateway.http.fields import invalid
from gateway.http.operated import PRIVATE, handler
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered, Retries, key_of
from gateway.http.routes import Routes
from gateway.http.table import keys as table
from gateway.http.typed import read_body, read_query
from gateway.operators import OVERLAP_S, Operator
from router.nouns import Account

_ROTATES = "rotating twice would end the secret that is in use"
_NULL = (
    "account", "operator", "created_at", "expires_at", "last_used_at", "last_used_from", "previous_prefix",
    "previous_until",
)  # fmt: skip


class KeyApi:
    """Handlers over the verbs; `add_to` puts them into a table."""

    def __init__(self, verbs: KeyVerbs, keys: Keys, retries: Retries) -> None:
        self._verbs = verbs
        self._keys = keys
        self._retries = retries

    def add_to(self, routes: Routes) -> None:
        for endpoint, act in (
            (table.LIST, self._list),
            (table.CREATE, self._create),
            (table.SHOW, self._show),
            (table.ROTATE, self._rotate),
            (table.REVOKE, self._revoke),
        ):
            routes.serve(endpoint, handler(act, _refused))

    async def _list(self, request: Request) -> Answered:
        query = read_query(request.query, table.KeysQuery)
        caller = request.caller
        if caller.account is not None or query.account or query.operator:
            keys = self._keys.of(self._owner(caller, query.account, query.operator))
        else:
            keys = list(self._keys.by_id.values())
        behind = after(query.cursor, str, "")
        ids = sorted(one.key.id for one in keys if one.key.id > behind and _sees(caller, one))
        shown = page(request, query, query.limit, ids[: query.limit + 1], lambda id: id)
        views = [_told(await self._verbs.key_show(KeyOf(id))) for id in shown.rows]
        return _answer(200, {"keys": views, "next": shown.next}, shown.headers)

    async def _create(self, request: Request) -> Answered:
        wish = read_body(request, table.NewKeyIn)
        caller = request.caller
        owner = self._owner(caller, wish.account or "", wish.operator or "")
        is_account = isinstance(owner, Account)
        if not is_account:
            self._keys.require(caller, "operators.write", request.peer)
        new = NewKey(
            owner.name if is_account else "",
            "" if is_account else owner.name,
            wish.name or "",
            list(wish.scopes or ()),
            list(wish.addresses or ()),
            wish.expires_at.isoformat() if wish.expires_at is not None else "",
        )

        async def create() -> Answered:
            made = await self._verbs.key_create(new, caller)
            return _answer(201, _told(made), (("Location", f"/v1/keys/{made['id']}"),))

        return await self._once(request, key_of(request.headers.get(b"idempotency-key")), create)

    async def _show(self, request: Request) -> Answered:
        return _answer(200, _told(await self._verbs.key_show(KeyOf(self._found(request).key.id))))

    async def _rotate(self, request: Request) -> Answered:
        key = key_of(request.headers.get(b"idempotency-key"), needed=_ROTATES)
        id = self._changeable(request)
        wish = read_body(request, table.RotateKeyIn, may_be_empty=True)
        overlap_s = OVERLAP_S if wish.overlap_s is None else wish.overlap_s

        async def rotate() -> Answered:
            turned = await self._verbs.key_rotate(KeyRotation(id, overlap_s), request.caller)
            return _answer(200, _told(turned))

        return await self._once(request, key, rotate)

    async def _revoke(self, request: Request) -> Answered:
        await self._verbs.key_revoke(KeyOf(self._changeable(request)))
        return Answered(204, (("Cache-Control", "no-store"),), b"")

    # common to them

    def _owner(self, caller: Caller, account: str, operator: str) -> Account | Operator:
        """Whose keys are meant; an account knows only itself. Errors: BadRequest, AdminError."""
        own = caller.account
        if own is not None:
            if account and account != own.name:
                raise BadRequest(
                    404, "no-such-account", f"there is no account {account!r}, or it is not yours"
                )
            if operator:
                raise _no_such_operator(operator)
            return own
        if operator and operator != caller.owner.name and "operators.read" not in caller.scopes:
            raise _no_such_operator(operator)
        return self._verbs.owner_of(account, operator)

    def _found(self, request: Request) -> Caller:
        """The key in the path, if whoever asks sees it. Errors: BadRequest."""
        id = request.params["id"]
        one = self._keys.by_id.get(id)
        if one is None or not _sees(request.caller, one):
            raise BadRequest(404, "no-such-key", f"there is no key {id[:64]!r}, or it is not yours")
        return one

    def _changeable(self, request: Request) -> str:
        """The id of the key in the path, if whoever asks may change it. Errors: BadRequest."""
        one, caller = self._found(request), request.caller
        if one.account is None and one.owner.name != caller.owner.name:
            self._keys.require(caller, "operators.write", request.peer)
        return one.key.id

    async def _once(self, request: Request, key: str, act: Callable[[], Awaitable[Answered]]) -> Answered:
        """Not a second time with the same Idempotency-Key of the same API key."""
        said = b"\n".join((request.method.encode(), request.path.encode(), request.body))
        who = request.headers[b"authorization"][7:].strip().decode("latin-1")
        return await self._retries.once(who, key, said, act)


def _sees(caller: Caller, one: Caller) -> bool:
    """Whether who asks may know that there is that key."""
    if caller.account is not None:
        return one.account is not None and one.account.id == caller.account.id
    return one.account is not None or one.owner.name == caller.owner.name or "operators.read" in caller.scopes


def _no_such_operator(name: str) -> BadRequest:
    return BadRequest(404, "no-such-operator", f"there is no operator {name!r}, or it is not for you to see")


def _told(view: dict[str, object]) -> dict[str, object]:
    """What there is not is null."""
    return {name: (value or None) if name in _NULL else value for name, value in view.items()}


def _answer(status: int, view: object, headers: Headers = ()) -> Answered:
    return Answered(status, (*PRIVATE, *headers), msgspec.json.encode(view))


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if isinstance(error, Absent):
        return BadRequest(404, f"no-such-{error.kind}", error.message)
    return BadRequest(409, "key-conflict", error.message)
