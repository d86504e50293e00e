"""What was handed to the workers, so that no attempt is forgotten when the driver dies.

``_attempts/`` holds a small file for each attempt that is under way: the row that it gets if
nobody hears of it again. It goes once the attempt has its row. It is not flushed to the disk,
which would cost milliseconds beside a trial: it outlives this process, and where the whole machine
goes down before it reaches the disk, the same number is given to the next attempt.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ddp_sweep.errors import RecordedError, ResultsWarning, UnwritableError
from ddp_sweep.live.record import Record, read_record
from ddp_sweep.plan import Trial
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import Holder
from ddp_sweep.results.quarantine import quarantine_attempt
from ddp_sweep.results.row_tables import table_of_rows
from ddp_sweep.results.tables import AttemptName, first_line, lacking
from ddp_sweep.results.whole_files import write_whole, writing
from ddp_sweep.schema import TRIALS, Status

__all__ = ["Attempts", "CommitForDriver"]

_KILLED = "the run that began it ended without a word: it was killed, or its machine went down"
_DAMAGED = "the file of this attempt was damaged; a later attempt counts"
_SAME = (
    *("sweep", "trial_id", "configuration_id", "world_size", "per_worker_batch_size"),
    *("global_batch_size", "accumulation_steps", "seed", "learning_rate", "compute_precision"),
    *("parameters", "block", "position", "session_id", "finished_at", "placement"),
    *("ray_version", "ddp_sweep_version", "code_version"),
)
"""Columns that a lost row shares with that of a later attempt, as far as anybody knows."""


@dataclass(frozen=True)
class CommitForDriver:
    """Writes outcomes in the process that drives the workers, for as long as it has a driver.

    When a driver is killed its workers are ended one after another, and some see others die: that
    is no result of the trial. A success is one, whoever is left to see it.
    """

    reporter: Reporter
    driver: Holder

    def __call__(self, result: AttemptResult) -> None:
        """Write the rows of an attempt, unless it failed since its driver is gone."""
        if result.status == Status.SUCCEEDED or not self.driver.is_gone:
            self.reporter.commit(result)


class Attempts:
    """The attempts of a results folder that are under way, for the run that writes to it."""

    def __init__(self, folder: ResultsFolder, reporter: Reporter) -> None:
        self._folder = folder
        self._reporter = reporter

    def begin(self, trial: Trial, attempt: int) -> None:
        """Take down an attempt before it is handed to the workers.

        Raises:
            WriteError: It cannot be written down, so it must not begin.
        """
        unheard = AttemptResult(
            trial=trial,
            attempt=attempt,
            status=Status.INTERRUPTED,
            status_detail=_KILLED,
            finished_at=datetime.now(UTC),
        )
        row = self._reporter.trial_row(unheard)
        known = {name: value for name, value in row.items() if value is not None}
        file = self._folder.attempt_record(trial.trial_id, attempt)
        with writing(file):
            file.parent.mkdir(exist_ok=True)
            write_whole(file, json.dumps(known, default=datetime.isoformat), durable=False)

    def end(self, trial_id: str, attempt: int) -> None:
        """Strike an attempt off that has its row."""
        # Where it cannot be removed the next run finds the row as well.
        with suppress(OSError):
            self._folder.attempt_record(trial_id, attempt).unlink(missing_ok=True)

    def settle(self) -> int:
        """Give every attempt of runs before this one its row; how many had none.

        Those are interrupted: what was handed out and had no end when its driver died. Workers of
        such a driver may still be on their way out; if they write a row first, it stands.

        What says too little to be an attempt is moved to ``_quarantine``, with a warning.

        Raises:
            WriteError: A row cannot be written.
        """
        record = read_record(self._folder)
        rows = [*self._unheard(record), *_gaps(self._folder)]
        settled = 0
        for row in rows:
            with suppress(RecordedError):
                self._reporter.commit_row(row)
                settled += 1
            self.end(row["trial_id"], row["attempt"])
        return settled

    def _unheard(self, record: Record | None) -> Iterator[dict[str, Any]]:
        for file in sorted(self._folder.attempts.glob("*.json")):
            if file.stat().st_size == 0:  # the machine went down while it was written
                with suppress(OSError):
                    file.unlink()
                continue
            try:
                row = _read(file)
            except (ValueError, KeyError, TypeError, AttributeError, UnwritableError) as error:
                reason = f"it describes no attempt: {first_line(error)}"
                sentence = quarantine_attempt(self._folder, file, reason)
                warnings.warn(sentence, ResultsWarning, stacklevel=2)
            else:
                yield row | _last_heard(row, record)


def _read(file: Path) -> dict[str, Any]:
    """The row that an attempt gets if nobody hears of it again; an error where it is none."""
    row: Any = json.loads(file.read_text(encoding="utf-8"))
    row["finished_at"] = datetime.fromisoformat(row["finished_at"])
    named = AttemptName.of(file)
    if named != AttemptName(row["trial_id"], row["attempt"]):
        raise ValueError("its name is that of another attempt")
    if missing := lacking(table_of_rows([row], TRIALS)):
        raise ValueError(f"it is without {', '.join(missing)}")
    return dict(row)


def _last_heard(row: Mapping[str, Any], record: Record | None) -> dict[str, datetime]:
    """When an attempt began and was last heard of, as far as its driver wrote that down."""
    key = row["trial_id"], row["attempt"]
    ran = [] if record is None else record.attempts
    known = next((one for one in ran if (one.trial_id, one.attempt) == key), None)
    if record is None or known is None:
        return {}
    heard = {"finished_at": max(row["finished_at"], _utc(record.updated_s))}
    began_s = None if known.progress is None else known.progress.began_s
    return heard if began_s is None else {**heard, "started_at": _utc(began_s)}


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _gaps(folder: ResultsFolder) -> Iterator[dict[str, Any]]:
    """A row for each attempt that has none although a later one at its trial has."""
    trials = folder.read(("trials",)).trials
    for trial_id, attempts in trials.groupby("trial_id")["attempt"]:
        known = {int(one) for one in attempts}
        missing = set(range(1, max(known))) - known
        last = folder.attempt_file("trials", str(trial_id), max(known))
        if missing and last.exists():
            (same,) = pq.read_table(last, columns=list(_SAME)).to_pylist()
            ended = {"status": Status.INTERRUPTED, "status_detail": _DAMAGED}
            yield from ({**same, **ended, "attempt": one} for one in sorted(missing))
