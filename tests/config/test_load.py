"""config.load: a whole valid configuration, or every problem at once with its line and a hint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import ConfigErrors, load, parse, place_of
from config.model import Address, Config, address_of
from router.judge import Fate
from tests.config.reading import CARRIER, GOOD, ROUTE, only, problems, read

SHIPPED = Path(__file__).resolve().parents[2] / "config"


def test_the_shipped_configuration_is_right_and_warns_of_nothing() -> None:
    config = load(SHIPPED / "gateway.toml", {})
    assert config.warnings == ()
    assert config.gateway.demo
    assert config.http.listen == (Address("127.0.0.1", 8080),)
    assert [carrier.name for carrier in config.carriers] == ["sim-a", "sim-b"]
    assert [str(simulator.listen) for simulator in config.simulators] == ["127.0.0.1:2776", "127.0.0.1:2777"]
    assert [carrier.targets for carrier in config.carriers] == [(each.listen,) for each in config.simulators]
    assert config.routes[-1].prefixes == ()
    assert config.gateway.data_dir == SHIPPED.parent / "var"


@pytest.mark.parametrize("example", sorted((SHIPPED / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_right_and_warns_of_nothing(example: Path) -> None:
    assert load(example, {"NORTH_PASSWORD": "secret", "SOUTH_PASSWORD": "secret"}).warnings == ()


def test_an_empty_file_is_a_gateway_that_refuses_everything_and_says_so() -> None:
    config = read("")
    assert config.http.listen == (Address("127.0.0.1", 8080),)
    assert [warning.key for warning in config.warnings] == ["routes"]


def test_every_problem_is_told_at_once_in_the_order_of_lines() -> None:
    source = """
[gatway]
[http]
listen = "127.0.0.1:8080"
max_conections = 5
[[carriers]]
name = "north"
tps = -1
window = "10"
bind = "transciever"
password = "${env:NOPE}"
[[routes]]
name = "x"
lane = ["nort",
  "north"]
