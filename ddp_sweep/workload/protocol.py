"""What a user writes: the members of a workload and what they return.

A workload is any class with the four members of :class:`Workload`; no base class is needed. It
knows nothing of Ray, of DDP or of this tool's training loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn
from torch.utils.data import Dataset

from ddp_sweep.workload.tasks import Task

__all__ = ["EvaluationOutput", "LossSum", "Workload", "WorkloadFactory"]


@dataclass(frozen=True)
class LossSum:
    """Loss of a batch as a sum and the weight it is to be divided by.

    The gradient of an optimizer step is the sum of ``total`` over the whole global batch divided
    by the sum of ``weight`` over it, whatever the number of workers.
    """

    total: Tensor
    """Sum of the weighted losses, a scalar with gradient."""
    weight: Tensor | float
    """Sum of the weights: samples, class weights; of a language model the tokens that count."""


@dataclass(frozen=True)
class EvaluationOutput:
    """What a model made of one validation batch.

    Attributes:
        loss_sum: Sum of the weighted losses, a scalar.
        weight: Sum of the weights; of a language model the number of tokens that count.
        targets: Labels or values, shape [batch]; of a language model anything with one row a
            sample.
        scores: Probabilities. Binary: of label 1, shape [batch]. Multiclass: [batch, classes].
        predictions: Labels or values, shape [batch]; derived from ``scores`` where not given.
    """

    loss_sum: Tensor
    weight: Tensor | float
    targets: Tensor
    scores: Tensor | None = None
    predictions: Tensor | None = None


class Workload(Protocol):
    """The four members every workload has.

    Optional members, used where present:

    - ``prepare()``: download, unpack. Called once on each node whenever workers start, by one
      process while the others wait, on an object of its own; leave the outcome on the disk and
      return soon where it is there already.
    - ``training_step(model, batch) -> LossSum``: other batches than (inputs, targets), other
      outputs than a tensor, weights, a loss in training only. The model may be one under DDP:
      call it, and reach for nothing else of it.
    - ``evaluation_step(model, batch) -> EvaluationOutput``: the same at evaluation.
    - ``build_optimizer(model, learning_rate) -> Optimizer``: the rate is the scaled one; the
      schedule multiplies the rate of each parameter group.
    - ``build_scheduler(optimizer, total_steps)``: its ``step()`` is called after every step.
    - ``collate(samples) -> batch``: of the training and of the validation set.
    - ``augment(sample, generator) -> sample``: of the training set alone. Take all chance from
      the ``torch.Generator``: it depends on the trial's seed, the epoch and the sample, so the
      batches are the same whatever the number of workers and of loading processes.
    - ``metrics``: a list of `Metric`.
    - ``describe() -> dict[str, str]``: lines for the page of ``ddp-sweep try``, text by label.
    """

    @property
    def task(self) -> Task:
        """What is to be predicted; a plain attribute will do."""
        ...

    def build_model(self) -> nn.Module:
        """A fresh model; global generators are seeded with the trial's seed beforehand."""
        ...

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        """Training and validation data, map-style; the split never depends on a trial's seed."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses of the samples, shape [batch]; no mean, no sum.

        Of a language model those of the tokens, [batch, time] or flattened.
        """
        ...


WorkloadFactory: TypeAlias = Callable[..., Workload]
"""A workload class, or a function that returns a workload; called with ``workload_options``."""
