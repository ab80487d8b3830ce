"""What /metrics says of people who sign in.

Deliberately not here: signing in (gateway.sign_in), what any metric means for whom (docs/metrics.md).
"""

from __future__ import annotations

from gateway.metrics import Metrics
from gateway.sign_in import SignIns


def add_sign_in_measures(metrics: Metrics, sign_ins: SignIns) -> None:
    """Register them once."""
    metrics.counter(
        "signalbox_sign_ins",
        "Sign-ins of people, to the console.",
        ("outcome",),
        lambda: ((("started",), sign_ins.started), (("refused",), sign_ins.refusals.count)),
    )
    metrics.gauge(
        "signalbox_console_sessions",
        "Sessions of people that go on.",
        (),
        lambda: (((), len(sign_ins.sessions)),),
    )
    metrics.gauge(
        "signalbox_sign_in_locks",
        "Names, networks and codes that are locked now after wrong passwords.",
        (),
        lambda: (((), sign_ins.locks),),
    )
