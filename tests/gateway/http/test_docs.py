"""docs/http-api.md names every field, reserved name, endpoint and problem there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.http.fields import RESERVED, MessageIn
from gateway.http.timeline import MessageOut
from router import roles

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "http-api.md").read_text()
DOOR = ROOT / "gateway" / "door.py"
NUMBERS = ROOT / "router" / "numbers.py"
SOURCES = sorted((ROOT / "gateway" / "http").glob("*.py"))


def codes() -> set[str]:
    found: set[str] = set()
    for source in SOURCES:
        found |= set(
            re.findall(r"(?:BadRequest|problem_json)\(\s*\d{3},\s*\"([a-z-]+)\"", source.read_text())
        )
    found |= set(re.findall(r"Refusal\(\s*\d{3},\s*\"([a-z-]+)\"", DOOR.read_text()))
    found |= set(re.findall(r"NumberProblem\(\s*\"([a-z-]+)\"", NUMBERS.read_text()))
    return found


@pytest.mark.parametrize("field", [field.encode_name for field in msgspec.structs.fields(MessageIn)])
def test_every_field_taken_is_documented(field: str) -> None:
    assert f"| `{field}` |" in DOCS


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_every_reserved_name_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


@pytest.mark.parametrize("field", [field.encode_name for field in msgspec.structs.fields(MessageOut)])
def test_every_field_shown_is_documented(field: str) -> None:
    assert f"`{field}`" in DOCS or f'"{field}"' in DOCS


def test_every_problem_is_documented() -> None:
    assert len(codes()) > 12
    assert {code for code in codes() if f"`{code}`" not in DOCS} == set()


def test_the_table_of_roles_is_the_one_in_force() -> None:
    assert roles.markdown() in DOCS
