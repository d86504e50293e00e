"""What the probes and checks of a trial cost, as a share of a trial of 30 s.

    python tests/benchmarks/probes.py [--pairs 5] [--epochs 8]

Digits, one and two workers. Before the training: the probes, the count of validation samples that
are training samples (once for each data set), and the comparisons of the replicas. In training:
the clock of the waits for other ranks, from pairs of trials with it and without.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.training.messages import RankReport, TrialRequest

_WORKLOAD = "ddp_sweep.workloads.digits:Digits"
_PARTS = ("probes", "overlap", "replicas")
_TRIAL_S = 30.0


def main() -> None:
    """Run trials in pairs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    training = {"epochs": arguments.epochs, "evaluations": 1}
    with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:
        for workers in (1, 2):
            wanted = request(_WORKLOAD, workers, 64, training=training)
            _print(workers, _pairs(ranks, wanted, arguments.pairs))


def _pairs(
    ranks: RankProcesses, wanted: TrialRequest, count: int
) -> list[tuple[RankReport, RankReport]]:
    without = replace(wanted, probes=False)
    ranks.run(run_trial, _WORKLOAD, without)  # imports and caches
    return [
        (
            _first(ranks.run(run_trial, _WORKLOAD, wanted)),
            _first(ranks.run(run_trial, _WORKLOAD, without)),
        )
        for _ in range(count)
    ]


def _first(reports: Sequence[RankReport]) -> RankReport:
    return reports[0]


def _print(workers: int, pairs: Sequence[tuple[RankReport, RankReport]]) -> None:
    before = [sum(on.seconds.get(part, 0.0) for part in _PARTS) for on, _ in pairs]
    off = [sum(other.seconds.get(part, 0.0) for part in _PARTS) for _, other in pairs]
    extra = median(a - b for a, b in zip(before, off, strict=True))
    slower = median(on.train_time_s / other.train_time_s for on, other in pairs) - 1
    share = extra / _TRIAL_S + max(0.0, slower)
    parts = {part: 1000 * median(on.seconds.get(part, 0.0) for on, _ in pairs) for part in _PARTS}
    print(f"{workers} worker(s), {len(pairs)} pairs")
    print("  before training: " + ", ".join(f"{k} {v:.0f} ms" for k, v in parts.items()))
    print(f"  more than without: {1000 * extra:.0f} ms, {100 * extra / _TRIAL_S:.2f} % of 30 s")
    print(f"  training time with / without: {1 + slower:.4f}")
    print(f"  together: {100 * share:.2f} % of a trial of 30 s (aim: at most 2 %)")


if __name__ == "__main__":
    main()
