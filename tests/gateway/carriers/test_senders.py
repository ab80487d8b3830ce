"""What becomes of a sender, rule by rule, and on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.model import SenderRule
from gateway.carriers.senders import SenderRefused, Senders
from smpp.pdu import DeliverSm
from tests.gateway.house import Script, carrier, route, running_with, simulator
from tests.trio_case import trio_test

UK, US, CANADA, INDIA = "447700900123", "12125550123", "14165550123", "919876543210"


def senders(*rules: SenderRule, ton: int | None = None, npi: int | None = None) -> Senders:
    return Senders(rules, ton, npi)


NO_NAMES_IN_US = SenderRule(country=("US",), sender_type=("alphanumeric",), use="12025550100")


@pytest.mark.parametrize(
    ("source", "to", "sent"),
    [
        (("ACME", 5, 0), US, ("12025550100", 1, 1)),
        (("ACME", 5, 0), CANADA, ("ACME", 5, 0)),
        (("ACME", 5, 0), UK, ("ACME", 5, 0)),
        (("12025550111", 1, 1), US, ("12025550111", 1, 1)),
        (("Acme 24", 0, 0), US, ("12025550100", 1, 1)),
    ],
)
def test_a_name_that_a_country_forbids_is_replaced_there_and_nowhere_else(
    source: tuple[str, int, int], to: str, sent: tuple[str, int, int]
) -> None:
    assert senders(NO_NAMES_IN_US).of(*source, to) == sent


@pytest.mark.parametrize(
    ("rule", "source", "to", "sent"),
    [
        (SenderRule(ton=2, npi=8), ("12345", 3, 0), UK, ("12345", 2, 8)),
        (SenderRule(sender_type=("short_code",), ton=6), ("12345", 3, 0), UK, ("12345", 6, 0)),
        (SenderRule(sender_type=("long_code",), ton=6), ("12345", 3, 0), UK, ("12345", 3, 0)),
        (SenderRule(sender=("12345",), use="67890"), ("12345", 3, 0), UK, ("67890", 3, 0)),
        (SenderRule(sender=("12345",), use="67890", ton=0), ("12345", 3, 0), UK, ("67890", 0, 0)),
        (SenderRule(sender=("AC*",), use="ACME-UK"), ("ACDC", 5, 0), UK, ("ACME-UK", 5, 0)),
        (SenderRule(sender=("AC*",), use="ACME-UK"), ("BACH", 5, 0), UK, ("BACH", 5, 0)),
        (SenderRule(prefix=("+91", "44"), use="REG"), ("ACME", 5, 0), UK, ("REG", 5, 0)),
        (SenderRule(prefix=("+91",), use="REG"), ("ACME", 5, 0), INDIA, ("REG", 5, 0)),
        (SenderRule(prefix=("+91",), use="REG"), ("ACME", 5, 0), UK, ("ACME", 5, 0)),
        (SenderRule(country=("GB", "IN"), use="REG"), ("ACME", 5, 0), INDIA, ("REG", 5, 0)),
    ],
)
def test_a_rule_fits_when_all_that_it_names_does(
    rule: SenderRule, source: tuple[str, int, int], to: str, sent: tuple[str, int, int]
) -> None:
    assert senders(rule).of(*source, to) == sent


def test_the_first_rule_that_fits_decides() -> None:
    rules = senders(SenderRule(sender=("KEEP",), ton=5), NO_NAMES_IN_US, SenderRule(use="LAST"))
    assert rules.of("KEEP", 5, 0, US)[0] == "KEEP"
    assert rules.of("ACME", 5, 0, US)[0] == "12025550100"
    assert rules.of("ACME", 5, 0, UK)[0] == "LAST"


def test_the_carriers_own_ton_and_npi_hold_unless_a_rule_says_others() -> None:
    rules = senders(SenderRule(prefix=("1",), use="12025550100", ton=9), ton=7, npi=6)
    assert rules.of("ACME", 5, 0, UK) == ("ACME", 7, 6)
    assert rules.of("ACME", 5, 0, US) == ("12025550100", 9, 6)


def test_a_sender_that_the_carrier_must_not_have_is_refused_with_words() -> None:
    with pytest.raises(SenderRefused, match="'ACME' to IN"):
        senders(SenderRule(country=("IN",), refuse=True)).of("ACME", 5, 0, INDIA)


def test_what_stands_for_one_sender_alone_is_known_as_that_sender() -> None:
    rules = senders(
        SenderRule(sender=("12345",), use="67890", country=("GB",)),
        SenderRule(sender=("+447700900000",), use="67891"),
        SenderRule(sender=("ACME", "Acme"), use="67892"),
        SenderRule(sender=("AC*",), use="67893"),
        SenderRule(use="67894"),
        SenderRule(sender=("1",), use="67895"),
        SenderRule(sender=("2",), use="67895"),
    )
    assert rules.originals == {"67890": "12345", "67891": "447700900000"}
    assert rules.of("447700900000", 1, 1, UK)[0] == "67891"


@trio_test(mock_clock=True)
async def test_a_reply_to_a_mapped_short_code_answers_the_message_that_was_sent_from_it(
    tmp_path: Path,
) -> None:
    async with running_with(tmp_path, carrier("one", 2790) + RULES + route("one"), Script()) as (
        house,
        script,
    ):
        id = await house.submit(UK)
        await house.until(lambda: script.submits)
        assert script.submits[0].source_addr == b"67890"
        await script.send(
            DeliverSm(
                source_addr=UK.encode(), destination_addr=b"67890", short_message=b"Yes", sequence_number=1
            )
        )
        await house.until(lambda: house.customer.events)
        told = house.customer.events[0]["data"]
        assert (told["to"], told["text"], told["in_reply_to"]) == ("12345", "Yes", id)


RULES = """
[[carriers.senders]]
country = ["US"]
sender_type = ["alphanumeric"]
use = "12025550100"
[[carriers.senders]]
sender = ["12345"]
use = "67890"
ton = 6
[[carriers.senders]]
country = ["IN"]
refuse = true
"""


@trio_test(mock_clock=True)
async def test_senders_are_written_by_their_rules_and_what_is_refused_goes_to_the_next_carrier(
    tmp_path: Path,
) -> None:
    toml = carrier("one", 2790) + RULES + carrier("two", 2777) + route("one", "two") + simulator("two", 2777)
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        for to, sender in ((US, "ACME"), (UK, "ACME"), (UK, "12345")):
            await house.http("POST", "/v1/messages", {"to": to, "from": sender, "text": "Hello"})
        await house.until(lambda: len(script.submits) == 3)
        sent = {
            (pdu.source_addr, pdu.source_addr_ton, pdu.source_addr_npi, pdu.destination_addr)
            for pdu in script.submits
        }
        assert sent == {
            (b"12025550100", 1, 1, US.encode()),
            (b"ACME", 5, 0, UK.encode()),
            (b"67890", 6, 0, UK.encode()),
        }
        _, answer = await house.http("POST", "/v1/messages", {"to": INDIA, "from": "ACME", "text": "Hello"})
        message = await house.final(answer["id"])
        assert message["parts"][0]["carrier"] == "two"
        assert any("must not send as 'ACME' to IN" in step.get("detail", "") for step in message["timeline"])
        assert len(script.submits) == 3
