"""What changes between two configurations, as an operator reads it, and what of it needs a restart.

Deliberately not here: applying it (tests/gateway/test_reload.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.diff import _LIVE, Change, diff, without_restart
from config.kept import MARK, kept_text, secrets_of
from config.load import ConfigErrors, parse
from config.model import Config
from config.reader import fields_of

NORTH = '[[carriers]]\nname = "north"\nhost = "192.0.2.1"\nsystem_id = "us"\npassword = "pa55"\n'
ROUTES = "".join(
    f'[[routes]]\nname = "{name}"\nmatch = {{ prefix = ["{prefix}"] }}\nlane = ["north"]\n'
    for name, prefix in (("uk", "44"), ("de", "49"), ("fr", "33"), ("it", "39"))
)


def read(text: str) -> Config:
    return parse(text, Path("/etc/signalbox.toml"), {"SECRET": "fromenv"})


def changes(old: str, new: str) -> list[Change]:
    return list(diff(read(old), read(new)).changes)


def test_a_changed_key_says_what_it_was_and_what_it_is() -> None:
    (change,) = changes(NORTH, NORTH + "tps = 5\nretry = { first_s = 9 }\n")
    assert (change.section, change.name, change.what, change.rebinds) == (
        "carriers",
        "north",
        "changed",
        False,
    )
    assert [(key.key, key.old, key.new) for key in change.keys] == [
        ("tps", 0.0, 5.0),
        ("retry.first_s", 5.0, 9.0),
    ]


def test_a_secret_is_said_to_have_changed_and_not_shown() -> None:
    (change,) = changes(NORTH, NORTH.replace("pa55", "w0rd"))
    assert "pa55" not in repr(change)
    assert "w0rd" not in repr(change)
    assert [key.key for key in change.keys] == ["password"]
    assert change.rebinds


def test_routes_that_moved_are_the_fewest_that_explain_the_order() -> None:
    tables = ROUTES.split("[[routes]]\n")[1:]
    moved = "".join("[[routes]]\n" + tables[place] for place in (1, 2, 3, 0))
    (change,) = changes(NORTH + ROUTES, NORTH + moved)
    assert (change.name, change.what) == ("uk", "moved")
    assert [(key.old, key.new) for key in change.keys] == [(1, 4)]


def test_added_and_removed_tables_are_named_with_what_is_written_in_them() -> None:
    south = NORTH.replace("north", "south")
    added, removed = changes(NORTH, south)
    assert (added.name, added.what) == ("south", "added")
    assert {key.key: key.new for key in added.keys} == {
        "host": "192.0.2.1",
        "system_id": "us",
        "password": "(not shown)",
    }
    assert (removed.name, removed.what) == ("north", "removed")


def test_a_long_list_shows_what_came_and_went() -> None:
    def route(prefixes: list[str]) -> str:
        return f'[[routes]]\nname = "all"\nmatch = {{ prefix = {prefixes} }}\nlane = ["north"]\n'

    many = [f"44{number}" for number in range(10, 40)]
    (change,) = changes(NORTH + route(many), NORTH + route([*many[1:], "48"]))
    assert change.keys[0].old == "30 entries, without 4410"
    assert change.keys[0].new == "30 entries, with 48"


def test_what_needs_a_restart_is_named_and_can_be_left_as_it_was() -> None:
    old, new = read(NORTH), read('[http]\nlisten = ["127.0.0.1:9"]\n[messages]\nmax_parts = 3\n' + NORTH)
    assert diff(old, new).restart == ("http.listen",)
    left = without_restart(old, new)
    assert left.http == old.http
    assert left.messages.max_parts == 3
    assert diff(old, left).restart == ()


def test_every_section_that_is_live_exists_and_names_its_keys() -> None:
    sections = fields_of(Config)
    for section, keys in _LIVE.items():
        assert section in sections
        kind = type(getattr(Config(), section))
        assert keys is None or keys <= fields_of(kind).keys()
    assert {"http", "smpp", "store", "simulators"} & _LIVE.keys() == set()


# what may be kept


def test_secrets_are_taken_out_of_a_text_and_nothing_else() -> None:
    text = (
        NORTH
        + '# password = "old"\n[[carriers]]\nname="b"\nhost="h"\nsystem_id="s"\npassword="${env:SECRET}"\n'
    )
    kept = kept_text(text)
    assert kept is not None
    assert "pa55" not in kept
    assert "old" not in kept
    assert "${env:SECRET}" in kept
    assert kept.replace(MARK, "pa55", 1).replace(MARK, "old") == text


@pytest.mark.parametrize(
    "written",
    [
        """carriers = [{ name = "n", host = "h", system_id = "s", password = "pa55" }]""",
        """carriers = [{ name = "n", host = "h", system_id = "s", "password" = 'pa55' }]""",
        '''[[carriers]]\nname = "n"\nhost = "h"\nsystem_id = "s"\npassword = """pa55"""''',
        '''[[carriers]]\nname = "n"\nhost = "h"\nsystem_id = "s"\npassword="\\u0070a55"''',
        '''[[carriers]]\nname = "n"\nhost = "h"\nsystem_id = "s"\npassword="pa55${env:SECRET}"''',
    ],
)
def test_however_a_secret_is_written_it_is_not_kept(written: str) -> None:
    kept = kept_text(written)
    assert kept is not None
    assert "a55" not in kept
    again = parse(kept, Path("/etc/x.toml"), {"SECRET": "x"}, secrets_of(read(written)))
    assert again.carriers == read(written).carriers


LOOKUP = """
[numbers.lookup]
url = "https://hlr.example/v1/{number}?key=k3y"
header = "Authorization: Bearer t0ken"
"""


def test_secrets_of_nested_tables_are_taken_out_and_come_back() -> None:
    written = LOOKUP + NORTH
    kept = kept_text(written)
    assert kept is not None
    assert "k3y" not in kept
    assert "t0ken" not in kept
    again = parse(kept, Path("/etc/x.toml"), os.environ, secrets_of(read(written)))
    assert again.numbers == read(written).numbers
    assert again.carriers == read(written).carriers
    with pytest.raises(ConfigErrors, match=r"numbers.lookup.header.*not kept.*\[numbers.lookup\]"):
        parse(kept, Path("/etc/x.toml"), os.environ, secrets_of(read(NORTH)))


def test_a_secret_of_a_nested_table_that_changed_is_not_shown() -> None:
    (change,) = changes(LOOKUP + NORTH, LOOKUP.replace("k3y", "n3w").replace("t0ken", "0ther") + NORTH)
    shown = [(key.key, key.old, key.new) for key in change.keys]
    assert shown == [
        ("lookup.url", "(not shown)", "(not shown)"),
        ("lookup.header", "(not shown)", "(not shown)"),
    ]


@pytest.mark.parametrize(
    ("key", "value", "stays"),
    [
        ("header", "Authorization: Bearer ${env:HLR_KEY}", True),
        ("header", "X-Api-Key: ${env:HLR_KEY}", True),
        ("header", "Authorization: Bearer t0ken", False),
        ("header", "Authorization: t0ken ${env:HLR_KEY}", False),
        ("url", "https://hlr.example/v1/{number}?key=${env:HLR_KEY}", True),
        ("url", "https://hlr.example/v1?n={number}&key=${env:HLR_KEY}", True),
        ("url", "https://hlr.example/v1/{number}?key=k3y&to=${env:HLR_KEY}", False),
        ("url", "https://me:k3y@hlr.example/v1/{number}?key=${env:HLR_KEY}", False),
        ("url", "https://hlr.example/k3y/{number}", False),
        ("password", "hunter: ${env:SECRET}", False),
    ],
)
def test_what_stands_beside_a_variable_is_kept_only_where_it_cannot_be_secret(
    key: str, value: str, stays: bool
) -> None:
    kept = kept_text(f'[numbers.lookup]\n{key} = "{value}"\n')
    assert kept is not None
    assert (value in kept) == stays


def test_a_text_whose_secret_cannot_be_taken_out_for_certain_is_not_kept() -> None:
    dotted = '[[carriers]]\nname = "n"\nhost = "h"\nsystem_id = "s"\n"pass\\u0077ord" = "pa55"\n'
    assert kept_text(dotted) is None


def test_a_secret_that_nobody_has_any_more_is_named() -> None:
    kept = kept_text(NORTH)
    assert kept is not None
    with pytest.raises(ConfigErrors, match=r"carriers\[0\].password.*not kept.*\"north\""):
        parse(kept, Path("/etc/x.toml"), os.environ, {})


def test_a_password_that_lies_in_a_file_is_compared_by_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "password"
    text = NORTH.replace('password = "pa55"', f'password_file = "{file}"')
    file.write_text("one\n")
    old = read(text)
    file.write_text("two\n")
    (change,) = diff(old, read(text)).changes
    assert [key.key for key in change.keys] == ["password"]
