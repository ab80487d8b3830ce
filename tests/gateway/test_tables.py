"""Tables of numbers: imported by the command, taken into use by a gateway that runs or not, and asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.admin import AdminError
from gateway.admin_tables import TableVerbs
from gateway.cli import root
from gateway.cli.failure import FAILED, INTERRUPTED, OK, STORE, UNREACHABLE, USAGE, Failure
from gateway.cli.place import Place
from gateway.known import Known
from router.knowledge import Network
from router.rates import Rate
from store.table_build import Builder
from store.tables import Table, Tables
from tests.gateway.house import Running, carrier, route, running, simulator
from tests.trio_case import trio_test

NUMBERS = '[numbers]\nprefix_table = "networks"\nmnp_table = "ported"\n'
TOML = NUMBERS + carrier("sim", 2776, rate_card="sim-2026") + simulator("sim", 2776) + route("sim")
NOW_MS = 1_790_000_000_000

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Run a command line on the data directory: exit code, output, errors."""
    monkeypatch.setattr("os.nice", lambda by: by)

    def run(*line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = root.run([*line, "--data-dir", str(tmp_path / "var")])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def written(directory: Path, text: str, name: str = "file.csv") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


async def ask(house: Running, verb: str, **args: object) -> Any:
    return json.loads(json.dumps(await house.gateway.verbs.table()[verb](args)))


def build(directory: Path, name: str, version: int, prefixes: dict[str, str]) -> None:
    with Builder(directory, name, "prefix", version) as builder:
        for prefix, mcc_mnc in prefixes.items():
            builder.add_prefix(prefix, Network(mcc_mnc))
        builder.finish("test.csv")


# the commands, on a gateway that does not run


def test_a_table_is_imported_shown_listed_and_dropped(tmp_path: Path, typed: Typed) -> None:
    file = written(
        tmp_path, "prefix,mcc,mnc,operator\n4474,234,30,EE\n44,234,15,Vodafone\n44x,234,15,\n44,234,10,O2\n"
    )
    code, out, err = typed("table", "import", "prefix", "networks", file, "--max-bad", "25")
    assert code == OK, err
    assert "networks has 2 rows now." in out
    assert "1 row repeated an earlier one" in out
    assert f"{file}:4: '44x' is no number" in err
    assert "1 bad row of 4 left out" in err
    code, out, _ = typed("table", "show", "networks", "+44 7400 123456")
    assert code == OK
    assert [line.split() for line in out.splitlines()[1:]] == [["4474", "23430", "EE"], ["44", "23410", "O2"]]
    assert typed("table", "show", "networks", "33612345678")[0] == FAILED
    code, out, _ = typed("table", "show", "networks", "--json")
    assert (json.loads(out)["rows"], json.loads(out)["bad"], json.loads(out)["kind"]) == (2, 1, "prefix")
    code, out, _ = typed("table", "list")
    assert out.splitlines()[1].split()[:3] == ["networks", "prefix", "2"]
    assert "table.imported" in typed("audit", "list")[1]
    assert typed("table", "drop", "networks", "--reason", "old")[0] == OK
    assert json.loads(typed("audit", "list", "--json")[1])[0]["act"] == "table.dropped"
    assert "No tables yet" in typed("table", "list")[1]
    assert [path.name for path in (tmp_path / "var" / "tables").iterdir()] == ["networks.lock"]


def test_rates_are_shown_with_the_one_in_force(tmp_path: Path, typed: Typed) -> None:
    file = written(
        tmp_path,
        "prefix,mccmnc,price,currency,valid_from\n44,,0.03,EUR,2020-01-01\n44,,0.04,EUR,2999-01-01\n,23430,0.02,EUR,\n",
    )
    assert typed("table", "import", "rates", "card", file)[0] == OK
    out = typed("table", "show", "card", "447400123456", "--json")[1]
    rows = json.loads(out)["rows"]
    assert [(one["price"], one["in_force"]) for one in rows] == [("0.04", False), ("0.03", True)]
    assert "0.02" in typed("table", "show", "card", "234-30")[1]


def test_strict_and_wrong_files_change_nothing(tmp_path: Path, typed: Typed) -> None:
    good = written(tmp_path, "44,23430\n", "good.csv")
    bad = written(tmp_path, "number,mccmnc\n447400123456,23430\nx,1\n", "bad.csv")
    assert typed("table", "import", "prefix", "t", good, "--columns", "prefix,mccmnc")[0] == OK
    before = typed("table", "list")[1]
    code, _, err = typed("table", "import", "mnp", "other", bad, "--strict")
    assert code == FAILED
    assert "bad.csv:3: 'x' is no number" in err
    assert "nothing was imported: 1 bad row" in err
    code, _, err = typed("table", "import", "prefix", "t", good)
    assert code == USAGE
    assert "--columns prefix,mccmnc,operator" in err
    code, _, err = typed("table", "import", "mnp", "t", bad)
    assert code == USAGE
    assert "of kind prefix" in err
    assert typed("table", "import", "mnp", "../t", bad)[0] == USAGE
    assert typed("table", "import", "mnp", "u", bad, "--delimiter", "ab")[0] == USAGE
    empty = written(tmp_path, "number,mccmnc\n", "empty.csv")
    assert typed("table", "import", "mnp", "u", empty)[0] == FAILED
    assert typed("table", "list")[1] == before
    assert not [
        path
        for path in (tmp_path / "var" / "tables").iterdir()
        if path.suffix in (".partial", ".mdb") and not path.name.startswith("t.")
    ]
    assert typed("table", "show", "nothing")[0] == FAILED


def test_a_file_with_many_bad_rows_leaves_the_table_in_use(tmp_path: Path, typed: Typed) -> None:
    good = written(tmp_path, "prefix,mccmnc\n44,23430\n", "good.csv")
    assert typed("table", "import", "prefix", "t", good)[0] == OK
    rows = "".join(f"{number},23430\n" for number in range(1_000, 1_099))
    bad = written(tmp_path, f"prefix,mccmnc\n{rows}x,1\ny,1\n", "bad.csv")
    code, _, err = typed("table", "import", "prefix", "t", bad)
    assert code == FAILED
    assert "nothing was imported: 2 bad rows of 101 are more than 1 %" in err
    assert "--max-bad" in err
    assert "44" in typed("table", "show", "t", "447400123456")[1]
    assert typed("table", "import", "prefix", "t", bad, "--max-bad", "2")[0] == OK
    assert typed("table", "import", "prefix", "t", bad, "--max-bad", "101")[0] == USAGE


def test_a_card_with_too_many_dates_for_a_key_is_the_files_fault(tmp_path: Path, typed: Typed) -> None:
    days = [f"2026-{day // 28 + 1:02}-{day % 28 + 1:02}" for day in range(65)]
    rows = "".join(f"44,0.01,EUR,{day}\n" for day in days)
    file = written(tmp_path, f"prefix,price,currency,valid_from\n{rows}", "card.csv")
    code, _, err = typed("table", "import", "rates", "card", file)
    assert code == FAILED
    assert "44 has more than 64 prices" in err
    assert "leave out" in err
    assert typed("table", "show", "card")[0] == FAILED


def test_an_import_never_fills_the_disk_that_messages_need(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "prefix,mccmnc\n44,23430\n")
    monkeypatch.setattr("store.layout.free_disk", lambda path: 511 << 20)
    code, _, err = typed("table", "import", "prefix", "t", file)
    assert code == STORE
    assert "has 511 MiB free, the import may need 512" in err
    assert [path.name for path in (tmp_path / "var" / "tables").iterdir()] == ["t.lock"]


def test_an_import_that_fails_late_never_takes_the_table_in_use_away(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "prefix,mccmnc\n44,23430\n")

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(TableVerbs, "_clean", fails)
        with pytest.raises(OSError, match="disk"):
            typed("table", "import", "prefix", "t", file)
    assert "23430" in typed("table", "show", "t", "447400123456")[1]
    before = typed("table", "show", "t")[1]
    with monkeypatch.context() as patch:
        patch.setattr(TableVerbs, "_tell", fails)
        with pytest.raises(OSError, match="disk"):
            typed("table", "import", "prefix", "t", file)
    assert typed("table", "show", "t")[1] == before
    assert "23430" in typed("table", "show", "t", "447400123456")[1]
    assert len(list((tmp_path / "var" / "tables").glob("*.mdb"))) == 1


@pytest.mark.parametrize(
    "problem", [Failure("no answer in time", exit_code=UNREACHABLE), KeyboardInterrupt()]
)
def test_a_gateway_that_may_still_take_the_new_version_keeps_it(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    file = written(tmp_path, "prefix,mccmnc\n44,23430\n")

    def ask(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(Place, "ask", ask)
    assert typed("table", "import", "prefix", "t", file)[0] in (UNREACHABLE, INTERRUPTED)
    assert len(list((tmp_path / "var" / "tables").glob("t.*.mdb"))) == 1


# a gateway that runs


@trio_test
async def test_a_new_version_counts_at_once_and_the_old_one_goes(tmp_path: Path) -> None:
    async with running(tmp_path, TOML) as house:
        known = house.gateway.known
        directory = house.gateway.tables.directory
        assert known.mcc_mnc("447400123456") == ""
        for version, mcc_mnc in ((1, "23430"), (2, "23410")):
            build(directory, "networks", version, {"44": mcc_mnc})
            shown = await ask(house, "table.use", name="networks", version=version)
            assert shown["used_by"] == "[numbers] prefix_table"
            assert known.mcc_mnc("447400123456") == mcc_mnc
        assert [path.name for path in directory.glob("*.mdb")] == ["networks.2.mdb"]
        _, metrics = await house.http("GET", "/metrics")
        assert 'signalbox_table_rows{kind="prefix",table="networks"} 1' in metrics.replace(".0", "")
        again = await ask(house, "table.use", name="networks", version=2)
        assert again["version"] == "2"
        trail = [one for one in await ask(house, "audit.list") if one["act"].startswith("table")]
        assert [(one["act"], one["subject"], one["after"]["version"]) for one in trail] == [
            ("table.imported", "table:networks", 2),
            ("table.imported", "table:networks", 1),
        ]
        with pytest.raises(AdminError, match=r"\[numbers\] prefix_table uses networks"):
            await ask(house, "table.drop", name="networks")
        with pytest.raises(AdminError, match=r"there is no .*networks\.3\.mdb"):
            await ask(house, "table.use", name="networks", version=3)


@trio_test
async def test_the_command_tells_a_running_gateway(tmp_path: Path, typed: Typed) -> None:
    file = written(tmp_path, "44,23430\n")
    async with running(tmp_path, TOML) as house:
        line = ("table", "import", "prefix", "networks", file, "--columns", "prefix,mccmnc")
        code, out, err = await trio.to_thread.run_sync(partial(typed, *line))
        assert code == OK, err
        assert house.gateway.known.mcc_mnc("447400123456") == "23430"
        code, out, _ = await trio.to_thread.run_sync(typed, "table", "list")
        assert "[numbers] prefix_table" in out


@trio_test
async def test_tables_are_there_after_a_restart_and_damaged_ones_stop_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "tables"
    async with running(tmp_path, TOML) as house:
        build(directory, "networks", 1, {"44": "23430"})
        await ask(house, "table.use", name="networks", version=1)
    async with running(tmp_path, TOML) as house:
        assert house.gateway.known.mcc_mnc("447400123456") == "23430"
    (directory / "networks.1.mdb").write_bytes(b"x" * 20_000)
    async with running(tmp_path, TOML) as house:
        assert house.gateway.known.mcc_mnc("447400123456") == ""
        await house.final(await house.submit("+447400123456"))
        build(directory, "networks", 2, {"44": "23410"})
        await ask(house, "table.use", name="networks", version=2)
        assert house.gateway.known.mcc_mnc("447400123456") == "23410"


# what is known of a number


def test_a_ported_number_is_of_its_own_network_and_others_of_their_prefixs(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    with Builder(tmp_path, "networks", "prefix", 1) as builder:
        for prefix, mcc_mnc in (("4474", "23430"), ("44", "23415"), ("4499012", "23410")):
            builder.add_prefix(prefix, Network(mcc_mnc))
        builder.finish("test.csv")
    with Builder(tmp_path, "ported", "mnp", 1) as builder:
        builder.add_number("447400000001", Network("23410"))
        builder.add_number("447400000002", Network("", "", "4499012"))
        builder.add_number("447400000003", Network("", "", "77"))
        builder.add_number("447400000004", Network("23430"))  # came back
        builder.finish("test.csv")
    with Builder(tmp_path, "card", "rates", 1) as builder:
        builder.add_network("23410", Rate(1, "EUR"))
        builder.add_prefix("44", Rate(2, "EUR"))
        builder.finish("test.csv")
    for name in ("networks", "ported", "card"):
        assert tables.get(name) is None
        taken = Table(tables.path(name, 1))
        tables.record(taken)
        tables.use(taken)
    known = Known(tables, "networks", "ported")
    expected = {
        "447400000000": ("23430", False, 2),
        "447400000001": ("23410", True, 1),
        "447400000002": ("23410", True, 1),
        "447400000003": ("23430", True, 2),
        "447400000004": ("23430", False, 2),
        "442079460000": ("23415", False, 2),
    }
    for digits, (mcc_mnc, ported, micro) in expected.items():
        assert (known.mcc_mnc(digits), known.ported(digits)) == (mcc_mnc, ported), digits
        found = known.price("card", digits, NOW_MS)
        assert found is not None
        assert found.rate.price == micro
    assert known.mcc_mnc("33612345678") == ""
    assert known.price("card", "33612345678", NOW_MS) is known.price("networks", "44", NOW_MS) is None
    assert known.price("nothing", "44", NOW_MS) is None
    assert (known.country("447400000000"), known.number_type("447400000000")) == ("GB", "mobile")
    wrong = Known(tables, "card", "networks")
    wrong.check()
    assert (wrong.mcc_mnc("447400000001"), wrong.ported("447400000001")) == ("", False)
    tables.close()
