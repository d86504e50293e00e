"""A host runs out of memory: Ray's memory monitor ends a rank, which costs one attempt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fault_scene
import psutil
import pytest
from fault_scene import attempts, run, sweep_over

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("nothing_left"),
]

ROOM_BYTES = 4 * 2**30
"""For Ray and a sweep of two workers, which take half of it, and for the rank that swells."""


@pytest.fixture
def ray_with_little_memory(
    tag: str,  # noqa: ARG001 - its processes are to bear the tag
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A Ray that ends processes once a little more of the host's memory is in use than now."""
    memory = psutil.virtual_memory()
    used = memory.total - memory.available + ROOM_BYTES
    if used > 0.97 * memory.total:
        pytest.skip(f"needs {ROOM_BYTES / 2**30:.0f} GiB of free memory")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{used / memory.total:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    with quiet_driver(), connect(None, sweep_over(tmp_path, "none")):
        yield


@pytest.mark.usefixtures("ray_with_little_memory")
def test_a_host_without_memory_costs_one_attempt(tmp_path: Path) -> None:
    results = tmp_path / "results"
    outcome = run(sweep_over(tmp_path, "swell", "none"), results)

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "swell")
    gone = not psutil.pid_exists(fault.pid)
    print(f"Ray's memory monitor killed process {fault.pid}; it is gone: {gone}")
    fault_scene.seen("host memory exhausted", rows, fault.at_s, 2)
    print(rows["status_detail"][0])
    assert gone
    assert list(rows["fault"]) == ["swell", "swell", "none"]
    assert list(rows["status"]) == ["worker_died", "succeeded", "succeeded"]
    assert "its host ran out of memory" in rows["status_detail"][0]
    assert outcome.exit_code == 0
