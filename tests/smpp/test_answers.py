"""Every request of both roles, in every state, for every version: what the table says, what sessions do."""

from __future__ import annotations

import pytest

from smpp import events
from smpp.answers import REQUESTS, TABLE, VERSIONS, How, answer, as_markdown
from smpp.codec import Framer, decode_frame, encode, with_header
from smpp.constants import RESPONSE_BIT, CommandId
from smpp.pdu import (
    PDUS,
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    EnquireLinkResp,
    GenericNack,
    Outbind,
    Unbind,
    UnbindResp,
)
from smpp.session import Role, Session, SessionSettings, SessionState
from smpp.states import BOUND
from smpp.status import Status

STATES = tuple(SessionState)  # OPEN, OUTBOUND, BOUND_TX, BOUND_RX, BOUND_TRX, UNBOUND, CLOSED
# Served, iNvalid bind status, Already bound, Unserved (generic_nack below 5.0), K generic_nack, "." ignored.
# As SMPP 3.4 section 2.3 and 5.0 section 2.4 have it, and what nobody does here.
ESME = {
    "bind_receiver": "SSAAAN.",
    "bind_transmitter": "SNAAAN.",
    "bind_transceiver": "SSAAAN.",
    "unbind": "NNSSSN.",
    "enquire_link": "SSSSSS.",
    "outbind": ".......",
    "alert_notification": ".......",
    "submit_sm": "NNSNSN.",
    "submit_multi": "NNSNSN.",
    "data_sm": "NNSNSN.",
    "query_sm": "NNSNSN.",
    "cancel_sm": "NNSNSN.",
    "replace_sm": "NNSNSN.",
    "deliver_sm": "NNNNNN.",
    "broadcast_sm": "NNUNUN.",
    "query_broadcast_sm": "NNUNUN.",
    "cancel_broadcast_sm": "NNUNUN.",
    "unknown": "KKKKKK.",
}
SMSC = {
    "bind_receiver": "NNAAAN.",
    "bind_transmitter": "NNAAAN.",
    "bind_transceiver": "NNAAAN.",
    "unbind": "NNSSSN.",
    "enquire_link": "SSSSSS.",
    "outbind": "S......",
    "alert_notification": "...SS..",
    "submit_sm": "NNNNNN.",
    "submit_multi": "NNNNNN.",
    "data_sm": "NNNSSN.",
    "query_sm": "NNNNNN.",
    "cancel_sm": "NNNNNN.",
    "replace_sm": "NNNNNN.",
    "deliver_sm": "NNNSSN.",
    "broadcast_sm": "NNNNNN.",
    "query_broadcast_sm": "NNNNNN.",
    "cancel_broadcast_sm": "NNNNNN.",
    "unknown": "KKKKKK.",
}
UNKNOWN_ID = 0x0000_0023  # query_last_msgs of 3.3, which 3.4 took away
IDS = {**{command.name.lower(): int(command) for command in REQUESTS}, "unknown": UNKNOWN_ID}
ROWS = [(role, name) for role, rows in ((Role.ESME, ESME), (Role.SMSC, SMSC)) for name in rows]
ANSWERS = {
    "S": (How.SERVED, 0),
    "N": (How.REFUSED, Status.ESME_RINVBNDSTS),
    "A": (How.REFUSED, Status.ESME_RALYBND),
    "K": (How.NACKED, Status.ESME_RINVCMDID),
    ".": (How.IGNORED, 0),
}
BINDS = {
    SessionState.BOUND_TX: BindTransmitter,
    SessionState.BOUND_RX: BindReceiver,
    SessionState.BOUND_TRX: BindTransceiver,
}


def wanted(sender: Role, version: int, state: SessionState, name: str) -> tuple[How, int]:
    sign = (ESME if sender is Role.ESME else SMSC)[name][STATES.index(state)]
    if sign == "U":
        return (How.REFUSED if version >= 0x50 else How.NACKED), Status.ESME_RINVCMDID
    return ANSWERS[sign]


