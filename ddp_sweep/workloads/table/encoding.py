"""From columns to numbers a model takes; whatever is learned, is learned from training rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from ddp_sweep.workloads.table.columns import Columns

__all__ = ["UNSEEN", "Encoder"]

Floats: TypeAlias = NDArray[np.float64]

UNSEEN = 0
"""Code of a category that no training row has; a missing value where none had any is one."""


class Encoder:
    """Scales numbers and gives categories codes, as the training rows say.

    Numbers: the median for missing values, then mean 0 and deviation 1, and a column of 0 and 1
    beside each that has missing values. Categories: codes from 1, missing being one of them.

    Args:
        train: The training rows; nothing else is looked at.
        columns: The features.
    """

    def __init__(self, train: pd.DataFrame, columns: Columns) -> None:
        self._columns = columns
        self._numbers = ColumnTransformer(
            [
                (
                    "values",
                    make_pipeline(
                        SimpleImputer(strategy="median", keep_empty_features=True),
                        StandardScaler(),
                    ),
                    list(columns.numeric),
                ),
                (
                    "missing",
                    MissingIndicator(features="missing-only", error_on_new=False),
                    list(columns.numeric),
                ),
            ]
        )
        self._categories = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float64
        )
        if columns.numeric:
            self._numbers.fit(self._numeric(train))
        if columns.categorical:
            self._categories.fit(self._text(train))

    @property
    def category_counts(self) -> tuple[int, ...]:
        """Codes of each categorical column, that of unseen values included."""
        if not self._columns.categorical:
            return ()
        return tuple(len(known) + 1 for known in self._categories.categories_)

    def encode(self, rows: pd.DataFrame) -> Floats:
        """Numbers, then codes: float64, shape [rows, numbers + categorical columns]."""
        parts: list[Any] = []
        if self._columns.numeric:
            parts.append(self._numbers.transform(self._numeric(rows)).astype(np.float64))
        if self._columns.categorical:
            # Codes begin with 0 and unseen is -1; shifted by one, unseen is 0.
            parts.append(self._categories.transform(self._text(rows)) + 1 + UNSEEN)
        return np.concatenate(parts, axis=1)

    def _numeric(self, rows: pd.DataFrame) -> pd.DataFrame:
        columns = {
            name: rows[name].to_numpy(np.float64, na_value=np.nan)
            for name in self._columns.numeric
        }
        return pd.DataFrame(columns)

    def _text(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Every value as text, so that columns of mixed types have an order."""
        columns = {
            name: rows[name].astype(object).map(str, na_action="ignore").fillna(_MISSING)
            for name in self._columns.categorical
        }
        return pd.DataFrame(columns, dtype=object)


_MISSING = "\0missing"
"""Unlike any text of a table."""
