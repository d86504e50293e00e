"""All that a training goes on from: what a checkpoint holds of it, and how it is put back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ddp_sweep.training.context import TrialContext
from ddp_sweep.training.integrity import DrawCounter
from ddp_sweep.training.memory import PeakMemory
from ddp_sweep.training.optimization import LearningRate
from ddp_sweep.training.power import PowerMeter
from ddp_sweep.training.replicas import ReplicaChecks
from ddp_sweep.training.snapshot import RandomState
from ddp_sweep.training.states import State
from ddp_sweep.training.timing import SynchronizationClock

__all__ = ["TrainingState"]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state of a training on one rank; what it refers to changes with every step.

    A checkpoint holds it in two parts. One is the same on all ranks: weights, optimizer, learning
    rate, position, evaluations. The other is each rank's own: buffers (running statistics differ
    between ranks), random generators, clocks and what was recorded.
    """

    model: nn.Module
    """The bare model."""
    optimizer: Optimizer
    rate: LearningRate
    context: TrialContext
    draws: DrawCounter
    replicas: ReplicaChecks
    peak: PeakMemory
    power: PowerMeter
    """Of this rank's device."""
    device: torch.device
    """Of the rank."""
    synchronization: SynchronizationClock | None
    """None where it is not measured."""

    def common_state(self) -> State:
        """The part that is the same on all ranks."""
        return {
            "parameters": _on_the_host(self.model.named_parameters()),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "context": self.context.state_dict(),
        }

    def own_state(self) -> State:
        """The part of this rank."""
        waits = self.synchronization
        return {
            "buffers": _on_the_host(self.model.named_buffers()),
            "random": RandomState(self.device).state_dict(),
            "clock": self.context.clock.state_dict(),
            "losses": self.context.losses.state_dict(),
            "recorder": self.context.recorder.state_dict(),
            "draws": self.draws.state_dict(),
            "replicas": self.replicas.state_dict(),
            "power": self.power.state_dict(),
            "peak_memory_bytes": self.peak.largest_bytes,
            "synchronization": None if waits is None else waits.state_dict(),
        }

    def restore(self, common: State, own: State) -> None:
        """Put everything back as it was; the random generators last."""
        _copy_into(self.model.named_parameters(), common["parameters"])
        _copy_into(self.model.named_buffers(), own["buffers"])
        self.optimizer.load_state_dict(common["optimizer"])
        self.rate.load_state_dict(common["rate"])
        self.context.load_state_dict(common["context"])
        self.context.clock.load_state_dict(own["clock"])
        self.context.losses.load_state_dict(own["losses"])
        self.context.recorder.load_state_dict(own["recorder"])
        self.draws.load_state_dict(own["draws"])
        self.replicas.load_state_dict(own["replicas"])
        self.power.load_state_dict(own["power"])
        self.peak.largest_bytes = own["peak_memory_bytes"]
        if self.synchronization is not None:
            self.synchronization.load_state_dict(own["synchronization"])
        RandomState.of(own["random"], self.device).restore()


def _on_the_host(named: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu") for name, tensor in named}


@torch.no_grad()
def _copy_into(named: Iterator[tuple[str, Tensor]], kept: dict[str, Tensor]) -> None:
    for name, tensor in named:
        tensor.copy_(kept[name])
