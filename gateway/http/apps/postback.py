"""Campaign and alerting apps that POST JSON of their own: listmonk's postback messenger, Alertmanager.

listmonk posts a campaign's message with its recipients and takes anything but 200 as a failure of all of
them: 200 means that every recipient's message is on disk or refused for good, and the answer names those that
were refused. The number is the subscriber's attribute `phone` (`?number=attribs.mobile` in the messenger's
URL takes another one), the sender `?from=`, else the account's own one. Alertmanager's webhook
becomes one message for each receiver of `?to=`: a line for the group, and one for each alert, cut at three
segments. Both by Basic authentication: in listmonk's messenger, in Alertmanager's http_config.

Sources: listmonk's documentation of messengers (and its postback's payload), Prometheus' documentation of
the webhook receiver, version 4 of its payload.

Deliberately not here: HTML as a browser shows it: tags go, text stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import msgspec

from gateway.door import Accepted, Refusal, Submission
from gateway.http import forms
from gateway.http.apps.who import Apps, basic_of
from gateway.http.forms import Parameters
from gateway.http.ports import DoorPort
from gateway.http.problems import BadRequest, Headers
from gateway.http.request import Request
from gateway.http.routes import Respond, Routes
from router.nouns import Account

LISTMONK, ALERTMANAGER = "listmonk", "alertmanager"
MOST_RECEIVERS = 1_000

_JSON: Headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
_ASK: Headers = (*_JSON, ("WWW-Authenticate", "Basic"))
_AGAIN = frozenset((429, 503))
_LONGEST_ALERT = 450
# Each of these reads every character a bounded number of times, whatever a campaign holds.
_BLOCK = re.compile(r"(?i)<(?:br|/p|/div|/h[1-6]|/li|/tr)[^<>]*>")
_NO_TEXT = re.compile(r"(?i)<(script|style|head)\b")
_ENDS = {kind: re.compile(rf"(?i)</{kind}\s*>") for kind in ("script", "style", "head")}
_TAG = re.compile(r"<[^<>]*>")
_BLANKS = re.compile(r"[ \t\xa0]+")
_encode = msgspec.json.Encoder().encode


class Recipient(msgspec.Struct):
    attribs: dict[str, Any] | None = None
    uuid: str = ""


class CampaignOf(msgspec.Struct):
    uuid: str = ""
    name: str = ""
    tags: list[str] | None = None


class Postback(msgspec.Struct):
    """What listmonk posts."""

    body: str
    recipients: list[Recipient]
    subject: str = ""
    content_type: str = "plain"
    campaign: CampaignOf | None = None


class Alert(msgspec.Struct):
    status: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Alerts(msgspec.Struct):
    """What Alertmanager posts."""

    status: str
    alerts: list[Alert]
    commonLabels: dict[str, str] = {}
    truncatedAlerts: int = 0


class Failed(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _Api:
    """What both have in common: Basic authentication, one submit, 200 or why not."""

    name = ""

    def __init__(self, door: DoorPort, apps: Apps) -> None:
        self._door = door
        self._apps = apps

    def add_to(self, routes: Routes) -> None:
        routes.add("POST", f"/{self.name}", self.post)

    def post(self, request: Request, respond: Respond) -> None:
        """200 once every message is on disk, or refused for good."""

        def fail(failed: Failed) -> None:
            respond(failed.status, _JSON, _encode({"error": failed.text}))

        def known(account: Account) -> None:
            try:
                made = self.submissions(request, account)
            except Failed as failed:
                fail(failed)
                return
            if not made:
                respond(200, _JSON, _encode({"accepted": 0, "refused": []}))
                return
            self._door.submit(account, made, lambda results: respond(*_answer(made, results)))

        def unknown(refusal: BadRequest) -> None:
            status = refusal.status if refusal.status in _AGAIN else 401
            respond(status, _ASK if status == 401 else _JSON, _encode({"error": str(refusal)}))

        user, password = basic_of(request.headers.get(b"authorization"))
        self._apps.ask(request, self.name, user, password, known, unknown)

    def submissions(self, request: Request, account: Account) -> list[Submission]:
        """Errors: Failed."""
        raise NotImplementedError


class ListmonkApi(_Api):
    name = LISTMONK

    def submissions(self, request: Request, account: Account) -> list[Submission]:
        given, asked = _decode(request, Postback), forms.of_query(request.query)
        if len(given.recipients) > MOST_RECEIVERS:
            raise Failed(413, f"at most {MOST_RECEIVERS:,} recipients in one post")
        text = given.body if given.content_type == "plain" else plain(given.body)
        if not text.strip():
            raise Failed(422, "body: it has no text")
        sender = _sender(asked, account)
        path = asked.text(b"number", default="attribs.phone").removeprefix("attribs.")
        tags = [f"listmonk:{given.campaign.name}"[:64]] if given.campaign is not None else []
        tags += [tag[:64] for tag in (given.campaign.tags or [])[:9]] if given.campaign is not None else []
        made = []
        for one in given.recipients:
            number = (one.attribs or {}).get(path, "")
            made.append(
                Submission(
                    str(number),
                    sender,
                    text,
                    message_class=asked.text(b"class", default="promotional"),
                    tags=tuple(tags),
                    client_ref=one.uuid[:64],
                )
            )
        if made and made[0].message_class not in ("otp", "transactional", "promotional", "bulk"):
            raise Failed(422, "class: otp, transactional, promotional or bulk")
        return made


class AlertmanagerApi(_Api):
    name = ALERTMANAGER

    def submissions(self, request: Request, account: Account) -> list[Submission]:
        given, asked = _decode(request, Alerts), forms.of_query(request.query)
        receivers = [
            number
            for name, value in asked.pairs
            if name == b"to"
            for number in value.decode("latin-1").split(",")
        ]
        if not receivers:
            raise Failed(422, "to: name the receivers in the webhook's URL: ?to=447700900123,447700900124")
        if len(receivers) > MOST_RECEIVERS:
            raise Failed(422, f"to: at most {MOST_RECEIVERS:,}")
        text, sender = alert_text(given), _sender(asked, account)
        return [Submission(to.strip(), sender, text, tags=("alertmanager",)) for to in receivers]


def alert_text(given: Alerts) -> str:
    """`FIRING 2: DiskFull`, then a line for each alert; cut where three segments end."""
    name = given.commonLabels.get("alertname", "")
    count = len(given.alerts) + given.truncatedAlerts
    lines = [f"{given.status.upper()} {count}" + (f": {name}" if name else "")]
    lines += _lines(given.alerts)
    text = "\n".join(lines)
    return text if len(text) <= _LONGEST_ALERT else text[: _LONGEST_ALERT - 3].rstrip() + "..."


def _lines(alerts: list[Alert]) -> Iterator[str]:
    for one in alerts:
        said = one.annotations.get("summary") or one.annotations.get("description")
        if not said:
            said = " ".join(f"{name}={value}" for name, value in one.labels.items() if name != "alertname")
        resolved = "resolved: " if one.status == "resolved" else ""
        yield resolved + " ".join((said or one.labels.get("alertname", "an alert")).split())


def plain(html: str) -> str:
    """The text of HTML: blocks become lines, tags go."""
    text = _TAG.sub("", _BLOCK.sub("\n", _without_scripts(html)))
    lines = (_BLANKS.sub(" ", line).strip() for line in unescape(text).splitlines())
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()


def _without_scripts(html: str) -> str:
    """Without what is no text, tags and all; one that never ends is a tag like any other."""
    kept: list[str] = []
    endless: set[str] = set()
    at = 0
    while (found := _NO_TEXT.search(html, at)) is not None:
        kind = found[1].lower()
        end = None if kind in endless else _ENDS[kind].search(html, found.end())
        if end is None:
            endless.add(kind)
        kept.append(html[at : found.end() if end is None else found.start()])
        at = (end or found).end()
    return "".join((*kept, html[at:]))


def _sender(asked: Parameters, account: Account) -> str:
    sender = asked.text(b"from") or next((one for one in account.senders if not one.endswith("*")), "")
    if not sender:
        raise Failed(422, "from: name the sender in the URL (?from=ACME), or give the account one")
    return sender


def _decode(request: Request, kind: Callable[..., Any]) -> Any:
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as error:
        raise Failed(422, str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Failed(400, "the body is not JSON") from None


def _answer(made: list[Submission], results: list[Accepted | Refusal]) -> tuple[int, Headers, bytes]:
    """200, unless all were refused for now: then they are to come again."""
    refused = [
        {"to": asked.to, "client_ref": asked.client_ref, "error": result.detail, "code": result.code}
        for asked, result in zip(made, results, strict=True)
        if isinstance(result, Refusal)
    ]
    first = results[0]
    if len(refused) == len(made) and isinstance(first, Refusal):
        status = first.status if first.status in _AGAIN else 422
        headers = (
            (*_JSON, ("Retry-After", str(max(1, round(first.retry_after_s))))) if status in _AGAIN else _JSON
        )
        return status, headers, _encode({"error": first.detail, "accepted": 0, "refused": refused})
    return 200, _JSON, _encode({"accepted": len(made) - len(refused), "refused": refused})
