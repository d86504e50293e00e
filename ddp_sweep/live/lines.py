"""Plain lines on stderr: one for each trial, and a heartbeat while one runs for long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic

from ddp_sweep.live.events import (
    Event,
    Notice,
    Stopping,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.live.overview import SweepOverview
from ddp_sweep.live.trials import PastAttempt, PlannedTrial
from ddp_sweep.live.wording import STATUS_WORDS, cause, duration_text, progress_text
from ddp_sweep.schema import Status
from ddp_sweep.shown_text import shown

__all__ = ["PlainLines", "Silence", "trial_line"]

HEARTBEAT_S = 60.0


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
        self._trial: PlannedTrial | None = None

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Print the line of an event that has one."""
        line = None
        if overview.running is not None:
            self._trial = overview.running.trial
        match event:
            case WorkersStarting():
                line = f"starting workers for {event.pending} trials"
            case Notice():
                line = event.text
            case Stopping():
                line = "stopping after the running trial; Ctrl-C again stops at once"
            case TrialStarted():
                self._said_s = self._clock()
            case TrialEnded() if self._trial is not None:
                line = trial_line(self._trial, event.attempt, event.again, overview)
            case TrialProgressed() if self._clock() - self._said_s >= HEARTBEAT_S:
                line = heartbeat_line(overview)
        if line is not None:
            self._said_s = self._clock()
            self._say(shown(line))

    def close(self) -> None:
        """Nothing is left behind."""


def trial_line(
    trial: PlannedTrial, attempt: PastAttempt, again: bool, overview: SweepOverview
) -> str:
    """The line of one attempt: which trial of how many, what it was, how long, how it ended."""
    time = "" if attempt.wall_time_s is None else f"{attempt.wall_time_s:.1f} s, "
    text = f"{_place(overview)} {trial.sizes}, seed {trial.seed}: {time}"
    text += STATUS_WORDS[Status(attempt.status)]
    why = None if attempt.status == Status.SUCCEEDED else cause(attempt.status_detail)
    return text + (f" ({why})" if why else "") + ("; trying again" if again else "")


def heartbeat_line(overview: SweepOverview) -> str | None:
    """What runs and how long the rest takes; None while nothing runs."""
    running = overview.running
    if running is None:
        return None
    trial = running.trial
    now = f"{trial.name}, seed {trial.seed}: {progress_text(trial, running.progress)}"
    left = overview.time_left_s
    rest = "time left not yet known" if left is None else f"about {duration_text(left)} left"
    return f"{_place(overview)} running {now}; {rest}"


def _place(overview: SweepOverview) -> str:
    return f"[{overview.done} of {overview.planned}]"
