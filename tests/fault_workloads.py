"""A small workload that meets a fault in mid-training, the same few on every rank but one.

What happens on the guilty rank is told by the option ``fault``; once it has begun, a file of that
name in ``folder`` says when, and in which process. Faults that end with the process happen at the
first attempt only, which that file tells, so that a retry can show that all is well again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import Binary

__all__ = ["Soaked", "Victim"]

FAULT_AT_STEP = 12
"""Optimizer step of the fault, those of the warm-up among them: the training has begun by then."""
PACE_S = 1.0
"""Pause in each further step of a trial that waits for a kill from outside."""
ONCE = ("killed", "kill_itself", "exit", "sleep", "swell")

_kept: list[Any] = []
"""What leaks: as long as the process."""


class Victim:
    """Tells two halves of a plane apart; the guilty rank is the last of two."""

    task = Binary()

    def __init__(self, folder: str = "", fault: str = "none", guilty: int = 1) -> None:
        self.folder, self.fault, self.guilty = Path(folder), fault, guilty
        self.steps = 0
        self.acts = fault not in ONCE or not self._marker.exists()

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        inputs = torch.randn(512, 4, generator=torch.Generator().manual_seed(0))
        targets = (inputs.sum(1) > 0).long()
        return TensorDataset(inputs[:384], targets[:384]), TensorDataset(
            inputs[384:], targets[384:]
        )

    def build_optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        optimizer.register_step_pre_hook(self._step)
        return optimizer

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs, targets.float(), reduction="none"
        )
        if self.fault in _LEAKS and self.steps >= FAULT_AT_STEP and not torch.is_grad_enabled():
            # In the evaluation at the end, so that the trial itself is not touched.
            _LEAKS[self.fault]()
            self.fault = "leaked"
        due = self.fault == "nan" and self.steps >= FAULT_AT_STEP and torch.is_grad_enabled()
        if due and self._is_guilty:
            self._mark()
            return losses * float("nan")
        return losses

    @property
    def _is_guilty(self) -> bool:
        return (dist.get_rank() if dist.is_initialized() else 0) == self.guilty

    @property
    def _marker(self) -> Path:
        return self.folder / self.fault

    def _mark(self) -> None:
        if not self._marker.exists():
            partial = self._marker.with_suffix(".partial")
            partial.write_text(json.dumps({"pid": os.getpid(), "at_s": time.time()}))
            partial.rename(self._marker)

    def _step(self, *_: Any) -> None:
        self.steps += 1
        due = self.acts and self.steps >= FAULT_AT_STEP and self._is_guilty
        if due and self.fault in _AT_A_STEP:
            self._mark()
            _AT_A_STEP[self.fault]()


class Soaked(Victim):
    """In every tenth trial another fault; the number of a trial is its seed."""

    def build_model(self) -> nn.Module:
        number = torch.initial_seed()
        if number % 10 == 0:
            self.fault = SOAKED[number // 10 % len(SOAKED)]
            # Each of them once, and each of them anew in the next round.
            self.folder = self.folder / str(number)
            self.folder.mkdir(exist_ok=True)
            self.acts = self.fault not in ONCE or not self._marker.exists()
        return super().build_model()


SOAKED = ("kill_itself", "exit", "raise", "nan", "sleep")


def _swell() -> None:
    while True:
        _kept.append(torch.ones(8 * 2**20))
        time.sleep(0.02)


def _exit() -> None:
    # What it has started must not outlive it.
    _leak_child()
    os._exit(3)


def _raise() -> None:
    raise ValueError("planted in the second rank")


def _out_of_memory() -> None:
    if torch.cuda.is_available():
        while True:
            _kept.append(torch.ones(2**28, device="cuda"))
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB (planted)")


_AT_A_STEP = {
    "killed": lambda: time.sleep(PACE_S),
    "kill_itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": _exit,
    "sleep": lambda: time.sleep(3600),
    "swell": _swell,
    "raise": _raise,
    "out_of_memory": _out_of_memory,
}


def _leak_memory() -> None:
    _kept.append(torch.ones(100 * 2**20))


def _leak_thread() -> None:
    threading.Thread(target=time.sleep, args=(3600,), name="leaked").start()


def _leak_child() -> None:
    _kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]))


def _leak_settings() -> None:
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(3)
    torch.autograd.set_detect_anomaly(True)
    os.environ["LEAKED"] = "1"
    os.chdir("/")


_LEAKS = {
    "leak_memory": _leak_memory,
    "leak_thread": _leak_thread,
    "leak_child": _leak_child,
    "leak_settings": _leak_settings,
}
