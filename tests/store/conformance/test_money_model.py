"""Money against a plain model, under any order of verbs and crashes: the state machine of test_model, billed.

After every step each account's wallet must be what its ledger and its messages say: top-ups - charged -
reserved = balance, nothing below the overdraft limit, and of what has ended exactly what the rule says.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from router import money
from router.money import LedgerEntry
from router.nouns import Bill, Charge, Phase, ReceiptWish
from tests.store.conformance.engines import ENGINES, Engine
from tests.store.conformance.test_model import StoreMachine
from tests.store.records_for_tests import commit, message, with_account

RULES = {1: Charge.SENT, 2: Charge.DELIVERED, 3: Charge.ACCEPTED}
OVERDRAFT = 40


class MoneyMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        for id, charge in RULES.items():
            with_account(
                self.store,
                id,
                billing="prepaid",
                currency="EUR",
                charge=charge,
                overdraft_limit=OVERDRAFT if id == 2 else 0,
                quota_per_day=30 if id == 3 else 0,
                low_balance=50,
            )
        self.topped_up = dict.fromkeys(RULES, 0)
        self.refused = 0

    @rule(id=st.sampled_from([*RULES]), amount=st.sampled_from([-5, 20, 100, 1000]))
    def credit(self, id: int, amount: int) -> None:
        entry = LedgerEntry(self.clock.now_ms, amount, "EUR", "test", "tests")
        (row,) = commit(self.store, lambda txn: txn.credit(id, entry))
        self.topped_up[id] += amount
        assert row.balance == self.store.wallet(id).balance
        assert self.store.ledger(id, 1)[0] == row

    @rule(
        count=st.integers(1, 4),
        account=st.sampled_from([*RULES]),
        lane=st.integers(0, 1),
        segments=st.sampled_from([1, 1, 1, 3]),
        price=st.sampled_from([0, 7, 25]),
        delay_s=st.sampled_from([0, 0, 0, 30]),
        validity_s=st.sampled_from([120, 86_400]),
        priority=st.integers(0, 3),
        crash=st.booleans(),
    )
    def accept(
        self,
        count: int,
        account: int,
        lane: int,
        segments: int,
        price: int,
        delay_s: int,
        validity_s: int,
        priority: int,
        crash: bool,
    ) -> None:
        now_ms = self.clock.now_ms
        send_at_ms = now_ms + delay_s * 1000 if delay_s else 0
        made = [
            message(
                self.store,
                self.lanes[lane],
                account,
                segments=segments,
                priority=priority,
                send_at_ms=send_at_ms,
                expires_ms=(send_at_ms or now_ms) + validity_s * 1000,
                receipt=ReceiptWish.FINAL,
                bill=Bill(price, "EUR", RULES[account]),
            )
            for _ in range(count)
        ]
        refused: dict[int, str] = {}
        txn = self.store.begin()
        taken = txn.reserve(made, refused)
        txn.accept(taken)
        if crash:
            before = self.store.wallet(account)
            self.store.abort(txn)
            assert self.store.wallet(account) == before
            return
        self.store.commit(txn)
        assert [one.id for one in made if one not in taken] == [*refused]
        self.refused += len(refused)
        self.accepted.update((one.id, one) for one in taken)

    @invariant()
    def paid(self) -> None:
        for id in RULES:
            wallet = self.store.wallet(id)
            assert wallet.credited == self.topped_up[id]
            assert wallet.credited - wallet.charged - wallet.reserved == wallet.balance
            charged = reserved = 0
            for one in self.accepted.values():
                if one.account != id:
                    continue
                found = self.store.find(id, one.id)
                assert found is not None
                bill = found[0].bill
                assert bill is not None
                if found[1].phase == Phase.FINAL:
                    charged += money.owed(*found)
                else:
                    reserved += bill.price * one.segments
            assert (wallet.charged, wallet.reserved) == (charged, reserved)


def against_a_model(engine: Engine) -> type:
    """A test case of this engine; pytest runs it as it runs any unittest.TestCase."""
    machine = type(f"MoneyMachine_{engine.name}", (MoneyMachine,), {"engine": engine})
    case: type = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(  # type: ignore[attr-defined]
        max_examples=60, stateful_step_count=40, deadline=None
    )
    return case


globals().update({f"Test_{engine.name}_money": against_a_model(engine) for engine in ENGINES})
