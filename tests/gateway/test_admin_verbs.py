"""The admin verbs, run as the CLI runs them on a stopped gateway's store, and the ones that need a door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.accounts import Accounts
from gateway.admin import AdminError
from gateway.admin_shapes import iso
from gateway.admin_verbs import AdminVerbs
from gateway.callbacks.guard import Refused, parse_url
from gateway.callbacks.signature import decode_secret
from gateway.cli.failure import FAILED, USAGE, Failure
from gateway.cli.offline import Direct, run_verb
from gateway.committer import Committer
from gateway.door import Accepted, Refusal, Submission
from gateway.http.auth import key_hash
from gateway.operators import Operators
from gateway.orders import Orders
from router.nouns import Account, Message, MessageState, Part, Phase, Progress, Reason, Step
from store.interface import AuditEntry, Released, StoreFull, Totals, Transaction
from store.lmdb_store import LmdbStore
from tests.gateway.house import accepted
from tests.trio_case import trio_test

MESSAGE = Message(
    id=7,
    account=1,
    accepted_ms=1_767_225_600_000,
    source="Shop",
    source_ton=5,
    source_npi=0,
    destination="447700900123",
    encoding=0,
    text="hello",
    data=b"",
    segments=1,
    lane=1,
    priority=2,
    message_class=1,
    send_at_ms=0,
    expires_ms=1_767_312_000_000,
    receipt=1,
    route="default",
)
PROGRESS = Progress(
    phase=Phase.FINAL,
    state=MessageState.DELIVERED,
    reason=Reason.RECEIPT,
    attempts=1,
    finished_ms=1_767_225_601_500,
    parts=[Part(carrier=3, carrier_message_id="abc", state=MessageState.DELIVERED)],
    events=[(1_767_225_600_000, Step.ACCEPTED, 0, ""), (1_767_225_600_250, Step.SENT, 3, "abc")],
)

HASH = "$argon2id$v=19$m=4096,t=2,p=1$" + "A" * 22 + "$" + "B" * 43


class FakeStore:
    """Just enough of a store: accounts become visible at commit, one message, some held ones."""

    path = Path("nowhere/store")

    def __init__(self) -> None:
        self.kept: dict[int, Account] = {}
        self.pending: list[Account] = []
        self.held = 0
        self.released: list[tuple[int, int, int]] = []
        self.full = False
        self.told: list[AuditEntry] = []
        self.aborted = 0

    def begin(self) -> FakeStore:
        return self

    def commit(self, txn: object) -> None:
        if self.full:
            raise StoreFull("the disk is full", "make room")
        self.kept.update({account.id: account for account in self.pending})
        self.pending.clear()

    def abort(self, txn: object) -> None:
        self.aborted += 1
        self.pending.clear()

    def put_account(self, account: Account) -> None:
        self.pending.append(account)

    def put_meta(self, name: str, value: bytes) -> None:
        """Orders: nothing here asks for them."""

    def audit(self, entry: AuditEntry) -> None:
        self.told.append(entry)

    def tell_account(self, account: int, what: str, data: bytes, at_ms: int) -> bool:
        return bool(self.kept[account].callback_url)

    def meta(self, name: str) -> bytes | None:
        return None

    def release_held(self, reason: int, limit: int, after: tuple[int, int], carrier: int) -> Released:
        looked_at = min(limit, self.held - after[1])
        released = looked_at if carrier in (0, 3) else 0
        end = after[1] + looked_at
        self.released.append((reason, carrier, released))
        return Released(released, (1, end) if looked_at == limit else None)

    def carriers(self) -> dict[str, int]:
        return {"north": 3, "south": 4}

    def accounts(self) -> dict[int, Account]:
        return dict(self.kept)

    def queued(self, account: int) -> int:
        return 4

    def find_any(self, id: int) -> tuple[Message, Progress] | None:
        return (MESSAGE, PROGRESS) if id == MESSAGE.id else None

    def carrier_name(self, id: int) -> str:
        return {3: "north"}[id]

    def totals(self) -> Totals:
        return Totals(1, 1, [1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0])

    def usage(self) -> dict[str, int]:
        return {"used_bytes": 4096}

    def ready_lanes(self) -> set[int]:
        return {1}

    def outbox_endpoints(self) -> dict[int, object]:
        return {}


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def ask(store: FakeStore, verb: str, **args: object) -> Any:
    result = run_verb(cast(LmdbStore, store), verb, args)
    json.dumps(result)  # what a verb answers must be plain JSON
    return result


def test_a_new_account_has_a_key_that_is_kept_only_as_a_hash(store: FakeStore) -> None:
    made = ask(store, "account.create", name="shop", callback_url="https://shop.example/sms")
    kept = store.kept[int(made["id"])]
    assert kept.key_hashes == (key_hash(made["api_key"]),)
    assert decode_secret(made["callback_secret"])
    shown = json.dumps([ask(store, "account.show", name="shop"), ask(store, "account.list")])
    for secret in (made["api_key"], made["callback_secret"], *kept.key_hashes):
        assert secret not in shown


def test_a_rotated_key_leaves_the_previous_one_working_until_told_otherwise(store: FakeStore) -> None:
    first = ask(store, "account.create", name="shop")["api_key"]
    second = ask(store, "account.rotate", name="shop")["api_key"]
    assert list(store.kept[1].key_hashes) == [key_hash(second), key_hash(first)]
    third = ask(store, "account.rotate", name="shop", keep_previous=False)["api_key"]
    assert list(store.kept[1].key_hashes) == [key_hash(third)]


def test_a_setting_that_is_not_given_stays(store: FakeStore) -> None:
    ask(store, "account.create", name="shop", callback_url="https://a.example/", numbers=["+44 7700 900123"])
    changed = ask(store, "account.set", name="shop", suspended=True)
    assert (changed["suspended"], changed["callback_url"]) == (True, "https://a.example/")
    assert changed["numbers"] == ["447700900123"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a", "callback_url": "ftp://x"}, "callback_url"),
        ({"name": "a", "callback_url": "https://[::1"}, "callback_url"),
        ({"name": "a", "numbers": ["abc"]}, "numbers"),
        ({"name": "a", "weight": 0}, "weight"),
        ({"name": "a", "system_id": "x"}, "password"),
        ({"name": "a", "system_id": "x" * 16, "password_hash": HASH}, "system_id"),
        ({"name": "a", "system_id": "x", "password_hash": "secret"}, "no argon2id hash"),
    ],
)
def test_a_wrong_setting_names_itself_and_stores_nothing(
    store: FakeStore, args: dict[str, object], word: str
) -> None:
    with pytest.raises(Failure, match=word) as failed:
        ask(store, "account.create", **args)
    assert failed.value.exit_code == USAGE
    assert store.kept == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://user@shop.example/",
        "http://2130706433/",
        "http://0x7f.1/",
        "https://shop.example:0/",
        "https://shop.example/a b",
        "https://shop.example\\@other.example/",
        "https://-shop.example/",
        "https://[fe80::1%25eth0]/",
        "https://shop.example/" + "x" * 2048,
        "shop.example/sms",
    ],
)
def test_a_callback_url_that_would_never_be_called_is_not_stored(store: FakeStore, url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url)
    ask(store, "account.create", name="shop")
    for verb, name in (("account.create", "other"), ("account.set", "shop")):
        with pytest.raises(Failure, match="callback_url") as failed:
            ask(store, verb, name=name, callback_url=url)
        assert failed.value.exit_code == USAGE
    assert [account.callback_url for account in store.kept.values()] == [""]


@pytest.mark.parametrize("url", ["https://shop.example", "http://10.0.0.7:8080/x?y=1", "https://[2606::1]/"])
def test_a_callback_url_that_can_be_called_is_stored(store: FakeStore, url: str) -> None:
    parse_url(url)
    assert ask(store, "account.create", name="shop", callback_url=url)["callback_url"] == url


def test_names_system_ids_and_numbers_belong_to_one_account(store: FakeStore) -> None:
    ask(store, "account.create", name="a", system_id="esme", password_hash=HASH, numbers=["12345"])
    for args in (
        {"name": "a"},
        {"name": "b", "system_id": "esme", "password_hash": HASH},
        {"name": "b", "numbers": ["12345"]},
    ):
        with pytest.raises(Failure):
            ask(store, "account.create", **args)
    assert list(store.kept) == [1]


def test_an_unknown_account_is_told_which_there_are(store: FakeStore) -> None:
    ask(store, "account.create", name="shop")
    with pytest.raises(Failure, match="shop"):
        ask(store, "account.show", name="shpo")


def test_a_message_is_told_in_words(store: FakeStore) -> None:
    ask(store, "account.create", name="shop")
    view = ask(store, "message", id="7")
    assert (view["id"], view["account"], view["state"], view["phase"]) == ("7", "shop", "DELIVERED", "FINAL")
    assert view["parts"][0]["carrier"] == "north"
    assert [event["step"] for event in view["timeline"]] == ["ACCEPTED", "SENT"]
    assert view["timeline"][1]["at"] == "2026-01-01T00:00:00.250Z"
    assert view["send_at"] == ""


@pytest.mark.parametrize("id", ["8", "", "x", "-7", "²", str(1 << 63)])
def test_a_message_that_is_not_there_is_not_found(store: FakeStore, id: str) -> None:
    with pytest.raises(Failure, match="no message") as failed:
        ask(store, "message", id=id)
    assert failed.value.exit_code == FAILED


def test_figures_are_by_phase_and_say_whether_they_add_up(store: FakeStore) -> None:
    figures = ask(store, "store.stats")
    assert figures["conserved"] is True
    assert figures["phases"]["final"] == {"messages": 1, "segments": 1}


@pytest.mark.parametrize("held", [0, 1, 499, 500, 501, 1700])
def test_release_goes_on_until_nothing_is_held(store: FakeStore, held: int) -> None:
    store.held = held
    assert ask(store, "store.release")["released"] == held
    assert {reason for reason, _, _ in store.released} == {Reason.RESTORED}


def test_what_is_unknown_is_released_for_one_carrier_by_its_name(store: FakeStore) -> None:
    store.held = 700
    answer = ask(store, "store.release", reason="unknown", carrier="north")
    assert answer == {"released": 700, "reason": "unknown", "carrier": "north"}
    assert {(reason, carrier) for reason, carrier, _ in store.released} == {(Reason.OUTCOME_UNKNOWN, 3)}
    assert ask(store, "store.release", reason="unknown", carrier="south")["released"] == 0


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({"reason": "unknown", "carrier": "nroth"}, "one of: north, south"),
        ({"reason": "restored", "carrier": "north"}, "--reason unknown"),
        ({"reason": "all"}, ""),
    ],
)
def test_a_release_that_cannot_be_meant_says_what_to_write(
    store: FakeStore, args: dict[str, object], word: str
) -> None:
    with pytest.raises(Failure) as failed:
        ask(store, "store.release", **args)
    assert word in failed.value.hint
    assert store.released == []


def test_a_verb_that_fails_leaves_no_transaction_open(store: FakeStore) -> None:
    def fail(txn: Transaction) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        Direct(cast(LmdbStore, store)).execute(fail).send(None)
    assert store.aborted == 1


# verbs that need a running gateway


class FakeDoor:
    def __init__(self, answer: Accepted | Refusal) -> None:
        self.answer = answer
        self.submitted: list[tuple[str, Submission]] = []

    def submit(
        self,
        account: Account,
        requests: list[Submission],
        done: Callable[[list[Accepted | Refusal]], None],
    ) -> None:
        self.submitted.extend((account.name, request) for request in requests)
        done([self.answer])


def running(store: FakeStore, door: FakeDoor | None) -> AdminVerbs:
    direct = Direct(cast(LmdbStore, store))
    accounts = Accounts(cast(Committer, direct))
    operators, orders = Operators(direct, lambda: 0), Orders(direct, lambda: 0)
    return AdminVerbs(
        accounts,
        cast(LmdbStore, store),
        direct.execute,
        lambda: 0,
        operators=operators,
        orders=orders,
        door=door,
    )


TEST_MESSAGE = {"to": "+447700900123", "sender": "Me", "text": "hi"}


@trio_test
async def test_a_test_message_goes_through_the_door() -> None:
    door = FakeDoor(accepted(9, "Me", "447700900123"))
    verbs = running(FakeStore(), door).table()
    await verbs["account.create"]({"name": "only"})
    answer = await verbs["send"](dict(TEST_MESSAGE))
    assert answer == {"id": "9", "account": "only", "state": "ENROUTE", "segments": 1, "encoding": "gsm7"}
    assert door.submitted[0][0] == "only"


@trio_test
async def test_a_test_message_that_the_door_refuses_names_the_field() -> None:
    verbs = running(FakeStore(), FakeDoor(Refusal(422, "bad_number", "to", "no such number"))).table()
    await verbs["account.create"]({"name": "only"})
    with pytest.raises(AdminError, match="to: no such number"):
        await verbs["send"](dict(TEST_MESSAGE))


@trio_test
async def test_with_several_accounts_the_sender_must_be_named() -> None:
    door = FakeDoor(accepted(9, "Me", "447700900123"))
    verbs = running(FakeStore(), door).table()
    for name in ("a", "b"):
        await verbs["account.create"]({"name": name})
    with pytest.raises(AdminError, match="which account"):
        await verbs["send"](dict(TEST_MESSAGE))
    await verbs["send"]({**TEST_MESSAGE, "account": "b"})
    assert [name for name, _ in door.submitted] == ["b"]


@trio_test
async def test_without_a_gateway_nothing_can_be_sent() -> None:
    with pytest.raises(AdminError, match="not running"):
        await running(FakeStore(), None).table()["send"](dict(TEST_MESSAGE))


def test_no_time_is_an_empty_word() -> None:
    assert iso(0) == ""
    assert iso(1_767_225_600_000) == "2026-01-01T00:00:00.000Z"


def test_everything_that_is_wrong_with_a_new_account_is_named_at_once(store: FakeStore) -> None:
    wrong = {"name": "two words", "system_id": "x" * 16, "window": 0, "tsp": 5}
    with pytest.raises(Failure) as failed:
        ask(store, "account.create", **wrong)
    assert failed.value.exit_code == USAGE
    assert [name for name in wrong if f"{name}: " not in str(failed.value.message)] == []
    ask(store, "account.create", name="shop")
    with pytest.raises(Failure) as failed:
        ask(store, "account.set", name="shop", suspended="yes", window=0)
    assert [name for name in ("suspended", "window") if f"{name}: " not in str(failed.value.message)] == []


def test_accounts_are_listed_by_name_whole_or_in_pages(store: FakeStore) -> None:
    for name in ("b", "a", "c"):
        ask(store, "account.create", name=name)

    def listed(**page: object) -> list[str]:
        return [one["name"] for one in ask(store, "account.list", **page)]

    assert [listed(), listed(limit=2), listed(after="b"), listed(after="a", limit=1)] == [
        ["a", "b", "c"],
        ["a", "b"],
        ["c"],
        ["b"],
    ]


def test_an_unknown_account_is_told_some_of_those_there_are(store: FakeStore) -> None:
    for number in range(25):
        ask(store, "account.create", name=f"a{number:02}")
    with pytest.raises(Failure, match=r"a00, a01.*a19 and 5 more$"):
        ask(store, "account.show", name="nobody")
