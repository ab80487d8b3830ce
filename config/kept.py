"""A configuration's text as it may be kept: secrets that are written out in it are replaced by a mark.

`${env:NAME}` and files' names are no secrets and stay. When a kept text is read again, each mark stands for
the secret that the same table (in a list: by its name) has in another configuration, the one in force or the
file's.

Invariant: a text that holds a mark for every secret, and nothing else that was changed, or no text at all.

Deliberately not here: where texts are kept (gateway.revisions), secrets in comments (nobody can know them;
a comment that looks like the key of a secret is replaced as well).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tomllib
import typing
from collections.abc import Mapping
from typing import Any

from config.model import Config
from config.problems import Notes
from config.reader import attribute, fields_of

MARK = "${kept out}"
Place = tuple[str, ...]  # section, keys, and for a table in a list its name; the secret's key is the last
Secrets = Mapping[Place, str]

_STRING = r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''

_REFERENCE = r"(?:\$\{env:[^}]*\})?"
_ONE = r"\$\{env:[^}]*\}"
# What may stand beside a variable's name: a header's name and scheme; an address, its query of nothing else.
_HARMLESS = {
    "header": rf"|[A-Za-z-]+: (?:(?:Bearer|Basic|Token) )?{_ONE}",
    "url": rf"|https?://[A-Za-z0-9.:-]+(?:/(?:[^?@#/]*))*\?(?:&?[\w.-]+=(?:{_ONE}|\{{number\}}))+",
}


@functools.lru_cache(maxsize=4)
def kept_text(source: str) -> str | None:
    """The text without its secrets; None where they cannot be taken out for certain. A long one takes a
    while, in a thread perhaps: the last few are remembered."""
    names = _secret_keys()
    keys = "|".join(map(re.escape, sorted(names)))
    pattern = re.compile(rf"(?<![\w-])((?P<key>{keys})[\"']?\s*=\s*)(?P<value>{_STRING})", re.DOTALL)

    def masked(found: re.Match[str]) -> str:
        harmless = _is_reference(found["key"], found["value"].strip("\"'"))
        return found[0] if harmless else f'{found[1]}"{MARK}"'

    text = pattern.sub(masked, source)
    try:
        written, kept = tomllib.loads(source), tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return text if _same_but_secrets(written, kept, names) else None


def kept_out(source: str) -> set[Place]:
    """Where a text has secrets that are written out; nowhere in a text that is not kept at all."""
    found: set[Place] = set()
    text = kept_text(source) or ""
    if MARK in text:
        _marks(tomllib.loads(text), (), found)
    return found


def _marks(raw: Any, place: Place, found: set[Place]) -> None:
    if isinstance(raw, list):
        for index, one in enumerate(raw):
            name = one.get("name", "") if isinstance(one, dict) else ""
            _marks(one, (*place, _name_of(name, index)), found)
    elif isinstance(raw, dict):
        for key, value in raw.items():
            if value == MARK:
                found.add((*place, key))
            else:
                _marks(value, (*place, key), found)


def secrets_of(config: Config) -> Secrets:
    """Every secret that a configuration has, wherever it was read from."""
    found: dict[Place, str] = {}
    _collect(config, (), _secret_keys(), found)
    return found


def _collect(value: Any, place: Place, names: frozenset[str], found: dict[Place, str]) -> None:
    if isinstance(value, tuple):
        for index, one in enumerate(value):
            _collect(one, (*place, _name_of(getattr(one, "name", ""), index)), names, found)
    elif dataclasses.is_dataclass(value) or isinstance(value, dict):
        for key in value if isinstance(value, dict) else fields_of(type(value)):
            inner = value[key] if isinstance(value, dict) else getattr(value, attribute(key))
            if key in names and isinstance(inner, str):
                found[*place, key] = inner
            else:
                _collect(inner, (*place, key), names, found)


def fill(raw: Mapping[str, Any], secrets: Secrets, notes: Notes) -> None:
    """Put secrets where the marks are, in a parsed text; what there is none for is noted as wrong."""
    _fill(raw, (), (), secrets, notes)


def _fill(raw: Any, place: Place, path: tuple[str | int, ...], secrets: Secrets, notes: Notes) -> None:
    if isinstance(raw, list):
        for index, one in enumerate(raw):
            name = one.get("name", "") if isinstance(one, dict) else ""
            _fill(one, (*place, _name_of(name, index)), (*path, index), secrets, notes)
        return
    if not isinstance(raw, dict):
        return
    for key, value in raw.items():
        if value != MARK:
            _fill(value, (*place, key), (*path, key), secrets, notes)
            continue
        secret = secrets.get((*place, key))
        if not secret:
            notes.wrong(
                (*path, key),
                f"was written out in the file and is not kept; {_who(path, raw)} has none now",
                "put it into ${env:NAME} or a file, so that old configurations can come back",
            )
        raw[key] = secret or ""


def _name_of(name: object, index: int) -> str:
    """A table in a list is known by its name, one without by where it stands."""
    return str(name) if name else str(index)


def _who(path: tuple[str | int, ...], table: Mapping[str, Any]) -> str:
    tables = ".".join(one for one in path if isinstance(one, str))
    return f'"{table["name"]}" in {tables}' if "name" in table else f"[{tables}]"


def _is_reference(key: str, value: str) -> bool:
    """Whether a secret holds nothing that is secret: a variable's name, or nothing at all."""
    return re.fullmatch(_HARMLESS.get(key, _REFERENCE), value) is not None


def _same_but_secrets(written: Any, kept: Any, names: frozenset[str]) -> bool:
    if isinstance(written, dict):
        return (
            isinstance(kept, dict)
            and written.keys() == kept.keys()
            and all(
                _is_kept_out(key, value, kept[key])
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


def _is_kept_out(key: str, value: Any, kept: Any) -> bool:
    return bool(kept == MARK or (kept == value and isinstance(value, str) and _is_reference(key, value)))


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
