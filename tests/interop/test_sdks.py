"""Twilio's and Vonage's own SDKs, pointed at a Signalbox: an app changes a URL, and a name and password stay.

Both SDKs fix the scheme and host of their vendor; here their HTTP sessions are told to go to the gateway
instead, as an app behind a proxy would be.

Deliberately not here: every parameter (tests/gateway/http/apps).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import trio
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client as Twilio
from vonage_http_client import Auth, HttpClient
from vonage_sms import Sms, SmsMessage
from vonage_sms.errors import SmsError

from gateway.callbacks.formats import Terms
from gateway.callbacks.formats import vonage as vonage_format
from gateway.callbacks.formats.twilio import signature_of
from gateway.passwords import hash_password
from router.nouns import Event, Login
from tests.interop.house import CONFIG, HANDSET, House, Sink, house, until
from tests.trio_case import trio_test

SID = "AC0123456789abcdef0123456789abcdef"
TOKEN = "0123456789abcdef0123456789abcdef"
API_KEY, API_SECRET = "a1b2c3d4", "AbCdEf0123456789"
APIS = CONFIG.replace("[smpp]", 'apis = ["twilio", "vonage"]\n[smpp]')
NUMBER = "+447700900999"


class Elsewhere(requests.adapters.HTTPAdapter):
    """Takes what is meant for a vendor's host to the gateway."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def send(self, request: Any, *args: Any, **settings: Any) -> Any:
        _, _, rest = request.url.partition("://")
        request.url = f"http://127.0.0.1:{self.port}/{rest.partition('/')[2]}"
        return super().send(request, *args, **settings)


@asynccontextmanager
async def serving(directory: Path, **account: Any) -> AsyncIterator[House]:
    logins = tuple(
        Login(user, (hash_password(password.encode()),))
        for user, password in ((SID, TOKEN), (API_KEY, API_SECRET))
    )
    async with house(directory, APIS) as ours:
        await ours.account(apis=("twilio", "vonage"), app_logins=logins, private_callbacks=True, **account)
        yield ours


def twilio(port: int, token: str = TOKEN) -> Any:
    http = TwilioHttpClient()
    assert http.session is not None
    http.session.mount("https://", Elsewhere(port))
    return Twilio(SID, token, http_client=http).messages


def vonage(port: int, secret: str = API_SECRET) -> Sms:
    client = HttpClient(Auth(api_key=API_KEY, api_secret=secret))
    client._session.mount("https://", Elsewhere(port))
    return Sms(client)


async def done(act: Callable[[], Any]) -> Any:
    """The SDKs block: in a thread."""
    return await trio.to_thread.run_sync(act)


@trio_test
async def test_twilios_sdk_sends_and_follows_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        messages = await done(lambda: twilio(ours.http))
        made = await done(lambda: messages.create(to="+" + HANDSET, from_=NUMBER, body="Grüße an alle"))
        assert (made.status, made.to, made.from_, made.body) == (
            "queued",
            "+" + HANDSET,
            NUMBER,
            "Grüße an alle",
        )
        assert (made.sid[:2], len(made.sid), made.account_sid) == ("SM", 34, SID)
        assert (made.num_segments, made.num_media, made.direction) == ("1", "0", "outbound-api")
        assert made.date_created is not None
        assert made.error_code is None
        await until(lambda: ours.texts() == ["Grüße an alle"], "the carrier has it")
        await until(lambda: not ours.gateway.store.outbox_backlog(), "the receipt came")
        found = made
        while found.status != "delivered":
            found = await done(lambda: messages(made.sid).fetch())
        assert found.date_sent is not None


@trio_test
async def test_twilios_sdk_schedules_cancels_and_lists(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        messages = await done(lambda: twilio(ours.http))
        later = datetime.now(UTC) + timedelta(hours=2)
        made = await done(
            lambda: messages.create(
                to="+" + HANDSET,
                from_=NUMBER,
                body="Later",
                send_at=later,
                schedule_type="fixed",
                validity_period=3_600,
                smart_encoded=True,
            )
        )
        assert made.status == "scheduled"
        ended = await done(lambda: messages(made.sid).update(status="canceled"))
        assert ended.status == "canceled"
        assert (await done(lambda: messages(made.sid).update(status="canceled"))).status == "canceled"
        others = [
            await done(partial(messages.create, to=f"+44770090020{n}", from_=NUMBER, body=f"text {n}"))
            for n in range(5)
        ]
        found = await done(lambda: messages.list(page_size=2))
        assert {one.sid for one in found} == {made.sid, *(one.sid for one in others)}
        assert len(found) == 6
        (third,) = await done(lambda: messages.list(to="+447700900203"))
        assert third.body == "text 3"
        assert ours.texts() == [] or "Later" not in ours.texts()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"to": "+12", "from_": NUMBER, "body": "x"}, 21211),
        ({"to": "+" + HANDSET, "from_": "more than eleven characters", "body": "x"}, 21212),
        ({"to": "+" + HANDSET, "body": "x"}, 21603),
        ({"to": "+" + HANDSET, "from_": NUMBER}, 21602),
        ({"to": "+" + HANDSET, "from_": NUMBER, "body": "x" * 1_601}, 21617),
        ({"to": "+" + HANDSET, "from_": NUMBER, "body": "x", "media_url": ["https://x/y.png"]}, 21620),
        ({"to": "+" + HANDSET, "from_": NUMBER, "body": "x", "status_callback": "gopher://x"}, 21609),
    ],
)
@trio_test
async def test_twilios_sdk_is_told_what_is_wrong(tmp_path: Path, given: dict[str, Any], code: int) -> None:
    async with serving(tmp_path) as ours:
        messages = await done(lambda: twilio(ours.http))
        with pytest.raises(TwilioRestException) as caught:
            await done(lambda: messages.create(**given))
        assert (caught.value.status, caught.value.code) == (400, code)
        assert not ours.sent


