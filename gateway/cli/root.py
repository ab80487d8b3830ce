"""The `signalbox` command itself: the table of verbs, lazy loading, and one place where failures print.

Deliberately not here: any verb.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NamedTuple

import click

from gateway.cli import VERSION
from gateway.cli.failure import EXIT_CODES, INTERRUPTED, OK, USAGE, Failure


class _Verb(NamedTuple):
    """`attribute`: the command's name in its module, where it is not the verb's."""

    module: str
    help: str
    attribute: str = ""


VERBS = {
    "run": _Verb("gateway.cli.run", "Start the gateway."),
    "check": _Verb("gateway.cli.check", "Validate a configuration: every error at once."),
    "reload": _Verb(
        "gateway.cli.reload", "Apply the changed configuration; --preview shows what would change."
    ),
    "config": _Verb("gateway.cli.revisions", "Configurations that were in force; go back to one."),
    "status": _Verb("gateway.cli.status", "Is it ready, what waits, and why."),
    "top": _Verb("gateway.cli.top", "What passes now: problems, carriers and accounts, live."),
    "queues": _Verb("gateway.cli.watching", "What waits, by lane, priority and account, and why."),
    "carriers": _Verb("gateway.cli.watching", "All carriers: binds, rates, windows, errors."),
    "accounts": _Verb("gateway.cli.watching", "All accounts: what they submit, what waits."),
    "account": _Verb("gateway.cli.account", "Create, show, change accounts; rotate API keys."),
    "operator": _Verb("gateway.cli.operators", "People and programs of the house, and their roles."),
    "key": _Verb("gateway.cli.keys", "API keys: scopes, end, addresses; rotate, revoke."),
    "carrier": _Verb("gateway.cli.carriers", "Carriers: how they are; suspend, drain, rebind, another rate."),
    "events": _Verb("gateway.cli.carriers", "What the gateway decided by itself, and noticed."),
    "binds": _Verb("gateway.cli.binds", "Customers' SMPP sessions; end one."),
    "trace": _Verb("gateway.cli.trace", "PDUs of a carrier, a bind, an account or a number, live."),
    "locks": _Verb("gateway.cli.binds", "Who is locked out after wrong passwords."),
    "unlock": _Verb("gateway.cli.binds", "End the locks of an address or a system_id."),
    "route": _Verb(
        "gateway.cli.route",
        "Explain which way a message would go, and why; suspend, slow down, other weights.",
    ),
    "send": _Verb("gateway.cli.send", "Send one message through the running gateway."),
    "message": _Verb("gateway.cli.message", "State and timeline of one message; cancel, force, reroute it."),
    "queue": _Verb("gateway.cli.queue", "Move or bounce what waits."),
    "inbox": _Verb("gateway.cli.inbox", "Inbound messages, newest first."),
    "receipts": _Verb("gateway.cli.receipts", "Receipts that belong to no message."),
    "callbacks": _Verb("gateway.cli.callbacks", "Endpoints that are behind; send again what was given up."),
    "deliveries": _Verb("gateway.cli.deliveries", "Who is behind over SMPP; receipts again; move to HTTP."),
    "audit": _Verb("gateway.cli.audit", "Who changed what; whether the trail is whole."),
    "cdr": _Verb("gateway.cli.cdr", "Records of attempts and final states."),
    "reconcile": _Verb("gateway.cli.reconcile", "Compare a carrier's invoice with our records."),
    "table": _Verb("gateway.cli.table", "Prefixes, ported numbers, rate cards: import, look up."),
    "import": _Verb("gateway.cli.imports", "Another gateway's configuration as ours.", "imports"),
    "privacy": _Verb("gateway.cli.privacy", "One number: export what is kept, erase it, prove it."),
    "store": _Verb("gateway.cli.store", "Figures, check, backup, restore, release, compact."),
    "simulate": _Verb("gateway.cli.tools", "A carrier simulator on a port."),
    "load": _Verb("gateway.cli.tools", "A load generator, SMPP and HTTP."),
    "bench": _Verb("gateway.cli.tools", "Measure this machine; JSON and a table."),
}


class LazyGroup(click.Group):
    """Knows its verbs' names and one-line helps, and imports a verb's module when it is used.

    A module holds the command under the verb's own name.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = getattr(importlib.import_module(verb.module), verb.attribute or cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.command(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="signalbox")
def signalbox() -> None:
    """Signalbox: a self-hosted SMPP gateway with a durable queue.

    Verbs talk to the running gateway over its local admin socket, and open the store themselves only when
    it is stopped. `signalbox VERB --help` explains one.
    """


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; failures go to stderr in words."""
    try:
        result = signalbox.main(arguments, prog_name="signalbox", standalone_mode=False)
        sys.stdout.flush()
    except Failure as failure:
        tell(failure)
        return failure.exit_code
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # `signalbox … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return result if isinstance(result, int) else OK


def tell(failure: Failure) -> None:
    click.echo(f"signalbox: {failure.message}", err=True)
    if failure.hint:
        click.echo(f"  {failure.hint}", err=True)