"""
    found = problems(source)
    assert [(each.line, each.key) for each in found] == [
        (2, "gatway"),
        (4, "http.listen"),
        (5, "http.max_conections"),
        (6, "carriers[0].system_id"),
        (6, "carriers[0]"),
        (8, "carriers[0].tps"),
        (9, "carriers[0].window"),
        (10, "carriers[0].bind"),
        (11, "carriers[0].password"),
        (14, "routes[0].lane[0]"),
    ]
    hints = {each.key: each.hint for each in found}
    assert hints["gatway"] == 'did you mean "gateway"?'
    assert hints["http.listen"] == 'write ["127.0.0.1:8080"]'
    assert hints["carriers[0].window"] == "leave out the quotes: 10"
    assert hints["carriers[0].bind"] == 'did you mean "transceiver"?'
    assert hints["carriers[0].password"] == "export NOPE=... before starting"
    assert hints["routes[0].lane[0]"] == 'did you mean "north"?'
    assert all(each.file == "/etc/signalbox/my.toml" and each.message for each in found)


@pytest.mark.parametrize(
    ("source", "line", "hint"),
    [
        ("[http]\nlisten = [", 2, ""),
        ("[http]\nlisten: 5", 2, "TOML writes key = value, not key: value"),
        ('[gateway]\ndata_dir = "a"\ndata_dir = "b"', 3, "given twice"),
        ("[gateway]\ndata_dir = var", 2, "text goes in quotes"),
        ("[carriers]\nname = 'a'\n[carriers]\n", 3, "two brackets"),
    ],
)
def test_text_that_is_no_toml_is_told_with_its_line(source: str, line: int, hint: str) -> None:
    problem = only(source)
    assert problem.line == line
    assert problem.message.startswith("not valid TOML")
    assert hint in problem.hint


def test_a_file_that_is_not_text_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"[gateway]\n# \xff\n")
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    assert [(each.line, each.message) for each in caught.value.problems] == [(2, "is not UTF-8 text")]


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.toml")


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "dos.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (GOOD + "oops = 1\n").replace("\n", "\r\n").encode())
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    assert [each.line for each in caught.value.problems] == [GOOD.count("\n") + 1]


def test_relative_paths_begin_beside_the_file_or_above_a_config_directory() -> None:
    assert place_of(Path("/srv/sb/my.toml")) == Path("/srv/sb")
    assert place_of(Path("/srv/sb/config/gateway.toml")) == Path("/srv/sb")
    assert parse("", "/srv/sb/my.toml", {}).gateway.data_dir == Path("/srv/sb/var")
    assert parse("[gateway]\ndata_dir='/x'", "/srv/sb/my.toml", {}).gateway.data_dir == Path("/x")
    assert parse("", "/srv/sb/my.toml", {}).admin_socket == Path("/srv/sb/var/admin.sock")


def test_environment_variables_are_put_in_anywhere_in_a_text() -> None:
    source = CARRIER.replace("192.0.2.10", "${env:SIDE}.example.net") + 'password = "${env:PW}"\n' + ROUTE
    carrier = read(source, SIDE="left", PW="pa$$").carriers[0]
    assert (carrier.host, carrier.password) == ("left.example.net", "pa$$")


def test_a_reference_without_env_is_explained() -> None:
    assert only(CARRIER + 'password = "${PW}"\n' + ROUTE, PW="x").hint == "write ${env:PW}"


def test_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    source = CARRIER + 'password_file = "pw"\n' + ROUTE
    assert parse(source, tmp_path / "my.toml", {}).carriers[0].password == "secret"
    (tmp_path / "pw").unlink()
    with pytest.raises(ConfigErrors, match="cannot read"):
        parse(source, tmp_path / "my.toml", {})


def test_a_secret_shows_neither_in_a_repr_nor_in_a_problem() -> None:
    assert "hunter2" not in repr(read(CARRIER + 'password = "hunter2"\n' + ROUTE))
    assert "hunter2" not in str(only(CARRIER + 'password = "hunter2 hunter2 hunter2"\n' + ROUTE))


def test_a_carriers_unknown_policy_falls_back_to_the_common_one() -> None:
    common = '[unknown]\nbulk = "hold"\nresend_after_s = 90\n'
    config = read(common + CARRIER + 'unknown = { otp = "hold", resend_after_s = 10 }\n' + ROUTE)
    judging = config.carriers[0].judging
    assert judging.hold_unknown == (True, False, False, True)
    assert judging.resend_after_s == (0.0, 10.0, 10.0, 10.0)
    assert read(common + GOOD).carriers[0].judging.resend_after_s == (0.0, 90.0, 90.0, 90.0)


def test_a_mistake_in_the_common_policy_is_told_once() -> None:
    assert only('[unknown]\nbulk = "hod"\n' + GOOD).key == "unknown.bulk"


def test_a_carriers_own_meaning_of_statuses_reaches_the_judge() -> None:
    source = (
        CARRIER + '[carriers.statuses]\n"0x0000042e" = "rejected"\nESME_RSYSERR = "next"\n1070 = "retry"\n'
    )
    assert read(source.replace("1070", "1071") + ROUTE).carriers[0].judging.fates == {
        0x42E: Fate.REJECTED,
        0x08: Fate.NEXT,
        1071: Fate.RETRY,
    }


def test_what_a_crash_can_send_twice_is_the_sum_of_sessions_times_windows() -> None:
    second = CARRIER.replace("north", "south") + 'bind = "receiver"\nwindow = 1000\n'
    config = read(CARRIER + "sessions = 3\nwindow = 20\n" + second + ROUTE)
    assert config.possible_duplicates == 60


def test_a_lane_is_in_order_or_by_weights() -> None:
    second = CARRIER.replace("north", "south")
    weighted = 'lane = [{ carrier = "north", weight = 70 }, { carrier = "south", weight = 30 }]'
    route = read(CARRIER + second + ROUTE.replace('lane = ["north"]', weighted)).routes[0]
    assert (route.carriers, route.weights) == (("north", "south"), (70, 30))
    route = read(CARRIER + second + ROUTE.replace('["north"]', '["south", { carrier = "north" }]')).routes[0]
    assert (route.carriers, route.weights) == (("south", "north"), ())
    drained = read(CARRIER + second + ROUTE.replace('lane = ["north"]', weighted.replace("30", "0"))).routes[
        0
    ]
    assert drained.weights == (70, 0)


def test_a_carriers_own_health_goes_before_the_common_one() -> None:
    config = read(
        "[health]\ntrial = 5\nopen_s = 60\n"
        + CARRIER
        + "health = { open_s = 10, max_error_ratio = 0.25 }\n"
        + ROUTE
    )
    limits = config.carriers[0].health.limits
    assert (limits.trial, limits.open_s, limits.max_errors) == (5, 10, 250)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("a.example:65535", Address("a.example", 65535)),
    ],
)
def test_an_address_reads_back_as_it_is_written(text: str, address: Address) -> None:
    assert address_of(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", ":80", "a", "a:", "a:x", "a:0", "a:70000", "[::1", "[::1]80", "a b:80", "::1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|host|IPv6"):
        address_of(text)


def test_nothing_can_be_changed_after_loading() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(GOOD).gateway.demo = True  # type: ignore[misc]


toml_values = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.booleans(), st.datetimes()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.data())
def test_no_value_of_any_key_escapes_as_anything_but_problems(data: st.DataObject) -> None:
    from config.problems import Notes
    from config.reader import Reader, fields_of

    section = data.draw(st.sampled_from(sorted(fields_of(Config))))
    names = data.draw(
        st.lists(st.sampled_from(["name", "lane", "match", "listen", "host", "tps", "statuses"]))
    )
    raw: object = {name: data.draw(toml_values) for name in names}
    if data.draw(st.booleans()):
        raw = [raw]
    notes = Notes("x")
    Reader(notes, {}, Path("/")).table(Config, {section: raw}, ())
    assert all(problem.key.startswith(section) for problem in notes.problems)


def test_fm36_a_bad_file_leaves_the_configuration_in_force_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(GOOD)
    before = load(path, {})
    path.write_text(GOOD + "oops = 1\n")
    with pytest.raises(ConfigErrors):
        load(path, {})
    assert before == parse(GOOD, path, {})
