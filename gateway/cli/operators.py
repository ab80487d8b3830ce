"""`signalbox operator`: who may change accounts over HTTP. On a running gateway and on a stopped one.

An operator's key is printed once; the store keeps only its hash.

Deliberately not here: what the key opens (docs/http-api.md).
"""

from __future__ import annotations

import click

from gateway.cli.output import print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, place_options


@click.group()
def operator() -> None:
    """Keys with which accounts are changed over HTTP: create, list, remove."""


@operator.command()
@click.argument("name")
@acting_options
@json_option
def create(name: str, place: Place, as_json: bool) -> None:
    """Make the operator NAME and print its key, this once. The audit trail tells what NAME does by NAME."""
    made = place.ask("operator.create", name=name)
    if as_json:
        print_json(made)
        return
    print_pairs(made)
    click.echo(
        "\nThe key is shown this once; keep it now. Whoever has it may change every account. Use it as:"
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
        rows = [(one["name"], one["created_at"], one["key_prefix"]) for one in operators]
        print_table(("NAME", "CREATED", "KEY"), rows)


@operator.command()
@click.argument("name")
@acting_options
@json_option
def remove(name: str, place: Place, as_json: bool) -> None:
    """NAME's key stops working at once; what NAME did stays in the audit trail."""
    gone = place.ask("operator.remove", name=name)
    if as_json:
        print_json(gone)
    else:
        click.echo(
            f"{gone['name']} is no operator any more; the key sbo_{gone['key_prefix']}_… opens nothing."
        )
