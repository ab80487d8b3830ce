"""Signing in to the console: password, second factor, one-time link; what guessing meets; confirming.

Each question has one answer: `Started` (a session; its token goes into the cookie), `CodeNeeded` (the
password was right, the second factor is asked for), `PasswordNeeded` (another password must be chosen first)
or `Refused`. A wrong name, a wrong password and a name without one are refused alike, after the same time.

What guessing meets, as at SMPP binds (gateway.smpp_server.gate):
- each failure is answered later than the one before, up to 5 s, and one network asks one name one question
  at a time;
- 10 wrong passwords for a name from one network lock that pair for a minute, 50 from a network lock it for
  all names, 50 for a name from wherever lock that name; each is told with 429 and the seconds that are left,
  and ends by itself;
- addresses in [console] trusted_from, and networks from which this operator signed in within 30 days, are
  spared all three: nobody can lock somebody else out;
- 5 wrong codes after a right password lock that name's codes for five minutes, wherever they come from: only
  who has the password gets so far.

Invariants: nothing tells an unknown name from a wrong password; a code works once, also over a restart; what
is typed as a name is in no log and no trail unless it is an operator's; refusals cannot fill the trail
(gateway.refusals); hashing is off the loop, takes a quarter of a core at most, and its queue has an end.

Deliberately not here: sessions (gateway.sessions), OpenID providers (gateway.oidc), pages (gateway.console).
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio
from msgspec.structs import replace

from gateway import second_factor
from gateway.accounts import in_the_same_commit
from gateway.admin_operators import name_problem
from gateway.audit import Actor, acting, entry
from gateway.committer import Committing
from gateway.key_use import network
from gateway.keys import role_of
from gateway.operators import Operator, OperatorProblem, Operators
from gateway.passwords import (
    NoLongerWanted,
    Passwords,
    TooBusy,
    Verification,
    hash_of_a_person,
    person_password_problem,
)
from gateway.refusals import Refusals
from gateway.sealing import KEY_FILE, Seal, SealProblem
from gateway.sessions import Sessions, SignedIn
from gateway.sign_in_links import FIRST_OWNER, Links
from gateway.smpp_server.locks import Locks
from gateway.smpp_server.networks import Networks
from gateway.vouched import Vouched
from router.roles import Role
from store.interface import AuditEntry, StoreError, Transaction
from store.values import Damaged

BLAND = "The name or the password is not right."
LONGEST_NAME = 64

_PAIR_FAILURES, _NETWORK_FAILURES, _LOCK_S = 10, 50, 60.0
_NAME_FAILURES = 50
_CODE_FAILURES, _CODE_LOCK_S = 5, 300.0
_WAITING = 20  # verifications of 20 ms each
_LONGEST_PASSWORD = 1_024
_PAUSE = 3.0  # times what a hash took
_TICKETS = 1_000
_TICKET_S = 600.0
_GOOD_MS = 30 * 86_400_000
_GOOD_OF_ONE = 16
_GOOD_ROW = "sign_in_networks"
_USED_ROW = "codes_used"
_EVER_ROW = "signed_in_ever"
_BUSY = "Too many people sign in at this moment. Try again in a few seconds."
_STALE = "That took too long, or was done already. Sign in again."
_LINK = "This link does not work any more. Ask for a new one: signalbox operator sign-in-link NAME"
_CODE = "The code is not right, or was used already. Wait for the next one."

log = structlog.get_logger("sessions")

_T = TypeVar("_T")
InThread = Callable[[Verification], Awaitable[str | None]]


class Started(msgspec.Struct, frozen=True):
    """A session. `token` goes into the cookie and nowhere else."""

    token: str
    who: SignedIn

    def __repr__(self) -> str:
        return f"Started({self.who!r})"


class CodeNeeded(msgspec.Struct, frozen=True):
    """The second factor is to be shown, with this ticket, within ten minutes."""

    ticket: str

    def __repr__(self) -> str:
        return "CodeNeeded()"


class PasswordNeeded(msgspec.Struct, frozen=True):
    """Another password is to be chosen, with this ticket, within ten minutes."""

    ticket: str
    name: str

    def __repr__(self) -> str:
        return f"PasswordNeeded({self.name!r})"


class Refused(msgspec.Struct, frozen=True):
    """`status` of HTTP; `text` for the person; `wait_s`: for a Retry-After, 0: none."""

    status: int
    text: str
    wait_s: int = 0


Outcome = Started | CodeNeeded | PasswordNeeded | Refused


class NewFactor(msgspec.Struct, frozen=True):
    """A second factor that is not in force yet: its secret, as text and as URI, and how to go on."""

    ticket: str
    secret: str
    uri: str

    def __repr__(self) -> str:
        return "NewFactor()"


class _Ticket(msgspec.Struct, frozen=True):
    """What somebody has shown so far. `what`: code, password, factor; `how`: for the session's row."""

    what: str
    name: str
    network: str
    until: float
    password: str  # the hash at that time
    how: str
    secret: bytes = b""

    def __repr__(self) -> str:
        return f"_Ticket({self.what!r}, {self.name!r})"


