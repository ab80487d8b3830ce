"""ops/grafana: dashboards whose every expression is PromQL over metrics that there are.

Deliberately not here: how they look.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.interop.house import needs
from tests.ops.test_alerts import check_expression

FOLDER = Path(__file__).resolve().parents[2] / "ops" / "grafana"
BOARDS = sorted(FOLDER.glob("*.json"))
PROMTOOL = shutil.which("promtool")


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def expressions(path: Path) -> Iterator[str]:
    for panel in board(path)["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_the_three_dashboards_are_there_and_have_ids_of_their_own() -> None:
    assert [path.stem for path in BOARDS] == ["account", "carrier", "overview"]
    assert len({board(path)["uid"] for path in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_what_grafana_needs(path: Path) -> None:
    found = board(path)
    assert found["schemaVersion"] >= 36
    assert found["title"].startswith("Signalbox")
    variables = {one["name"]: one for one in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["targets"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_metrics_that_there_are_by_labels_that_they_have(path: Path) -> None:
    variables = [one["query"] for one in board(path)["templating"]["list"] if one["type"] == "query"]
    for expression in (*expressions(path), *variables):
        assert "signalbox_" in expression
        check_expression(expression)


@needs(PROMTOOL, "Debian's prometheus")
@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_promtool_reads_every_expression(path: Path, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions(path))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
