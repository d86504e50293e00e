"""Exposed communication three ways: our probe, our clock in the training, and DDP's own log.

    python tests/benchmarks/communication.py [--epochs 8]

Digits on two workers at several batch sizes. DDP samples the first ten iterations and then one in
a hundred; what it calls communication less what overlaps with computation is exposed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.model import wrap_model

_WORKLOAD = "ddp_sweep.workloads.digits:Digits"
_BATCHES = (16, 64, 256, 512)


def logged_trial(rank: int, wanted: TrialRequest) -> tuple[RankReport | None, dict[str, Any]]:
    """A trial, and what DDP logged of it."""
    kept = []

    def keep(*arguments: Any) -> Any:
        kept.append(wrap_model(*arguments))
        return kept[-1]

    with mock.patch("ddp_sweep.training.trial.wrap_model", keep):
        report = run_trial(rank, _WORKLOAD, wanted)
    return report, dict(kept[0]._get_ddp_logging_data())


def main() -> None:
    """Run a trial at each batch size and print the figures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    training = {"epochs": arguments.epochs, "evaluations": 1}
    print("milliseconds a step; two workers")
    print("global batch    step   probe   clock   DDP's log (communication - overlap)")
    with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:
        for batch in _BATCHES:
            found = ranks.run(logged_trial, request(_WORKLOAD, 2, batch, training=training))
            print(_line(batch, found))


def _line(batch: int, found: list[tuple[RankReport, dict[str, Any]]]) -> str:
    reports, logs = zip(*found, strict=True)
    step = reports[0].train_time_s / reports[0].optimizer_steps
    clock = np.min([report.steps.communication_s for report in reports], axis=0).mean()
    communication, overlap = (
        np.array([float(log.get(name, "nan")) / 1e9 for log in logs])
        for name in ("avg_backward_comm_time", "avg_backward_compute_comm_overlap_time")
    )
    exposed = (communication - overlap).min()
    figures = (step, reports[0].exposed_communication_s, clock, exposed)
    return f"{batch:12}" + "".join(f"{1000 * figure:8.2f}" for figure in figures)


if __name__ == "__main__":
    main()
