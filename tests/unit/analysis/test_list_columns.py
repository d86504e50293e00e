"""List columns as flat arrays, against the same worked out run by run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddp_sweep.analysis.metrics import metric_values, resolution

MATRIX = st.integers(1, 4).flatmap(
    lambda classes: st.lists(
        st.lists(st.integers(0, 9), min_size=classes, max_size=classes),
        min_size=classes,
        max_size=classes,
    )
)
KINDS = {
    "confusion_matrix": pa.list_(pa.list_(pa.int64())),
    "per_class_recall": pa.list_(pa.float64()),
    "class_names": pa.list_(pa.string()),
}


def both_forms(**columns: list[Any]) -> list[pd.DataFrame]:
    """The columns as Python lists, as numpy arrays, and as Arrow has them."""
    table = pa.table({name: pa.array(cells, KINDS[name]) for name, cells in columns.items()})
    return [
        pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()}),
        table.to_pandas(),
        table.to_pandas(types_mapper=pd.ArrowDtype),
    ]


def smallest_step(matrix: list[list[int]] | None, recall: float, metric: str) -> float:
    """One sample of the smallest class, or of the positive one of two."""
    if matrix is None or min(map(sum, matrix)) == 0:
        return math.nan
    totals = [sum(row) for row in matrix]
    if metric == "recall" and len(totals) == 2:
        recalls = [row[k] / sum(row) for k, row in enumerate(matrix)]
        chosen = [t for t, r in zip(totals, recalls, strict=True) if abs(r - recall) < 1e-9]
        return 1 / min(chosen or totals)
    return 1 / min(totals) / (1 if "[" in metric else len(totals))


@given(
    st.lists(st.tuples(st.none() | MATRIX, st.sampled_from([0.5, 0.0, 1.0, 2 / 3])), min_size=1),
    st.sampled_from(["recall", "balanced_accuracy", "recall[1]"]),
)
def test_the_step_of_one_sample_is_that_of_each_matrix(
    runs: list[tuple[list[list[int]] | None, float]], metric: str
) -> None:
    matrices, recalls = [list(part) for part in zip(*runs, strict=True)]
    expected = [smallest_step(matrix, recall, metric) for matrix, recall in runs]

    for frame in both_forms(confusion_matrix=matrices):
        found = resolution(frame.assign(recall=recalls), metric)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


CLASSES = st.lists(st.floats(0, 1) | st.none(), max_size=4)
NAMES = st.lists(st.sampled_from(["cat", "dog", "1", "0"]), max_size=4)


@given(
    st.lists(st.tuples(st.none() | CLASSES, st.none() | NAMES), min_size=1),
    st.sampled_from(["cat", "1", "0", "3", "whale"]),
)
def test_the_recall_of_a_class_is_found_by_its_name_or_index(
    runs: list[tuple[list[float | None] | None, list[str] | None]], label: str
) -> None:
    expected = []
    for values, names in runs:
        position = names.index(label) if names and label in names else None
        if position is None and label.isdecimal():
            position = int(label)
        known = values is not None and position is not None and position < len(values)
        value = values[position] if known else None
        expected.append(math.nan if value is None else value)

    recalls, names = [list(part) for part in zip(*runs, strict=True)]
    for frame in both_forms(per_class_recall=recalls, class_names=names):
        found = metric_values(frame, f"recall[{label}]")
        np.testing.assert_array_equal(found, np.array(expected))


@pytest.mark.parametrize("cells", [["[0.5, 0.6]", "[0.1]"], [None, None], [1.5, 2.5]])
def test_cells_that_are_no_lists_hold_no_figures(cells: list[Any]) -> None:
    frame = pd.DataFrame({"per_class_recall": cells, "confusion_matrix": cells})

    assert np.isnan(metric_values(frame, "recall[0]")).all()
    assert np.isnan(resolution(frame, "recall")).all()
