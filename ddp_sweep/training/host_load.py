"""How busy others keep the host between two looks at it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

import psutil

__all__ = ["HostLoadMeter", "usable_cores"]

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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


def usable_cores() -> int:
    """Physical cores that this process may use: those of the host, or of its container if fewer.

    A container's share is read from version 2 of Linux control groups ("quota period" in
    microseconds, or "max").
    """
    cores = [psutil.cpu_count(logical=False) or psutil.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        cores.append(len(os.sched_getaffinity(0)))
    if _CPU_QUOTA.exists():
        quota, period = _CPU_QUOTA.read_text().split()
        if quota != "max":
            cores.append(int(quota) // int(period))
    return max(1, min(cores))
