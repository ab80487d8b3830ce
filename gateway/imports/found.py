"""What was found in another gateway's configuration, in our terms; and our file of it, as TOML.

Deliberately not here: reading any of them, making accounts (gateway.cli.imports).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | list[str] | Mapping[str, "Value"] | list[Mapping[str, "Value"]]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Left:
    """Something that has no counterpart, or not quite one. `where`: file:line, or what it belongs to."""

    where: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.why}"


@dataclass
class AccountFound:
    """An account to make. `settings` as `account.create` takes them, and suspended; `apps`: name → password,
    `digests`: name → MD5 of a password that nobody has. `system_id`: it binds with that name's."""

    name: str
    settings: dict[str, Value] = field(default_factory=dict)
    apps: dict[str, str] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    system_id: str = ""


@dataclass
class Found:
    """`sections`: single tables by name; `carriers` and `routes` in order."""

    source: str
    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    listeners: list[dict[str, Value]] = field(default_factory=list)  # [[http.apps]]
    carriers: list[dict[str, Value]] = field(default_factory=list)
    routes: list[dict[str, Value]] = field(default_factory=list)
    accounts: list[AccountFound] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def leave(self, where: str, what: str, why: str) -> None:
        self.left.append(Left(where, what, why))

    def toml(self) -> str:
        """Our configuration file. It holds carriers' passwords, as the one it was made of does."""
        lines = [
            f"# Made of {self.source} by `signalbox import`. Carriers' passwords stand in it as they are:",
            '# keep it to yourself, or write "${env:NAME}" for them.',
        ]
        for name, values in self.sections.items():
            lines += ["", f"[{name}]", *_rows(values)]
        for name, tables in (
            ("http.apps", self.listeners),
            ("carriers", self.carriers),
            ("routes", self.routes),
        ):
            for values in tables:
                lines += ["", f"[[{name}]]", *_rows(values)]
        return "\n".join(lines) + "\n"


def named(text: str, taken: Iterable[str] = (), most: int = 64) -> str:
    """A name of ours for one of theirs, which nobody has yet."""
    wanted = _NOT_IN_A_NAME.sub("-", text).strip("-._")[:most] or "unnamed"
    used, name, number = set(taken), wanted, 1
    while name in used:
        number += 1
        name = f"{wanted[: most - 4]}-{number}"
    return name


def _rows(values: Mapping[str, Value]) -> list[str]:
    return [f"{_key(name)} = {_toml(value)}" for name, value in values.items()]


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_rows(value)) + " }"
    assert isinstance(value, list | tuple)
    return "[" + ", ".join(map(_toml, value)) + "]"
