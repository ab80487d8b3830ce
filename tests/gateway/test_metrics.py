"""The counters, the text format of /metrics, and the caps on label values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.callbacks.measures import add_callback_measures
from gateway.callbacks.pump import CallbackPump
from gateway.callbacks.settings import CallbackSettings
from gateway.metrics import Counts, Histogram, Metrics
from router.nouns import MessageState, ReceiptFate
from tests.gateway.callbacks.outside import FakeOutbox, FakeWorld, running
from tests.trio_case import trio_test

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples["signalbox_" + name, tuple(sorted(labels.items()))]


def test_counts_of_the_hot_path_appear_under_their_names() -> None:
    counts = Counts()
    counts.accepted("acme", "http", 3)
    counts.accepted("acme", "http", 1)
    counts.accepted("acme", "smpp", 1)
    counts.refused("acme", "http", "no-route", 2)
    north = counts.carrier("north")
    north.segments += 7
    north.count_status(0)
    north.count_status(0x58)
    north.count_receipts(MessageState.DELIVERED, ReceiptFate.MATCHED)
    north.count_receipts(MessageState.DELIVERED, ReceiptFate.PARKED)
    samples = scrape(Metrics(counts))
    assert value(samples, "messages_accepted_total", account="acme", api="http") == 4
    assert value(samples, "messages_accepted_total", account="acme", api="smpp") == 1
    assert value(samples, "messages_refused_total", account="acme", api="http", code="no-route") == 2
    assert value(samples, "message_segments_total", carrier="north") == 7
    pdu = {"side": "carrier", "peer": "north", "command": "submit_sm"}
    assert value(samples, "smpp_pdus_total", **pdu, status="ESME_RTHROTTLED") == 1
    assert value(samples, "receipts_total", carrier="north", state="DELIVERED") == 2
    assert value(samples, "receipt_fates_total", carrier="north", fate="matched") == 1
    assert value(samples, "receipt_fates_total", carrier="north", fate="parked") == 1


def test_more_accounts_than_the_cap_are_counted_as_other() -> None:
    counts = Counts()
    for n in range(2000):
        counts.accepted(f"account{n}", "http", 1)
        counts.refused(f"account{n}", "http", "no-route", 1)
    samples = scrape(Metrics(counts))
    accepted = [at for (name, _), at in samples.items() if name == "signalbox_messages_accepted_total"]
    assert len(accepted) == 501
    assert sum(accepted) == 2000
    assert value(samples, "messages_accepted_total", account="other", api="http") == 1500
    assert value(samples, "messages_refused_total", account="other", api="http", code="no-route") == 1500


def test_a_carrier_that_invents_statuses_gets_a_bounded_number_of_series() -> None:
    counts = Counts()
    for status in range(0x400, 0x800):
        counts.carrier("north").count_status(status)
    pdus = {key: at for key, at in scrape(Metrics(counts)).items() if key[0] == "signalbox_smpp_pdus_total"}
    assert len(pdus) == 65
    assert sum(pdus.values()) == 0x400


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive() -> None:
    histogram = Histogram((1.0, 2.0))
    for observed in (0.5, 1.0, 1.5, 2.5):
        histogram.observe(observed)
    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.total == 5.5


@given(st.lists(st.one_of(st.floats(0, 4), st.sampled_from([1.0, 2.0])), min_size=1))
def test_many_values_at_once_are_counted_as_each_of_them(values: list[float]) -> None:
    one_by_one, at_once = Histogram((1.0, 2.0, 3.0)), Histogram((1.0, 2.0, 3.0))
    for value in values:
        one_by_one.observe(value)
    at_once.observe_all([*values])
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


def test_registered_gauges_and_histograms_are_read_at_each_scrape() -> None:
    metrics = Metrics(Counts())
    level = [1.0]
    histogram = Histogram((1.0,))
    metrics.gauge("signalbox_level", "A level.", ("side",), lambda: ((("left",), level[0]),))
    metrics.histogram("signalbox_span_seconds", "A span.", (), lambda: (((), histogram),))
    assert value(scrape(metrics), "level", side="left") == 1
    level[0] = 2.0
    histogram.observe(0.5)
    samples = scrape(metrics)
    assert value(samples, "level", side="left") == 2
    assert value(samples, "span_seconds_count") == 1


@trio_test
async def test_the_pump_shows_every_outcome_and_health_from_the_start() -> None:
    async with running() as (outbox, world, _):
        assert isinstance(outbox, FakeOutbox)
        assert isinstance(world, FakeWorld)
        pump = CallbackPump(outbox, world, CallbackSettings())
        metrics = Metrics(Counts())
        add_callback_measures(metrics, pump)
        pump.attempts["delivered"] += 2
        assert pump.observe is not None
        pump.observe(0.02)
        samples = scrape(metrics)
    for outcome in CallbackPump.OUTCOMES:
        expected = 2 if outcome == "delivered" else 0
        assert value(samples, "callback_attempts_total", outcome=outcome) == expected
    assert value(samples, "callback_endpoints", health="disabled") == 0
    assert value(samples, "callback_duration_seconds_count") == 1
    assert value(samples, "callback_events_total", fate="given_up") == 0


@trio_test
async def test_the_manual_names_what_is_counted() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    async with running() as (outbox, world, _):
        metrics = Metrics(Counts())
        add_callback_measures(metrics, CallbackPump(outbox, world, CallbackSettings()))
        families = list(text_string_to_metric_families(metrics.render().decode()))
    assert len(families) > 12
    for family in families:
        name = family.name.removeprefix("signalbox_") + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in manual, name
