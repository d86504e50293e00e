from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddp_sweep.training import isolation
from ddp_sweep.training.isolation import ProcessState, seed_everything

CPU = torch.device("cpu")
BACKENDS: Any = torch.backends


@pytest.fixture
def state() -> Iterator[ProcessState]:
    before = ProcessState(CPU)
    yield before
    before.restore()


def set_precision(place: Any, value: str) -> Callable[[], None]:
    return lambda: setattr(place, "fp32_precision", value)


MISCHIEF: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "dtype": (lambda: torch.set_default_dtype(torch.float16), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), torch.get_default_device),
    "grad mode": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), torch.get_num_threads),
    "determinism": (
        lambda: torch.use_deterministic_algorithms(True),
        torch.are_deterministic_algorithms_enabled,
    ),
    "old precision flag": (
        lambda: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
    "old tf32 flag": (
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: torch.backends.cuda.matmul.allow_tf32,
    ),
    # After it torch refuses to read the old flags at all.
    "new precision flag": (
        set_precision(torch.backends.cuda.matmul, "tf32"),
        lambda: (
            torch.backends.cuda.matmul.fp32_precision == "tf32",
            torch.get_float32_matmul_precision(),
        ),
    ),
    "new global flag": (
        set_precision(BACKENDS, "tf32"),
        lambda: BACKENDS.fp32_precision,
    ),
    "benchmark": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: torch.backends.cudnn.benchmark,
    ),
    "folder": (lambda: os.chdir("/"), Path.cwd),
    "environment": (
        lambda: os.environ.update(DDP_SWEEP_TEST="1", PATH=""),
        lambda: (os.environ.get("DDP_SWEEP_TEST"), os.environ["PATH"]),
    ),
}


@pytest.mark.parametrize(("mischief", "look"), MISCHIEF.values(), ids=list(MISCHIEF))
def test_what_a_trial_changes_is_put_back(
    mischief: Callable[[], Any], look: Callable[[], Any], state: ProcessState
) -> None:
    before = look()
    mischief()
    state.restore()
    assert look() == before


def test_a_folder_that_is_gone_is_no_trap(state: ProcessState, tmp_path: Path) -> None:
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    state.restore()
    assert Path.cwd() == before


def test_a_flag_set_when_the_workload_is_imported_stays(state: ProcessState) -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    later = ProcessState(CPU)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    later.restore()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    state.restore()


def test_processes_left_running_are_a_reason_for_a_new_one(state: ProcessState) -> None:
    assert state.recycle_reason() is None
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert state.recycle_reason() == f"child processes left running: [{sleeper.pid}]"
    finally:
        sleeper.kill()
        sleeper.wait()
    assert state.recycle_reason() is None


def test_memory_that_stays_is_a_reason_for_a_new_process(
    state: ProcessState, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = iter([2**30, 2**30 + 190 * 2**20, 2**30 + 210 * 2**20, 4 * 2**30])
    monkeypatch.setattr(isolation, "memory_bytes", lambda _device: next(held))
    reasons = [state.recycle_reason() for _ in range(4)]
    assert reasons[:2] == [None, None]
    assert reasons[2] == "memory grew by 210 MiB since the first trial"
    assert reasons[3] is not None


def test_seeds_reach_all_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(new != old for new, old in zip(draw(), first, strict=True))


PEAK = """
import numpy as np
import torch
from ddp_sweep.training.memory import memory_bytes, peak_memory_bytes, reset_peak_memory

cpu = torch.device("cpu")
reset_peak_memory(cpu)
start = peak_memory_bytes(cpu)
large = np.ones(200 * 2**20, dtype=np.uint8)
grown = peak_memory_bytes(cpu)
del large
kept = peak_memory_bytes(cpu)
reset_peak_memory(cpu)
print(start, grown, kept, peak_memory_bytes(cpu), memory_bytes(cpu))
"""


def test_the_peak_of_memory_falls_when_it_is_reset() -> None:
    """In a process of its own: one that freed much before need not grow for an array."""
    size = 200 * 2**20
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    start, grown, kept, after, held = map(int, done.stdout.split())
    assert grown - start > 0.9 * size
    assert kept == pytest.approx(grown, rel=0.02)
    assert after - start < 0.5 * size
    assert after >= 0.9 * held
