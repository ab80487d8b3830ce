"""`signalbox send`: one message through the running gateway, by HTTP with a key or by the admin socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import UNREACHABLE, Failure
from gateway.cli.output import print_json
from gateway.cli.place import Place, json_option, place_options

_TIMEOUT_S = 30


@click.command()
@click.option("--to", required=True, help="The handset, E.164: +447700900123.")
@click.option("--from", "sender", required=True, help="A number, a short code, or up to 11 letters.")
@click.option("--text", required=True, help="What it says.")
@click.option(
    "--smart-encoding/--no-smart-encoding",
    default=None,
    help="Likenesses of GSM 7-bit where they save segments.  [default: the account's]",
)
@click.option(
    "--account", default="", help="Which account sends, without --key.  [default: the only one, or demo]"
)
@click.option("--key", envvar="SIGNALBOX_API_KEY", help="Send by HTTP with this API key.")
@click.option("--url", help="The gateway's HTTP address.  [default: the configuration's first listener]")
@place_options
@json_option
def send(
    to: str,
    sender: str,
    text: str,
    smart_encoding: bool | None,
    account: str,
    key: str | None,
    url: str | None,
    place: Place,
    as_json: bool,
) -> None:
    """Send one message through the running gateway and print its id."""
    more = {} if smart_encoding is None else {"smart_encoding": smart_encoding}
    if key:
        body = {"to": to, "from": sender, "text": text, **more}
        answer = post(f"{url or http_url(place)}/v1/messages", key, body)
    else:
        answer = ask(place, account=account, to=to, sender=sender, text=text, **more)
    if as_json:
        print_json(answer)
    else:
        segments = f"{answer['segments']} segment{'' if answer['segments'] == 1 else 's'}"
        click.echo(f"{answer['id']}  {answer['state']}, {segments}")
        click.echo(f"Follow it: signalbox message {answer['id']}")


def ask(place: Place, **wish: Any) -> Any:
    try:
        return place.ask_running("send", **wish)
    except AdminAbsent:
        raise Failure(
            f"no gateway runs on {place.data_dir}", "start it: signalbox run", UNREACHABLE
        ) from None


def http_url(place: Place) -> str:
    """The address of the first HTTP listener; one that listens everywhere is reached on loopback."""
    address = place.config.http.listen[0]
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return f"http://{replace(address, host=everywhere.get(address.host, address.host))}"


def post(url: str, key: str, body: dict[str, Any]) -> Any:
    """POST JSON and return the JSON answer. Raises Failure with what the problem document says."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            raise Failure(problem_text(error.code, error.read())) from None
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(
            f"cannot reach {url}: {reason}", "is the gateway running? signalbox run", UNREACHABLE
        ) from None


def problem_text(status: int, body: bytes) -> str:
    """An application/problem+json document in one line (RFC 9457); the status alone when it is none."""
    try:
        problem = json.loads(body)
        return f"the gateway refused it ({status}): {problem.get('detail') or problem['title']}"
    except (ValueError, KeyError, AttributeError):
        return f"the gateway refused it with HTTP status {status}"
