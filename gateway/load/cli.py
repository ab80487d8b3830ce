"""`signalbox load http|smpp`: bounded load against a server on this machine or one you own.

Deliberately not here: the loops themselves (http.py, smpp.py).
"""

from __future__ import annotations

import json

import click
import trio

from gateway.load import http, smpp


@click.group("load", help="A load generator. Prints one JSON line at the end.")
def command() -> None:
    pass


@command.command("http", help="POST messages over keep-alive connections.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True)
@click.option("--key", required=True, help="An API key (sbk_…).")
@click.option("--count", default=10_000, show_default=True, help="Messages in all.")
@click.option("--connections", default=32, show_default=True)
@click.option("--batch", default=1, show_default=True, help="Messages in each POST.")
@click.option("--rate", default=0.0, help="POSTs a second, open loop; 0 = as fast as answers come.")
@click.option("--prefix", default="4477009", show_default=True, help="Numbers are this and five digits.")
def http_command(
    host: str, port: int, key: str, count: int, connections: int, batch: int, rate: float, prefix: str
) -> int:
    load = http.HttpLoad(host, port, key, count, connections, batch, rate, prefix)
    outcome = trio.run(lambda: http.run(load))
    print(json.dumps(outcome.as_dict()))
    return 0 if outcome.accepted else 1


@command.command("smpp", help="Bind as an ESME and submit.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=2775, show_default=True)
@click.option("--system-id", default="load", show_default=True)
@click.option("--password", default="", help="Of the bind.")
@click.option("--count", default=10_000, show_default=True)
@click.option("--window", default=100, show_default=True)
@click.option("--sessions", default=1, show_default=True)
@click.option("--wait", default=5.0, show_default=True, help="Seconds to wait for receipts at the end.")
def smpp_command(
    host: str, port: int, system_id: str, password: str, count: int, window: int, sessions: int, wait: float
) -> int:
    load = smpp.SmppLoad(host, port, system_id, password, count, window, sessions, wait_receipts_s=wait)
    outcome = trio.run(lambda: smpp.run(load))
    print(json.dumps(outcome.as_dict()))
    return 0 if outcome.accepted else 1


def main(arguments: list[str]) -> int | None:
    """The command's body, for gateway.cli.tools."""
    return int(command.main(arguments, prog_name="signalbox load", standalone_mode=False) or 0)
