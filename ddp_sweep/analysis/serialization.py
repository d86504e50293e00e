"""A ranking as JSON types and as a data frame."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ddp_sweep.analysis.outcome import RankedConfiguration, Ranking

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ranking_to_frame", "ranking_to_json"]

_NOT_IN_JSON = frozenset({"configuration_id", "distinction", "look", "name", "same_updates_as"})
_METRIC_FIGURES = ("value", "difference", "low", "high", "margin", "p_value", "verdict")


def ranking_to_json(ranking: Ranking) -> dict[str, Any]:
    """Only dicts, lists, strings, booleans, finite numbers and None."""
    recommendation = ranking.recommendation
    return {
        "baseline": _configuration(ranking.baseline),
        "reference": _configuration(ranking.reference),
        "configurations": [_configuration(entry) for entry in ranking.configurations],
        "findings": _plain(ranking.findings),
        "recommendation": {
            "status": recommendation.status.value,
            "fastest": _optional(recommendation.fastest),
            "cheapest": _optional(recommendation.cheapest),
            "pareto": [_configuration(entry) for entry in recommendation.pareto],
            "tied_with": [_configuration(entry) for entry in recommendation.tied_with],
            "reason": recommendation.reason,
            "settings": _plain(recommendation.settings),
        },
    }


def ranking_to_frame(ranking: Ranking) -> pd.DataFrame:
    """Metrics become columns ``<metric>_<figure>``; ``parameters`` and ``findings`` are JSON."""
    import pandas as pd

    rows = [_row(rank, entry) for rank, entry in enumerate(ranking.configurations, start=1)]
    frame = pd.DataFrame.from_records(rows)
    whole = frame.columns.intersection(
        ["per_worker_batch_size", "global_batch_size", "num_nodes", "seeds_needed"]
    )
    # A figure that is unknown everywhere would else be a column of objects.
    empty = frame.columns[frame.isna().all()].difference(whole)
    return frame.astype(
        dict.fromkeys(empty, "float64")
        | dict.fromkeys(whole, "Int64")
        | {"within_one_start": "boolean"}
    )


def _row(rank: int, entry: RankedConfiguration) -> dict[str, Any]:
    import json

    record = _configuration(entry)
    metrics, floors = record.pop("metrics"), record.pop("floors")
    findings = [finding["kind"] for finding in record.pop("findings")]
    record["parameters"] = json.dumps(record["parameters"], sort_keys=True)
    record["findings"] = json.dumps(findings)
    for name, comparison in metrics.items():
        record |= {f"{name}_{figure}": comparison[figure] for figure in _METRIC_FIGURES}
    for name, floor in floors.items():
        record |= {f"{name}_floor": floor["floor"], f"{name}_floor_verdict": floor["verdict"]}
    return {"rank": rank, "configuration_id": entry.configuration_id, **record}


def _optional(entry: RankedConfiguration | None) -> dict[str, Any] | None:
    return None if entry is None else _configuration(entry)


def _configuration(entry: RankedConfiguration) -> dict[str, Any]:
    record: dict[str, Any] = _plain(entry)
    return {key: value for key, value in record.items() if key not in _NOT_IN_JSON}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value in, any JSON value out
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
