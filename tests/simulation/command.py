"""`bin/simtest`: many seeds, or one again."""

from __future__ import annotations

import argparse
import logging
import sys

import structlog

from tests.simulation.run import simulate


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bin/simtest", description="Seeded simulation of the whole gateway."
    )
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="replay this one, with its traceback")
    wish = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if wish.seed is not None:
        print(f"seed {wish.seed}: {simulate(wish.seed)}")
        return 0
    failed: list[int] = []
    for seed in range(wish.start, wish.start + wish.seeds):
        try:
            simulate(seed)
        except Exception as error:
            failed.append(seed)
            print(f"seed {seed}: {error!r}; replay: bin/simtest --seed {seed}", flush=True)
    print(f"{wish.seeds} seeds from {wish.start}, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
