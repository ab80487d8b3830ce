"""Turns parsed TOML into the types of config.model, noting every problem instead of stopping at one.

What was wrong gets a stand-in (its default) so that reading goes on; the result is only used when nothing
was noted. `${env:NAME}` in any text is replaced on the way.

Deliberately not here: files, rules between keys (config.rules).
"""

from __future__ import annotations

import dataclasses
import keyword
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

from config.model import Address, LaneEntry, LimitConfig, Words, address_of
from config.problems import Notes, Path, meant

_ENV = re.compile(r"\$\{(env:)?([^}]*)\}")
_NO_WORDS = Words("")
_FIELDS: dict[type[Any], dict[str, tuple[Any, Words, bool]]] = {}
_MISSING = object()
_SAID = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


class Reader:
    """One reading. `env` are the environment's variables, `base` where relative paths begin."""

    def __init__(self, notes: Notes, env: Mapping[str, str], base: FilePath) -> None:
        self._notes = notes
        self._env = env
        self._base = base

    def table(self, kind: type[Any], raw: object, path: Path) -> Any:
        """A table as `kind`, a dataclass of config.model."""
        if not isinstance(raw, dict):
            self._notes.wrong(path, f"must be a table, not {_described(raw)}", _table_hint(path))
            return kind(
                **{
                    attribute(name): _stand_in(hint)
                    for name, (hint, _, required) in fields_of(kind).items()
                    if required
                }
            )
        fields = fields_of(kind)
        for name in raw:
            if name not in fields:
                self._notes.wrong((*path, name), "unknown key", meant(name, fields))
        given: dict[str, Any] = {}
        for name, (hint, words, required) in fields.items():
            if name in raw:
                value = self._value(hint, words, raw[name], (*path, name))
                if value is not _MISSING:
                    given[name] = value
                    continue
            elif required:
                self._notes.wrong((*path, name), f"{name} is missing", words.doc)
            elif dataclasses.is_dataclass(hint) and hint is not Address:
                given[name] = self._entry(hint, {}, (*path, name))
            elif hint is FilePath:
                given[name] = self._base / default_of(kind, name)
            if required:
                given[name] = _stand_in(hint)
        return kind(**{attribute(name): value for name, value in given.items()})

    def _value(self, hint: Any, words: Words, raw: object, path: Path) -> Any:
        if dataclasses.is_dataclass(hint) and hint is not Address:
            return self._entry(hint, raw, path)
        origin = typing.get_origin(hint)
        if origin is types.UnionType or origin is typing.Union:
            inner = next(each for each in typing.get_args(hint) if each is not type(None))
            return self._value(inner, words, raw, path)
        if origin is tuple:
            return self._list(typing.get_args(hint)[0], words, raw, path)
        if origin is dict:
            return self._words(words, raw, path)
        return self._scalar(hint, words, raw, path)

    def _entry(self, kind: Any, raw: object, path: Path) -> Any:
        if kind is LaneEntry:
            if isinstance(raw, str):
                raw = {"carrier": raw}
            elif not isinstance(raw, dict):
                self._notes.wrong(path, f"must be a carrier's name or a table, not {_described(raw)}")
                return _MISSING
        return self.table(kind, raw, path)

    def _list(self, inner: Any, words: Words, raw: object, path: Path) -> Any:
        if inner is LimitConfig and isinstance(raw, dict):
            return (self.table(inner, raw, path),)
        if not isinstance(raw, list):
            hint = (
                "write [[...]] above it, with two brackets"
                if isinstance(raw, dict)
                else f"write [{_toml(raw)}]"
            )
            self._notes.wrong(path, f"must be a list, not {_described(raw)}", hint)
            return _MISSING
        read = [self._value(inner, words, each, (*path, index)) for index, each in enumerate(raw)]
        return tuple(each for each in read if each is not _MISSING)

    def _words(self, words: Words, raw: object, path: Path) -> Any:
        if not isinstance(raw, dict):
            self._notes.wrong(path, f"must be a table, not {_described(raw)}")
            return _MISSING
        return {
            name: value
            for name, each in raw.items()
            if (value := self._scalar(str, words, each, (*path, name))) is not _MISSING
        }

    def _scalar(self, hint: Any, words: Words, raw: object, path: Path) -> Any:
        wanted = str if hint in (Address, FilePath) else hint
        if not _fits(wanted, raw):
            message = f"must be {_SAID[wanted]}, not {_described(raw)}"
            self._notes.wrong(path, message, _type_hint(wanted, raw))
            return _MISSING
        if wanted is str:
            assert isinstance(raw, str)
            return self._text(hint, words, raw, path)
        assert isinstance(raw, int | float)
        return self._number(hint, words, raw, path)

    def _number(self, hint: Any, words: Words, raw: int | float, path: Path) -> Any:
        low, high = words.low, words.high
        if (low is not None and raw < low) or (high is not None and raw > high):
            self._notes.wrong(path, f"must be {_range(words)}, not {raw}")
            return _MISSING
        if raw != raw or raw in (float("inf"), float("-inf")):
            self._notes.wrong(path, f"must be a finite number, not {raw}")
            return _MISSING
        return float(raw) if hint is float else raw

    def _text(self, hint: Any, words: Words, raw: str, path: Path) -> Any:
        text = self._with_env(raw, path)
        if text is None:
            return _MISSING
        if hint is Address:
            try:
                return address_of(text)
            except ValueError as error:
                self._notes.wrong(path, f"{raw!r} is not an address", str(error))
                return _MISSING
        if words.choices and text not in words.choices:
            self._notes.wrong(
                path, f"{_shown(raw, words)} is not one of the choices", meant(text, words.choices)
            )
            return _MISSING
        if words.pattern and not re.fullmatch(words.pattern, text):
            self._notes.wrong(path, f"{_shown(raw, words)} does not fit", words.doc)
            return _MISSING
        if words.path and text:
            full = self._base / text
            return full if hint is FilePath else str(full)
        return text

    def _with_env(self, raw: str, path: Path) -> str | None:
        """`raw` with its variables replaced, or None with a problem noted."""
        bad = False

        def replaced(match: re.Match[str]) -> str:
            nonlocal bad
            if not match[1]:
                self._notes.wrong(
                    path, f"{match[0]!r} is not understood", f"write ${{env:{match[2] or 'NAME'}}}"
                )
                bad = True
            elif match[2] not in self._env:
                self._notes.wrong(
                    path,
                    f"the environment variable {match[2]} is not set",
                    f"export {match[2]}=... before starting",
                )
                bad = True
            return self._env.get(match[2], "")

        text = _ENV.sub(replaced, raw)
        return None if bad else text


