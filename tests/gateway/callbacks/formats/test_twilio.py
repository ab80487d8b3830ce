"""Twilio's callbacks, byte by byte, and their signature."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.callbacks.choice import twilio
from gateway.callbacks.formats import Outgoing, Terms
from gateway.callbacks.formats.twilio import render, signature_of
from gateway.callbacks.terms import terms_of
from router.nouns import Account, Login, MessageState, Reason
from tests.gateway.callbacks.outside import EPOCH_MS, event

SID, ACCOUNT = "SM" + "0" * 30 + "4d", "AC" + "0" * 31 + "1"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
URL = "https://c.example/status?a=1"
HEAD = f"MessageSid={SID}&SmsSid={SID}&AccountSid={ACCOUNT}&From=%2B447700900001&To=%2B447700900123"
DLR: dict[str, Any] = {"reason": Reason.RECEIPT}


def made(secrets: tuple[str, ...] = (), **more: Any) -> Outgoing | None:
    return render([event(77, **more)], Terms(URL, EPOCH_MS, 1, "acme", twilio(URL).choice, secrets=secrets))


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        (DLR, "delivered", ""),
        ({"kind": 2, "state": MessageState.ENROUTE, "final": False}, "sent", ""),
        (DLR | {"state": MessageState.UNDELIVERABLE, "cause": "unknown_subscriber"}, "undelivered", "30005"),
        (DLR | {"state": MessageState.UNDELIVERABLE, "cause": "spam"}, "undelivered", "30007"),
        (DLR | {"state": MessageState.EXPIRED}, "undelivered", "30008"),
        ({"state": MessageState.REJECTED, "reason": Reason.REFUSED_BY_CARRIER}, "failed", "30008"),
        ({"state": MessageState.DELETED, "reason": Reason.CANCELLED}, "canceled", ""),
    ],
)
def test_a_status_callback(more: dict[str, Any], status: str, code: str) -> None:
    error = f"&ErrorCode={code}" if code else ""
    body = f"{HEAD}&MessageStatus={status}&SmsStatus={status}{error}&ApiVersion=2010-04-01"
    assert made(**more) == Outgoing("POST", URL, (FORM,), body.encode())


def test_names_stay_names_and_an_account_event_is_not_told() -> None:
    named = made(source="ACME", source_type=0x50)
    assert named is not None
    assert b"&From=ACME&To=%2B447700900123&" in named.body
    assert made(kind=3, error="balance.low") is None


def test_an_inbound_message() -> None:
    posted = render([event(77, kind=1, text="Hi & é", destination="12345", segments=2)], Terms(URL, EPOCH_MS))
    assert posted == Outgoing(
        "POST",
        URL,
        (FORM,),
        f"MessageSid={SID}&SmsSid={SID}&SmsMessageSid={SID}&AccountSid={ACCOUNT}&From=%2B447700900001&To=12345"
        "&Body=Hi+%26+%C3%A9&NumMedia=0&NumSegments=2&SmsStatus=received&FromCountry=GB&ApiVersion=2010-04-01"
        .encode(),
    )  # fmt: skip


def test_a_status_callback_names_the_account_as_its_app_did() -> None:
    terms = Terms(URL, EPOCH_MS, 1, "acme", twilio(URL, "AC" + "5" * 32).choice, sid="AC" + "7" * 32)
    posted = render([event(77, **DLR)], terms)
    assert posted is not None
    assert b"&AccountSid=AC55555555555555555555555555555555&From=" in posted.body


def test_what_no_app_submitted_names_the_accounts_first_app_with_such_a_name() -> None:
    logins = tuple(Login(name) for name in ("shop", "ACME", "AC" + "7" * 32, "AC" + "8" * 32))
    account = Account(1, "acme", app_logins=logins)
    for more in ({"kind": 1}, DLR):
        told = event(77, **more)
        posted = render([told], terms_of(account, told, URL, EPOCH_MS))
        assert posted is not None
        assert b"&AccountSid=AC77777777777777777777777777777777&From=" in posted.body


def test_the_signature_is_that_of_twilios_own_example() -> None:
    # Twilio's guide "Validating requests", whose values its libraries test with, too.
    fields = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
        ("Caller", "+14158675309"),
    ]
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature_of("12345", url, fields) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_while_secrets_rotate_the_older_one_signs() -> None:
    old, both = made(("whsec_old",)), made(("whsec_new", "whsec_old"))
    assert old is not None
    assert old == both
    name, value = old.headers[1]
    assert name == "X-Twilio-Signature"
    assert value != dict(made(("whsec_new",)).headers)["X-Twilio-Signature"]  # type: ignore[union-attr]
