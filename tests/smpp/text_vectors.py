"""Rows of the public vectors and of our own, for the tests of texts and receipts.

Deliberately not here: the rows themselves; ours are in tests/vectors, the public ones outside the repository.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OWN = Path(__file__).resolve().parent.parent / "vectors"
Row = dict[str, Any]


def rows(path: Path, kind: str = "") -> list[Row]:
    """Every row of a .jsonl file, or those of one type."""
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [row for row in found if not kind or row["type"] == kind]
