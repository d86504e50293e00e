"""What drives the ranks fails, or the cluster is too small for them."""

from __future__ import annotations

from pathlib import Path

import fault_scene
import pytest
from fault_scene import attempts, killing, pid_of_actor, run, sweep_over

from ddp_sweep.results import load_results

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("ray_of_two", "nothing_left"),
]


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        ("TrainController", "the process of Ray Train that watches the workers died"),
        ("ResourceTrainable", "the process that drives the workers died"),
    ],
)
def test_the_death_of_what_drives_the_ranks_costs_one_attempt(
    tmp_path: Path, actor: str, said: str
) -> None:
    results = tmp_path / "results"
    with killing(tmp_path, lambda _: pid_of_actor(actor)) as killed:
        outcome = run(sweep_over(tmp_path, "killed", "none"), results)

    rows = attempts(results)
    fault_scene.seen(f"SIGKILL of {actor}", rows, killed.at_s, 2)
    print(rows["status_detail"][0])
    assert list(rows["fault"]) == ["killed", "killed", "none"]
    assert list(rows["status"]) == ["worker_died", "succeeded", "succeeded"]
    assert said in rows["status_detail"][0]
    assert outcome.exit_code == 0


def test_a_trial_that_takes_its_driving_process_along_for_good_costs_no_other(
    tmp_path: Path,
) -> None:
    results = tmp_path / "results"
    with killing(tmp_path, lambda _: pid_of_actor("ResourceTrainable")) as killed:
        outcome = run(sweep_over(tmp_path, "killed", "none", max_attempts=1), results)

    rows = attempts(results)
    fault_scene.seen("SIGKILL of ResourceTrainable, one attempt", rows, killed.at_s, 2)
    assert list(rows["status"]) == ["worker_died", "succeeded"]
    assert rows["started_at"].notna().all()
    assert outcome.exit_code == 1


def test_a_trial_that_is_lost_for_good_is_no_success(tmp_path: Path) -> None:
    results = tmp_path / "results"
    outcome = run(sweep_over(tmp_path, "exit", "none", max_attempts=1), results)
    assert outcome.exit_code == 1
    assert sorted(load_results(results).trials["status"]) == ["succeeded", "worker_died"]


def test_a_world_size_over_capacity_becomes_a_row(tmp_path: Path) -> None:
    results = tmp_path / "results"
    spec = sweep_over(tmp_path, "none", world_sizes=(1, 64), seeds=1)
    outcome = run(spec, results)

    rows = load_results(results).trials.set_index("world_size")
    print("fault: world size over capacity status: infeasible seen after: 0.0 s (no worker is")
    print("started for it) next trial after: 0.0 s rows lost: 0")
    assert rows["status"].to_dict() == {1: "succeeded", 64: "infeasible"}
    assert "64 workers" in rows.loc[64, "status_detail"]
    assert outcome.exit_code == 0

    again = run(spec, results)
    assert (again.exit_code, again.ran) == (0, 0)
    assert "All 2 trials were done; nothing ran" in again.message
