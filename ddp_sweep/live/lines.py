"""Plain lines on stderr: one for each trial, and a heartbeat while one runs for long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from time import monotonic

from ddp_sweep.live.events import (
    Event,
    LastOutput,
    Notice,
    Stopping,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.live.overview import SweepOverview
from ddp_sweep.live.trials import PastAttempt, PlannedTrial
from ddp_sweep.live.wording import (
    STATUS_WORDS,
    WAITING,
    cause,
    duration_text,
    progress_text,
)
from ddp_sweep.schema import CLOCKS_THROTTLED, REPLICAS_DIFFER, Status
from ddp_sweep.shown_text import harmless

__all__ = ["PlainLines", "Silence", "output_lines", "trial_line"]

HEARTBEAT_S = 60.0
_MOST_COLUMNS = 200
"""Of a line that a worker has printed."""


class Silence:
    """Shows nothing."""

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing is left behind."""


class PlainLines:
    """For logs, pipes and dumb terminals.

    Args:
        say: Prints a line.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._say = say
        self._clock = clock
        self._said_s = clock()
        self._trials: dict[str, PlannedTrial] = {}
        """Those that run."""
        self._waits: set[str] = set()

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Print the line of an event that has one."""
        self._trials |= {one.trial.trial_id: one.trial for one in overview.running}
        for line in self._lines(event, overview):
            self._said_s = self._clock()
            self._say(harmless(line))

    def _lines(self, event: Event, overview: SweepOverview) -> Iterator[str]:
        match event:
            case WorkersStarting():
                yield f"starting workers for {event.pending} trials"
            case Notice():
                yield event.text
            case Stopping():
                what = "trials" if len(overview.running) > 1 else "trial"
                yield f"stopping after the running {what}; Ctrl-C again stops at once"
            case TrialStarted():
                self._said_s = self._clock()
            case TrialEnded() if event.attempt.trial_id in self._trials:
                trial = self._trials.pop(event.attempt.trial_id)
                yield trial_line(trial, event.attempt, event.again, overview)
                yield from output_lines(event.output)
            case TrialProgressed():
                wait = self._new_wait(overview)
                if wait is not None:
                    yield wait
                elif self._clock() - self._said_s >= HEARTBEAT_S:
                    yield from heartbeat_lines(overview)

    def _new_wait(self, overview: SweepOverview) -> str | None:
        """What nodes are waited for, where that was not so a moment ago."""
        stages = {one.progress.stage for one in overview.running if one.progress}
        waits = {stage for stage in stages if stage.startswith(WAITING)}
        fresh, self._waits = waits - self._waits, waits
        return "; ".join(sorted(fresh)) or None

    def close(self) -> None:
        """Nothing is left behind."""


def trial_line(
    trial: PlannedTrial, attempt: PastAttempt, again: bool, overview: SweepOverview
) -> str:
    """The line of one attempt: which trial of how many, what it was, how long, how it ended."""
    time = "" if attempt.wall_time_s is None else f"{attempt.wall_time_s:.1f} s, "
    text = f"{_place(overview)} {trial.sizes}, seed {trial.seed}: {time}"
    text += STATUS_WORDS[Status(attempt.status)]
    why = cause(attempt.status_detail)
    if why is not None and why.startswith((REPLICAS_DIFFER, CLOCKS_THROTTLED)):
        why = None  # for a program to read; the ranking says it in words
    return text + (f" ({why})" if why else "") + ("; trying again" if again else "")


def output_lines(output: LastOutput | None) -> tuple[str, ...]:
    """What the workers of a failed trial printed last, and the command that shows all.

    Examples:
        >>> output_lines(LastOutput(lines=("epoch 3",), command="ddp-sweep logs r 3f2a9c"))
        ('  | epoch 3', '  all of it: ddp-sweep logs r 3f2a9c')
    """
    if output is None:
        return ()
    printed = (f"  | {harmless(line)[:_MOST_COLUMNS]}" for line in output.lines)
    whole = "all of it" if output.lines else "its log"
    return (*printed, f"  {whole}: {output.command}")


def heartbeat_lines(overview: SweepOverview) -> Iterator[str]:
    """What runs and how long the rest takes; nothing while nothing runs."""
    if not overview.running:
        return
    first, others = overview.running[0], len(overview.running) - 1
    trial = first.trial
    now = f"{trial.name}, seed {trial.seed}: {progress_text(trial, first.progress)}"
    if others:
        now += f", and {others} more beside it"
    left = overview.time_left_s
    rest = "time left not yet known" if left is None else f"about {duration_text(left)} left"
    yield f"{_place(overview)} running {now}; {rest}"


def _place(overview: SweepOverview) -> str:
    return f"[{overview.done} of {overview.planned}]"
