"""How busy others keep the host between two looks at it."""

from __future__ import annotations

import time
from collections.abc import Collection

import psutil

__all__ = ["HostLoadMeter"]


class HostLoadMeter:
    """Share of the host's cores that processes other than the given ones use.

    Whatever is busy and is not one of those processes counts, this tool's own driver and Ray's
    daemons included. The kernel counts processor time in hundredths of a second, so a look that
    follows another within a tenth of a second says little.

    Args:
        own: Ids of the processes on this host that are not "others"; must live as long as this.
    """

    def __init__(self, own: Collection[int]) -> None:
        self._own = [psutil.Process(pid) for pid in own]
        self._last = self._read()

    def take(self) -> float:
        """The share since the last look, or since construction, from 0 to 1."""
        before, self._last = self._last, self._read()
        wall, busy, own = (new - old for new, old in zip(self._last, before, strict=True))
        cores = psutil.cpu_count() or 1
        return min(1.0, max(0.0, (busy - own) / (wall * cores))) if wall > 0 else 0.0

    def _read(self) -> tuple[float, float, float]:
        """Seconds on the wall, of all busy cores, and of our own processes."""
        times = psutil.cpu_times()
        busy = times.user + times.system + times.nice
        busy += getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
        own = 0.0
        for process in self._own:
            used = process.cpu_times()
            own += used.user + used.system + used.children_user + used.children_system
        return time.perf_counter(), busy, own
