"""What happens in a sweep, as the process that drives it tells whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ddp_sweep.live.trials import BatchAxis, PastAttempt, PlannedTrial, Progress

if TYPE_CHECKING:
    from ddp_sweep.live.overview import SweepOverview

__all__ = [
    "Connecting",
    "Event",
    "LastOutput",
    "Notice",
    "Observer",
    "Stopping",
    "SweepEnded",
    "SweepPlanned",
    "TrialEnded",
    "TrialProgressed",
    "TrialStarted",
    "WorkersStarting",
]


@dataclass(frozen=True, kw_only=True)
class Connecting:
    """The run has begun; there is no cluster yet."""

    sweep: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class SweepPlanned:
    """What is to run is known; may come again with trials added."""

    trials: tuple[PlannedTrial, ...]
    """All of the sweep in their order, those that cannot run among them."""
    pending: frozenset[str]
    """Ids of the trials to run now."""
    past: tuple[PastAttempt, ...]
    """What earlier runs have left in the folder."""
    batch_axis: BatchAxis
    side_by_side: Mapping[int, int] = field(default_factory=dict)
    """How many trials of a world size run at once, where that is more than one after another."""


@dataclass(frozen=True, kw_only=True)
class WorkersStarting:
    """The first workers are being started; where trials run side by side, of each world size."""

    pending: int
    """Trials to run."""


@dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """An attempt at a trial was handed out; its workers may have to be started first."""

    trial_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class TrialProgressed:
    """About once a second while a trial runs, whether it moved or not."""

    progress: Mapping[str, Progress]
    """What was heard of each running trial, by its id; nothing of those that are not in it."""


@dataclass(frozen=True, kw_only=True)
class LastOutput:
    """What the workers of a trial that failed printed last."""

    lines: tuple[str, ...]
    """As they printed them; empty where they printed nothing."""
    command: str
    """Shows everything."""


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """An attempt has ended."""

    attempt: PastAttempt
    again: bool
    """Whether the trial will be tried again."""
    output: LastOutput | None = None
    """Of a failure that needs explaining."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to say that is not about one trial."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """Ctrl-C: nothing more begins, what runs may end."""


@dataclass(frozen=True, kw_only=True)
class SweepEnded:
    """Nothing runs any more."""

    interrupted: bool


Event = (
    Connecting
    | SweepPlanned
    | WorkersStarting
    | TrialStarted
    | TrialProgressed
    | TrialEnded
    | Notice
    | Stopping
    | SweepEnded
)


class Observer(Protocol):
    """Shows what happens; its errors are not the sweep's."""

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Take note of an event, and of where the sweep stands with it.

        Always called from the same thread. While it is told of a plan or of the end of a trial
        no trial is being timed: only there may it do what takes time. (Where trials run side by
        side others go on, but of those no time is claimed.)
        """
        ...

    def close(self) -> None:
        """Leave the terminal as it was; may be called more than once."""
        ...
