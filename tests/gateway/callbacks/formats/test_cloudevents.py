"""CloudEvents in structured mode, byte by byte."""

from __future__ import annotations

import msgspec

from gateway.callbacks.formats import Terms
from gateway.callbacks.formats.cloudevents import render
from gateway.callbacks.signature import verify
from tests.gateway.callbacks.outside import EPOCH_MS, event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TERMS = Terms("https://c.example/ce", EPOCH_MS, 1, "acme", secrets=(SECRET,))


def test_an_inbound_message() -> None:
    made = render([event(77, kind=1, text="Yes")], TERMS)
    assert made is not None
    headers = dict(made.headers)
    assert made.method == "POST"
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert made.body == (
        b'{"specversion":"1.0","id":"mo_77","source":"/accounts/acme","type":"signalbox.message.received",'
        b'"time":"2025-10-09T08:53:20.000Z","subject":"message/77","datacontenttype":"application/json",'
        b'"data":{"message_id":"77","from":"447700900001","to":"447700900123","encoding":"gsm7","text":"Yes",'
        b'"data":null,"segments":1,"in_reply_to":null,"kind":"message"}}'
    )
    verify(
        [SECRET],
        headers["webhook-id"],
        headers["webhook-timestamp"],
        made.body,
        headers["webhook-signature"],
        None,
    )


def test_what_concerns_the_account_is_about_it() -> None:
    made = render([event(5, kind=3, error="balance.low", data=b'{"balance":"1.50"}')], TERMS)
    assert made is not None
    body = msgspec.json.decode(made.body)
    assert (body["type"], body["subject"]) == ("signalbox.account.balance.low", "account/acme")
    assert body["id"] == f"acct_1_balance.low_{EPOCH_MS}"
    assert body["data"] == {"balance": "1.50"}


def test_a_batch_is_an_array() -> None:
    made = render([event(1), event(2)], TERMS._replace(batch=True))
    assert made is not None
    assert dict(made.headers)["Content-Type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert [one["subject"] for one in msgspec.json.decode(made.body)] == ["message/1", "message/2"]
