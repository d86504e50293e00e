"""What recording every optimizer step costs: steps a second with recording on and off, in pairs.

    python tests/benchmarks/recording.py [--pairs 10] [--epochs 8]

One worker, digits, a global batch of 64, in this process. "Off" leaves out the rows of the steps
table and the clock of the single steps, which no user can switch off.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from ddp_sweep.plan import build_plan
from ddp_sweep.spec import parse_spec
from ddp_sweep.training.messages import StepRecord, TrialRequest, WorkerSetup
from ddp_sweep.training.recording import StepRecorder
from ddp_sweep.training.timing import StepClock
from ddp_sweep.training.worker import Worker

_NOTHING = StepRecord(**{name: np.zeros(0) for name in StepRecord.__dataclass_fields__})


class _NoRecorder(StepRecorder):
    def step_done(self, samples: int, learning_rate: float) -> None: ...

    def read_memory(self) -> None: ...

    def record(self, *_: Any) -> StepRecord:
        return _NOTHING


class _NoStepClock(StepClock):
    def step_done(self) -> None: ...

    def step_times_s(self) -> NDArray[np.float64]:
        return np.zeros(1)


def main() -> None:
    """Run both in turn and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    spec = parse_spec(
        {
            "name": "recording",
            "workload": "ddp_sweep.workloads.digits:Digits",
            "sweep": {"world_size": [1], "global_batch_size": [64]},
            "seeds": 1,
            "training": {
                "epochs": arguments.epochs,
                "learning_rate": 0.05,
                "evaluations": 1,
            },
        }
    )
    (trial,) = build_plan(spec, capacity=None, train_lengths=1437).trials
    request = TrialRequest(trial=trial, attempt=1, data=spec.data, quality=spec.quality)
    setup = WorkerSetup(
        workload=spec.workload, base_dir=None, world_sizes=(1,), device_type="cpu", threads=1
    )
    worker = Worker(setup, 0, emit_progress=lambda _: None)

    def steps_per_s() -> float:
        report = worker.run(request)
        assert report.optimizer_steps and report.train_time_s
        return report.optimizer_steps / report.train_time_s

    def steps_per_s_off() -> float:
        with (
            mock.patch("ddp_sweep.training.trial.StepRecorder", _NoRecorder),
            mock.patch("ddp_sweep.training.context.StepClock", _NoStepClock),
        ):
            return steps_per_s()

    steps_per_s()
    pairs = [(steps_per_s(), steps_per_s_off()) for _ in range(arguments.pairs)]
    on, off = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    print(f"recording every step: {on:.1f} steps/s; off: {off:.1f} steps/s")
    print(f"on / off, median of {len(pairs)} pairs: {ratio:.4f} (aim: at least 0.99)")


if __name__ == "__main__":
    main()
