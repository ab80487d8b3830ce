"""`signalbox account`: customers and their keys. Works on a running gateway and on a stopped one.

An API key and a callback secret are printed once, when they are made; the store keeps only the key's hash.
SMPP passwords are hashed here, before they go anywhere.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, json_option, place_options


@click.group()
def account() -> None:
    """Create, show, change accounts; rotate API keys."""


_callback = click.option("--callback-url", help="Where receipts and inbound messages are POSTed.")
_numbers = click.option("--number", "numbers", multiple=True, help="An inbound number it owns; repeatable.")
_weight = click.option("--weight", type=int, help="Its share beside other accounts, 1 to 1000.")
_private = click.option(
    "--private-callbacks/--no-private-callbacks",
    default=None,
    help="Whether callbacks may go to loopback and private addresses.",
)

_batch = click.option("--callback-batch", type=click.IntRange(1, 100), help="Events in one POST, 1 to 100.")


@account.command()
@click.argument("name")
@click.option("--system-id", default="", help="For SMPP binds; needs --password.")
@click.option("--password", default="", help='For SMPP binds, up to 8 characters; "-" asks for it.')
@_callback
@_numbers
@_weight
@_private
@_batch
@place_options
@json_option
def create(
    name: str,
    system_id: str,
    password: str,
    callback_url: str | None,
    numbers: tuple[str, ...],
    weight: int | None,
    private_callbacks: bool | None,
    callback_batch: int | None,
    place: Place,
    as_json: bool,
) -> None:
    """Make the account NAME and print its API key, this once."""
    if password == "-":
        password = click.prompt("SMPP password", hide_input=True, confirmation_prompt=True)
    made = place.ask(
        "account.create",
        name=name,
        system_id=system_id,
        password_hash=password_hash(password) if password else "",
        callback_url=callback_url or "",
        numbers=list(numbers),
        weight=1 if weight is None else weight,
        private_callbacks=bool(private_callbacks),
        callback_batch=callback_batch or 1,
    )
    print_made(made, as_json)


@account.command()
@click.argument("name")
@click.option("--drop-previous", is_flag=True, help="The previous key stops working at once.")
@place_options
@json_option
def rotate(name: str, drop_previous: bool, place: Place, as_json: bool) -> None:
    """Give NAME a new API key; the previous one works until the next rotation."""
    print_made(place.ask("account.rotate", name=name, keep_previous=not drop_previous), as_json)


@account.command("set")
@click.argument("name")
@_callback
@_numbers
@_weight
@_private
@_batch
@click.option("--suspend/--resume", "suspended", default=None, help="Refuse its submits, or take them again.")
@place_options
@json_option
def change(
    name: str,
    callback_url: str | None,
    numbers: tuple[str, ...],
    weight: int | None,
    private_callbacks: bool | None,
    callback_batch: int | None,
    suspended: bool | None,
    place: Place,
    as_json: bool,
) -> None:
    """Change settings of NAME; what is not given stays. --number replaces the whole list."""
    wish: dict[str, Any] = {
        "callback_url": callback_url,
        "numbers": list(numbers) or None,
        "weight": weight,
        "private_callbacks": private_callbacks,
        "callback_batch": callback_batch,
        "suspended": suspended,
    }
    given = {key: value for key, value in wish.items() if value is not None}
    if not given:
        raise Failure("nothing to change", "signalbox account set --help lists the settings", USAGE)
    print_account(place.ask("account.set", name=name, **given), as_json)


@account.command()
@click.argument("name")
@place_options
@json_option
def show(name: str, place: Place, as_json: bool) -> None:
    """Settings of the account NAME."""
    print_account(place.ask("account.show", name=name), as_json)


@account.command("list")
@place_options
@json_option
def list_accounts(place: Place, as_json: bool) -> None:
    """All accounts."""
    accounts = place.ask("account.list")
    if as_json:
        print_json(accounts)
    elif not accounts:
        click.echo("No accounts yet. Make one: signalbox account create NAME")
    else:
        rows = [
            (a["name"], a["queued"], ", ".join(a["key_prefixes"]), a["callback_url"], a["suspended"])
            for a in accounts
        ]
        print_table(("NAME", "QUEUED", "KEYS", "CALLBACK", "SUSPENDED"), rows)


def print_account(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        print_pairs(view)


def print_made(made: dict[str, Any], as_json: bool) -> None:
    """A view that carries a fresh key."""
    print_account(made, as_json)
    if not as_json:
        click.echo("\nThe API key is shown this once; keep it now. Use it as:")
        click.echo(f"  Authorization: Bearer {made['api_key']}")


def password_hash(password: str) -> str:
    """argon2id, encoded. Raises Failure for one that SMPP cannot carry (3.4 §5.2.2)."""
    from gateway.smpp_server.passwords import MOST_CHARACTERS, hash_password

    if not (password.isascii() and password.isprintable() and len(password) <= MOST_CHARACTERS):
        raise Failure("an SMPP password has at most 8 printable ASCII characters", "SMPP 3.4 §5.2.2", USAGE)
    return hash_password(password.encode())
