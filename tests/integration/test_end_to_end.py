"""The command line on real workloads: one process, a real local Ray, real DDP workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from ddp_sweep.results import load_results
from ddp_sweep.schema import TABLES

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SWEEP = """
name: tumours
workload: ddp_sweep.workloads.breast_cancer:BreastCancer
sweep:
  world_size: [1, 2, 3, 64]
  global_batch_size: [48]
  exclude: [{world_size: 64}]
seeds: 2
training: {epochs: 2, learning_rate: 0.05, reference_batch_size: 48, evaluations: 2}
quality:
  margins: {accuracy: 0.02, recall: 0.05}
"""

CONFIGURATION_KEYS = {
    *("world_size", "per_worker_batch_size", "global_batch_size", "num_nodes", "parameters"),
    *("n_seeds", "n_failed", "n_not_converged", "speedup", "speedup_low", "speedup_high"),
    *("scaling_efficiency", "throughput_efficiency", "statistical_efficiency"),
    *("within_one_start", "cost_ratio", "verdict", "evidence", "seeds_needed", "metrics"),
    *("floors", "findings", "reason"),
}
METRIC_KEYS = {
    *("reference", "value", "difference", "low", "high", "population_low", "population_high"),
    *("margin", "p_value", "end_value", "verdict"),
}

FAULTY_WORKLOAD = """
import torch
from ddp_sweep.workloads.breast_cancer import BreastCancer


class Faulty(BreastCancer):
    def __init__(self, fault="none"):
        super().__init__()
        self.fault = fault
        self.steps = 0

    def loss(self, outputs, targets):
        losses = super().loss(outputs, targets)
        self.steps += 1
        # Beyond what is tried out before the clock starts.
        if self.fault == "raises" and self.steps > 20:
            raise ValueError("the twenty-first batch is too much")
        # On one rank only: the other one has a finite loss of its own.
        if self.fault == "nan" and self.steps > 20 and torch.distributed.get_rank() == 1:
            losses = losses * float("nan")
        return losses
"""

FAULTY_SWEEP = """
name: faulty
workload: faulty.py:Faulty
sweep:
  world_size: [2]
  global_batch_size: [16]
  workload_options.fault: [raises, nan, none]
