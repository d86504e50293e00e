"""What goes on in a running sweep, as plain data: events, the overview, the time left.

The cluster tells what happens, this package adds it up, and the report draws it. Nothing here
knows Ray, torch or a terminal, so ``status`` can say the same of a folder as the run itself.
"""

from __future__ import annotations

from ddp_sweep.live.events import (
    Connecting,
    Event,
    LastOutput,
    Notice,
    Observer,
    Stopping,
    SweepEnded,
    SweepPlanned,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.live.overview import CellProgress, FailureGroup, SweepOverview, Tracker
from ddp_sweep.live.trials import BatchAxis, PastAttempt, PlannedTrial, Progress

__all__ = [
    "BatchAxis",
    "CellProgress",
    "Connecting",
    "Event",
    "FailureGroup",
    "LastOutput",
    "Notice",
    "Observer",
    "PastAttempt",
    "PlannedTrial",
    "Progress",
    "Stopping",
    "SweepEnded",
    "SweepOverview",
    "SweepPlanned",
    "Tracker",
    "TrialEnded",
    "TrialProgressed",
    "TrialStarted",
    "WorkersStarting",
]
