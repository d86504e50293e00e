"""Who writes to a results folder: one process at a time, whatever became of the others.

The file ``_lock`` appears whole and names its process, so that any host that sees the folder can
read who has it. On the host of that process the kernel's own lock on the file tells whether the
process is still there; where a file system has no such locks, its number and start time do.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil

from ddp_sweep.errors import FolderInUseError
from ddp_sweep.results.folder import ResultsFolder
from ddp_sweep.results.whole_files import appear_first, partial_name, remove_leftovers, writing

__all__ = ["Holder", "is_locked", "locked", "may_run_elsewhere"]

_PAUSES_S = (0.05, 0.1, 0.2)
"""Between tries to get the lock: ``status`` holds it for a moment."""
_SAME_START_S = 2.0
"""What a process's start time may seem to differ by when the clock of a machine is corrected."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that a lock names."""

    host: str
    process: int
    process_started_s: float
    """In seconds since 1970; tells it from a later process of the same number."""
    boot_id: str | None
    """Of the kernel it runs on: two containers of one machine share it, a restart changes it."""
    since: str
    """When it took the lock, in UTC."""

    @classmethod
    def myself(cls) -> Holder:
        """This process."""
        return cls(
            host=socket.gethostname(),
            process=os.getpid(),
            process_started_s=psutil.Process().create_time(),
            boot_id=_boot_id(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def is_gone(self) -> bool | None:
        """Whether the process has ended; None where this host cannot see that."""
        here = Holder.myself()
        if self.host != here.host:
            return None
        if self.boot_id != here.boot_id:
            return True
        try:
            started_s = psutil.Process(self.process).create_time()
        except psutil.NoSuchProcess:
            return True
        return bool(abs(started_s - self.process_started_s) > _SAME_START_S)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextmanager
def locked(folder: ResultsFolder) -> Iterator[None]:
    """Make the folder if need be, and keep other runs out of it.

    Raises:
        FolderInUseError: Another run is writing to the folder, or may be.
        ResultsError: The folder cannot be made or written to.
        WriteError: The disk is full.
    """
    with writing(folder.path, from_the_start=True):
        folder.path.mkdir(parents=True, exist_ok=True)
        remove_leftovers([folder.path])
        file = _take(folder)
    with file:
        try:
            yield
        finally:
            # Where it cannot be removed, it names a process that has ended.
            with suppress(OSError):
                if _is_at(file, folder.lock_file):
                    folder.lock_file.unlink()


def is_locked(folder: ResultsFolder) -> bool:
    """Whether a run is writing to the folder, as far as can be seen from this machine."""
    try:
        with folder.lock_file.open(encoding="utf-8") as file:
            free = _flock(file, fcntl.LOCK_SH)
            if free is not None:
                return not free
            holder = _read(file)
            return holder is not None and holder.is_gone is False
    except OSError:
        return False


def may_run_elsewhere(folder: ResultsFolder) -> bool:
    """Whether the lock names a process that cannot be seen from this machine."""
    try:
        with folder.lock_file.open(encoding="utf-8") as file:
            holder = _read(file)
    except OSError:
        return False
    return holder is not None and holder.boot_id != _boot_id() and holder.is_gone is None


def _take(folder: ResultsFolder) -> IO[str]:
    """The open file whose lock is ours."""
    partial = partial_name(folder.lock_file)
    file = partial.open("w", encoding="utf-8")
    try:
        _flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(asdict(Holder.myself()), indent=1))
        file.flush()
        os.fsync(file.fileno())
        while not _put(partial, folder):
            pass
    except BaseException:
        file.close()
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return file


def _put(partial: Path, folder: ResultsFolder) -> bool:
    """Put our lock where none is, or in the place of a dead one; False to look again."""
    target = folder.lock_file
    try:
        appear_first(partial, target)
    except FileExistsError:
        pass
    else:
        return True
    try:
        known = target.open("r+", encoding="utf-8")
    except FileNotFoundError:  # it was given back just now
        return False
    with known:
        free = _taken(known)
        if not _is_at(known, target):
            return False
        holder = _read(known)
        if free is False or not _is_stale(holder, free):
            raise _in_use(folder, holder)
        # Whoever else looks at this dead lock waits for us to let go of it, and then looks again.
        partial.replace(target)
    return True


def _is_stale(holder: Holder | None, free: bool | None) -> bool:
    """Whether nobody has a lock that the kernel gave us, or knows nothing of (None)."""
    if holder is None:  # written by hand, or by another version, which held it by the kernel
        return True
    if free and holder.boot_id is not None and holder.boot_id == _boot_id():
        return True
    return holder.is_gone is True


def _in_use(folder: ResultsFolder, holder: Holder | None) -> FolderInUseError:
    known = "" if holder is None else f" ({holder})"
    if holder is not None and holder.is_gone is None:
        return FolderInUseError(
            f"another run has {folder.path}{known}; whether it still goes on cannot be seen from "
            f"{socket.gethostname()}. If it has surely ended, remove {folder.lock_file} and run "
            "the same command again; else wait for its end, or choose another folder with --output"
        )
    return FolderInUseError(
        f"another run is writing to {folder.path}{known}; wait for its end, or choose another "
        "folder with --output"
    )


def _taken(file: IO[str]) -> bool | None:
    for pause_s in _PAUSES_S:
        free = _flock(file, fcntl.LOCK_EX)
        if free is not False:
            return free
        time.sleep(pause_s)
    return _flock(file, fcntl.LOCK_EX)


def _flock(file: IO[str], how: int) -> bool | None:
    """Whether the kernel gave the lock; None where the file system has no locks."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one of that name, and has not been replaced."""
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _read(file: IO[str]) -> Holder | None:
    try:
        found: Any = json.loads(file.read())
        return Holder(**found)
    except (ValueError, TypeError):
        return None


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
