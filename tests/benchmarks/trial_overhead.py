"""What a trial costs besides training and evaluation: Ray's documented pattern and this tool.

    python tests/benchmarks/trial_overhead.py [--seeds 3] [--epochs 8]

The same short trials (digits; world sizes 1 and 2, global batches 64 and 128, some seeds) run one
after another by ``rival_ray_tune.py`` and by ``ddp_sweep``, each on a local Ray that is up before
the clock starts. Printed are seconds a trial that are neither training nor evaluation, and ratios.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.driver.sweep import run_sweep
from ddp_sweep.results import load_results
from ddp_sweep.spec import SweepSpec, parse_spec

RIVAL = Path(__file__).with_name("rival_ray_tune.py")


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Seconds a trial that are neither training nor evaluation."""

    hand_over_s: float
    """Median from the end of a trial until the next one is handed to the warm workers."""
    warm_s: float
    """Median of a trial on warm workers: hand-over, set-up, probes, warm-up and clean-up."""
    whole_s: float
    """Of the whole sweep, with the start and the end of the workers."""


def rival(seeds: int, epochs: int) -> dict[str, float]:
    """Run the rival; trials, seconds of the sweep, seconds of training and evaluation in it."""
    command = [sys.executable, str(RIVAL), "--seeds", str(seeds), "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def spec(seeds: int, epochs: int) -> SweepSpec:
    """The rival's trials as a sweep."""
    return parse_spec(
        {
            "name": "overhead",
            "workload": "ddp_sweep.workloads.digits:Digits",
            "workload_options": {"channels": 16},
            "sweep": {"world_size": [1, 2], "global_batch_size": [64, 128]},
            "seeds": seeds,
            "training": {
                "epochs": epochs,
                "learning_rate": 0.05,
                "learning_rate_scaling": "none",
                "evaluations": epochs,
            },
        }
    )


def ours(seeds: int, epochs: int) -> Overhead:
    """Run the same trials with this tool."""
    sweep = spec(seeds, epochs)
    with quiet_driver(), tempfile.TemporaryDirectory() as folder, connect(None, sweep):
        began = time.perf_counter()
        outcome = run_sweep(sweep, output=Path(folder) / "results", progress="none")
        seconds = time.perf_counter() - began
        trials = load_results(outcome.folder).trials
    assert (trials["status"] == "succeeded").all(), trials["status_detail"].tolist()
    return overhead(trials.sort_values("started_at"), seconds)


def overhead(trials: pd.DataFrame, sweep_s: float) -> Overhead:
    """Split the time of a sweep; ``trials`` in the order they ran."""
    work = trials["train_time_s"] + trials["eval_time_s"]
    starts, ends = trials["started_at"], trials["finished_at"]
    warm = trials["startup_time_s"].isna()
    gaps = (starts - ends.shift()).dt.total_seconds()[warm]
    set_up = (trials["wall_time_s"] - work)[warm]
    return Overhead(
        hand_over_s=gaps.median(),
        warm_s=(gaps + set_up).median(),
        whole_s=(sweep_s - work.sum()) / len(trials),
    )


def main() -> None:
    """Run both and print the figures side by side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{4 * arguments.seeds} trials each; seconds a trial besides training and evaluation")
    measured = rival(arguments.seeds, arguments.epochs)
    theirs = (measured["sweep_s"] - measured["work_s"]) / measured["trials"]
    print(f"Ray's documented pattern                  {theirs:8.3f}")
    mine = ours(arguments.seeds, arguments.epochs)
    for text, value, target in (
        ("ddp-sweep: hand-over to warm workers   ", mine.hand_over_s, 100),
        ("ddp-sweep: with set-up, probes, warm-up", mine.warm_s, 40),
        ("ddp-sweep: the whole sweep             ", mine.whole_s, 5),
    ):
        print(f"{text}   {value:8.3f}   1/{theirs / value:.1f} of it (aim: 1/{target})")


if __name__ == "__main__":
    main()
