"""Prints pins of pyproject.toml, for the image's recipe: `pins.py constraints` or `pins.py npm`.

`constraints` are all of them, one a line, as pip's --constraint takes them: two images are of the same
packages.

Deliberately not here: anything but the standard library.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any


def pins(project: dict[str, Any], what: str) -> list[str]:
    """Errors: KeyError for another word than the two."""
    table = project["tool"]["signalbox"]
    extras = project["project"]["optional-dependencies"]["telemetry"]
    return {
        "constraints": [*project["project"]["dependencies"], *extras, *table["constraints"]],
        "npm": [table["npm"]],
    }[what]


if __name__ == "__main__":
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    print("\n".join(pins(tomllib.loads(file.read_text()), sys.argv[1])))
