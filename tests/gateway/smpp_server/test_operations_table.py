"""The table of smpp.answers as a customer meets it: every request in every state, over a whole gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from smpp.answers import REQUESTS, How, answer, as_markdown
from smpp.codec import with_header
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.pdu import PDUS, Outbind, Pdu
from smpp.states import BINDS, Role, SessionState
from tests.gateway.smpp_server.esme import Esme, connected
from tests.gateway.smpp_server.test_server import house
from tests.trio_case import trio_test

KINDS = {
    SessionState.OPEN: "",
    SessionState.BOUND_TX: "transmitter",
    SessionState.BOUND_RX: "receiver",
    SessionState.BOUND_TRX: "transceiver",
}
UNKNOWN = 0x0000_0023
ENDS = frozenset({*BINDS, CommandId.UNBIND})


async def answered(esme: Esme, command_id: int, silent: bool) -> Pdu | None:
    """The answer to an empty request; with `silent` None, unless one came before that to an enquire_link."""
    request = esme.number(PDUS.get(command_id, Outbind)())
    await esme.send(
        request if command_id in PDUS else with_header(command_id, 0, request.sequence_number, b"")
    )
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
        commands = [*REQUESTS, UNKNOWN] if KINDS[state] else REQUESTS  # before a bind it ends the connection
        for command_id in commands:
            said = answer(Role.ESME, version, state, command_id)
            if command_id in ENDS and said.how is How.SERVED:
                continue  # tried by themselves in test_server
            pdu = await answered(esme, command_id, said.how is How.IGNORED)
            if said.how is How.IGNORED:
                assert pdu is None, hex(command_id)
                continue
            assert pdu is not None, hex(command_id)
            nacked = said.how is How.NACKED
            wanted = CommandId.GENERIC_NACK if nacked else command_id | RESPONSE_BIT
            assert pdu.command_id == wanted, hex(command_id)
            if said.status:
                assert pdu.command_status == said.status, hex(command_id)
            else:
                assert pdu.command_status not in (0x03, 0x04, 0x05), hex(command_id)
        assert not esme.closed


@pytest.mark.parametrize("sender", Role)
def test_the_page_shows_the_table(sender: Role) -> None:
    assert as_markdown(sender) in Path("docs/smpp.md").read_text()
