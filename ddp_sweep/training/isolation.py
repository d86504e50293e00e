"""What keeps the trials of one process from touching each other.

Before each trial the process is put back into the state it had before the first one, as far as
torch, the environment and memory go; what cannot be put back (threads, child processes, memory
that stays) is a reason to use a new process.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import psutil
import torch

from ddp_sweep.training.memory import memory_bytes

__all__ = ["ProcessState", "seed_everything"]

_MEMORY_GROWTH = 0.10
_MEMORY_GROWTH_BYTES = 200 * 2**20


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


Getter: TypeAlias = Callable[[], Any]
Setter: TypeAlias = Callable[[Any], Any]


def _torch_settings() -> list[tuple[Getter, Setter]]:
    """Getter and setter of every global torch setting that a workload may change."""
    cudnn = torch.backends.cudnn
    return [
        *_precision_settings(),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, _set_default_device),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_num_threads, torch.set_num_threads),
        (
            torch.are_deterministic_algorithms_enabled,
            lambda on: torch.use_deterministic_algorithms(on),
        ),
        (lambda: cudnn.benchmark, lambda on: setattr(cudnn, "benchmark", on)),
        (lambda: cudnn.deterministic, lambda on: setattr(cudnn, "deterministic", on)),
        (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    ]


def _precision_settings() -> list[tuple[Getter, Setter]]:
    """TF32 and the like; the old flags come last, see :func:`_old_flag`."""
    backends: Any = torch.backends
    matmul, cudnn, mkldnn = backends.cuda.matmul, backends.cudnn, backends.mkldnn
    places: list[Any] = [backends, matmul, cudnn, cudnn.conv, cudnn.rnn]
    places += [mkldnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
    return [
        *((partial(getattr, p, "fp32_precision"), partial(_set_precision, p)) for p in places),
        _old_flag(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        _old_flag(lambda: matmul.allow_tf32, lambda on: setattr(matmul, "allow_tf32", on)),
        _old_flag(lambda: cudnn.allow_tf32, lambda on: setattr(cudnn, "allow_tf32", on)),
    ]


def _set_precision(place: Any, value: str) -> None:  # noqa: ANN401 - a module of torch.backends
    place.fp32_precision = value


def _old_flag(get: Getter, put: Setter) -> tuple[Getter, Setter]:
    """A flag that torch refuses to read, as None, once a workload uses ``fp32_precision``."""

    def get_or_none() -> Any:  # noqa: ANN401
        try:
            return get()
        except RuntimeError:
            return None

    return get_or_none, lambda value: None if value is None else put(value)


def _set_default_device(device: torch.device) -> None:
    # The CPU is the default without a setting, and a setting slows every call of torch down.
    torch.set_default_device(None if device.type == "cpu" else device)


class ProcessState:
    """State of a worker process before its first trial.

    Args:
        device: Device of the worker.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._settings = [(get(), get, put) for get, put in _torch_settings()]
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._threads = {thread.ident for thread in threading.enumerate()}
        self._children = {child.pid for child in psutil.Process().children()}
        self._memory: int | None = None

    def restore(self) -> None:
        """Put back settings, environment and folder, and free what the last trial held."""
        for value, get, put in self._settings:
            if get() != value:
                put(value)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        if not self._folder_is_current():
            os.chdir(self._folder)
        if (dynamo := sys.modules.get("torch._dynamo")) is not None:
            dynamo.reset()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _folder_is_current(self) -> bool:
        try:
            return Path.cwd() == self._folder
        except FileNotFoundError:
            return False

    def recycle_reason(self) -> str | None:
        """What a finished trial left behind that only a new process gets rid of.

        Call it after :meth:`restore`. The first call sets the memory that later ones are held to.
        """
        threads = [t.name for t in threading.enumerate() if self._is_left(t)]
        if threads:
            return f"threads left running: {', '.join(threads)}"
        children = [c.pid for c in psutil.Process().children() if c.pid not in self._children]
        if children:
            return f"child processes left running: {children}"
        held = memory_bytes(self._device)
        if self._memory is None:
            self._memory = held
        growth = held - self._memory
        if growth > max(_MEMORY_GROWTH_BYTES, _MEMORY_GROWTH * self._memory):
            return f"memory grew by {growth / 2**20:.0f} MiB since the first trial"
        return None

    def _is_left(self, thread: threading.Thread) -> bool:
        # Daemon threads are those of libraries (pools, watchers); a loader's are joined by now.
        return thread.is_alive() and thread.ident not in self._threads and not thread.daemon
