"""Moves out of the tables of a folder what is no part of them, and says what that means.

Only a run does this, under its lock: what cannot be read of an attempt is not known, so its trial
has to run again, and its place must be free for the new file. Readers pass such files over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ddp_sweep.errors import ResultsError
from ddp_sweep.results.folder import ResultsFolder, sweep_name
from ddp_sweep.results.tables import AttemptName, Unusable, first_line, sort_files, visible_files
from ddp_sweep.results.whole_files import writing
from ddp_sweep.schema import TABLES

__all__ = ["quarantine_attempt", "quarantine_curves", "quarantine_rows"]


def quarantine_rows(folder: ResultsFolder) -> tuple[str, ...]:
    """Move every file that is no part of the table ``trials``.

    Args:
        folder: Whose lock this process has. Its own sweep file says which sweep it is of, and
            not that of a run, which may have been given the wrong folder.

    Returns:
        A sentence for each file: where it is now, why, and what that means.

    Raises:
        ResultsError: A file cannot be read for now, or needs a newer version; or nothing in the
            folder was written by a sweep, so that it is somebody else's.
        WriteError: A file cannot be moved.
    """
    sweep = sweep_name(folder.read(()).spec)
    _, unusable = sort_files(folder.trials, TABLES["trials"], sweep=sweep)
    _require_ours(folder, unusable)
    _require_readable(unusable)
    return tuple(_moved(folder, one, _meaning(folder, one)) for one in unusable)


def quarantine_curves(folder: ResultsFolder) -> tuple[str, ...]:
    """Move every file of the other tables that is damaged, or of no attempt that has a row.

    Returns:
        As :func:`quarantine_rows`.

    Raises:
        WriteError: A file cannot be moved.
    """
    return tuple(
        _moved(folder, one, meaning)
        for table in ("evals", "steps")
        for one, meaning in _curves(folder, table)
    )


def quarantine_attempt(folder: ResultsFolder, record: Path, reason: str) -> str:
    """Move what stands for an attempt under way and says too little to give it a row.

    Returns:
        A sentence: where it is now, why, and what that means.

    Raises:
        WriteError: It cannot be moved.
    """
    return _moved(folder, Unusable(file=record, reason=reason), "no attempt is known from it")


def _require_ours(folder: ResultsFolder, unusable: list[Unusable]) -> None:
    """Nobody's files are moved because a folder of theirs is called trials."""
    files = list(visible_files(folder.trials))
    if files and len(unusable) == len(files) and not folder.spec_file.exists():
        raise ResultsError(
            f"{folder.path} is no results folder: no sweep wrote what is in {folder.trials}; "
            "choose another folder with --output"
        )


def _require_readable(unusable: list[Unusable]) -> None:
    for one in unusable:
        if one.stays:
            raise ResultsError(
                f"{one.file} may hold a result, and without it nobody knows what is left to run: "
                f"{one.reason}. Mend that, or choose another folder with --output"
            )


def _meaning(folder: ResultsFolder, one: Unusable) -> str:
    name = AttemptName.of(one.file)
    if name is None or not one.damaged:
        return "it is no part of this sweep"
    later = range(name.attempt + 1, name.attempt + 100)
    if any(folder.attempt_file("trials", name.trial_id, k).exists() for k in later):
        return "a later attempt at its trial counts"
    return "its trial is run again"


def _curves(folder: ResultsFolder, table: str) -> Iterator[tuple[Unusable, str]]:
    """Files of a table beside ``trials`` that cannot be used; their rows are not looked at."""
    for file in visible_files(folder.table(table)):
        name = AttemptName.of(file)
        reason = _footer_problem(file)
        if name is None or not folder.attempt_file("trials", *_key(name)).exists():
            left = Unusable(file=file, reason=reason or "no row in trials belongs to it")
            yield left, "it was left by an attempt that did not end, or is no part of this sweep"
        elif reason is not None:
            damaged = Unusable(file=file, reason=reason, damaged=True)
            yield damaged, f"the result of its trial is kept, without its {table}"


def _footer_problem(file: Path) -> str | None:
    try:
        pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        return f"it cannot be read: {first_line(error)}"
    return None


def _key(name: AttemptName) -> tuple[str, int]:
    return name.trial_id, name.attempt


def _moved(folder: ResultsFolder, one: Unusable, meaning: str) -> str:
    place = folder.quarantine / one.file.parent.name
    with writing(folder.quarantine):
        place.mkdir(parents=True, exist_ok=True)
        target = _free(place / one.file.name)
        one.file.rename(target)
    return f"{one.file} was moved to {target}: {one.reason}; {meaning}"


def _free(target: Path) -> Path:
    """The same name, or the first one like it that is not taken."""
    number, free = 1, target
    while free.exists():
        number += 1
        free = target.with_name(f"{target.name}.{number}")
    return free
