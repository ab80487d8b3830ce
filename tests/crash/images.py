"""Power cuts: record what a process does to its disk, rebuild the disk of many moments, and judge each image.

The moments are the boundaries of durability: right before each sync and each write through O_DSYNC (LMDB's
meta page), with nothing on the disk but what is certain; and during each, with any part of what is not. Right
after one is right before the next, only that less had been promised by then.

Deliberately not here: what the process does (traffic.py), what must be true (judge.py), what is asserted
(test_disk_images.py).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.disk import Disk, records
from tests.crash.judge import Cut

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = Path(__file__).with_name("images.c")
_LOCKS = frozenset({"lock.mdb", "owner.lock"})
_WORKERS = 2
_SHOWN = 20


@dataclass
class Report:
    """What a run came to."""

    boundaries: int  # syncs and writes through O_DSYNC in the log
    answered: int  # messages accepted and answered by its end
    images: int = 0
    digests: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)  # "cut (at, seed): what"

    def summary(self) -> dict[str, object]:
        kinds = Counter(
            "corrupt" if "does not open" in complaint else "lost" if "is not there" in complaint else "other"
            for complaint in self.complaints
        )
        return {
            "images": self.images,
            "distinct": len(self.digests),
            "boundaries": self.boundaries,
            "answered": self.answered,
            "corrupt": kinds["corrupt"],
            "lost": kinds["lost"],
            "other_complaints": kinds["other"],
            "complaints": self.complaints[:_SHOWN],
        }


def compiler() -> str | None:
    """The C compiler the recorder needs, where there is one and a loader to preload it into."""
    return shutil.which("cc") if sys.platform == "linux" else None


def record(directory: Path, rounds: int, seed: int) -> Path:
    """Run the traffic under the recorder; the log. Errors: AssertionError when the log lacks something."""
    library, root, log = directory / "images.so", directory / "root", directory / "log"
    subprocess.run(
        ["cc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl", "-lpthread"],
        check=True,
    )
    root.mkdir()
    subprocess.run(
        [sys.executable, "-P", "-m", "tests.crash.traffic", root, str(rounds), str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(library),
             "IMAGES_ROOT": str(root), "IMAGES_LOG": str(log)},
        check=True,
    )  # fmt: skip
    disk = Disk()
    for one in records(log):
        disk.feed(one)
    real = {str(path.relative_to(root)): path for path in root.rglob("*") if path.name not in _LOCKS}
    seen = {path: octets if octets is None else bytes(octets) for path, octets in disk.seen().items()}
    assert seen == {name: None if path.is_dir() else path.read_bytes() for name, path in real.items()}, (
        "the recorder missed something: its files are not the real ones"
    )
    return log


def every_cut(log: Path) -> list[Cut]:
    """Each boundary: what is certain before it and, where there is a choice, one image during it."""
    cuts: list[Cut] = []
    disk, at = Disk(), 0
    for one in records(log):
        if one.lasting:
            cuts.append(Cut(at, 0))
            if disk.uncertain() > 1:
                cuts.append(Cut(at, 1))
        disk.feed(one)
        at += 1
    return [*cuts, Cut(at, 0)]


def some_cuts(log: Path, count: int, seed: int) -> list[Cut]:
    """So many of all cuts; where there are too few, several images of each that leaves a choice."""
    cuts = every_cut(log)
    uncertain = [cut.at for cut in cuts if cut.seed]
    for again in range(2, 2 + max(0, -(-(count - len(cuts)) // len(uncertain)))):
        cuts += [Cut(at, again) for at in uncertain]
    return sorted(random.Random(seed).sample(cuts, count))


def judge_all(log: Path, cuts: list[Cut]) -> Report:
    """Open the image of each cut, in processes of their own."""
    marks = b"".join(one.data for one in records(log) if one.kind == "W" and one.path == "marks")
    report = Report(sum(one.lasting for one in records(log)), marks.count(b"accepted "))
    size = -(-len(cuts) // _WORKERS)
    with ExitStack() as stack:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signalbox-", dir=memory)))
        jobs = [_start(log, cuts[at : at + size], scratch, stack) for at in range(0, len(cuts), size)]
        for process, verdicts in jobs:
            _read(report, verdicts.read_text().splitlines() if process.wait() is not None else [], process)
    return report


def _start(
    log: Path, cuts: list[Cut], scratch: Path, stack: ExitStack
) -> tuple[subprocess.Popen[bytes], Path]:
    name = f"{cuts[0].at}-{cuts[0].seed}"
    asked, verdicts = scratch / f"cuts-{name}", scratch / f"verdicts-{name}"
    asked.write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.crash.judge", log, scratch / name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=stack.enter_context(asked.open("rb")),
        stdout=stack.enter_context(verdicts.open("wb")),
    )
    stack.callback(_end, process)
    return process, verdicts


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _read(report: Report, lines: list[str], process: subprocess.Popen[bytes]) -> None:
    for at in range(0, len(lines), 2):
        cut, digest = json.loads(lines[at])
        report.images += 1
        report.digests.add(digest)
        if at + 1 < len(lines):
            complaints = json.loads(lines[at + 1])
        else:
            complaints = [f"does not open: it ended the process that opened it ({process.returncode})"]
        report.complaints += [f"cut {tuple(cut)}: {complaint}" for complaint in complaints]
    if process.returncode and len(lines) % 2 == 0:
        report.complaints.append(f"the judge itself failed with {process.returncode}")


def power_cuts(directory: Path, count: int, seed: int) -> Report:
    """So many images of one long run."""
    log = record(directory, max(150, count // 4), seed)
    return judge_all(log, some_cuts(log, count, seed))
