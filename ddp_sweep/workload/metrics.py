"""Metrics that a workload declares beside those of its task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddp_sweep.errors import WorkloadError
from ddp_sweep.schema import METRIC_PREFIX

__all__ = ["Metric", "declared_metrics", "directions"]

_Score: TypeAlias = Callable[[NDArray[np.float64], NDArray[Any]], float]


@dataclass(frozen=True)
class Metric:
    """A figure of the whole validation set; its column is ``metric_<name>``.

    ``function(scores, targets)`` is called at every evaluation with what the model made of all
    validation samples, each once and in their order, whatever the number of workers:

    - Binary: probabilities of label 1, shape [samples], and labels.
    - Multiclass: probabilities, shape [samples, classes], and labels.
    - Regression: predicted values, shape [samples], and values.

    Both are numpy arrays, scores float64. A result that is no finite number is stored as unknown.
    """

    name: str
    higher_is_better: bool
    function: _Score

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z]\w*", self.name):
            raise ValueError(f"Metric({self.name!r}): a name of letters, digits and _ is needed")
        if not isinstance(self.higher_is_better, bool):
            raise ValueError(
                f"Metric({self.name!r}): higher_is_better={self.higher_is_better!r}; True or "
                "False is needed"
            )
        if not callable(self.function):
            raise ValueError(
                f"Metric({self.name!r}): function={self.function!r}; a function of (scores, "
                "targets) is needed"
            )

    @property
    def column(self) -> str:
        """Name of its column in the tables, and in targets, margins and floors."""
        return METRIC_PREFIX + self.name


def directions(metrics: Iterable[Metric]) -> dict[str, bool]:
    """Columns of metrics, and whether higher is better in each."""
    return {metric.column: metric.higher_is_better for metric in metrics}


def declared_metrics(workload: object) -> tuple[Metric, ...]:
    """The metrics a workload declares.

    Raises:
        WorkloadError: ``metrics`` is no list of `Metric`, or a name occurs twice.
    """
    metrics = getattr(workload, "metrics", ())
    if not isinstance(metrics, list | tuple):
        raise WorkloadError(
            f"metrics: expected a list of ddp_sweep.Metric, got an object of type "
            f"{type(metrics).__name__}"
        )
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise WorkloadError(
                f"metrics: expected ddp_sweep.Metric(name, higher_is_better, function), got "
                f"{metric!r} in the list"
            )
    names = [metric.name for metric in metrics]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WorkloadError(f"metrics: declared more than once: {', '.join(twice)}")
    return tuple(metrics)
