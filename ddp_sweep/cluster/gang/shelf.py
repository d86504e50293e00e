"""The checkpoints of a sweep's trials on the driver's disk.

A checkpoint is a folder with one file a rank and a manifest. The folder gets its name when all of
that is on the disk, so one that has a name is whole; the manifest tells one that was damaged
since, and one of another trial or by other code. The newest of a trial is kept, and the one before
in case the newest turns out to be damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ddp_sweep.results import ResultsFolder
from ddp_sweep.spec import canonical_json
from ddp_sweep.training.messages import TrialRequest

__all__ = ["CheckpointShelf", "KeptCheckpoint"]

_FORMAT = 2
_KEPT = 2
_MANIFEST = "manifest.json"
_CHUNK_BYTES = 64 * 1024**2
"""Written at a time; then it is asked whether there is any use in going on."""

Part = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class KeptCheckpoint:
    """A checkpoint that was read whole."""

    attempt: int
    """The one that took it."""
    step: int
    """Optimizer steps done when it was taken."""
    parts: tuple[Part, ...]
    """What each rank handed over, in rank order."""


@dataclass(frozen=True)
class CheckpointShelf:
    """Writes, finds and removes checkpoints.

    Attributes:
        folder: Of the results.
        code_version: Of the workload.
    """

    folder: ResultsFolder
    code_version: str

    def write(
        self,
        request: TrialRequest,
        step: int,
        parts: Sequence[Part],
        *,
        wanted: Callable[[], bool] = lambda: True,
        finish: Callable[[Callable[[], object]], object] = lambda rename: rename(),
    ) -> None:
        """Write a checkpoint, then remove those that it makes superfluous.

        Args:
            request: The attempt that took it.
            step: Optimizer steps done.
            parts: What the ranks handed over, in rank order.
            wanted: Whether to go on; asked now and then, since a large one takes its time.
            finish: Calls its argument, which lets the checkpoint appear, or does not where it is
                not wanted any more.

        Raises:
            OSError: The disk is full, or the folder cannot be written to.
        """
        home = self.folder.checkpoints_of(request.trial.trial_id)
        target = home / f"{request.attempt:04}-{step:012}"
        partial = home / f".{target.name}.{os.getpid()}"
        self._sweep_up(home)
        about = {**self._identity(request), "attempt": request.attempt, "step": step}
        try:
            with suppress(_UnwantedError):
                _require(wanted)
                partial.mkdir(parents=True)
                _write_all(partial, parts, about, wanted)
                finish(lambda: _appear(partial, target))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            with suppress(OSError):  # something was kept, or others are in it
                home.rmdir()
                self.folder.checkpoints.rmdir()
        for superfluous in _newest_first(home)[_KEPT:]:
            shutil.rmtree(superfluous, ignore_errors=True)

    def find(self, request: TrialRequest) -> tuple[KeptCheckpoint | None, tuple[str, ...]]:
        """The newest checkpoint that a trial can go on from, and why newer ones cannot be used."""
        problems: list[str] = []
        for place in _newest_first(self.folder.checkpoints_of(request.trial.trial_id)):
            try:
                return self._read(place, request), tuple(problems)
            except _UnusableError as error:
                problems.append(f"{_in_words(place)} was not used: {error}")
        return None, tuple(problems)

    def discard(self, trial_id: str) -> None:
        """Remove what there is of a trial, which needs it no more."""
        shutil.rmtree(self.folder.checkpoints_of(trial_id), ignore_errors=True)
        with suppress(OSError):  # not there, or others are in it
            self.folder.checkpoints.rmdir()

    def trials(self) -> tuple[str, ...]:
        """Ids of the trials of which there is something."""
        with suppress(OSError):
            return tuple(sorted(place.name for place in self.folder.checkpoints.iterdir()))
        return ()

    def _read(self, place: Path, request: TrialRequest) -> KeptCheckpoint:
        """Read a checkpoint and compare it with its manifest.

        Raises:
            _UnusableError: It is damaged, or not of this trial as it is now.
        """
        try:
            manifest = json.loads((place / _MANIFEST).read_bytes())
            named = manifest["files"]
            kept = KeptCheckpoint(
                attempt=int(manifest["attempt"]),
                step=int(manifest["step"]),
                parts=tuple(np.fromfile(place / name, dtype=np.uint8) for name in named),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _UnusableError(f"it is damaged ({type(error).__name__}: {error})") from None
        for name, wanted in self._identity(request).items():
            if manifest.get(name) != wanted:
                raise _UnusableError(f"made with another {name.replace('_', ' ')}")
        for (name, noted), part in zip(named.items(), kept.parts, strict=True):
            if _fingerprint(part, hashlib.sha256(part.data)) != noted:
                raise _UnusableError(f"it is damaged ({name} has changed since it was written)")
        return kept

    def _identity(self, request: TrialRequest) -> dict[str, Any]:
        """What must be the same for a training to go on as if nothing had happened."""
        quality = request.quality
        settings = {
            "data": request.data.model_dump(mode="json"),
            "target": dict(quality.target),
            "decision_threshold": quality.decision_threshold,
            "probes": request.probes,
        }
        return {
            "format": _FORMAT,
            "trial": request.trial.trial_id,
            "world_size": request.trial.world_size,
            # The commit does not count, as for the results.
            "workload_code": self.code_version.partition(":")[2],
            "sweep_file": canonical_json(settings),
        }

    def _sweep_up(self, home: Path) -> None:
        """Remove what a process left that died while it wrote."""
        for place in home.glob(".*") if home.is_dir() else ():
            shutil.rmtree(place, ignore_errors=True)


class _UnusableError(Exception):
    """A checkpoint cannot be gone on from."""


class _UnwantedError(Exception):
    """Nobody needs the checkpoint any more."""


def _require(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise _UnwantedError


def _newest_first(home: Path) -> list[Path]:
    """The checkpoints of a trial that are whole; names sort as attempts and steps do."""
    return sorted(_named(home), key=lambda place: place.name, reverse=True)


def _named(home: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from (place for place in home.iterdir() if not place.name.startswith("."))


def _in_words(place: Path) -> str:
    attempt, _, step = place.name.partition("-")
    if not (attempt.isdecimal() and step.isdecimal()):
        return f"the checkpoint {place.name}"
    return f"the checkpoint at step {int(step)} of attempt {int(attempt)}"


def _fingerprint(part: Part, digest: hashlib._Hash) -> dict[str, Any]:
    return {"bytes": int(part.size), "sha256": digest.hexdigest()}


def _write_all(
    place: Path, parts: Sequence[Part], about: dict[str, Any], wanted: Callable[[], bool]
) -> None:
    """Write the parts, then the manifest that tells whether they are whole."""
    files = {}
    for rank, part in enumerate(parts):
        name = f"rank-{rank}.pt"
        files[name] = _write_part(place / name, part, wanted)
    with (place / _MANIFEST).open("w") as opened:
        json.dump({**about, "files": files}, opened, indent=1)
        _flush(opened)


def _write_part(file: Path, part: Part, wanted: Callable[[], bool]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        for begin in range(0, part.size, _CHUNK_BYTES):
            _require(wanted)
            chunk = part[begin : begin + _CHUNK_BYTES].data
            digest.update(chunk)
            opened.write(chunk)
            # At once: what piles up could not be broken off.
            _flush(opened)
    return _fingerprint(part, digest)


def _flush(opened: IO[Any]) -> None:
    opened.flush()
    os.fsync(opened.fileno())


def _appear(partial: Path, target: Path) -> None:
    # One of the same attempt and step: of a driver that died before it wrote the attempt down.
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
