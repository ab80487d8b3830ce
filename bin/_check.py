"""The project's rules, run: formatter, linter, mypy --strict, import-linter. All of them, then the verdict.

Exit code 0 when everything passed, 1 when something did not, 2 for a wrong argument. Tests are bin/test's
work. `--fix` lets ruff repair what it can first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

TYPED = ("smpp", "router", "store", "config", "gateway", "bench", "tests", "bin")
USAGE = """usage: bin/check [--fix] [format] [lint] [types] [layers]

  format   ruff format --check
  lint     ruff check
  types    mypy --strict over every package and the tests
  layers   import-linter: who may import whom (the contracts are in pyproject.toml)

Without names all four run. --fix formats and repairs what ruff can.
"""


def steps(fix: bool) -> dict[str, list[str]]:
    """Name → command, each to be run in the repository's root with this interpreter's tools."""
    tools = os.path.dirname(sys.executable)
    typed = [name for name in TYPED if has_python(name)]
    ruff = os.path.join(tools, "ruff")
    return {
        "format": [ruff, "format", *([] if fix else ["--check"])],
        "lint": [ruff, "check", *(["--fix"] if fix else [])],
        "types": [sys.executable, "-P", "-m", "mypy", *typed],
        "layers": [os.path.join(tools, "lint-imports")],
    }


def has_python(directory: str) -> bool:
    return any(name.endswith(".py") for _, _, names in os.walk(directory) for name in names)


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if argument != "--fix"]
    available = steps(fix="--fix" in arguments)
    unknown = [name for name in names if name not in available]
    if unknown:
        asked_for_help = unknown[0] in ("-h", "--help")
        (sys.stdout if asked_for_help else sys.stderr).write(USAGE)
        return 0 if asked_for_help else 2
    failed = [
        name for name in available if (not names or name in names) and not passes(name, available[name])
    ]
    print(f"check: failed: {', '.join(failed)}" if failed else "check: all passed")
    return 1 if failed else 0


def passes(name: str, command: list[str]) -> bool:
    """Run one step; show its output only when it failed."""
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    good = done.returncode == 0
    if not good:
        print(done.stdout.rstrip())
    print(f"{'ok    ' if good else 'FAILED'} {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
