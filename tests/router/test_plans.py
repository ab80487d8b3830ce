"""router.plans: region and type of every number, as phonenumbers says them."""

from __future__ import annotations

import random

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from router.knowledge import PLAIN
from router.plans import _CODES, KINDS, NOTHING, WORLD, _Pattern, _Plan, facts

NAMES = {
    PhoneNumberType.FIXED_LINE: "fixed",
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "fixed_or_mobile",
    PhoneNumberType.TOLL_FREE: "toll_free",
    PhoneNumberType.PREMIUM_RATE: "premium",
    PhoneNumberType.SHARED_COST: "shared",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.PERSONAL_NUMBER: "personal",
    PhoneNumberType.PAGER: "pager",
    PhoneNumberType.UAN: "uan",
    PhoneNumberType.VOICEMAIL: "voicemail",
    PhoneNumberType.UNKNOWN: "unknown",
}


def agrees(digits: str) -> str | None:
    """The kind, after comparing with phonenumbers; None where it reads these digits as another number."""
    try:
        parsed = phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:] != digits:
        return None
    found = facts(digits)
    region = phonenumbers.region_code_for_number(parsed)
    assert region in (None, found.country), digits
    assert found.kind == NAMES[phonenumbers.number_type(parsed)], digits
    assert (found.kind != "unknown") == phonenumbers.is_valid_number(parsed), digits
    return found.kind


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != PhoneNumberType.UNKNOWN])
def test_every_countrys_examples_and_their_neighbours_are_as_phonenumbers_says(kind: int) -> None:
    chance = random.Random(kind)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            continue
        digits = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[1:]
        agrees(digits)
        for _ in range(4):
            place = chance.randrange(len(str(example.country_code)), len(digits))
            agrees(digits[:place] + chance.choice("0123456789") + digits[place + 1 :])
            agrees(digits[: chance.randrange(5, len(digits))])


def test_numbers_of_no_country_are_the_worlds() -> None:
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        example = phonenumbers.example_number_for_non_geo_entity(code)
        assert example is not None
        digits = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[1:]
        assert agrees(digits) not in (None, "unknown")
        assert facts(digits).country == WORLD


@given(st.sampled_from(sorted(_CODES)), st.from_regex(r"[0-9]{4,12}", fullmatch=True))
def test_any_number_is_as_phonenumbers_says(code: str, national: str) -> None:
    agrees(code + national)


@pytest.mark.parametrize(
    ("digits", "country", "kind"),
    [
        ("447700900123", "GB", "unknown"),  # a number for films: possible, not valid
        ("447400123456", "GB", "mobile"),
        ("442079460000", "GB", "fixed"),
        ("447781123456", "GG", "mobile"),
        ("12015550123", "US", "fixed_or_mobile"),
        ("15062345678", "CA", "fixed_or_mobile"),
        ("18762101234", "JM", "mobile"),
        ("390669812345", "VA", "fixed"),
        ("77011234567", "KZ", "mobile"),
        ("80012345678", "001", "toll_free"),
        ("44", "GB", "unknown"),
        ("4", "", "unknown"),
        ("999123456789", "", "unknown"),
        ("0", "", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_country_and_kind(digits: str, country: str, kind: str) -> None:
    assert facts(digits) == (country, kind)
    assert kind in KINDS


def test_what_came_before_makes_no_difference() -> None:
    numbers = ["447400123456", "44740012345", "4474001234567", "447400123456"]
    assert [facts(one).kind for one in numbers] == ["mobile", "unknown", "unknown", "mobile"]
    assert facts("999" * 5) is NOTHING


def test_every_pattern_of_the_metadata_can_be_read() -> None:
    for code in sorted(_CODES):
        _Plan(code)
    with pytest.raises(ValueError, match="cannot read"):
        _Pattern("1+", _Plan("290"))
    with pytest.raises(ValueError, match="cannot read"):
        _Pattern("1)", _Plan("290"))


def test_knowledge_without_tables_knows_no_network() -> None:
    assert PLAIN.country("447400123456") == "GB"
    assert PLAIN.number_type("447400123456") == "mobile"
    assert PLAIN.mcc_mnc("447400123456") == ""
    assert not PLAIN.ported("447400123456")
