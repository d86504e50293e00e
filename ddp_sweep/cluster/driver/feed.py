"""Brings what happens in a sweep to whoever watches, and never lets that hurt the sweep.

One thread adds events up, keeps the record for ``status`` and tells the observer. While a trial
runs it wakes once a second; the process that drives the sweep shares the machine with the
workers whose time is taken.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.live import Event, Observer, SweepPlanned, Tracker, TrialProgressed
from ddp_sweep.live.lines import PlainLines, Silence
from ddp_sweep.live.record import write_plan, write_record
from ddp_sweep.results import ResultsFolder

__all__ = ["Feed"]

_BEAT_S = 1.0
_RECORD_EVERY_S = 5.0
_PATIENCE_S = 30.0
"""How long an observer may hold up a trial: it may be writing to a stopped terminal."""


class Feed:
    """Passes events on, in a thread of its own; use it in a ``with`` statement.

    Args:
        observer: Is told of every event.
        folder: Of the sweep, for the record.
        resume_command: How to go on with the sweep, for the record.
        beat_s: Time between two looks at what runs.
    """

    def __init__(
        self,
        observer: Observer,
        folder: ResultsFolder,
        *,
        resume_command: str,
        beat_s: float = _BEAT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._folder = folder
        self._resume_command = resume_command
        self._beat_s = beat_s
        self._clock = clock
        self._tracker = Tracker(clock)
        # Of this kind, since a signal handler may put something in at any moment.
        self._events: queue.SimpleQueue[tuple[Event, threading.Event | None] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
        self._recorded_s = 0.0
        self._late = False
        self.board: ProgressBoard | None = None
        """Where running trials tell how far they are; None while there are no workers."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread once it has dealt with everything it was told."""
        self._events.put(None)
        self._thread.join(_PATIENCE_S)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles whatever its searcher can reach, and nobody reads that."""
        return {}

    def tell(self, event: Event) -> None:
        """Pass an event on and go on at once; also from a signal handler."""
        self._events.put((event, None))

    def tell_and_wait(self, event: Event) -> None:
        """Pass an event on and wait until it has been dealt with.

        For the pause between trials: what the observer does then must be over before the next
        trial is timed. One that hangs is waited for only once.
        """
        dealt_with = threading.Event()
        self._events.put((event, dealt_with))
        self._late = not dealt_with.wait(0.0 if self._late else _PATIENCE_S)

    def _work(self) -> None:
        while True:
            try:
                item = self._events.get(timeout=self._beat_s)
            except queue.Empty:
                self._beat()
                continue
            if item is None:
                return
            event, dealt_with = item
            try:
                self._pass_on(event)
            finally:
                if dealt_with is not None:
                    dealt_with.set()

    def _beat(self) -> None:
        board, heard = self.board, {}
        for one in self._tracker.running:
            progress = board and board.read(one.trial.trial_id, one.attempt)
            if progress:
                heard[one.trial.trial_id] = progress
        self._pass_on(TrialProgressed(progress=heard))

    def _pass_on(self, event: Event) -> None:
        try:
            self._tracker.apply(event)
            self._record(event)
            self._observer.observe(event, self._tracker.overview())
        except Exception as error:  # noqa: BLE001 - whatever it is, the trials go on
            self._give_up(error)
            with suppress(Exception):
                self._observer.observe(event, self._tracker.overview())

    def _give_up(self, error: Exception) -> None:
        failed = self._observer
        self._observer = Silence() if isinstance(failed, PlainLines) else PlainLines()
        with suppress(Exception):
            failed.close()
        with suppress(Exception):
            text = f"{type(error).__name__}: {error}"
            print(f"the view of the progress failed ({text}); lines follow", file=sys.stderr)

    def _record(self, event: Event) -> None:
        if isinstance(event, SweepPlanned):
            write_plan(self._folder, event)
        now_s = self._clock()
        beat = isinstance(event, TrialProgressed)
        if beat and now_s - self._recorded_s < _RECORD_EVERY_S:
            return
        self._recorded_s = now_s
        overview = self._tracker.overview()
        write_record(self._folder, overview, now_s=now_s, resume_command=self._resume_command)
