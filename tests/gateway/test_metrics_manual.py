"""docs/metrics.md and a scrape say the same: names, types and labels, in both directions.

The gateway under test has everything switched on that adds metrics.

Nor do series grow with accounts, statuses or paths that others make up.

Deliberately not here: values (test_measures.py), alert rules (tests/ops).
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.log_sink import add_log_measures, log_sink
from gateway.metrics import MOST_ACCOUNTS
from gateway.smpp_server.deliveries import Port
from gateway.smpp_server.server import Tenant
from router.nouns import Account
from tests.gateway.house import carrier, route, running, simulator
from tests.trio_case import trio_test

MANUAL = Path(__file__).parents[2] / "docs" / "metrics.md"
EVERYTHING = (
    carrier("sim", 2776)
    + route("sim")
    + simulator("sim", 2776)
    + '[cdrs]\nenabled = true\n[numbers.lookup]\nurl = "http://127.0.0.1:9/{number}"\n'
)

OPTIONAL = {"telemetry_messages_total"}  # needs optional packages: test_telemetry.py


class Row(NamedTuple):
    type: str
    labels: frozenset[str]


def documented() -> dict[str, Row]:
    """Name → its row; `_total` as part of the name, as in a scrape."""
    rows: dict[str, Row] = {}
    for line in MANUAL.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([a-z0-9_]+)`", cells[0])
        if line.startswith("| `") and len(cells) == 4 and cells[1] in ("counter", "gauge", "histogram"):
            labels = frozenset(re.sub(r"\(.*?\)", "", cells[2]).replace(" ", "").split(",")) - {""}
            for name in names:
                assert name not in rows, f"{name} twice"
                rows[name] = Row(cells[1], labels)
    return rows


def name_of(family: Metric) -> str:
    return family.name.removeprefix("signalbox_") + ("_total" if family.type == "counter" else "")


@trio_test(mock_clock=True)
async def test_the_manual_and_a_scrape_have_the_same_names_types_and_labels(tmp_path: Path) -> None:
    async with running(tmp_path, EVERYTHING) as house:
        with contextlib.closing(log_sink(str(tmp_path / "log"), 1, 1, 100)) as sink:
            add_log_measures(house.gateway.metrics, sink)  # what `signalbox run` adds itself
        await house.final(await house.submit("447700900123"))
        await house.until(lambda: house.customer.events)
        _, text = await house.http("GET", "/metrics")
    found = {name_of(family): family for family in text_string_to_metric_families(text)}
    rows = documented()
    assert set(found) - set(rows) == set(), "not in the manual"
    assert set(rows) - set(found) - OPTIONAL == set(), "in the manual alone"
    for name, family in found.items():
        assert family.type == rows[name].type, name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if labels:
            assert labels == rows[name].labels, name


@trio_test(mock_clock=True)
async def test_ten_thousand_accounts_invented_statuses_and_paths_make_a_bounded_number_of_series(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, carrier("sim", 2799) + route("sim")) as house:
        gateway = house.gateway
        for number in range(10_000):
            name = f"account{number}"
            account = Account(number + 10, name)
            gateway.accounts.by_id[account.id] = account
            gateway.smpp.tenants[account.id] = tenant = Tenant(account, gateway.door.rates)
            gateway.smpp.deliveries.ports[account.id] = port = Port(account)
            tenant.answers[0] = 1
            port.delivered = 1
            port.busy.add(number)
            gateway.counts.accepted(name, "http", 1)
            gateway.counts.accepted(name, "smpp", 1)
            gateway.counts.refused(name, "http", "no-route", 1)
            gateway.counts.repeated(name, "http", 1)
            one = gateway.counts.carrier("sim")
            one.count_status(0x400 + number)
            one.count_pdus("deliver_sm", 0x400 + number)
        for number in range(200):
            await house.http("GET", f"/made/up/{number}")
        _, text = await house.http("GET", "/metrics")
        counts = gateway.counts
    series = Counter(line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[:1] != "#")
    peers = 501
    assert series["signalbox_messages_accepted_total"] <= MOST_ACCOUNTS + 2
    assert series["signalbox_messages_refused_total"] <= MOST_ACCOUNTS + 1
    assert series["signalbox_account_queued_messages"] <= MOST_ACCOUNTS + 1
    assert series["signalbox_smpp_sessions"] <= peers * 3 + 2
    assert series["signalbox_smpp_deliveries_total"] <= peers * 4
    assert series["signalbox_smpp_deliveries_unanswered"] <= peers
    assert series["signalbox_smpp_pdus_total"] <= peers * 2 + 65 + 65
    assert series["signalbox_http_requests_total"] < 10
    assert series["signalbox_problem_since_timestamp_seconds"] <= 200
    assert sum(series.values()) < 10_000
    assert sum(counts.accepted_messages.values()) == 20_000, "none is lost"
