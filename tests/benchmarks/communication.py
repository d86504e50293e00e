"""What exchanging gradients costs a step, four ways, and how far they agree.

    python tests/benchmarks/communication.py [--epochs 8] [--trials 5]

Digits on two workers at several batch sizes.

- bare: a plain DDP loop with ``no_sync`` and without, in turn; the longest look, the reference.
- probe: ours, before training. It should agree with the bare loop.
- clock: ours, in the training: the slowest worker's wait for gradients. It leaves out what the
  exchange takes from computation beside it, so it should be less.
- log: DDP's own, communication less what overlaps with computation. DDP samples the first ten
  iterations and then one in a hundred.

Probe, clock and log: the median of the trials, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parents[1]))

from ddp_processes import RankProcesses
from trial_runs import request, run_trial

from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.model import wrap_model
from ddp_sweep.workloads.digits import Digits

_WORKLOAD = "ddp_sweep.workloads.digits:Digits"
_BATCHES = (16, 64, 256, 512)
_BARE_ROUNDS = 16
_BARE_ROUND_S = 0.15


def bare_loop(rank: int, global_batch: int) -> tuple[float, float]:
    """Seconds of a step without the exchange and what it adds, by torch alone."""
    torch.manual_seed(0)
    workload = Digits()
    model, (train, _) = workload.build_model(), workload.build_data()
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    share = [train[place] for place in range(rank, global_batch, 2)]
    inputs = torch.stack([torch.as_tensor(one) for one, _ in share])
    targets = torch.as_tensor([int(label) for _, label in share])

    def steps(number: int, *, exchange: bool) -> float:
        torch.distributed.barrier()
        began = time.perf_counter()
        for _ in range(number):
            optimizer.zero_grad()
            with nullcontext() if exchange else ddp.no_sync():
                workload.loss(ddp(inputs), targets).mean().backward()
            optimizer.step()
        torch.distributed.barrier()
        return (time.perf_counter() - began) / number

    seconds = torch.tensor(steps(20, exchange=True))
    torch.distributed.broadcast(seconds, 0)
    number = max(3, int(_BARE_ROUND_S / float(seconds)))
    found = []
    for turn in range(_BARE_ROUNDS):
        order = (True, False) if turn % 2 else (False, True)
        times = {exchange: steps(number, exchange=exchange) for exchange in order}
        found.append((times[False], times[True] - times[False]))
    alone, added = np.median(found, axis=0)
    return float(alone), float(added)


def logged_trial(rank: int, wanted: TrialRequest) -> tuple[RankReport | None, dict[str, Any]]:
    """A trial, and what DDP logged of it."""
    kept = []

    def keep(*arguments: Any) -> Any:
        kept.append(wrap_model(*arguments))
        return kept[-1]

    with mock.patch("ddp_sweep.training.trial_parts.wrap_model", keep):
        report = run_trial(rank, _WORKLOAD, wanted)
    return report, dict(kept[0]._get_ddp_logging_data())


def main() -> None:
    """Run trials at each batch size and print the figures side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trials", type=int, default=5)
    arguments = parser.parse_args()
    training = {"epochs": arguments.epochs, "evaluations": 1}
    print("milliseconds a step; two workers")
    print("global batch    step    bare   probe             clock             DDP's log")
    with tempfile.TemporaryDirectory() as folder, RankProcesses(2, Path(folder)) as ranks:
        for batch in _BATCHES:
            _, bare_s = ranks.run(bare_loop, batch)[0]
            wanted = request(_WORKLOAD, 2, batch, training=training)
            found = [_figures(ranks.run(logged_trial, wanted)) for _ in range(arguments.trials)]
            print(_line(batch, bare_s, np.array(found)))


def _figures(found: list[tuple[RankReport, dict[str, Any]]]) -> tuple[float, ...]:
    reports, logs = zip(*found, strict=True)
    step = reports[0].train_time_s / reports[0].optimizer_steps
    clock = np.min([report.steps.communication_s for report in reports], axis=0).mean()
    communication, overlap = (
        np.array([float(log.get(name, "nan")) / 1e9 for log in logs])
        for name in ("avg_backward_comm_time", "avg_backward_compute_comm_overlap_time")
    )
    exposed = (communication - overlap).min()
    return step, reports[0].exposed_communication_s, clock, exposed


def _line(batch: int, bare_s: float, found: np.typing.NDArray[np.float64]) -> str:
    step, *others = 1000 * np.median(found, axis=0)
    low, high = 1000 * found.min(axis=0)[1:], 1000 * found.max(axis=0)[1:]
    said = [
        f"{middle:8.2f} [{least:.2f}, {most:.2f}]".ljust(18)
        for middle, least, most in zip(others, low, high, strict=True)
    ]
    return f"{batch:12}{step:8.2f}{1000 * bare_s:8.2f}" + "".join(said)


if __name__ == "__main__":
    main()
