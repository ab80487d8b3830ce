"""store.tables and store.table_build: look-ups as a plain dictionary answers them; versions and files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.knowledge import Network
from router.rates import Rate, price
from store import table_build
from store.interface import StoreBusy, StoreDamaged, StoreError, StoreFull
from store.table_build import Builder
from store.tables import Kind, Table, TableFacts, Tables

PREFIXES = st.from_regex(r"[1-9][0-9]{0,3}", fullmatch=True)
NUMBERS = st.from_regex(r"[1-9][0-9]{0,5}", fullmatch=True)


def build(
    directory: Path,
    kind: Kind,
    prefixes: list[tuple[str, Network | Rate]] = [],  # noqa: B006 -- never changed
    networks: list[tuple[str, Network | Rate]] = [],  # noqa: B006
    numbers: list[tuple[str, Network]] = [],  # noqa: B006
    *,
    name: str = "t",
    version: int = 1,
) -> TableFacts:
    with Builder(directory, name, kind, version) as builder:
        for digits, row in prefixes:
            builder.add_prefix(digits, row)
        for digits, row in networks:
            builder.add_network(digits, row)
        for digits, one in numbers:
            builder.add_number(digits, one)
        return builder.finish("test.csv")


def opened(directory: Path, name: str = "t", version: int = 1) -> Table:
    return Table(Tables(directory).path(name, version))


def network(text: str) -> Network:
    return Network(text, f"operator {text}")


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(PREFIXES, st.integers(0, 3)), max_size=30), asked=st.lists(NUMBERS, min_size=5)
)
def test_the_longest_prefix_is_found_as_a_dictionary_finds_it(
    rows: list[tuple[str, int]], asked: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tables")
    build(directory, "prefix", [(prefix, network(str(number))) for prefix, number in rows])
    known = {prefix: network(str(number)) for prefix, number in rows}  # the last line counts
    table = opened(directory)
    for digits in [*asked, *known]:
        begun = [digits[:n] for n in range(len(digits), 0, -1) if digits[:n] in known]
        assert [*table.by_prefix(digits)] == [(prefix, known[prefix]) for prefix in begun]
        assert table.of_prefix(digits) == (known[begun[0]] if begun else None)
    table.close()


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(PREFIXES, st.integers(0, 5), st.integers(0, 3)), max_size=30),
    asked=st.lists(NUMBERS, min_size=5),
    at_ms=st.integers(0, 4),
)
def test_the_price_in_force_is_found_as_a_dictionary_finds_it(
    rows: list[tuple[str, int, int]], asked: list[str], at_ms: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tables")
    rates = [(prefix, Rate(micro, "EUR", since)) for prefix, micro, since in rows]
    build(directory, "rates", [*rates])
    known = {(prefix, rate.from_ms): rate for prefix, rate in rates}
    table = opened(directory)
    for digits in asked:
        fitting = [
            (len(prefix), since, rate)
            for (prefix, since), rate in known.items()
            if digits.startswith(prefix) and since <= at_ms
        ]
        found = price(table, digits, "", at_ms)
        assert (found and found.rate) == (max(fitting)[2] if fitting else None)
    table.close()


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, st.integers(0, 3)), max_size=40))
def test_numbers_of_all_lengths_are_found_exactly(
    rows: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tables")
    facts = build(directory, "mnp", numbers=[(digits, network(str(one))) for digits, one in rows])
    known = {digits: network(str(one)) for digits, one in rows}
    assert (facts.numbers, facts.repeated) == (len(known), len(rows) - len(known))
    table = opened(directory)
    for digits in known:
        assert table.of_number(digits) == known[digits]
        assert table.of_number(digits + "0") == known.get(digits + "0")
    assert table.of_number("") is table.of_number("9" * 15) is table.of_number("9" * 40) is None
    table.close()


def test_rows_sorted_in_runs_on_disk_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_build, "_RUN", 7)
    monkeypatch.setattr(table_build, "_BATCH", 3)
    numbers = [(str(447400000000 + one * 7919 % 1000), network(str(one % 5))) for one in range(500)]
    told: list[int] = []
    monkeypatch.setattr(table_build._Told, "count", lambda self: told.append(1))
    facts = build(tmp_path, "mnp", numbers=numbers)
    table = opened(tmp_path)
    assert all(table.of_number(digits) == row for digits, row in dict(numbers).items())
    assert facts.numbers == len(dict(numbers)) == table.facts.numbers
    assert len(told) == 500


def test_networks_and_countries_have_rates_of_their_own(tmp_path: Path) -> None:
    rates = {"23430": Rate(1, "EUR"), "234": Rate(2, "EUR")}
    build(tmp_path, "rates", [("44", Rate(3, "EUR"))], [*rates.items(), ("23430", Rate(9, "EUR", 5))])
    table = opened(tmp_path)
    assert [*table.by_network("23430")] == [("23430", Rate(9, "EUR", 5)), ("23430", Rate(1, "EUR"))]
    assert [*table.by_network("234")] == [("234", Rate(2, "EUR"))]
    assert [*table.by_network("23499"), *table.by_network("")] == []
    assert [*table.by_prefix("447")] == [("44", Rate(3, "EUR"))]
    assert [row for digits in ("", "0", "1", "9", "45") for row in table.by_prefix(digits)] == []


def test_a_key_has_a_bounded_number_of_dates(tmp_path: Path) -> None:
    rates: list[tuple[str, Network | Rate]] = [("44", Rate(1, "EUR", day)) for day in range(65)]
    build(tmp_path, "rates", rates[:64])
    with pytest.raises(StoreError, match="44 has more than 64 prices, each from another date") as caught:
        build(tmp_path, "rates", rates, version=2)
    assert "leave out" in caught.value.hint
    assert not (tmp_path / "t.2.partial").exists()


def test_an_import_stops_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 10_000_000
    monkeypatch.setattr(table_build, "free_disk", lambda path: room)
    monkeypatch.setattr(table_build, "_RUN", 5)
    monkeypatch.setattr(table_build, "_BATCH", 5)

    def written(rows: int) -> None:
        with Builder(tmp_path, "t", "prefix", 2, left_free=1_000_000) as builder:
            for number in range(rows):
                builder.add_prefix(str(4_000 + number), network(str(number % 3)))
            builder.finish("-")

    written(20)
    room = 999_000
    with pytest.raises(StoreFull, match="the import stopped"):
        written(20)
    with pytest.raises(StoreFull, match="the import stopped"):
        written(3)
    assert not list(tmp_path.glob("*.partial"))


def test_a_version_counts_once_it_is_taken_into_use(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    assert tables.get("t") is None
    assert tables.all() == []
    for version in (1, 2):
        build(tmp_path, "prefix", [("44", network(str(version)))], version=version)
        table = opened(tmp_path, version=version)
        tables.record(table)
        assert tables.facts("t") == table.facts
        before = tables.use(table)
        if before is not None:
            before.close()
        assert tables.get("t") is table
        assert tables.sweep("t") == version - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.2.mdb", "t.json", "t.lock"]
    tables.close()
    again = Tables(tmp_path)
    assert [facts.version for facts in again.all()] == [2]
    found = again.get("t")
    assert found is not None
    found.prepare()
    assert found.of_prefix("44") == network("2")
    again.close()
    assert tables.get("t") is not None
    dropped = tables.forget("t")
    tables.unlink("t")
    assert dropped is not None
    assert dropped.of_prefix("44") == network("2")
    dropped.close()
    assert tables.sweep("t") == 1
    assert tables.get("t") is None
    assert Tables(tmp_path).all() == []


def test_who_still_reads_an_old_version_keeps_it(tmp_path: Path) -> None:
    build(tmp_path, "prefix", [("44", network("1"))])
    reader = opened(tmp_path)
    build(tmp_path, "prefix", [("44", network("2"))], version=2)
    new = opened(tmp_path, version=2)
    Tables(tmp_path).record(new)
    Tables(tmp_path).sweep("t")
    assert not reader.path.exists()
    assert (reader.of_prefix("44"), new.of_prefix("44")) == (network("1"), network("2"))
    reader.close()
    new.close()


def test_an_import_that_ends_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> None:
        with Builder(tmp_path, "t", "prefix", 1) as builder:
            builder.add_prefix("44", network("1"))
            (tmp_path / "t.1.partial").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert [path.name for path in tmp_path.iterdir()] == ["t.lock"]


def test_what_a_killed_import_left_goes_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "t.1.partial").write_bytes(b"half")
    (tmp_path / "t.2.mdb").write_bytes(b"never taken into use")
    (tmp_path / "t.x.1.partial").write_bytes(b"another table's")
    build(tmp_path, "prefix", [("44", network("1"))], version=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.3.mdb", "t.lock", "t.x.1.partial"]


def test_one_import_of_a_name_at_a_time(tmp_path: Path) -> None:
    with (
        Builder(tmp_path, "t", "prefix", 1),
        Builder(tmp_path, "other", "prefix", 1),
        pytest.raises(StoreBusy, match="another import of t"),
    ):
        Builder(tmp_path, "t", "prefix", 2)


def test_sweeping_leaves_alone_what_another_process_writes(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    for version in (1, 2):
        build(tmp_path, "prefix", [("44", network("1"))], version=version)
    table = opened(tmp_path, version=2)
    tables.record(table)
    table.close()
    with Builder(tmp_path, "t", "prefix", 5) as builder:
        half, whole = tmp_path / "t.5.partial", tmp_path / "t.5.mdb"
        (tmp_path / "t.1.mdb").write_bytes(b"an earlier version")
        half.write_bytes(b"half")
        assert tables.sweep("t") == 1
        tables.unlink("t")
        assert tables.sweep("t", dropped=2) == 1
        assert half.exists()
        half.unlink()
        builder.add_prefix("44", network("1"))
        builder.finish("test.csv")
        assert tables.sweep("t", dropped=2) == 0
        assert whole.exists()
    assert tables.sweep("t") == 1


def test_a_damaged_table_says_so_and_what_to_do(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    build(tmp_path, "prefix", [("44", network("1"))])
    table = opened(tmp_path)
    tables.record(table)
    table.close()
    whole = tables.path("t", 1).read_bytes()
    for damaged in (b"", b"x" * 8192, whole[:8192]):
        tables.path("t", 1).write_bytes(damaged)
        with pytest.raises(StoreDamaged) as caught:
            tables.get("t")
        assert "import" in caught.value.hint
    tables.path("t", 1).unlink()
    with pytest.raises(StoreDamaged, match="missing"):
        tables.get("t")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(StoreDamaged, match="cannot be read"):
        tables.facts("t")
    assert tables.facts("../t") is None
