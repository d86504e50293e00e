"""The verb that shows what workers have printed: logs."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddp_sweep.cli.arguments import Folder
from ddp_sweep.cli.printing import stdout, warn
from ddp_sweep.errors import ResultsError

if TYPE_CHECKING:
    from ddp_sweep.results import ResultsFolder
    from ddp_sweep.results.logs import LogFile, LogLine

__all__ = ["logs"]

_WAIT_S = 0.3
_MOST_IDS = 10


def logs(
    folder: Folder,
    trial: Annotated[
        str | None,
        typer.Argument(metavar="TRIAL", help="Its id, or the beginning of it; none: a list."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Only what this worker printed.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Not the last attempt, but this one.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on with what is printed; without TRIAL what runs now."),
    ] = False,
) -> None:
    """Show what the workers of a trial have printed, or list the trials that have a log."""
    from ddp_sweep.results import ResultsFolder

    results = ResultsFolder(folder)
    if trial is None and follow:
        _follow_what_runs(results, rank)
    elif trial is None:
        _refuse_alone("--rank", rank)
        _refuse_alone("--attempt", attempt)
        _list(results)
    else:
        _show(results, _chosen(results, trial, attempt), rank, follow=follow)


def _refuse_alone(option: str, value: int | None) -> None:
    if value is not None:
        raise typer.BadParameter(f"{option} {value} needs a TRIAL; without one there is a list")


def _list(folder: ResultsFolder) -> None:
    from ddp_sweep.report.log_list import list_logs, print_logs

    results = folder.read(("trials",))
    warn(results.problems)
    entries = list_logs(results)
    if not entries:
        print(f"no trial of {folder.path} has a log yet", file=sys.stderr)
        return
    print_logs(entries, stdout())
    print(f"\nAll of one: ddp-sweep logs {folder.path} {entries[0].trial}", file=sys.stderr)


def _show(folder: ResultsFolder, file: LogFile, rank: int | None, *, follow: bool) -> None:
    from ddp_sweep.results.lock import is_locked
    from ddp_sweep.results.logs import follow_lines

    def goes_on() -> bool:
        time.sleep(_WAIT_S if follow else 0.0)
        return follow and is_locked(folder)

    seen: set[int] = set()
    _print(_of_rank(follow_lines(file.path, goes_on), rank, seen))
    if rank is not None and rank not in seen:
        others = ", ".join(map(str, sorted(seen))) or "none"
        print(f"rank {rank} printed nothing there; ranks that did: {others}", file=sys.stderr)


def _follow_what_runs(folder: ResultsFolder, rank: int | None) -> None:
    from ddp_sweep.report.log_list import running_attempts
    from ddp_sweep.results.lock import is_locked
    from ddp_sweep.results.logs import TrialLogs

    if not is_locked(folder):
        raise ResultsError(
            f"nothing runs in {folder.path}, as far as this machine can see; "
            f"`ddp-sweep logs {folder.path}` lists what there is"
        )
    shown: set[tuple[str, int]] = set()
    while is_locked(folder):
        # Where several run side by side, one after another; each is shown to its end.
        fresh = [one for one in running_attempts(folder) if one not in shown]
        if not fresh:
            time.sleep(_WAIT_S)
            continue
        shown.add(fresh[0])
        for file in TrialLogs(folder.logs).files():
            if (file.trial_id, file.attempt) == fresh[0]:
                _show(folder, file, rank, follow=True)


def _of_rank(lines: Iterable[str], rank: int | None, seen: set[int]) -> Iterator[str]:
    """Lines of one rank and those of ours; notes which ranks there are."""
    from ddp_sweep.results.logs import read_line

    for line in lines:
        read: LogLine = read_line(line)
        if read.rank is not None:
            seen.add(read.rank)
        if rank is None or read.rank in (None, rank):
            yield line


def _print(lines: Iterable[str]) -> None:
    """Lines as they are, but none of them steers a terminal."""
    from ddp_sweep.shown_text import harmless

    terminal = sys.stdout.isatty()
    for line in lines:
        print(harmless(line) if terminal else line, flush=terminal)


def _chosen(folder: ResultsFolder, trial: str, attempt: int | None) -> LogFile:
    """The log of a trial, of its last attempt if none is asked for.

    Raises:
        ResultsError: There is none, or more than one trial is meant.
    """
    from ddp_sweep.results.logs import TrialLogs

    files = TrialLogs(folder.logs).files()
    found = [one for one in files if one.trial_id.startswith(trial)]
    ids = {one.trial_id for one in found}
    if len(ids) != 1:
        raise ResultsError(_not_one(folder.path, trial, ids, {one.trial_id for one in files}))
    attempts = [one.attempt for one in found]
    wanted = attempts[-1] if attempt is None else attempt
    if wanted not in attempts:
        listed = ", ".join(map(str, attempts))
        raise ResultsError(f"trial {trial} has no attempt {wanted}; allowed: {listed}")
    if attempt is None and len(attempts) > 1:
        print(
            f"attempt {wanted}; of the earlier ones, --attempt {attempts[-2]} shows the last",
            file=sys.stderr,
        )
    return found[attempts.index(wanted)]


def _not_one(folder: Path, trial: str, found: set[str], known: set[str]) -> str:
    from ddp_sweep.results.logs import short_id

    if found:
        listed = ", ".join(short_id(one, known) for one in sorted(found)[:_MOST_IDS])
        return f'"{trial}" begins the ids of {len(found)} trials; give more of it: {listed}'
    if not folder.is_dir():
        return f"no results folder at {folder}; give the folder that `ddp-sweep run` wrote"
    if not known:
        return f"no trial of {folder} has a log yet"
    near = difflib.get_close_matches(trial, [one[: len(trial)] for one in known], n=1)
    hint = f' did you mean "{near[0]}"?' if near else ""
    return f'no log of a trial "{trial}";{hint} `ddp-sweep logs {folder}` lists them'
