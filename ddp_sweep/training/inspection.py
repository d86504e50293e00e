"""Looks a workload over before anything is started: members, data, labels, one small batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ddp_sweep.errors import SpecError, WorkloadError
from ddp_sweep.spec import DataSettings, Json, SweepSpec
from ddp_sweep.training.batch_steps import evaluation_step, training_step
from ddp_sweep.training.batches import Indices
from ddp_sweep.training.isolation import seed_everything
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.step_checks import check_labels
from ddp_sweep.workload import (
    Binary,
    LanguageModel,
    Multiclass,
    Regression,
    Task,
    Workload,
    WorkloadFactory,
    user_traceback,
)

__all__ = ["WorkloadFacts", "inspect_for", "inspect_workload"]

_REQUIRED = ("task", "build_model", "build_data", "loss")
_NOT_YET = ("augment", "metrics", "prepare")
_PROBE_SAMPLES = 4
_REPLACES = {
    "build_optimizer": ("optimizer", "weight_decay"),
    "build_scheduler": ("schedule", "warmup_fraction"),
}
"""Settings of ``training`` that a member of the workload takes the place of."""


@dataclass(frozen=True)
class WorkloadFacts:
    """What a plan needs to know of a workload.

    Attributes:
        task: Names the metrics.
        train_samples: Size of the training set.
        validation_samples: Size of the validation set.
        replaced_settings: Keys of ``training`` that the workload's own members make void.
    """

    task: Task
    train_samples: int
    validation_samples: int
    replaced_settings: tuple[str, ...] = ()


def inspect_workload(factory: WorkloadFactory, options: Mapping[str, Json]) -> WorkloadFacts:
    """Build a workload's data and model and put one small batch through both steps, on the CPU.

    Raises:
        WorkloadError: A member is missing, raises, or returns something else than it should; the
            message names the member, what was expected and what came.
    """
    workload = _called("the workload", lambda: factory(**options))
    _check_members(workload)
    seed_everything(0)
    train, validation = _data(workload)
    model = _called("build_model", workload.build_model)
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"build_model: expected a torch.nn.Module, got an object of type "
            f"{type(model).__name__}"
        )
    _try_batch(workload, model, train, validation)
    replaced = [
        key for member, keys in _REPLACES.items() if hasattr(workload, member) for key in keys
    ]
    return WorkloadFacts(
        workload.task,
        len(train),  # type: ignore[arg-type]
        len(validation),  # type: ignore[arg-type]
        tuple(replaced),
    )


def inspect_for(
    spec: SweepSpec, factory: WorkloadFactory, options: Mapping[str, Json]
) -> WorkloadFacts:
    """Look a workload over and check that it yields and heeds what a sweep file asks for.

    Raises:
        WorkloadError: As :func:`inspect_workload` does.
        SpecError: A metric is named that the task lacks, or an axis is swept that the workload's
            own optimizer or scheduler makes void.
    """
    facts = inspect_workload(factory, options)
    spec.require_metrics(facts.task.metrics)
    void = [key for key in facts.replaced_settings if key in spec.sweep.axes]
    if void:
        raise SpecError(
            [
                spec.problem(
                    ("sweep", key),
                    "this axis would change nothing: the workload builds its own optimizer or "
                    "scheduler; sweep a workload_options.<name> that it reads instead",
                )
                for key in void
            ]
        )
    return facts


def _called(member: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The result of a user's function; its error with the user's part of the traceback."""
    try:
        return call()
    except WorkloadError:
        raise
    except Exception as error:
        raise WorkloadError(f"{member} raised an error:\n{user_traceback(error)}") from error


def _check_members(workload: Workload) -> None:
    missing = [name for name in _REQUIRED if not hasattr(workload, name)]
    # A training_step of one's own makes `loss` superfluous if evaluation has its own as well.
    if hasattr(workload, "training_step") and hasattr(workload, "evaluation_step"):
        missing = [name for name in missing if name != "loss"]
    if missing:
        raise WorkloadError(
            f"{type(workload).__name__} lacks {', '.join(missing)}; a workload has "
            f"{', '.join(_REQUIRED)}"
        )
    if not isinstance(workload.task, Binary | Multiclass | Regression | LanguageModel):
        raise WorkloadError(
            "task: expected Binary(...), Multiclass(...), Regression() or LanguageModel() from "
            f"ddp_sweep, got {workload.task!r}"
        )
    unsupported = [name for name in _NOT_YET if hasattr(workload, name)]
    if unsupported:
        raise WorkloadError(
            f"{type(workload).__name__} has {', '.join(unsupported)}, which this version does not "
            "use yet; remove it, so that nothing is left out without being seen"
        )


def _data(workload: Workload) -> tuple[Dataset[Any], Dataset[Any]]:
    data = _called("build_data", workload.build_data)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise WorkloadError(
            f"build_data: expected (training set, validation set), got an object of type "
            f"{type(data).__name__}"
        )
    for name, dataset in zip(("training", "validation"), data, strict=True):
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise WorkloadError(
                f"build_data: the {name} set is iterable ({type(dataset).__name__}); a map-style "
                "data set with __getitem__ and __len__ is needed, since the same samples must "
                "reach the workers in the same order whatever their number"
            )
        if not hasattr(dataset, "__len__"):
            raise WorkloadError(
                f"build_data: the {name} set ({type(dataset).__name__}) has no __len__"
            )
        if len(dataset) == 0:
            raise WorkloadError(f"build_data: the {name} set is empty")
    return data[0], data[1]


def _try_batch(
    workload: Workload, model: nn.Module, train: Dataset[Any], validation: Dataset[Any]
) -> None:
    device = torch.device("cpu")
    settings = DataSettings()
    for dataset in (train, validation):
        _check_all_labels(workload.task, dataset)
    source = BatchSource(train, workload, settings, device)
    batch = _called("the training set", lambda: source.fetch(_first_few(len(source))))
    step = training_step(workload, device, "float32")
    result = _called("training on a small batch", lambda: step(model.train(), batch))
    if not result.total.requires_grad:
        raise WorkloadError(
            "the training loss has no gradient: does the model have trainable parameters, and "
            "does the loss come from its outputs?"
        )
    source = BatchSource(validation, workload, settings, device)
    batch = _called("the validation set", lambda: source.fetch(_first_few(len(source))))
    evaluate = evaluation_step(workload, device, "float32", 0.5)
    with torch.no_grad():
        _called("evaluating a small batch", lambda: evaluate(model.eval(), batch))


def _first_few(samples: int) -> Indices:
    return np.arange(min(_PROBE_SAMPLES, samples))


def _check_all_labels(task: Task, dataset: Dataset[Any]) -> None:
    """Check every label where they are in memory; others are checked as they are evaluated."""
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        labels = dataset.tensors[1]
        if isinstance(labels, Tensor):
            check_labels(task, labels)
