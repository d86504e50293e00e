"""Names and figures as people read them."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from ddp_sweep.analysis.metrics import COST_METRICS, Margin
from ddp_sweep.analysis.tables.foreign_status import FAILED
from ddp_sweep.schema import Status

__all__ = [
    "ENDED",
    "count",
    "difference_text",
    "margin_text",
    "metric_name",
    "ratio",
    "read_parameters",
    "short_difference_text",
    "whole",
]

ENDED: dict[str, str] = {
    Status.OUT_OF_MEMORY: "ran out of memory",
    Status.DIVERGED: "diverged",
    Status.TIMED_OUT: "ran out of time",
    Status.INFEASIBLE: "could not be run",
    Status.WORKLOAD_ERROR: "stopped on an error in the workload",
    Status.WORKER_DIED: "lost a worker",
    Status.NODE_LOST: "lost a node",
    Status.INTERRUPTED: "were interrupted",
    FAILED: "failed",
}
"""How runs ended, after their number."""


def count(number: int, noun: str) -> str:
    """A number with its noun.

    Examples:
        >>> count(1, "worker"), count(2, "worker")
        ('1 worker', '2 workers')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ratio(value: float) -> str:
    """A ratio with as many digits as a reader can use.

    Examples:
        >>> ratio(1.834), ratio(0.0812), ratio(12.71), ratio(148.2)
        ('1.83', '0.081', '12.7', '148')
    """
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def margin_text(margin: Margin) -> str:
    """A margin as a reader compares it with a difference.

    Examples:
        >>> margin_text(Margin(0.02, True, "2%")), margin_text(Margin(0.01, False, 0.01))
        ('2 %', '0.01')
    """
    return f"{100 * margin.value:g} %" if margin.relative else f"{margin.value:g}"


def difference_text(
    value: float | None, low: float | None, high: float | None, margin: Margin
) -> str:
    """A difference and its interval, one digit finer than the margin.

    Examples:
        >>> difference_text(-0.0012, -0.0041, 0.0018, Margin(0.01, False, 0.01))
        '-0.001 [-0.004, +0.002]'
        >>> difference_text(0.004, -0.002, 0.01, Margin(0.02, True, "2%"))
        '+0.4 [-0.2, +1.0] %'
    """
    scale = 100 if margin.relative else 1
    digits = max(1, 1 - math.floor(math.log10(margin.value * scale) + 1e-9))
    texts = [
        None if figure is None or math.isnan(figure) else f"{figure * scale + 0.0:+.{digits}f}"
        for figure in (value, low, high)
    ]
    if texts[0] is None:
        return "not measured"
    interval = "" if texts[1] is None or texts[2] is None else f" [{texts[1]}, {texts[2]}]"
    return texts[0] + interval + (" %" if margin.relative else "")


def short_difference_text(
    value: float | None, low: float | None, high: float | None, margin: Margin
) -> str:
    """The same in less room, with half the width of the interval.

    Examples:
        >>> short_difference_text(-0.0012, -0.0041, 0.0018, Margin(0.01, False, 0.01))
        '-0.001 ±0.003'
    """
    if low is None or high is None:
        return difference_text(value, None, None, margin)
    half = difference_text((high - low) / 2, None, None, margin).removeprefix("+")
    return f"{difference_text(value, None, None, margin).removesuffix(' %')} ±{half}"


def metric_name(metric: str) -> str:
    """A metric as people say it, and what its margin bounds where that is not quality.

    Examples:
        >>> metric_name("val_loss")
        'validation loss'
    """
    if metric in COST_METRICS:
        return f"{metric.replace('_', ' ')} (a margin on cost, not on quality)"
    return metric.removeprefix("metric_").replace("val_", "validation ").replace("_", " ")


def whole(value: Any) -> int | None:  # noqa: ANN401 - a cell of a nullable column
    """A cell of a table as an int, None where it is null."""
    return None if pd.isna(value) else int(value)


def read_parameters(text: Any) -> dict[str, Any]:  # noqa: ANN401 - a cell of a text column
    """The ``parameters`` column of a run; what is no JSON object is kept as it stands."""
    if not isinstance(text, str):
        return {}
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        parsed = text
    return parsed if isinstance(parsed, dict) else {"parameters": parsed}
