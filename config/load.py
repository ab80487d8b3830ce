"""Reads a configuration file: a whole valid Config, or every problem in it at once.

Relative paths in it (data_dir, password_file, certificates) begin in the directory of the file, or one above
it when that directory is called `config`, so that config/gateway.toml keeps its data in var/ beside config/.

Invariant: loading changes nothing, so a bad file on reload leaves what runs as it is.
Deliberately not here: where files are looked for, watching them, the data directory itself.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from config.conditions import rule_of, window_of
from config.kept import Secrets, fill
from config.lines import lines_of
from config.model import CarrierConfig, Config, HealthConfig, UnknownConfig
from config.problems import ConfigErrors, Notes, Problem
from config.problems import Path as Path_
from config.reader import Reader
from config.rules import causes_of, check, fates_of, refusals_of
from router.rules import Window

__all__ = ["ConfigErrors", "Problem", "load", "parse", "place_of"]

T = TypeVar("T", UnknownConfig, HealthConfig)

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(path: Path | str, env: Mapping[str, str] | None = None) -> Config:
    """Read the file. Errors: OSError when it cannot be read, ConfigErrors with everything wrong in it."""
    path = Path(path)
    raw = path.read_bytes()
    try:
        source = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([Problem(str(path), line, "", "is not UTF-8 text", "save it as UTF-8")]) from None
    return parse(source, path, env)


def parse(
    source: str, path: Path | str, env: Mapping[str, str] | None = None, secrets: Secrets | None = None
) -> Config:
    """The same from text; `path` says where it is from and where relative paths begin. `secrets`: of a text
    that config.kept made."""
    path = Path(path)
    source = source.replace("\r\n", "\n")
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([_syntax_problem(str(path), source, error)]) from None
    notes = Notes(str(path), lines_of(source))
    if secrets is not None:
        fill(raw, secrets, notes)
    reader = Reader(notes, os.environ if env is None else env, place_of(path))
    config: Config = reader.table(Config, raw, ())
    carriers = tuple(
        dataclasses.replace(
            _complete(carrier, index, notes),
            unknown=_with_common(carrier.unknown, config.unknown, raw["carriers"][index], "unknown"),
            health=_with_common(carrier.health, config.health, raw["carriers"][index], "health"),
        )
        for index, carrier in enumerate(config.carriers)
    )
    routes = tuple(
        dataclasses.replace(route, rule=rule_of(route, ("routes", index, "match"), notes))
        for index, route in enumerate(config.routes)
    )
    config = dataclasses.replace(config, carriers=carriers, routes=routes, path=path, source=source)
    check(config, notes)
    if notes.problems:
        raise ConfigErrors(notes.problems)
    return dataclasses.replace(config, warnings=tuple(notes.warnings))


def place_of(path: Path) -> Path:
    """Where relative paths of this configuration file begin."""
    directory = path.absolute().parent
    return directory.parent if directory.name == "config" else directory


def _with_common(own: T, common: T, raw: object, section: str) -> T:
    """What a carrier's own `unknown` or `health` leaves out is as in the top table of that name."""
    said = raw.get(section) if isinstance(raw, dict) else None
    names = {field.name for field in dataclasses.fields(common)}
    written = {name: getattr(own, name) for name in names if isinstance(said, dict) and name in said}
    return dataclasses.replace(common, **written)


def _complete(carrier: CarrierConfig, index: int, notes: Notes) -> CarrierConfig:
    """Fill in what stands elsewhere: the password in its file, statuses and codes as numbers."""
    password = carrier.password
    if carrier.password and carrier.password_file:
        where = ("carriers", index, "password_file")
        notes.wrong(where, "password is given too", "keep one of the two")
    elif carrier.password_file:
        password = _password_in(carrier.password_file, index, notes)
    return dataclasses.replace(
        carrier,
        password=password,
        status_fates=fates_of(carrier.statuses),
        status_refusals=refusals_of(carrier),
        causes=causes_of(carrier.error_map),
        outages=_outages(carrier, ("carriers", index, "maintenance"), notes),
    )


def _outages(carrier: CarrierConfig, path: Path_, notes: Notes) -> tuple[tuple[Window, str], ...]:
    """When it takes nothing new, and the reasons. One without a time would be for ever."""
    found = []
    for index, one in enumerate(carrier.maintenance):
        window = window_of(one, (*path, index), notes)
        if window is not None:
            found.append((window, one.reason))
        elif not notes.has_wrong((*path, index)):
            notes.wrong((*path, index), "names no hours, days or dates", 'hours = ["02:00-04:00"]')
    return tuple(found)


def _password_in(name: str, index: int, notes: Notes) -> str:
    where = ("carriers", index, "password_file")
    try:
        password = Path(name).read_text(encoding="latin-1").rstrip("\r\n")
    except OSError as error:
        notes.wrong(
            where, f"cannot read {name}: {error.strerror}", "relative names begin beside the configuration"
        )
        return ""
    if len(password) > 16 or not password.isascii() or not password.isprintable():
        notes.wrong(where, "the file must hold one line of at most 16 printable characters")
    return password


def _syntax_problem(file: str, source: str, error: tomllib.TOMLDecodeError) -> Problem:
    text = str(error)
    place = _PLACE.search(text)
    lines = source.rstrip("\n").split("\n")
    line = int(place[1]) if place is not None and place[1] else len(lines)
    written = lines[line - 1].strip() if line <= len(lines) else ""
    column = f", column {place[2]}" if place is not None and place[2] else ""
    message = f"not valid TOML: {_PLACE.sub('', text)}{column}"
    return Problem(file, line, "", message, _syntax_hint(written, text))


def _syntax_hint(written: str, text: str) -> str:
    if "Cannot overwrite" in text or "twice" in text or "Cannot declare" in text:
        return "a key or table is given twice; for a list of tables write two brackets, [[carriers]]"
    if re.match(r"^[\w.-]+\s*:", written):
        return "TOML writes key = value, not key: value"
    if re.match(r"^[\w.-]+\s*=\s*[A-Za-z+][^\"']*$", written) and not re.search(
        r"=\s*(true|false)\b", written
    ):
        return "text goes in quotes"
    return f"the line is: {written}" if written else ""
