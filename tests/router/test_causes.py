"""router.causes: any code of a carrier becomes a cause of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.causes import Cause, Causes, markdown, of_ending, plain_error
from router.nouns import MessageState, Reason
from smpp.status import Status

PAGE = Path(__file__).parents[2] / "docs" / "error-codes.md"
UNDELIV = MessageState.UNDELIVERABLE
USUAL = Causes()


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (Status.ESME_RINVDSTADR, "invalid_number"),
        (Status.ESME_RINVSRCADR, "invalid_sender"),
        (Status.ESME_RTHROTTLED, "throttled"),
        (Status.ESME_RSYSERR, "system_error"),
        (Status.ESME_RINVDCS, "invalid_message"),
        (Status.ESME_RX_R_APPN, "rejected"),
        (0x42E, "unknown"),
        (0xFFFFFFFF, "unknown"),
    ],
)
def test_a_command_status_has_a_cause(status: int, cause: str) -> None:
    assert USUAL.of_status(status) == cause


@pytest.mark.parametrize(
    ("state", "err", "network", "cause"),
    [
        (UNDELIV, "001", "", "unknown_subscriber"),
        (UNDELIV, "6", "", "absent_subscriber"),
        (UNDELIV, "013", "", "barred"),
        (UNDELIV, "034", "", "network_error"),
        (MessageState.EXPIRED, "027", "", "absent_subscriber"),
        (UNDELIV, "000", "3:31", "handset_busy"),
        (UNDELIV, "", "3:208", "memory_full"),
        (UNDELIV, "001", "3:27", "absent_subscriber"),  # TLVs win over the text
        (UNDELIV, "", "7:11", "invalid_number"),  # 5.0: an SMPP error
        (UNDELIV, "", "8:11", "unknown"),  # the message centre's own
        (UNDELIV, "000", "027", "absent_subscriber"),  # three digits instead of type and code
    ],
)
def test_a_code_of_a_receipt_has_a_cause(state: int, err: str, network: str, cause: str) -> None:
    assert USUAL.of_receipt(state, err, network) == cause


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (MessageState.EXPIRED, "expired"),
        (MessageState.DELETED, "cancelled"),
        (MessageState.REJECTED, "rejected"),
        (MessageState.UNDELIVERABLE, "unknown"),
        (MessageState.UNKNOWN, "unknown"),
    ],
)
@pytest.mark.parametrize("err", ["", "000", "0", "255", "4A6", "E_NETWORK", "???"])
def test_without_a_code_that_is_known_the_state_says_why(state: int, err: str, cause: str) -> None:
    assert USUAL.of_receipt(state, err) == cause


def test_what_was_delivered_has_no_cause() -> None:
    assert USUAL.of_receipt(MessageState.DELIVERED, "027", "3:27") == ""
    assert USUAL.of_receipt(MessageState.ACCEPTED, "006") == ""


def test_what_is_on_its_way_has_one_only_where_the_carrier_names_it() -> None:
    assert USUAL.of_receipt(MessageState.ENROUTE, "000") == ""
    assert USUAL.of_receipt(MessageState.ENROUTE, "027") == "absent_subscriber"


def test_a_carriers_own_map_goes_before_the_tables() -> None:
    own = Causes(
        statuses={0x42E: "spam", int(Status.ESME_RINVDSTADR): "opted_out"},
        errors={plain_error("001"): "absent_subscriber", plain_error("04a6"): "spam"},
        networks={(3, 1): "barred"},
    )
    assert own.of_status(0x42E) == "spam"
    assert own.of_status(Status.ESME_RINVDSTADR) == "opted_out"
    assert own.of_status(Status.ESME_RSYSERR) == "system_error"
    for err in ("001", "1", "01"):
        assert own.of_receipt(UNDELIV, err) == "absent_subscriber"
    assert own.of_receipt(UNDELIV, "4A6") == own.of_receipt(UNDELIV, "4a6") == "spam"
    assert own.of_receipt(UNDELIV, "001", "3:1") == "barred"
    assert own.of_receipt(UNDELIV, "005") == "unknown_subscriber"


def test_even_no_error_can_mean_something_to_a_carrier() -> None:
    own = Causes(errors={plain_error("000"): "opted_out"})
    assert own.of_receipt(UNDELIV, "000") == "opted_out"
    assert own.of_receipt(MessageState.DELIVERED, "000") == ""


@given(st.sampled_from(MessageState), st.text(max_size=12), st.integers(0, 255), st.integers(0, 65_535))
def test_any_code_at_all_has_a_cause(state: MessageState, err: str, kind: int, code: int) -> None:
    words = {"", *map(str, Cause)}
    assert USUAL.of_receipt(state, err, f"{kind}:{code}") in words
    assert USUAL.of_receipt(state, err) in words


@given(st.integers(1, 0xFFFFFFFF))
def test_any_status_at_all_has_a_cause(status: int) -> None:
    assert USUAL.of_status(status) in set(map(str, Cause))


def test_our_own_endings_have_a_cause_too() -> None:
    assert of_ending(MessageState.EXPIRED, Reason.EXPIRED_IN_QUEUE, "") == "expired"
    assert of_ending(MessageState.EXPIRED, Reason.NO_RECEIPT, "") == "no_receipt"
    assert of_ending(MessageState.DELETED, Reason.CANCELLED, "") == "cancelled"
    assert of_ending(UNDELIV, Reason.PARTS, "") == "incomplete"
    assert of_ending(UNDELIV, Reason.TOO_MANY_ATTEMPTS, "system_error") == "system_error"
    assert of_ending(UNDELIV, Reason.TOO_MANY_ATTEMPTS, "") == "unknown"
    assert of_ending(MessageState.DELIVERED, Reason.RECEIPT, "") == ""
    assert of_ending(MessageState.ACCEPTED, Reason.NO_RECEIPT_WANTED, "") == ""


def test_the_page_has_the_table_as_it_is() -> None:
    assert markdown() in PAGE.read_text(encoding="utf-8"), "run python -m router.causes"