def session_in(sender: Role, version: int, state: SessionState) -> Session:
    """One whose peer is `sender` and speaks `version`, with nothing left to send."""
    options = SessionSettings(version=version)
    session, peer = Session(sender.peer, options, 0.0), Session(sender, options, 0.0)
    esme, smsc = (peer, session) if sender is Role.ESME else (session, peer)
    if state is SessionState.OUTBOUND:
        smsc.outbind(Outbind(system_id=b"s"), 0.0)
        esme.receive(smsc.data_to_send(), 0.0)
    elif state is not SessionState.OPEN:
        bind = BINDS[state] if state in BOUND else BindTransceiver
        esme.bind(bind(system_id=b"u", interface_version=version), 0.0)
        smsc.receive(esme.data_to_send(), 0.0)
        smsc.accept_bind()
        esme.receive(smsc.data_to_send(), 0.0)
        if state is SessionState.UNBOUND:
            session.receive(encode(Unbind(sequence_number=7)), 0.0)
        elif state is SessionState.CLOSED:
            session.close("over")
    session.data_to_send()
    assert session.state is state
    assert session.peer_version == version
    return session


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("sender", "name"), ROWS, ids=[f"{role.value}-{name}" for role, name in ROWS])
def test_the_table_is_what_the_specification_says(sender: Role, name: str, version: int) -> None:
    for state in STATES:
        assert answer(sender, version, state, IDS[name]) == wanted(sender, version, state, name), state


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("sender", "name"), ROWS, ids=[f"{role.value}-{name}" for role, name in ROWS])
def test_a_session_answers_as_the_table_says(sender: Role, name: str, version: int) -> None:
    for state in STATES:
        session = session_in(sender, version, state)
        command_id = IDS[name]
        octets = (
            encode(PDUS[command_id](sequence_number=77), version)
            if command_id in PDUS
            else with_header(command_id, 0, 77, b"")
        )
        happened = session.receive(octets, 1.0)
        answers = [decode_frame(frame) for frame in Framer().feed(session.data_to_send())]
        how, status = wanted(sender, version, state, name)
        if how is How.SERVED:
            told = (events.Request, events.BindRequest, events.PeerUnbound, events.OutbindReceived)
            if name == "enquire_link":
                assert [type(pdu) for pdu in answers] == [EnquireLinkResp], state
            else:
                assert [isinstance(event, told) for event in happened] == [True], state
                assert [type(pdu) for pdu in answers] == [UnbindResp] * (name == "unbind"), state
            continue
        assert not any(isinstance(event, events.Request) for event in happened), state
        assert session.state is state
        if how is How.IGNORED:
            assert answers == [], state
            continue
        (pdu,) = answers
        assert (pdu.command_status, pdu.sequence_number) == (status, 77), state
        if how is How.NACKED:
            assert type(pdu) is GenericNack, state
        else:
            assert pdu.command_id == command_id | RESPONSE_BIT, state


def test_every_command_has_its_row() -> None:
    assert set(ESME) == set(SMSC) == set(IDS)
    assert len(TABLE) == len(Role) * len(VERSIONS) * len(STATES) * len(REQUESTS)


def test_a_version_between_two_counts_as_the_older_one() -> None:
    asked = (SessionState.BOUND_TRX, CommandId.BROADCAST_SM)
    assert answer(Role.ESME, 0x40, *asked) == answer(Role.ESME, 0x34, *asked)
    assert answer(Role.ESME, 0x00, *asked) == answer(Role.ESME, 0x33, *asked)
    assert answer(Role.ESME, 0x51, *asked) == answer(Role.ESME, 0x50, *asked)


def test_while_a_bind_waits_for_its_answer_another_one_is_one_too_many() -> None:
    session = Session(Role.SMSC, SessionSettings(), 0.0)
    session.receive(encode(BindTransceiver(system_id=b"u", sequence_number=1)), 0.0)
    assert session.receive(encode(BindReceiver(system_id=b"u", sequence_number=2)), 0.0) == []
    (refused,) = [decode_frame(frame) for frame in Framer().feed(session.data_to_send())]
    assert (refused.command_status, refused.sequence_number) == (Status.ESME_RALYBND, 2)


@pytest.mark.parametrize("sender", Role)
def test_the_table_can_be_printed_with_a_row_for_every_command_and_one_for_the_rest(sender: Role) -> None:
    printed = as_markdown(sender).splitlines()
    assert [line.split(" | ")[0].lstrip("| ") for line in printed[2:]] == [
        *(command.name.lower() for command in REQUESTS),
        "any other command_id",
    ]
