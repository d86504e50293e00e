"""Trials on GPUs: times, precision, memory, communication, energy."""

from __future__ import annotations

import time

import gpu_workloads
import numpy as np
import pytest
import torch
import torch.distributed as dist
from ddp_processes import RankProcesses
from torch.utils.data import TensorDataset
from trial_runs import request, run_trial, try_trial

from ddp_sweep.schema import Status
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.memory import (
    available_memory_bytes,
    is_out_of_memory,
    peak_memory_bytes,
    reset_peak_memory,
)
from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.power import PowerMeter
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.timing import StepClock

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

WORKLOAD = f"{gpu_workloads.__name__}:Wide"
NOT_ENOUGH = 2**50
"""Bytes that no GPU has."""


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda", 0)


def busy(device: torch.device, turns: int) -> None:
    matrix = torch.ones(2048, 2048, device=device)
    for _ in range(turns):
        matrix = torch.tanh(matrix @ matrix)


def wanted(world_size: int = 1, batch: int = 256, **settings: object) -> TrialRequest:
    return request(WORKLOAD, world_size, batch, training={"samples": 2048, **settings})


def trial_on(gpus: RankProcesses, one: TrialRequest) -> list[RankReport]:
    return [report for report in gpus.run(run_trial, WORKLOAD, one) if report is not None]


def test_step_times_are_those_of_the_device(device: torch.device) -> None:
    """Against one pair of events around all steps: the processor runs far ahead of the device."""
    ranks = Ranks(0, 1, device)
    busy(device, 20)
    clock = StepClock(ranks)
    outer = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    clock.start()
    outer[0].record()
    for turns in (10, 40, 10):
        busy(device, turns)
        clock.step_done()
    outer[1].record()
    issued_s = clock.elapsed_s()
    clock.stop()

    whole_s = outer[0].elapsed_time(outer[1]) / 1000
    steps_s = clock.step_times_s()
    assert steps_s.sum() == pytest.approx(whole_s, rel=0.05)
    assert steps_s[1] > 2 * steps_s[0]
    # The stretch ends when the device is done, not when the last step was given to it.
    assert clock.train_time_s >= max(whole_s * 0.95, issued_s)


def test_between_stretches_the_clock_stands_still(device: torch.device) -> None:
    clock = StepClock(Ranks(0, 1, device))
    clock.start()
    busy(device, 5)
    clock.step_done()
    clock.stop()
    before_s = clock.train_time_s
    busy(device, 200)
    began = time.perf_counter()
    clock.start()
    waited_s = time.perf_counter() - began
    clock.step_done()
    clock.stop()
    assert waited_s > 0
    assert clock.train_time_s - before_s < waited_s + before_s
    assert len(clock.step_times_s()) == 2


def test_waiting_for_data_counts_only_what_leaves_the_device_idle(device: torch.device) -> None:
    clock = StepClock(Ranks(0, 1, device))
    busy(device, 5)
    torch.cuda.synchronize(device)
    clock.start()
    # Behind a queue of seconds the processor may sleep; with nothing queued the device waits too.
    for queued in (True, False):
        if queued:
            busy(device, 2000)
        else:
            torch.cuda.synchronize(device)
        with clock.waiting_for_data():
            time.sleep(0.05)
        clock.step_done()
    clock.stop()
    hidden_s, exposed_s = clock.data_wait_s
    if clock.step_times_s()[0] > 0.1:  # else the device was done before the sleep was over
        assert hidden_s < 0.001
    assert exposed_s >= 0.049


def test_cut_out_batches_are_pinned_unless_told_otherwise(device: torch.device) -> None:
    data = TensorDataset(torch.ones(8, 3), torch.zeros(8))
    for pin, pinned in (("auto", True), (True, True), (False, False)):
        settings = DataSettings(pin_memory=pin)
        source = BatchSource(data, gpu_workloads.Wide(), settings, device)
        batch = next(source.stream([(np.arange(4), 0)]))
        assert [part.is_pinned() for part in batch] == [pinned, pinned]
        assert all(part.device == device for part in source.move(batch))


