"""Counts in plain ints on the hot path; Prometheus families only when somebody scrapes.

Names follow prometheus.io (base units, `_total`, `_seconds`); label values come from the configuration and
from enums, account labels are capped. Deliberately not here: which gauges exist (gateway.measures).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from router.nouns import MessageState, ReceiptFate
from smpp.status import Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
MOST_ACCOUNTS = 500
_MOST_STATUSES = 64
_OTHER = "other"

Rows = Iterable[tuple[tuple[str, ...], float]]


class Histogram:
    """Fixed buckets, ints and one sum. `observe` costs a bisection."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int], total: float) -> Histogram:
        """What somebody else counted: one more count than bounds, not cumulative."""
        histogram = cls(bounds)
        histogram.counts = list(counts)
        histogram.total = total
        return histogram

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: list[float]) -> None:
        """`observe` for each of them, once for all; sorts them."""
        values.sort()
        counted = 0
        for at in range(bisect_left(self.bounds, values[0]), bisect_left(self.bounds, values[-1])):
            below = bisect_right(values, self.bounds[at])
            self.counts[at] += below - counted
            counted = below
        self.counts[bisect_left(self.bounds, values[-1])] += len(values) - counted
        self.total += sum(values)

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            found.append((bound, running))
        return found


HistogramRows = Iterable[tuple[tuple[str, ...], Histogram]]


class CarrierCounts:
    """What one carrier's traffic adds up to."""

    __slots__ = (
        "mo",
        "others",
        "receipts",
        "response_seconds",
        "segments",
        "slowdowns",
        "statuses",
        "throttle_wait_s",
        "throttled",
    )

    def __init__(self) -> None:
        self.segments = 0
        self.throttled = 0
        self.slowdowns: dict[str, int] = {}  # router.adaptive.Cause → how often the rate was lowered for it
        self.throttle_wait_s = 0.0
        self.mo = 0
        self.response_seconds = Histogram(SECONDS)
        self.statuses: dict[int, int] = {}  # of submit_sm
        self.others: dict[tuple[str, int], int] = {}  # of every other command
        self.receipts: dict[tuple[int, int], int] = {}  # (state, fate)

    def count_status(self, status: int, count: int = 1) -> None:
        """submit_sm_resps. A carrier that invents statuses gets a bounded number of them."""
        if status not in self.statuses and len(self.statuses) >= _MOST_STATUSES:
            status = -1
        self.statuses[status] = self.statuses.get(status, 0) + count

    def count_pdus(self, command: str, status: int, count: int = 1) -> None:
        """Answered requests other than submit_sm; a batch of them at once."""
        key = (command, status)
        if key not in self.others and len(self.others) >= _MOST_STATUSES:
            key = (command, -1)
        self.others[key] = self.others.get(key, 0) + count

    def count_receipts(self, state: int, fate: int, count: int = 1) -> None:
        key = (state, fate)
        self.receipts[key] = self.receipts.get(key, 0) + count


class Counts:
    """Everything that is counted as it happens."""

    def __init__(self) -> None:
        self.carriers: dict[str, CarrierCounts] = {}
        self.accepted_messages: dict[tuple[str, str], int] = {}  # (account, api)
        self.refusals: dict[tuple[str, str, str], int] = {}  # (account, api, code)
        self.repetitions: dict[tuple[str, str], int] = {}  # (account, api)
        self.commit_seconds = Histogram(SECONDS)
        self.commit_sizes = Histogram(SIZES)

    def carrier(self, name: str) -> CarrierCounts:
        counts = self.carriers.get(name)
        if counts is None:
            counts = self.carriers[name] = CarrierCounts()
        return counts

    def accepted(self, account: str, api: str, messages: int) -> None:
        """`api` and `code` are of closed sets; accounts are not, and capped."""
        _count(self.accepted_messages, account, api, messages)

    def repeated(self, account: str, api: str, messages: int) -> None:
        _count(self.repetitions, account, api, messages)

    def refused(self, account: str, api: str, code: str, messages: int) -> None:
        key = (account, api, code)
        if key not in self.refusals and len(self.refusals) >= MOST_ACCOUNTS:
            key = (_OTHER, api, code)
        self.refusals[key] = self.refusals.get(key, 0) + messages

    def observe_commit(self, duration_s: float, size: int) -> None:
        self.commit_seconds.observe(duration_s)
        self.commit_sizes.observe(size)


def _count(counts: dict[tuple[str, str], int], account: str, api: str, messages: int) -> None:
    key = (account, api)
    if key not in counts and len(counts) >= MOST_ACCOUNTS:
        key = (_OTHER, api)
    counts[key] = counts.get(key, 0) + messages


