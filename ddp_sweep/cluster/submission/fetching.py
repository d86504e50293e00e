"""Reads what :mod:`ddp_sweep.cluster.submission.packing` printed, and fills a results folder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ddp_sweep.cluster.submission.packing import MARK, TABLES
from ddp_sweep.errors import FetchError
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import locked

__all__ = ["Parcel", "place", "unpack"]


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Files of a results folder that came in one log."""

    folder: str | None
    """Where they lie on the cluster; None where there is no such folder yet."""
    files: dict[str, bytes]
    """Contents by relative path."""
    more: bool
    """Whether files are left that did not fit into the log."""


def unpack(log: str) -> Parcel:
    """The files that a log holds, whatever else was written into it.

    Raises:
        FetchError: The log breaks off, or a file differs from what was sent.
    """
    try:
        return _unpacked(log)
    except (KeyError, TypeError, ValueError) as error:
        raise FetchError(
            f"the results did not arrive whole: {error}. The same command tries again"
        ) from error


def _unpacked(log: str) -> Parcel:
    """ValueError, KeyError or TypeError where something is missing or damaged."""
    folder: str | None = None
    digests: dict[str, str] = {}
    pieces: dict[str, list[bytes]] = {}
    end: dict[str, Any] = {}
    name = ""
    for said in _marked(log):
        if "name" in said:
            name = _checked_name(said["name"])
            digests[name], pieces[name] = said["sha256"], []
        elif "piece" in said:
            pieces[name].append(base64.b64decode(said["piece"], validate=True))
        elif "files" in said:
            end = said
        else:
            folder = said["folder"]
    files = {name: b"".join(parts) for name, parts in pieces.items()}
    for name, contents in files.items():
        if hashlib.sha256(contents).hexdigest() != digests[name]:
            raise ValueError(f"{name} is damaged")
    if end.get("files") != len(files):
        raise ValueError("files are missing")
    return Parcel(folder=folder, files=files, more="more" in end)


def place(files: Mapping[str, bytes], folder: ResultsFolder, origin: str) -> int:
    """Write fetched files into a results folder, each whole or not at all.

    Args:
        files: Contents by relative path.
        folder: May hold an earlier state of the same results, and nothing else.
        origin: Where the files come from, in words.

    Returns:
        How many were new or had changed.

    Raises:
        FetchError: The folder holds other measurements.
        FolderInUseError: A run is writing to the folder.
        ResultsError: The folder cannot be written to.
    """
    with locked(folder):
        _refuse_other_results(files, folder, origin)
        _remove_loose_curves(files, folder)
        written = 0
        # Rows of a trial come last, as when they are measured.
        for name in sorted(files, key=lambda name: name.startswith("trials/")):
            target = folder.path / name
            if not target.is_file() or not _is_same(target, files[name]):
                _write_whole(target, files[name])
                written += 1
    return written


def _marked(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if line.startswith(MARK):
            yield json.loads(line.removeprefix(MARK))


def _checked_name(name: str) -> str:
    """A name that stays inside the folder; what a cluster sends is not trusted to."""
    parts = PurePosixPath(name).parts
    inside = parts and ".." not in parts and not PurePosixPath(name).is_absolute()
    if not inside or not (parts[0] in TABLES or parts[0].startswith("_")):
        raise FetchError(f"the cluster sent a file {name!r}, which belongs in no results folder")
    return str(PurePosixPath(*parts))


def _refuse_other_results(files: Mapping[str, bytes], folder: ResultsFolder, origin: str) -> None:
    """Files of trials never change: one that differs, or is here only, was measured elsewhere."""
    strangers = [
        name
        for name, file in _present(folder).items()
        if _has_row(file, folder) and not _is_same(file, files.get(name))
    ]
    if strangers:
        raise FetchError(
            f"{folder.path} holds other results than {origin}: {len(strangers)} files, such as "
            f"{strangers[0]}. Fetch into another folder: --output DIR"
        )


def _remove_loose_curves(files: Mapping[str, bytes], folder: ResultsFolder) -> None:
    """Curves are written before the row of their trial; without it they measure nothing."""
    for name, file in _present(folder).items():
        if name not in files and not _has_row(file, folder):
            file.unlink()


def _present(folder: ResultsFolder) -> dict[str, Path]:
    return {
        f"{table}/{file.name}": file
        for table in TABLES
        for file in folder.table(table).glob("*.parquet")
    }


def _has_row(file: Path, folder: ResultsFolder) -> bool:
    return (folder.trials / file.name).is_file()


def _is_same(file: Path, contents: bytes | None) -> bool:
    return contents is not None and file.read_bytes() == contents


def _write_whole(target: Path, contents: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"_{target.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
