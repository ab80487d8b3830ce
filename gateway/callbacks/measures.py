"""What /metrics shows of the callbacks. Label values are closed sets: outcomes and healths.

Deliberately not here: the backlog (the store knows it), anything per endpoint or account.
"""

from __future__ import annotations

from gateway.callbacks.pump import CallbackPump
from gateway.metrics import SECONDS, Histogram, Metrics


def add_callback_measures(metrics: Metrics, pump: CallbackPump) -> None:
    """Register the pump's counters and take its durations. Once, before `run`."""
    durations = Histogram(SECONDS)
    pump.observe = durations.observe
    metrics.counter(
        "signalbox_callback_attempts",
        "Callback POSTs by outcome.",
        ("outcome",),
        lambda: (((outcome,), pump.attempts[outcome]) for outcome in pump.OUTCOMES),
    )
    metrics.counter(
        "signalbox_callback_events",
        "Events delivered, and events given up after their last attempt (kept, see callback_given_up).",
        ("fate",),
        lambda: ((("delivered",), pump.events_delivered), (("given_up",), pump.events_given_up)),
    )
    metrics.gauge(
        "signalbox_callback_endpoints",
        "Endpoints by health: good, failing, open (only probed), paused (Retry-After), disabled (410).",
        ("health",),
        lambda: (((health,), count) for health, count in pump.health().items()),
    )
    metrics.gauge(
        "signalbox_callback_connections", "Callback connections.", (), lambda: (((), pump.connections),)
    )
    metrics.histogram(
        "signalbox_callback_duration_seconds",
        "One callback POST, connecting included.",
        (),
        lambda: (((), durations),),
    )
