"""`bin/crashtest`: the same kills, or the same power cuts, as in CI, as many as wanted."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.crash.harness import random_kills
from tests.crash.images import compiler, power_cuts


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bin/crashtest", description="kill -9 under load, or cut the power, then count."
    )
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--images", type=int, default=0, help="power cuts instead: so many disk images")
    parser.add_argument("--seed", type=int, default=1)
    wish = parser.parse_args()
    if wish.images and compiler() is None:
        parser.error("--images records a process with LD_PRELOAD: it needs Linux and a C compiler named cc")
    with tempfile.TemporaryDirectory(prefix="signalbox-crash-") as directory:
        if wish.images:
            return cut_power(Path(directory), wish.images, wish.seed)
        return kill(Path(directory), wish.kills, wish.seed)


def cut_power(directory: Path, images: int, seed: int) -> int:
    report = power_cuts(directory, images, seed)
    print(json.dumps(report.summary()))
    return 1 if report.complaints else 0


def kill(directory: Path, kills: int, seed: int) -> int:
    report = random_kills(directory, kills, seed, progress=True)
    print(json.dumps(report.summary()))
    sound = report.findings == "The store is sound."
    good = (
        not (report.lost or report.not_told or report.not_final)
        and report.sent_again <= report.announced
        and sound
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
