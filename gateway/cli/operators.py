"""`signalbox operator`: people and programs of the house. On a running gateway and on a stopped one.

An operator's key is printed once; the store keeps only its hash.

Deliberately not here: what each role may (router.roles), further keys (gateway.cli.keys).
"""

from __future__ import annotations

from typing import Any

import click

from gateway.admin_operators import LONGEST_OVERLAP_S
from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options
from gateway.operators import OVERLAP_S
from router.roles import HOUSE, Role


@click.group()
def operator() -> None:
    """Who of the house acts over HTTP, and in which role: create, list, set, rotate, remove."""


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
        rows = [[one[column] for column in columns] for one in operators]
        print_table(("NAME", "ROLE", "CREATED", "KEY", "BEFORE IT", "WORKS UNTIL"), rows)


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
