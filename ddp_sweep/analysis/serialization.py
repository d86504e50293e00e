"""A ranking as JSON types and as a data frame."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ddp_sweep.analysis.outcome import MetricComparison, RankedConfiguration, Ranking

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["json_pieces", "ranking_to_frame", "ranking_to_json"]

_NOT_IN_JSON = frozenset(
    {"configuration_id", "distinction", "look", "name", "refuted", "same_updates_as"}
)
_CONFIGURATION_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(RankedConfiguration)
    if field.name not in _NOT_IN_JSON
)
_COMPARISON_FIELDS = tuple(field.name for field in dataclasses.fields(MetricComparison))
_OPEN_DEPTH = 2
"""Levels of objects whose keys stand on lines of their own."""
_METRIC_FIGURES = ("value", "difference", "low", "high", "margin", "p_value", "verdict")


def ranking_to_json(ranking: Ranking) -> dict[str, Any]:
    """Only dicts, lists, strings, booleans, finite numbers and None."""
    document = _document(ranking)
    return document | {"configurations": list(document["configurations"])}


def json_pieces(ranking: Ranking) -> Iterator[str]:
    """The same as text that, joined, is JSON; one line for each configuration.

    The text of a hundred thousand configurations is a few hundred megabytes, never held at once.
    """
    yield from _pieces(_document(ranking), depth=0)


def _document(ranking: Ranking) -> dict[str, Any]:
    """The ranking with its configurations as an iterator: each is made when its turn comes."""
    recommendation = ranking.recommendation
    return {
        "baseline": _configuration(ranking.baseline),
        "reference": _configuration(ranking.reference),
        "configurations": map(_configuration, ranking.configurations),
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


def _pieces(value: Any, depth: int) -> Iterator[str]:  # noqa: ANN401 - any JSON value, or an iterator
    """Keys of the outer objects and items of their lists on lines of their own."""
    if isinstance(value, dict) and depth < _OPEN_DEPTH:
        items = ((f"{json.dumps(key)}: ", item) for key, item in value.items())
        yield from _lines("{}", items, depth)
    elif isinstance(value, list | Iterator) and depth < _OPEN_DEPTH + 1:
        yield from _lines("[]", (("", item) for item in value), depth)
    else:
        yield json.dumps(value, allow_nan=False)


def _lines(brackets: str, items: Iterable[tuple[str, Any]], depth: int) -> Iterator[str]:
    separator = brackets[0]
    for label, item in items:
        yield f"{separator}\n{'  ' * (depth + 1)}{label}"
        # An item of a list stands on one line, whatever it holds.
        yield from _pieces(item, depth + 1 if label else _OPEN_DEPTH + 1)
        separator = ","
    yield brackets if separator == brackets[0] else f"\n{'  ' * depth}{brackets[1]}"


def ranking_to_frame(ranking: Ranking) -> pd.DataFrame:
    """Metrics become columns ``<metric>_<figure>``; ``parameters`` and ``findings`` are JSON."""
    import pandas as pd

    fastest = ranking.recommendation.fastest
    recommended = None if fastest is None else fastest.name  # names are unlike
    rows = [
        _row(rank, entry, recommended=entry.name == recommended)
        for rank, entry in enumerate(ranking.configurations, start=1)
    ]
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


def _row(rank: int, entry: RankedConfiguration, *, recommended: bool) -> dict[str, Any]:
    record = _configuration(entry)
    metrics, floors = record.pop("metrics"), record.pop("floors")
    findings = [finding["kind"] for finding in record.pop("findings")]
    record["parameters"] = json.dumps(record["parameters"], sort_keys=True)
    record["findings"] = json.dumps(findings)
    for name, comparison in metrics.items():
        record |= {f"{name}_{figure}": comparison[figure] for figure in _METRIC_FIGURES}
    for name, floor in floors.items():
        record |= {f"{name}_floor": floor["floor"], f"{name}_floor_verdict": floor["verdict"]}
    first = {"rank": rank, "name": entry.name, "recommended": recommended}
    return {**first, "configuration_id": entry.configuration_id, **record}


def _optional(entry: RankedConfiguration | None) -> dict[str, Any] | None:
    return None if entry is None else _configuration(entry)


def _configuration(entry: RankedConfiguration) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(entry, name) for name in _CONFIGURATION_FIELDS}
    return record | {
        "parameters": _plain(entry.parameters),
        "verdict": entry.verdict.value,
        "evidence": entry.evidence.value,
        "metrics": {name: _comparison(found) for name, found in entry.metrics.items()},
        "floors": {name: _plain(found) for name, found in entry.floors.items()},
        "findings": _plain(entry.findings),
    }


def _comparison(found: MetricComparison) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(found, name) for name in _COMPARISON_FIELDS}
    if found.verdict is not None:
        record["verdict"] = found.verdict.value
    return record


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
