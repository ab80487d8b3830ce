"""The v1 account endpoints, for operators: list, make, show, change, rotate, suspend, resume, close, logins.

What they do are the admin verbs of accounts (gateway.admin_accounts), so that a change over HTTP and one by
`signalbox account` are checked, kept and audited by the same code. Here JSON becomes their arguments, and
what they refuse becomes a problem that names every wrong field.

Invariants: the audit trail has the name of whoever acts; keys, passwords and secrets are in the answer of the
request that made them, and in no other but its retries'; a password is hashed in a thread, one at a time,
before it goes anywhere.

Deliberately not here: settings and their messages (gateway.account_settings), who is let in (access.py),
what was carried out already (retries.py), reasons (operated.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import trio

from gateway.account_settings import WrongSettings, read_settings
from gateway.admin import AdminError, Named, WrongArguments
from gateway.admin_accounts import (
    AccountVerbs,
    LoginOf,
    LoginRotation,
    NewLogin,
    Page,
    Rotation,
    Taken,
    check_system_id,
    read_new,
)
from gateway.http.fields import invalid, unknown_field
from gateway.http.operated import PRIVATE, body_of, handler
from gateway.http.paging import after, page
from gateway.http.problems import BadRequest, FieldError, Headers
from gateway.http.request import Request
from gateway.http.retries import Answered, Retries, key_of
from gateway.http.routes import Routes
from gateway.http.table import accounts as table
from gateway.http.table.types import Nothing
from gateway.http.typed import read_body, read_query
from gateway.passwords import draw_password, hash_password, password_problem

GENERATED = "generated"

_ACCOUNTS = "/v1/accounts"
_LONGEST_NAME = 64
_ROTATES = "rotating twice would end the key or password that is in use"


class AccountApi:
    """Handlers over the verbs; `add_to` puts them into a table."""

    def __init__(self, verbs: AccountVerbs, retries: Retries) -> None:
        self._verbs = verbs
        self.retries = retries
        self.hashed = hashing_in_a_thread()

    def add_to(self, routes: Routes) -> None:
        for endpoint, act in (
            (table.LIST, self._list),
            (table.CREATE, self._create),
            (table.SHOW, self._show),
            (table.CHANGE, self._change),
            (table.ROTATE, self._rotate),
            (table.SUSPEND, partial(self._suspend, suspended=True)),
            (table.RESUME, partial(self._suspend, suspended=False)),
            (table.CLOSE, self._close),
            (table.ADD_LOGIN, self._add_login),
            (table.REMOVE_LOGIN, self._remove_login),
            (table.REMOVE_LOGIN_WITH_SLASH, self._remove_login),
        ):
            routes.serve(endpoint, handler(act, _refused))

    # the acts

    async def _list(self, request: Request) -> Answered:
        query = read_query(request.query, table.AccountsQuery)
        views = await self._verbs.account_list(Page(after(query.cursor, str, ""), query.limit + 1))
        shown = page(request, query, query.limit, views, lambda view: view["name"])
        return _answer(200, {"accounts": shown.rows, "next": shown.next}, shown.headers)

    async def _create(self, request: Request) -> Answered:
        given = body_of(request, "an object with at least a name")
        problems: dict[str, str] = {}
        password, drawn = _password(given, problems)
        system_id = given.get("system_id")
        if password and system_id is None and not problems:
            problems["password"] = "goes with a system_id; give both, or neither"
        elif system_id and not password and not problems:
            password = drawn = draw_password()
        if given.pop("password_hash", None) is not None:
            problems["password_hash"] = "there is no such field: send password, it is hashed here"
        try:
            read_new(given)
        except WrongArguments as wrong:
            problems |= wrong.problems
        if problems:
            raise WrongArguments(problems)

        async def create() -> Answered:
            hashed = await self.hashed(password) if password else ""
            made = await self._verbs.account_create({**given, "password_hash": hashed})
            where = f"{_ACCOUNTS}/{made['name']}"
            return _answer(201, _with(made, drawn), (("Location", where),))

        return await self._once(request, key_of(request.headers.get(b"idempotency-key")), create)

    async def _show(self, request: Request) -> Answered:
        return _answer(200, await self._existing(request))

    async def _change(self, request: Request) -> Answered:
        account = await self._existing(request)
        given = body_of(request, "an object with the settings to change")
        if "name" in given:
            raise WrongArguments({**_problems_of(given), "name": "an account keeps its name; leave it out"})
        return _answer(200, await self._verbs.account_set({**given, "name": account["name"]}))

    async def _rotate(self, request: Request) -> Answered:
        """The API key; with a system_id the password of that login."""
        key = key_of(request.headers.get(b"idempotency-key"), needed=_ROTATES)
        account = await self._existing(request)
        given = body_of(request, "an object, or nothing", may_be_empty=True)
        problems: dict[str, str] = {}
        password, drawn = _password(given, problems)
        keep = given.pop("keep_previous", None)
        if keep is not None and type(keep) is not bool:
            problems["keep_previous"] = "true: the previous one works until the next rotation; or false"
        system_id = given.pop("system_id", None)
        if system_id is not None:
            problems |= _system_id_problem(system_id)
        elif password and not problems:
            problems["password"] = "goes with a system_id: without one the API key is rotated"
        _refuse_others(given, ("keep_previous", "system_id", "password"), problems)
        name, keep = str(account["name"]), keep is not False

        async def rotate_key() -> Answered:
            return _answer(200, await self._verbs.account_rotate(Rotation(name, keep)))

        async def rotate_login() -> Answered:
            hashed = await self.hashed(password) if password else ""
            view = await self._verbs.login_rotate(LoginRotation(name, system_id, hashed, keep))
            return _answer(200, _with(view, drawn))

        if system_id is None:
            return await self._once(request, key, rotate_key)
        if not password and keep:
            password = drawn = draw_password()
        return await self._once(request, key, rotate_login)

    async def _suspend(self, request: Request, *, suspended: bool) -> Answered:
        account = await self._existing(request)
        read_body(request, Nothing, may_be_empty=True)
        return _answer(200, await self._verbs.account_set({"name": account["name"], "suspended": suspended}))

    async def _close(self, request: Request) -> Answered:
        """Closing a closed one changes nothing: a retry gets what the first one would have got."""
        account = await self._existing(request)
        read_body(request, Nothing, may_be_empty=True)
        if account["closed"]:
            return _answer(200, account)
        return _answer(200, await self._verbs.account_close(Named(str(account["name"]))))

    async def _add_login(self, request: Request) -> Answered:
        account = await self._existing(request)
        given = body_of(request, "an object with a system_id")
        problems: dict[str, str] = {}
        password, drawn = _password(given, problems)
        system_id = given.pop("system_id", None)
        problems |= _system_id_problem(system_id)
        _refuse_others(given, ("system_id", "password"), problems)
        if not password:
            password = drawn = draw_password()

        async def add() -> Answered:
            new = NewLogin(str(account["name"]), str(system_id), await self.hashed(password))
            return _answer(201, _with(await self._verbs.login_add(new), drawn))

        return await self._once(request, key_of(request.headers.get(b"idempotency-key")), add)

    async def _remove_login(self, request: Request) -> Answered:
        """The system_id is in the path; one that has a slash in it, in the query."""
        account = await self._existing(request)
        read_body(request, Nothing, may_be_empty=True)
        system_id = request.params.get("system_id") or read_query(request.query, table.LoginQuery).system_id
        check_system_id(system_id)
        await self._verbs.login_remove(LoginOf(str(account["name"]), system_id))
        return Answered(204, (("Cache-Control", "no-store"),), b"")

    # common to them

    async def _existing(self, request: Request) -> dict[str, object]:
        """The account in the path. Errors: AdminError."""
        name = request.params["name"]
        try:
            return await self._verbs.account_show(Named(name[: _LONGEST_NAME + 1]))
        except AdminError as error:
            raise BadRequest(404, "no-such-account", error.message) from None

    async def _once(self, request: Request, key: str, act: Callable[[], Awaitable[Answered]]) -> Answered:
        """Not a second time with the same Idempotency-Key of the same key of an operator."""
        said = b"\n".join((request.method.encode(), request.path.encode(), request.body))
        who = request.headers[b"authorization"][7:].strip().decode("latin-1")
        return await self.retries.once(who, key, said, act)


def hashing_in_a_thread() -> Callable[[str], Awaitable[str]]:
    """Passwords' argon2id hashes, made beside the loop, one at a time."""
    limiter = trio.CapacityLimiter(1)

    async def hashed(password: str) -> str:
        return await trio.to_thread.run_sync(hash_password, password.encode(), limiter=limiter)

    return hashed