def fields_of(kind: type[Any]) -> dict[str, tuple[Any, Words, bool]]:
    """Key → (type, words, required) of a dataclass of config.model, without its derived fields."""
    known = _FIELDS.get(kind)
    if known is not None:
        return known
    hints = typing.get_type_hints(kind)
    found = _FIELDS[kind] = {}
    for field in dataclasses.fields(kind):
        if "derived" not in field.metadata:
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            found[field.name.removesuffix("_")] = (
                hints[field.name],
                field.metadata.get("words", _NO_WORDS),
                required,
            )
    return found


def attribute(name: str) -> str:
    """The name that a key has in its dataclass: words of Python end in _ there."""
    return f"{name}_" if keyword.iskeyword(name) else name


def default_of(kind: type[Any], name: str) -> Any:
    """A key's default; for a table, its type's own defaults."""
    field = next(each for each in dataclasses.fields(kind) if each.name == attribute(name))
    if field.default is not dataclasses.MISSING:
        return field.default
    factory: Callable[[], Any] | Any = field.default_factory
    return None if factory is dataclasses.MISSING else factory()


def _stand_in(hint: Any) -> Any:
    if hint is Address:
        return Address("", 0)
    if typing.get_origin(hint) is tuple:
        return ()
    return hint()


def _fits(wanted: Any, raw: object) -> bool:
    if wanted is bool:
        return isinstance(raw, bool)
    if wanted is int:
        return isinstance(raw, int) and not isinstance(raw, bool)
    if wanted is float:
        return isinstance(raw, int | float) and not isinstance(raw, bool)
    return isinstance(raw, str)


def _described(raw: object) -> str:
    if isinstance(raw, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(raw), "a date or time")


def _type_hint(wanted: Any, raw: object) -> str:
    if wanted is str:
        return f'put it in quotes: "{raw}"' if isinstance(raw, int | float) else "put it in quotes"
    if isinstance(raw, str):
        text = raw.strip().replace("_", "")
        if wanted is bool:
            return "write true or false, without quotes"
        if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            return f"leave out the quotes: {text}"
        return "a number has no unit and no quotes; the key's name says the unit"
    if wanted is int and isinstance(raw, float):
        return f"for instance {round(raw)}"
    return ""


def _range(words: Words) -> str:
    if words.low is not None and words.high is not None:
        return f"{_plain(words.low)} to {_plain(words.high)}"
    return f"at least {_plain(words.low)}" if words.low is not None else f"at most {_plain(words.high)}"


def _plain(number: float | None) -> str:
    return f"{number:,.0f}" if number == int(number or 0) else f"{number:g}"


def _shown(raw: str, words: Words) -> str:
    return "the value" if words.secret else f'"{raw}"'


def _toml(raw: object) -> str:
    return f'"{raw}"' if isinstance(raw, str) else str(raw)


def _table_hint(path: Path) -> str:
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    return f"write [{name}] above its keys" if name else ""
