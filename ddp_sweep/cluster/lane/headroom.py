"""How many workers the cluster can hold, and how long nodes that have gone are waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Headroom", "RoomLike"]

_LOOK_S = 1.0


class RoomLike(Protocol):
    """Room for workers; see :class:`ddp_sweep.cluster.gang.room.Room`."""

    def present(self) -> int:
        """On the nodes that are there."""
        ...

    def possible(self) -> int:
        """With the nodes that may come where they are asked for."""
        ...


class Headroom:
    """Room for workers, with patience for what a trial lacks.

    A node that was lost may be replaced within minutes, or never. So a trial that has no room
    waits, but the next one does not where the wait was in vain and nothing has changed since.

    Args:
        room: What the cluster can hold.
        patience_s: How long to wait.
        clock: Seconds of a clock that never jumps.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        room: RoomLike,
        patience_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._room = room
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._waited_in_vain_with: int | None = None

    def wait_for(self, workers: int) -> int:
        """Room once it is enough, or after a wait in vain.

        Nodes that an autoscaler is to start count as there: they come only once workers that
        start have asked for them, and those have a deadline of their own.
        """
        present, possible = self._room.present(), self._room.possible()
        if present == self._waited_in_vain_with:
            return present
        deadline_s = self._clock() + self._patience_s
        while possible < workers and self._clock() < deadline_s:
            self._sleep(_LOOK_S)
            possible = self._room.possible()
        if possible < workers:
            self.give_up()
        return possible

    def lacks(self, workers: int) -> bool:
        """Whether fewer workers fit on the nodes that are there."""
        return self._room.present() < workers

    def give_up(self) -> None:
        """What is not there now was waited for in vain."""
        self._waited_in_vain_with = self._room.present()
