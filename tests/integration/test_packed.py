"""Trials side by side: all of them end, none waits for another for ever, times claim nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_ranks
import pandas as pd
import pytest
import ray
from fake_ranks import run, sweep_over

from ddp_sweep.analysis import rank
from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.driver.sweep import run_sweep
from ddp_sweep.live import Event, SweepOverview
from ddp_sweep.report.run_status import run_status
from ddp_sweep.results import load_results
from ddp_sweep.spec import parse_spec

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]

CPUS = 8
SIDE_BY_SIDE = {
    "name": "packed",
    "workload": "ddp_sweep.workloads.breast_cancer:BreastCancer",
    "sweep": {"world_size": [1, 2, 4, 8], "global_batch_size": [48]},
    "seeds": 5,
    "training": {
        "epochs": 4,
        "learning_rate": 0.05,
        "reference_batch_size": 48,
        "evaluations": 2,
    },
    "quality": {"margins": {"accuracy": 0.05}},
    "resources": {"placement": "packed"},
}


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    with quiet_driver(), connect(None, parse_spec(SIDE_BY_SIDE)) as cluster:
        assert cluster.capacity == CPUS
        yield
    ray.cloudpickle.unregister_pickle_by_value(fake_ranks)


def printed(trials: pd.DataFrame) -> None:
    """The schedule, to be read with ``pytest -s``."""
    origin = trials["started_at"].min()
    print("\ntrial         workers  group     started_s  finished_s")
    for one in trials.sort_values("started_at").itertuples():
        began_s = (one.started_at - origin).total_seconds()
        ended_s = (one.finished_at - origin).total_seconds()
        print(
            f"{one.trial_id}  {one.world_size:7}  {one.gang_id}  {began_s:9.1f}  {ended_s:10.1f}"
        )


def moments(trials: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """What runs whenever a trial begins."""
    for moment in trials["started_at"]:
        yield trials[(trials["started_at"] <= moment) & (moment < trials["finished_at"])]


def test_twenty_trials_of_four_world_sizes_all_end(tmp_path: Path) -> None:
    spec = parse_spec(SIDE_BY_SIDE)
    outcome = run_sweep(spec, output=tmp_path, progress="plain")

    trials = load_results(tmp_path).trials
    printed(trials)
    assert outcome.exit_code == 0, outcome.message
    assert len(trials) == outcome.ran == 20
    assert set(trials["status"]) == {"succeeded"}
    assert set(trials["placement"]) == {"packed"}
    assert sorted(trials["world_size"]) == [1] * 5 + [2] * 5 + [4] * 5 + [8] * 5
    for running in moments(trials):
        assert running["world_size"].nunique() == 1
        assert running["world_size"].sum() <= CPUS
        assert running["gang_id"].is_unique
    # A group of workers is of exactly the size of its trials.
    assert (trials.groupby("gang_id")["world_size"].nunique() == 1).all()
    by_size = trials.groupby("world_size")["started_at"]
    assert list(by_size.min().sort_values().index) == [1, 2, 4, 8]

    ranking = rank(tmp_path)
    assert all(entry.speedup is None for entry in ranking.configurations[1:])
    assert "packed" in {finding.kind for finding in ranking.findings}
    # Of the same updates, or by seeds: quality is judged all the same.
    verdicts = {entry.verdict.value for entry in ranking.configurations}
    assert verdicts <= {"baseline", "non_inferior", "inferior"}


class Gatekeeper:
    """Lets trials go on once so many of them run at the same moment."""

    def __init__(self, folder: Path, gates: list[Path], wanted: int, interrupt: bool) -> None:
        self.folder, self.gates, self.wanted = folder, gates, wanted
        self.interrupt = interrupt
        self.most = 0
        self.status: dict[str, Any] | None = None

    def observe(self, event: Event, overview: SweepOverview) -> None:  # noqa: ARG002
        begun = [one for one in overview.running if one.progress and one.progress.stage == "begun"]
        self.most = max(self.most, len(begun))
        if len(begun) >= self.wanted and self.status is None:
            self.status = run_status(load_results(self.folder)).to_json()
            if self.interrupt:
                os.kill(os.getpid(), signal.SIGINT)
            for gate in self.gates:
                (gate / "go").touch()

    def close(self) -> None:
        """Nothing is left behind."""


def gates(folder: Path, count: int) -> list[Path]:
    made = [folder / f"gate{number}" for number in range(count)]
    for gate in made:
        gate.mkdir()
    return made


def test_trials_run_at_the_same_time_and_a_death_is_the_business_of_one(tmp_path: Path) -> None:
    """Each of two waits until the other runs; a third loses a worker and is tried again."""
    doors = gates(tmp_path, 2)
    folder = tmp_path / "results"
    spec = sweep_over(
        *(f"wait:{door}" for door in doors), "exit", placement="packed", max_attempts=2
    )
    keeper = Gatekeeper(folder, doors, wanted=2, interrupt=False)
    outcome = run(spec, folder, keeper)

    trials = load_results(folder).trials
    assert outcome.exit_code == 0, trials[["status", "status_detail"]].to_string()
    assert keeper.most >= 2
    assert keeper.status is not None and len(keeper.status["running"]) >= 2
    assert sorted(trials["status"]) == ["succeeded"] * 3 + ["worker_died"]
    assert trials["final"].sum() == 3


def test_ctrl_c_lets_everything_that_runs_end_and_begins_nothing_more(tmp_path: Path) -> None:
    doors = gates(tmp_path, 6)
    folder = tmp_path / "results"
    spec = sweep_over(*(f"wait:{door}" for door in doors), world_sizes=(4,), placement="packed")
    keeper = Gatekeeper(folder, doors, wanted=2, interrupt=True)
    outcome = run(spec, folder, keeper)

    assert outcome.exit_code == 130, outcome.message
    assert "2 of 6 trials have a result: 2 succeeded" in outcome.message
    assert list(load_results(folder).trials["status"]) == ["succeeded"] * 2
