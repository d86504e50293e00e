"""Every error that a user can cause, one class each.

A message gives what was received, what is allowed and what to do next. ``exit_code`` is what the
command line ends with: 2 for bad input or usage, 3 for a missing cluster or capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AddressError",
    "CapacityError",
    "ClusterRefusedError",
    "ColumnError",
    "DataWarning",
    "DdpSweepError",
    "FetchError",
    "FolderInUseError",
    "MoreSeedsError",
    "OverwriteError",
    "RecordedError",
    "ResultsError",
    "ResultsWarning",
    "SpecChangedError",
    "SpecError",
    "SpecProblem",
    "SubmissionError",
    "TableError",
    "UnwritableError",
    "WorkloadError",
    "WriteError",
]


class DdpSweepError(Exception):
    """Base of all errors a user can cause; ``str(error)`` is the whole message."""

    exit_code = 2


class DataWarning(UserWarning):
    """Something about a data set that a user should look at before trusting what it says.

    A workload may give it with ``warnings.warn`` in ``build_data``.
    """


class ResultsWarning(UserWarning):
    """A file in a results folder was left out or moved; the message names it."""


@dataclass(frozen=True, kw_only=True)
class SpecProblem:
    """One thing that is wrong in a sweep file."""

    key: str
    """Dotted path of the key, ``training.epochs``; empty for the file as a whole."""
    message: str
    """What was received, what is allowed, what to do."""
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class SpecError(DdpSweepError):
    """A sweep file that cannot be used; lists every problem found, not only the first."""

    def __init__(self, problems: list[SpecProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class SpecChangedError(DdpSweepError):
    """The results folder was made by another sweep file or by other code."""


class OverwriteError(DdpSweepError):
    """A file that would have to be overwritten."""


class MoreSeedsError(DdpSweepError):
    """Seeds cannot be added to a results folder as it is."""


class WorkloadError(DdpSweepError):
    """A workload that cannot be loaded or returns the wrong thing."""


class AddressError(DdpSweepError):
    """A cluster address of a kind that is not supported."""


class CapacityError(DdpSweepError):
    """No cluster, or none that can hold what was asked for."""

    exit_code = 3


class ClusterRefusedError(CapacityError):
    """A cluster that cannot be reached, or cannot run what was sent."""


class SubmissionError(DdpSweepError):
    """Something that cannot be sent to a cluster as it is."""


class ResultsError(DdpSweepError):
    """A results folder that cannot be read or written."""


class WriteError(ResultsError):
    """A results folder that could not be written to while a sweep ran; what is there is kept."""

    exit_code = 1


class RecordedError(ResultsError):
    """An attempt at a trial that has its row already; the first one stands."""

    exit_code = 1


class UnwritableError(ResultsError):
    """Measurements that the tables cannot hold; they name the column."""

    exit_code = 1


class FolderInUseError(ResultsError):
    """Another run is writing to the results folder."""


class FetchError(ResultsError):
    """Results of a cluster that did not arrive, or do not belong in the folder."""


class TableError(DdpSweepError):
    """A table of measurements that cannot be ranked."""


class ColumnError(TableError):
    """A column that holds something that cannot be."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"column {column}{problem}")
        self.column = column
        self.problem = problem
