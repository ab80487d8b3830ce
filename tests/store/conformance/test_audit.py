"""The audit trail: kept for ever, in order, with the changes that it tells of."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from store.interface import AuditEntry
from tests.store.conformance.subject import DAY_MS, Subject


def entry(subject: str, **fields: Any) -> AuditEntry:
    return AuditEntry(1_000, "ann", "cli", "account.changed", subject, **fields)


def test_entries_are_numbered_and_listed_newest_first(subject: Subject) -> None:
    first = subject.do(lambda txn: txn.audit(entry("account:a", before={"tps": 5.0}, after={"tps": 10.0})))
    others = subject.do(lambda txn: [txn.audit(entry(name)) for name in ("login:a:esme", "account:b")])
    assert (first, others) == (1, [2, 3])
    rows = subject.store.audit_log()
    assert [(row.number, row.entry.subject) for row in rows] == [
        (3, "account:b"),
        (2, "login:a:esme"),
        (1, "account:a"),
    ]
    assert (rows[2].entry.before, rows[2].entry.after) == ({"tps": 5.0}, {"tps": 10.0})
    assert len({row.digest for row in rows}) == 3
    assert [row.number for row in subject.store.audit_log(1)] == [3]
    assert [row.number for row in subject.store.audit_log(before=3)] == [2, 1]
    assert [row.number for row in subject.store.audit_log(before=1)] == []
    assert [row.number for row in subject.store.audit_log(subject="a")] == [2, 1]
    assert [row.number for row in subject.store.audit_log(subject="account:a")] == [1]
    state = subject.store.audit_verify([(2, rows[1].digest)])
    assert (state.entries, state.last, state.digest, state.findings) == (3, 3, rows[0].digest, [])
    assert subject.store.audit_verify([(2, rows[0].digest)]).findings


def test_an_entry_is_there_if_and_only_if_its_change_is(steady: Subject) -> None:
    def fail(txn: Any) -> None:
        txn.audit(entry("account:a"))
        raise LookupError

    with pytest.raises(LookupError):
        steady.do(fail)
    assert steady.store.audit_log() == []
    assert steady.store.audit_verify().entries == 0
    assert steady.do(lambda txn: txn.audit(entry("account:b"))) == 1


def test_no_retention_takes_an_entry_away(subject: Subject) -> None:
    subject.do(lambda txn: [txn.audit(entry(f"account:{number}")) for number in range(20)])
    subject.wait(4_000 * DAY_MS)
    subject.do(lambda txn: txn.housekeep(subject.now_ms, 1_000))
    subject.store.drop_old(subject.now_ms, 1)
    assert len(subject.store.audit_log()) == 20
    assert subject.store.audit_verify().findings == []


def test_entries_are_given_oldest_first_and_the_newest_can_be_noted(subject: Subject) -> None:
    assert (subject.store.audit_after(0), subject.store.audit_head()) == ([], (0, ""))
    for name in "abc":
        subject.do(partial(_tell, f"account:{name}"))
    found = subject.store.audit_after(1, 1)
    assert [(number, row.entry.subject) for number, row in found if row is not None] == [(2, "account:b")]
    newest = subject.store.audit_log(1)[0]
    assert subject.store.audit_head() == (newest.number, newest.digest)


def _tell(name: str, txn: Any) -> None:
    txn.audit(entry(name))
