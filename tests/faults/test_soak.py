"""A hundred trials with a fault in every tenth: all rows are there, and memory stays level."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fault_scene
import psutil
import pytest
from fault_scene import attempts, run, sweep_over

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("ray_of_two", "nothing_left"),
]

TRIALS = 100
MIB = 2**20
GROWTH_A_TRIAL_BYTES = MIB / 2
"""A model, a batch or a traceback that stays in memory with each trial is more than that."""
ENDS = {
    # Two of each fault, and a second attempt after those that a trial is not to blame for.
    "succeeded": TRIALS - 4,
    "worker_died": 4,
    "timed_out": 2,
    "workload_error": 2,
    "diverged": 2,
}

_KINDS = {"lane": "ResourceTrainable", "workers": "RayTrainWorker"}


class Sizes:
    """Memory of the driver, the lane and the workers, looked at now and then."""

    def __init__(self, tag: str) -> None:
        self.bytes: dict[str, list[int]] = defaultdict(list)
        self._tag = tag
        self._done = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        yield
        self._done.set()
        thread.join()

    def _watch(self) -> None:
        while not self._done.wait(1.0):
            self._look("driver", psutil.Process())
            for process in fault_scene.processes_with(self._tag):
                with suppress(psutil.Error):  # it may have ended since
                    words = " ".join(process.cmdline())
                    for kind, name in _KINDS.items():
                        if name in words:
                            self._look(kind, process)

    def _look(self, kind: str, process: psutil.Process) -> None:
        self.bytes[kind].append(process.memory_full_info().pss)


def level(sizes: list[int]) -> tuple[float, float]:
    """First and last, each the median of a quarter, without what was just starting."""
    grown = [size for size in sizes if size > max(sizes) / 2]
    quarter = max(1, len(grown) // 4)
    first, last = sorted(grown[:quarter]), sorted(grown[-quarter:])
    return first[quarter // 2], last[quarter // 2]


def test_a_hundred_trials_leave_no_row_out_and_no_memory_behind(tmp_path: Path, tag: str) -> None:
    spec = sweep_over(
        tmp_path,
        "none",
        workload="Soaked",
        seeds=list(range(1, TRIALS + 1)),
        epochs=1,
        stall_timeout_s=5,
    )
    sizes = Sizes(tag)
    with sizes.watched():
        run(spec, tmp_path / "results")

    rows = attempts(tmp_path / "results")
    final = rows[rows["final"]]
    assert sorted(final["seed"]) == list(range(1, TRIALS + 1))
    assert Counter(rows["status"]) == ENDS
    hit = rows[rows["seed"] % 10 == 0]
    assert set(rows[rows["status"] != "succeeded"]["seed"]) == set(hit["seed"])
    # A retry comes right after its first attempt.
    again = rows["seed"] == rows["seed"].shift(-1)
    assert int(again.sum()) == len(rows) - TRIALS
    for kind, seen in sizes.bytes.items():
        first, last = level(seen)
        print(f"memory of the {kind}: first {first / MIB:.0f} MiB, last {last / MIB:.0f} MiB")
        assert last - first < TRIALS * GROWTH_A_TRIAL_BYTES, kind
    assert set(sizes.bytes) == {"driver", "lane", "workers"}
    lost = TRIALS - len(final)
    print(
        f"fault: {len(hit)} faults in {TRIALS} trials status: {dict(Counter(hit['status']))} "
        f"rows lost: {lost}"
    )
