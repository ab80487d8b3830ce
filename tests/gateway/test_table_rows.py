"""gateway.table_rows: files as carriers write them, and what is said of those that cannot be read."""

from __future__ import annotations

import io
from typing import Any

import pytest

from gateway.table_rows import NONE, NotATable, Report, Wish, field_of, layout_of, read_rows
from router.knowledge import Network
from router.rates import Rate

JAN_31_MS = 1_769_817_600_000  # 2026-01-31T00:00:00Z


class Kept:
    """The rows as they were handed on."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, Network | Rate]] = []

    def add_prefix(self, digits: str, row: Network | Rate) -> None:
        self.rows.append(("prefix", digits, row))

    def add_network(self, mcc_mnc: str, row: Network | Rate) -> None:
        self.rows.append(("network", mcc_mnc, row))

    def add_number(self, digits: str, row: Network) -> None:
        self.rows.append(("number", digits, row))


def read(kind: str, text: str | bytes, **wish: Any) -> tuple[list[tuple[str, str, Any]], Report]:
    kept, report = Kept(), Report()
    data = text if isinstance(text, bytes) else text.encode()
    read_rows(io.BufferedReader(io.BytesIO(data)), Wish(kind, **wish), kept, report)
    return kept.rows, report


def refused(kind: str, text: str | bytes, **wish: Any) -> str:
    with pytest.raises(NotATable) as caught:
        read(kind, text, **wish)
    return f"{caught.value.message}: {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        "prefix,mccmnc,operator\n4474,23430,EE\n",
        "\ufeffPrefix;MCC;MNC;Network Name\r\n+4474;234;30;EE\r\n",
        "Country\tDial Code\tMCC/MNC\tOperator\nUK\t4474\t234-30\tEE\n",
        'operator|mcc_mnc|"PREFIX"\n"EE"|23430| 4474 \n\n',
    ],
)
def test_headings_and_delimiters_are_found_out(text: str) -> None:
    assert read("prefix", text)[0] == [("prefix", "4474", Network("23430", "EE"))]


def test_columns_may_be_told_by_place_or_by_heading() -> None:
    assert read("prefix", "UK,4474,23430\n", columns=(NONE, "prefix", "mccmnc"))[0] == [
        ("prefix", "4474", Network("23430"))
    ]
    text = "Land,Vorwahl,Netz\nUK,4474,23430\n"
    for columns in (("prefix=Vorwahl", "mccmnc=netz"), (NONE, "prefix", "mccmnc=Netz")):
        assert read("prefix", text, columns=columns)[0] == [("prefix", "4474", Network("23430"))]
    rows, report = read("prefix", text, columns=("prefix=2", "mccmnc=3"))
    assert rows == [("prefix", "4474", Network("23430"))]
    assert report.told == [(1, "'Vorwahl' is no number with country code in digits, such as 447400123456")]


def test_ported_numbers_have_a_network_or_a_routing_prefix() -> None:
    text = "msisdn,mcc,mnc,routing prefix\n+447400123456,234,5,\n447400123457,,,D012\n"
    assert read("mnp", text)[0] == [
        ("number", "447400123456", Network("23405")),
        ("number", "447400123457", Network("", "", "D012")),
    ]


def test_prices_are_by_network_by_country_or_by_prefix() -> None:
    text = (
        "Prefix,MCC,MNC,Rate,Currency,Effective Date\n"
        "44,234,30,0.0325,eur,2026-01-31\n"
        "44,234,*,0.04,EUR,\n"
        "33,,,\"0,05\",EUR,2026-01-31T02:00:00+02:00\n"
        "\"39, 378\",,,1,USD,2026/01/31\n"
    )  # fmt: skip
    assert read("rates", text)[0] == [
        ("network", "23430", Rate(32_500, "EUR", JAN_31_MS)),
        ("network", "234", Rate(40_000, "EUR")),
        ("prefix", "33", Rate(50_000, "EUR", JAN_31_MS)),
        ("prefix", "39", Rate(1_000_000, "USD", JAN_31_MS)),
        ("prefix", "378", Rate(1_000_000, "USD", JAN_31_MS)),
    ]


def test_a_currency_and_a_form_of_dates_may_be_told_for_all() -> None:
    rows, _ = read(
        "rates", "prefix,price,effective\n44,0.1,31.01.2026\n", currency="gbp", date_format="%d.%m.%Y"
    )
    assert rows == [("prefix", "44", Rate(100_000, "GBP", JAN_31_MS))]


@pytest.mark.parametrize(
    ("kind", "row", "problem"),
    [
        ("prefix", "044,23430", "'044' is no number with country code"),
        ("prefix", ",23430", "'' is no number"),
        ("prefix", "44x,23430", "is no number"),
        ("prefix", "44", "has only 1 columns"),
        ("prefix", "44,", "it names no network"),
        ("prefix", "44,234", "is no MCC and MNC"),
        ("prefix", "44,99999", "is no MCC and MNC"),
        ("mnp", "4474,23430", "is too short for a number"),
        ("mnp", "4474001234567890,23430", "is no number"),
        ("rates", "44,free", "'free' is no price"),
        ("rates", "44,0.0000001", "has more than 6 decimals"),
        ("rates", "44,1.000,00", "has 3 columns, the first line 2"),
        ("rates", "44,0,05", "is a comma inside a price"),
        ("rates", ",1", "'' is no number"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_left_out(kind: str, row: str, problem: str) -> None:
    heads = {"prefix": "prefix,mccmnc", "mnp": "number,mccmnc", "rates": "prefix,price"}
    good = {"prefix": "1,310410", "mnp": "12015550123,310410", "rates": "1,0.01"}
    text = f"{heads[kind]}\n{good[kind]}\n{row}\n\n{good[kind]}\n"
    rows, report = read(kind, text, currency="EUR")
    assert (len(rows), report.rows, report.bad) == (2, 3, 1)
    [(line, told)] = report.told
    assert line == 3
    assert problem in told


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("44,1,,", "no currency"),
        ("44,1,EURO,", "is no currency"),
        ("44,1,EUR,31.01.2026", "no date as 2026-01-31"),
        ("44,1,EUR,soon", "--date-format"),
    ],
)
def test_a_price_needs_its_currency_and_a_date_that_can_be_read(row: str, problem: str) -> None:
    rows, report = read("rates", f"prefix,price,currency,valid_from\n{row}\n")
    assert rows == []
    assert problem in report.told[0][1]


def test_only_the_first_bad_rows_are_told_and_all_counted() -> None:
    _, report = read("prefix", "prefix,mccmnc\n" + "x,1\n" * 50, most_told=3)
    assert (report.rows, report.bad, [line for line, _ in report.told]) == (50, 50, [2, 3, 4])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is empty"),
        (b"\nprefix,mccmnc\n", "is empty"),
        ("prefix,mccmnc\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04", "spreadsheet"),
        (b"\x1f\x8b\x08\x00", "unpack it"),
        (b"44,23430\n", "no column of prefix was found; the first line is '44 | 23430'"),
        (b"prefix,operator\n44,EE\n", "no column of mccmnc or mcc and mnc"),
        (b"prefix,mcc\n44,234\n", "--columns prefix,mccmnc,operator"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_what_to_do(text: bytes, problem: str) -> None:
    assert problem in refused("prefix", text)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (("prefix", "network-name"), "is no field"),
        (("prefix", "mccmnc=Netz"), "no column is called 'Netz'"),
        (("prefix", "mccmnc=7"), "no column 7"),
        (("prefix", "mccmnc=0"), "no column 0"),
        ((NONE, "mccmnc"), "no column of prefix"),
    ],
)
def test_wrong_columns_are_refused(columns: tuple[str, ...], problem: str) -> None:
    assert problem in refused("prefix", "44,23430\n", columns=columns)


def test_octets_that_are_no_utf8_and_broken_quotes_stop_nothing() -> None:
    rows, report = read("prefix", b'prefix,mccmnc,operator\n44,23430,T\xe9l\xe9\n1,310410,"a b"\n')
    assert [row.operator for _, _, row in rows] == ["T\ufffdl\ufffd", "a b"]
    assert report.bad == 0
    long = "x" * 200_000
    rows, report = read("prefix", f"prefix,mccmnc,operator\n44,23430,{long}\n1,310410,\n")
    assert [digits for _, digits, _ in rows] == ["1"]
    assert report.told[0][1].startswith("no CSV")


def test_a_row_over_several_lines_is_a_stray_quote_and_counts_them_all() -> None:
    text = (
        'prefix,mccmnc,operator\n44,23430,"EE\n' + "33,20801,Orange\n" * 5 + '49,26201,"Telekom"\n1,310410,\n'
    )
    rows, report = read("prefix", text)
    assert [digits for _, digits, _ in rows] == ["1"]
    assert (report.rows, report.bad) == (8, 7)
    assert report.told == [(2, "it goes on to line 8: is a quote missing, or one too many?")]
    long = 'prefix,mccmnc,operator\n44,23430,"' + "33,20801,Orange\n" * 9_000
    rows, report = read("prefix", long)
    assert (report.rows, report.bad + len(rows)) == (9_000, 9_000)
    assert report.bad > 8_000
    assert "Dial" in refused("prefix", 'prefix,"Dial\n' + "33,20801\n" * 9)
    assert read("prefix", '"prefix","mcc\nmnc"\n44,23430\n')[1].bad == 0


def test_a_heading_is_never_taken_for_two_fields() -> None:
    assert layout_of(["Price", "Rate", "Code"], Wish("rates")).columns == {"price": 0, "prefix": 2}
    assert field_of("Country") is None
    assert field_of("") is None
