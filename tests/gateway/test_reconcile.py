"""A carrier's invoice against our records: every kind of difference, other forms of ids, exit codes."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cdr_lines import COLUMNS, Line
from gateway.cli.failure import FAILED, OK, USAGE
from gateway.reconcile import amount
from store.cdr_files import Mark, Writer
from tests.gateway.conftest import Typed

DAY = "2026-09-21T"
HEADINGS = "Message ID,MSISDN,Date,Price,Parts\n"


def record(id: str, number: str = "447700900001", at: str = "10:00:00", **fields: Any) -> Line:
    told = dict.fromkeys(COLUMNS, "") | {"part": 1, "parts": 1, "segments": 1}
    told |= {
        "at": f"{DAY}{at}.000Z", "type": "attempt", "message_id": f"1{id}", "carrier": "north",
        "carrier_message_id": id, "result": "sent", "to": number, "buy_price": "0.03", "buy_currency": "EUR",
    }  # fmt: skip
    return msgspec.convert(told | fields, Line)


def row(id: str, number: str = "447700900001", price: str = "0.03", segments: int = 1) -> str:
    return f"{id},{number},{DAY}10:00:00Z,{price},{segments}\n"


class Case:
    """Records of ours, invoices of theirs."""

    def __init__(self, directory: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.typed = typed
        self.niced: list[int] = []
        monkeypatch.setattr("os.nice", self.niced.append)

    def sent(self, *lines: Line) -> None:
        encoded = [msgspec.json.encode(line) for line in lines]
        Writer(self.directory / "var" / "cdr", Mark()).append(b"key", encoded, [], 1_790_000_000_000)

    def run(self, rows: str, *options: str, headings: str = HEADINGS) -> tuple[int, str]:
        file = self.directory / "invoice.csv"
        file.write_text(headings + rows)
        return self.typed("reconcile", str(file), "--carrier", "north", *options)

    def told(self, rows: str, *options: str, headings: str = HEADINGS) -> tuple[int, Any]:
        code, told = self.run(rows, "--json", *options, headings=headings)
        return code, json.loads(told)


@pytest.fixture
def case(tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, typed, monkeypatch)


def kinds(told: Any) -> dict[str, int]:
    return {kind: count for kind, count in told["counts"].items() if count}


def test_books_that_agree_say_so(case: Case) -> None:
    case.sent(
        record("a1"),
        record("a2", "447700900002"),
        record("x", carrier="south"),
        record("r", result="refused"),
        record("f", type="final"),
    )
    code, told = case.run(
        f"a1,447700900001,{DAY}10:00:05Z,0.03,1\na2,+44 7700 900002,{DAY}10:00:05Z,0.030,1\n"
    )
    assert code == OK
    assert "They agree." in told
    assert [line.split() for line in told.splitlines()[1:3]] == [
        ["invoice", "2", "2", "0.06"],
        ["records", "2", "2", "0.06"],
    ]
    assert case.niced == [10]


def test_each_kind_of_difference_is_told_with_its_line_and_message(case: Case) -> None:
    case.sent(*(record(f"a{number}", f"44770090000{number}") for number in range(1, 7)))
    code, told = case.told(
        f"a1,447700900001,{DAY}10:00:00Z,0.03,1\n"
        f"a1,447700900001,{DAY}10:00:00Z,0.03,1\n"  # again
        f"a2,447700900002,{DAY}10:00:00Z,0.035,1\n"
        f"a3,447700900003,{DAY}10:00:00Z,0.03,2\n"
        f"a4,33612345678,{DAY}10:00:00Z,0.03,1\n"
        f"b9,447700900009,{DAY}10:00:00Z,0.03,1\n"  # a5 and a6 are not there
    )
    assert code == FAILED
    assert kinds(told) == {
        "missing_here": 1, "missing_there": 2, "duplicate": 1, "number": 1, "segments": 1, "price": 1
    }  # fmt: skip
    found = {(one["kind"], one["id"]): one for one in told["differences"]}
    assert set(found) == {
        ("missing_here", "b9"), ("missing_there", "a5"), ("missing_there", "a6"), ("duplicate", "a1"),
        ("number", "a4"), ("segments", "a3"), ("price", "a2"),
    }  # fmt: skip
    assert found["duplicate", "a1"]["line"] == 3
    price = found["price", "a2"]
    assert (price["theirs"], price["ours"], price["message_id"]) == ("0.035", "0.03", "1a2")
    assert (found["segments", "a3"]["theirs"], found["segments", "a3"]["ours"]) == ("2", "1")
    assert told["difference"] == "0.005"


def test_ids_are_found_in_the_other_forms_that_carriers_write_them_in(case: Case) -> None:
    case.sent(record("0000002AF7"), record("12345", "447700900002"))
    code, told = case.told(
        f"10999,447700900001,{DAY}10:00:00Z,0.03,1\n3039,447700900002,{DAY}10:00:00Z,0.03,1\n"
    )
    assert (code, kinds(told)) == (OK, {})
    code, told = case.told(
        f"10999,447700900077,{DAY}10:00:00Z,0.03,1\n12345,447700900002,{DAY}10:00:00Z,0.03,1\n"
    )
    assert kinds(told) == {"missing_here": 1, "missing_there": 1}, "a guess needs the same number"


def test_one_line_may_bill_the_parts_of_a_long_message(case: Case) -> None:
    parts: dict[str, Any] = {"message_id": "7", "parts": 3}
    case.sent(*(record(f"p{part}", part=part, **parts) for part in (1, 2, 3)), record("a1"))
    code, told = case.told(f"p1,447700900001,{DAY}10:00:00Z,0.09,3\na1,447700900001,{DAY}10:00:00Z,0.03,1\n")
    assert (code, kinds(told)) == (OK, {})
    assert (told["records"]["segments"], told["records"]["price"]) == (4, "0.12")
    code, told = case.told(f"p1,447700900001,{DAY}10:00:00Z,0.06,2\na1,447700900001,{DAY}10:00:00Z,0.03,1\n")
    assert kinds(told) == {"missing_there": 1}


def test_what_lies_beside_the_period_matches_and_is_not_missed(case: Case) -> None:
    late, early = record("late"), record("early", "447700900003")
    late.at, early.at = "2026-09-22T00:00:01.000Z", "2026-09-20T23:59:59.000Z"
    case.sent(record("a1"), late, early)
    code, told = case.told(
        f"a1,447700900001,{DAY}09:00:00Z,0.03,1\nlate,447700900001,{DAY}23:59:59Z,0.03,1\n"
    )
    assert (code, kinds(told)) == (OK, {})
    _, told = case.told("a1,447700900001,,0.03,1\n", "--since", "2026-09-20", "--until", "2026-09-22")
    assert [one["id"] for one in told["differences"]] == ["early"]


def test_other_headings_delimiters_and_dates_are_said(case: Case) -> None:
    case.sent(record("a1"))
    rows = "21.09.2026 12:00;A1 x;a1;0.03\n"
    headings = "When;Note;Our Ref;Total EUR\n"
    code, told = case.run(rows, headings=headings)
    assert (code, "say --columns id=NAME" in told) == (USAGE, True)
    columns = "id=our ref,price=4,date='When'"
    code, told = case.run(rows, "--columns", columns, "--date-format", "%d.%m.%Y %H:%M", headings=headings)
    assert (code, "They agree." in told) == (OK, True), told
    assert case.run(rows, "--columns", "id=nothing", headings=headings)[0] == USAGE
    assert case.run(rows, "--columns", "colour=1", headings=headings)[0] == USAGE
    assert case.run(rows, "--columns", "id=3", headings=headings)[0] == USAGE, "no dates, no period"


def test_bad_rows_are_told_with_their_lines_and_are_no_agreement(case: Case) -> None:
    case.sent(record("a1"))
    code, told = case.run(
        f"a1,447700900001,{DAY}10:00:00Z,0.03,1\n"
        f"a2,447700900001,yesterday,0.03,1\n,1,,,\na3,1,,1e999,1\na4,1,,0.03,none\n"
    )
    assert code == FAILED
    assert "invoice.csv:3: 'yesterday' is no date" in told
    assert "invoice.csv:4: it has no id" in told
    assert "invoice.csv:5: '1e999' is no price" in told
    assert "invoice.csv:6: 'none' is no number of segments" in told


def test_without_our_price_the_price_is_not_compared_and_that_is_said(case: Case) -> None:
    case.sent(record("a1", buy_price=""))
    code, told = case.run(f"a1,447700900001,{DAY}10:00:00Z,0.03,1\n")
    assert (code, "1 attempt have no price: has north a rate_card?" in told) == (OK, True)


def test_all_differences_go_into_a_file_however_few_are_shown(case: Case, tmp_path: Path) -> None:
    case.sent(*(record(f"a{number}") for number in range(30)))
    output = tmp_path / "differences.csv"
    code, told = case.run(f"b,447700900001,{DAY}10:00:00Z,0.03,1\n", "--show", "2", "--output", str(output))
    assert code == FAILED
    assert "missing_there: 30 lines" in told
    assert told.count("447700900001") == 3
    with output.open(newline="") as file:
        assert len(list(csv.reader(file))) == 32


def test_many_lines_are_compared(case: Case) -> None:
    case.sent(*(record(f"id{number}") for number in range(20_000)))
    rows = "".join(f"id{number},447700900001,{DAY}10:00:00Z,0.03,1\n" for number in range(1, 20_001))
    code, told = case.told(rows)
    assert (code, kinds(told)) == (FAILED, {"missing_here": 1, "missing_there": 1})
    assert told["invoice"]["price"] == amount(20_000 * 30_000_000)


def test_without_records_it_says_what_to_switch_on(case: Case) -> None:
    code, told = case.run("")
    assert (code, "[cdrs] enabled = true" in told) == (FAILED, True)


def test_a_carrier_that_nobody_knows_is_no_invoice_full_of_differences(case: Case) -> None:
    case.sent(record("a1"))
    code, told = case.run(row("a1"), "--carrier", "nroth")
    assert code == USAGE
    assert "no carrier nroth is known, and no record names it" in told
    assert "known: sim" in told, "those of the configuration"
    assert "missing_here" not in told


def test_a_carrier_that_only_records_or_the_configuration_know_is_compared(case: Case) -> None:
    case.sent(record("s1", carrier="south"))
    elsewhere = row("a1").replace("2026-09-21", "2027-01-01")
    for name in ("south", "sim-a"):
        code, told = case.told(elsewhere, "--carrier", name)
        assert (code, kinds(told)) == (FAILED, {"missing_here": 1}), name


def test_the_example_of_the_documentation_works_as_it_is_typed(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case.sent(record("a1"))
    (tmp_path / "north-2026-09.csv").write_text(f"Msg Ref,Date,Amount\na1,{DAY}10:00:00Z,0.03\n")
    page = (Path(__file__).parents[2] / "docs" / "money.md").read_text().splitlines()
    lines = [shlex.split(line)[1:] for line in page if line.startswith("    signalbox reconcile")]
    assert lines
    for line in lines:
        assert case.typed(*line)[0] == OK
