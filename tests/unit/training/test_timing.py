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
            with clock.waiting_for_data():
                now.time_s += step_s / 10
            now.time_s += step_s * 0.9
            clock.step_done()
        clock.stop()
        now.time_s += 1000  # an evaluation
    assert clock.train_time_s == pytest.approx(7.0)
    assert clock.step_times_s() == pytest.approx([1.0, 2.0, 4.0])
    assert clock.data_wait_s == pytest.approx([0.1, 0.2, 0.4])
    clock.stop()  # nothing has begun
    assert clock.train_time_s == pytest.approx(7.0)


def test_work_after_the_last_step_of_a_stretch_is_training_time() -> None:
    now = Clock()
    clock = StepClock(ALONE, now)
    clock.start()
    now.time_s += 1
    clock.step_done()
    now.time_s += 0.5
    assert clock.elapsed_s() == 1.5
    clock.stop()
    assert clock.train_time_s == 1.5
    assert clock.step_times_s().tolist() == [1.0]


class Device:
    """A device that works off what it was given, in order, beside the processor."""

    type = "cuda"

    def __init__(self, now: Clock) -> None:
        self.now = now
        self.done_s = 0.0

    def give(self, work_s: float) -> None:
        self.done_s = max(self.done_s, self.now()) + work_s


class Event:
    """An event of the device; its time is known once the device has come to it."""

    device: Device

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing

    def record(self) -> None:
        self.device.give(0.0)
        self.time_s = self.device.done_s

    def elapsed_time(self, other: Event) -> float:
        assert self.device.now() >= other.time_s, "the device has not come to it"
        return (other.time_s - self.time_s) * 1000


class OneDevice:
    """Ranks with a device that can be waited for."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def synchronize(self) -> None:
        self.device.now.time_s = max(self.device.now.time_s, self.device.done_s)

    barrier = synchronize

    def largest(self, value: float) -> float:
        return value


def test_on_a_gpu_only_a_wait_that_leaves_the_device_idle_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = Clock()
    device = Device(now)
    monkeypatch.setattr(Event, "device", device, raising=False)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = StepClock(OneDevice(device), now)  # type: ignore[arg-type]
    clock.start()
    # Two batches a step: the device works 3 s on each.
    for waits_s in ((2.0, 0.0), (1.0, 2.0), (11.0, 0.0), (0.0, 0.0)):
        for wait_s in waits_s:
            with clock.waiting_for_data():
                now.time_s += wait_s
            device.give(3.0)
        clock.step_done()
        assert now() < device.done_s  # nobody has waited for the device
    clock.stop()

    # 2 s with nothing to do; 3 s hidden behind work; 11 s beside the 9 s of work that are left.
    assert clock.data_wait_s == pytest.approx([2.0, 0.0, 2.0, 0.0])
    assert clock.step_times_s() == pytest.approx([8.0, 6.0, 8.0, 6.0])


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
