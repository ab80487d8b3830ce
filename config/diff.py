"""What changes from one configuration to another, as an operator reads it, and what of it can be applied now.

A key that is not named in `_LIVE` needs a restart: whoever adds a section either makes it changeable in place
and names it there, or it is refused by name. Carriers, routes and simulators are matched by their names.

Invariant: no secret is in a change; that one changed is.

Deliberately not here: applying anything (gateway.reload), columns for people (gateway.cli.reload).
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.model import CarrierConfig, Config, LaneEntry, RouteConfig, Words
from config.reader import attribute, default_of, fields_of

NOT_SHOWN = "(not shown)"
_EVERY: frozenset[str] | None = None  # key of a section

# What can change while the gateway runs.
_LIVE: Mapping[str, frozenset[str] | None] = {
    "gateway": frozenset(
        {
            "default_region",
            "overflow_after_s",
            "rest_elsewhere_after_s",
            "drain_timeout_s",
            "watchdog_s",
        }
    ),
    "log": frozenset({"level", "levels"}),
    "messages": frozenset(
        {"validity_default_s", "max_validity_s", "max_schedule_s", "max_parts", "mo_parts_timeout_s"}
    ),
    "receipts": frozenset({"grace_s"}),
    "numbers": frozenset({"allowed_types", "prefix_table", "mnp_table"}),
    "inbound": _EVERY,
    "accounts": _EVERY,
    "callbacks": _EVERY,
    "unknown": _EVERY,
    "health": _EVERY,
    "carriers": _EVERY,
    "routes": _EVERY,
    "expect": _EVERY,
}

# What is said to a carrier in a bind, or decides whom we connect to: its binds are drained and replaced.
REBINDS = frozenset(
    {"host", "port", "hosts", "tx_host", "rx_host", "local_address", "outbind_listen"}
    | {"system_id", "password", "bind", "system_type", "interface_version"}
    | {"address_range", "addr_ton", "addr_npi"}
    | {"tls", "tls_verify", "tls_server_name", "tls_ca_file", "tls_cert_file", "tls_key_file"}
)
_SHORT = 12  # entries of a list that are all shown
_NAMED = 6


@dataclass(frozen=True)
class KeyChange:
    """`old` and `new` are plain JSON values; None: it is not there, or not set."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Change:
    """Of one table. `what`: added, removed, changed or moved (a route, among those that stay). `name` is ""
    for a table that there is once. `rebinds`: a carrier's binds are drained and replaced."""

    section: str
    name: str
    what: str
    keys: tuple[KeyChange, ...] = ()
    rebinds: bool = False


@dataclass(frozen=True)
class Diff:
    """In the order of the configuration. `restart`: the changed keys that need one, as `http.listen`."""

    changes: tuple[Change, ...]
    restart: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)


def diff(old: Config, new: Config) -> Diff:
    """From the configuration in force to another one."""
    changes: list[Change] = []
    restart: list[str] = []
    for section, (_, _, _) in fields_of(Config).items():
        before, after = getattr(old, section), getattr(new, section)
        if before == after:
            continue
        if isinstance(after, tuple):
            named = all(hasattr(one, "name") for one in (*before, *after))
            found = list(_list_changes(section, before, after)) if named else [_whole(section, before, after)]
            if section not in _LIVE and found:
                restart.append(section)
        else:
            keys = key_changes(before, after)
            found = [Change(section, "", "changed", keys)] if keys else []
            restart += [f"{section}.{one.key}" for one in keys if not _is_live(section, one.key)]
        changes += found
    return Diff(tuple(changes), tuple(restart))


def without_restart(old: Config, new: Config) -> Config:
    """`new`, with what needs a restart as it is in `old`."""
    kept: dict[str, Any] = {}
    for section in fields_of(Config):
        before, after = getattr(old, section), getattr(new, section)
        if section not in _LIVE:
            kept[section] = before
        elif dataclasses.is_dataclass(after):
            fixed = {
                name: getattr(before, name) for name in fields_of(type(after)) if not _is_live(section, name)
            }
            kept[section] = dataclasses.replace(after, **fixed)  # type: ignore[type-var]
    return dataclasses.replace(new, **kept)


def _is_live(section: str, key: str) -> bool:
    if section not in _LIVE:
        return False
    live = _LIVE[section]
    return live is None or key.split(".")[0] in live


# lists of tables


def _whole(section: str, before: Sequence[Any], after: Sequence[Any]) -> Change:
    """Tables without names."""
    return Change(section, "", "changed", (KeyChange("tables", len(before), len(after)),))


