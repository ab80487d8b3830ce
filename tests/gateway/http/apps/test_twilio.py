"""Twilio's Messages resource: forms, paths, accounts, and what the door's refusals turn into.

tests/interop/test_sdks.py asks a running gateway with Twilio's own SDK.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import trio
import trio.testing

from gateway.door import Refusal
from gateway.http.apps.twilio import TwilioApi, shown, status_of
from gateway.http.apps.who import Apps
from gateway.http.auth import new_key
from gateway.http.search import MOST_AT_ONCE
from gateway.ids import account_sid_of, sid_of
from router.causes import Cause
from router.nouns import (
    Account,
    ApiKey,
    CallbackFormat,
    Login,
    Message,
    MessageState,
    Phase,
    Progress,
    Reason,
    Step,
)
from store.search import Page, Query
from tests.gateway.http.apps.house import FIRST_ID, PASSWORD, USER, Door, House, account, speaking
from tests.gateway.http.wire import WALL_MS, Answer, request
from tests.gateway.smpp_server.hashing import hashed
from tests.trio_case import trio_test

FORM = "Content-Type: application/x-www-form-urlencoded"
GOOD = {"To": "+447700900123", "From": "+447700900999", "Body": "Hello"}
OWN = account_sid_of(7)


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WHO = basic(USER, PASSWORD)


class Nothing:
    """A store without messages, a committer that nobody asks, a search that finds nothing."""

    def __init__(self) -> None:
        self.queries: list[Query] = []

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        return None

    def redact_archived(self, account: int, id: int, now_ms: int, detail: str = "") -> bool:
        raise AssertionError("nothing is to be changed")

    def call_soon(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be changed")

    async def search(self, query: Query) -> Page:
        self.queries.append(query)
        return Page([], 12, False, 0)


def speaking_twilio(nothing: Nothing) -> Any:
    def made(door: Door, apps: Apps) -> TwilioApi:
        return TwilioApi(door, apps, lambda: WALL_MS, nothing, nothing, nothing.search, lambda _, to: to[1:])

    return made


ACCOUNT = account(["twilio"])


async def asked(house: House, raw: bytes) -> Answer:
    client = house.client()
    await client.send(raw)
    return await client.answer()


async def posted(
    given: dict[str, str], sid: str = USER, who: str = WHO, **settings: Any
) -> tuple[Answer, Any]:
    path = f"/2010-04-01/Accounts/{sid}/Messages.json"
    async with speaking(speaking_twilio(Nothing()), account(["twilio"], **settings)) as house:
        return await asked(house, request(path, urlencode(given).encode(), headers=(FORM, who))), house.door


@trio_test
async def test_the_paths_account_is_an_app_of_the_account_or_our_own_name_for_it() -> None:
    for sid in (USER, OWN, "AC-other-app"):
        logins = (*ACCOUNT.app_logins, Login("AC-other-app", (hashed("x"),)))
        answer, _ = await posted(GOOD, sid, app_logins=logins)
        said: Any = answer.json()
        assert (answer.status, said["account_sid"], said["sid"]) == (201, sid, sid_of(FIRST_ID + 1))
        assert said["uri"] == f"/2010-04-01/Accounts/{sid}/Messages/{said['sid']}.json"
    answer, door = await posted(GOOD, "AC" + "0" * 32)
    assert (answer.status, answer.json()["code"]) == (404, 20404)  # type: ignore[index]
    assert not door.taken


@trio_test
async def test_php_sends_multipart() -> None:
    body = b"".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in GOOD.items()
    )
    kind = "Content-Type: multipart/form-data; boundary=xyz"
    path = f"/2010-04-01/Accounts/{USER}/SMS/Messages.json"
    async with speaking(speaking_twilio(Nothing()), ACCOUNT) as house:
        assert (await asked(house, request(path, body + b"--xyz--\r\n", headers=(kind, WHO)))).status == 201
        (one,) = house.door.taken
        assert (one.to, one.sender, one.text) == ("+447700900123", "447700900999", "Hello")
        answer = await asked(house, request(path, body[:-10], headers=(kind, WHO)))
        assert answer.status == 400
        answer = await asked(house, request(path, b"{}", headers=("Content-Type: application/json", WHO)))
        assert answer.status == 415


@trio_test
async def test_what_parameters_become() -> None:
    _, door = await posted(
        {**GOOD, "StatusCallback": "https://app.example/s", "ValidityPeriod": "600", "SmartEncoded": "true",
         "SendAt": "2030-03-18T00:00:00Z", "ScheduleType": "fixed"}
    )  # fmt: skip
    (one,) = door.taken
    assert (one.callback_url, one.callback.format) == ("https://app.example/s", CallbackFormat.TWILIO)
    assert one.callback.given == (("account-sid", USER),)
    assert (one.validity_s, one.smart_encoding, one.send_at_ms) == (600, True, 1_900_022_400_000)


@trio_test
async def test_a_messaging_service_takes_the_accounts_own_sender() -> None:
    given = {"To": GOOD["To"], "Body": "x", "MessagingServiceSid": "MG1"}
    _, door = await posted(given, senders=("ACME*", "ACME"))
    assert door.taken[0].sender == "ACME"
    answer, _ = await posted(given)
    said: Any = answer.json()
    assert (said["code"], said["status"], said["more_info"]) == (
        21603,
        400,
        "https://www.twilio.com/docs/errors/21603",
    )


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Refusal(422, "not-a-number", "to", ""), 400, 21211),
        (Refusal(403, "sender-not-allowed", "from", ""), 400, 21606),
        (Refusal(422, "no-route", "to", ""), 400, 21408),
        (Refusal(429, "queue-full", "", "", 5), 429, 21611),
        (Refusal(429, "rate-limited", "", "", 1), 429, 20429),
        (Refusal(503, "store-full", "", "full", 5), 503, 20503),
        (Refusal(402, "insufficient-balance", "", "pay"), 402, 20403),
        (Refusal(403, "account-suspended", "", "no"), 403, 20403),
    ],
)
@trio_test
async def test_what_the_door_refuses_has_twilios_number(refusal: Refusal, status: int, code: int) -> None:
    async with speaking(speaking_twilio(Nothing()), ACCOUNT) as house:
        house.door.verdict = lambda submission: refusal
        raw = request(
            f"/2010-04-01/Accounts/{USER}/Messages.json", urlencode(GOOD).encode(), headers=(FORM, WHO)
        )
        answer = await asked(house, raw)
        said: Any = answer.json()
        assert (answer.status, said["status"], said["code"]) == (status, status, code)
        assert ("retry-after" in answer.headers) == (status in (429, 503))


@trio_test
async def test_a_wrong_token_is_asked_for_again() -> None:
    answer, _ = await posted(GOOD, who=basic(USER, "wrong"))
    said: Any = answer.json()
    assert (answer.status, said["code"], said["message"]) == (401, 20003, "Authenticate")
    assert answer.headers["www-authenticate"] == 'Basic realm="Twilio API"'


@trio_test
async def test_a_list_asks_for_the_accounts_own_and_leads_on() -> None:
    nothing = Nothing()
    async with speaking(speaking_twilio(nothing), ACCOUNT) as house:
        query = urlencode({"To": "+447700900123", "From": "ACME", "DateSent": "2030-03-17", "PageSize": "5"})
        path = f"/2010-04-01/Accounts/{USER}/Messages.json"
        answer = await asked(house, request(f"{path}?{query}", headers=(WHO,)))
        said: Any = answer.json()
        assert said["next_page_uri"] == (
            f"{path}?To=%2B447700900123&From=ACME&DateSent=2030-03-17&PageSize=5&Page=1&PageToken=PASM12"
        )
        await asked(house, request(said["next_page_uri"], headers=(WHO,)))
        first, second = nothing.queries
        nothing.queries.clear()
        assert (first.accounts, first.to, first.sender, first.limit) == (
            (7,),
            ("447700900123",),
            ("ACME",),
            5,
        )
        assert first.until_ms - first.since_ms == 86_400_000
        assert second.before == 12
        answer = await asked(house, request(f"{path}?From=%C3%9Cber", headers=(WHO,)))
        said = answer.json()
        assert "From=%C3%9Cber&" in said["next_page_uri"]
        for wrong in ("PageSize=x", "DateSent=yesterday"):
            answer = await asked(house, request(f"{path}?{wrong}", headers=(WHO,)))
            assert (answer.status, answer.json()["code"]) == (400, 20001)  # type: ignore[index]


class Slow(Nothing):
    """Searches that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()

    async def search(self, query: Query) -> Page:
        self.queries.append(query)
        await self.go.wait()
        return Page([], 0, False, 0)


