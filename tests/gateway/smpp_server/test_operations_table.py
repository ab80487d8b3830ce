"""Every request in every state, for every version: the answer is what the table says, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.smpp_server.operations import answer, as_markdown
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.pdu import PDUS, Pdu
from smpp.states import BINDS, SessionState
from tests.gateway.smpp_server.esme import Esme, connected
from tests.gateway.smpp_server.test_server import house
from tests.trio_case import trio_test

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
