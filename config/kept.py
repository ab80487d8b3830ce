"""A configuration's text as it may be kept: secrets that are written out in it are replaced by a mark.

`${env:NAME}` and files' names are no secrets and stay. When a kept text is read again, each mark stands for
the secret that the same table (by its name) has in another configuration: the one in force, or the file.

Invariant: a text that holds a mark for every secret, and nothing else that was changed, or no text at all.

Deliberately not here: where texts are kept (gateway.revisions), secrets in comments (nobody can know them;
a comment that looks like the key of a secret is replaced as well).
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from typing import Any

from config.model import Config
from config.problems import Notes
from config.reader import fields_of

MARK = "${kept out}"
Secrets = Mapping[tuple[str, str, str], str]  # (section, name of the table in its list, key) → value

_STRING = r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''


def kept_text(source: str) -> str | None:
    """The text without its secrets; None where they cannot be taken out for certain."""
    names = _secret_keys()
    keys = "|".join(map(re.escape, sorted(names)))
    pattern = re.compile(rf"(?<![\w-])((?:{keys})[\"']?\s*=\s*)({_STRING})", re.DOTALL)
    text = pattern.sub(
        lambda found: found[1] + (found[2] if _is_reference(found[2]) else f'"{MARK}"'), source
    )
    try:
        written, kept = tomllib.loads(source), tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return text if _same_but_secrets(written, kept, names) else None


def secrets_of(config: Config) -> Secrets:
    """Every secret that a configuration has, wherever it was read from."""
    found: dict[tuple[str, str, str], str] = {}
    for section in fields_of(Config):
        tables = getattr(config, section)
        for table in tables if isinstance(tables, tuple) else (tables,):
            if not dataclasses.is_dataclass(table):
                continue
            for key, (_, words, _) in fields_of(type(table)).items():
                if words.secret and getattr(table, key):
                    found[section, getattr(table, "name", ""), key] = getattr(table, key)
    return found


def fill(raw: Mapping[str, Any], secrets: Secrets, notes: Notes) -> None:
    """Put secrets where the marks are, in a parsed text; what there is none for is noted as wrong."""
    for section, tables in raw.items():
        for index, table in enumerate(tables if isinstance(tables, list) else [tables]):
            if not isinstance(table, dict):
                continue
            for key in [key for key, value in table.items() if value == MARK]:
                path = (section, index, key) if isinstance(tables, list) else (section, key)
                secret = secrets.get((section, str(table.get("name", "")), key))
                if secret is None:
                    notes.wrong(
                        path,
                        f"was written out in the file and is not kept; {_who(section, table)} has none now",
                        "put it into ${env:NAME} or a file, so that old configurations can come back",
                    )
                table[key] = secret or ""


def _who(section: str, table: Mapping[str, Any]) -> str:
    return f'"{table["name"]}" in {section}' if "name" in table else f"[{section}]"


def _is_reference(token: str) -> bool:
    """Whether a TOML string holds nothing but a variable's name, or nothing at all."""
    return re.fullmatch(r"(?:\$\{env:[^}]*\})?", token.strip("\"'")) is not None


def _same_but_secrets(written: Any, kept: Any, names: frozenset[str]) -> bool:
    if isinstance(written, dict):
        return (
            isinstance(kept, dict)
            and written.keys() == kept.keys()
            and all(
                _is_kept_out(value, kept[key])
                if key in names and not isinstance(value, dict | list)
                else _same_but_secrets(value, kept[key], names)
                for key, value in written.items()
            )
        )
    if isinstance(written, list):
        return (
            isinstance(kept, list)
            and len(written) == len(kept)
            and all(_same_but_secrets(one, other, names) for one, other in zip(written, kept, strict=True))
        )
    return bool(written == kept)


def _is_kept_out(value: Any, kept: Any) -> bool:
    return bool(kept == MARK or (kept == value and isinstance(value, str) and _is_reference(value)))


def _secret_keys() -> frozenset[str]:
    """Of every table that can be written."""
    found: set[str] = set()
    kinds: list[Any] = [Config]
    while kinds:
        for name, (hint, words, _) in fields_of(kinds.pop()).items():
            if words.secret:
                found.add(name)
            for inner in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(inner):
                    kinds.append(inner)
    return frozenset(found)
