"""What a format makes of an event, what it knows besides, and what it thinks of the answer.

A format is pure: the time and the nonce are in its `Terms`. It makes None of what its receiver did not ask
for, which is then as good as told.

Deliberately not here: any format, sending (gateway.callbacks.pump).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from router.nouns import CallbackChoice, Event

FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")


class Terms(NamedTuple):
    """Of one account and one POST. `secrets` are those in force, newest first."""

    url: str
    now_ms: int
    account: int = 0
    name: str = ""  # the account's
    choice: CallbackChoice | None = None  # of the message, None: the account's own format
    method: str = ""  # get | post | json, "" = the format's usual one
    signature: str = ""
    secrets: tuple[str, ...] = ()
    nonce: str = ""  # 32 hexadecimal digits by chance, for formats that sign one
    batch: bool = False  # the account takes several events at a time
    sid: str = ""  # AC…, the first one that an app of the account logs in with, "" = none

    @property
    def old_secret(self) -> str:
        """For formats with room for one signature: the older secret signs until it ends, "" without one.

        So a receiver has the whole overlap to learn the newer one.
        """
        return self.secrets[-1] if self.secrets else ""


class Outgoing(NamedTuple):
    """One request; Host, User-Agent and Content-Length are the sender's."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Answer(NamedTuple):
    """What came back; `body` as far as it was read, b"" for formats that do not read it."""

    status: int
    body: bytes = b""


def is_success(answer: Answer) -> bool:
    return 200 <= answer.status < 300


Render = Callable[[Sequence[Event], Terms], Outgoing | None]


class Format(NamedTuple):
    """`early_s`: its first delays after a failure, instead of the schedule's first ones."""

    render: Render
    took: Callable[[Answer], bool] = is_success
    reads_answer: bool = False
    batches: bool = False
    early_s: tuple[float, ...] = ()


def with_query(url: str, query: str) -> str:
    """`query` behind what the URL asks for already."""
    bare, hash, _ = url.partition("#")
    return f"{bare}{'&' if '?' in bare else '?'}{query}" if query else bare + hash


def by_get_or_form(terms: Terms, fields: Sequence[tuple[str, str | bytes]], *, post: bool) -> Outgoing:
    """Fields in the body of a POST, or in the query of a GET."""
    form = urlencode(fields)
    if post:
        return Outgoing("POST", terms.url, (FORM,), form.encode())
    return Outgoing("GET", with_query(terms.url, form))


def method_of(terms: Terms, usual: str) -> str:
    """get, post or json: as the message asked, else as its account, else the usual one."""
    chosen = terms.choice.method if terms.choice is not None else ""
    return (chosen or terms.method or usual).lower()
