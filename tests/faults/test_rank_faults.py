"""One rank of a trial fails: the row says which and why, and the next trial runs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import fault_scene
import psutil
import pytest
from fault_scene import attempts, killing, run, sweep_over

from ddp_sweep.schema import AFTER_OTHERS, STALLED

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("ray_of_two", "nothing_left"),
]

FREE_WITHIN_S = 15.0


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_a_killed_rank_costs_one_attempt(tmp_path: Path, results: Path) -> None:
    with killing(tmp_path, lambda marker: marker.pid) as killed:
        outcome = run(sweep_over(tmp_path, "killed", "none"), results)

    rows = attempts(results)
    fault_scene.seen("SIGKILL of a rank", rows, killed.at_s, 2)
    assert list(rows["fault"]) == ["killed", "killed", "none"]
    assert list(rows["status"]) == ["worker_died", "succeeded", "succeeded"]
    assert rows["status_detail"][0].startswith("rank 1: the worker process died without a word")
    assert outcome.exit_code == 0


def test_a_rank_that_exits_costs_one_attempt(tmp_path: Path, results: Path) -> None:
    run(sweep_over(tmp_path, "exit", "none"), results)

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "exit")
    print(f"process {fault.pid} ended itself; it is gone: {not psutil.pid_exists(fault.pid)}")
    fault_scene.seen("os._exit in a rank", rows, fault.at_s, 2)
    assert list(rows["status"]) == ["worker_died", "succeeded", "succeeded"]
    assert rows["status_detail"][0].startswith("rank 1: the worker process died without a word")


def test_an_exception_of_one_rank_is_told_with_its_traceback(
    tmp_path: Path, results: Path
) -> None:
    run(sweep_over(tmp_path, "raise", "none"), results)

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "raise")
    fault_scene.seen("exception on one rank", rows, fault.at_s, 2)
    assert list(rows["status"]) == ["workload_error", "succeeded"]
    detail = rows["status_detail"][0]
    assert detail.startswith("rank 1: ")
    assert "fault_workloads.py" in detail
    assert detail.endswith("ValueError: planted in the second rank")
    # Its peer was waiting for it, and would do so until the trial counts as stalled.
    assert rows["finished_at"][0].timestamp() - fault.at_s < 30
    assert not psutil.pid_exists(fault.pid)


def test_a_loss_that_is_no_number_on_one_rank_is_a_result(tmp_path: Path, results: Path) -> None:
    run(sweep_over(tmp_path, "nan", "none"), results)

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "nan")
    fault_scene.seen("NaN on one rank", rows, fault.at_s, 2)
    assert list(rows["status"]) == ["diverged", "succeeded"]
    assert "training loss is nan at step" in rows["status_detail"][0]
    # No process had to go for it.
    assert rows["gang_id"].nunique() == 1


def test_memory_that_runs_out_is_tried_again_where_others_were_there_before(
    tmp_path: Path, results: Path
) -> None:
    first = sweep_over(tmp_path, "out_of_memory", "none").seeds[0]
    outcome = run(
        sweep_over(tmp_path, "out_of_memory", "none", seeds=[first, first + 1000]), results
    )

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "out_of_memory")
    fault_scene.seen("device out of memory", rows, fault.at_s, 4)
    failed = rows[rows["fault"] == "out_of_memory"]
    assert list(rows[rows["fault"] == "none"]["status"]) == ["succeeded", "succeeded"]
    assert set(failed["status"]) == {"out_of_memory"}
    # Final in the first trial of new workers; later in used ones first, then in new ones.
    assert list(failed["attempt"]) == [1, 1, 2]
    after_others = failed["status_detail"].str.startswith(AFTER_OTHERS)
    assert list(after_others) == [False, True, False]
    assert failed["gang_id"].nunique() == 3
    assert outcome.exit_code == 0


def test_a_rank_that_sleeps_is_ended_and_its_resources_are_free_soon(
    tmp_path: Path, results: Path
) -> None:
    gone_at_s: list[float] = []

    def watch() -> None:
        pid = fault_scene.marker(tmp_path, "sleep").pid
        while psutil.pid_exists(pid):
            time.sleep(0.05)
        gone_at_s.append(time.time())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(sweep_over(tmp_path, "sleep", "none", stall_timeout_s=4), results)
    watcher.join()

    rows = attempts(results)
    fault = fault_scene.marker(tmp_path, "sleep")
    print(f"killed process {fault.pid} (rank 1, asleep); it is gone: True")
    fault_scene.seen("rank asleep, stall_timeout_s 4", rows, fault.at_s, 2)
    assert list(rows["status"]) == ["timed_out", "succeeded", "succeeded"]
    assert rows["status_detail"][0].startswith(f"{STALLED}no progress for 4 s")
    assert gone_at_s[0] - rows["finished_at"][0].timestamp() < FREE_WITHIN_S
