"""`signalbox operator`: people and programs of the house. On a running gateway and on a stopped one.

An operator's key is printed once; the store keeps only its hash. So are one-time links, and the secrets of
second factors. A password is typed, never an argument: arguments are seen by everybody on a machine.

Deliberately not here: what each role may (router.roles), further keys (gateway.cli.keys).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.admin_client import AdminAbsent
from gateway.admin_operators import LONGEST_OVERLAP_S
from gateway.cli.output import counted, print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options
from gateway.operators import OVERLAP_S
from router.roles import HOUSE, Role

if TYPE_CHECKING:
    from config.model import Config


@click.group()
def operator() -> None:
    """Who of the house acts over HTTP and signs in to the console, and in which role."""


@operator.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in HOUSE]),
    default=Role.OPERATOR.value,
    show_default=True,
    help="What its keys may: docs/http-api.md has the table.",
)
@acting_options
@json_option
def create(name: str, role: str, place: Place, as_json: bool) -> None:
    """Make the operator NAME and print its key, this once. The audit trail tells what NAME does by NAME."""
    made = place.ask("operator.create", name=name, role=role)
    if as_json:
        print_json(made)
        return
    print_key(made)


@operator.command("set")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in HOUSE]), required=True)
@acting_options
@json_option
def change(name: str, role: str, place: Place, as_json: bool) -> None:
    """Give NAME another role, from its next request on."""
    changed = place.ask("operator.set", name=name, role=role)
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{name} is {changed['role']} now.")


@operator.command()
@click.argument("name")
@click.option(
    "--overlap",
    "overlap_s",
    type=click.FloatRange(0, LONGEST_OVERLAP_S),
    default=OVERLAP_S,
    show_default=True,
    metavar="S",
    help="Seconds that the key which is replaced goes on working; 0: it stops at once.",
)
@acting_options
@json_option
def rotate(name: str, overlap_s: float, place: Place, as_json: bool) -> None:
    """Give NAME a new key and print it, this once; the one before it works a while longer.

    Rotating again within that time ends the key before it: there are never more than two.
    """
    made = place.ask("operator.rotate", name=name, overlap_s=overlap_s)
    if as_json:
        print_json(made)
    else:
        print_key(made)


def print_key(made: dict[str, Any]) -> None:
    print_pairs(made)
    click.echo(
        f"\nThe key is shown this once; keep it now. Whoever has it may do what the role {made['role']!r} "
        "may. Use it as:"
    )
    click.echo(f"  curl -H 'Authorization: Bearer {made['operator_key']}' http://…/v1/accounts")


@operator.command("list")
@place_options
@json_option
def list_operators(place: Place, as_json: bool) -> None:
    """All operators, without their keys."""
    operators = place.ask("operator.list")
    if as_json:
        print_json(operators)
    elif not operators:
        click.echo("No operators yet. Make one: signalbox operator create NAME")
    else:
        columns = ("name", "role", "created_at", "key_prefix", "previous_prefix", "previous_until")
        rows = [[*(one[column] for column in columns), _signs_in(one)] for one in operators]
        print_table(("NAME", "ROLE", "CREATED", "KEY", "BEFORE IT", "WORKS UNTIL", "SIGNS IN BY"), rows)


def _signs_in(one: dict[str, Any]) -> str:
    return str(one["signs_in_by"]) + (" and code" if one["second_factor"] else "")


@operator.command()
@click.argument("name")
@acting_options
@json_option
def remove(name: str, place: Place, as_json: bool) -> None:
    """NAME's keys stop working at once; what NAME did stays in the audit trail."""
    gone = place.ask("operator.remove", name=name)
    if as_json:
        print_json(gone)
    else:
        click.echo(
            f"{gone['name']} is no operator any more; the key sbo_{gone['key_prefix']}_… opens nothing."
        )


