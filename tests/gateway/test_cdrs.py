"""Call detail records, on a whole gateway: what they say, that each is there once, and who may see what."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.cdr_lines import COLUMNS
from gateway.cli import root
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.committer import Committer
from smpp.constants import CommandId
from smpp.pdu import Pdu, SubmitSmResp
from store.interface import StoreError
from tests.gateway.conftest import Typed
from tests.gateway.house import NUMBER, Running, Script, carrier, route, running, running_with, simulator
from tests.trio_case import trio_test

CDRS = "[cdrs]\nenabled = true\ncsv = true\n"
WAYS = carrier("sim", 2776, rate_card="north") + simulator("sim", 2776) + route("sim")
PAYS: dict[str, Any] = {"billing": "postpaid", "currency": "EUR", "rate_card": "retail"}
UK = "447700900123"


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.nice", lambda by: by)
    for name, kind, rows in (
        ("retail", "rates", "prefix,price,currency\n44,0.05,EUR\n"),
        ("north", "rates", "prefix,price,currency\n44,0.03,USD\n"),
        ("networks", "prefix", "prefix,mcc,mnc\n4477,234,10\n"),
    ):
        file = tmp_path / f"{name}.csv"
        file.write_text(rows)
        line = ["table", "import", kind, name, str(file), "--data-dir", str(tmp_path / "var")]
        assert root.run(line) == OK


def records(directory: Path) -> list[dict[str, Any]]:
    """All of them, in their order; as JSON lines and as CSV they are the same."""
    found = []
    for path in sorted((directory / "var" / "cdr").glob("*.jsonl*")):
        found += [json.loads(line) for line in path.read_bytes().splitlines()]
    rows: list[list[str]] = []
    for path in sorted((directory / "var" / "cdr").glob("*.csv*")):
        with path.open(newline="") as file:
            headings, *more = csv.reader(file)
        assert tuple(headings) == COLUMNS
        rows += more
    assert rows == [[str(one[name]) for name in COLUMNS] for one in found]
    return found


async def written(house: Running, directory: Path, finals: int) -> list[dict[str, Any]]:
    """Once there are that many final records."""
    with trio.fail_after(60):
        while True:
            found = records(directory)
            if sum(one["type"] == "final" for one in found) >= finals:
                return found
            await trio.sleep(0.5)


@trio_test(mock_clock=True)
async def test_a_delivered_message_has_a_record_of_its_attempt_and_of_its_end(
    tmp_path: Path, cards: None
) -> None:
    numbers = '[numbers]\nprefix_table = "networks"\n'
    async with running(tmp_path, CDRS + numbers + WAYS, **PAYS) as house:
        await house.bound()
        id = await house.submit(UK, client_ref="order 7")
        await house.final(id)
        attempt, final = await written(house, tmp_path, 1)
    assert attempt.items() >= {
        "type": "attempt", "message_id": id, "account": "acme", "carrier": "sim", "result": "sent", "part": 1,
        "parts": 1, "to": UK, "from": NUMBER, "mcc": "234", "mnc": "10", "segments": 1, "error": "000",
        "reason": "DELIVERED", "buy_price": "0.03", "buy_currency": "USD", "sell_price": "0.05",
        "sell_currency": "EUR", "sell_total": "", "client_ref": "order 7", "route": "all",
    }.items()  # fmt: skip
    assert final.items() >= {
        "type": "final", "message_id": id, "result": "DELIVERED", "reason": "RECEIPT", "carrier": "sim",
        "carrier_message_id": attempt["carrier_message_id"], "buy_total": "0.03", "sell_total": "0.05",
        "segments": 1,
    }.items()  # fmt: skip
    assert attempt["at"].endswith("Z")
    assert attempt["accepted_at"] <= attempt["at"] <= final["at"]


@trio_test(mock_clock=True)
async def test_each_part_and_each_refusal_is_an_attempt(tmp_path: Path, cards: None) -> None:
    statuses = iter([0, 0x58])

    def handler(script: Script, pdu: Pdu) -> list[Pdu]:
        if pdu.command_id != CommandId.SUBMIT_SM:
            return []
        status = next(statuses, 0)
        cid = b"" if status else b"id%d" % len(script.submits)
        return [SubmitSmResp(message_id=cid, sequence_number=pdu.sequence_number, command_status=status)]

    ways = (
        CDRS
        + "[receipts]\ngrace_s = 1\n"
        + carrier("north", 2790, rate_card="north", window=1)
        + route("north")
    )
    async with running_with(tmp_path, ways, Script(handler), **PAYS) as (house, _):
        await house.bound()
        id = await house.submit(UK, "x" * 300, validity_s=60)
        await house.final(id, 100_000)
        *attempts, final = await written(house, tmp_path, 1)
    told = [(one["result"], one["part"], one["parts"], one["error"]) for one in attempts]
    assert ("refused", 2, 2, "ESME_RTHROTTLED") in told
    assert [one for one in told if one[0] == "sent"] == [("sent", 1, 2, ""), ("sent", 2, 2, "")]
    assert (final["result"], final["segments"]) == ("EXPIRED", 2)
    assert (final["buy_total"], final["sell_total"]) == ("0.06", "0.1")


@trio_test(mock_clock=True)
async def test_records_are_there_once_whatever_fails_on_the_way_and_after_a_restart(
    tmp_path: Path, cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each third commit of theirs is refused: after a file was written, or before."""
    real, calls = Committer.execute, iter(range(10_000))

    async def unsure(self: Committer, function: Callable[..., Any]) -> Any:
        if getattr(function, "func", function).__module__ == "gateway.cdrs" and next(calls) % 3 == 2:
            raise StoreError("the disk is full")
        return await real(self, function)

    ids: list[str] = []
    for part in range(3):
        async with running(tmp_path, CDRS + "rotate_s = 5\n" + WAYS, **PAYS) as house:
            monkeypatch.setattr(Committer, "execute", unsure)
            await house.bound()
            for _ in range(5):
                ids.append(await house.submit(UK))
                await trio.sleep(3)
            if part < 2:
                monkeypatch.setattr(Committer, "execute", real)
                continue
            found = await written(house, tmp_path, len(ids))
            monkeypatch.setattr(Committer, "execute", real)
    finals = Counter(one["message_id"] for one in found if one["type"] == "final")
    assert finals == dict.fromkeys(ids, 1)
    attempts = Counter(one["message_id"] for one in found if one["type"] == "attempt")
    assert attempts == dict.fromkeys(ids, 1)
    assert len(list((tmp_path / "var" / "cdr").glob("*.jsonl"))) >= 3


