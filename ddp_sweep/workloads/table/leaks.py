"""Signs that a validation set says more than it could of new data; TABLE.md explains each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ddp_sweep.workload import Binary, Regression
from ddp_sweep.workloads.table.columns import Columns
from ddp_sweep.workloads.table.labels import Labels

__all__ = ["find_leaks"]

Rows: TypeAlias = NDArray[np.int64]

_TOO_GOOD = 0.999
"""AUROC, balanced accuracy or R2 that a single column has on validation rows by itself."""
_MOST_ROWS = 20_000
"""Rows a column is judged by; more would take long and say the same."""
_NEARLY_ALL = 0.9
_FEWEST_DISTINCT = 0.5


def find_leaks(
    frame: pd.DataFrame, columns: Columns, labels: Labels, train: Rows, validation: Rows
) -> list[str]:
    """A sentence for each column and each set of rows that a user should look at."""
    train_part, validation_part = _at_most(train), _at_most(validation)
    judge = _Judge(labels, train_part, validation_part)
    found = []
    for name in columns.names:
        values = _as_numbers(frame[name], name in columns.categorical)
        score = judge.score(values)
        if score is not None:
            found.append(
                f"column {name!r} alone predicts the label on validation rows ({score}): it is "
                "probably the label in disguise, or known only after it. If it will not be known "
                f"when the model is used, leave it out (drop: [{name}])"
            )
    row_names = [name for name in columns.names if _names_rows(frame[name], name, columns)]
    found += [
        f"column {name!r} is different in nearly every row, like an id: a model can learn rows by "
        f"heart from it and nothing for new ones; leave it out (drop: [{name}])"
        for name in row_names
    ]
    found += _copies(frame[[n for n in columns.names if n not in row_names]], train, validation)
    return found


@dataclass(frozen=True)
class _Judge:
    """How well one column by itself predicts the label."""

    labels: Labels
    train: Rows
    validation: Rows

    def score(self, values: NDArray[np.float64]) -> str | None:
        """In words where it is too good to be true."""
        targets = self.labels.values
        truth = targets[self.validation]
        if isinstance(self.labels.task, Regression):
            tree = DecisionTreeRegressor(random_state=0)
            name, measure = "R2", r2_score
        else:
            tree = DecisionTreeClassifier(random_state=0)
            name, measure = "balanced accuracy", balanced_accuracy_score
        tree.fit(values[self.train, None], targets[self.train])
        value = float(measure(truth, tree.predict(values[self.validation, None])))
        if isinstance(self.labels.task, Binary) and value < _TOO_GOOD:
            name, value = "AUROC", self._order(values[self.validation], truth)
        return f"{name} {value:.4f}" if value >= _TOO_GOOD else None

    def _order(self, values: NDArray[np.float64], truth: NDArray[Any]) -> float:
        known = ~np.isnan(values)
        if known.sum() < _NEARLY_ALL * len(values) or len(np.unique(truth[known])) < 2:
            return 0.0
        area = float(roc_auc_score(truth[known], values[known]))
        return max(area, 1 - area)


def _as_numbers(column: pd.Series[Any], categorical: bool) -> NDArray[np.float64]:
    """Numbers as they are, categories by a number each; missing values are NaN."""
    if not categorical:
        return column.to_numpy(np.float64, na_value=np.nan)
    codes = pd.factorize(column)[0].astype(np.float64)
    return np.where(codes < 0, np.nan, codes)


def _at_most(rows: Rows) -> Rows:
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False)


def _names_rows(column: pd.Series[Any], name: str, columns: Columns) -> bool:
    """Whether the values name rows rather than describe them."""
    if name in columns.numeric:
        return _counts_up(column)
    return bool(column.nunique() > _NEARLY_ALL * max(1, int(column.notna().sum())))


def _counts_up(column: pd.Series[Any]) -> bool:
    if not pd.api.types.is_integer_dtype(column) or column.isna().any():
        return False
    steps = np.diff(column.to_numpy(np.int64))
    return bool((steps == 1).mean() > _NEARLY_ALL)


def _copies(features: pd.DataFrame, train: Rows, validation: Rows) -> Iterator[str]:
    """Validation rows with the features of a training row."""
    if features.shape[1] == 0:
        return
    hashes = pd.util.hash_pandas_object(features, index=False).to_numpy()
    if len(np.unique(hashes)) < _FEWEST_DISTINCT * len(hashes):
        return  # few columns of few values: rows repeat without being copies
    copied = int(np.isin(hashes[validation], hashes[train]).sum())
    if copied:
        yield (
            f"{copied} of {len(validation)} validation rows have the very features of a training "
            "row: if they are copies, or repeated visits of one customer, validation flatters the "
            "model; remove copies, or split by group"
        )