class Metrics(Collector):
    """One registry: the counts, and what others registered to be read at scrape time."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._read: list[tuple[type[Metric], str, str, tuple[str, ...], Callable[[], Rows]]] = []
        self._histograms: list[tuple[str, str, tuple[str, ...], Callable[[], HistogramRows]]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def gauge(self, name: str, help: str, labels: Sequence[str], read: Callable[[], Rows]) -> None:
        """`read` gives (label values, value) rows at each scrape."""
        self._read.append((GaugeMetricFamily, name, help, tuple(labels), read))

    def counter(self, name: str, help: str, labels: Sequence[str], read: Callable[[], Rows]) -> None:
        """As gauge, for what only grows; `name` without `_total`."""
        self._read.append((CounterMetricFamily, name, help, tuple(labels), read))

    def histogram(
        self, name: str, help: str, labels: Sequence[str], read: Callable[[], HistogramRows]
    ) -> None:
        """As gauge, with (label values, Histogram) rows."""
        self._histograms.append((name, help, tuple(labels), read))

    def describe(self) -> Iterable[Metric]:
        return ()

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Several may read into one family: carriers and customers both have sessions."""
        families: dict[str, Metric] = {}
        for metric in self._collect():
            known = families.setdefault(metric.name, metric)
            if known is not metric:
                known.samples.extend(metric.samples)
        yield from families.values()

    def _collect(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter(
            "signalbox_messages_accepted",
            "Messages accepted and fsynced.",
            ("account", "api"),
            counts.accepted_messages.items(),
        )
        yield _counter(
            "signalbox_messages_refused",
            "Messages refused at the door.",
            ("account", "api", "code"),
            counts.refusals.items(),
        )
        yield _counter(
            "signalbox_messages_repeated",
            "Submits answered with an earlier message's id, by an account's duplicate guard.",
            ("account", "api"),
            counts.repetitions.items(),
        )
        yield from self._carriers()
        yield _histogram(
            "signalbox_store_commit_duration_seconds", "One group commit.", (), [((), counts.commit_seconds)]
        )
        yield _histogram(
            "signalbox_store_commit_batch_size", "Verbs in one commit.", (), [((), counts.commit_sizes)]
        )
        for family, name, help, labels, read in self._read:
            metric = family(name, help, labels=labels)  # type: ignore[call-arg]
            for values, value in read():
                metric.add_metric(values, value)  # type: ignore[attr-defined]
            yield metric
        for name, help, labels, observed in self._histograms:
            yield _histogram(name, help, labels, observed())

    def _carriers(self) -> Iterator[Metric]:
        carriers = self._counts.carriers.items()
        one = ("carrier",)
        yield _counter(
            "signalbox_message_segments",
            "submit_sm sent.",
            one,
            (((n,), c.segments) for n, c in carriers),
        )
        yield _counter(
            "signalbox_carrier_throttled",
            "Answers ESME_RTHROTTLED (0x58) and ESME_RMSGQFUL (0x14).",
            one,
            (((n,), c.throttled) for n, c in carriers),
        )
        yield _counter(
            "signalbox_carrier_slowdowns",
            "How often the rate was lowered because of what the carrier answered, by cause.",
            ("carrier", "cause"),
            (((n, cause), count) for n, c in carriers for cause, count in c.slowdowns.items()),
        )
        yield _counter(
            "signalbox_throttle_wait_seconds",
            "Time in which leased segments waited for nothing but the TPS limit.",
            one,
            (((n,), c.throttle_wait_s) for n, c in carriers),
        )
        yield _counter("signalbox_mo", "Inbound messages.", one, (((n,), c.mo) for n, c in carriers))
        yield _counter(
            "signalbox_smpp_pdus",
            "Answered requests, by the status of the answer.",
            ("side", "peer", "command", "status"),
            (
                (("carrier", name, command, _OTHER if status < 0 else Status.name_of(status)), count)
                for name, c in carriers
                for (command, status), count in (
                    *((("submit_sm", status), count) for status, count in c.statuses.items()),
                    *c.others.items(),
                )
            ),
        )
        yield _counter(
            "signalbox_receipts",
            "Receipts by the state they report.",
            ("carrier", "state"),
            _summed(
                ((name, state_name(state)), count)
                for name, c in carriers
                for (state, _), count in c.receipts.items()
            ),
        )
        yield _counter(
            "signalbox_receipt_fates",
            "Receipts by what became of them when they came.",
            ("carrier", "fate"),
            _summed(
                ((name, ReceiptFate(fate).name.lower()), count)
                for name, c in carriers
                for (_, fate), count in c.receipts.items()
            ),
        )
        yield _histogram(
            "signalbox_smpp_response_duration_seconds",
            "From submit_sm to its response.",
            one,
            [((name,), c.response_seconds) for name, c in carriers],
        )


def state_name(state: int) -> str:
    return MessageState(state).name if state in MessageState._value2member_map_ else _OTHER


def _summed(rows: Rows) -> Rows:
    """One row for each set of labels."""
    sums: dict[tuple[str, ...], float] = {}
    for labels, value in rows:
        sums[labels] = sums.get(labels, 0) + value
    return sums.items()


def _counter(name: str, help: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(name, help, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _histogram(name: str, help: str, labels: Sequence[str], rows: HistogramRows) -> Metric:
    family = HistogramMetricFamily(name, help, labels=labels)
    for values, histogram in rows:
        family.add_metric(values, histogram.buckets(), histogram.total)
    return family
