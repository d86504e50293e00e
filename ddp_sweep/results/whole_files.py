"""Files that appear whole or not at all: the one place that writes into a results folder."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from ruamel.yaml import YAML

from ddp_sweep.errors import ResultsError, WriteError

__all__ = [
    "OWNER",
    "appear_first",
    "is_given_up",
    "owner",
    "partial_name",
    "remove_leftovers",
    "whole_file",
    "write_whole",
    "writing",
    "yaml_text",
]

_NEVER_FOLD = 2**16
"""Columns of a line: a command that is folded cannot be pasted."""
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FLUSH_OF_FOLDERS = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)
_UNUSABLE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EEXIST, errno.ELOOP),
)
"""What is wrong with a folder rather than with what happens meanwhile."""
_OF_ANOTHER_MACHINE_S = 3600.0
"""Age at which what another machine began to write is taken for given up."""
OWNER = r"(?P<machine>[0-9a-f]{8})-(?P<process>\d+)"
"""Pattern of :func:`owner` within a name."""
_PARTIAL = re.compile(rf"^\..+\.{OWNER}\.part$")


@contextmanager
def whole_file(
    target: Path, *, durable: bool = True, overwrite: bool = True
) -> Iterator[IO[bytes]]:
    """Write a file under another name; it appears when the block has ended without an error.

    The other name begins with a dot, which readers of Parquet folders pass over.

    Args:
        target: The file.
        durable: Whether it must outlive the machine's death and not only this process's. The
            contents are flushed to the disk before the file appears, its folder afterwards.
        overwrite: Whether it takes the place of one that is there.

    Raises:
        FileExistsError: It is there already and must not be overwritten.
        OSError: The disk is full, or the folder cannot be written to.
    """
    partial = partial_name(target)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if overwrite:
            partial.replace(target)
        else:
            appear_first(partial, target)
        if durable:
            _flush_folder(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(target: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file, see :func:`whole_file`.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    with whole_file(target, durable=durable) as file:
        file.write(text.encode())


@contextmanager
def writing(target: Path, *, from_the_start: bool = False) -> Iterator[None]:
    """Say what it means where a file or folder cannot be written.

    Args:
        target: The file or folder.
        from_the_start: Whether nothing of a run has happened yet, so that it can as well begin
            elsewhere.

    Raises:
        ResultsError: The folder is of no use, at the start.
        WriteError: The disk is full, or what could be written to cannot be any more.
    """
    try:
        yield
    except OSError as error:
        why = f"cannot write {target}: {error.strerror or error}"
        if from_the_start and error.errno in _UNUSABLE:
            raise ResultsError(
                f"{why}; choose another folder with --output, or make this one writable"
            ) from error
        raise WriteError(
            f"{why}. What is there is kept. Free the disk or make the folder writable again, "
            "then run the same command: it goes on where this run stopped"
        ) from error


def partial_name(target: Path) -> Path:
    """What a file is called while this process writes it."""
    return target.with_name(f".{target.name}.{owner()}.part")


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what processes began to write that ended before it was whole."""
    for folder in folders:
        for file in folder.glob(".*.part"):
            made_by = _PARTIAL.match(file.name)
            if made_by is not None and is_given_up(file, made_by):
                with suppress(OSError):
                    file.unlink(missing_ok=True)


def owner() -> str:
    """This process, for the names of what it leaves behind if it is killed."""
    return f"{_machine()}-{os.getpid()}"


def is_given_up(path: Path, made_by: re.Match[str]) -> bool:
    """Whether a process made a file or folder that has ended since.

    Args:
        path: The file or folder.
        made_by: A match of :data:`OWNER` in its name.
    """
    if made_by["machine"] == _machine():
        return not psutil.pid_exists(int(made_by["process"]))
    try:
        return time.time() - path.stat().st_mtime > _OF_ANOTHER_MACHINE_S
    except OSError:
        return False


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def appear_first(partial: Path, target: Path) -> None:
    """Give a file another name, unless there is such a file; of two processes one succeeds.

    Raises:
        FileExistsError: There is.
    """
    try:
        target.hardlink_to(partial)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Such file systems leave a moment in which both see that nothing is there.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        partial.replace(target)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def yaml_text(value: object) -> str:
    """Plain values as YAML in the order they have; text of users is quoted where it must be.

    Examples:
        >>> print(yaml_text({"b": "yes: no", "a": [1]}), end="")
        b: 'yes: no'
        a:
        - 1
    """
    text, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = _NEVER_FOLD
    yaml.dump(value, text)
    return text.getvalue()
