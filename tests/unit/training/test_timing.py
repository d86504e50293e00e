from __future__ import annotations

import numpy as np
import pytest
import torch

from ddp_sweep.training.gradients import LocalLoss
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.recording import LossLedger, StepRecorder
from ddp_sweep.training.timing import StepClock

CPU = torch.device("cpu")
ALONE = Ranks(0, 1, CPU)


class Clock:
    def __init__(self) -> None:
        self.time_s = 100.0

    def __call__(self) -> float:
        return self.time_s


def test_the_clock_runs_in_steps_and_stands_still_between_stretches() -> None:
    now = Clock()
    clock = StepClock(ALONE, now)
    now.time_s += 50  # start-up
    for stretch in ([1.0, 2.0], [4.0]):
        clock.start()
        for step_s in stretch:
            now.time_s += step_s
            clock.step_done(data_wait_s=step_s / 10)
        clock.stop()
        now.time_s += 1000  # an evaluation
    assert clock.train_time_s == 7.0
    assert clock.step_times_s().tolist() == [1.0, 2.0, 4.0]
    assert clock.data_wait_s == pytest.approx([0.1, 0.2, 0.4])
    clock.stop()  # nothing has begun
    assert clock.train_time_s == 7.0


def test_work_after_the_last_step_of_a_stretch_is_training_time() -> None:
    now = Clock()
    clock = StepClock(ALONE, now)
    clock.start()
    now.time_s += 1
    clock.step_done(0.0)
    now.time_s += 0.5
    assert clock.elapsed_s() == 1.5
    clock.stop()
    assert clock.train_time_s == 1.5
    assert clock.step_times_s().tolist() == [1.0]


def test_losses_are_weighed_by_their_samples() -> None:
    ledger = LossLedger(ALONE)
    ledger.add(LocalLoss(torch.tensor(6.0), 3.0))
    ledger.add(LocalLoss(torch.tensor(2.0), torch.tensor(1.0)))
    assert ledger.settle([5.0, 7.0]) == [5.0, 7.0]
    ledger.add(LocalLoss(torch.tensor(0.0), 0.0))
    assert ledger.settle([]) == []
    assert ledger.totals == [6.0, 2.0, 0.0]
    assert ledger.weights == [3.0, 1.0, 0.0]
    assert ledger.own_weight == 4.0
    assert ledger.mean() == 2.0
    assert ledger.mean(1) == 2.0
    assert ledger.mean(2) is None


@pytest.mark.parametrize("every", [1, 2, 3, 5, 9])
def test_recorded_intervals_hold_every_step_once(every: int) -> None:
    steps, per_step = 5, 4
    recorder, ledger = StepRecorder(every, CPU), LossLedger(ALONE)
    for step in range(steps):
        ledger.add(LocalLoss(torch.tensor(float(step)), 2.0))
        recorder.step_done((step + 1) * per_step, learning_rate=0.1 * step)
        if step == 3:
            recorder.read_memory()
    ledger.settle([])
    times, waits = np.arange(1.0, steps + 1), [0.5] * steps
    record = recorder.record(ledger, times, waits)

    ends = [*range(every, steps, every), steps]
    sizes = np.diff([0, *ends])
    assert record.optimizer_step.tolist() == ends
    assert record.samples.tolist() == [end * per_step for end in ends]
    assert (record.step_time_s * sizes).sum() == pytest.approx(times.sum())
    assert (record.train_loss * 2 * sizes).sum() == pytest.approx(sum(range(steps)))
    assert record.data_wait_s.tolist() == [0.5] * len(ends)
    assert record.learning_rate == pytest.approx([0.1 * (end - 1) for end in ends])
    read = [end for end, held in zip(ends, record.memory_bytes, strict=True) if held > 0]
    assert read == [next(end for end in ends if end >= 4)]
