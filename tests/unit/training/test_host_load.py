from __future__ import annotations

import os
import subprocess
import sys
import time

from ddp_sweep.training.host_load import HostLoadMeter

BUSY = [sys.executable, "-c", "while True: pass"]


def _watched(seconds: float = 0.6) -> tuple[float, float]:
    """Load by others as seen with and without a busy child counted as one of ours."""
    child = subprocess.Popen(BUSY)
    try:
        with_child_as_ours = HostLoadMeter([os.getpid(), child.pid])
        with_child_as_other = HostLoadMeter([os.getpid()])
        time.sleep(seconds)
        return with_child_as_other.take(), with_child_as_ours.take()
    finally:
        child.kill()
        child.wait()


def test_a_busy_process_counts_unless_it_is_one_of_ours() -> None:
    as_other, as_ours = _watched()
    # Both looked at the same stretch of time: all that differs is the child.
    assert 0.0 <= as_ours < as_other <= 1.0


def test_a_look_starts_a_new_stretch() -> None:
    meter = HostLoadMeter([os.getpid()])
    assert 0.0 <= meter.take() <= 1.0
    assert 0.0 <= meter.take() <= 1.0
