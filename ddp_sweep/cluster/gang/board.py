"""The last progress of what runs, on its way from the ranks to the driver.

The mailbox of a gang and the driver live on the same node, so a small file in the scratch folder
does, one for each group of workers: nobody is asked, and the workers notice nothing of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddp_sweep.live.trials import Progress
from ddp_sweep.results.whole_files import write_whole

__all__ = ["ProgressBoard"]

_INTERVAL_S = 0.4
"""Least time between two writings, for progress within a trial."""
_FILE = "progress-{}.json"


class ProgressBoard:
    """Writes progress down, within a stage a few times a second at most, and reads it.

    Args:
        folder: Scratch folder that writers and reader share.
        clock: The time of day in seconds since 1970.
        group: Name of the writer, unlike that of any other who uses the folder now.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.time, *, group: str = "all"
    ) -> None:
        self._folder = folder
        self._file = folder / _FILE.format(group)
        self._clock = clock
        self._written_s = 0.0
        self._key: str | None = None
        self._newest = Progress(stage="starting workers", at_s=clock())

    def workers_starting(self, waits_for: str | None = None) -> None:
        """New workers are on their way.

        Args:
            waits_for: What keeps them from starting, in words.
        """
        stage = "starting workers" if waits_for is None else waits_for
        self._newest = Progress(stage=stage, at_s=self._clock())
        self._key = None
        self._write()

    def trial_begins(self, trial_id: str, attempt: int) -> None:
        """The workers were given a trial."""
        now_s = self._clock()
        self._key = _key(trial_id, attempt)
        self._newest = Progress(stage="building", at_s=now_s, began_s=now_s)
        self._write()

    def note(self, told: dict[str, Any]) -> None:
        """What a rank said of the trial."""
        now_s = self._clock()
        stage = self._newest.stage
        self._newest = _merged(self._newest, told, now_s)
        # Of a new stage this may be the only word for long.
        if self._newest.stage != stage or now_s - self._written_s >= _INTERVAL_S:
            self._write()

    def read(self, trial_id: str, attempt: int) -> Progress | None:
        """The newest of an attempt, or that workers are starting; None where there is none.

        An attempt that no group of workers says anything of waits for one that is starting.
        """
        found = [_read(file) for file in self._folder.glob(_FILE.format("*"))]
        known = [pair for pair in found if pair is not None]
        for wanted in (_key(trial_id, attempt), None):
            told = [progress for key, progress in known if key == wanted]
            if told:
                return max(told, key=lambda progress: progress.at_s)
        return None

    def began_at(self, trial_id: str, attempt: int) -> datetime | None:
        """When the workers were given an attempt; None where nothing says that they were."""
        progress = self.read(trial_id, attempt)
        if progress is None or progress.began_s is None:
            return None
        return datetime.fromtimestamp(progress.began_s, UTC)

    def _write(self) -> None:
        self._written_s = self._clock()
        # Progress that cannot be shown is no reason to lose a trial.
        with suppress(OSError):
            text = json.dumps({"key": self._key, **asdict(self._newest)})
            write_whole(self._file, text, durable=False)


def _read(file: Path) -> tuple[str | None, Progress] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found.pop("key"), Progress(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(trial_id: str, attempt: int) -> str:
    return f"{trial_id}/{attempt}"


def _merged(known: Progress, told: dict[str, Any], now_s: float) -> Progress:
    samples, train_time_s = told.get("samples"), told.get("train_time_s")
    rate = samples / train_time_s if samples and train_time_s else known.samples_per_s
    return Progress(
        stage=str(told.get("stage", "training")),
        at_s=now_s,
        began_s=known.began_s,
        samples=told.get("samples", known.samples),
        budget=told.get("budget", known.budget),
        optimizer_step=told.get("optimizer_step", known.optimizer_step),
        train_loss=told.get("train_loss", known.train_loss),
        samples_per_s=rate,
    )
