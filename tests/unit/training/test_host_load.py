from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddp_sweep.training.host_load import HostLoadMeter, usable_cores

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


def test_the_cores_of_a_container_count_and_not_those_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    assert 1 <= usable_cores() <= cores
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("ddp_sweep.training.host_load._CPU_QUOTA", quota)
    quota.write_text("max 100000\n")
    unlimited = usable_cores()
    quota.write_text("100000 100000\n")
    assert usable_cores() == 1
    quota.write_text("50000 100000\n")
    assert usable_cores() == 1
    quota.write_text("100000000 100000\n")
    assert usable_cores() == unlimited