# in


def _refuse_others(given: dict[str, Any], known: tuple[str, ...], problems: dict[str, str]) -> None:
    """What is left in `given` is unknown. Errors: BadRequest, with `problems`."""
    errors = [FieldError(name, what) for name, what in problems.items()]
    errors += [unknown_field(name, known) for name in given]
    if errors:
        raise invalid(errors)


def _problems_of(given: dict[str, Any]) -> dict[str, str]:
    try:
        read_settings({name: value for name, value in given.items() if name not in ("name", "suspended")})
    except WrongSettings as wrong:
        return wrong.problems
    return {}


def _system_id_problem(system_id: object) -> dict[str, str]:
    try:
        if not isinstance(system_id, str):
            return {"system_id": "required, as text: 1 to 15 visible ASCII characters"}
        check_system_id(system_id)
    except WrongArguments as wrong:
        return wrong.problems
    return {}


def _password(given: dict[str, Any], problems: dict[str, str]) -> tuple[str, str]:
    """(the password that is meant, the same if it was drawn here), "" where none is given."""
    if "password" not in given:
        return "", ""
    password = given.pop("password")
    if password == GENERATED:
        password = draw_password()
        return password, password
    problem = password_problem(password) if isinstance(password, str) else "this is no text"
    if problem:
        problems["password"] = f'{problem}; or "{GENERATED}", and it is answered once'
    return password, ""


# out


def _answer(status: int, view: object, headers: Headers = ()) -> Answered:
    return Answered(status, (*PRIVATE, *headers), msgspec.json.encode(view))


def _with(view: dict[str, object], drawn: str) -> dict[str, object]:
    """A password that was drawn is told, this once."""
    return {**view, "password": drawn} if drawn else view


def _refused(error: AdminError) -> BadRequest:
    if isinstance(error, WrongArguments):
        return invalid([FieldError(name[:64], what) for name, what in error.problems.items()])
    if isinstance(error, Taken):
        errors = (FieldError(error.field, error.message),) if error.field else ()
        return BadRequest(409, "account-conflict", error.message, errors)
    return BadRequest(404, "no-such-login", error.message)
