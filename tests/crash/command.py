"""`bin/crashtest`: the same kills as in CI, as many as wanted."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.crash.harness import random_kills


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/crashtest", description="kill -9 under load, then count.")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signalbox-crash-") as directory:
        report = random_kills(Path(directory), wish.kills, wish.seed, progress=True)
    print(json.dumps(report.summary()))
    sound = report.findings == "The store is sound."
    good = not report.lost and not report.not_final and report.sent_again <= report.announced and sound
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
