"""The LMDB environment: opening it safely, its tables, its format version.

Invariants: one process at a time (a flock'ed file, which the kernel releases when we die); the 0.9 engine,
named explicitly because py-lmdb 3 carries two that cannot read each other's files; sync and metasync on,
WRITEMAP off, so that a commit that returned is on the disk. LMDB syncs its file and never the names that
lead to it: `sync_names` does, before anything in the file is promised to anybody.

Not here: what the rows mean (records.py), any verb.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

import lmdb

from store.interface import StoreBusy, StoreDamaged, StoreError, StoreFormat, StoreFull
from store.options import StoreOptions

ENGINE = 0  # py-lmdb's lib_version: liblmdb 0.9
TABLES: Final = (
    "meta",
    "message",
    "progress",
    "ready",
    "due",
    "held",
    "expiry",
    "lease",
    "correlation",
    "parked",
    "parked_time",
    "unmatched",
    "unknown",
    "finished",
    "counter",
    "outbox",
    "outbox_due",
    "inbound",
    "part",
    "part_time",
    "recipient",
    "account",
    "name",
    "quarantine",
    "alias",
    "long",
    "long_time",
    "train",
    "given_up",
    "audit",
    "notice",
    "silence",
    "once",
    "once_time",
    "wallet",
    "ledger",
    "young",
)
NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}
)
DATA = "data.mdb"  # LMDB's name for an environment's file
SALVAGE_HINT = "stop, keep a copy of the directory, then run: signalbox store salvage {path} NEW_DIRECTORY"


class Table:
    """One named LMDB database: its handle, and its number in taps and in quarantine keys."""

    __slots__ = ("handle", "index", "name")

    def __init__(self, name: str, index: int, handle: lmdb._Database) -> None:
        self.name = name
        self.index = index
        self.handle = handle


class Tables:
    """All tables by name."""

    def __init__(self, env: lmdb.Environment) -> None:
        self.all = [Table(name, index, env.open_db(name.encode())) for index, name in enumerate(TABLES)]
        by_name = {table.name: table for table in self.all}
        self.meta = by_name["meta"]
        self.message = by_name["message"]
        self.progress = by_name["progress"]
        self.ready = by_name["ready"]
        self.due = by_name["due"]
        self.held = by_name["held"]
        self.expiry = by_name["expiry"]
        self.lease = by_name["lease"]
        self.correlation = by_name["correlation"]
        self.parked = by_name["parked"]
        self.parked_time = by_name["parked_time"]
        self.unmatched = by_name["unmatched"]
        self.unknown = by_name["unknown"]
        self.finished = by_name["finished"]
        self.counter = by_name["counter"]
        self.outbox = by_name["outbox"]
        self.outbox_due = by_name["outbox_due"]
        self.inbound = by_name["inbound"]
        self.part = by_name["part"]
        self.part_time = by_name["part_time"]
        self.recipient = by_name["recipient"]
        self.account = by_name["account"]
        self.name = by_name["name"]
        self.quarantine = by_name["quarantine"]
        self.alias = by_name["alias"]
        self.long = by_name["long"]
        self.long_time = by_name["long_time"]
        self.train = by_name["train"]
        self.given_up = by_name["given_up"]
        self.audit = by_name["audit"]
        self.notice = by_name["notice"]
        self.silence = by_name["silence"]
        self.once = by_name["once"]
        self.once_time = by_name["once_time"]
        self.wallet = by_name["wallet"]
        self.ledger = by_name["ledger"]
        self.young = by_name["young"]


class Lock:
    """The exclusive right to a store's directory, given up when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise StoreBusy(
                f"{directory} is open in another process",
                "use the running gateway's commands, or stop it first",
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, b"%d\n" % os.getpid())

    def release(self) -> None:
        os.close(self._fd)


def open_environment(
    directory: Path, *, map_size: int, max_readers: int = 1024, readonly: bool = False, lock: bool = True
) -> lmdb.Environment:
    """An environment under our rules; lmdb's errors become StoreError, StoreDamaged, StoreFull.

    A new one is made unless `readonly`; it lasts through a power cut once `sync_names` was called.
    """
    try:
        if not readonly and not (directory / DATA).exists():
            _create(directory, map_size)
        env = lmdb.Environment(
            str(directory),
            map_size=map_size,
            max_dbs=len(TABLES) + 8,
            max_readers=max_readers,
            max_spare_txns=8,
            sync=True,
            metasync=True,
            writemap=False,
            readahead=False,
            readonly=readonly,
            lock=lock,
            create=not readonly,
            mode=0o600,
            lib_version=ENGINE,
        )
        if lock and not readonly:
            env.reader_check()
    except (lmdb.Error, OSError) as error:
        raise translated(error, directory) from error
    return env


def _create(directory: Path, map_size: int) -> None:
    """An empty file under its name only once it is whole: LMDB takes half a first write for damage."""
    aside = directory / "creating"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    with lmdb.Environment(
        str(aside), map_size=map_size, max_dbs=len(TABLES) + 8, lock=False, mode=0o600, lib_version=ENGINE
    ) as env:
        env.sync(True)
    (aside / DATA).rename(directory / DATA)
    shutil.rmtree(aside)


def sync_names(directory: Path, top: Path) -> None:
    """Make the names in `directory` and in each directory above it, up to and with `top`, last."""
    for path in (directory, *directory.parents):
        _sync_directory(path)
        if path == top:
            return


def _sync_directory(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # not ours to read: whoever made it had to see to it
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has nothing to sync there
            raise
    finally:
        os.close(fd)


def translated(error: lmdb.Error | OSError, directory: Path | str) -> StoreError:
    """lmdb's exception, or the system's, as ours, with what an operator can do about it."""
    if isinstance(error, lmdb.MapFullError):
        return StoreFull(
            "the store's map is full", "raise [store] map_size and restart, or wait for the archiver"
        )
    if isinstance(error, lmdb.DiskError) or getattr(error, "code", 0) in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull("the disk is full", "free space on the data directory's disk")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.PanicError | lmdb.InvalidError):
        return StoreDamaged(
            f"the store in {directory} is damaged: {error}", SALVAGE_HINT.format(path=directory)
        )
    if isinstance(error, lmdb.VersionMismatchError):
        return StoreFormat(
            f"{directory} was written by another LMDB engine",
            "open it with the release that wrote it and back it up",
        )
    if "No space left" in str(error):
        return StoreFull("the disk is full", "free space on the data directory's disk")
    return StoreError(f"the store in {directory}: {error}")


def prepare_directory(path: Path, options: StoreOptions) -> None:
    """Create the directory, for good; refuse what LMDB's locks and maps cannot trust."""
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    sync_names(path.absolute().parent, there)
    if options.check_filesystem:
        kind = filesystem_of(path)
        if kind in NETWORK_FILESYSTEMS:
            raise StoreError(
                f"{path} is on {kind}: memory maps and locks are not safe on network file systems",
                "put data_dir on a local disk",
            )


def filesystem_of(path: Path, mounts: str = "/proc/self/mounts") -> str:
    """The type of the file system a path is on; "" where that cannot be told."""
    target = str(path.resolve())
    best = ("", "")
    try:
        lines = Path(mounts).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, fields[2])
    return best[1]


def free_disk(path: Path) -> int:
    """Bytes free for us on the path's disk."""
    return shutil.disk_usage(path).free
