"""The quality metrics a sweep file may name: their direction and range.

A sweep file is checked by this table without a workload; whether the task at hand has the metric
is checked once the workload is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from ddp_sweep.spec.nearest import unknown_name

__all__ = [
    "CUSTOM_PREFIX",
    "METRICS",
    "Metric",
    "class_number",
    "class_problem",
    "floor_problem",
    "margin_problem",
    "split_class",
    "target_problem",
]

CUSTOM_PREFIX = "metric_"
"""What the names of the metrics that a workload declares begin with."""


@dataclass(frozen=True)
class Metric:
    """What is known about a metric before anything is measured."""

    higher_is_better: bool | None
    """None where only the workload knows."""
    low: float | None = None
    high: float | None = None
    allows_relative_margin: bool = False
    """True for positive metrics without an upper bound, where a ratio has a meaning."""


_SHARE = Metric(higher_is_better=True, low=0.0, high=1.0)
_ERROR = Metric(higher_is_better=False, low=0.0, allows_relative_margin=True)
_CUSTOM = Metric(higher_is_better=None, allows_relative_margin=True)

METRICS: Mapping[str, Metric] = {
    "train_loss": Metric(higher_is_better=False),
    "val_loss": Metric(higher_is_better=False, allows_relative_margin=True),
    "accuracy": _SHARE,
    "balanced_accuracy": _SHARE,
    "precision": _SHARE,
    "recall": _SHARE,
    "f1": _SHARE,
    "mcc": Metric(higher_is_better=True, low=-1.0, high=1.0),
    "auroc": _SHARE,
    "average_precision": _SHARE,
    "perplexity": Metric(higher_is_better=False, low=1.0, allows_relative_margin=True),
    "mae": _ERROR,
    "rmse": _ERROR,
    "r2": Metric(higher_is_better=True, high=1.0),
}
"""Every metric by name; those a workload declares are ``metric_<name>``."""

_PER_CLASS = ("recall", "precision")
_CLASS_OF = re.compile(r"(?P<metric>[^\[\]]+)\[(?P<class>[^\[\]]+)\]")


def split_class(name: str) -> tuple[str, str | None]:
    """Metric and class of the name of a margin or a floor.

    Examples:
        >>> split_class("recall[1]")
        ('recall', '1')
        >>> split_class("accuracy")
        ('accuracy', None)
    """
    match = _CLASS_OF.fullmatch(name)
    return (match["metric"], match["class"]) if match else (name, None)


def class_number(label: str, classes: Sequence[str]) -> int | None:
    """Number of the class that a margin or floor names: a name first, else a number.

    Examples:
        >>> class_number("fraud", ["fraud", "ok"]), class_number("1", ["fraud", "ok"])
        (0, 1)
        >>> class_number("2", ["fraud", "ok"]) is None
        True
    """
    if label in classes:
        return list(classes).index(label)
    number = int(label) if label.isdecimal() else len(classes)
    return number if number < len(classes) else None


def class_problem(name: str, classes: Sequence[str]) -> str | None:
    """What is wrong with the class in ``recall[fraud]``, in words; None if nothing is."""
    label = split_class(name)[1]
    if label is None or class_number(label, classes) is not None:
        return None
    wrong = f'this workload has no class "{label}": {unknown_name("class", label, classes)}'
    return f"{wrong}, or their numbers 0 to {len(classes) - 1}"


def target_problem(name: str, value: object) -> str | None:
    """What is wrong with a target ``name: value``, in words; None if nothing is."""
    metric = _find(name)
    if metric is None:
        return _unknown_metric(name)
    return _range_problem(metric, value)


def margin_problem(name: str, value: object) -> str | None:
    """What is wrong with a margin ``name: value``, in words; None if nothing is."""
    metric_name, of_class = split_class(name)
    if of_class is not None and metric_name not in _PER_CLASS:
        return _no_such_class_metric("margin", name)
    metric = _find(metric_name)
    if metric is None:
        return _unknown_metric(metric_name)
    if isinstance(value, str) and value.endswith("%") and not metric.allows_relative_margin:
        relative = ", ".join(key for key, known in METRICS.items() if known.allows_relative_margin)
        return (
            f"received {value}; relative margins are for {relative} and {CUSTOM_PREFIX}...; "
            f"give {name} an absolute margin such as 0.01"
        )
    bounded = metric.low is not None and metric.high is not None
    if bounded and _is_number(value) and value >= 1:
        return (
            f"received {value}; margins of {name} are absolute, above 0 and below 1: "
            "0.01 is one percentage point"
        )
    return None


def floor_problem(name: str, value: object) -> str | None:
    """What is wrong with a floor ``name: value``, in words; None if nothing is."""
    metric_name, of_class = split_class(name)
    if of_class is not None and metric_name not in _PER_CLASS:
        return _no_such_class_metric("floor", name)
    metric = _find(metric_name)
    if metric is None:
        return _unknown_metric(metric_name)
    if metric.higher_is_better is False:
        allowed = ", ".join(key for key, known in METRICS.items() if known.higher_is_better)
        return f"a floor is a least value, and {name} is better when lower; allowed: {allowed}"
    return _range_problem(metric, value)


def _no_such_class_metric(kind: str, name: str) -> str:
    return f'a {kind} for one class is written "recall[1]" or "precision[fraud]", not "{name}"'


def _find(name: str) -> Metric | None:
    if name.startswith(CUSTOM_PREFIX) and len(name) > len(CUSTOM_PREFIX):
        return _CUSTOM
    return METRICS.get(name)


def _unknown_metric(name: str) -> str:
    return unknown_name("metric", name, [*METRICS, f"{CUSTOM_PREFIX}<name>"])


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _range_problem(metric: Metric, value: object) -> str | None:
    if not _is_number(value):
        return None  # the type is the models' to judge
    if metric.low is not None and value < metric.low:
        return f"received {value}; allowed: at least {metric.low:g}"
    if metric.high is not None and value > metric.high:
        return f"received {value}; allowed: at most {metric.high:g}"
    return None
