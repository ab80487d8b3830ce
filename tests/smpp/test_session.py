"""The session machine: both roles, wired back to back, over time that only the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smpp import events
from smpp.codec import Framer, decode, decode_frame, encode, with_header
from smpp.constants import CommandId
from smpp.errors import ProtocolError
from smpp.pdu import (
    BindReceiver,
    BindTransceiver,
    BindTransceiverResp,
    BindTransmitter,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    GenericNack,
    Outbind,
    Pdu,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
)
from smpp.session import Role, Session, SessionSettings, SessionState, WindowFull, WrongState
from smpp.status import Status

SUBMIT = SubmitSm(source_addr=b"A", destination_addr=b"447700900123", short_message=b"hi")
BODY = encode(SUBMIT)[16:]
SUBMIT_ID, DELIVER_ID = int(CommandId.SUBMIT_SM), int(CommandId.DELIVER_SM)


def pair(**changes: object) -> tuple[Session, Session]:
    """An ESME and an SMSC, bound as transceiver at time 0."""
    options = SessionSettings(**changes)  # type: ignore[arg-type]
    esme, smsc = Session(Role.ESME, options, 0.0), Session(Role.SMSC, options, 0.0)
    esme.bind(BindTransceiver(system_id=b"u", password=b"p", interface_version=0x34), 0.0)
    assert [type(event) for event in smsc.receive(esme.data_to_send(), 0.0)] == [events.BindRequest]
    smsc.accept_bind(b"smsc")
    assert [type(event) for event in esme.receive(smsc.data_to_send(), 0.0)] == [events.Bound]
    return esme, smsc


def pdus(data: bytes) -> list[Pdu]:
    return [decode_frame(frame) for frame in Framer().feed(data)]


@pytest.mark.parametrize(
    ("bind", "state"),
    [
        (BindTransmitter, SessionState.BOUND_TX),
        (BindReceiver, SessionState.BOUND_RX),
        (BindTransceiver, SessionState.BOUND_TRX),
    ],
)
def test_each_bind_leads_both_sides_to_its_state(
    bind: type[BindTransmitter | BindReceiver | BindTransceiver], state: SessionState
) -> None:
    esme, smsc = (Session(role, SessionSettings(), 0.0) for role in (Role.ESME, Role.SMSC))
    esme.bind(bind(system_id=b"u", interface_version=0x34), 0.0)
    smsc.receive(esme.data_to_send(), 0.0)
    smsc.accept_bind()
    esme.receive(smsc.data_to_send(), 0.0)
    assert (esme.state, smsc.state) == (state, state)


def test_fm07_a_refused_bind_is_told_with_its_status_and_ends_the_session() -> None:
    esme, smsc = (Session(role, SessionSettings(), 0.0) for role in (Role.ESME, Role.SMSC))
    esme.bind(BindTransceiver(system_id=b"u"), 0.0)
    smsc.receive(esme.data_to_send(), 0.0)
    assert isinstance(smsc.refuse_bind(Status.ESME_RINVPASWD)[0], events.Closed)
    refused, closed = esme.receive(smsc.data_to_send(), 0.0)
    assert isinstance(refused, events.BindRefused)
    assert refused.status_name == "ESME_RINVPASWD"
    assert isinstance(closed, events.Closed)


def test_a_peer_of_version_3_3_is_sent_no_tlvs() -> None:
    smsc = Session(Role.SMSC, SessionSettings(), 0.0)
    smsc.receive(encode(BindTransceiver(system_id=b"u", interface_version=0x33, sequence_number=1)), 0.0)
    smsc.accept_bind(b"smsc")
    assert pdus(smsc.data_to_send())[0].tlvs == ()
    smsc.request(DeliverSm(short_message=b"x", tlvs=[(0x1400, b"v")]), 0.0)
    assert pdus(smsc.data_to_send())[0].tlvs == ()


def test_an_answer_brings_back_its_context_with_its_latency() -> None:
    esme, smsc = pair()
    esme.request(SUBMIT, 1.0, context="mine")
    (request,) = smsc.receive(esme.data_to_send(), 1.1)
    assert isinstance(request, events.Request)
    smsc.respond(SubmitSmResp(message_id=b"7", sequence_number=request.pdu.sequence_number))
    (response,) = esme.receive(smsc.data_to_send(), 1.5)
    assert isinstance(response, events.Response)
    assert (response.context, round(response.latency_s, 3), response.late) == ("mine", 0.5, False)
    assert esme.outstanding == 0


def test_a_full_window_refuses_and_an_answer_frees_its_slot() -> None:
    esme, smsc = pair(window=2)
    for number in range(2):
        esme.submit_raw(BODY, SUBMIT_ID, 0.0, number)
    assert esme.window_free == 0
    with pytest.raises(WindowFull):
        esme.submit_raw(BODY, SUBMIT_ID, 0.0, 3)
    for event in smsc.receive(esme.data_to_send(), 0.0):
        assert isinstance(event, events.Request)
        smsc.respond_raw(SUBMIT_ID | 0x80000000, 0, event.pdu.sequence_number, b"1\0")
    esme.receive(smsc.data_to_send(), 0.0)
    assert esme.window_free == 2


def test_many_bodies_are_submitted_as_one_by_one_or_not_at_all() -> None:
    one, all, idle = (pair(window=3)[0] for _ in range(3))
    bodies = [BODY, BODY[:-1] + b"!", b"any"]
    for number, body in enumerate(bodies):
        one.submit_raw(body, SUBMIT_ID, 1.0, number)
    all.submit_all(bodies, SUBMIT_ID, 1.0, range(3))
    assert all.data_to_send() == one.data_to_send()
    assert all._window.in_flight == one._window.in_flight
    with pytest.raises(WindowFull):
        idle.submit_all([BODY] * 4, SUBMIT_ID, 1.0, range(4))
    with pytest.raises(WrongState):
        idle.submit_all([BODY], DELIVER_ID, 1.0, "x")
    assert (idle.data_to_send(), idle.outstanding) == (b"", 0)


def test_fm02_a_response_after_its_timeout_still_counts_for_the_grace_time() -> None:
    esme, _ = pair(response_timeout_s=10, late_response_grace_s=60, enquire_link_s=0)
    number = esme.submit_raw(BODY, SUBMIT_ID, 0.0, "slow")
    (timed_out,) = esme.tick(10.0)
    assert isinstance(timed_out, events.TimedOut)
    assert (timed_out.context, esme.outstanding) == ("slow", 0)
    (late,) = esme.receive(with_header(SUBMIT_ID | 0x80000000, 0, number, b"9\0"), 50.0)
    assert isinstance(late, events.Response)
    assert (late.context, late.late) == ("slow", True)
    (nothing,) = esme.receive(with_header(SUBMIT_ID | 0x80000000, 0, number, b"9\0"), 50.0)
    assert isinstance(nothing, events.ProtocolViolation)


def test_fm03_each_request_without_a_response_times_out_at_its_own_deadline() -> None:
    esme, _ = pair(response_timeout_s=10, enquire_link_s=0)
    for number in range(3):
        esme.submit_raw(BODY, SUBMIT_ID, float(number), number)
    assert esme.next_deadline() == 10.0
    assert [len(esme.tick(at)) for at in (9.9, 10.0, 11.5, 12.0)] == [0, 1, 1, 1]


def test_fm08_a_silent_peer_is_asked_twice_and_then_given_up() -> None:
    esme, _ = pair(enquire_link_s=30, response_timeout_s=30)
    esme.submit_raw(BODY, SUBMIT_ID, 1.0, "unanswered")
    happened: list[events.Event] = []
    asked = 0
    while not any(isinstance(event, events.Closed) for event in happened):
        deadline = esme.next_deadline()
        assert deadline is not None
        happened += esme.tick(deadline)
        asked += sum(isinstance(pdu, EnquireLink) for pdu in pdus(esme.data_to_send()))
    assert asked == 2
    assert [event.context for event in happened if isinstance(event, events.TimedOut)] == ["unanswered"]


def test_fm09_enquire_link_is_answered_and_anything_heard_postpones_ours() -> None:
    esme, smsc = pair(enquire_link_s=30)
    smsc.receive(with_header(int(CommandId.ENQUIRE_LINK), 0, 77, b""), 20.0)
    (answer,) = pdus(smsc.data_to_send())
    assert (answer.command, answer.sequence_number) == ("enquire_link_resp", 77)
    assert smsc.next_deadline() == 50.0
    assert esme.next_deadline() == 30.0


def test_fm17_numbers_wrap_to_one_and_skip_those_in_flight() -> None:
    esme, _ = pair(window=10)
    first = esme.submit_raw(BODY, SUBMIT_ID, 0.0, "first")
    esme._window.numbers = esme._window.numbers_from(0x7FFFFFFF)
    numbers = [esme.submit_raw(BODY, SUBMIT_ID, 0.0, n) for n in range(4)]
    assert numbers[0] == 0x7FFFFFFF
    assert first not in numbers
    assert all(1 <= number <= 0x7FFFFFFF for number in numbers)
    assert len(set(numbers)) == 4


@pytest.mark.parametrize("number", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_fm17_any_32_bit_number_of_a_peer_is_echoed(number: int) -> None:
    _, smsc = pair()
    smsc.receive(with_header(int(CommandId.ENQUIRE_LINK), 0, number, b""), 0.0)
    assert pdus(smsc.data_to_send())[0].sequence_number == number


def test_fm19_what_is_not_smpp_closes_the_session_at_once() -> None:
    for first in (
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x0f",
    ):
        smsc = Session(Role.SMSC, SessionSettings(), 0.0)
        violation, closed = smsc.receive(first, 0.0)
        assert isinstance(violation, events.ProtocolViolation)
        assert isinstance(closed, events.Closed)
        assert smsc.receive(b"more", 0.0) == []


def test_fm19_before_its_bind_a_peer_gets_four_kib_and_ten_seconds() -> None:
    smsc = Session(Role.SMSC, SessionSettings(), 0.0)
    assert smsc.next_deadline() == 10.0
    assert any(isinstance(event, events.Closed) for event in smsc.tick(10.0))
    smsc = Session(Role.SMSC, SessionSettings(), 0.0)
    assert any(isinstance(e, events.Closed) for e in smsc.receive(b"\0\0\x10\x01", 0.0))


def test_fm20_a_pdu_with_a_bad_body_is_refused_and_the_session_lives() -> None:
    _, smsc = pair()
    whole = with_header(SUBMIT_ID, 0, 9, BODY[:-4])
    (violation,) = smsc.receive(whole, 0.0)
    assert isinstance(violation, events.ProtocolViolation)
    (answer,) = pdus(smsc.data_to_send())
    assert (answer.command, answer.command_status) == ("submit_sm_resp", Status.ESME_RINVMSGLEN)
    assert smsc.state is SessionState.BOUND_TRX


def test_an_unknown_command_gets_a_generic_nack() -> None:
    _, smsc = pair()
    smsc.receive(with_header(0x00000110, 0, 5, b""), 0.0)
    (answer,) = pdus(smsc.data_to_send())
    assert isinstance(answer, GenericNack)
    assert (answer.sequence_number, answer.command_status) == (5, Status.ESME_RINVCMDID)


@pytest.mark.parametrize("pdu", [SUBMIT, Unbind()])
def test_fm39_a_request_before_the_bind_has_no_effect(pdu: Pdu) -> None:
    smsc = Session(Role.SMSC, SessionSettings(), 0.0)
    assert smsc.receive(encode(pdu), 0.0) == []
    assert pdus(smsc.data_to_send())[0].command_status == Status.ESME_RINVBNDSTS


def test_fm39_after_an_unbind_nothing_is_taken_any_more() -> None:
    esme, smsc = pair()
    esme.unbind(1.0)
    assert esme.window_free == 0
    with pytest.raises(WrongState):
        esme.submit_raw(BODY, SUBMIT_ID, 1.0, None)
    assert [type(event) for event in smsc.receive(esme.data_to_send(), 1.0)] == [events.PeerUnbound]
    (answer,) = pdus(smsc.data_to_send())
    assert isinstance(answer, UnbindResp)
    smsc.receive(encode(SUBMIT), 1.0)
    assert pdus(smsc.data_to_send())[0].command_status == Status.ESME_RINVBNDSTS


def test_what_crosses_our_unbind_is_still_taken_and_answered() -> None:
    esme, smsc = pair()
    smsc.unbind(1.0)
    number = esme.submit_raw(BODY, SUBMIT_ID, 1.0, "mine")
    (event,) = smsc.receive(esme.data_to_send(), 1.0)
    assert isinstance(event, events.Request)
    smsc.respond(SubmitSmResp(message_id=b"1", sequence_number=number))
    happened = esme.receive(smsc.data_to_send(), 1.0)
    assert [type(one) for one in happened] == [events.PeerUnbound, events.Response]


def test_fm39_a_second_bind_is_already_bound() -> None:
    _, smsc = pair()
    assert smsc.receive(encode(BindReceiver(system_id=b"u", sequence_number=3)), 0.0) == []
    assert pdus(smsc.data_to_send())[0].command_status == Status.ESME_RALYBND


def test_fm40_a_generic_nack_with_number_zero_matches_nothing_and_is_counted() -> None:
    esme, _ = pair()
    esme.submit_raw(BODY, SUBMIT_ID, 0.0, "mine")
    esme.receive(encode(GenericNack(command_status=Status.ESME_RINVCMDID)), 0.0)
    assert (esme.outstanding, esme.nacks_unmatched) == (1, 1)


def test_a_generic_nack_answers_its_request() -> None:
    esme, _ = pair()
    number = esme.submit_raw(BODY, SUBMIT_ID, 0.0, "mine")
    (nacked,) = esme.receive(encode(GenericNack(command_status=3, sequence_number=number)), 0.0)
    assert isinstance(nacked, events.Nacked)
    assert (nacked.context, nacked.status) == ("mine", 3)


def test_an_outbind_leads_to_a_bind() -> None:
    esme, smsc = (Session(role, SessionSettings(), 0.0) for role in (Role.ESME, Role.SMSC))
    smsc.outbind(Outbind(system_id=b"smsc", password=b"p"), 0.0)
    (asked,) = esme.receive(smsc.data_to_send(), 0.0)
    assert isinstance(asked, events.OutbindReceived)
    esme.bind(BindReceiver(system_id=b"u"), 0.0)
    smsc.receive(esme.data_to_send(), 0.0)
    smsc.accept_bind()
    esme.receive(smsc.data_to_send(), 0.0)
    assert esme.state is SessionState.BOUND_RX


def test_who_is_turned_away_is_refused_whatever_it_asks_and_may_still_answer_and_unbind() -> None:
    esme, smsc = pair()
    number = smsc.request(DeliverSm(short_message=b"x"), 1.0, context="event")
    smsc.unbind(1.0)
    smsc.turn_away()
    smsc.data_to_send()
    esme.request(SUBMIT, 1.0)
    (told,) = smsc.receive(esme.data_to_send(), 1.0)
    assert isinstance(told, events.TurnedAway)
    assert told.command_id == SUBMIT_ID
    (refusal,) = pdus(smsc.data_to_send())
    assert isinstance(refusal, SubmitSmResp)
    assert refusal.command_status == told.status == Status.ESME_RSUBMITFAIL
    smsc.receive(encode(EnquireLink(sequence_number=9)), 1.0)
    assert isinstance(pdus(smsc.data_to_send())[0], EnquireLinkResp)
    (answer,) = smsc.receive(encode(DeliverSmResp(sequence_number=number)), 1.0)
    assert isinstance(answer, events.Response)
    assert answer.context == "event"
    smsc.receive(encode(Unbind(sequence_number=10)), 1.0)
    assert isinstance(pdus(smsc.data_to_send())[0], UnbindResp)


def test_an_unanswered_unbind_ends_at_the_response_timer() -> None:
    esme, _ = pair(response_timeout_s=5)
    esme.unbind(1.0)
    assert esme.next_deadline() == 6.0
    assert any(isinstance(event, events.Closed) for event in esme.tick(6.0))


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 5)),
        st.tuples(st.just("carry"), st.integers(1, 60)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_fm42_every_context_comes_back_once_whatever_happens(actions: list[tuple[str, int]]) -> None:
    esme, smsc = pair(window=8, response_timeout_s=15, enquire_link_s=0, late_response_grace_s=30)
    now, sent, wire = 0.0, 0, b""
    asked: list[int] = []
    settled: list[object] = []
    late: list[object] = []

    def collect(happened: list[events.Event]) -> None:
        for event in happened:
            if isinstance(event, events.Response):
                (late if event.late else settled).append(event.context)
            elif isinstance(event, events.TimedOut | events.Nacked):
                settled.append(event.context)
            elif isinstance(event, events.Closed):
                settled.extend(event.unanswered)

    for action, amount in actions:
        if action == "submit":
            room = min(amount, esme.window_free)
            if amount % 2:
                esme.submit_all([BODY] * room, SUBMIT_ID, now, range(sent, sent + room))
            else:
                for context in range(sent, sent + room):
                    esme.submit_raw(BODY, SUBMIT_ID, now, context)
            sent += room
            wire += esme.data_to_send()
        elif action == "carry":
            piece, wire = wire[:amount], wire[amount:]
            asked += [
                e.pdu.sequence_number for e in smsc.receive(piece, now) if isinstance(e, events.Request)
            ]
        elif action == "answer" and asked:
            number = asked.pop(amount % len(asked))
            smsc.respond_raw(SUBMIT_ID | 0x80000000, 0, number, b"1\0")
            collect(esme.receive(smsc.data_to_send(), now))
        else:
            now += amount
            collect(esme.tick(now))
        assert esme.outstanding == sent - len(settled)
    collect(esme.eof(now))
    assert sorted(settled) == list(range(sent))  # type: ignore[type-var]
    assert len(late) == len(set(late))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_octets_in_any_pieces_leave_a_session_that_is_bound_or_closed(data: bytes, step: int) -> None:
    _, smsc = pair()
    for at in range(0, len(data), step):
        smsc.receive(data[at : at + step], 1.0)
    assert smsc.state in (SessionState.BOUND_TRX, SessionState.UNBOUND, SessionState.CLOSED)


def test_the_raw_and_the_declared_request_are_the_same_octets() -> None:
    esme, _ = pair()
    number = esme.submit_raw(BODY, SUBMIT_ID, 0.0, None)
    raw = esme.data_to_send()
    assert decode(raw) == SubmitSm(
        source_addr=b"A", destination_addr=b"447700900123", short_message=b"hi", sequence_number=number
    )


def test_the_states_can_be_printed() -> None:
    from smpp.states import as_markdown

    assert "| submit_sm |" in as_markdown()


_PIECES = st.lists(
    st.sampled_from(
        [
            encode(SUBMIT),
            encode(SubmitSm(short_message=b"x" * 99, sequence_number=2)),
            encode(SUBMIT)[:-1],
            with_header(SUBMIT_ID, 0, 3, b"no field ends"),
            with_header(0x77, 0, 4, b""),
            with_header(SUBMIT_ID | 0x80000000, 0, 5, b"1\0"),
            b"\0\0\0\x0f",
            b"\0\0\x01\0",
        ]
    )
)


@settings(max_examples=200, deadline=None)
@given(_PIECES, st.integers(1, 200))
def test_a_session_cuts_a_stream_as_the_framer_does(pieces: list[bytes], step: int) -> None:
    _, smsc = pair(max_pdu=150)
    framer, data = Framer(150), b"".join(pieces)
    happened: list[events.Event] = []
    read: list[object] = []
    for at in range(0, len(data), step):
        happened += smsc.receive(data[at : at + step], 1.0)
        for frame in framer.feed(data[at : at + step]):
            try:
                pdu = decode_frame(frame)
                read.append(pdu if pdu.command_id == SUBMIT_ID else "a response to nothing we asked")
            except ProtocolError as error:
                read.append(error.detail)
    assert smsc.half_received == framer.rest
    if framer.error is not None:
        read += [framer.error.detail, events.Closed]
    told = [
        event.pdu
        if isinstance(event, events.Request)
        else event.error.detail
        if isinstance(event, events.ProtocolViolation)
        else type(event)
        for event in happened
    ]
    assert told == read


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "plain",
                    "empty",
                    "bodyless",
                    "tlv",
                    "refused",
                    "bad",
                    "inside",
                    "other",
                    "twice",
                    "request",
                ]
            ),
            st.sampled_from([1, 1, 2, 9, 20]),
        ),
        max_size=9,
    ),
    st.sampled_from([0, 95, 993]),
)
def test_answers_that_are_told_together_are_those_one_by_one(rows: list[tuple[str, int]], first: int) -> None:
    kinds = [kind for kind, count in rows for _ in range(count)]
    told, written = [], []
    for together in (True, False):
        esme = Session(Role.ESME, SessionSettings(window=200), 0.0, together=together)
        esme.bind(BindTransceiver(system_id=b"u"), 0.0)
        esme.receive(encode(BindTransceiverResp(sequence_number=1)), 0.0)
        octets = b""
        for at, kind in enumerate(kinds):
            if at == 3:  # a number that ends in NUL
                esme._window.numbers = esme._window.numbers_from(256)
            number = esme.submit_raw(BODY, SUBMIT_ID, float(at), at)
            octets += {
                "plain": encode(SubmitSmResp(b"id%d" % (first + at), sequence_number=number)),
                "empty": encode(SubmitSmResp(sequence_number=number)),
                "bodyless": with_header(SUBMIT_ID | 0x80000000, 0, number, b""),
                "tlv": encode(SubmitSmResp(b"7", sequence_number=number, tlvs=((0x1D, b"x\0"),))),
                "refused": encode(SubmitSmResp(b"7", sequence_number=number, command_status=8)),
                "bad": with_header(SUBMIT_ID | 0x80000000, 0, number, b"id"),
                "inside": with_header(SUBMIT_ID | 0x80000000, 0, number, b"i\x000\0"),
                "other": with_header(DELIVER_ID | 0x80000000, 0, number, b"\0"),
                "twice": encode(SubmitSmResp(b"id%d" % (first + at), sequence_number=number)) * 2,
                "request": encode(DeliverSm(sequence_number=number)),
            }[kind]
        esme.data_to_send()
        found: list[object] = []
        for event in esme.receive(octets, 200.0):
            if isinstance(event, events.Accepted):
                assert together
                found += [("accepted", *answer) for answer in event.answers]
            elif isinstance(event, events.Response) and event.pdu in (
                SubmitSmResp(event.pdu.message_id, sequence_number=event.pdu.sequence_number),  # type: ignore[attr-defined]
            ):
                found.append(("accepted", event.context, event.latency_s, event.pdu.message_id))  # type: ignore[attr-defined]
            else:
                found.append(repr(event))
        told.append((sorted(map(str, found)), esme.unanswered()))
        written.append(esme.data_to_send())
        if "request" not in kinds:  # which are told where they stand, and answers around them together
            told[-1] = (list(map(str, found)), esme.unanswered())
    assert told[0] == told[1]
    assert written[0] == written[1]
