"""Disks that are full or can only be read, made of memory; needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["fill", "read_only", "resize", "small_disk"]


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own; the test is skipped where nobody may mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    path.mkdir()
    done = _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    if done.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"no disk can be mounted: {done.stderr}")
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def resize(path: Path, size: str) -> None:
    """Somebody has freed the disk."""
    _mount("-o", f"remount,size={size}", str(path)).check_returncode()


def fill(path: Path) -> Path:
    """Write until nothing fits; what to remove to free the disk."""
    file = path / "filler"
    with file.open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            return file
    raise AssertionError("the disk has no end")


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A folder that can only be read, as one whose disk has failed."""
    _mount("--bind", str(path), str(path)).check_returncode()
    try:
        _mount("-o", "remount,bind,ro", str(path)).check_returncode()
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
