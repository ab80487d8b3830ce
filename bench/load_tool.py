"""The load tool of bench/load, compiled where it is needed and kept in `.venv/bench/`.

A binary is named by its sources, flags and compiler, so it is built again when one of them changed; it is put
in place by a rename, so two starts at once do no harm.

Deliberately not here: starting it (rig.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gateway.cli.failure import Failure

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench" / "load"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
STRICT = (*FLAGS, "-Werror")  # the tests'; a newer compiler's new warning must not stop anybody's bench


def compiler() -> str | None:
    """The path of $CC, cc, gcc or clang, whichever is there first."""
    names = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def built(into: Path = ROOT / ".venv" / "bench", flags: tuple[str, ...] = FLAGS) -> Path:
    """The compiled load tool. Raises Failure with what to do where it cannot be made."""
    if sys.platform != "linux":
        raise Failure("the load tool needs Linux (epoll)", "run signalbox bench on Linux")
    cc = compiler()
    if cc is None:
        raise Failure(
            "no C compiler: signalbox bench builds its load tool (bench/load) from source",
            "install one, on Debian: apt-get install gcc libc6-dev; or name yours in CC",
        )
    binary = into / f"load-{_fingerprint(cc, flags)}"
    if not binary.is_file():
        _compile(cc, flags, binary)
    return binary


def _sources() -> list[Path]:
    return sorted(SOURCES.glob("*.[ch]"))


def _fingerprint(cc: str, flags: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((cc, flags, os.uname().machine)).encode())
    for source in _sources():
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _compile(cc: str, flags: tuple[str, ...], binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_name(f"{binary.name}.{os.getpid()}")
    files = [str(source) for source in _sources() if source.suffix == ".c"]
    done = subprocess.run([cc, *flags, "-o", str(unfinished), *files], capture_output=True, text=True)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise Failure(
            f"{cc} could not compile the load tool:\n{done.stderr.strip()}",
            "a header that is missing comes with libc6-dev on Debian",
        )
    unfinished.rename(binary)
