"""/metrics of a whole gateway: it can be parsed, its names keep to the rules, its counters move with traffic.

The naming rules are those of `promtool check metrics` (prometheus.io/docs/practices/naming).

Deliberately not here: the counters by themselves (test_metrics.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import trio
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli import VERSION
from smpp.pdu import DeliverSm, Pdu
from tests.gateway.house import NUMBER, Running, Script, carrier, route, running, running_with, simulator
from tests.trio_case import trio_test

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

ONE = carrier("sim", 2776) + route("sim") + simulator("sim", 2776)
LIMITED = '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["one", "two"]\ntps = 50\n'
WEIGHTED = (
    '[[routes]]\nname = "de"\nmatch = { prefix = ["49"] }\n'
    'lane = [{ carrier = "one", weight = 70 }, { carrier = "two", weight = 30 }]\n'
)
NOT_BASE_UNITS = re.compile(
    r"_(milli|micro|nano)?(seconds_(milli|micro)|milliseconds|microseconds|nanoseconds|minutes|hours|days|"
    r"kilobytes|megabytes|gigabytes|bits|percent)(_|$)"
)
ABBREVIATED = re.compile(r"_(s|ms|us|ns|sec|b|kb|mb|gb|m|h|d)(_total)?$")
TYPES = ("counter", "gauge", "histogram", "summary")


async def families(house: Running) -> list[Metric]:
    status, text = await house.http("GET", "/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text))


async def scrape(house: Running) -> Samples:
    samples: Samples = {}
    for family in await families(house):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples["signalbox_" + name, frozenset(labels.items())]


def faults_of(family: Metric) -> list[str]:
    """What promtool would say about one family."""
    name, words = family.name, family.name.split("_")
    faults = [
        fault
        for fault, is_so in (
            ("no help", not family.documentation),
            ("not ours", not name.startswith("signalbox_")),
            ("not snake case", re.fullmatch(r"[a-z][a-z0-9_]*", name) is None),
            ("not in base units", NOT_BASE_UNITS.search(name) is not None),
            ("an abbreviated unit", ABBREVIATED.search(name) is not None),
            ("its type in its name", any(kind in words for kind in TYPES)),
            ("_total on what is no counter", family.type != "counter" and name.endswith("_total")),
            ("reserved ending", name.endswith(("_count", "_sum", "_bucket", "_created"))),
            ("no type", family.type == "unknown"),
        )
        if is_so
    ]
    if family.type == "counter":
        faults += [f"{one.name} lacks _total" for one in family.samples if not one.name.endswith("_total")]
    return [f"{name}: {fault}" for fault in faults]


@trio_test(mock_clock=True)
async def test_every_name_keeps_to_the_rules_and_is_in_the_manual(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    async with running(tmp_path, ONE) as house:
        await house.final(await house.submit("447700900123"))
        found = await families(house)
    assert len(found) > 35
    assert [fault for family in found for fault in faults_of(family)] == []
    for family in found:
        name = family.name.removeprefix("signalbox_") + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in manual, name


@trio_test(mock_clock=True)
async def test_counters_move_with_a_message_from_end_to_end(tmp_path: Path) -> None:
    async with running(tmp_path, ONE) as house:
        await house.final(await house.submit("447700900123"))
        status, _ = await house.http("POST", "/v1/messages", {"to": "12", "from": NUMBER, "text": "Hello"})
        assert status == 422
        await house.until(lambda: house.customer.events)
        after = await scrape(house)
    assert value(after, "http_requests_total", endpoint="/v1/messages", code="202") == 1
    assert value(after, "http_requests_total", endpoint="/v1/messages", code="422") == 1
    assert value(after, "http_request_duration_seconds_count", endpoint="/v1/messages") == 2
    assert value(after, "messages_accepted_total", account="acme", api="http") == 1
    refused = {"account": "acme", "api": "http", "code": "impossible-length"}
    assert value(after, "messages_refused_total", **refused) == 1
    assert value(after, "message_segments_total", carrier="sim") == 1
    ours = {"side": "carrier", "peer": "sim", "status": "ESME_ROK"}
    for command in ("bind_transceiver", "submit_sm", "deliver_sm"):
        assert value(after, "smpp_pdus_total", command=command, **ours) == 1
    assert value(after, "smpp_response_duration_seconds_count", carrier="sim") == 1
    assert value(after, "receipts_total", carrier="sim", state="DELIVERED") == 1
    assert value(after, "receipt_fates_total", carrier="sim", fate="matched") == 1
    assert value(after, "callback_attempts_total", outcome="delivered") == 1
    assert value(after, "messages_finished_total", carrier="sim", state="DELIVERED") == 1
    assert value(after, "message_delivery_duration_seconds_count", carrier="sim") == 1
    assert 0.1 <= value(after, "message_delivery_duration_seconds_sum", carrier="sim") < 1
    assert value(after, "receipts_unmatched_total", carrier="sim", reason="unknown_id") == 0
    assert value(after, "messages_by_state", state="final") == 1
    assert value(after, "build_info", version=VERSION) == 1
    loaded_s = value(after, "config_last_reload_success_timestamp_seconds")
    assert 0 <= house.world.wall_ms() / 1000 - loaded_s < 3600


@trio_test(mock_clock=True)
async def test_what_the_whole_house_refuses_is_counted_for_each_message(tmp_path: Path) -> None:
    async with running(tmp_path, ONE, suspended=True) as house:
        batch = [{"to": "447700900123", "from": NUMBER, "text": "Hello"}] * 3
        assert (await house.http("POST", "/v1/messages/batch", batch))[0] == 403
        samples = await scrape(house)
    refused = {"account": "acme", "api": "http", "code": "account-suspended"}
    assert value(samples, "messages_refused_total", **refused) == 3


@trio_test(mock_clock=True)
async def test_lanes_of_the_same_carriers_have_names_of_their_own(tmp_path: Path) -> None:
    toml = carrier("one", 2798) + carrier("two", 2799) + LIMITED + WEIGHTED + route("one", "two")
    async with running(tmp_path, toml) as house:
        for number in ("447700900123", "4915112345678", "33612345678"):
            await house.submit(number)
        samples = await scrape(house)
    age = "signalbox_queue_oldest_message_age_seconds"
    lanes = {dict(labels)["lane"] for name, labels in samples if name == age}
    assert lanes == {"uk/one>two", "one:70+two:30", "one>two"}
    for lane in lanes:
        assert value(samples, "queue_messages", lane=lane, state="ready") == 1
        assert value(samples, "queue_messages", lane=lane, state="leased") == 0


@trio_test(mock_clock=True)
async def test_limits_and_windows_are_those_of_all_submitting_binds(tmp_path: Path) -> None:
    pair = {"bind": "transmitter+receiver", "sessions": 2, "window": 5, "tps": 30}
    toml = carrier("one", 2799, throttle_scope="bind", **pair) + carrier("two", 2798, **pair) + LIMITED
    async with running(tmp_path, toml + route("one", "two")) as house:
        samples = await scrape(house)
    assert value(samples, "carrier_tps_limit", carrier="one") == 60
    assert value(samples, "carrier_tps_limit", carrier="two") == 30
    assert value(samples, "route_tps_limit", route="uk") == 50
    assert value(samples, "route_tps_limit", route="all") == 0
    assert value(samples, "smpp_window_size", carrier="one") == 10
    session = {"side": "carrier", "peer": "one", "mode": "transmitter", "state": "down"}
    assert value(samples, "smpp_sessions", **session) == 2


@trio_test(mock_clock=True)
async def test_time_at_the_tps_limit_is_counted_and_time_at_a_full_window_is_not(tmp_path: Path) -> None:
    toml = carrier("slow", 2776, tps=1) + carrier("full", 2777, window=1)
    toml += '[[routes]]\nname = "uk"\nmatch = { prefix = ["44"] }\nlane = ["slow"]\n' + route("full")
    toml += simulator("slow", 2776) + simulator("full", 2777, response_delay_s=[1, 1])
    async with running(tmp_path, toml) as house:
        ids = [
            await house.submit(f"{prefix}{number:02}")
            for prefix in ("4477009001", "49151123456")
            for number in range(10)
        ]
        for one in ids:
            await house.final(one)
        samples = await scrape(house)
    assert 7 <= value(samples, "throttle_wait_seconds_total", carrier="slow") <= 10
    assert value(samples, "throttle_wait_seconds_total", carrier="full") == 0


@trio_test(mock_clock=True)
async def test_a_receipt_that_matches_nothing_is_counted_once_it_is_given_up(tmp_path: Path) -> None:
    toml = carrier("odd", 2790) + route("odd") + "[receipts]\npark_s = 60\n"
    async with running_with(tmp_path, toml, Script()) as (house, script):
        await house.bound()
        text = (
            b"id:nobodys sub:001 dlvrd:001 submit date:2611210000 done date:2611210000 stat:DELIVRD err:000"
        )
        await script.send(
            DeliverSm(
                source_addr=b"447700900123",
                destination_addr=b"12345",
                esm_class=4,
                short_message=text,
                sequence_number=1,
            )
        )
        unmatched = {"carrier": "odd", "reason": "unknown_id"}
        await house.until(lambda: script.pdus[-1].command == "deliver_sm_resp")
        assert value(await scrape(house), "receipts_unmatched_total", **unmatched) == 0
        await trio.sleep(70)
        samples = await scrape(house)
    assert value(samples, "receipts_unmatched_total", **unmatched) == 1
    assert value(samples, "receipt_fates_total", carrier="odd", fate="parked") == 1


@trio_test(mock_clock=True)
async def test_a_message_that_ends_without_a_carrier_has_none_in_its_label(tmp_path: Path) -> None:
    async with running(tmp_path, carrier("late", 2799) + route("late")) as house:
        await house.final(await house.submit("447700900123", validity_s=60))
        samples = await scrape(house)
    assert value(samples, "messages_finished_total", carrier="", state="EXPIRED") == 1


@trio_test(mock_clock=True)
async def test_an_outcome_nobody_knows_is_counted_and_shown_while_it_is_held(tmp_path: Path) -> None:
    def mute(script: Script, pdu: Pdu) -> list[Pdu | bytes]:
        return [b""] if pdu.command == "submit_sm" else []

    hold = {"transactional": "hold"}
    toml = carrier("mute", 2790, response_timeout_s=5, unknown=hold) + route("mute")
    async with running_with(tmp_path, toml, Script(mute)) as (house, _):
        message_id = await house.submit("447700900123", validity_s=60)
        await house.when(message_id, "unknown")
        samples = await scrape(house)
        assert value(samples, "outcomes_unknown_total", carrier="mute") == 1
        assert value(samples, "outcome_unknown", carrier="mute") == 1
        await house.final(message_id)
        samples = await scrape(house)
        assert value(samples, "outcomes_unknown_total", carrier="mute") == 1
        assert value(samples, "outcome_unknown", carrier="mute") == 0
        assert value(samples, "messages_finished_total", carrier="mute", state="UNKNOWN") == 1
