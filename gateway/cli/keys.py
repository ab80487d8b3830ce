"""`signalbox key`: API keys of accounts and of operators. On a running gateway and on a stopped one.

A key is printed once; the store keeps only its hash.

Deliberately not here: what a scope opens (router.roles, docs/http-api.md), the main keys' own verbs
(`account rotate`, `operator rotate`).
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

from gateway.admin_operators import LONGEST_OVERLAP_S
from gateway.admin_shapes import iso
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options
from gateway.operators import OVERLAP_S

_SPAN = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


@click.group()
def key() -> None:
    """API keys with scopes, an end and addresses: create, list, show, rotate, revoke."""


@key.command()
@click.argument("account", required=False, default="")
@click.option("--operator", default="", metavar="NAME", help="A key of this operator, not of an account.")
@click.option(
    "--scopes",
    default="",
    metavar="SCOPE,…",
    help="What it may, such as messages.send,messages.read. Without: all that its role may.",
)
@click.option(
    "--expires",
    default="",
    metavar="WHEN",
    help="When it ends: 12h, 90d, 52w, or a time with its zone. Without: never.",
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="CIDR",
    help="Where it may be used from, IPv4 or IPv6; repeatable. Without: anywhere.",
)
@click.option("--name", default="", help="What it is for, for people.")
@acting_options
@json_option
def create(
    account: str,
    operator: str,
    scopes: str,
    expires: str,
    addresses: tuple[str, ...],
    name: str,
    place: Place,
    as_json: bool,
) -> None:
    """Make a key of ACCOUNT (or of --operator NAME) and print it, this once."""
    if bool(account) == bool(operator):
        raise Failure("whose key is it?", "signalbox key create ACCOUNT, or --operator NAME", USAGE)
    made = place.ask(
        "key.create",
        account=account,
        operator=operator,
        name=name,
        scopes=[word.strip() for word in scopes.split(",") if word.strip()],
        addresses=list(addresses),
        expires_at=end_of(expires, time.time()),
    )
    print_made(made, as_json)


@key.command("list")
@click.argument("account", required=False, default="")
@click.option("--operator", default="", metavar="NAME", help="Those of this operator.")
@place_options
@json_option
def list_keys(account: str, operator: str, place: Place, as_json: bool) -> None:
    """Keys of ACCOUNT, of an operator, or of all; never the keys themselves."""
    keys = place.ask("key.list", account=account, operator=operator)
    if as_json:
        print_json(keys)
        return
    if not keys:
        click.echo("No keys. Make one: signalbox key create ACCOUNT")
        return
    keys.sort(key=lambda one: (one["role"] == "account", one["account"], one["operator"], one["name"]))
    rows = [
        [
            one["id"],
            one["account"] or f"{one['operator']} ({one['role']})",
            one["name"],
            f"{one['prefix']}_…",
            "ended" if one["ended"] else one["expires_at"],
            one["last_used_at"],
            one["last_used_from"],
        ]
        for one in keys
    ]
    print_table(("ID", "OF", "NAME", "KEY", "ENDS", "LAST USED", "FROM"), rows)


@key.command()
@click.argument("id")
@place_options
@json_option
def show(id: str, place: Place, as_json: bool) -> None:
    """One key: what it may, from where, until when, and when it was used last."""
    print_key(place.ask("key.show", id=id), as_json)


@key.command()
@click.argument("id")
@click.option(
    "--overlap",
    "overlap_s",
    type=click.FloatRange(0, LONGEST_OVERLAP_S),
    default=OVERLAP_S,
    show_default=True,
    metavar="S",
    help="Seconds that the secret which is replaced goes on working; 0: it stops at once.",
)
@acting_options
@json_option
def rotate(id: str, overlap_s: float, place: Place, as_json: bool) -> None:
    """Give the key ID another secret and print it, this once; its scopes, end and addresses stay."""
    print_made(place.ask("key.rotate", id=id, overlap_s=overlap_s), as_json)


@key.command()
@click.argument("id")
@acting_options
@json_option
def revoke(id: str, place: Place, as_json: bool) -> None:
    """The key ID opens nothing any more, at once; what was done with it stays in the audit trail."""
    gone = place.ask("key.revoke", id=id)
    if as_json:
        print_json(gone)
    else:
        click.echo(f"The key {gone['prefix']}_… ({id}) opens nothing any more.")


def end_of(text: str, now_s: float) -> str:
    """What --expires says, as a time in RFC 3339. Errors: Failure."""
    text = text.strip()
    span = _SPAN.fullmatch(text)
    if span is not None:
        return iso(int((now_s + int(span[1]) * _HOURS[span[2]] * 3600) * 1000))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat()
        except ValueError:
            raise Failure(f"--expires: {text!r} is no day", exit_code=USAGE) from None
    return text


def print_made(made: dict[str, Any], as_json: bool) -> None:
    print_key(made, as_json)
    if not as_json:
        click.echo("\nThe key is shown this once; keep it now.")


def print_key(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        print_pairs(view)
