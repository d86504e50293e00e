"""How far a sweep is: what has ended and how, and what is left."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ddp_sweep.errors import ResultsError
from ddp_sweep.plan import count_trials
from ddp_sweep.results import Results, SeedPurpose
from ddp_sweep.schema import Status, is_transient
from ddp_sweep.spec import parse_spec

__all__ = ["RunStatus", "print_status", "run_status"]

_ADDED_FOR = {
    SeedPurpose.MORE_SEEDS.value: "more seeds",
    SeedPurpose.CONFIRMATION.value: "the confirmation of a winner",
}


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Counts over the final attempts of a results folder."""

    folder: str
    planned: int | None
    """Trials the sweep asks for, those of seeds that were added among them; None where the
    folder has no sweep file."""
    added: dict[str, int]
    """How many of them are of seeds that were added, by purpose."""
    ended: int
    """Trials that have a result, of whatever status."""
    by_status: dict[str, int]
    left: int | None
    """Trials that a run would still do: not begun, interrupted, or lost with their machine."""
    predicted_left_s: float | None
    """``left`` times the mean wall time of those that ended; None before the first has."""

    def to_json(self) -> dict[str, Any]:
        """As ``ddp-sweep status --format json`` prints it: JSON types only."""
        return asdict(self)


def run_status(results: Results) -> RunStatus:
    """Count what has ended and what is left.

    Raises:
        ResultsError: The folder holds neither trials nor a sweep file.
        SpecError: The sweep file in the folder is not one.
    """
    folder = results.folder
    if results.spec is None and not folder.trials.is_dir():
        raise ResultsError(f"{folder.path} is no results folder: no sweep was run in it")
    final = results.trials[results.trials["final"]]
    counts = final["status"].value_counts()
    by_status = {str(s): int(counts[s]) for s in Status if s in counts.index}
    planned = left = predicted_left_s = None
    added: dict[str, int] = {}
    if results.spec is not None:
        spec = parse_spec(results.spec, source=str(folder.spec_file))
        planned = count_trials(spec, results.added)
        swept = count_trials(spec)
        for one in results.added:
            trials = count_trials(spec, [one]) - swept
            added[one.purpose.value] = added.get(one.purpose.value, 0) + trials
        ends = zip(final["status"], final["status_detail"], strict=True)
        again = sum(
            status == Status.INTERRUPTED or is_transient(status, str(detail))
            for status, detail in ends
        )
        left = max(0, planned - len(final) + again)
        mean_s = float(final["wall_time_s"].mean())
        predicted_left_s = None if math.isnan(mean_s) else left * mean_s
    return RunStatus(
        folder=str(folder.path),
        planned=planned,
        added=added,
        ended=len(final),
        by_status=by_status,
        left=left,
        predicted_left_s=predicted_left_s,
    )


def print_status(status: RunStatus, console: Console) -> None:
    """The counts as a table, and what is left in a sentence."""
    of_all = "" if status.planned is None else f" of {status.planned}"
    console.print(f"[bold]{escape(status.folder)}[/bold]: {status.ended}{of_all} trials ended")
    if status.added:
        listed = ", ".join(f"{n} for {_ADDED_FOR[purpose]}" for purpose, n in status.added.items())
        console.print(f"Of these were added to the sweep: {listed}")
    if status.by_status:
        table = Table("status", "trials")
        for name, count in status.by_status.items():
            table.add_row(name.replace("_", " "), str(count))
        console.print(table)
    console.print(_what_is_left(status))


def _what_is_left(status: RunStatus) -> str:
    if status.left is None:
        return "How many are left is not known: the folder holds no sweep file."
    if status.left == 0:
        return "Nothing is left to run."
    sentence = f"{status.left} left to run"
    if status.predicted_left_s is None:
        return f"{sentence}; how long they take is not known before the first has ended."
    return f"{sentence}; predicted to take {_duration(status.predicted_left_s)}."


def _duration(seconds: float) -> str:
    """A time in the unit a person would use.

    Examples:
        >>> _duration(42), _duration(90), _duration(5400)
        ('42 s', '1.5 min', '1.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
