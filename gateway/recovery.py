"""Start-up: what was leased when the process died has an unknown outcome; say so and decide.

The policy is the carrier's (`resend` or `hold`, by message class). How many duplicates that can cause was
announced before; how many messages it concerns is told here.

Deliberately not here: finding the leases (the store's `recover`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from router.judge import Happening, Judging, judge
from router.nouns import Message, MessageClass, Outcome, Progress, Settle


def decider(
    judgings: Mapping[int, Judging], groups: Mapping[int, int], rng: random.Random, now_ms: int
) -> Callable[[Message, Progress | None, int], Outcome]:
    """The `decide` of LmdbStore.recover: judge every orphan as a lost link.

    `judgings` and `groups` by carrier id; a carrier no longer configured is judged by the defaults.
    """

    def decide(message: Message, progress: Progress | None, carrier: int) -> Outcome:
        attempts = progress.attempts if progress is not None else 0
        verdict = judge(
            Happening.LINK_LOST,
            0,
            MessageClass(message.message_class),
            attempts,
            rng.random(),
            judgings.get(carrier, Judging()),
        )
        return Outcome(
            account=message.account,
            id=message.id,
            lease=0,
            carrier=carrier,
            group=groups.get(carrier, 0),
            part=0,
            total=message.segments,
            settle=Settle(verdict.settle),
            state=verdict.state,
            reason=verdict.reason,
            detail="the gateway stopped before the answer",
            until_ms=now_ms + int(verdict.delay_s * 1000),
            count_attempt=verdict.count_attempt,
            mark_tried=verdict.mark_tried,
        )

    return decide
