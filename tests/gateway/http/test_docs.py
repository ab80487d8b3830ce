"""docs/http-api.md names every field, reserved name, endpoint and problem there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gateway.http.codes import CODES
from gateway.http.fields import RESERVED, MessageIn
from gateway.http.table import ENDPOINTS
from gateway.http.timeline import MessageOut
from router import roles

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "http-api.md").read_text()
DOOR = ROOT / "gateway" / "door.py"
NUMBERS = ROOT / "router" / "numbers.py"
SOURCES = sorted((ROOT / "gateway" / "http").glob("*.py"))


def codes() -> set[tuple[str, int]]:
    """(code, status) of every problem that the sources make."""
    found: set[tuple[str, int]] = set()
    for source in [*SOURCES, DOOR]:
        made = re.findall(
            r"(?:BadRequest|problem_json|Refusal)\(\s*(\d{3}),\s*\"([a-z-]+)\"", source.read_text()
        )
        found |= {(code, int(status)) for status, code in made}
    return found | {
        (code, 422) for code in re.findall(r"NumberProblem\(\s*\"([a-z-]+)\"", NUMBERS.read_text())
    }


def told() -> set[tuple[str, int]]:
    """(code, status) of the page's table of errors."""
    table = DOCS.partition("| status | `type`")[2].partition("\n\n")[0]
    found: set[tuple[str, int]] = set()
    for row in table.splitlines()[2:]:
        _, statuses, names, *_ = row.split("|")
        for code in re.findall(r"`([a-z-]+)`", names):
            status = CODES[code].status if code in CODES else 0
            found.add((code, status if str(status) in statuses else 0))
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


def test_every_problem_is_declared_with_its_status_and_documented() -> None:
    declared = {(code, one.status) for code, one in CODES.items()}
    assert len(codes()) > 40
    assert codes() - declared == set()
    assert told() == declared


def test_every_problem_is_declared_of_an_endpoint_or_of_the_server() -> None:
    of_endpoints = {code for endpoint in ENDPOINTS for code in endpoint.codes}
    assert set(CODES) - of_endpoints == {"not-found", "method-not-allowed"}


def test_the_table_of_roles_is_the_one_in_force() -> None:
    assert roles.markdown() in DOCS
