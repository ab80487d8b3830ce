"""router.judge: every event has a verdict, and the table says the same as the code."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib.consts import DESCRIPTIONS

from router.judge import (
    FATES,
    Fate,
    Happening,
    Judging,
    Refusal,
    Verdict,
    back_off_s,
    fate_of,
    judge,
    markdown,
)
from router.nouns import MessageClass, MessageState, Reason, Settle
from smpp.status import Status

DEFAULT = Judging()
OTP = MessageClass.OTP
BULK = MessageClass.BULK


def after(
    status: int,
    attempts: int = 0,
    chance: float = 0.5,
    judging: Judging = DEFAULT,
    *,
    age_s: float = 0.0,
    everywhere: bool = False,
) -> Verdict:
    return judge(
        Happening.STATUS, status, BULK, attempts, chance, judging, age_s=age_s, everywhere=everywhere
    )


def test_fm04_throttled_pauses_the_carrier_and_counts_no_attempt() -> None:
    verdict = after(Status.ESME_RTHROTTLED, attempts=999)
    assert verdict.settle is Settle.RETRY
    assert verdict.reason is Reason.THROTTLED
    assert verdict.delay_s == 0, "back to the head of its queue"
    assert verdict.suspend_s > 0
    assert not verdict.count_attempt
    assert not verdict.mark_tried


def test_fm04_the_pause_after_throttling_is_spread() -> None:
    pauses = {after(Status.ESME_RTHROTTLED, chance=step / 10).suspend_s for step in range(10)}
    assert len(pauses) == 10


def test_fm05_a_full_queue_backs_off_longer_than_throttling() -> None:
    full = after(Status.ESME_RMSGQFUL, chance=0.0, everywhere=True)
    throttled = after(Status.ESME_RTHROTTLED, chance=0.999)
    assert full.suspend_s > 2 * throttled.suspend_s
    assert full.delay_s == 0, "back to the head of its queue"
    assert full.reason is Reason.QUEUE_FULL
    assert not full.count_attempt


def test_fm05_a_recipients_full_queue_makes_its_message_wait_and_nothing_else() -> None:
    full = after(Status.ESME_RMSGQFUL, chance=0.0)
    assert full.suspend_s == 0
    assert full.delay_s > 2 * after(Status.ESME_RTHROTTLED, chance=0.999).suspend_s
    assert full.reason is Reason.QUEUE_FULL
    assert not full.count_attempt
    assert not full.mark_tried
    assert after(Status.ESME_RMSGQFUL, chance=0.0, age_s=6000).delay_s == 600
    assert after(Status.ESME_RMSGQFUL, chance=0.0, age_s=86400).delay_s == Judging().retry_max_s


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (Status.ESME_RINVDSTADR, MessageState.UNDELIVERABLE),
        (Status.ESME_RX_P_APPN, MessageState.UNDELIVERABLE),
        (Status.ESME_RDELIVERYFAILURE, MessageState.UNDELIVERABLE),
        (Status.ESME_RINVSRCADR, MessageState.REJECTED),
        (Status.ESME_RINVMSGLEN, MessageState.REJECTED),
        (Status.ESME_RX_R_APPN, MessageState.REJECTED),
    ],
)
def test_fm06_a_permanent_error_ends_the_message(status: Status, state: MessageState) -> None:
    verdict = after(status)
    assert verdict.settle is Settle.FINAL
    assert verdict.state is state
    assert verdict.reason is Reason.REFUSED_BY_CARRIER


@pytest.mark.parametrize("status", [0x400, 0x42E, 0x4FF, 0x09, 0x3FF, 0x500, 0x80000000, 0xFFFFFFFF])
def test_fm06_vendor_and_reserved_codes_are_retried_elsewhere_and_end_after_the_last_attempt(
    status: int,
) -> None:
    verdict = after(status)
    assert verdict.settle is Settle.RETRY
    assert verdict.mark_tried
    assert verdict.count_attempt
    last = after(status, attempts=DEFAULT.max_attempts - 1)
    assert last.settle is Settle.FINAL
    assert last.state is MessageState.UNDELIVERABLE
    assert last.reason is Reason.TOO_MANY_ATTEMPTS


@given(
    st.sampled_from(Happening),
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from(MessageClass),
    st.integers(0, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1e6),
)
def test_fm06_no_event_is_without_a_verdict(
    happening: Happening,
    status: int,
    message_class: MessageClass,
    attempts: int,
    chance: float,
    left_s: float,
) -> None:
    verdict = judge(happening, status, message_class, attempts, chance, DEFAULT, left_s)
    assert 0 <= verdict.delay_s <= left_s
    assert verdict.suspend_s >= 0
    assert (verdict.settle is Settle.FINAL) == (verdict.state is not MessageState.ENROUTE)


def test_fm06_a_carriers_own_meaning_of_a_status_wins() -> None:
    judging = Judging(fates={0x42E: Fate.REJECTED, Status.ESME_RINVDSTADR: Fate.RETRY})
    assert after(0x42E, judging=judging).state is MessageState.REJECTED
    assert after(Status.ESME_RINVDSTADR, judging=judging).settle is Settle.RETRY


@pytest.mark.parametrize(
    "status",
    [Status.ESME_RINVPASWD, Status.ESME_RINVSYSID, Status.ESME_RINVBNDSTS, Status.ESME_RPROHIBITED],
)
def test_fm07_when_the_carrier_refuses_us_it_pauses_and_the_message_goes_to_the_next(status: Status) -> None:
    verdict = after(status, attempts=999)
    assert verdict.settle is Settle.RETRY
    assert verdict.mark_tried
    assert not verdict.count_attempt
    assert verdict.suspend_s >= 30


@pytest.mark.parametrize("happening", [Happening.LINK_LOST, Happening.TIMEOUT])
def test_fm01_an_unknown_outcome_is_resent_at_once_for_otp_and_later_for_others(happening: Happening) -> None:
    assert judge(happening, 0, OTP, 0, 0.9, DEFAULT).delay_s == 0
    for message_class in set(MessageClass) - {OTP}:
        verdict = judge(happening, 0, message_class, 0, 0.9, DEFAULT)
        assert verdict.settle is Settle.UNKNOWN_RESEND
        assert verdict.reason is Reason.OUTCOME_UNKNOWN
        assert 60 <= verdict.delay_s <= 66


def test_fm01_an_unknown_outcome_is_held_where_the_carrier_is_set_so() -> None:
    judging = Judging(hold_unknown=(False, True, True, True))
    assert judge(Happening.LINK_LOST, 0, OTP, 0, 0.5, judging).settle is Settle.UNKNOWN_RESEND
    assert judge(Happening.LINK_LOST, 0, BULK, 0, 0.5, judging).settle is Settle.UNKNOWN_HOLD


def test_fm01_an_unknown_outcome_after_the_last_attempt_is_held_not_failed() -> None:
    verdict = judge(Happening.TIMEOUT, 0, OTP, DEFAULT.max_attempts - 1, 0.5, DEFAULT)
    assert verdict.settle is Settle.UNKNOWN_HOLD


def test_what_was_never_written_returns_without_an_attempt() -> None:
    verdict = judge(Happening.NOT_WRITTEN, 0, BULK, 5, 0.5, DEFAULT)
    assert verdict.settle is Settle.RETURNED
    assert not verdict.count_attempt


def test_fm28_nothing_is_retried_at_once_unless_its_carrier_pauses() -> None:
    """A message that is refused again and again cannot spin."""
    for status in {*FATES, 0x400, 0xFFFFFFFF} - {0}:
        verdict = after(status, chance=0.0)
        if verdict.settle is Settle.RETRY:
            assert verdict.delay_s >= 0.5 or verdict.suspend_s >= 1


def test_fm28_the_back_off_doubles_up_to_its_cap() -> None:
    delays = [back_off_s(5, 900, attempt, 0.0) for attempt in range(12)]
    assert delays[:4] == [2.5, 5, 10, 20]
    assert delays[-1] == 450
    assert back_off_s(5, 900, 10**6, 0.999) <= 900


def test_fm37_a_refusal_moves_only_the_message_it_was_said_about_to_another_carrier() -> None:
    verdict = after(Status.ESME_RSYSERR)
    assert verdict.mark_tried
    assert verdict.suspend_s == 0


def test_validity_bounds_every_delay() -> None:
    assert judge(Happening.STATUS, Status.ESME_RSYSERR, BULK, 8, 0.5, DEFAULT, 30.0).delay_s == 30
    assert judge(Happening.LINK_LOST, 0, BULK, 0, 0.5, DEFAULT, -5.0).delay_s == 0


def test_success_is_sent() -> None:
    assert after(0).settle is Settle.SENT


def test_the_table_covers_every_status_that_smpplib_and_smpp_5_know() -> None:
    assert set(DESCRIPTIONS) <= set(FATES)
    assert set(Status) <= set(FATES)
    table = markdown()
    for status in FATES:
        assert f"0x{status:08x}" in table
    assert "0xffffffff" in table
    assert "0x00000400-0x000004ff" in table


def test_the_table_prints_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "router.judge"], capture_output=True, text=True, check=True, timeout=60
    )
    rows = done.stdout.splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert any("ESME_RTHROTTLED" in row and "throttled" in row for row in rows)


def test_every_fate_is_reachable_by_its_configured_word() -> None:
    assert {fate_of(1, Judging(fates={1: Fate(word)})).value for word in (f.value for f in Fate)} == {
        fate.value for fate in Fate
    }


def test_a_message_that_ended_links_in_a_row_goes_alone_once_and_is_then_held() -> None:
    def lost(times: int, judging: Judging = DEFAULT, happening: Happening = Happening.LINK_LOST) -> Verdict:
        return judge(happening, 0, BULK, times, 0.0, judging, lost=times)

    resend, hold = Settle.UNKNOWN_RESEND, Settle.UNKNOWN_HOLD
    assert [(lost(times).settle, lost(times).reason) for times in range(5)] == [
        (resend, Reason.OUTCOME_UNKNOWN),
        (resend, Reason.OUTCOME_UNKNOWN),
        (resend, Reason.SUSPECT),
        (hold, Reason.SUSPECT),
        (hold, Reason.SUSPECT),
    ]
    never = Judging(suspect_after=0)
    assert {lost(times, never).reason for times in range(9)} == {Reason.OUTCOME_UNKNOWN}
    assert lost(7, happening=Happening.TIMEOUT).reason == Reason.OUTCOME_UNKNOWN
    assert "alone" in markdown()
    assert "alone" not in markdown(never)


# a carrier's own refusals

_OWN = Judging(
    fates={0x0401: Fate.REJECTED},
    refusals=(
        Refusal(0x0410, 0x041F, Fate.HERE, first_s=60.0, max_s=120.0, max_attempts=3),
        Refusal(0x0420, 0x042F, Fate.CARRIER, pause_s=600.0),
        Refusal(0x0400, 0x04FF, Fate.HOLD),
        Refusal(int(Status.ESME_RTHROTTLED), int(Status.ESME_RTHROTTLED), Fate.THROTTLED, pause_s=0.2),
    ),
)


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0x0401, Fate.REJECTED),  # a single one goes before ranges
        (0x0402, Fate.HOLD),
        (0x0410, Fate.HERE),  # the first that has it
        (0x041F, Fate.HERE),
        (0x04FF, Fate.HOLD),
        (0x0500, Fate.RETRY),
        (int(Status.ESME_RINVDSTADR), Fate.UNDELIVERABLE),
        (0, Fate.SENT),
    ],
)
def test_a_range_of_statuses_has_the_fate_that_its_carrier_gives_it(status: int, fate: Fate) -> None:
    assert fate_of(status, _OWN) is fate


def test_here_means_the_same_carrier_again_with_waits_and_attempts_of_its_own() -> None:
    first = judge(Happening.STATUS, 0x0410, MessageClass.BULK, 0, 0.0, _OWN)
    assert (first.settle, first.mark_tried, first.count_attempt) == (Settle.RETRY, False, True)
    assert first.delay_s == 30
    assert judge(Happening.STATUS, 0x0410, MessageClass.BULK, 1, 0.999, _OWN).delay_s <= 120
    last = judge(Happening.STATUS, 0x0410, MessageClass.BULK, 2, 0.0, _OWN)
    assert (last.settle, last.reason) == (Settle.FINAL, Reason.TOO_MANY_ATTEMPTS)
    other = judge(Happening.STATUS, int(Status.ESME_RSYSERR), MessageClass.BULK, 2, 0.0, _OWN)
    assert other.settle is Settle.RETRY  # the others keep theirs


def test_a_refusal_can_take_its_carrier_out_for_a_time_of_its_own() -> None:
    verdict = judge(Happening.STATUS, 0x0420, MessageClass.OTP, 0, 0.5, _OWN)
    assert verdict.suspend_s == 900
    assert verdict.mark_tried
    assert (
        judge(Happening.STATUS, int(Status.ESME_RTHROTTLED), MessageClass.OTP, 0, 0.0, _OWN).suspend_s == 0.2
    )


def test_hold_waits_for_an_operator() -> None:
    verdict = judge(Happening.STATUS, 0x04FE, MessageClass.OTP, 99, 0.0, _OWN)
    assert (verdict.settle, verdict.reason, verdict.suspend_s) == (Settle.HOLD, Reason.REFUSED_HELD, 0.0)


def test_without_a_last_attempt_a_message_is_tried_until_its_validity_ends() -> None:
    endless = Judging(max_attempts=0)
    verdict = judge(Happening.STATUS, Status.ESME_RSYSERR, OTP, 5_000, 0.9, endless, 30.0)
    assert (verdict.settle, verdict.delay_s) == (Settle.RETRY, 30.0)
    assert judge(Happening.TIMEOUT, 0, BULK, 5_000, 0.9, endless).settle is Settle.UNKNOWN_RESEND