@operator.command()
@click.argument("name")
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read it from standard input, one line, for programs."
)
@click.option("--must-change", "due", is_flag=True, help="NAME must choose another at the next sign-in.")
@click.option("--none", "drop", is_flag=True, help="NAME has no password any more.")
@acting_options
@json_option
def password(name: str, from_stdin: bool, due: bool, drop: bool, place: Place, as_json: bool) -> None:
    """Set NAME's password for the console; NAME's sessions end. It is asked for twice.

    Better let NAME choose it: signalbox operator sign-in-link NAME
    """
    typed = ""
    if not drop:
        typed = sys.stdin.readline().rstrip("\n") if from_stdin else _asked_for(name)
    changed = place.ask("operator.password", name=name, password=typed, due=due)
    if as_json:
        print_json(changed)
    elif drop:
        click.echo(
            f"{name} has no password any more, and {counted(changed['sessions_ended'], 'session')} ended."
        )
    else:
        click.echo(f"{name} has a new password; {counted(changed['sessions_ended'], 'session')} ended.")


def _asked_for(name: str) -> str:
    return str(click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt="Once more"))


@operator.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="No second factor any more, for who lost it.")
@acting_options
@json_option
def totp(name: str, off: bool, place: Place, as_json: bool) -> None:
    """Give NAME a second factor (codes by time) and show it, this once; the one before it ends."""
    made = place.ask("operator.totp", name=name, on=not off)
    if as_json:
        print_json(made)
    elif off:
        click.echo(f"{name} signs in without a second factor.")
    else:
        import segno

        segno.make(made["uri"], micro=False).terminal(compact=True)
        click.echo(f"\nScan it with {name}'s app, or type the secret:  {made['secret']}")
        click.echo("Codes for who lost the app, each works once; keep them elsewhere:\n")
        for code in made["recovery_codes"]:
            click.echo(f"  {code}")


@operator.command("sign-in-link")
@click.argument("name", default="")
@acting_options
@json_option
def sign_in_link(name: str, place: Place, as_json: bool) -> None:
    """Print a link with which NAME chooses a password, once, within an hour.

    Without NAME: for the first owner, while nobody has a password yet.
    """
    made = place.ask("operator.sign_in_link", name=name)
    link = console_address(place.config) + made["path"]
    if as_json:
        print_json({"name": made["name"], "link": link, "lasts_s": made["lasts_s"]})
    else:
        who = name or "the first owner"
        click.echo(f"{link}\n\nIt works once, within an hour. Whoever opens it signs in as {who}.")


def console_address(config: Config) -> str:
    """Where browsers find the console."""
    from gateway.app import console_url

    return console_url(config)


@operator.command()
@click.argument("name")
@click.option("--end", is_flag=True, help="End them all.")
@click.option("--session", default="", metavar="ID", help="With --end: that one alone.")
@acting_options
@json_option
def sessions(name: str, end: bool, session: str, place: Place, as_json: bool) -> None:
    """From where NAME is signed in to the console; end it."""
    if session and not end:
        raise click.UsageError("--session goes with --end")
    if end:
        ended = place.ask("operator.end_sessions", name=name, session=session)
        if as_json:
            print_json(ended)
        else:
            click.echo(f"{counted(ended['ended'], 'session')} of {name} ended.")
        return
    there = place.ask("operator.sessions", name=name)
    if as_json:
        print_json(there)
    elif not there:
        click.echo(f"{name} is not signed in.")
    else:
        columns = ("session", "address", "how", "started_at", "last_used_at", "ends_at", "agent")
        heads = ("SESSION", "ADDRESS", "BY", "SINCE", "LAST USED", "ENDS", "BROWSER")
        print_table(heads, [[one[column] for column in columns] for one in there])


@operator.command()
@click.argument("name_or_address")
@place_options
def unlock(name_or_address: str, place: Place) -> None:
    """End what wrong passwords for a name, or from an address, have locked. It ends by itself, too."""
    try:
        ended = place.ask_running("operator.unlock", name_or_address=name_or_address)["unlocked"]
    except AdminAbsent:
        ended = 0  # locks last as long as the gateway
    click.echo(f"{counted(ended, 'lock')} ended." if ended else f"Nothing was locked for {name_or_address}.")