@trio_test(mock_clock=True)
async def test_what_has_no_record_yet_is_not_archived(tmp_path: Path, cards: None) -> None:
    async with running(tmp_path, CDRS + WAYS, **PAYS) as house:
        await house.bound()
        store = house.gateway.store
        await written(house, tmp_path, 0)
        id = await house.submit(UK)
        await house.final(id)
        row = store.finished_after(b"", 1 << 31, 1)[0].key
        store.follow_finished(row[:-1])
        later_ms = house.world.wall_ms() + 10**9
        assert store.pick_finished(later_ms, 10) == []
        store.follow_finished(row)
        assert [one.message.id for one in store.pick_finished(later_ms, 10) if one.message] == [int(id)]


@trio_test(mock_clock=True)
async def test_operators_ask_for_records_by_page_and_accounts_see_their_own_ends_only(
    tmp_path: Path, cards: None
) -> None:
    async with running(tmp_path, CDRS + WAYS, **PAYS) as house:
        await house.bound()
        ids = [await house.submit(UK) for _ in range(3)]
        for id in ids:
            await house.final(id)
        await written(house, tmp_path, 3)
        verbs = house.gateway.verbs.table()
        operator = str((await verbs["operator.create"]({"name": "ann"}))["operator_key"])  # type: ignore[index]
        other = str((await verbs["account.create"]({"name": "other"}))["api_key"])  # type: ignore[index]
        seen: list[dict[str, Any]] = []
        path = "/v1/cdrs?limit=4&carrier=sim"
        while path:
            status, page = await house.http("GET", path, key=operator)
            assert status == 200, page
            seen += page["cdrs"]
            path = page["next"]
        assert seen == records(tmp_path)
        status, page = await house.http("GET", "/v1/cdrs")
        assert [one["type"] for one in page["cdrs"]] == ["final"] * 3
        assert {one["sell_total"] for one in page["cdrs"]} == {"0.05"}
        assert not {name for one in page["cdrs"] for name in one if name.startswith(("carrier", "buy"))}
        assert (await house.http("GET", "/v1/cdrs?account=acme", key=other))[0] == 404
        assert (await house.http("GET", "/v1/cdrs?account=acme"))[1] == page
        assert (await house.http("GET", "/v1/cdrs", key=other))[1] == {"cdrs": [], "next": None}
        assert (await house.http("GET", "/v1/cdrs?carrier=sim"))[0] == 422
        assert (await house.http("GET", "/v1/cdrs?type=attempt"))[0] == 422
        one = f"/v1/cdrs?message_id={ids[1]}&type=attempt"
        found = (await house.http("GET", one, key=operator))[1]["cdrs"]
        assert [row["message_id"] for row in found] == [ids[1]]
        later = "/v1/cdrs?since=2030-01-01T00:00:00Z"
        assert (await house.http("GET", later, key=operator))[1]["cdrs"] == []
        for wrong in ("since=yesterday", "type=x", "cursor=!", "to=44*", "color=red"):
            assert (await house.http("GET", f"/v1/cdrs?{wrong}", key=operator))[0] == 422


@trio_test(mock_clock=True)
async def test_without_the_section_nothing_is_written(tmp_path: Path, cards: None) -> None:
    async with running(tmp_path, WAYS, **PAYS) as house:
        await house.bound()
        await house.final(await house.submit(UK))
        await trio.sleep(5)
    assert not (tmp_path / "var" / "cdr").exists()


def test_the_command_lists_records_of_a_stopped_gateway(tmp_path: Path, cards: None, typed: Typed) -> None:
    assert typed("cdr", "list")[0] == FAILED

    @trio_test(mock_clock=True)
    async def traffic() -> None:
        async with running(tmp_path, CDRS + WAYS, **PAYS) as house:
            await house.bound()
            for to in (UK, "447700900555"):
                await house.final(await house.submit(to))
            await written(house, tmp_path, 2)

    traffic()
    code, told = typed("cdr", "list", "--to", "+4477009005", "--json")
    assert (code, [one["type"] for one in json.loads(told)]) == (OK, ["attempt", "final"])
    code, told = typed("cdr", "list", "--type", "final", "--limit", "1", "--since", "2026-09-21")
    assert code == OK
    assert "DELIVERED" in told
    assert "0.05 EUR" in told
    assert "--limit" in told
    assert "No record" in typed("cdr", "list", "--until", "2026-09-21T00:00")[1]
    assert typed("cdr", "list", "--since", "lately")[0] == USAGE
