"""Submits of one call that are alike but for number and text: they become what each would become alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gateway.door import Accepted, Alike, Refusal, Request, Submission, one_by_one
from router.nouns import Encoding, Message
from tests.gateway.house import Running, carrier, running
from tests.trio_case import trio_test

GERMANY = """[[routes]]
name = "germany"
lane = ["north"]
match = { prefix = ["49"] }
max_queue_age_s = 60
"""
BRITAIN = """[[routes]]
name = "britain"
lane = ["south", "north"]
match = { prefix = ["44"] }
"""
TO_ALL = """[[routes]]
name = "all"
lane = ["north"]
"""
STICKY = """[[routes]]
name = "all"
lane = [{ carrier = "north", weight = 1 }, { carrier = "south", weight = 1 }]
sticky = "recipient"
"""
NORTH, SOUTH = carrier("north", 2790), carrier("south", 2791)
FIRSTS = [
    Submission(
        "+447700900001",
        "ACME",
        "Hello",
        source=("ACME", 5, 0),
        planned=(Encoding.GSM7, 1),
        wish=1,
        flag=2,
        via=1,
    ),
    Submission(
        "+33612345678",
        "ACME",
        "“dear” – friend" * 6,
        source=("ACME", 5, 0),
        planned=(Encoding.UCS2, 2),
        via=1,
    ),
    Submission("+447700900001", "", "Hello", source=("SHOP", 5, 0), planned=(Encoding.GSM7, 1), via=1),
]
NUMBERS = [
    "+447700900002", "+4915112345678", "00447700900003", "+44 7700 900004", "447700900005", "+441632960001",
    "+33612345678", "+4915112345679", "+99912345678", "+4477", "", "07700900006",
]  # fmt: skip
SOURCES = [("SHOP", 5, 0), ("4477", 3, 0), ("ACME", 5, 0)]
TEXTS = ["Hi", "Δ" * 80, "x" * 160, ""]


def requests() -> list[Request]:
    asked: list[Request] = [*FIRSTS]
    numbers = NUMBERS * 2
    count = len(FIRSTS) * (1 + len(numbers))
    for place, first in enumerate(FIRSTS):
        texts = TEXTS if first.planned == (Encoding.GSM7, 1) else ["привет" * 15, "“so” – it is" * 7]
        places = list(range((0, 1, 5)[place], count, len(FIRSTS)))[: len(numbers)]
        asked.append(
            Alike(
                first,
                places,
                numbers,
                [texts[n % len(texts)] for n in range(len(numbers))],
                [SOURCES[(n + place) % 3] for n in range(len(numbers))] if place else [],
                international=place == 2,
            )
        )
    return asked


async def results(house: Running, asked: list[Request]) -> list[Message | Refusal]:
    """What became of each, and, beside it, what it would have become alone."""
    door = house.gateway.door
    account = house.gateway.accounts.named("acme")
    told: list[list[Accepted | Refusal]] = []
    there = trio.Event()

    def done(answers: list[Accepted | Refusal]) -> None:
        told.append(answers)
        there.set()

    now_ms = house.world.wall_ms()
    alone = [door.would(account, one, now_ms) for one in one_by_one(asked)]
    door.submit(account, asked, done)
    await there.wait()
    for one, answer in zip(alone, told[0], strict=True):
        if isinstance(answer, Refusal):
            assert one == answer
            continue
        assert isinstance(one, Message)
        stored = house.gateway.store.find(account.id, answer.id)
        assert stored is not None
        assert msgspec.structs.replace(one, id=answer.id, alias=stored[0].alias) == stored[0]
    return alone


@pytest.mark.parametrize(
    ("toml", "account"),
    [
        (NORTH + SOUTH + GERMANY + BRITAIN, {}),
        (NORTH + SOUTH + GERMANY + BRITAIN + TO_ALL, {"default_region": "GB", "id_form": "short"}),
        (NORTH + SOUTH + GERMANY + BRITAIN, {"destinations": ("4477",)}),
        (NORTH + SOUTH + GERMANY + BRITAIN, {"senders": ("ACME",), "max_priority": 1}),
        (NORTH + SOUTH + GERMANY + BRITAIN, {"allowed_number_types": ("mobile",)}),
        (NORTH + SOUTH + GERMANY + BRITAIN + TO_ALL, {"smart_encoding": True}),
        (NORTH + SOUTH + GERMANY + BRITAIN, {"quota_per_day": 1000}),
        (carrier("north", 2790, max_parts=1, alphabet="latin1") + TO_ALL, {}),
        (carrier("north", 2790) + 'limits = [{ prefix = ["4477"], tps = 5 }]\n' + TO_ALL, {}),
        (NORTH + SOUTH + STICKY, {}),
        (NORTH + GERMANY.replace("prefix", "text").replace("49", "Hi") + TO_ALL, {}),
    ],
)
@trio_test(mock_clock=True)
async def test_each_is_planned_as_it_would_be_alone(
    tmp_path: Path, toml: str, account: dict[str, Any]
) -> None:
    async with running(tmp_path, toml, **account) as house:
        found = await results(house, requests())
        assert any(isinstance(one, Message) for one in found)
        assert any(isinstance(one, Refusal) for one in found)
