"""Fixtures that several tests of the gateway share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli import root
from gateway.http.connection import Connection
from gateway.http.problems import TYPE
from gateway.http.table import ENDPOINTS

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line on the data directory: its exit code and all that it printed."""

    def run(*line: str) -> tuple[int, str]:
        capsys.readouterr()
        code = root.run([*line, "--data-dir", str(tmp_path / "var")])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


DECLARED = {(one.method, one.path): one for one in ENDPOINTS}


@pytest.fixture(autouse=True)
def answers_as_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test asks an endpoint of the table for, it answers what is declared of it: the status, and
    the code of a problem."""
    undeclared: list[str] = []
    answer = Connection.answer

    def watching(self: Connection, request: Any, head: Any, status: int, *rest: Any) -> None:
        endpoint = DECLARED.get((head.method, head.found.endpoint if head.found is not None else ""))
        if endpoint is not None:
            kind = dict(rest[0]).get("Content-Type", "")
            if kind == "application/problem+json":
                code = msgspec.json.decode(rest[1])["type"].removeprefix(TYPE)
                if code not in endpoint.codes:
                    undeclared.append(f"{endpoint.id} answered {status} {code}")
            elif status not in endpoint.answers:
                undeclared.append(f"{endpoint.id} answered {status}")
        answer(self, request, head, status, *rest)

    monkeypatch.setattr(Connection, "answer", watching)
    yield
    assert undeclared == []
