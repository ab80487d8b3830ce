"""ops/prometheus and docs/runbooks: promtool takes the rules and their tests; each alert has all its parts.

Deliberately not here: alerts of a gateway that runs (test_scenarios.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gateway.cli.root import signalbox
from gateway.troubles import CODES, alert_name
from tests.gateway.test_metrics_manual import documented
from tests.interop.house import needs

HERE = Path(__file__).resolve().parents[2]
RULES = HERE / "ops" / "prometheus" / "alerts.yml"
TESTS = HERE / "ops" / "prometheus" / "tests.yml"
RUNBOOKS = HERE / "docs" / "runbooks"
PROMTOOL = shutil.which("promtool")
SECTIONS = (
    "What it means",
    "What the customer feels",
    "How to look",
    "What to do",
    "When to call whom",
)
ENDINGS = ("_bucket", "_sum", "_count")


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    found = {rule["alert"]: rule for rule in rules}
    assert len(found) == len(rules), "one name twice"
    return found


ALERTS = alerts()


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bsignalbox_([a-z0-9_]+)", expression))


def selectors_in(expression: str) -> list[tuple[str, set[str]]]:
    """(metric, labels that it is asked by)"""
    found = re.findall(r"\bsignalbox_([a-z0-9_]+)\{([^}]*)\}", expression)
    return [(name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", asked))) for name, asked in found]


def family_of(metric: str, known: set[str]) -> str:
    """A histogram's series belong to the histogram."""
    if metric in known:
        return metric
    return next((metric.removesuffix(end) for end in ENDINGS if metric.endswith(end)), metric)


def check_expression(expression: str) -> None:
    """It asks for metrics that there are, by labels that they have."""
    rows = documented()
    for metric in metrics_in(expression):
        assert family_of(metric, set(rows)) in rows, f"no metric {metric} in {expression}"
    for metric, labels in selectors_in(expression):
        allowed = rows[family_of(metric, set(rows))].labels | {"instance", "job", "le"}
        assert labels <= allowed, f"{metric} has no {labels - allowed}"


@needs(PROMTOOL, "Debian's prometheus")
@pytest.mark.parametrize("what", [["check", "rules", str(RULES)], ["test", "rules", str(TESTS)]])
def test_promtool_takes_the_rules_and_their_tests(what: list[str]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *what], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs(PROMTOOL, "Debian's prometheus")
def test_promtool_takes_the_configuration_that_ships() -> None:
    assert PROMTOOL is not None
    config = RULES.with_name("prometheus.yml")
    done = subprocess.run(
        [PROMTOOL, "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_what_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    severity, notes = rule["labels"]["severity"], rule["annotations"]
    assert severity in ("critical", "warning", "info", "{{ $labels.severity }}")
    assert notes["runbook_url"] == f"docs/runbooks/{name}.md"
    assert 10 < len(notes["summary"]) < 120
    assert notes["description"].strip().endswith(".")
    assert "for" in rule
    check_expression(rule["expr"])


def test_every_problem_has_its_alert_and_every_alert_a_runbook_and_no_more() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(ALERTS)
    assert {alert_name(code) for code in CODES} <= set(ALERTS)
    for code in CODES:
        assert f'code="{code}"' in ALERTS[alert_name(code)]["expr"]
    index = (RUNBOOKS / "README.md").read_text()
    for name in ALERTS:
        assert f"[{name}]({name}.md)" in index


def test_every_alert_is_tested_where_it_fires_and_where_it_does_not() -> None:
    cases = yaml.safe_load(TESTS.read_text())["tests"]
    fires: set[str] = set()
    silent: set[str] = set()
    for case in cases:
        (expected,) = case["promql_expr_test"]
        name = re.fullmatch(r'count\(ALERTS\{alertname="(\w+)",alertstate="firing"\}\)', expected["expr"])
        assert name is not None, expected["expr"]
        (fires if expected["exp_samples"] else silent).add(name[1])
    assert fires == silent == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_has_all_parts_and_names_only_commands_that_there_are(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(SECTIONS)
    for part in re.split(r"^## .+$", page, flags=re.MULTILINE)[1:]:
        assert len(part.strip()) > 5
    for said in re.findall(r"`signalbox ([^`]+)`", page):
        check_command(said)
    for other in re.findall(r"\]\((\w+)\.md\)", page):
        assert other in ALERTS


def check_command(said: str) -> None:
    """Words up to the first argument are commands, and options are theirs."""
    command: click.Command = signalbox
    context = click.Context(signalbox)
    for word in said.split():
        if word.startswith("--"):
            options = {option for param in command.params for option in param.opts}
            assert word in options, f"signalbox {said}: no {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                assert command is not signalbox, f"signalbox {said}"
                return  # a default command's argument
            command = found
