"""Weights, buffers, optimizer and random state, kept so that trying things out changes nothing."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from ddp_sweep.training.states import State

__all__ = ["RandomState", "Snapshot"]


class RandomState:
    """State of the global generators of Python, numpy and torch that a rank draws from.

    Args:
        device: Of the rank. Of several GPUs that a process sees, the others are other ranks'.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._python = random.getstate()
        self._numpy: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]
        self._torch = torch.get_rng_state()
        self._gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @classmethod
    def of(cls, state: State, device: torch.device) -> RandomState:
        """The generators as :meth:`state_dict` had them.

        Args:
            state: Taken on a device of the same kind.
            device: Of the rank now, which may have another number by then.
        """
        random_state = cls.__new__(cls)
        random_state.device = device
        name, keys, *rest = state["numpy"]
        random_state._python = state["python"]
        random_state._numpy = (name, keys.numpy().astype(np.uint32), *rest)
        random_state._torch = state["torch"]
        random_state._gpu = state["gpu"]
        return random_state

    def state_dict(self) -> State:
        """The generators as plain values."""
        name, keys, *rest = self._numpy
        return {
            "python": self._python,
            # PyTorch's loader for weights knows no arrays of numpy.
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
            "torch": self._torch,
            "gpu": self._gpu,
        }

    def restore(self) -> None:
        """Put the generators back."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._gpu is not None:
            torch.cuda.set_rng_state(self._gpu, self.device)


class Snapshot:
    """The state of a fresh model and optimizer; :meth:`restore` brings it back in place.

    Args:
        model: The bare model.
        optimizer: Of its parameters.
        device: Of the rank.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, device: torch.device) -> None:
        self._model = model
        self._optimizer = optimizer
        # On the host: a copy on the device could be what a trial that fits does not fit beside.
        self._tensors = [tensor.detach().to("cpu", copy=True) for tensor in self._all_tensors()]
        self._optimizer_state = copy.deepcopy(optimizer.state_dict())
        self._random = RandomState(device)

    def _all_tensors(self) -> list[torch.Tensor]:
        return [*self._model.parameters(), *self._model.buffers()]

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back as it was; gradients are cleared."""
        for tensor, kept in zip(self._all_tensors(), self._tensors, strict=True):
            tensor.copy_(kept)
        self._optimizer.load_state_dict(self._optimizer_state)
        self._optimizer.zero_grad()
        self._random.restore()