@trio_test
async def test_an_account_has_so_many_lists_at_a_time() -> None:
    slow = Slow()
    async with speaking(speaking_twilio(slow), ACCOUNT) as house:
        raw = request(f"/2010-04-01/Accounts/{USER}/Messages.json", headers=(WHO,))
        assert (
            await asked(house, request(f"/2010-04-01/Accounts/{USER}/Messages/SMx.json", headers=(WHO,)))
        ).status == 404
        clients = [house.client() for _ in range(MOST_AT_ONCE)]
        for client in clients:
            await client.send(raw)
        await trio.testing.wait_all_tasks_blocked()
        assert (await asked(house, raw)).status == 429
        slow.go.set()
        assert [(await client.answer()).status for client in clients] == [200] * MOST_AT_ONCE
        assert (await asked(house, raw)).status == 200


def message(text: str = "") -> Message:
    return Message(
        FIRST_ID, 7, WALL_MS, "ACME", 5, 0, "447700900123", 0, text, b"", 1, 1, 2, 1, 0, 0, 1, "default"
    )


@pytest.mark.parametrize(
    ("progress", "status"),
    [
        (Progress(Phase.READY, MessageState.ENROUTE), "queued"),
        (Progress(Phase.SCHEDULED, MessageState.SCHEDULED), "scheduled"),
        (Progress(Phase.LEASED, MessageState.ENROUTE), "sending"),
        (Progress(Phase.AWAITING_RECEIPT, MessageState.ENROUTE), "sent"),
        (Progress(Phase.FINAL, MessageState.DELIVERED, Reason.RECEIPT), "delivered"),
        (Progress(Phase.FINAL, MessageState.DELETED, Reason.CANCELLED), "canceled"),
        (Progress(Phase.FINAL, MessageState.ACCEPTED, Reason.NO_RECEIPT_WANTED), "sent"),
        (Progress(Phase.FINAL, MessageState.UNDELIVERABLE, Reason.RECEIPT), "undelivered"),
        (Progress(Phase.FINAL, MessageState.EXPIRED, Reason.EXPIRED_IN_QUEUE), "failed"),
    ],
)
def test_a_status_is_twilios_word(progress: Progress, status: str) -> None:
    assert status_of(message(), progress) == status


