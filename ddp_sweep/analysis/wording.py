"""Names and figures as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ddp_sweep.analysis.metrics import COST_METRICS, Margin
from ddp_sweep.schema import Status

__all__ = [
    "ENDED",
    "count",
    "difference_text",
    "distinctions",
    "margin_text",
    "metric_name",
    "name_configurations",
    "ratio",
    "read_parameters",
    "short_difference_text",
    "whole",
]

ENDED = {
    Status.OUT_OF_MEMORY: "ran out of memory",
    Status.DIVERGED: "diverged",
    Status.TIMED_OUT: "ran out of time",
    Status.INFEASIBLE: "could not be run",
    Status.WORKLOAD_ERROR: "stopped on an error in the workload",
    Status.WORKER_DIED: "lost a worker",
    Status.NODE_LOST: "lost a node",
    Status.INTERRUPTED: "were interrupted",
}
"""How runs ended, after their number."""

_SIZES = ["world_size", "per_worker_batch_size", "accumulation_steps", "global_batch_size"]


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


def name_configurations(settings: pd.DataFrame) -> list[str]:
    """A name for each configuration, unlike all others.

    Args:
        settings: One row a configuration, in the order of its number.
    """
    pairs = zip(_size_names(settings), distinctions(settings), strict=True)
    return [name + distinction for name, distinction in pairs]


def distinctions(settings: pd.DataFrame) -> list[str]:
    """What tells configurations of the same workers and batch apart; empty where nothing need.

    Args:
        settings: One row a configuration, in the order of its number.
    """
    names = pd.Series(_size_names(settings))
    found = [""] * len(names)
    for positions in names.groupby(names).indices.values():
        if len(positions) > 1:
            others = [_other_settings(settings.iloc[position]) for position in positions]
            if len({other["num_nodes"] for other in others if "num_nodes" in other}) < 2:
                # Runs that never reached a worker have none; that tells nothing apart.
                others = [{k: v for k, v in o.items() if k != "num_nodes"} for o in others]
            for position, text in zip(positions, _differences(others), strict=True):
                found[position] = text
    return found


def _size_names(settings: pd.DataFrame) -> list[str]:
    sizes = settings.reindex(columns=_SIZES)
    return [_size_name(*map(whole, row)) for row in sizes.itertuples(index=False)]


def _other_settings(row: pd.Series[Any]) -> dict[str, Any]:
    """Every setting but the sizes, as plain values by dotted name."""
    found: dict[str, Any] = {}
    for column in ("num_nodes", "learning_rate", "compute_precision"):
        if column in row and not pd.isna(row[column]):
            value = row[column]
            found[column] = whole(value) if column == "num_nodes" else value
    if "parameters" in row and isinstance(row["parameters"], str):
        found |= _flatten(read_parameters(row["parameters"]))
    return found


def read_parameters(text: Any) -> dict[str, Any]:  # noqa: ANN401 - a cell of a text column
    """The ``parameters`` column of a run; what is no JSON object is kept as it stands."""
    if not isinstance(text, str):
        return {}
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        parsed = text
    return parsed if isinstance(parsed, dict) else {"parameters": parsed}


def _size_name(
    world_size: int | None, batch: int | None, steps: int | None, total: int | None
) -> str:
    workers = count(world_size or 0, "worker")
    if batch is None:
        return workers if total is None else f"{workers} (global batch {total:,})"
    name = f"{workers} x {batch:,}"
    if steps is not None and steps > 1:
        name += f" x {steps} steps"
    return (
        name if total is None or world_size == steps == 1 else f"{name} (global batch {total:,})"
    )


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _differences(settings: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for found in settings for name in found)
    varying = [name for name in names if len({repr(found.get(name)) for found in settings}) > 1]
    return [
        "".join(f", {_leaf(name)} {found[name]}" for name in varying if name in found)
        for found in settings
    ]


def _leaf(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1].replace("_", " ")
