"""The command line: `signalbox VERB`. Thin: a verb reads options, asks the gateway or the store, prints.

Modules are imported when their verb is used, so `signalbox --help` and the small verbs start fast.
"""

from __future__ import annotations

VERSION = "0.1.0"


def main() -> None:
    """The installed entry point."""
    import sys

    from gateway.cli.root import run

    sys.exit(run(sys.argv[1:]))
