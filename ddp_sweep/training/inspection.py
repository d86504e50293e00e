"""Looks a workload over before anything is started: members, data, labels, one small batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from ddp_sweep.errors import SpecError, WorkloadError
from ddp_sweep.spec import DataSettings, Json, SweepSpec, canonical_json
from ddp_sweep.spec.metrics import split_class
from ddp_sweep.spec.nearest import unknown_name
from ddp_sweep.training.first_batch import try_members
from ddp_sweep.training.isolation import seed_everything
from ddp_sweep.training.label_counts import class_counts
from ddp_sweep.training.members import called, check_members, naming_errors
from ddp_sweep.training.step_checks import listed
from ddp_sweep.workload import (
    Task,
    Workload,
    WorkloadFactory,
    class_names,
    declared_metrics,
    directions,
)

__all__ = ["Inspected", "WorkloadFacts", "directions_of_all", "inspect_for", "inspect_workload"]

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
        declared: Columns of the metrics that it declares; whether higher is better.
        unused_parameters: Trainable parameters that one small batch gave no gradient.
        validation_class_counts: Validation samples of each class; None where the labels are not
            in memory, or there are no classes.
    """

    task: Task
    train_samples: int
    validation_samples: int
    replaced_settings: tuple[str, ...] = ()
    declared: Mapping[str, bool] | None = None
    unused_parameters: tuple[str, ...] = ()
    validation_class_counts: tuple[int, ...] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that the workload yields."""
        return (*self.task.metrics, *(self.declared or {}))


def inspect_workload(
    factory: WorkloadFactory,
    options: Mapping[str, Json],
    data: DataSettings | None = None,
    *,
    loading_processes: bool = False,
    resumable: bool = False,
) -> WorkloadFacts:
    """Build a workload's data and model and put one small batch through both steps, on the CPU.

    Args:
        factory: Makes the workload.
        options: Its options.
        data: How samples will be loaded; as by default if None.
        loading_processes: Whether processes of their own will load them.
        resumable: Whether trials are to go on from checkpoints.

    Raises:
        WorkloadError: A member is missing, raises, or returns something else than it should; the
            message names the member, what was expected and what came.
    """
    _check_options(factory, options)
    plain: Workload = called("the workload itself", lambda: factory(**options))
    check_members(plain)
    workload = naming_errors(plain)
    declared = directions(declared_metrics(workload))
    if hasattr(workload, "prepare"):
        workload.prepare()
    seed_everything(0)
    train, validation = _data(workload)
    unused = try_members(
        workload,
        train,
        validation,
        data or DataSettings(),
        loading_processes=loading_processes,
        resumable=resumable,
    )
    replaced = [
        key for member, keys in _REPLACES.items() if hasattr(workload, member) for key in keys
    ]
    return WorkloadFacts(
        workload.task,
        len(train),  # type: ignore[arg-type]
        len(validation),  # type: ignore[arg-type]
        tuple(replaced),
        declared,
        unused,
        class_counts(workload.task, validation),
    )


def inspect_for(
    spec: SweepSpec, factory: WorkloadFactory, options: Mapping[str, Json]
) -> WorkloadFacts:
    """Look a workload over and check that it yields and heeds what a sweep file asks for.

    Raises:
        WorkloadError: As :func:`inspect_workload` does; or a parameter is never used, which
            several workers would wait for.
        SpecError: A metric or class is named that the workload lacks, or an axis is swept that the
            workload's own optimizer or scheduler makes void.
    """
    facts = inspect_workload(
        factory,
        options,
        spec.data,
        loading_processes=_has_loading_processes(spec),
        resumable=spec.resources.checkpoint_every_s is not None,
    )
    spec.require_metrics(facts.metrics, class_names(facts.task))
    _check_floors(spec, facts)
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
    _check_unused(spec, facts.unused_parameters)
    return facts


class Inspected:
    """Looks each variant of a workload over once, however often it is asked.

    Args:
        spec: The sweep file.
        factory: Makes the workload.
    """

    def __init__(self, spec: SweepSpec, factory: WorkloadFactory) -> None:
        self._spec, self._factory = spec, factory
        self._facts: dict[str, WorkloadFacts] = {}

    @property
    def all(self) -> tuple[WorkloadFacts, ...]:
        """What was found so far, a variant each."""
        return tuple(self._facts.values())

    def __call__(self, options: Mapping[str, Json]) -> WorkloadFacts:
        """What :func:`inspect_for` finds for these options."""
        key = canonical_json(dict(options))
        if key not in self._facts:
            self._facts[key] = inspect_for(self._spec, self._factory, options)
        return self._facts[key]


def directions_of_all(variants: Iterable[WorkloadFacts]) -> dict[str, bool]:
    """Columns of the metrics that any variant of a workload declares.

    Raises:
        WorkloadError: Two variants disagree on whether higher is better.
    """
    found: dict[str, bool] = {}
    for facts in variants:
        for name, higher_is_better in (facts.declared or {}).items():
            if found.setdefault(name, higher_is_better) != higher_is_better:
                raise WorkloadError(
                    f"metrics: for {name} higher is better with some workload_options and lower "
                    "with others; give it two names"
                )
    return found


def _has_loading_processes(spec: SweepSpec) -> bool:
    workers = spec.data.loader_workers
    return spec.resources.device == "gpu" if workers == "auto" else workers > 0


def _check_floors(spec: SweepSpec, facts: WorkloadFacts) -> None:
    problems = [
        spec.problem(
            ("quality", "floors", name),
            "a floor is a least value, and the workload says that this metric is better when "
            "lower; give it a margin instead",
        )
        for name in spec.quality.floors
        if (facts.declared or {}).get(split_class(name)[0]) is False
    ]
    if problems:
        raise SpecError(problems)


def _check_unused(spec: SweepSpec, unused: tuple[str, ...]) -> None:
    ddp = spec.training.ddp
    world_sizes = [size for size in spec.sweep.world_size if size > 1]
    if not unused or not world_sizes or ddp.find_unused_parameters or ddp.static_graph:
        return
    raise WorkloadError(
        f"build_model: {listed(unused)} got no gradient from the first batch, and several workers "
        "would wait for it; freeze them with requires_grad_(False), or set "
        "training.ddp.find_unused_parameters: true"
    )


def _check_options(factory: WorkloadFactory, options: Mapping[str, Json]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        name = getattr(factory, "__name__", "the workload")
        wrong = _option_problem(signature, options) or str(error)
        raise WorkloadError(f"workload_options: {name}: {wrong}") from None


def _option_problem(signature: inspect.Signature, options: Mapping[str, Json]) -> str | None:
    """What is wrong with the names of options, in a sweep file's words."""
    known = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    for name in options:
        if name not in known:
            return f"{name}: {unknown_name('option', name, known or ['none'])}"
    missing = [
        name
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in options
    ]
    if not missing:
        return None
    return f"{', '.join(missing)} must be given; the options it takes: {', '.join(known)}"


def _data(workload: Workload) -> tuple[Dataset[Any], Dataset[Any]]:
    data = workload.build_data()
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
