"""Accounts that pay, on a whole gateway: who is refused and how, what is charged and comes back, who is told.

Deliberately not here: the arithmetic (tests/router/test_money.py), conservation over crashes
(tests/store/conformance/test_money_model.py).
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.admin import AdminError
from gateway.cli import root
from gateway.cli.failure import FAILED, OK, USAGE
from router.nouns import Charge, Login
from router.rates import Rate
from smpp.status import Status
from store.cdr_files import Mark, Writer
from store.check import check
from store.table_build import Builder
from tests.gateway import house as running_house
from tests.gateway.conftest import Typed
from tests.gateway.house import NUMBER, MemoryWorld, Running, carrier, route, running, simulator
from tests.gateway.smpp_server.esme import bound
from tests.gateway.smpp_server.hashing import Hashing, hashed
from tests.trio_case import trio_test

SMPP = '[smpp]\nlisten = ["127.0.0.1:2775"]\n'
UK, FRANCE = "447700900123", "33612345678"
PRICE = 50_000
EURO = 1_000_000
DAY_MS = 86_400_000
PREPAID: dict[str, object] = {"billing": "prepaid", "currency": "EUR", "rate_card": "retail"}

Cards = Callable[..., None]


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """Import rate cards where no gateway runs; `retail` is there."""
    monkeypatch.setattr("os.nice", lambda by: by)

    def imported(name: str, rows: str) -> None:
        file = tmp_path / f"{name}.csv"
        file.write_text("prefix,price,currency\n" + rows)
        line = ["table", "import", "rates", name, str(file), "--data-dir", str(tmp_path / "var")]
        assert root.run(line) == OK

    imported("retail", "44,0.05,EUR\n")
    return imported


class Calendar(MemoryWorld):
    """Days may go by at once."""

    ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


@asynccontextmanager
async def paying(
    directory: Path, toml: str = "", credit: str = "", world: MemoryWorld | None = None, **account: object
) -> AsyncIterator[Running]:
    """A gateway with a simulated carrier, and an account that pays."""
    ways = toml or carrier("sim", 2776) + simulator("sim", 2776) + route("sim")
    logins = (Login("acme", (hashed("secret"),)),)
    fields: dict[str, Any] = {**PREPAID, **account}
    async with running(directory, SMPP + ways, world, logins=logins, **fields) as house:
        house.gateway.smpp.gate.passwords = Hashing().passwords
        await house.bound()
        if credit:
            await ask(house, "account.credit", name="acme", amount=credit, reason="test")
        yield house
        assert check(house.gateway.store) == []


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


async def post(house: Running, to: str = UK, text: str = "Hello", **fields: object) -> tuple[int, Any]:
    return await house.http("POST", "/v1/messages", {"to": to, "from": NUMBER, "text": text, **fields})


async def balance(house: Running) -> Any:
    status, told = await house.http("GET", "/v1/balance")
    assert status == 200, told
    return told


def word(problem: Any) -> str:
    return str(problem["type"]).removeprefix("urn:signalbox:problem:")


# parallel submits


@trio_test(mock_clock=True)
async def test_a_hundred_parallel_submits_over_http_at_a_balance_for_37_give_37(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path, credit="1.85") as house:
        statuses: Counter[int] = Counter()

        async def submit() -> None:
            statuses[(await post(house))[0]] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(submit)
        assert statuses == {202: 37, 402: 63}
        assert house.gateway.store.totals().accepted == 37
        assert (await balance(house))["balance"] == "0"


@trio_test(mock_clock=True)
async def test_a_hundred_parallel_submits_over_smpp_at_a_quota_of_37_give_37(
    tmp_path: Path, cards: Cards
) -> None:
    async with (
        paying(tmp_path, billing="off", quota_per_day=37, unpaid_status=0x450) as house,
        bound(house.world) as esme,
    ):
        pdus = [esme.number(esme.message()) for _ in range(100)]
        for pdu in pdus:
            await esme.send(pdu)
        statuses = Counter([(await esme.answer_to(pdu)).command_status for pdu in pdus])
        assert statuses == {0: 37, 0x450: 63}
        assert house.gateway.store.totals().accepted == 37


@trio_test(mock_clock=True)
async def test_over_smpp_a_missing_balance_is_no_throttling(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, credit="0.05") as house, bound(house.world) as esme:
        await esme.submit(UK)
        assert (await esme.ask(esme.message(UK))).command_status == Status.ESME_RSUBMITFAIL


@trio_test(mock_clock=True)
async def test_a_batch_takes_what_there_is_money_for_and_says_which_it_left_out(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path, credit="0.15") as house:
        texts = ["one", "x" * 200, "one more"]
        messages = [{"to": UK, "from": NUMBER, "text": text} for text in [*texts, "and one"]]
        status, answer = await house.http("POST", "/v1/messages/batch", {"messages": messages})
        assert status == 200
        assert [one["status"] for one in answer["results"]] == [202, 202, 402, 402]
        assert word(answer["results"][2]) == "insufficient-balance"
        assert (answer["accepted"], answer["refused"]) == (2, 2)


@trio_test(mock_clock=True)
async def test_a_repeated_submit_neither_pays_twice_nor_hides_what_was_not_paid(
    tmp_path: Path, cards: Cards
) -> None:
    """With a duplicate guard: what was refused for money is no earlier message."""
    async with paying(tmp_path, credit="0.05", duplicate_guard_s=60) as house:
        first = (await post(house))[1]["id"]
        assert (await post(house))[1]["id"] == first
        assert (await post(house, text="other"))[0] == 402
        await ask(house, "account.credit", name="acme", amount="0.05", reason="more")
        status, answer = await post(house, text="other")
        assert (status, answer["id"] != first) == (202, True)
        assert (await balance(house))["balance"] == "0"


# what is charged, and what comes back


@trio_test(mock_clock=True)
async def test_what_is_delivered_is_charged_by_its_segments(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, credit="1") as house:
        id = await house.submit(UK, "x" * 200)
        told = await balance(house)
        assert (told["balance"], told["reserved"], told["charged"]) == ("0.9", "0.1", "0")
        await house.final(id)
        told = await balance(house)
        assert (told["balance"], told["reserved"], told["charged"]) == ("0.9", "0", "0.1")


@pytest.mark.parametrize(
    ("charge", "charged"), [(Charge.ACCEPTED, "0.05"), (Charge.SENT, "0"), (Charge.DELIVERED, "0")]
)
@trio_test(mock_clock=True)
async def test_a_message_that_expires_in_the_queue_is_refunded_unless_acceptance_is_charged(
    tmp_path: Path, cards: Cards, charge: int, charged: str
) -> None:
    async with paying(tmp_path, credit="1", charge=charge) as house:
        house.gateway.carriers[0].stand(suspended=True)
        id = await house.submit(UK, validity_s=60)
        assert (await house.final(id))["state"] == "EXPIRED"
        told = await balance(house)
        assert (told["charged"], told["reserved"]) == (charged, "0")


@pytest.mark.parametrize(
    ("charge", "charged"), [(Charge.ACCEPTED, "0.05"), (Charge.SENT, "0.05"), (Charge.DELIVERED, "0")]
)
@trio_test(mock_clock=True)
async def test_a_message_that_is_not_delivered_is_charged_by_the_rule(
    tmp_path: Path, cards: Cards, charge: int, charged: str
) -> None:
    ways = carrier("sim", 2776) + simulator("sim", 2776, failure_rate=1.0) + route("sim")
    async with paying(tmp_path, ways, credit="1", charge=charge) as house:
        assert (await house.final(await house.submit(UK)))["state"] == "UNDELIVERABLE"
        told = await balance(house)
        assert (told["charged"], told["reserved"]) == (charged, "0")


@trio_test(mock_clock=True)
async def test_money_survives_a_restart(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, credit="1") as house:
        house.gateway.carriers[0].stand(suspended=True)
        waiting = await house.submit(UK)
        before = await balance(house)
    async with paying(tmp_path) as house:
        assert (await balance(house))["balance"] == before["balance"] == "0.95"
        await house.final(waiting)
        assert (await balance(house))["charged"] == "0.05"


# limits


@trio_test(mock_clock=True)
async def test_a_postpaid_account_owes_up_to_its_limit(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, billing="postpaid", overdraft_limit=2 * PRICE) as house:
        assert [(await post(house))[0] for _ in range(3)] == [202, 202, 402]
        told = await balance(house)
        assert (told["balance"], told["available"], told["overdraft_limit"]) == ("-0.1", "0", "0.1")


@trio_test(mock_clock=True)
async def test_a_cap_ends_with_its_day_and_the_answer_says_when(tmp_path: Path, cards: Cards) -> None:
    world = Calendar()
    async with paying(tmp_path, credit="9", world=world, cap_per_day=PRICE, cap_per_month=3 * PRICE) as house:
        assert (await post(house))[0] == 202
        status, problem = await post(house)
        assert (status, word(problem)) == (402, "daily-cap-reached")
        told = (await balance(house))["day"]
        assert (told["spent"], told["cap"], told["ends_at"]) == ("0.05", "0.05", "2026-09-22T00:00:00.000Z")
        for _ in range(2):
            world.ahead_ms += DAY_MS
            assert (await post(house))[0] == 202
        world.ahead_ms += DAY_MS
        assert word((await post(house))[1]) == "monthly-cap-reached"
        world.ahead_ms += 10 * DAY_MS
        assert (await post(house))[0] == 202


@trio_test(mock_clock=True)
async def test_a_quota_of_messages_goes_by_the_accounts_own_midnight(tmp_path: Path, cards: Cards) -> None:
    world = Calendar()
    house_zone: dict[str, Any] = {"billing": "off", "quota_per_day": 1, "billing_zone": "Asia/Tokyo"}
    async with paying(tmp_path, world=world, **house_zone) as house:
        assert (await post(house))[0] == 202
        status, problem = await post(house)
        assert (status, word(problem)) == (429, "daily-quota-reached")
        assert (await balance(house))["day"]["ends_at"] == "2026-09-21T15:00:00.000Z"
        world.ahead_ms += 3_600_000  # past midnight in Tokyo, 15:13 in UTC
        assert (await post(house))[0] == 202


@trio_test(mock_clock=True)
async def test_a_low_balance_is_told_once_by_callback_and_in_the_event_log(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path, credit="0.2", low_balance=2 * PRICE) as house:
        for _ in range(4):
            await house.final(await house.submit(UK))
        told = [one for one in house.customer.events if one["type"] == "account.low_balance"]
        assert [one["data"] for one in told] == [
            {"account": "acme", "balance": "0.05", "below": "0.1", "currency": "EUR"}
        ]
        rows = [
            row.notice for row in house.gateway.store.notices() if row.notice.kind == "account.low_balance"
        ]
        assert [(row.subject, row.warning) for row in rows] == [("account:acme", True)]
        await ask(house, "account.credit", name="acme", amount="0.15", reason="more")
        for _ in range(2):
            await house.final(await house.submit(UK))
        told = [one for one in house.customer.events if one["type"] == "account.low_balance"]
        assert len(told) == 2


# rate cards


@trio_test(mock_clock=True)
async def test_a_number_without_a_price_is_refused_and_says_what_to_do(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, credit="1") as house:
        status, problem = await post(house, FRANCE)
        assert (status, word(problem)) == (422, "no-price")
        assert "signalbox table import rates" in problem["detail"]
        assert (await balance(house))["balance"] == "1"


async def in_use(house: Running, name: str, version: int, prefix: str, price: Rate) -> None:
    """A card of one row is imported into the running gateway."""
    with Builder(house.gateway.tables.directory, name, "rates", version) as builder:
        builder.add_prefix(prefix, price)
        builder.finish("test.csv")
    await ask(house, "table.use", name=name, version=version)


@trio_test(mock_clock=True)
async def test_a_new_rate_card_counts_from_the_next_message_on_and_not_for_those_under_way(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path, credit="1") as house:
        house.gateway.carriers[0].stand(suspended=True)
        before = await house.submit(UK)
        await in_use(house, "retail", 1, "44", Rate(80_000, "EUR"))
        after = await house.submit(UK)
        assert (await balance(house))["reserved"] == "0.13"
        house.gateway.carriers[0].stand(suspended=False)
        for id in (before, after):
            await house.final(id)
        assert (await balance(house))["charged"] == "0.13"


@trio_test(mock_clock=True)
async def test_a_card_in_another_currency_is_refused_in_words(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path) as house:
        await in_use(house, "dollars", 1, "44", Rate(60_000, "USD"))
        with pytest.raises(AdminError, match="has prices in USD, but the account pays in EUR"):
            await ask(house, "account.set", name="acme", rate_card="dollars")
        with pytest.raises(AdminError, match="there is no table of rates 'nowhere'"):
            await ask(house, "account.set", name="acme", rate_card="nowhere")
        with pytest.raises(AdminError, match="billing prepaid needs it"):
            await ask(house, "account.set", name="acme", rate_card="")
        with pytest.raises(AdminError, match="the file has prices in GBP"):
            await in_use(house, "retail", 2, "44", Rate(1, "GBP"))
        await ask(house, "account.credit", name="acme", amount="5", reason="test")
        with pytest.raises(AdminError, match=r"there is money in EUR \(balance 5\)"):
            await ask(house, "account.set", name="acme", rate_card="dollars", currency="USD")
        await ask(house, "account.credit", name="acme", amount="-5", reason="back")
        await ask(house, "account.set", name="acme", rate_card="dollars", currency="USD")


# the edges


async def as_operator(house: Running) -> str:
    return str((await ask(house, "operator.create", name="ann"))["operator_key"])


async def once(house: Running, key: str, path: str, name: str, body: object) -> tuple[int, Any]:
    """A POST with this Idempotency-Key."""
    payload = json.dumps(body).encode()
    stream = await house.world.connect("127.0.0.1", house.http_port)
    async with stream:
        await stream.send_all(
            b"POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %s\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), key.encode(), name.encode(), len(payload), payload)
        )
        answer = b"".join([part async for part in stream])
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(rest)


async def credit(house: Running, key: str, name: str, **body: object) -> tuple[int, Any]:
    return await once(house, key, "/v1/accounts/acme/credits", name, body)


@pytest.mark.parametrize("guard_s", [0, 60])
@trio_test(mock_clock=True)
async def test_a_batch_that_is_sent_again_is_answered_with_what_it_was_not_paid_for(
    tmp_path: Path, cards: Cards, guard_s: int
) -> None:
    """Its first answer is known only in the commit that takes some of it."""
    async with paying(tmp_path, credit="0.05", duplicate_guard_s=guard_s) as house:
        batch = {"messages": [{"to": UK, "from": NUMBER, "text": text} for text in ("one", "two")]}
        first = await once(house, house.key, "/v1/messages/batch", "b-1", batch)
        assert [one["status"] for one in first[1]["results"]] == [202, 402]
        await ask(house, "account.credit", name="acme", amount="1", reason="more")
        assert await once(house, house.key, "/v1/messages/batch", "b-1", batch) == first
        assert house.gateway.store.totals().accepted == 1


@trio_test(mock_clock=True)
async def test_a_submit_that_was_not_paid_for_may_be_sent_again_with_its_key(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path) as house:
        body = {"to": UK, "from": NUMBER, "text": "one"}
        assert (await once(house, house.key, "/v1/messages", "m-1", body))[0] == 402
        await ask(house, "account.credit", name="acme", amount="1", reason="more")
        assert (await once(house, house.key, "/v1/messages", "m-1", body))[0] == 202


@trio_test(mock_clock=True)
async def test_an_operator_books_money_over_http_once_for_each_idempotency_key(
    tmp_path: Path, cards: Cards
) -> None:
    async with paying(tmp_path) as house:
        key = await as_operator(house)
        for _ in range(2):
            status, row = await credit(house, key, "a-1", amount="250.00", reason="bank transfer 7")
            assert (status, row["amount"], row["balance"], row["by"]) == (201, "250", "250", "ann")
        assert (await credit(house, key, "a-1", amount="1", reason="x"))[0] == 422
        assert (await credit(house, house.key, "a-2", amount="1", reason="x"))[0] == 403
        status, problem = await credit(house, key, "a-3", amount="1,5")
        assert status == 422
        assert [error["field"] for error in problem["errors"]] == ["amount", "reason"]
        status, told = await house.http("GET", "/v1/accounts/acme/credits", key=key)
        assert (status, [one["reason"] for one in told["credits"]]) == (200, ["bank transfer 7"])
        assert (await house.http("GET", "/v1/accounts/acme/balance", key=key))[1]["balance"] == "250"
        trail = [row.entry for row in house.gateway.store.audit_log()]
        (entry,) = [one for one in trail if one.act == "account.credited"]
        assert (entry.who, entry.after["amount"]) == ("ann", "250")


@trio_test(mock_clock=True)
async def test_a_credit_is_booked_once_whichever_key_of_the_operator_repeats_it_and_answered_alike(
    tmp_path: Path, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with paying(tmp_path) as house:
        key = await as_operator(house)
        first = await credit(house, key, "a-1", amount="10", reason="bank transfer 7")
        other = str((await ask(house, "operator.rotate", name="ann"))["operator_key"])
        assert await credit(house, other, "a-1", amount="10", reason="bank transfer 7") == first
        monkeypatch.setattr(running_house, "START_MS", running_house.START_MS + 20 * 60_000)
        assert await credit(house, other, "a-1", amount="10", reason="bank transfer 7") == first
        assert len(house.gateway.store.ledger(house.gateway.accounts.by_name["acme"].id)) == 1


@trio_test(mock_clock=True)
async def test_an_account_sees_its_own_money_and_nobody_elses(tmp_path: Path, cards: Cards) -> None:
    async with paying(tmp_path, credit="1") as house:
        other = (await ask(house, "account.create", name="other"))["api_key"]
        assert (await house.http("GET", "/v1/accounts/acme/balance"))[0] == 200
        assert (await house.http("GET", "/v1/accounts/acme/balance", key=other))[0] == 404
        assert (await house.http("GET", "/v1/accounts/acme/credits", key=other))[0] == 404
        assert (await house.http("GET", "/v1/accounts/nobody/balance", key=other))[0] == 404
        assert (await house.http("GET", "/v1/balance", key=other))[1]["account"] == "other"
        status, told = await house.http("GET", "/v1/rates?to=447700900123")
        assert (status, told["price"], told["by"], told["currency"]) == (200, "0.05", "44", "EUR")
        assert (await house.http("GET", "/v1/rates?to=33612345678"))[1]["price"] is None
        assert (await house.http("GET", "/v1/rates?to=abc"))[0] == 422


def test_money_is_booked_on_a_stopped_gateway_with_a_reason(typed: Typed, cards: Cards) -> None:
    assert typed("account", "create", "shop", "--currency", "EUR")[0] == OK
    assert typed("account", "credit", "shop", "10")[0] == USAGE
    assert typed("account", "credit", "shop", "ten", "--reason", "x")[0] == USAGE
    assert typed("account", "credit", "nobody", "10", "--reason", "x")[0] == FAILED
    code, told = typed("account", "credit", "shop", "10.50", "--reason", "invoice 5")
    assert (code, told.strip()) == (OK, "10.5 EUR booked; the balance is 10.5")
    assert typed("account", "credit", "shop", "-0.5", "--reason", "back")[0] == OK
    code, told = typed("account", "ledger", "shop", "--json")
    assert [(row["amount"], row["reason"]) for row in json.loads(told)] == [
        ("-0.5", "back"),
        ("10.5", "invoice 5"),
    ]
    code, told = typed("account", "balance", "shop")
    assert "balance" in told
    assert json.loads(typed("account", "balance", "shop", "--json")[1])["balance"] == "10"
    assert "invoice 5" in typed("audit", "list", "--json")[1]


def commands() -> list[list[str]]:
    """What docs/money.md says to type, in its order."""
    lines = (Path(__file__).parents[2] / "docs" / "money.md").read_text().splitlines()
    typed = [shlex.split(line)[1:] for line in lines if line.startswith("    signalbox ")]
    return [line for line in typed if line[0] != "reconcile"]  # tests/gateway/test_reconcile.py


def test_the_examples_of_the_documentation_work_as_they_are_typed(
    tmp_path: Path, typed: Typed, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retail.csv").write_text("prefix,price,currency\n44,0.0325,EUR\n")
    Writer(tmp_path / "var" / "cdr", Mark()).append(b"key", [b"{}"], [], 1)
    assert typed("account", "create", "acme")[0] == OK
    assert len(commands()) > 6
    for line in commands():
        code, told = typed(*line)
        assert code == OK, (line, told)
    assert json.loads(typed("account", "balance", "acme", "--json")[1])["balance"] == "237.5"
