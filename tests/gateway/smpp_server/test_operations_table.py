"""Every request in every state, for every version: the answer is what the table says, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.smpp_server.operations import answer, as_markdown
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.pdu import PDUS, Pdu
from smpp.states import BINDS, SessionState
from smpp.status import Status
from tests.gateway.smpp_server.esme import Esme, connected
from tests.gateway.smpp_server.test_server import house
from tests.trio_case import trio_test

# As SMPP 3.4 section 2.3 and 5.0 section 2.4 have it, and what this SMSC does not do: OPEN, TX, RX, TRX.
S, N, A, U = "served", "ESME_RINVBNDSTS", "ESME_RALYBND", "ESME_RINVCMDID"
ROWS = {
    "bind_receiver": (S, A, A, A),
    "bind_transmitter": (S, A, A, A),
    "bind_transceiver": (S, A, A, A),
    "unbind": (N, S, S, S),
    "enquire_link": (S, S, S, S),
    "outbind": ("ignored",) * 4,
    "alert_notification": ("ignored",) * 4,
    "submit_sm": (N, S, N, S),
    "submit_multi": (N, S, N, S),
    "data_sm": (N, S, N, S),
    "query_sm": (N, S, N, S),
    "cancel_sm": (N, S, N, S),
    "replace_sm": (N, S, N, S),
    "deliver_sm": (N, N, N, N),
    "broadcast_sm": (N, U, N, U),
    "query_broadcast_sm": (N, U, N, U),
    "cancel_broadcast_sm": (N, U, N, U),
}
BROADCASTS = {name for name in ROWS if "broadcast" in name}


KINDS = {
    SessionState.OPEN: "",
    SessionState.BOUND_TX: "transmitter",
    SessionState.BOUND_RX: "receiver",
    SessionState.BOUND_TRX: "transceiver",
}
REQUESTS = [command for command in CommandId if not command & RESPONSE_BIT]
ENDS = frozenset({*BINDS, CommandId.UNBIND})


async def answered(esme: Esme, command: CommandId, silent: bool) -> Pdu | None:
    """The answer to an empty request; with `silent` None, unless one came before that to an enquire_link."""
    request = esme.number(PDUS[command]())
    await esme.send(request)
    if silent:
        probe = esme.number(PDUS[CommandId.ENQUIRE_LINK]())
        await esme.send(probe)
        await esme.answer_to(probe)
        return next((pdu for pdu in esme.pdus if pdu.sequence_number == request.sequence_number), None)
    answer: Pdu = await esme.answer_to(request)
    return answer


@trio_test(mock_clock=True)
@pytest.mark.parametrize("version", [0x33, 0x34, 0x50])
@pytest.mark.parametrize("state", KINDS)
async def test_each_request_is_answered_as_the_table_says(
    tmp_path: Path, version: int, state: SessionState
) -> None:
    async with house(tmp_path) as (gateway, _), connected(gateway.world, version=version) as esme:
        if KINDS[state]:
            assert (await esme.bind(kind=KINDS[state])).command_status == 0
        for command in REQUESTS:
            said = answer(version, state, command)
            if command in ENDS and not said.status:
                continue  # tried by themselves in test_server
            pdu = await answered(esme, command, said.silent)
            if said.silent:
                assert pdu is None, command.name
                continue
            assert pdu is not None, command.name
            wanted = CommandId.GENERIC_NACK if said.nack else command | RESPONSE_BIT
            assert pdu.command_id == wanted, command.name
            if said.status:
                assert pdu.command_status == said.status, command.name
            else:
                assert pdu.command_status not in (0x03, 0x04, 0x05), command.name
        assert not esme.closed


def test_the_page_shows_the_table() -> None:
    page = Path("docs/smpp.md").read_text()
    assert as_markdown() in page


@pytest.mark.parametrize("version", [0x33, 0x34, 0x50])
@pytest.mark.parametrize("command", REQUESTS, ids=lambda command: command.name)
def test_the_table_is_what_the_specification_says(version: int, command: CommandId) -> None:
    for state, wanted in zip(KINDS, ROWS[command.name.lower()], strict=True):
        said = answer(version, state, command)
        shown = "ignored" if said.silent else Status.name_of(said.status) if said.status else "served"
        assert shown == wanted, state
        assert said.nack == (wanted == U and command.name.lower() in BROADCASTS and version < 0x50)
