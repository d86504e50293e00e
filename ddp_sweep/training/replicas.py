"""Are the replicas of a model equal on all ranks, and if not: which tensors, and how far apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ddp_sweep.schema import REPLICAS_DIFFER
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.states import State

__all__ = ["ReplicaChecks"]

_MOST_NAMES = 20


@dataclass
class ReplicaChecks:
    """Compares the replicas of a model now and then and keeps the largest difference seen.

    A check sends two sums for each tensor; only tensors whose sums differ are compared in full.
    """

    model: nn.Module
    """The bare model."""
    ranks: Ranks
    parameters: dict[str, float] = field(default_factory=dict)
    """Parameters that differed, each with the largest absolute difference between two ranks."""
    buffers: dict[str, float] = field(default_factory=dict)
    """The same for buffers, but for the running statistics of normalization: every rank computes
    those from its own samples, and evaluation takes rank 0's."""
    unknown: bool = False
    """A parameter was no finite number, so that its replicas could not be compared."""

    @torch.no_grad()
    def check(self, *, with_buffers: bool = False) -> None:
        """Compare; every rank calls it at the same point.

        Args:
            with_buffers: Also buffers. DDP overwrites them with rank 0's before each forward pass.
        """
        if self.ranks.group is None:
            return
        named = dict(self.model.named_parameters())
        finite = all(bool(parameter.isfinite().all()) for parameter in named.values())
        if self.ranks.smallest(float(finite)) == 0.0:
            self.unknown = True
            return
        _keep_largest(self.parameters, self._differences(named))
        if with_buffers:
            _keep_largest(self.buffers, self._differences(_own_buffers(self.model)))

    @property
    def divergence(self) -> float | None:
        """Largest absolute difference of a parameter; None where nothing is known."""
        if not self.parameters:
            return None if self.unknown else 0.0
        return max(self.parameters.values())

    @property
    def detail(self) -> str | None:
        """What differs, as it stands in the row of the trial; None where nothing does."""
        if not self.parameters and not self.buffers:
            return None
        text = json.dumps(
            {"parameters": _largest(self.parameters), "buffers": _largest(self.buffers)}
        )
        return REPLICAS_DIFFER + text

    def state_dict(self) -> State:
        """What was found so far."""
        return {
            "parameters": dict(self.parameters),
            "buffers": dict(self.buffers),
            "unknown": self.unknown,
        }

    def load_state_dict(self, state: State) -> None:
        """Add what was found before."""
        _keep_largest(self.parameters, state["parameters"])
        _keep_largest(self.buffers, state["buffers"])
        self.unknown = self.unknown or state["unknown"]

    def _differences(self, named: Mapping[str, Tensor]) -> dict[str, float]:
        if not named:
            return {}
        sums = torch.stack([_fingerprint(tensor) for tensor in named.values()])
        sums = sums.to(self.ranks.device)
        high, low = self.ranks.max_(torch.stack([sums, -sums]))
        unequal = (high != -low).any(dim=1).tolist()
        found = {}
        for (name, tensor), differs in zip(named.items(), unequal, strict=True):
            if differs:
                values = tensor.detach().flatten().double()
                most, least = self.ranks.max_(torch.stack([values, -values]))
                if (gap := float((most + least).max())) > 0:
                    found[name] = gap
        return found


def _fingerprint(tensor: Tensor) -> Tensor:
    """Sum and norm: where two replicas have been rounded alike, they are equal."""
    values = tensor.detach().flatten()
    if not values.is_floating_point():
        values = values.double()
    total = values.sum(dtype=torch.float64)
    return torch.stack([total, torch.linalg.vector_norm(values, dtype=torch.float64)])


def _own_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers but for those of normalization layers."""
    found = {}
    for prefix, module in model.named_modules():
        if isinstance(module, _NormBase):
            continue
        for name, buffer in module.named_buffers(recurse=False):
            found[f"{prefix}.{name}" if prefix else name] = buffer
    return found


def _keep_largest(kept: dict[str, float], found: Mapping[str, float]) -> None:
    for name, gap in found.items():
        kept[name] = max(gap, kept.get(name, 0.0))


def _largest(gaps: Mapping[str, float]) -> dict[str, float]:
    ordered: Iterable[tuple[str, float]] = sorted(gaps.items(), key=lambda pair: -pair[1])
    return dict(list(ordered)[:_MOST_NAMES])