def test_peak_memory_is_that_of_the_device_since_the_reset(device: torch.device) -> None:
    size = 64 * 2**20
    torch.cuda.empty_cache()
    held = torch.ones(size, dtype=torch.uint8, device=device)
    reset_peak_memory(device)
    base = peak_memory_bytes(device)
    assert base is not None and base >= size
    more = torch.ones(2 * size, dtype=torch.uint8, device=device)
    del more
    peak = peak_memory_bytes(device)
    assert peak is not None and base + 2 * size <= peak <= base + 3 * size
    reset_peak_memory(device)
    assert peak_memory_bytes(device) == base
    assert available_memory_bytes(device) > peak
    del held


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_trial_learns_in_either_precision(gpus: RankProcesses, precision: str) -> None:
    (report,) = trial_on(gpus, wanted(precision=precision))
    assert report.status is Status.SUCCEEDED
    assert report.device_type == "cuda"
    assert report.device_name == torch.cuda.get_device_name(0)
    assert report.samples == 2048
    assert report.evaluations[-1].quality["accuracy"] > 0.9
    assert report.peak_memory_bytes is not None
    assert report.device_memory_bytes == torch.cuda.get_device_properties(0).total_memory
    assert 0 < report.peak_memory_bytes < report.device_memory_bytes


def test_bfloat16_is_what_the_model_computes_in(gpus: RankProcesses) -> None:
    exact = trial_on(gpus, wanted())[0].evaluations[-1].quality["val_loss"]
    rounded = trial_on(gpus, wanted(precision="bfloat16"))[0].evaluations[-1].quality["val_loss"]
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.2, abs=1e-3)


def test_no_memory_is_a_result_and_the_next_trial_is_fine(gpus: RankProcesses) -> None:
    greedy = request(
        WORKLOAD, 1, 256, training={"samples": 2048}, options={"extra_bytes": NOT_ENOUGH}
    )
    first, *_ = gpus.run(try_trial, WORKLOAD, greedy)
    assert first is not None and first.status is Status.OUT_OF_MEMORY
    (report,) = trial_on(gpus, wanted())
    assert report.status is Status.SUCCEEDED


def test_the_error_of_a_full_device_is_known(device: torch.device) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(NOT_ENOUGH, dtype=torch.uint8, device=device)
    assert is_out_of_memory(caught.value)


def test_every_world_size_makes_the_same_updates_over_nccl(gpus: RankProcesses) -> None:
    losses = {}
    for size in range(1, gpus.size + 1):
        if 240 % size == 0:
            reports = trial_on(gpus, wanted(size, 240))
            assert [report.status for report in reports] == [Status.SUCCEEDED] * size
            assert len({report.device_name for report in reports}) == 1
            assert reports[0].steps is not None
            losses[size] = reports[0].steps.train_loss[:8]
    for size, trace in losses.items():
        assert trace == pytest.approx(losses[1], rel=1e-3, abs=1e-3), size
    if gpus.size == 1:
        pytest.skip("one GPU only: NCCL between GPUs was not tried")


def test_ranks_sit_on_devices_of_their_own(gpus: RankProcesses) -> None:
    found = gpus.run(device_of)
    assert len(set(found)) == gpus.size


def device_of(_rank: int) -> str:
    assert dist.get_backend() == "nccl"
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)


def test_energy_grows_with_work(device: torch.device) -> None:
    pytest.importorskip("pynvml", reason="the extra ddp-sweep[gpu] is not installed")
    meter = PowerMeter(device)
    meter.start()
    began = time.perf_counter()
    while time.perf_counter() - began < 3:
        busy(device, 50)
        torch.cuda.synchronize(device)
    meter.stop()
    if meter.energy_wh is None:
        pytest.skip("this GPU counts no energy")
    seconds = time.perf_counter() - began
    # Between an idle card and the largest there are.
    assert 5 < meter.energy_wh * 3600 / seconds < 2000


def test_a_trial_tells_its_energy(gpus: RankProcesses) -> None:
    pytest.importorskip("pynvml", reason="the extra ddp-sweep[gpu] is not installed")
    (report,) = trial_on(gpus, wanted())
    meter = PowerMeter(torch.device("cuda", 0))
    meter.start()
    meter.stop()
    assert (report.energy_wh is None) == (meter.energy_wh is None)
