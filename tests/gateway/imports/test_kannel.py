"""Kannel's configuration in our terms: what a gateway makes of it, and what it says of the rest."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from gateway.cli.root import run
from gateway.imports.kannel import BadKannel, read, translated
from tests.gateway.house import free_ports

MAIN = """\
# a comment
group = core
admin-port = 13000
admin-password = "bar"
smsbox-port = 13001
log-file = "/var/log/kannel/bearerbox.log"
store-location = "/var/spool/kannel"
include = "carriers"

group = smsbox
bearerbox-host = localhost
sendsms-port = 13013
global-sender = 12345

group = sendsms-user
username = alice
password = "pass \\"word\\""
user-deny-ip = "*.*.*.*"
user-allow-ip = "127.0.0.1;10.1.*.*"
max-messages = 3
concatenation = true

group = sendsms-user
username = bob
password = b0b
faked-sender = ACME
forced-smsc = south
allowed-prefix = "+44;0049"

group = sms-service
keyword = STOP
aliases = "END"
get-url = "http://app.example/mo?from=%p&to=%P&text=%a"
max-messages = 0

group = sms-service
keyword = default
get-url = "http://app.example/any?text=%b"

group = sms-service
keyword = time
exec = "/bin/date"

group = fake-smsc
host = localhost
"""
NORTH = """\
group = smsc
smsc = smpp
smsc-id = north
host = 192.0.2.10
port = 2775
transceiver-mode = true
smsc-username = "sig"
smsc-password = "secret"
system-type = "VMA"
max-pending-submits = 50
throughput = 30
enquire-link-interval = 60
alt-charset = "ISO-8859-1"
interface-version = 34
my-number = 12345
preferred-prefix = "44"
msg-id-type = 0x01
"""
SOUTH = """\
group = smsc
smsc = smpp
smsc-id = south
host = smsc.south.example
port = 2775
receive-port = 2776
smsc-username = u
smsc-password = p
allowed-smsc-id = "south;bulk"
use-ssl = true
colour = red

group = smsc
smsc = smpp
smsc-id = north
host = 192.0.2.11
port = 2775
smsc-username = sig
smsc-password = secret

group = smsc
smsc = at
modemtype = auto
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "carriers").mkdir()
    (tmp_path / "carriers" / "1-north.conf").write_text(NORTH)
    (tmp_path / "carriers" / "2-south.conf").write_text(SOUTH)
    path = tmp_path / "kannel.conf"
    path.write_text(MAIN)
    return path


def test_smscs_become_carriers(conf: Path) -> None:
    north, south, second = translated(read(conf), "kannel.conf").carriers
    assert north == {
        "name": "north", "host": "192.0.2.10", "port": 2775, "system_id": "sig", "password": "secret",
        "enquire_link_s": 60, "window": 50, "system_type": "VMA", "tps": 30.0, "interface_version": "3.4",
        "alphabet": "latin1",
    }  # fmt: skip
    assert (south["bind"], south["rx_host"], south["tls"]) == (
        "transmitter+receiver",
        "smsc.south.example:2776",
        True,
    )
    assert (second["name"], second["bind"]) == ("north-2", "transmitter")


def test_what_smscs_allow_and_prefer_becomes_routes(conf: Path) -> None:
    routes = translated(read(conf), "kannel.conf").routes
    both = [{"carrier": "north", "weight": 1}, {"carrier": "north-2", "weight": 1}]
    assert routes == [
        {"name": "bob-forced", "match": {"account": ["bob"]}, "lane": ["south"]},
        {"name": "smsc-north", "match": {"tag": ["smsc:north"]}, "lane": both},
        {"name": "smsc-south", "match": {"tag": ["smsc:south"]}, "lane": ["south"]},
        {"name": "smsc-bulk", "match": {"tag": ["smsc:bulk"]}, "lane": ["south"]},
        {"name": "north-preferred", "match": {"prefix": ["44"]}, "lane": ["north"]},
        {"name": "default", "lane": both},
    ]


def test_users_and_services_become_accounts(conf: Path) -> None:
    found = translated(read(conf), "kannel.conf")
    alice, bob, stop, rest = found.accounts
    assert alice.apps == {"alice": 'pass "word"'}
    assert alice.settings == {
        "apis": ["kannel"],
        "senders": ["12345", "*"],
        "allowed_addresses": ["127.0.0.1/32", "10.1.0.0/16"],
    }
    assert bob.settings == {"apis": ["kannel"], "senders": ["ACME"], "destinations": ["44", "49"]}
    assert stop.settings == {
        "mo_url": "http://app.example/mo?from=%p&to=%P&text=%a",
        "callback_format": "kannel",
        "keywords": ["12345 STOP", "12345 END"],
    }
    assert found.sections["inbound"] == {"fallback_account": rest.name}
    assert found.listeners == [{"listen": ["127.0.0.1:13013"], "apis": ["kannel"]}]


def test_what_has_no_counterpart_is_named_with_its_line(conf: Path) -> None:
    said = [str(left) for left in translated(read(conf), "kannel.conf").left]
    wanted = (
        "2-south.conf:11: smsc south: colour: has no counterpart",
        "2-south.conf:22: smsc = at: carriers are bound over SMPP only",
        "kannel.conf:4: core: admin-password: operators have keys",
        "kannel.conf:12: sendsms-port: smsbox listens on every address",
        "kannel.conf:20: sendsms-user alice: max-messages: [messages] max_parts",
        "kannel.conf:40: sms-service time: a reply from a program",
        "kannel.conf:44: group fake-smsc: signalbox simulate",
        "1-north.conf:17: smsc north: msg-id-type: how a carrier writes ids",
    )
    for one in wanted:
        assert any(line.startswith(one) for line in said), (one, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense\n", "kannel.conf:1: 'nonsense' is not `name = value`"),
        ("port = 1\n", "kannel.conf:1: port stands in no group"),
        ("group = core\ninclude = nowhere.conf\n", "cannot read"),
        ("group = core\ninclude = kannel.conf\n", "include each other"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kannel.conf"
    path.write_text(text)
    with pytest.raises(BadKannel, match=said.replace("`", ".")):
        read(path)


def importing(conf: Path, *options: str) -> tuple[int, Path]:
    output = conf.parent / "signalbox.toml"
    return run(["import", "kannel", str(conf), "--output", str(output), *options]), output


def test_the_command_writes_a_configuration_that_a_gateway_takes(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = importing(conf)
    assert code == 0, capsys.readouterr().err
    config = load(output)
    assert [one.name for one in config.carriers] == ["north", "south", "north-2"]
    assert len(config.routes) == 6
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert "3 carriers, 6 routes" in said
    assert "account alice (not made: --accounts makes it)" in said
    assert "secret" not in said


def test_a_file_that_is_there_is_not_overwritten(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = conf.parent / "signalbox.toml"
    output.write_text("mine")
    assert importing(conf)[0] == 2
    assert output.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_accounts_are_made_with_their_passwords(
    conf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(conf.parent)
    (port,) = free_ports(1)
    conf.write_text(MAIN.replace("13000", str(port)))
    code, output = importing(conf, "--accounts", "--json")
    told: Any = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [one["name"] for one in told["made"]] == ["alice", "bob", "service-STOP", "service-default"]
    assert run(["account", "show", "alice", "--config", str(output), "--json"]) == 0
    shown: Any = json.loads(capsys.readouterr().out)
    assert (shown["apps"], shown["apis"], shown["senders"]) == ({"alice": 1}, ["kannel"], ["12345", "*"])
