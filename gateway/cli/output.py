"""Printing: JSON for programs, aligned columns for people.

Deliberately not here: colours, paging, anything that asks a question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


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


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
