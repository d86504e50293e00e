"""Puts one small batch through every member of a workload, and says which of them is at fault."""

from __future__ import annotations

import math
from functools import partial
from multiprocessing import get_start_method
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import DataSettings, TrainingSettings
from ddp_sweep.training.batch_steps import evaluation_step, training_step
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.members import called
from ddp_sweep.training.metrics import declared_value
from ddp_sweep.training.model import check_model
from ddp_sweep.training.optimization import build_optimizer, build_scheduler, check_resumable
from ddp_sweep.training.step_checks import (
    check_labels,
    check_probabilities,
    check_tokens,
    describe,
    describe_batch,
    refuse_none,
    with_label_kind,
)
from ddp_sweep.training.suspicions import warn_of_mean, warn_of_unseeded_chance
from ddp_sweep.workload import (
    Binary,
    EvaluationOutput,
    LanguageModel,
    LossSum,
    Multiclass,
    Task,
    Workload,
    declared_metrics,
)

__all__ = ["try_members"]

_SAMPLES = 4
_CPU = torch.device("cpu")
_STEPS = 100
"""Length of a training for the sake of a scheduler."""


class _NamedModel(nn.Module):
    """A model whose errors say that they are the model's.

    Args:
        model: What the user built.
        task: Its task.
        batch: The batch that it will be given.
    """

    def __init__(self, model: nn.Module, task: Task, batch: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._model = model
        self._task = task
        self._batch = batch

    def forward(self, inputs: Any) -> Any:  # noqa: ANN401 - whatever the user's model takes
        targets = self._batch[1]
        # Of training, soft labels are nobody's fault; validation counts classes.
        whole = not (self._model.training and targets.is_floating_point())
        if whole and targets.dim() > 0:
            check_labels(self._task, targets)
        outputs = called("the model", lambda: self._model(inputs), (inputs,))
        # Before the loss, which on a GPU would end the whole process.
        if isinstance(self._task, LanguageModel) and isinstance(outputs, Tensor):
            check_tokens(self._task, targets, outputs.shape[-1])
        return outputs


def try_members(
    workload: Workload,
    train: Dataset[Any],
    validation: Dataset[Any],
    data: DataSettings,
    *,
    loading_processes: bool,
    resumable: bool = False,
) -> tuple[str, ...]:
    """Train on one small batch, evaluate another, on the CPU.

    Args:
        workload: Its members are to name themselves in their errors.
        train: Training set.
        validation: Validation set.
        data: How samples will be loaded.
        loading_processes: Whether processes of their own will load them.
        resumable: Whether trials are to go on from checkpoints.

    Returns:
        Names of the parameters that require a gradient and got none.

    Raises:
        WorkloadError: A member returned something else than it should.
    """
    task = workload.task
    # By this process, whatever loads them later: its errors come from the member itself.
    data = data.model_copy(update={"loader_workers": 0})
    for dataset in (train, validation):
        _check_all_labels(task, dataset)
    model = workload.build_model()
    check_model(model)
    batch = _first_batch(workload, train, "training", data, loading_processes, augment=True)
    held_out = _first_batch(workload, validation, "validation", data, loading_processes)
    warn_of_unseeded_chance(workload, train)
    warn_of_mean(workload, model, train, data, min(_SAMPLES, len(train)))  # type: ignore[arg-type]
    output = _evaluate(workload, model, held_out, min(_SAMPLES, len(validation)))  # type: ignore[arg-type]
    total = _train(workload, model, batch)
    unused = _check_gradients(model, total)
    _try_optimizer(workload, model, resumable)
    _try_metrics(workload, output, len(validation))  # type: ignore[arg-type]
    return unused


def _first_batch(
    workload: Workload,
    dataset: Dataset[Any],
    name: str,
    settings: DataSettings,
    loading_processes: bool,
    *,
    augment: bool = False,
) -> Any:  # noqa: ANN401 - a batch is what the user makes it
    seed = 0 if augment else None
    source = BatchSource(dataset, workload, settings, _CPU, augmentation_seed=seed)
    few = np.arange(min(_SAMPLES, len(source)))
    where = f"the {name} set ({type(dataset).__name__})"
    sample = called(where, lambda: dataset[0])
    refuse_none(where, sample, in_parts=not hasattr(workload, "collate"))
    batch = called(f"{where}: putting {len(few)} samples into a batch", lambda: source.fetch(few))
    if batch is None:
        raise WorkloadError("collate: returned None; does it end with `return`?")
    _check_finite_inputs(batch, name)
    if loading_processes and type(dataset) is not TensorDataset:
        _check_picklable(batch, dataset, where)
    return batch


def _check_picklable(batch: Any, dataset: Dataset[Any], where: str) -> None:  # noqa: ANN401
    things = {"a batch": batch}
    if get_start_method() != "fork":
        things["it"] = dataset
    for what, thing in things.items():
        try:
            ForkingPickler.dumps(thing)
        except Exception as error:
            raise WorkloadError(
                f"{where}: {what} cannot be sent between processes ({error}), which "
                "data.loader_workers needs; make it of tensors and plain Python values, or set "
                "data.loader_workers: 0"
            ) from error


def _check_finite_inputs(batch: Any, name: str) -> None:  # noqa: ANN401
    inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(inputs, Tensor) and inputs.is_floating_point() and not inputs.isfinite().all():
        raise WorkloadError(
            f"build_data: the inputs of the first samples of the {name} set hold NaN or infinity; "
            "fill in missing values before training"
        )


def _train(workload: Workload, model: nn.Module, batch: Any) -> Tensor:  # noqa: ANN401
    """Sum of the losses of the batch, with gradient."""
    own = hasattr(workload, "training_step")
    step = training_step(workload, _CPU, "float32")
    model.train()
    named = _NamedModel(model, workload.task, batch)
    result: LossSum = step(model if own else named, batch)
    where = "training_step: LossSum.total" if own else "loss"
    _check_finite(where, result.total, batch)
    weight = float(torch.as_tensor(result.weight).detach())
    if not weight > 0 or not math.isfinite(weight):
        _check_not_all_ignored(workload, "training", own=own)
        raise WorkloadError(
            f"training_step: LossSum.weight is {weight:g} for the first {_SAMPLES} samples; "
            "expected the number of samples, or the sum of their weights, above 0"
        )
    return result.total


def _check_not_all_ignored(workload: Workload, name: str, *, own: bool) -> None:
    """Name the cause of a weight of 0 in a batch whose tokens were counted here."""
    task = workload.task
    if isinstance(task, LanguageModel) and not own:
        raise WorkloadError(
            f"build_data: every target of the first samples is {task.ignore_index} (ignored) in "
            f"the {name} set, so they have no loss; mark only padding and prompts with it"
        )


def _check_finite(where: str, total: Any, batch: Any) -> None:  # noqa: ANN401
    value = float(torch.as_tensor(total).detach())
    if not math.isfinite(value):
        raise WorkloadError(
            f"{where}: the loss of an untrained model on the first samples is {value}; expected a "
            f"finite number. The batch was {describe_batch(batch)}; look for a logarithm or a "
            "division of 0"
        )


def _check_gradients(model: nn.Module, total: Tensor) -> tuple[str, ...]:
    if not total.requires_grad:
        raise WorkloadError(
            "the training loss has no gradient: does it come from the model's outputs, without "
            "detach(), item() or no_grad()?"
        )
    model.zero_grad()
    called("the backward pass", total.backward)
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    unused = tuple(name for name, parameter in trainable if parameter.grad is None)
    if len(unused) == len(trainable):
        raise WorkloadError(
            "no trainable parameter of build_model's model has a gradient after the backward "
            "pass: does the loss come from this model's outputs?"
        )
    return unused


def _try_optimizer(workload: Workload, model: nn.Module, resumable: bool) -> None:
    # Rates and lengths are of no account here.
    settings = TrainingSettings(epochs=1, learning_rate=1e-3)
    optimizer: Optimizer = build_optimizer(workload, model, settings, 1e-3)
    # Before the first step, as in a training: PyTorch's own ones warn of anything else.
    scheduler = build_scheduler(workload, optimizer, _STEPS)
    called("optimizer.step()", optimizer.step)
    if scheduler is not None:
        called("build_scheduler: step() of what it returned, without arguments,", scheduler.step)
    if resumable:
        check_resumable(optimizer, scheduler)


def _evaluate(
    workload: Workload,
    model: nn.Module,
    batch: Any,  # noqa: ANN401
    samples: int,
) -> EvaluationOutput:
    own = hasattr(workload, "evaluation_step")
    step = evaluation_step(workload, _CPU, "float32", 0.5)
    model.eval()
    named = _NamedModel(model, workload.task, batch)
    with torch.no_grad():
        try:
            output: EvaluationOutput = step(model if own else named, batch)
        except WorkloadError as error:
            raise with_label_kind(workload.task, batch, error) from error
    where = "evaluation_step: EvaluationOutput"
    if own and len(output.targets) != samples:
        raise WorkloadError(
            f"{where}.targets has {len(output.targets)} rows for a batch of {samples} samples; "
            "expected one a sample"
        )
    if own and output.scores is not None:
        check_probabilities(workload.task, output.scores)
    _check_finite(f"{where}.loss_sum" if own else "loss", output.loss_sum, batch)
    if not float(output.weight) > 0:
        _check_not_all_ignored(workload, "validation", own=own)
        raise WorkloadError(f"{where}.weight is {float(output.weight):g}; expected above 0")
    return output


def _try_metrics(workload: Workload, output: EvaluationOutput, samples: int) -> None:
    """Call each declared metric with scores of an untrained model, of the right number."""
    metrics = declared_metrics(workload)
    task = workload.task
    if metrics and isinstance(task, LanguageModel):
        raise WorkloadError("metrics: a LanguageModel task has no scores to compute metrics from")
    scores, targets = _made_up(task, output, samples)
    for metric in metrics:
        call = partial(declared_value, metric, scores, targets)
        called(f"metrics: the function of {metric.name}", call, (scores, targets))


def _made_up(task: Task, output: EvaluationOutput, samples: int) -> tuple[Any, Any]:
    # Every class occurs, which the first few real samples need not show.
    random = np.random.default_rng(0)
    if isinstance(task, Binary):
        return random.uniform(size=samples), np.arange(samples) % 2
    if isinstance(task, Multiclass):
        scores = random.dirichlet(np.ones(task.num_classes), samples)
        return scores, np.arange(samples) % task.num_classes
    if output.predictions is None:
        return None, None
    values, targets = output.predictions.double().numpy(), output.targets.double().numpy()
    return np.resize(values, samples), np.resize(targets, samples)


def _check_all_labels(task: Task, dataset: Dataset[Any]) -> None:
    """Check every label where they are in memory; others are checked as they are evaluated."""
    if type(dataset) is not TensorDataset or len(dataset.tensors) != 2:
        return
    labels = dataset.tensors[1]
    if isinstance(labels, Tensor):
        check_labels(task, labels)
        if labels.is_floating_point() and not labels.isfinite().all():
            raise WorkloadError(f"build_data: targets hold NaN or infinity: {describe(labels)}")
