"""router.numbers: recipients to E.164 digits, senders to text, TON and NPI, refusals that help."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.numbers import NumberProblem, country_code, known_region, normalise, sender_of


@pytest.mark.parametrize(
    "text",
    [
        "447700900123",
        "+447700900123",
        "00447700900123",
        "+44 7700 900123",
        "+44 (0)7700 900123",
        "+44 07700 900123",
        "+44-7700-900-123",
        "+44.7700.900123",
        "\u200b+44\u00a07700 900123",
        "＋４４７７００９００１２３",
        "+٤٤٧٧٠٠٩٠٠١٢٣",
    ],
)
def test_a_number_may_be_written_as_people_do(text: str) -> None:
    assert normalise(text) == "447700900123"


@pytest.mark.parametrize(
    ("text", "region", "digits"),
    [
        ("07700 900123", "GB", "447700900123"),
        ("7700900123", "GB", "447700900123"),
        ("447700900123", "GB", "447700900123"),
        ("+33612345678", "GB", "33612345678"),
        ("0033612345678", "GB", "33612345678"),
        ("33612345678", "GB", "33612345678"),
        ("(202) 555-0123", "US", "12025550123"),
        ("12025550123", "US", "12025550123"),
        ("011 44 7700 900123", "US", "447700900123"),
        ("06 6981 2345", "IT", "390669812345"),
        ("8 (912) 345-67-89", "RU", "79123456789"),
        ("0151 12345678", "DE", "4915112345678"),
    ],
)
def test_with_a_default_region_national_numbers_work_too(text: str, region: str, digits: str) -> None:
    assert normalise(text, region) == digits


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "no-number"),
        ("+", "no-number"),
        ("  ", "no-number"),
        ("hello", "not-a-number"),
        ("+44770090012a", "not-a-number"),
        ("+44+7700900123", "not-a-number"),
        ("07700900123", "unknown-country"),
        ("+999123456789", "unknown-country"),
        ("12345", "impossible-length"),
        ("+4477009001234", "impossible-length"),
        ("+1" + "2" * 40, "impossible-length"),
    ],
)
def test_an_impossible_number_is_refused_with_what_is_allowed(text: str, code: str) -> None:
    with pytest.raises(NumberProblem) as caught:
        normalise(text)
    assert caught.value.code == code
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize("text", ["", "0", "00", "²²²²²²²²²²", "(0)", "+(0)", "0" * 1000])
@pytest.mark.parametrize("region", ["", "GB", "US", "IT"])
def test_nonsense_never_gets_through_and_never_escapes(text: str, region: str) -> None:
    with pytest.raises(NumberProblem):
        normalise(text, region)


@given(st.text(max_size=30), st.sampled_from(["", "GB", "US"]))
def test_any_text_is_either_digits_or_a_number_problem(text: str, region: str) -> None:
    try:
        digits = normalise(text, region)
    except NumberProblem:
        return
    assert digits.isascii()
    assert digits.isdigit()
    assert 7 <= len(digits) <= 15


def test_every_countrys_own_example_is_accepted() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert normalise(written) == written[1:]
            national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)
            assert normalise(national, region) == written[1:], region


@given(st.from_regex(r"[1-9][0-9]{5,14}", fullmatch=True))
def test_what_phonenumbers_calls_possible_is_accepted(digits: str) -> None:
    try:
        parsed = phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:]
    if written == digits and phonenumbers.is_possible_number_with_reason(parsed) == 0:
        assert normalise(digits) == digits


def test_the_country_code_is_found() -> None:
    assert [country_code(n) for n in ("447700900123", "12025550123", "35312345678", "999")] == [
        "44",
        "1",
        "353",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("Acme", ("Acme", 5, 0)),
        (" Acme Ltd. ", ("Acme Ltd.", 5, 0)),
        ("4ever", ("4ever", 5, 0)),
        ("Größe", ("Größe", 5, 0)),
        ("12345", ("12345", 3, 0)),
        ("+447700900123", ("447700900123", 1, 1)),
        ("447700900123", ("447700900123", 1, 1)),
        ("+44 7700 900123", ("447700900123", 1, 1)),
    ],
)
def test_a_sender_is_a_number_a_short_code_or_a_name(text: str, sender: tuple[str, int, int]) -> None:
    assert sender_of(text) == sender


@pytest.mark.parametrize(
    "text",
    ["", " ", "+", "--", "Twelve chars", "Привет", "a\nb", "x\x00", "a\x1b", "0800123456", "{x}", "+12"],
)
def test_an_impossible_sender_is_refused(text: str) -> None:
    with pytest.raises(NumberProblem) as caught:
        sender_of(text)
    assert caught.value.code == "bad-sender"


def test_a_national_sender_needs_a_region() -> None:
    assert sender_of("0800 123 4567", "GB") == ("448001234567", 1, 1)


def test_regions_are_known_by_two_letters() -> None:
    assert known_region("GB")
    assert not known_region("XX")
