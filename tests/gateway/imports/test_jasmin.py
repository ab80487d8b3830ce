"""Jasmin's configuration in our terms. The files in jasmin/store were written by Jasmin 0.11.1's own classes,
as jcli's `persist` writes them: two users of a group, two connectors, six MT routes, two MO routes.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import load
from gateway.cli.root import run
from gateway.imports.jasmin import BadJasmin, translated
from gateway.imports.pickled import BadPickle, Thing, read
from gateway.passwords import hash_digest, verifies

HERE = Path(__file__).parent / "jasmin"


def test_connectors_become_carriers() -> None:
    north, south = translated(HERE).carriers
    assert north == {
        "name": "north", "host": "192.0.2.10", "port": 2775, "system_id": "sig", "password": "secret",
        "tps": 50, "system_type": "VMA", "enquire_link_s": 30, "response_timeout_s": 120, "tls": True,
    }  # fmt: skip
    assert (south["bind"], south["tps"]) == ("transmitter", 1)


def test_routes_are_asked_in_jasmins_order() -> None:
    assert translated(HERE).routes == [
        {"name": "route-30", "match": {"account": ["alice"], "tag": ["otp"]}, "lane": ["south"]},
        {
            "name": "route-25",
            "match": {"group": ["marketing"], "sender": ["ACME"]},
            "lane": ["south", "north"],
        },
        {
            "name": "route-20",
            "match": {"prefix": ["44"]},
            "lane": [{"carrier": "north", "weight": 1}, {"carrier": "south", "weight": 1}],
        },
        {
            "name": "route-12",
            "match": {"hours": ["08:00-20:00"], "dates": ["2026-01-01..2026-12-31"], "text": ["STOP"]},
            "lane": ["south"],
        },
        {"name": "default", "lane": ["north"]},
    ]


def test_users_become_accounts_that_keep_their_passwords() -> None:
    alice, bob, app = translated(HERE).accounts
    assert alice.settings == {
        "apis": ["jasmin"], "group": "marketing", "destinations": ["44"], "senders": ["ACME", "*"],
        "tps": 20.0, "max_binds": 3, "numbers": ["12345"], "mos_via": "smpp",
    }  # fmt: skip
    assert verifies(hash_digest(alice.digests["alice"]), b"s3cret")
    assert not verifies(hash_digest(alice.digests["alice"]), b"geheim")
    assert bob.settings["suspended"] is True
    assert app.settings == {
        "mo_url": "http://app.example/mo",
        "callback_format": "jasmin",
        "callback_method": "post",
    }
    assert translated(HERE).sections == {
        "smpp": {"listen": ["0.0.0.0:2775"]},
        "inbound": {"fallback_account": "mo-app"},
    }


def test_what_has_no_counterpart_is_named() -> None:
    said = [str(left) for left in translated(HERE).left]
    for wanted in (
        "jasmin.cfg [redis-client]: host, port: there is no Redis",
        "connector south: stopped: signalbox carrier suspend south",
        "connector south: data_coding = 3",
        "user u1: balance of 12.5: signalbox account set alice --billing prepaid",
        "mtroute 15: StaticMTRoute: EvalPyFilter has no counterpart; the route was left out",
        "mtroute 30: rate of 0.05: accounts pay by rate cards",
    ):
        assert any(line.startswith(wanted) for line in said), (wanted, said)


def test_the_command_makes_a_configuration_and_accounts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "signalbox.toml"
    assert run(["import", "jasmin", str(HERE), "--output", str(output), "--accounts", "--json"]) == 0
    told: Any = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["made"]] == ["alice", "bob", "mo-app"]
    assert len(load(output).routes) == 5
    assert run(["account", "show", "alice", "--config", str(output), "--json"]) == 0
    shown: Any = json.loads(capsys.readouterr().out)
    assert (shown["system_ids"], shown["apps"], shown["suspended"]) == (["alice"], {"alice": 1}, False)
    assert run(["account", "show", "bob", "--config", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suspended"] is True


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("smppccs", b"something else\n", "was not written by jcli"),
        ("smppccs", b"Persisted on x\n\x80\x02]q", "ends too early|damaged"),
        ("router-users", b"Persisted on x\ncos\nsystem\n(S'x'\ntR.", "holds no list of what it should"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    shutil.copytree(HERE, tmp_path / "etc")
    (tmp_path / "etc" / "store" / f"jcli-prod.{name}").write_bytes(data)
    with pytest.raises(BadJasmin, match=said):
        translated(tmp_path / "etc")


def test_a_directory_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadJasmin, match="run `persist` in jcli first"):
        translated(tmp_path)
    with pytest.raises(BadJasmin, match="is no directory"):
        translated(tmp_path / "nowhere")


# pickles as data


class Trap:
    """Its pickle calls something when it is loaded."""

    def __reduce__(self) -> Any:
        return (sys.exit, ("it was called",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_called(protocol: int) -> None:
    found = read(pickle.dumps(Trap(), protocol))
    assert isinstance(found, Thing)
    assert (found.name, found.arguments) == ("exit", ("it was called",))


def test_nested_tuples_as_keys_cost_nothing() -> None:
    nested = b"\x80\x02}(" + b")" + b"2\x86" * 60 + b"K\x01u."
    assert list(read(nested)) == ["(tuple)"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_reads_as_it_was(value: Any, protocol: int) -> None:
    assert _plain(read(pickle.dumps(value, protocol))) == value


def _plain(value: Any) -> Any:
    """Empty bytes are a call in old protocols."""
    if isinstance(value, Thing):
        assert value.kind in ("builtins.bytes", "__builtin__.bytes")
        return b""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    for one in (data, b"\x80\x04" + data, pickle.dumps([Trap(), {"a": (1, b"x")}])[:-3] + data):
        with contextlib.suppress(BadPickle):
            read(one)
