"""What a message's customer was told: looked for in bounded time, however much waits, for however many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway import told
from router.nouns import Phase
from store import undelivered
from store.interface import Endpoint
from store.undelivered import Page


def test_an_account_with_many_endpoints_and_much_waiting_costs_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []

    def page(store: object, endpoint: int, state: str, after: bytes, limit: int) -> Page:
        looked.append(limit)
        return Page([], b"more")

    monkeypatch.setattr(undelivered, "page", page)
    every = {id: Endpoint(id, 1, f"https://{id}.example.net") for id in range(1, 101)}
    gateway: Any = SimpleNamespace(
        store=SimpleNamespace(outbox_endpoints=lambda: every), pump=SimpleNamespace(endpoints=lambda: [])
    )
    message: Any = SimpleNamespace(account=1, id=7)
    assert not told.told(gateway, message).complete
    assert sum(looked) <= 6_000


def test_what_could_not_be_looked_at_whole_says_what_is_known_of_its_own_receipt() -> None:
    cut_off = told.Told([], [], False, {})
    final: Any = SimpleNamespace(phase=Phase.FINAL)
    waits: Any = SimpleNamespace(phase=Phase.READY)
    assert "its own receipt was not among" in cut_off.in_words(final)
    assert "it has no final receipt yet" in cut_off.in_words(waits)
