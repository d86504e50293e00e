"""The live view on a terminal, redrawn once a second."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ddp_sweep.live import (
    Connecting,
    Event,
    Notice,
    PlannedTrial,
    SweepEnded,
    SweepOverview,
    SweepPlanned,
    TrialEnded,
    WorkersStarting,
)
from ddp_sweep.live.lines import output_lines, trial_line
from ddp_sweep.report.front_runner import Judge
from ddp_sweep.report.live_drawing import GridDrawing, LiveDrawing
from ddp_sweep.report.live_view import view_live
from ddp_sweep.shown_text import harmless

__all__ = ["TerminalView"]


class TerminalView:
    """Draws where a sweep stands; what others print meanwhile appears above it.

    Args:
        console: The terminal.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.drawing_s = 0.0
        """Processor time that drawing has taken."""
        self._console = console
        self._clock = clock
        self._live: Live | None = None
        self._judge: Judge | None = None
        self._trials: dict[str, PlannedTrial] = {}
        self._explained: set[tuple[str, str]] = set()
        self._grid: GridDrawing | None = None
        self._grid_source: tuple[object, object] = (None, None)

    @property
    def judging_s(self) -> float:
        """Time that rankings between trials have taken."""
        return 0.0 if self._judge is None else self._judge.spent_s

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Redraw; between trials, find out who is ahead."""
        match event:
            case Connecting():
                self._judge = Judge(event.folder, self._clock)
            case WorkersStarting() if self._judge is not None:
                self._judge.prepare()
            case Notice() if self._live is not None:
                # Above the view, where it stays.
                self._console.print(Text(event.text))
            case SweepEnded() if self._judge is not None:
                self._judge.look(at_any_cost=True)
            case SweepPlanned() | TrialEnded() if self._judge is not None:
                self._judge.look()
        self._trials |= {one.trial.trial_id: one.trial for one in overview.running}
        if isinstance(event, TrialEnded):
            self._explain(event, overview)
        began_s = time.thread_time()
        self._draw(overview)
        self.drawing_s += time.thread_time() - began_s
        if isinstance(event, SweepEnded):
            self.close()

    def _explain(self, event: TrialEnded, overview: SweepOverview) -> None:
        """Above the view, what the workers said: the first time that a configuration fails so."""
        attempt = event.attempt
        kind = attempt.configuration_id, attempt.status
        trial = self._trials.pop(attempt.trial_id, None)
        if event.output is None or trial is None or kind in self._explained:
            return
        self._explained.add(kind)
        line = harmless(trial_line(trial, attempt, event.again, overview))
        for text in (line, *output_lines(event.output)):
            # A command that is broken over two lines can't be copied.
            self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Leave the last view standing, and the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, overview: SweepOverview) -> None:
        front = None if self._judge is None else self._judge.newest
        source = overview.cells, front
        if not all(map(operator.is_, source, self._grid_source)):
            self._grid, self._grid_source = None, source
        view = view_live(overview, front, None if self._grid is None else self._grid.grid)
        drawing = LiveDrawing(view, self._grid)
        self._grid = drawing.grid
        if self._live is None:
            # Without a thread of its own: it is redrawn when something is told, and not else.
            self._live = Live(drawing, console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(drawing, refresh=True)
