"""What a store keeps for ever, over crashes and restores: names, ids, accounts, leases, backups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.nouns import LaneSpec, MessageState, Phase, Reason, Settle, Step
from store.interface import StoreBusy, StoreError
from tests.store.conformance.engines import Engine
from tests.store.conformance.subject import Subject


def test_names_keep_their_numbers(subject: Subject) -> None:
    store = subject.store
    carriers = {name: store.carrier_id(name) for name in ("a", "b", "c")}
    specs = [LaneSpec((1, 2), (3, 1)), LaneSpec((2, 1), (3, 1)), LaneSpec((1,))]
    lanes = [store.lane_id(spec) for spec in specs]
    group = store.group_id("together")
    subject.do(lambda txn: txn.put_meta("any", b""))
    subject.reopen()
    store = subject.store
    assert store.carriers() == carriers
    assert {name: store.carrier_id(name) for name in carriers} == carriers
    assert store.carrier_name(carriers["b"]) == "b"
    assert [store.lane(id) for id in lanes] == specs
    assert store.lanes() == dict(zip(lanes, specs, strict=True))
    assert [store.lane_id(spec) for spec in specs] == lanes
    assert (store.group_id("together"), store.group_id("alone")) == (group, group + 1)


def test_a_name_of_an_aborted_transaction_goes_with_the_next(steady: Subject) -> None:
    txn = steady.store.begin()
    number = steady.store.carrier_id("new")
    steady.store.abort(txn)
    steady.do(lambda txn: txn.put_meta("any", b""))
    steady.reopen()
    assert steady.store.carriers()["new"] == number


def test_a_name_nobody_knows_is_answered_in_words(subject: Subject) -> None:
    assert "999" in subject.store.carrier_name(999)
    assert subject.store.lane(999).carriers == ()
    with pytest.raises(StoreError, match="17 carriers"):
        subject.store.lane_id(LaneSpec(tuple(range(1, 18))))


def test_ids_grow_whatever_the_clock_does(subject: Subject) -> None:
    lane = subject.lane("a")
    seen = [message.id for message in subject.accept(lane, 3)]
    subject.wait(-3_600_000)
    seen += [message.id for message in subject.accept(lane, 3)]
    subject.reopen()
    first = subject.store.next_ids(10)
    seen += [first, subject.store.next_ids(1)]
    assert seen == sorted(set(seen))
    assert seen[-1] >= first + 10


def test_accounts_are_kept_as_they_were_put_last(subject: Subject) -> None:
    subject.account(7, weight=3)
    subject.account(7, weight=5, numbers=("12345",))
    subject.reopen()
    accounts = subject.store.accounts()
    assert sorted(accounts) == [1, 7]
    assert (accounts[7].weight, accounts[7].numbers) == (5, ("12345",))


def test_small_values_are_kept_by_name(subject: Subject) -> None:
    subject.do(lambda txn: txn.put_meta("one", b"1"), lambda txn: txn.put_meta("two", b"2"))
    subject.do(lambda txn: txn.put_meta("one", b"11"))
    subject.reopen()
    assert [subject.store.meta(name) for name in ("one", "two", "three")] == [b"11", b"2", None]


def test_an_account_finds_its_own_messages_and_an_operator_all(subject: Subject) -> None:
    subject.account(2)
    (message,) = subject.accept(subject.lane("a"), account=2)
    assert subject.store.find(1, message.id) is None
    assert subject.store.find(2, message.id + 1) is None
    found = subject.store.find_any(message.id)
    assert found is not None
    assert (found[0], found[1].phase) == (message, Phase.READY)


def test_a_second_opening_is_told_that_the_store_is_open(steady: Subject) -> None:
    with pytest.raises(StoreBusy, match="open in another process"):
        steady.engine.open(steady.directory / "store", steady.options)


def test_new_work_is_refused_above_the_most_that_may_be_queued(subject: Subject) -> None:
    subject.reopen(max_queued=3)
    subject.accept(subject.lane("a"), 2)
    subject.store.refresh_usage()
    assert subject.store.admission() is None
    subject.accept(subject.lane("a"))
    subject.store.refresh_usage()
    refusal = subject.store.admission()
    assert refusal is not None
    assert "3 messages" in str(refusal)
    assert refusal.hint
    figures = {"used_bytes", "map_bytes", "readers", "quarantined", "free_disk_bytes"}
    assert figures <= set(subject.store.usage())


# leases of a process that died


def test_fm30_what_was_leased_at_the_end_has_an_unknown_outcome(steady: Subject) -> None:
    leased = steady.leased(steady.lane("a"), count=3)
    steady.settle(steady.sent(leased[0], "c1"))
    epoch = steady.store.epoch
    steady.reopen()
    assert steady.store.epoch == epoch + 1
    assert steady.recover(Settle.UNKNOWN_RESEND, until_ms=steady.now_ms + 60_000) == 2
    assert steady.counts() == {"DEFERRED": 2, "AWAITING_RECEIPT": 1}
    assert steady.found(leased[1].message).possible_duplicate
    steady.reopen()
    assert steady.recover(Settle.UNKNOWN_RESEND) == 0


def test_fm30_a_message_settled_and_leased_again_is_recovered_once(steady: Subject) -> None:
    """Its first lease is still there, because a sibling in it never settled."""
    lane = steady.lane("a")
    leased = steady.leased(lane, count=2)
    steady.settle(steady.outcome(leased[0], Settle.RETRY))
    (again,) = steady.claim(lane)
    steady.settle(steady.sent(again, "c1"))
    steady.reopen()
    assert steady.recover(Settle.UNKNOWN_RESEND, until_ms=steady.now_ms + 60_000) == 1
    assert steady.counts() == {"AWAITING_RECEIPT": 1, "DEFERRED": 1}


def answered_last(steady: Subject) -> None:
    """The unanswered part came first, the answered one last."""
    (leased,) = steady.leased(steady.lane("a"), segments=3)
    steady.settle(steady.sent(leased, "c2", part=2, total=3))


def answered_in_two_leases(steady: Subject) -> None:
    lane = steady.lane("a")
    (leased,) = steady.leased(lane, segments=3)
    steady.settle(
        steady.sent(leased, "c0", part=0, total=3),
        steady.outcome(leased, Settle.UNKNOWN_RESEND, part=1, total=3),
        steady.sent(leased, "c2", part=2, total=3),
    )
    (again,) = steady.claim(lane)
    assert again.first_part == 1
    steady.settle(steady.sent(again, "c1", part=1, total=3))


@pytest.mark.parametrize("half_answer", [answered_last, answered_in_two_leases])
@pytest.mark.parametrize("settle", [Settle.UNKNOWN_RESEND, Settle.UNKNOWN_HOLD])
def test_fm30_a_half_answered_long_message_is_recovered_whole(
    steady: Subject, settle: Settle, half_answer: Callable[[Subject], None]
) -> None:
    half_answer(steady)
    steady.reopen()
    steady.recover(settle, until_ms=steady.now_ms + 60_000)
    assert steady.store.totals().messages[Phase.LEASED] == 0


# backups


def everything(subject: Subject) -> None:
    """A message in each phase but HELD."""
    lane = subject.lane("a")
    subject.accept(lane, 2, send_at_ms=subject.now_ms + 60_000)
    message = subject.send(lane, "c0")
    subject.receive(subject.receipt("c0", message.destination))
    subject.send(lane, "c1")
    retried, unknown, _ = subject.leased(lane, count=3)
    subject.settle(
        subject.outcome(retried, Settle.RETRY, until_ms=subject.now_ms + 60_000),
        subject.outcome(unknown, Settle.UNKNOWN_HOLD),
    )
    subject.accept(lane, 3)


def test_a_backup_is_the_store_as_it_was(steady: Subject, tmp_path: Path) -> None:
    everything(steady)
    counts = steady.counts()
    steady.store.backup(tmp_path / "copy")
    steady.accept(steady.lane("a"))
    copy = steady.engine.open(tmp_path / "copy", steady.options)
    totals = copy.totals().messages
    assert {phase.name: totals[phase] for phase in Phase if totals[phase]} == counts
    assert copy.accounts() == steady.store.accounts()
    assert copy.outbox_backlog() == steady.store.outbox_backlog()
    copy.close()
    with pytest.raises(StoreError, match="not empty"):
        steady.store.backup(tmp_path / "copy")


def test_a_restored_store_sends_nothing_until_it_is_released(
    steady: Subject, engine: Engine, tmp_path: Path
) -> None:
    everything(steady)
    steady.store.backup(tmp_path / "copy")
    steady.store.close()
    engine.restore(tmp_path / "copy", tmp_path / "restored", steady.options)
    steady.directory = tmp_path / "moved"
    steady.directory.mkdir()
    (tmp_path / "restored").rename(steady.directory / "store")
    steady.store = engine.open(steady.directory / "store", steady.options)
    assert steady.counts() == {"HELD": 6, "UNKNOWN": 2, "AWAITING_RECEIPT": 1, "FINAL": 1}
    assert steady.store.ready_lanes() == set()
    assert steady.store.next_due_ms() is None
    assert steady.do(lambda txn: txn.release_held(Reason.RESTORED, 100)).count == 6
    assert len(steady.claim(steady.lane("a"))) == 6


def test_a_sound_store_is_told_so_and_the_timeline_tells_the_way(subject: Subject) -> None:
    message = subject.send(subject.lane("a"), "c1")
    subject.receive(subject.receipt("c1", message.destination))
    progress = subject.found(message)
    assert progress.state == MessageState.DELIVERED
    assert [step for _, step, *_ in progress.events] == [Step.SENT, Step.RECEIPT, Step.FINAL]
    assert subject.store.check() == []
