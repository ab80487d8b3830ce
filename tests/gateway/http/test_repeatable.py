"""POSTs over admin verbs that are sent again with their Idempotency-Key: done once, answered alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from store.interface import StoreFull
from tests.gateway import house
from tests.gateway.http.test_accounts import Answer, Operator, operator, operator_again
from tests.trio_case import trio_test

SUSPEND = "/v1/accounts/shop/suspend"


async def post(ann: Operator, path: str, key: str, body: object = None, **headers: str) -> Answer:
    return await ann.ask("POST", path, body, idempotency_key=key, **headers)


async def acts(ann: Operator) -> list[str]:
    return [entry["act"] for entry in await ann.told()]


@trio_test(mock_clock=True)
async def test_the_same_request_is_done_once_and_answered_alike_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        first = await post(ann, SUSPEND, "k")
        await ann.ask("POST", "/v1/accounts/shop/resume")
        again = await post(ann, SUSPEND, "k")
        assert (first.status, again.raw) == (200, first.raw)
        assert not ann.kept().suspended, "it was not suspended a second time"
        assert (await acts(ann)).count("account.suspended") == 1
        other = await post(ann, "/v1/accounts/shop/resume", "k")
        assert (other.status, other.code) == (422, "idempotency-key-reused")
        monkeypatch.setattr(house, "START_MS", house.START_MS + 86_500_000)  # the wall clock alone
        await post(ann, SUSPEND, "k")
        assert ann.kept().suspended


@trio_test(mock_clock=True)
async def test_each_operator_has_keys_of_his_own_and_accounts_theirs(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made()
        _, bobs = await ann.house.gateway.operators.create("bob")
        assert (await post(ann, SUSPEND, "k")).status == 200
        resumed = await post(ann, "/v1/accounts/shop/resume", "k", authorization=f"Bearer {bobs}")
        assert resumed.status == 200
        mine = f"Bearer {made['api_key']}"
        tested = await post(ann, "/v1/callbacks/enable", "k", {}, authorization=mine)
        assert tested.status == 200, tested.raw


@trio_test(mock_clock=True)
async def test_after_a_restart_it_is_still_known(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        first = await post(ann, SUSPEND, "k")
        key = ann.key
    async with operator_again(tmp_path) as ann:
        ann.key = key
        assert (await post(ann, SUSPEND, "k")).raw == first.raw


@trio_test(mock_clock=True)
async def test_what_was_refused_may_be_tried_again(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        assert (await post(ann, SUSPEND, "k")).status == 404
        await ann.made()
        assert (await post(ann, SUSPEND, "k")).status == 200


@trio_test(mock_clock=True)
async def test_a_crash_between_the_act_and_its_answer_does_it_not_again(tmp_path: Path) -> None:
    """The second commit, of the answer alone, does not come about."""
    async with operator(tmp_path) as ann:
        await ann.made()
        store, commit = ann.house.gateway.store, ann.house.gateway.store.commit

        def failing(txn: object) -> None:
            if ann.kept().suspended:
                raise StoreFull("the disk is full", "")
            commit(txn)  # type: ignore[arg-type]

        store.commit = failing  # type: ignore[method-assign]
        assert (await post(ann, SUSPEND, "k")).status == 200
        store.commit = commit  # type: ignore[method-assign]
        await ann.ask("POST", "/v1/accounts/shop/resume")
        again = await post(ann, SUSPEND, "k")
        assert (again.status, again.code) == (409, "already-done")
        assert not ann.kept().suspended


@trio_test(mock_clock=True)
async def test_an_answer_with_a_secret_is_kept_in_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(tmp_path) as ann:
        made = await ann.made(callback_url="https://shop.example/sms")
        mine = f"Bearer {made['api_key']}"
        rotate = "/v1/callbacks/rotate-secret"
        first = await post(ann, rotate, "k", {}, authorization=mine)
        again = await post(ann, rotate, "k", {}, authorization=mine)
        assert (first.status, again.raw) == (200, first.raw), first.raw
        with ann.house.gateway.store.reading() as tx:
            assert tx.stat(ann.house.gateway.store.tables.once.handle)["entries"] == 0
        monkeypatch.setattr(house, "START_MS", house.START_MS + 20 * 60_000)
        later = await post(ann, rotate, "k", {}, authorization=mine)
        assert (later.status, later.code) == (409, "already-done")


@trio_test(mock_clock=True)
async def test_tasks_that_an_act_starts_do_not_write_its_key_for_ever(tmp_path: Path) -> None:
    async with operator(tmp_path) as ann:
        await ann.made()
        first = await post(ann, "/v1/config/reload", "k", {"dry_run": True})
        assert first.status == 200
        await trio.sleep(20)
        await ann.ask("POST", SUSPEND)
        assert (await post(ann, "/v1/config/reload", "k", {"dry_run": True})).raw == first.raw