@trio_test
async def test_twilios_sdk_is_refused_with_a_wrong_token_and_what_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        wrong = await done(lambda: twilio(ours.http, "wrong"))
        with pytest.raises(TwilioRestException) as caught:
            await done(lambda: wrong.create(to="+" + HANDSET, from_=NUMBER, body="x"))
        assert (caught.value.status, caught.value.code) == (401, 20003)
        messages = await done(lambda: twilio(ours.http))
        for sid in ("SM" + "0" * 32, "SM" + "f" * 32):
            with pytest.raises(TwilioRestException) as caught:
                await done(messages(sid).fetch)
            assert (caught.value.status, caught.value.code) == (404, 20404)


@trio_test
async def test_twilios_sdk_redacts_and_deletes_what_has_ended(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        messages = await done(lambda: twilio(ours.http))
        ours.hold_carrier()
        made = await done(lambda: messages.create(to="+" + HANDSET, from_=NUMBER, body="a secret"))
        for act in (lambda: messages(made.sid).update(body=""), lambda: messages(made.sid).delete()):
            with pytest.raises(TwilioRestException) as caught:
                await done(act)
            assert (caught.value.status, caught.value.code) == (400, 20009)
        ours.release_carrier()
        found = made
        while found.status != "delivered":
            found = await done(lambda: messages(made.sid).fetch())
        assert found.body == "a secret"
        assert (await done(lambda: messages(made.sid).update(body=""))).body == ""
        assert (await done(lambda: messages(made.sid).fetch())).body == ""
        assert await done(lambda: messages(made.sid).delete())
        with pytest.raises(TwilioRestException) as caught:
            await done(lambda: messages(made.sid).fetch())
        assert caught.value.status == 404
        assert await done(lambda: messages.list()) == []


@trio_test
async def test_a_status_callback_tells_what_became_of_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours, trio.open_nursery() as nursery:
        sink = Sink()
        await nursery.start(sink.serve)
        url = f"http://127.0.0.1:{sink.port}/status"
        messages = await done(lambda: twilio(ours.http))
        made = await done(
            lambda: messages.create(to="+" + HANDSET, from_=NUMBER, body="x", status_callback=url)
        )
        await until(lambda: len(sink.of("/status")) == 2, "sent and delivered were told")
        told = [
            dict(pair.split("=", 1) for pair in hit.body.decode().split("&")) for hit in sink.of("/status")
        ]
        assert [one["MessageStatus"] for one in told] == ["sent", "delivered"]
        assert {one["MessageSid"] for one in told} == {made.sid}
        nursery.cancel_scope.cancel()


def test_the_signature_is_the_one_that_twilios_sdk_makes() -> None:
    fields = [("To", "+447700900123"), ("Body", "Grüße & mehr"), ("From", "+447700900999")]
    url = "https://app.example/sms?x=1"
    assert signature_of(TOKEN, url, fields) == RequestValidator(TOKEN).compute_signature(url, dict(fields))


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
def test_vonages_sdk_believes_a_signed_receipt(method: Any) -> None:
    receipt = Event(0, 1, 77, 1_760_000_000_000, "ACME", "447700900123", 2, client_ref="a=b&c", accepted_ms=1)
    terms = Terms(
        "https://app.example/dlr", 1_760_000_000_000, 1, API_KEY, None, "json", method, (TOKEN,), "0" * 32
    )
    made = vonage_format.render([receipt], terms)
    assert made is not None
    told = json.loads(made.body)
    auth = Auth(API_KEY, API_SECRET, signature_secret=TOKEN, signature_method=method)
    assert auth.check_signature(dict(told))
    assert not auth.check_signature(told | {"status": "failed"})


@trio_test
async def test_vonages_sdk_sends_a_message(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        sms = await done(lambda: vonage(ours.http))
        message = SmsMessage(to=HANDSET, from_="ACME", text="Привет", type="unicode", client_ref="r-1")
        answer = await done(lambda: sms.send(message))
        assert answer.message_count == "1"
        (one,) = answer.messages
        assert (one.to, one.status, one.client_ref, len(one.message_id)) == (HANDSET, "0", "r-1", 16)
        await until(lambda: ours.texts() == ["Привет"], "the carrier has it")


@trio_test
async def test_vonages_sdk_sends_octets(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        sms = await done(lambda: vonage(ours.http))
        message = SmsMessage(
            to=HANDSET, from_="ACME", text="", type="binary", body="00ff10", udh="06050415811581"
        )
        await done(lambda: sms.send(message))
        await until(lambda: bool(ours.sent), "the carrier has it")
        assert ours.sent[0].short_message == bytes.fromhex("0605041581158100ff10")


@trio_test
async def test_vonages_sdk_is_told_what_is_wrong(tmp_path: Path) -> None:
    async with serving(tmp_path) as ours:
        wrong = await done(lambda: vonage(ours.http, "wrong"))
        with pytest.raises(SmsError, match="Bad Credentials"):
            await done(lambda: wrong.send(SmsMessage(to=HANDSET, from_="ACME", text="x")))
        sms = await done(lambda: vonage(ours.http))
        with pytest.raises(SmsError, match="Invalid value for param: to"):
            await done(lambda: sms.send(SmsMessage(to="12", from_="ACME", text="x")))