def test_a_resource_says_when_it_was_sent_and_why_it_failed() -> None:
    progress = Progress(
        Phase.FINAL,
        MessageState.UNDELIVERABLE,
        Reason.RECEIPT,
        finished_ms=WALL_MS + 2_000,
        events=[(WALL_MS + 1_000, Step.SENT, 1, "x")],
        cause=Cause.ABSENT_SUBSCRIBER,
    )
    said = shown("AC1", message("Hello"), progress)
    assert (said["date_created"], said["date_sent"], said["date_updated"]) == (
        "Sun, 17 Mar 2030 17:46:40 +0000",
        "Sun, 17 Mar 2030 17:46:41 +0000",
        "Sun, 17 Mar 2030 17:46:42 +0000",
    )
    assert (said["status"], said["error_code"]) == ("undelivered", 30003)


def test_accounts_have_a_sid() -> None:
    assert Account(id=7, name="x").id == 7
    assert OWN == "AC00000000000000000000000000000007"


class Call(NamedTuple):
    result: str
    error: Exception | None = None


class Archive(Nothing):
    """A message that is archived, and a transaction that answers as it is told to."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call
        self.redacted: list[tuple[int, int, str]] = []
        self.there = True

    def find(self, account: int, id: int) -> tuple[Message, Progress] | None:
        return message("Hello"), Progress(Phase.FINAL, MessageState.DELIVERED, Reason.RECEIPT)

    def redact_archived(self, account: int, id: int, now_ms: int, detail: str = "") -> bool:
        self.redacted.append((account, id, detail))
        return self.there

    def call_soon(self, function: Any, done: Any, **_: Any) -> None:
        done(self.call)


@pytest.mark.parametrize(
    ("method", "body", "call", "there", "status", "redacted"),
    [
        ("DELETE", b"", Call("unknown"), True, 204, [(7, FIRST_ID, "deleted")]),
        ("POST", b"Body=", Call("unknown"), True, 200, [(7, FIRST_ID, "")]),
        ("DELETE", b"", Call("unknown"), False, 404, [(7, FIRST_ID, "deleted")]),
        ("DELETE", b"", Call("redacted"), True, 204, []),
        ("DELETE", b"", Call("waits"), True, 400, []),
        ("DELETE", b"", Call("", RuntimeError("disk")), True, 503, []),
        ("POST", b"Body=other", Call("redacted"), True, 400, []),
        ("POST", b"Status=sent", Call("redacted"), True, 400, []),
    ],
)
@trio_test
async def test_what_it_said_is_taken_out_wherever_it_is(
    method: str, body: bytes, call: Call, there: bool, status: int, redacted: list[tuple[int, int, str]]
) -> None:
    archive = Archive(call)
    archive.there = there
    path = f"/2010-04-01/Accounts/{USER}/Messages/{sid_of(FIRST_ID)}.json"
    async with speaking(speaking_twilio(archive), ACCOUNT) as house:
        answer = await asked(house, request(path, body, method=method, headers=(FORM, WHO)))
        assert (answer.status, archive.redacted) == (status, redacted)


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        (("messages.send",), (201, 401, 401, 401, 401)),
        (("messages.read", "messages.text", "messages.numbers"), (401, 200, 404, 401, 401)),
        (
            ("messages.cancel", "messages.read", "messages.text", "messages.numbers"),
            (401, 200, 404, 404, 404),
        ),
        ((), (201, 200, 404, 404, 404)),
    ],
)
@trio_test
async def test_a_key_opens_what_its_scopes_open_over_our_own_api(
    scopes: tuple[str, ...], statuses: tuple[int, ...]
) -> None:
    key, prefix, digest = new_key()
    mine = account(["twilio"], keys=(ApiKey("k1", digest, prefix, "limited", scopes=scopes),))
    resource = "/2010-04-01/Accounts/alice/Messages"
    form = urlencode({"To": "+447700900123", "From": "+447700900999", "Body": "Hello"}).encode()
    async with speaking(speaking_twilio(Nothing()), mine) as house:
        found = []
        for method, path, body in (
            ("POST", ".json", form),
            ("GET", ".json", b""),
            ("GET", "/SM1.json", b""),
            ("POST", "/SM1.json", b"Status=canceled"),
            ("DELETE", "/SM1.json", b""),
        ):
            raw = request(resource + path, body, headers=(FORM, basic(USER, key)), method=method)
            found.append((await asked(house, raw)).status)
        assert tuple(found) == statuses
