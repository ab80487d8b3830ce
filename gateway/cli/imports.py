"""`signalbox import`: another gateway's configuration as ours, and a list of what has no counterpart.

It writes the file and, asked to, makes the accounts; nothing that runs is touched.

Deliberately not here: reading Kannel's and Jasmin's files (gateway.imports).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.failure import CONFIG, USAGE, Failure
from gateway.cli.output import counted, print_json
from gateway.cli.place import Place, json_option, load_config

if TYPE_CHECKING:
    from gateway.imports.found import AccountFound, Found

_output = click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration to write; one that is there is not overwritten.",
)
_accounts = click.option(
    "--accounts",
    is_flag=True,
    help="Make the accounts, too, in the data directory of the configuration that is written.",
)


@click.group("import")
def imports() -> None:
    """Another gateway's configuration as ours: carriers, routes, accounts, and what has no counterpart."""


@imports.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_output
@_accounts
@json_option
def kannel(file: Path, output: Path, accounts: bool, as_json: bool) -> int:
    """Read FILE, a kannel.conf, and the files that it includes."""
    from gateway.imports.kannel import BadKannel, read, translated

    try:
        found = translated(read(file), str(file))
    except BadKannel as problem:
        raise Failure(str(problem), exit_code=USAGE) from None
    return _take(found, output, accounts, as_json)


@imports.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@_output
@_accounts
@json_option
def jasmin(directory: Path, output: Path, accounts: bool, as_json: bool) -> int:
    """Read DIRECTORY, Jasmin's /etc/jasmin: jasmin.cfg, and what `persist` wrote into store/."""
    from gateway.imports.jasmin import BadJasmin, translated

    try:
        found = translated(directory)
    except BadJasmin as problem:
        raise Failure(str(problem), exit_code=USAGE) from None
    return _take(found, output, accounts, as_json)


def _take(found: Found, output: Path, accounts: bool, as_json: bool) -> int:
    _write(output, found.toml())
    load_config(output)  # what it says must be one that a gateway takes; the file stays to be looked at
    made = [_make(Place(output), one) for one in found.accounts] if accounts else []
    if as_json:
        print_json(
            {
                "output": str(output),
                "carriers": [one["name"] for one in found.carriers],
                "routes": [one["name"] for one in found.routes],
                "accounts": [{"name": one.name, "apps": [*one.apps, *one.digests]} for one in found.accounts],
                "made": made,
                "left": [{"where": one.where, "what": one.what, "why": one.why} for one in found.left],
            }
        )
        return 0
    carriers, routes = counted(len(found.carriers), "carrier"), counted(len(found.routes), "route")
    click.echo(f"{output}: {carriers}, {routes}")
    for name in (one.name for one in found.accounts):
        click.echo(f"  account {name}{'' if accounts else ' (not made: --accounts makes it)'}")
    for one in made:
        click.echo(f"  its API key, shown this once: {one['name']} {one['api_key']}")
    if found.left:
        click.echo(f"\n{counted(len(found.left), 'thing')} without a counterpart, or with another one:")
        for left in found.left:
            click.echo(f"  {left}")
    click.echo(f"\nLook at it, then: signalbox check --config {output}")
    return 0


def _write(path: Path, text: str) -> None:
    """A new file that only its owner reads: passwords are in it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"{path} is there already", "name another file with --output", USAGE) from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", exit_code=CONFIG) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _make(place: Place, account: AccountFound) -> dict[str, Any]:
    from gateway.passwords import app_password_problem, hash_digest, hash_password

    given: dict[str, Any] = {"name": account.name, **account.settings}
    suspended = given.pop("suspended", False)
    hashes = {user: hash_digest(digest) for user, digest in account.digests.items()}
    if account.system_id:
        given |= {"system_id": account.system_id, "password_hash": hashes[account.system_id]}
    made: dict[str, Any] = place.ask("account.create", **given)
    for user, password in account.apps.items():
        problem = app_password_problem(password)
        if problem:
            raise Failure(
                f"account {account.name} is made, its app {user} is not: {problem}",
                f"signalbox account app set {account.name} {user}",
            )
        hashes[user] = hash_password(password.encode())
    for user, hashed in hashes.items():
        place.ask("account.app.set", name=account.name, user=user, password_hash=hashed)
    if suspended:
        place.ask("account.set", name=account.name, suspended=True)
    return {"name": account.name, "api_key": made["api_key"]}
