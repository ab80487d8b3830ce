"""`signalbox send`: one message through the running gateway, by HTTP with a key or by the admin socket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import UNREACHABLE, Failure
from gateway.cli.output import print_json
from gateway.cli.place import Place, json_option, place_options

if TYPE_CHECKING:
    from gateway.client import Problem

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
        answer = post(url or http_url(place), key, to, sender, text, **more)
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


def post(url: str, key: str, to: str, sender: str, text: str, **more: Any) -> dict[str, Any]:
    """The submit's answer. Raises Failure with what the gateway said."""
    import msgspec

    from gateway.client import Refused, Signalbox, Unreachable

    try:
        with Signalbox(url, key, timeout_s=_TIMEOUT_S, patience_s=0) as signalbox:
            sent = signalbox.send(to, sender, text, **more)
    except Refused as refused:
        raise Failure(f"the gateway refused it ({refused.status}): {_why(refused.problem)}") from None
    except Unreachable as error:
        raise Failure(str(error), "is the gateway running? signalbox run", UNREACHABLE) from None
    answer: dict[str, Any] = msgspec.to_builtins(sent)
    return {name: value for name, value in answer.items() if value != ""}


def _why(problem: Problem) -> str:
    return problem.detail or problem.title or "it did not say why"
