"""What the probes and checks of a trial cost, as a share of a trial of 30 s.

    python tests/benchmarks/probes.py [--pairs 15] [--epochs 8]

Digits, one and two workers. Before the training: the probes, the count of validation samples that
are training samples (once for each data set), and the comparisons of the replicas. In training:
the clock of the waits for other ranks; what it costs a step, timed by itself on a step that is
next to nothing, and pairs of trials with it and without, which scatter far more than it costs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from trial_runs import group_ranks, request, run_trial

from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.timing import SynchronizationClock

_WORKLOAD = "ddp_sweep.workloads.digits:Digits"
_PARTS = ("probes", "overlap", "replicas")
_TRIAL_S = 30.0
_STEPS, _ROUNDS = 50, 200


def main() -> None:
    """Run trials in pairs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    training = {"epochs": arguments.epochs, "evaluations": 1}
    with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:
        for workers in (1, 2):
            wanted = request(_WORKLOAD, workers, 64, training=training)
            cost_s = 0.0 if workers == 1 else max(ranks.run(clock_cost_s))
            _print(workers, _pairs(ranks, wanted, arguments.pairs), cost_s)


def clock_cost_s(rank: int) -> float:
    """What the clock of the waits adds to a backward pass."""
    clock = SynchronizationClock(group_ranks(rank, 2))
    weight, inputs = torch.ones(8, requires_grad=True), torch.ones(8)

    def seconds(*, watched: bool) -> float:
        began = time.perf_counter()
        for _ in range(_STEPS):
            loss = (weight * inputs).sum()
            if watched:
                clock.watch(loss)
            loss.backward()
            if watched:
                clock.backward_done()
        return (time.perf_counter() - began) / _STEPS

    return median(seconds(watched=True) - seconds(watched=False) for _ in range(_ROUNDS))


def _pairs(
    ranks: RankProcesses, wanted: TrialRequest, count: int
) -> list[tuple[RankReport, RankReport]]:
    without = replace(wanted, probes=False)
    ranks.run(run_trial, _WORKLOAD, without)  # imports and caches
    pairs = []
    for turn in range(count):
        # In turn, so that neither is always the one that comes second.
        order = (wanted, without) if turn % 2 else (without, wanted)
        found = {one.probes: ranks.run(run_trial, _WORKLOAD, one)[0] for one in order}
        pairs.append((found[True], found[False]))
    return pairs


def _print(workers: int, pairs: Sequence[tuple[RankReport, RankReport]], cost_s: float) -> None:
    before = [sum(on.seconds.get(part, 0.0) for part in _PARTS) for on, _ in pairs]
    off = [sum(other.seconds.get(part, 0.0) for part in _PARTS) for _, other in pairs]
    extra = median(a - b for a, b in zip(before, off, strict=True))
    ratios = [on.train_time_s / other.train_time_s for on, other in pairs]
    step_s = median(other.step_time_median_s for _, other in pairs)
    # Half the width of a 95 % interval of a median, from the ranks on both sides of it.
    low, high = np.quantile(ratios, 0.5 + np.array([-1, 1]) * 0.98 / np.sqrt(len(ratios)))
    share = extra / _TRIAL_S + cost_s / step_s
    parts = {part: 1000 * median(on.seconds.get(part, 0.0) for on, _ in pairs) for part in _PARTS}
    print(f"{workers} worker(s), {len(pairs)} pairs")
    print("  before training: " + ", ".join(f"{k} {v:.0f} ms" for k, v in parts.items()))
    print(f"  more than without: {1000 * extra:.0f} ms, {100 * extra / _TRIAL_S:.2f} % of 30 s")
    print(f"  the clock: {1e6 * cost_s:.0f} us of a step of {1e3 * step_s:.2f} ms")
    print(f"  training time with / without: {median(ratios):.4f} [{low:.4f}, {high:.4f}]")
    print(f"  together: {100 * share:.2f} % of a trial of 30 s (aim: at most 2 %)")


if __name__ == "__main__":
    main()