class SignIns:
    """All ways in. `addresses` are those of browsers, as the HTTP server saw them."""

    def __init__(
        self,
        committer: Committing,
        operators: Operators,
        sessions: Sessions,
        seal: Seal,
        wall_ms: Callable[[], int],
        *,
        trusted_from: Iterable[str] = (),
        passwords: Passwords | None = None,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        """`now`: monotonic seconds."""
        self.passwords = passwords or Passwords(
            run=gently, at_once=1, most_waiting=_WAITING, most_remembered=0, make=hash_of_a_person
        )
        self.sessions = sessions
        self.links = Links(committer.store, wall_ms)
        self._committer = committer
        self._operators = operators
        self._seal = seal
        self._wall_ms = wall_ms
        self._now = now
        self._trusted = Networks(tuple(trusted_from))
        self._locks = Locks(
            now, pair_failures=_PAIR_FAILURES, network_failures=_NETWORK_FAILURES, lock_s=_LOCK_S
        )
        self._names = Locks(
            now, pair_failures=_NAME_FAILURES, network_failures=_NAME_FAILURES, lock_s=_LOCK_S
        )
        self._codes = Locks(
            now, pair_failures=_CODE_FAILURES, network_failures=_CODE_FAILURES, lock_s=_CODE_LOCK_S
        )
        self._asking: set[tuple[str, str]] = set()
        self._tickets: OrderedDict[str, _Ticket] = OrderedDict()
        self.refusals = Refusals(wall_ms, sessions.tell)
        self.started = 0  # ever
        self._good: dict[str, dict[str, int]] = _kept(committer, _GOOD_ROW, dict[str, dict[str, int]])
        self._used: dict[str, int] = _kept(committer, _USED_ROW, dict[str, int])  # steps of codes
        self._ever = bool(_kept(committer, _EVER_ROW, dict[str, int]))
        for name, where, at_ms in sessions.networks():
            self._note_good(name, where, at_ms)

    # by password

    async def with_password(self, name: str, password: str, address: str, agent: str = "") -> Outcome:
        """Errors: StoreError."""
        name, where = name.strip()[:LONGEST_NAME], network(address)
        with self._one_question(name, where, address) as refused:
            if refused is not None:
                return refused
            right = await self._verified(name, password, address)
            if isinstance(right, Refused):
                return right
            operator = self._operators.by_name[name]
            if operator.totp:
                return CodeNeeded(self._ticket("code", operator, where, "password+code"))
            return await self._on(operator, address, "password", agent)

    async def with_code(self, ticket: str, code: str, address: str, agent: str = "") -> Outcome:
        """The second factor, or a recovery code. Errors: StoreError."""
        shown = self._shown("code", ticket, address)
        if shown is None:
            return Refused(401, _STALE)
        where = network(address)
        with self._one_question(shown.name, where, address) as refused:
            if refused is not None:
                return refused
            wrong = await self._checked_code(shown.name, code, address)
            if wrong is not None:
                return wrong
            self._tickets.pop(_hash(ticket), None)
            operator = self._operators.by_name.get(shown.name)
            if operator is None or operator.password != shown.password:
                return Refused(401, _STALE)
            return await self._on(operator, address, shown.how, agent)

    async def with_new_password(self, ticket: str, password: str, address: str, agent: str = "") -> Outcome:
        """Where another password had to be chosen. Errors: StoreError."""
        shown = self._shown("password", ticket, address)
        if shown is None:
            return Refused(401, _STALE)
        operator = self._operators.by_name[shown.name]
        if problem := await self._unusable(password, operator):
            return Refused(422, problem)
        if self._tickets.pop(_hash(ticket), None) is None:
            return Refused(401, _STALE)
        try:
            with acting(Actor(shown.name, "console")):
                operator = await self._set(shown.name, password, {"by": "its owner, as was asked for"})
        except OperatorProblem:  # removed meanwhile
            return Refused(401, _STALE)
        return await self._finish(operator, address, shown.how, agent)

    async def with_link(
        self, token: str, password: str, address: str, agent: str = "", name: str = ""
    ) -> Outcome:
        """A one-time link, with the password that was chosen; `name`: of the first owner.

        Errors: StoreError.
        """
        where = network(address)
        left_s = 0.0 if address in self._trusted else self._locks.left_s(where, "")
        if left_s:
            return _wait(left_s)
        link = self.links.found(token)
        if link is None or (link.name == FIRST_OWNER and not self.nobody_yet):
            self._locks.failed(where, "", spared=address in self._trusted)
            self.refusals.note("", where, "a sign-in link that does not work")
            return Refused(
                401,
                "This link does not work any more. Ask for a new one: signalbox operator sign-in-link NAME",
            )
        new = name.strip() if link.name == FIRST_OWNER else link.name
        problem = person_password_problem(_normal(password), new)
        if link.name == FIRST_OWNER and not problem:
            problem = self._unusable_name(new)
        if problem:
            return Refused(422, problem)
        if link.name != FIRST_OWNER and link.name not in self._operators.by_name:
            return Refused(401, _STALE)
        hashed = await self.passwords.hashed(_normal(password).encode())
        if not self.links.take(link):
            return Refused(401, _STALE)
        try:
            with acting(Actor(new, "console")), in_the_same_commit(self.links.put):
                if link.name == FIRST_OWNER:
                    operator = await self._operators.admit(
                        new, Role.OWNER, password=hashed, password_ms=self._wall_ms()
                    )
                else:
                    operator = await self._put_password(new, hashed, {"by": "a sign-in link"})
        except (StoreError, OperatorProblem) as error:
            self.links.give_back(link)
            if isinstance(error, OperatorProblem):
                return Refused(409, str(error))
            raise
        if operator.totp:
            return CodeNeeded(self._ticket("code", operator, where, "link+code"))
        return await self._finish(operator, address, "link", agent)

    def whose_link(self, token: str) -> str | None:
        """The operator that a link is for, FIRST_OWNER where there is none yet; None: it does not work."""
        link = self.links.found(token)
        if link is None or (link.name == FIRST_OWNER and not self.nobody_yet):
            return None
        return link.name

    async def by_provider(self, vouched: Vouched, address: str, agent: str = "") -> Outcome:
        """Somebody for whom an OpenID provider vouches: made an operator at the first time, in the role that
        the provider's groups give each time. Errors: StoreError."""
        where = network(address)
        there = [one for one in self._operators.by_name.values() if one.subject == vouched.subject]
        name = there[0].name if there else vouched.name
        if vouched.role is None:
            self.refusals.note(name if there else "", where, "the provider's groups give no role")
            if there:  # and not who only has its name
                with acting(Actor(name, "console", "as the OpenID provider says")):
                    await self.sessions.end_all(name, "the provider gives no role any more")
            return Refused(403, "You are known, but have no role here. Ask an owner of the gateway.")
        if not there and name in self._operators.by_name:
            self.refusals.note(name, where, "a provider's person of the same name")
            return Refused(409, f"There is an operator {name!r} already who is not the provider's.")
        try:
            with acting(Actor(name, "console", "as the OpenID provider says")):
                if not there:
                    operator = await self._operators.admit(name, vouched.role, subject=vouched.subject)
                elif role_of(there[0]) != vouched.role.value:
                    operator = await self._operators.change_role(name, vouched.role, by_provider=True)
                else:
                    operator = there[0]
        except OperatorProblem as problem:
            return Refused(409, str(problem))
        if operator.totp:
            return CodeNeeded(self._ticket("code", operator, where, "oidc+code"))
        return await self._finish(operator, address, "oidc", agent)

    def refused_by_provider(self, address: str, why: str) -> None:
        """For the trail. `why` is ours, never what somebody sent."""
        self.refusals.note("", network(address), why)

    # once signed in

    async def confirm(self, who: SignedIn, given: str, address: str) -> Refused | None:
        """The password, or a code of the second factor, once more; None: it was right, and counts for
        sessions.CONFIRMED_S. Errors: StoreError."""
        where = network(address)
        with self._one_question(who.name, where, address) as refused:
            if refused is not None:
                return refused
            operator = self._operators.by_name.get(who.name)
            if operator is None:
                return Refused(401, _STALE)
            if operator.totp and _looks_like_a_code(given):
                wrong = await self._checked_code(who.name, given, address)
            elif not operator.password:
                return Refused(403, "You have no password here: sign out and in again, then go on.")
            else:
                right = await self._verified(who.name, given, address)
                wrong = right if isinstance(right, Refused) else None
            if wrong is None:
                self.sessions.confirm(who)
            return wrong

    async def change_password(
        self, who: SignedIn, old: str, new: str, address: str, agent: str = ""
    ) -> Started | Refused:
        """Another password; every session of before ends, a new one begins. Errors: StoreError."""
        with self._one_question(who.name, network(address), address) as refused:
            if refused is not None:
                return refused
            right = await self._verified(who.name, old, address)
            if isinstance(right, Refused):
                return right
        operator = self._operators.by_name[who.name]
        if problem := await self._unusable(new, operator):
            return Refused(422, problem)
        try:
            with acting(Actor(who.name, "console")):
                await self._set(who.name, new, {"by": "its owner"})
            token, now = await self.sessions.start(who.name, address, "password changed", agent)
        except OperatorProblem:  # removed meanwhile
            return Refused(401, _STALE)
        return Started(token, now)

    def begin_factor(self, who: SignedIn, address: str) -> NewFactor:
        """A second factor to be. Ask `sessions.confirmed` first."""
        operator = self._operators.by_name[who.name]
        secret = second_factor.new_secret()
        ticket = self._ticket("factor", operator, network(address), "", secret)
        return NewFactor(ticket, second_factor.as_text(secret), second_factor.uri(secret, who.name))

    async def finish_factor(self, who: SignedIn, ticket: str, code: str, address: str) -> list[str] | Refused:
        """It is in force from now on. Returns recovery codes, to be shown this once. Errors: StoreError."""
        shown = self._shown("factor", ticket, address)
        if shown is None or shown.name != who.name:
            return Refused(401, _STALE)
        left_s = self._codes.left_s(who.name, "")
        if left_s:
            return _wait(left_s)
        step = second_factor.step_of(shown.secret, code, self._wall_ms() / 1000)
        if step is None:
            wait_s, _ = self._codes.failed(who.name, "", spared=False)
            await trio.sleep(wait_s)
            return Refused(422, "This is not the code that the app should show now: is its clock right?")
        self._tickets.pop(_hash(ticket), None)
        self._used[who.name] = step
        try:
            with acting(Actor(who.name, "console")):
                return await self._put_factor(who.name, shown.secret)
        except SealProblem as problem:
            log.error("a second factor cannot be kept", why=str(problem))
            return Refused(503, "It cannot be kept now: the gateway's log says why.")
        except OperatorProblem:  # removed meanwhile
            return Refused(401, _STALE)

    # for operators of the house, and the command line

    def operator(self, name: str) -> Operator:
        """Errors: NoSuchOperator."""
        return self._operators.named(name)

    @property
    def nobody_yet(self) -> bool:
        """Whether nobody has a password, and nobody ever signed in: the first owner is still to come."""
        return not self._ever and not any(one.password for one in self._operators.by_name.values())

    async def set_password(self, name: str, password: str, *, due: bool) -> Operator:
        """`due`: another one must be chosen when it is first used. Errors: OperatorProblem, StoreError."""
        if problem := person_password_problem(_normal(password), self._operators.named(name).name):
            raise OperatorProblem(problem)
        return await self._set(name, password, {"due": due}, due=due)

    async def drop_password(self, name: str) -> Operator:
        """It signs in no more, but by a link. Errors: OperatorProblem, StoreError."""
        self._operators.named(name)
        return await self._put_password(name, "", {"password": "none"})

    async def make_factor(self, name: str) -> tuple[str, str, list[str]]:
        """A second factor in force at once: (secret as text, its URI, recovery codes).

        Errors: OperatorProblem, SealProblem, StoreError.
        """
        self._operators.named(name)
        secret = second_factor.new_secret()
        codes = await self._put_factor(name, secret)
        return second_factor.as_text(secret), second_factor.uri(secret, name), codes

    async def drop_factor(self, name: str) -> Operator:
        """The password alone is enough again. Errors: OperatorProblem, StoreError."""
        told = partial(self._told, "operator.totp_off", name)
        return await self._operators.change(
            name, lambda now: (replace(now, totp=b"", recovery=()), told({"totp": bool(now.totp)}, {}))
        )

    async def make_link(self, name: str) -> str:
        """A one-time link's token, for an operator, or FIRST_OWNER. Errors: OperatorProblem, StoreError."""
        if name != FIRST_OWNER:
            self._operators.named(name)
        elif not self.nobody_yet:
            raise OperatorProblem("there is somebody already: say for whom the link is to be")
        token, link = self.links.new(name)
        self.links.add(link)
        told = self._told("operator.link_made", name or "the first owner", {}, {})

        def put(txn: Transaction) -> None:
            self.links.put(txn)
            txn.audit(told)

        await self._committer.execute(put)
        return token

    @property
    def locks(self) -> int:
        """Those there are now, of names, networks and codes."""
        of_networks = sum(now for now, _ in self._locks.counts().values())
        return of_networks + sum(locks.counts()["login"][0] for locks in (self._names, self._codes))

    def unlock(self, name_or_address: str) -> int:
        """End the locks of a name or an address. Returns how many there were."""
        where = network(name_or_address)
        ended = self._locks.release(where) + self._names.release(where) + self._codes.release(where)
        if ended:
            self.sessions.tell(entry(self._wall_ms(), "lock.released", f"lock:{where}", {"locks": ended}, {}))
        return ended

    # what is right

    async def _verified(self, name: str, password: str, address: str) -> Operator | Refused:
        """Whose password it is. Takes as long whoever it is."""
        where, spared = network(address), self._spared(name, address)
        operator = self._operators.by_name.get(name)
        hashes = (operator.password,) if operator is not None and operator.password else ()
        given = _normal(password).encode("utf-8", "replace")[:_LONGEST_PASSWORD]
        try:
            matched = await self.passwords.check(
                name.encode("utf-8", "replace"),
                given,
                hashes,
                first=spared,
                wanted=lambda: not self._left_s(name, where, address),
            )
        except TooBusy:
            return Refused(503, _BUSY, 3)
        except NoLongerWanted:
            return _wait(self._left_s(name, where, address))
        operator = self._operators.by_name.get(name)  # it may have changed while we waited
        if matched is None or operator is None or not hmac.compare_digest(operator.password, matched):
            return await self._failed(name, where, spared, "wrong password")
        return operator

    async def _checked_code(self, name: str, code: str, address: str) -> Refused | None:
        """None: right, and used up. Errors: StoreError."""
        left_s = self._codes.left_s(name, "")
        if left_s:
            return _wait(left_s)
        operator = self._operators.by_name.get(name)
        if operator is None or not operator.totp:
            return Refused(401, _STALE)
        if _looks_like_a_code(code):
            try:
                secret = self._seal.unseal(operator.totp, _purpose(name))
            except SealProblem as problem:
                log.error("second factors cannot be checked", why=str(problem))
                return Refused(503, "Codes cannot be checked now: the gateway's log says why.")
            step = second_factor.step_of(secret, code, self._wall_ms() / 1000, self._used.get(name, 0))
            if step is not None:
                self._used[name] = step
                row = msgspec.msgpack.encode(self._used)
                await self._committer.execute(lambda txn: txn.put_meta(_USED_ROW, row))
                return None
        elif (kept := second_factor.recovery_of(code, operator.recovery)) is not None:
            return await self._use_up(name, kept)
        _, locked = self._codes.failed(name, "", spared=False)
        if locked:
            self.refusals.locked(
                f"operator:{name}",
                f"the password of {name} was right, and {_CODE_FAILURES} codes were wrong: who else "
                "knows the password?",
                network(address),
            )
        return await self._failed(name, network(address), self._spared(name, address), "wrong code")

    async def _use_up(self, name: str, kept: str) -> Refused | None:
        def change(now: Operator) -> tuple[Operator, AuditEntry]:
            if kept not in now.recovery:  # somebody else was faster
                raise OperatorProblem(_STALE)
            left = tuple(one for one in now.recovery if one != kept)
            told = self._told("operator.recovery_used", name, {}, {"left": len(left)})
            return replace(now, recovery=left), told

        try:
            with acting(Actor(name, "console")):
                await self._operators.change(name, change)
        except OperatorProblem:
            return Refused(401, _STALE)
        return None

    async def _failed(self, name: str, where: str, spared: bool, why: str) -> Refused:
        """Counted, told, and answered after a while."""
        known = name if name in self._operators.by_name else ""
        wait_s, locked = self._locks.failed(where, name, spared=spared)
        _, everywhere = self._names.failed(name, "", spared=spared)
        self.refusals.note(known, where, why)
        if locked or everywhere:
            subject = f"operator:{known}" if known else f"address:{where}"
            whose = f"the name {known}" if known else "names that nobody has"
            self.refusals.locked(subject, f"too many wrong passwords for {whose}: locked for a while", where)
        await trio.sleep(wait_s)
        return Refused(401, _CODE if why == "wrong code" else BLAND)

    # who may ask

    @contextmanager
    def _one_question(self, name: str, where: str, address: str) -> Iterator[Refused | None]:
        """One at a time of a name from a network; nothing while it is locked."""
        pair = (where, name)
        left_s = self._left_s(name, where, address)
        if left_s:
            self.refusals.note(name if name in self._operators.by_name else "", where, "locked out")
            yield _wait(left_s)
        elif pair in self._asking:
            yield Refused(429, "Another sign-in with this name is under way. Try again in a moment.", 5)
        else:
            self._asking.add(pair)
            try:
                yield None
            finally:
                self._asking.discard(pair)

    def _left_s(self, name: str, where: str, address: str) -> float:
        if self._spared(name, address):
            return 0.0
        return max(self._locks.left_s(where, name), self._names.left_s(name, ""))

    def _spared(self, name: str, address: str) -> bool:
        if address in self._trusted:
            return True
        seen_ms = self._good.get(name, {}).get(network(address), 0)
        return bool(seen_ms) and self._wall_ms() - seen_ms < _GOOD_MS

    # the end of it

    async def _on(self, operator: Operator, address: str, how: str, agent: str) -> Outcome:
        """Everything was right; is the password to be changed?"""
        if operator.password_due:
            ticket = self._ticket("password", operator, network(address), how)
            return PasswordNeeded(ticket, operator.name)
        return await self._finish(operator, address, how, agent)

    async def _finish(self, operator: Operator, address: str, how: str, agent: str) -> Started | Refused:
        name, where = operator.name, network(address)
        self._locks.succeeded(where, name)
        self._names.succeeded(name, "")
        self._codes.succeeded(name, "")
        self._note_good(name, where, self._wall_ms())
        self.links.forget(name)
        try:
            token, who = await self.sessions.start(name, address, how, agent, self._put_used)
        except OperatorProblem:
            return Refused(401, _STALE)
        self._ever = True
        self.started += 1
        return Started(token, who)

    def _put_used(self, txn: Transaction) -> None:
        there = self._operators.by_name
        self._used = {name: step for name, step in self._used.items() if name in there}
        self._good = {name: networks for name, networks in self._good.items() if name in there}
        txn.put_meta(_USED_ROW, msgspec.msgpack.encode(self._used))
        txn.put_meta(_GOOD_ROW, msgspec.msgpack.encode(self._good))
        if not self._ever:
            txn.put_meta(_EVER_ROW, msgspec.msgpack.encode({"at_ms": self._wall_ms()}))
        self.links.put(txn)

    def _note_good(self, name: str, where: str, at_ms: int) -> None:
        networks = self._good.setdefault(name, {})
        networks.pop(where, None)
        networks[where] = at_ms
        if len(networks) > _GOOD_OF_ONE:
            del networks[min(networks, key=lambda one: networks[one])]

    # passwords and factors

    async def _unusable(self, password: str, operator: Operator) -> str:
        """Why it cannot be this operator's next password."""
        if problem := person_password_problem(_normal(password), operator.name):
            return problem
        hashes = (operator.password,) if operator.password else ()
        try:
            same = await self.passwords.check(operator.name.encode(), _normal(password).encode(), hashes)
        except TooBusy:
            return _BUSY
        return "take another password than the one you have" if same else ""

    def _unusable_name(self, name: str) -> str:
        if name in self._operators.by_name:
            return f"there is an operator {name!r} already: take another name"
        return name_problem(name)

    async def _set(
        self, name: str, password: str, after: dict[str, object], *, due: bool = False
    ) -> Operator:
        hashed = await self.passwords.hashed(_normal(password).encode())
        return await self._put_password(name, hashed, after, due=due)

    async def _put_password(
        self, name: str, hashed: str, after: dict[str, object], *, due: bool = False
    ) -> Operator:
        now_ms = self._wall_ms()
        told = self._told("operator.password_set", name, {}, after)
        return await self._operators.change(
            name,
            lambda now: (replace(now, password=hashed, password_ms=now_ms, password_due=due), told),
        )

    async def _put_factor(self, name: str, secret: bytes) -> list[str]:
        sealed = self._seal.seal(secret, _purpose(name))
        codes, kept = second_factor.new_recovery_codes()
        told = partial(self._told, "operator.totp_on", name)
        await self._operators.change(
            name, lambda now: (replace(now, totp=sealed, recovery=kept), told({"totp": bool(now.totp)}, {}))
        )
        return codes

    def _told(self, act: str, name: str, before: dict[str, object], after: dict[str, object]) -> AuditEntry:
        return entry(self._wall_ms(), act, f"operator:{name}", before, after)

    # tickets

    def _ticket(self, what: str, operator: Operator, where: str, how: str, secret: bytes = b"") -> str:
        ticket = secrets.token_urlsafe(32)
        if len(self._tickets) >= _TICKETS:
            self._tickets.popitem(last=False)
        self._tickets[_hash(ticket)] = _Ticket(
            what, operator.name, where, self._now() + _TICKET_S, operator.password, how, secret
        )
        return ticket

    def _shown(self, what: str, ticket: str, address: str) -> _Ticket | None:
        """What this ticket stands for, if it still does, here."""
        found = self._tickets.get(_hash(ticket))
        if found is None or found.what != what or found.network != network(address):
            return None
        operator = self._operators.by_name.get(found.name)
        if self._now() >= found.until or operator is None or operator.password != found.password:
            self._tickets.pop(_hash(ticket), None)
            return None
        return found


async def gently(verification: Verification, in_thread: InThread = trio.to_thread.run_sync) -> str | None:
    """In a thread, and then a pause three times as long: guessing from however many networks has a quarter of
    one core at most, and traffic the rest."""
    began = trio.current_time()
    try:
        return await in_thread(verification)
    finally:
        await trio.sleep(_PAUSE * (trio.current_time() - began))


def sign_ins_of_a_store(
    committer: Committing, operators: Operators, directory: Path, wall_ms: Callable[[], int]
) -> SignIns:
    """As they are kept, on a store that no gateway runs on; `directory`: the data directory."""
    sessions = Sessions(committer, operators, wall_ms)
    return SignIns(committer, operators, sessions, Seal(directory / KEY_FILE), wall_ms)


def _kept(committer: Committing, row: str, kind: type[dict[str, _T]]) -> dict[str, _T]:
    try:
        value = committer.store.meta(row)
        return msgspec.msgpack.decode(value, type=kind) if value else {}
    except (Damaged, msgspec.MsgspecError):
        return {}


def _normal(password: str) -> str:
    """The same password, however a keyboard composes its letters."""
    return unicodedata.normalize("NFC", password)


def _looks_like_a_code(text: str) -> bool:
    digits = "".join(text.split())
    return len(digits) == 6 and digits.isdigit()


def _purpose(name: str) -> str:
    return f"totp:{name}"


def _hash(ticket: str) -> str:
    return sha256(ticket.encode("utf-8", "replace")).hexdigest()


def _wait(left_s: float) -> Refused:
    wait_s = int(left_s) + 1
    return Refused(429, f"Too many failed sign-ins. Wait {wait_s} s, then try again.", wait_s)
