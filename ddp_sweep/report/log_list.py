"""The logs of a results folder: which trials have one, how they ended, what they said last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from ddp_sweep.live.record import read_record
from ddp_sweep.live.trials import PastAttempt, past_attempts
from ddp_sweep.live.wording import STATUS_WORDS, guilty_rank
from ddp_sweep.results import Results, ResultsFolder
from ddp_sweep.results.lock import is_locked
from ddp_sweep.results.logs import LogFile, TrialLogs, short_id
from ddp_sweep.schema import Status
from ddp_sweep.shown_text import harmless

__all__ = ["LogEntry", "list_logs", "print_logs", "running_attempts"]

_TITLES = ("trial", "configuration", "seed", "attempt", "status", "size", "last line")
_NARROW_COLUMNS = 5
_WIDE = 110
"""Columns of a terminal that has room for the last line as well."""
_PIPE_WIDTH = 200
_RUNNING = "running"
_UNKNOWN = "no result"
_FAULTS = tuple(
    STATUS_WORDS[one]
    for one in (Status.WORKLOAD_ERROR, Status.WORKER_DIED, Status.NODE_LOST, Status.TIMED_OUT)
)
_LIMITS = tuple(STATUS_WORDS[one] for one in (Status.OUT_OF_MEMORY, Status.DIVERGED))
_ORDER = (*_FAULTS, *_LIMITS, STATUS_WORDS[Status.INTERRUPTED], _UNKNOWN, _RUNNING)


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One log, in words."""

    file: LogFile
    trial: str
    """As much of the id as tells it from the others."""
    configuration: str
    seed: int | None
    status: str
    last_line: str
    """What was printed last; empty where nothing was."""


def list_logs(results: Results) -> tuple[LogEntry, ...]:
    """All logs of a folder: failures first, then what runs, then the rest by time of writing."""
    folder = results.folder
    logs = TrialLogs(folder.logs)
    files = sorted(logs.files(), key=lambda one: one.path.stat().st_mtime)
    ids = {one.trial_id for one in files}
    ends = {(one.trial_id, one.attempt): one for one in past_attempts(results.trials)}
    running = running_attempts(folder)
    entries = []
    for one in files:
        key = one.trial_id, one.attempt
        trial = short_id(one.trial_id, ids)
        entries.append(_entry(one, logs, trial, ends.get(key), running=key in running))
    return tuple(sorted(entries, key=_place))


def running_attempts(folder: ResultsFolder) -> tuple[tuple[str, int], ...]:
    """Trials and attempts that run now, as far as this machine can see."""
    record = read_record(folder) if is_locked(folder) else None
    return tuple((one.trial_id, one.attempt) for one in record.attempts) if record else ()


def _entry(
    file: LogFile, logs: TrialLogs, trial: str, end: PastAttempt | None, *, running: bool
) -> LogEntry:
    name, seed = logs.subject(file)
    rank = None if end is None else guilty_rank(end.status_detail)
    last = logs.last_lines(file.trial_id, file.attempt, most=1, rank=rank)
    status = _RUNNING if running else _UNKNOWN
    return LogEntry(
        file=file,
        trial=trial,
        configuration=name,
        seed=seed,
        status=status if end is None else STATUS_WORDS[Status(end.status)],
        last_line=last[0].strip() if last else "",
    )


def _place(entry: LogEntry) -> int:
    return _ORDER.index(entry.status) if entry.status in _ORDER else len(_ORDER)


def print_logs(entries: Sequence[LogEntry], console: Console) -> None:
    """The table for people; text of workloads is never taken for markup."""
    # In a pipe there is room for everything.
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in _TITLES[: None if wide else _NARROW_COLUMNS]:
        justify: JustifyMethod = "right" if title in ("seed", "attempt", "size") else "left"
        # Words are wrapped only where they do not fit otherwise.
        table.add_column(Text(title, style="bold"), justify=justify, no_wrap=wide)
    for one in entries:
        cells = (
            one.trial,
            one.configuration,
            "-" if one.seed is None else str(one.seed),
            str(one.file.attempt),
            one.status,
            _size(one.file.size_bytes),
            harmless(one.last_line),
        )
        shown = cells[: len(table.columns)]
        table.add_row(*map(Text, shown), style="red" if one.status in _FAULTS else "")
    console.print(table)


def _size(size_bytes: int) -> str:
    """Bytes in the unit a person would use."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1e6:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.0f} MB"
