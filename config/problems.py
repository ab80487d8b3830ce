"""What is wrong with a configuration, said to a person: where, what, and what to do.

Deliberately not here: finding anything wrong (config.reader, config.rules).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]  # ("carriers", 0, "tps")


@dataclass(frozen=True)
class Problem:
    """`line` counts from 1, 0 = unknown. `key` as an operator would say it: `carriers[1].tps`."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        text = f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class ConfigErrors(Exception):
    """Everything that is wrong with one configuration, in the order of its lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems, key=lambda problem: (problem.file, problem.line))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Notes:
    """Collects problems (and warnings) while a configuration is read; lines come from `lines`."""

    def __init__(self, file: str, lines: dict[Path, int] | None = None) -> None:
        self.file = file
        self.lines = lines or {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def wrong(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(self._problem(path, message, hint))

    def warn(self, path: Path, message: str, hint: str = "") -> None:
        self.warnings.append(self._problem(path, message, hint))

    def has_wrong(self, path: Path) -> bool:
        """Whether anything at or under this path is wrong already."""
        return any(problem.key.startswith(said(path)) for problem in self.problems)

    def line_of(self, path: Path) -> int:
        """The line of the key, or of the nearest table around it that is written."""
        while path:
            line = self.lines.get(path)
            if line is not None:
                return line
            path = path[:-1]
        return 0

    def _problem(self, path: Path, message: str, hint: str) -> Problem:
        return Problem(self.file, self.line_of(path), said(path), message, hint)


def said(path: Path) -> str:
    """("carriers", 0, "tps") → `carriers[0].tps`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def meant(word: str, known: Iterable[str]) -> str:
    """`did you mean "tps"?`, or the choices when few, or nothing."""
    names = list(known)
    near = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if near:
        return f'did you mean "{next(name for name in names if name.lower() == near[0])}"?'
    if 0 < len(names) <= 12:
        return "known: " + ", ".join(names)
    return ""
