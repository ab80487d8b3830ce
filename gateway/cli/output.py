"""Printing: JSON for programs, aligned columns for people.

Invariant: what others wrote (texts, senders, ids, answers of servers) cannot steer the terminal: control and
direction characters are printed as escapes.

Deliberately not here: colours, paging, anything that asks a question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

# C0, DEL, C1, line separators, and what turns the direction of writing (Unicode 3.0 "Bidi_Control")
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("\n".join(_STEERING.sub(_escaped, line) for line in text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def print_pairs(pairs: Mapping[str, object]) -> None:
    """`name  value` lines; empty values are left out."""
    shown = {name: text for name, value in pairs.items() if (text := as_text(value))}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        click.echo(f"{name:<{width}}  {text}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [[as_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    click.echo(
        "  ".join(f"{heading:<{width}}" for heading, width in zip(headings, widths, strict=True)).rstrip()
    )
    for row, texts in zip(rows, cells, strict=True):
        aligned = [
            f"{text:>{width}}" if isinstance(cell, int) else f"{text:<{width}}"
            for cell, text, width in zip(row, texts, widths, strict=True)
        ]
        click.echo("  ".join(aligned).rstrip())


def counted(count: int, noun: str) -> str:
    """`1 message`, `1,200 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value)
    return _STEERING.sub(_escaped, str(value))


def account_state(view: Mapping[str, Any]) -> str:
    """Of an account, in a table; "" where it is as usual."""
    if view["closed"]:
        return "closed"
    return "suspended" if view["suspended"] else "login banned" if view.get("banned") else ""
