"""`signalbox simulate`: a carrier simulator on a port, until Ctrl-C or --seconds; prints what it saw as JSON.

Deliberately not here: the simulator itself (smsc.py), its behaviour's meaning (behaviour.py).
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence

import click
import msgspec
import trio

from gateway.simulator.behaviour import Behaviour, magic_table
from gateway.simulator.smsc import SimulatedSmsc
from gateway.world import RealWorld


async def serve(
    host: str,
    port: int,
    behaviour: Behaviour,
    accounts: dict[str, str],
    *,
    seconds: float = float("inf"),
    report_s: float = 0,
) -> SimulatedSmsc:
    """Run a simulator until `seconds` have passed or a signal comes. Returns it for its tally."""
    world = RealWorld()
    smsc = SimulatedSmsc(behaviour, accounts, world.rng, wall_ms=world.wall_ms)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_signal, nursery.cancel_scope)
            listeners = await world.listen(host, port)
            await nursery.start(smsc.serve, listeners)
            print(f"simulated carrier on {host}:{port}", file=sys.stderr, flush=True)
            if report_s:
                nursery.start_soon(_report, smsc, report_s)
    return smsc


async def _until_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _report(smsc: SimulatedSmsc, every_s: float) -> None:
    while True:
        await trio.sleep(every_s)
        print(tally_json(smsc), file=sys.stderr, flush=True)


def tally_json(smsc: SimulatedSmsc) -> str:
    """The simulator's counts as one JSON line."""
    return json.dumps(msgspec.structs.asdict(smsc.tally))


@click.command(
    "simulate",
    help="A carrier simulator on a port, until Ctrl-C or --seconds. Prints what it saw as one JSON line.\n\n"
    "Magic destinations, by their last four digits:\n\n\b\n" + magic_table(),
)
@click.option("--listen", default="127.0.0.1:2775", show_default=True, help="Address and port.")
@click.option("--account", "accounts", multiple=True, metavar="SYSTEM_ID:PASSWORD", help="Default: anybody.")
@click.option("--tps", default=0.0, help="Answer ESME_RTHROTTLED above this many submits a second.")
@click.option("--response-delay", default="0", metavar="S[-S]", help="Seconds before a submit_sm_resp.")
@click.option("--receipt-delay", default="0.2-1", metavar="S[-S]", help="Seconds before a receipt.")
@click.option("--state", "states", multiple=True, metavar="STAT=WEIGHT", help="Receipts' states, weighted.")
@click.option(
    "--error", "errors", multiple=True, metavar="STATUS=RATIO", help="e.g. 0x08=0.01: refused submits."
)
@click.option("--no-response", default=0.0, help="Ratio of submits never answered.")
@click.option("--no-receipt", default=0.0, help="Ratio of messages without a receipt.")
@click.option("--early-receipts", default=0.0, help="Ratio of receipts sent before the response.")
@click.option("--duplicate-receipts", default=0.0, help="Ratio of receipts sent twice.")
@click.option("--receipts-on", type=click.Choice(["same", "other"]), default="same", help="Which bind.")
@click.option("--receipt-as", type=click.Choice(["text", "tlv", "both"]), default="text")
@click.option("--id-form", type=click.Choice(["dec", "hex", "uuid"]), default="dec", help="In responses.")
@click.option(
    "--receipt-id-form", type=click.Choice(["same", "dec", "hex", "upper", "padded"]), default="same"
)
@click.option("--cut-every", default=0, help="Close the link after so many submits, unanswered.")
@click.option("--half-open-after", default=0, help="After so many submits answer nothing at all.")
@click.option("--mo-rate", default=0.0, help="MOs a second.")
@click.option("--mo-to", default="12345", show_default=True, help="The number MOs are sent to.")
@click.option("--reply-ratio", default=0.0, help="Ratio of delivered messages that are answered by an MO.")
@click.option("--seconds", default=float("inf"), help="Stop by itself after so long.")
@click.option("--report", default=0.0, help="Print the counts every so many seconds on stderr.")
def command(
    listen: str,
    accounts: Sequence[str],
    tps: float,
    response_delay: str,
    receipt_delay: str,
    states: Sequence[str],
    errors: Sequence[str],
    no_response: float,
    no_receipt: float,
    early_receipts: float,
    duplicate_receipts: float,
    receipts_on: str,
    receipt_as: str,
    id_form: str,
    receipt_id_form: str,
    cut_every: int,
    half_open_after: int,
    mo_rate: float,
    mo_to: str,
    reply_ratio: float,
    seconds: float,
    report: float,
) -> int:
    try:
        host, port = listen.rsplit(":", 1)
        behaviour = Behaviour(
            tps=tps,
            response_delay_s=_bounds(response_delay),
            receipt_delay_s=_bounds(receipt_delay),
            states=dict(_weights(states)) or {"DELIVRD": 1.0},
            submit_errors={int(status, 0): ratio for status, ratio in _weights(errors)},
            no_response=no_response,
            no_receipt=no_receipt,
            early_receipts=early_receipts,
            duplicate_receipts=duplicate_receipts,
            receipts_on=receipts_on,
            receipt_as=receipt_as,
            id_form=id_form,
            receipt_id_form=receipt_id_form,
            cut_every=cut_every,
            half_open_after=half_open_after,
            mo_rate_per_s=mo_rate,
            mo_to=mo_to,
            reply_ratio=reply_ratio,
        )
        known = dict(account.split(":", 1) for account in accounts)
        number = int(port)
    except ValueError as error:
        raise click.UsageError(f"cannot read an option: {error}") from None
    smsc = trio.run(lambda: serve(host, number, behaviour, known, seconds=seconds, report_s=report))
    print(tally_json(smsc))
    return 0


def _bounds(text: str) -> tuple[float, float]:
    least, _, most = text.partition("-")
    return float(least), float(most or least)


def _weights(pairs: Sequence[str]) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, _, value in (pair.partition("=") for pair in pairs)]


def main(arguments: list[str]) -> int | None:
    """The command's body, for gateway.cli.tools."""
    return int(command.main(arguments, prog_name="signalbox simulate", standalone_mode=False) or 0)
