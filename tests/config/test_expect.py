"""config.expect: an operator's expectations, asked of the routes; and the examples of docs/routing.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.expect import failures
from config.problems import Problem
from gateway.cli.check import check
from gateway.cli.failure import CONFIG, Failure
from router.knowledge import PLAIN
from tests.config.reading import CARRIER, only, read

NIGHT_MS = 1_795_402_800_000  # 2026-11-23T03:00:00Z
SOUTH = '[[carriers]]\nname = "south"\nhost = "192.0.2.11"\nsystem_id = "signalbox"\n'
ROUTES = """
[[routes]]
name = "night"
match = { prefix = ["44"], hours = ["22:00-06:00"] }
lane = ["south"]

[[routes]]
name = "uk"
match = { prefix = ["44"], sender = ["ACME"] }
lane = ["north", "south"]
"""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "routing.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def failed(expect: str) -> list[Problem]:
    return failures(read(CARRIER + SOUTH + ROUTES + "[[expect]]\n" + expect), NIGHT_MS, PLAIN)


@pytest.mark.parametrize(
    "expect",
    [
        'to = "+447700900123"\nroute = "night"\nlane = ["south"]',
        'to = "+447700900123"\nfrom = "ACME"\nat = "2026-11-23T12:00:00+01:00"\nroute = "uk"',
        'to = "+447700900123"\nat = "2026-11-23T12:00:00Z"\nroute = ""',
    ],
)
def test_what_is_as_expected_is_not_told(expect: str) -> None:
    assert failed(expect) == []


@pytest.mark.parametrize(
    ("expect", "came", "why"),
    [
        (
            'to = "+447700900123"\nfrom = "ACME"\nroute = "uk"',
            'should go by the route "uk", and would go by the route "night"',
            'the route "night" takes it first',
        ),
        (
            'to = "+447700900123"\nat = "2026-11-23T12:00:00Z"\nroute = "uk"',
            'should go by the route "uk", and would have no route',
            'the route "uk" does not take it: sender: Signalbox, and not ACME',
        ),
        (
            'to = "+447700900123"\nfrom = "ACME"\nat = "2026-11-23T12:00:00Z"\nroute = ""',
            'should have no route, and would go by the route "uk"',
            "",
        ),
        (
            'to = "+447700900123"\nroute = "night"\nlane = ["north"]',
            "should go to north, and would go to south",
            'that is the lane of the route "night"',
        ),
    ],
)
def test_what_goes_elsewhere_is_told_with_its_line_and_why(expect: str, came: str, why: str) -> None:
    (problem,) = failed(expect)
    assert problem.message.endswith(came)
    assert problem.hint == why
    assert problem.key == "expect[0]"
    assert problem.line == (CARRIER + SOUTH + ROUTES).count("\n") + 1


@pytest.mark.parametrize(
    ("expect", "key"),
    [
        ('to = "12"\nroute = "uk"', "to"),
        ('to = "+447700900123"\nfrom = ""\nroute = "uk"', "from"),
        ('to = "+447700900123"\nroute = "ku"', "route"),
        ('to = "+447700900123"\nroute = "uk"\nlane = ["west"]', "lane[0]"),
        ('to = "+447700900123"\nroute = "uk"\nat = "2026-11-23T03:00:00"', "at"),
        ('to = "+447700900123"', "route"),
    ],
)
def test_an_expectation_that_cannot_be_asked_is_an_error_of_the_configuration(expect: str, key: str) -> None:
    assert only(CARRIER + SOUTH + ROUTES + "[[expect]]\n" + expect).key == f"expect[0].{key}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_are_right_and_what_they_expect_holds(example: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(CARRIER + SOUTH + example)
    result = CliRunner().invoke(check, ["--config", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"expectations: all {example.count('[[expect]]')} hold" in result.output


def test_check_refuses_a_file_whose_expectations_fail(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(CARRIER + SOUTH + ROUTES + '[[expect]]\nto = "+4915112345678"\nroute = "uk"\n')
    with pytest.raises(Failure, match="has 1 failed expectation\n") as caught:
        check.main(["--config", str(path)], standalone_mode=False)
    assert caught.value.exit_code == CONFIG
    assert 'the route "uk" does not take it: prefix: 4915112345678' in caught.value.message
    result = CliRunner().invoke(check, ["--config", str(path), "--json"])
    assert '"valid": true' in result.output
    assert '"key": "expect[0]"' in result.output