seeds: 1
training: {epochs: 4, learning_rate: 0.05, reference_batch_size: 16, evaluations: 2}
"""


@dataclass(frozen=True)
class Ran:
    """A finished run of the command line."""

    exit_code: int
    out: str
    err: str


def ddp_sweep(*arguments: str | Path, folder: Path) -> Ran:
    command = [sys.executable, "-c", "from ddp_sweep.cli import main; main()"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def healthy(folder: Path) -> Ran:
    (folder / "tumours.yaml").write_text(SWEEP)
    return ddp_sweep("run", "tumours.yaml", "--progress", "plain", folder=folder)


@pytest.fixture(scope="module")
def faulty(folder: Path) -> Ran:
    (folder / "faulty.py").write_text(FAULTY_WORKLOAD)
    (folder / "faulty.yaml").write_text(FAULTY_SWEEP)
    return ddp_sweep("run", "faulty.yaml", "--progress", "plain", folder=folder)


def test_a_sweep_ends_with_a_ranking(healthy: Ran) -> None:
    assert healthy.exit_code == 0, healthy.err
    assert "1 worker x 48" in healthy.out
    assert "Traceback" not in healthy.out + healthy.err
    assert healthy.err.count("succeeded") >= 6
    for internal in ("gang", "lane", "Welch", "Holm", "Tune"):
        assert internal not in healthy.out + healthy.err


def test_every_table_has_every_column_of_the_contract(healthy: Ran, folder: Path) -> None:
    assert healthy.exit_code == 0
    for name, schema in TABLES.items():
        frame = pd.read_parquet(folder / "results" / "tumours" / name)
        assert list(frame.columns) == schema.names
        assert frame["trial_id"].nunique() == 6
    trials = pd.read_parquet(folder / "results" / "tumours" / "trials")
    assert len(trials) == 6
    assert set(trials["status"]) == {"succeeded"}


def test_every_validation_sample_counts_once_whatever_the_world_size(
    healthy: Ran, folder: Path
) -> None:
    trials = load_results(folder / "results" / "tumours").trials
    assert healthy.exit_code == 0
    # 143 samples: neither 2 nor 3 divides them.
    assert set(trials["eval_samples"]) == set(trials["expected_eval_samples"]) == {143}
    assert {sum(map(sum, matrix)) for matrix in trials["confusion_matrix"]} == {143}
    assert trials["duplicate_samples"].eq(0).all()
    assert trials["replica_divergence"].eq(0).all()
    assert trials["gradient_error"].lt(1e-5).all()
    assert trials["traces_comparable"].all()


def test_world_sizes_make_the_same_updates(healthy: Ran, folder: Path) -> None:
    steps = load_results(folder / "results" / "tumours").steps
    assert healthy.exit_code == 0
    losses = steps[steps["rank"] == 0].pivot(
        index=["seed", "optimizer_step"], columns="world_size", values="train_loss"
    )
    first = losses.loc[losses.index.get_level_values("optimizer_step") <= 10]
    assert len(first) == 20
    for size in (2, 3):
        pd.testing.assert_series_equal(first[1], first[size], rtol=0, atol=1e-5, check_names=False)


def test_measurements_are_plausible_and_complete(healthy: Ran, folder: Path) -> None:
    trials = load_results(folder / "results" / "tumours").trials
    assert healthy.exit_code == 0
    later = {
        *("energy_wh", "cost"),
        *("throughput_tokens_per_s", "perplexity", "mae", "rmse", "r2"),
        *("time_to_target_s", "samples_to_target", "status_detail"),
    }
    unknown = {name for name in trials.columns if trials[name].isna().all()}
    assert unknown == later
    assert (trials["train_val_overlap"] == 0).all()
    shared = trials["world_size"] > 1
    assert trials.loc[shared, "communication_fraction"].between(0, 1).all()
    # The start of the workers is that of the first trial alone, unless they were renewed.
    assert trials["startup_time_s"].notna().sum() == trials["gang_id"].nunique()
    parts = trials["train_time_s"] + trials["eval_time_s"]
    assert (parts <= trials["wall_time_s"]).all()
    assert set(trials["threads_per_worker"]) == {1}
    assert (trials["best_epoch"] <= 2).all()
    assert set(trials["epochs"]) == {2.0}


def test_a_second_run_finds_nothing_to_do(healthy: Ran, folder: Path) -> None:
    assert healthy.exit_code == 0
    before = sorted((folder / "results" / "tumours").rglob("*.parquet"))
    again = ddp_sweep("run", "tumours.yaml", folder=folder)
    assert again.exit_code == 0
    assert "All 6 trials were done; nothing ran" in again.err
    assert sorted((folder / "results" / "tumours").rglob("*.parquet")) == before


@pytest.mark.slow
def test_changed_code_of_the_workload_is_refused(faulty: Ran, folder: Path) -> None:
    assert faulty.exit_code == 1
    source = folder / "faulty.py"
    source.write_text(FAULTY_WORKLOAD + "\n# changed\n")
    try:
        changed = ddp_sweep("run", "faulty.yaml", folder=folder)
    finally:
        source.write_text(FAULTY_WORKLOAD)
    assert changed.exit_code == 2
    assert "another version of the workload" in changed.err


def test_a_changed_sweep_is_refused_with_the_difference(healthy: Ran, folder: Path) -> None:
    assert healthy.exit_code == 0
    changed = ddp_sweep("run", "tumours.yaml", "--set", "training.epochs=3", folder=folder)
    assert changed.exit_code == 2
    assert "epochs" in changed.err


def test_rank_as_json_keeps_the_contract(healthy: Ran, folder: Path) -> None:
    assert healthy.exit_code == 0
    ranked = ddp_sweep("rank", "results/tumours", "--format", "json", folder=folder)
    assert ranked.exit_code == 0, ranked.err
    ranking = json.loads(ranked.out)
    assert {"baseline", "reference", "configurations", "findings", "recommendation"} <= set(
        ranking
    )
    assert {cell["world_size"] for cell in ranking["configurations"]} == {1, 2, 3}
    # Two seeds can show nothing about quality, except where the updates are the same.
    for cell in ranking["configurations"]:
        assert set(cell) == CONFIGURATION_KEYS
        assert all(set(metric) == METRIC_KEYS for metric in cell["metrics"].values())
        assert {"accuracy", "recall"} <= set(cell["metrics"])
        assert cell["evidence"] in ("same_updates", "none")
    assert ranking["recommendation"]["status"] in ("provisional", "none")


def test_status_counts_trials(healthy: Ran, folder: Path) -> None:
    assert healthy.exit_code == 0
    status = ddp_sweep("status", "results/tumours", "--format", "json", folder=folder)
    assert status.exit_code == 0, status.err
    counts = json.loads(status.out)
    assert counts["by_status"] == {"succeeded": 6}
    assert (counts["planned"], counts["left"]) == (6, 0)


@pytest.mark.slow
def test_a_fault_of_one_trial_is_a_row_and_the_others_go_on(faulty: Ran, folder: Path) -> None:
    assert faulty.exit_code == 1, faulty.err
    trials = load_results(folder / "results" / "faulty").trials
    fault = trials["parameters"].map(lambda text: json.loads(text)["workload_options.fault"])
    rows = trials.set_index(fault)
    assert rows["status"].to_dict() == {
        "raises": "workload_error",
        "nan": "diverged",
        "none": "succeeded",
    }
    detail = rows.loc["raises", "status_detail"]
    assert "ValueError: the twenty-first batch is too much" in detail
    assert "faulty.py" in detail
    assert "Traceback" not in faulty.err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("--set", "resources.device=gpu"), 3, ["gpu", "no GPU"]),
        (("--address", "ray://10.0.0.1:10001"), 2, ["ray://", "not supported"]),
        (("--address", "127.0.0.1:1"), 3, ["127.0.0.1:1"]),
        (("--set", "training.epochz=3"), 2, ["epochz", "epochs"]),
        (("--set", "quality.margins.perplexity=1%"), 2, ["perplexity"]),
        (("--set", "workload=ddp_sweep.workloads.breast_cancer:BreastCancr"), 2, ["BreastCancer"]),
    ],
)
def test_bad_input_ends_with_a_clear_message(
    folder: Path, arguments: tuple[str, ...], exit_code: int, words: list[str]
) -> None:
    (folder / "bad.yaml").write_text(SWEEP.replace("tumours", "bad"))
    ran = ddp_sweep("run", "bad.yaml", *arguments, folder=folder)
    assert ran.exit_code == exit_code, ran.err
    for word in words:
        assert word in ran.err
    assert "Traceback" not in ran.err
    assert not (folder / "results" / "bad" / "trials").exists()


def test_labels_outside_the_classes_are_found_before_ray_starts(tmp_path: Path) -> None:
    (tmp_path / "labels.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch.utils.data import TensorDataset
            from ddp_sweep.workloads.digits import Digits

            class Wrong(Digits):
                def build_data(self):
                    train, validation = super().build_data()
                    images, labels = train.tensors
                    return TensorDataset(images, labels + 1), validation
            """
        )
    )
    sweep = SWEEP.replace("ddp_sweep.workloads.breast_cancer:BreastCancer", "labels.py:Wrong")
    (tmp_path / "labels.yaml").write_text(sweep)
    ran = ddp_sweep("run", "labels.yaml", folder=tmp_path)
    assert ran.exit_code == 2
    assert "labels lie between 1 and 10" in ran.err
    assert "Traceback" not in ran.err