def _list_changes(section: str, before: Sequence[Any], after: Sequence[Any]) -> Iterable[Change]:
    old, new = {one.name: one for one in before}, {one.name: one for one in after}
    moved = _moved([name for name in old if name in new], list(new)) if section == "routes" else set()
    for name, one in new.items():
        if name not in old:
            yield Change(section, name, "added", _written(one, added=True))
            continue
        same = one == old[name]
        keys = () if same else key_changes(old[name], one)
        if isinstance(one, RouteConfig) and not keys and not same:  # a file of its says something else
            keys = (KeyChange("prefixes", *_pair(old[name].prefixes, one.prefixes, Words(""))),)
        rebinds = isinstance(one, CarrierConfig) and any(change.key in REBINDS for change in keys)
        if name in moved:
            place = KeyChange("position", list(old).index(name) + 1, list(new).index(name) + 1)
            yield Change(section, name, "changed" if keys else "moved", (place, *keys))
        elif keys:
            yield Change(section, name, "changed", keys, rebinds)
    for name, one in old.items():
        if name not in new:
            yield Change(section, name, "removed", _written(one, added=False))


def _moved(stay: list[str], order: list[str]) -> set[str]:
    """The fewest of those that stay which, taken out, leave the others in their old order."""
    place = {name: index for index, name in enumerate(stay)}
    names = [name for name in order if name in place]
    tails: list[int] = []
    last: list[int] = []  # index into `names` of the end of the longest run of each length
    previous: list[int] = []
    for index, name in enumerate(names):
        at = bisect.bisect_left(tails, place[name])
        previous.append(last[at - 1] if at else -1)
        tails[at : at + 1] = [place[name]]
        last[at : at + 1] = [index]
    kept: set[str] = set()
    index = last[-1] if last else -1
    while index >= 0:
        kept.add(names[index])
        index = previous[index]
    return set(names) - kept


def _written(one: Any, *, added: bool) -> tuple[KeyChange, ...]:
    """What is not as by default."""
    found: list[KeyChange] = []
    for key, value, words, usual in _flat(one):
        if key != "name" and value != usual:
            shown = _shown(value, words)
            found.append(KeyChange(key, None if added else shown, shown if added else None))
    return tuple(found)


# keys


def key_changes(before: Any, after: Any) -> tuple[KeyChange, ...]:
    """Of two tables of one kind."""
    found: list[KeyChange] = []
    old = {key: value for key, value, _, _ in _flat(before)}
    seen: set[str] = set()
    for key, value, words, usual in _flat(after):
        seen.add(key)
        if old.get(key, usual) != value:
            found.append(KeyChange(key, *_pair(old.get(key, usual), value, words)))
    for key, value, words, usual in _flat(before):
        if key not in seen and value != usual:
            found.append(KeyChange(key, _shown(value, words), None))
    return tuple(found)


def _flat(one: Any, prefix: str = "") -> Iterable[tuple[str, Any, Words, Any]]:
    """(key, value, words, default), nested tables and tables of texts as `retry.first_s`."""
    for name, (_, words, required) in fields_of(type(one)).items():
        value = getattr(one, attribute(name))
        if dataclasses.is_dataclass(value) and fields_of(type(value)).keys() != {"host", "port"}:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for key, each in value.items():
                yield f"{prefix}{name}.{key}", each, words, None
        else:
            yield f"{prefix}{name}", value, words, None if required else default_of(type(one), name)


def _pair(old: Any, new: Any, words: Words) -> tuple[Any, Any]:
    """Both as they are shown; of long lists what is in one of them only."""
    if (
        words.secret
        or not (isinstance(old, tuple) and isinstance(new, tuple))
        or max(len(old), len(new)) <= _SHORT
    ):
        return _shown(old, words), _shown(new, words)
    before, after = {str(_plain(one)) for one in old}, {str(_plain(one)) for one in new}
    return _some(len(old), "without", before - after), _some(len(new), "with", after - before)


def _some(count: int, how: str, names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED]) + (
        f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    )
    return f"{count:,} entries" + (f", {how} {shown}" if names else "")


def _shown(value: Any, words: Words) -> Any:
    if words.secret:
        return NOT_SHOWN if value else ""
    if isinstance(value, tuple) and len(value) > _SHORT:
        return f"{len(value):,} entries"
    return _plain(value)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, LaneEntry) and value.weight is None:
        return value.carrier
    if dataclasses.is_dataclass(value) and fields_of(type(value)).keys() != {"host", "port"}:
        return {key: _shown(each, words) for key, each, words, usual in _flat(value) if each != usual}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value)
