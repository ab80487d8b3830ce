"""`signalbox trace`: PDUs as they pass, decoded, of a carrier, a bind, an account or a number.

It ends when its time is over, or with Ctrl-C; the gateway takes its taps away then, and by itself when this
command dies. Numbers are masked and texts left out unless they are asked for; passwords are never there.

Deliberately not here: what is traced and how (gateway.tracing), packets below SMPP (tcpdump).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.acting import Span
from gateway.cli.failure import OK, UNREACHABLE, Failure
from gateway.cli.output import as_text, counted
from gateway.cli.place import Place, acting_options, json_option

_QUIET = {"password", "interface_version", "sm_default_msg_id", "replace_if_present_flag"}


@click.command()
@click.option("--carrier", default="", metavar="NAME", help="All binds to it.")
@click.option(
    "--bind", default="", metavar="ID", help="A carrier's as north/1, a customer's as `binds` has it."
)
@click.option("--account", default="", metavar="NAME", help="All its SMPP binds.")
@click.option("--number", default="", metavar="NUMBER", help="PDUs that name it, with their answers.")
@click.option(
    "--command", "commands", multiple=True, metavar="NAME", help="As submit_sm, with its answers. Repeatable."
)
@click.option(
    "--status", "statuses", multiple=True, metavar="STATUS", help="Answers with it, as RTHROTTLED or 0x58."
)
@click.option("--errors", is_flag=True, help="Only answers that refuse.")
@click.option("--direction", type=click.Choice(["in", "out"]), default=None, help="As the gateway sees it.")
@click.option("--for", "for_s", type=Span(), default=60.0, metavar="TIME", help="As 60s or 1h, the most.")
@click.option("--text", "with_text", is_flag=True, help="With what they say; told to the audit trail.")
@click.option("--numbers", is_flag=True, help="With whole numbers.")
@acting_options
@json_option
def trace(
    carrier: str,
    bind: str,
    account: str,
    number: str,
    commands: tuple[str, ...],
    statuses: tuple[str, ...],
    errors: bool,
    direction: str | None,
    for_s: float,
    with_text: bool,
    numbers: bool,
    place: Place,
    as_json: bool,
) -> int:
    """PDUs of a carrier, a bind, an account or a number, as they pass. Ctrl-C ends it.

    A carrier, bind or account can be combined with a number. It slows no traffic down: what passes too fast
    to be shown is counted.
    """
    try:
        started = place.ask_running(
            "trace.start",
            carrier=carrier,
            bind=bind,
            account=account,
            number=number,
            commands=list(commands),
            statuses=list(statuses),
            errors=errors,
            direction=direction or "",
            for_s=for_s,
            text=with_text,
            numbers=numbers,
        )
    except AdminAbsent:
        raise Failure(
            f"no gateway runs on {place.data_dir}, so nothing passes", "start it: signalbox run", UNREACHABLE
        ) from None
    if not as_json:
        sessions = started["sessions"]
        named = ", ".join(sessions[:10]) + (", …" if len(sessions) > 10 else "")
        on = f"{counted(len(sessions), 'session')}: {named}" if sessions else "no session yet"
        click.echo(f"Trace {started['trace']} on {on}; {started['for_s']:g} s, Ctrl-C ends it.", err=True)
    try:
        for record in _records(place, started["trace"], as_json):
            click.echo(json.dumps(record, ensure_ascii=True) if as_json else line(record))
    except KeyboardInterrupt:
        return OK
    except AdminAbsent:
        raise Failure("the gateway went away", "the trace has ended with it", UNREACHABLE) from None
    return OK


def _records(place: Place, trace: int, as_json: bool) -> Iterator[dict[str, Any]]:
    """Until it has ended; told to stop when this is left by Ctrl-C or a closed pipe."""
    after = dropped = 0
    ended = ""
    try:
        while not ended:
            found = place.ask_running("trace.read", trace=trace, after=after)
            records = found["records"]
            yield from records
            if records:
                after = records[-1]["entry"]
            if found["dropped"] > dropped and not as_json:
                more = counted(found["dropped"] - dropped, "PDU")
                click.echo(f"… {more} passed too fast to be shown", err=True)
            dropped = found["dropped"]
            ended = "" if records or found["waiting"] else found["ended"]
    finally:
        if not ended:
            try:
                last = place.ask_running("trace.stop", trace=trace)
                dropped = max(dropped, last["dropped"] + last["waiting"])
                ended = "stopped"
            except (AdminAbsent, Failure):  # it has ended by itself
                pass
        if not as_json:
            lost = f"; {counted(dropped, 'PDU')} not shown" if dropped else ""
            click.echo(f"Trace ended: {ended or 'the gateway went away'}{lost}.", err=True)


def line(record: dict[str, Any]) -> str:
    """One PDU as one line; what was never said is left out."""
    arrow = "→" if record["direction"] == "out" else "←"
    where = record["session"] if record["side"] == "carrier" else f"{record['peer']}#{record['session']}"
    words = [record["at"][11:23], where, arrow, record["command"], f"#{record['sequence']}"]
    if record["status"] != "ESME_ROK":
        words.append(record["status"])
    if record["response_s"] is not None:
        words.append(f"{record['response_s'] * 1000:.1f} ms")
    if record["answers"]:
        words.append(f"({record['answers']['source_addr']} > {record['answers']['destination_addr']})")
    fields = dict(record["fields"])
    if "destination_addr" in fields:
        words.append(f"{fields.pop('source_addr', '')} > {fields.pop('destination_addr')}")
    if record["receipt"]:
        words.append(" ".join(f"{name}={value}" for name, value in record["receipt"].items() if value != ""))
    words += [
        f"{name}={value}" for name, value in fields.items() if value not in (0, "", []) and name not in _QUIET
    ]
    words += [f"{one['name']}={one['value']}" for one in record["tlvs"]]
    if record["text"] is not None:
        words.append(f"“{record['text']}”")
    elif record["text_octets"]:
        words.append(f"({record['text_octets']} octets of text)")
    if record["problem"]:
        words.append(record["problem"])
    return as_text(" ".join(str(word) for word in words))
