"""What a report costs: time to gather and draw, peak memory and size, for 60 and 5,000 trials.

    python tests/benchmarks/report_render.py [--trials 60 5000] [--steps 200]

Each size runs in a process of its own, so that its peak memory is its own. The tables are in
memory as `load_results` gives them: 5 seeds, 10 evaluations a trial, all steps of one rank.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from report_samples import many_cells, measured
from trials_frame import frame

from ddp_sweep.report.page import build_report
from ddp_sweep.results import Results, ResultsFolder

SEEDS = 5
EVALUATIONS = 10


def main() -> None:
    """Run each size in a new process and print its line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, nargs="+", default=[60, 5000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for trials in arguments.trials:
        if arguments.here:
            _measure(trials, arguments.steps)
            continue
        command = [sys.executable, __file__, "--here", "--trials", str(trials)]
        subprocess.run([*command, "--steps", str(arguments.steps)], check=True)


def _measure(trials: int, steps: int) -> None:
    results = _results(trials, steps)
    before = _peak_mb()
    start = time.perf_counter()
    report = build_report(results, margins={"accuracy": 0.01})
    computed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        report.write(file)
        size = file.stat().st_size
    end = time.perf_counter()
    print(
        f"{trials} trials, {steps} steps each: computed in {computed - start:.1f} s, drawn and "
        f"written in {end - computed:.1f} s; peak memory {_peak_mb():.0f} MB "
        f"({before:.0f} MB with the tables alone); {size / 1e6:.2f} MB of HTML"
    )


def _results(trials: int, steps: int) -> Results:
    records = measured(many_cells(trials // SEEDS), SEEDS, target=False)
    matrix = (np.eye(10, dtype=int) * 34 + 1).tolist()
    for record in records:
        record.update(confusion_matrix=matrix, class_names=[str(k) for k in range(10)])
    found = frame(records)
    return Results(
        trials=found,
        evals=_rows(found, EVALUATIONS).rename(columns={"loss": "val_loss"}),
        steps=_rows(found, steps).rename(columns={"loss": "train_loss"}).assign(rank=0),
        folder=ResultsFolder(Path("results")),
        spec=None,
    )


def _rows(trials: pd.DataFrame, count: int) -> pd.DataFrame:
    """Evenly spaced over each trial, with a loss that falls."""
    repeated = trials.loc[trials.index.repeat(count)].reset_index(drop=True)
    share = np.tile(np.arange(1, count + 1) / count, len(trials))
    columns: dict[str, Any] = {
        name: repeated[name] for name in ("trial_id", "attempt", "configuration_id", "seed")
    }
    columns["samples"] = (repeated["samples"].astype(float) * share).round()
    columns["optimizer_step"] = (share * count).round()
    columns["train_time_s"] = repeated["train_time_s"] * share
    columns["loss"] = 0.05 + 2 * np.exp(-4 * share)
    return pd.DataFrame(columns)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
