"""Columns whose cells are lists, as flat arrays with the place where each cell begins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ConfusionMatrices", "Lists"]

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CELLS = (list, tuple, np.ndarray)
"""What a cell of a list column may be in a frame; in a CSV file it is text, and of no use."""
_SAME_RECALL = 1e-9


@dataclass(frozen=True)
class Lists:
    """A list for each run, empty where there is none."""

    lengths: Integers
    """Shape [runs]."""
    flat: pa.Array
    """The elements of all lists, one list after the other."""

    @classmethod
    def of(cls, column: pd.Series) -> Lists | None:
        """Read a column; None where its cells are no lists of one kind."""
        if isinstance(column.dtype, pd.ArrowDtype):
            cells = pa.array(column.array)
        else:
            lists = [cell if isinstance(cell, _CELLS) else None for cell in column]
            try:
                cells = pa.array(lists, from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return None
        return cls._of_cells(cells)

    @classmethod
    def _of_cells(cls, cells: pa.Array) -> Lists | None:
        if isinstance(cells, pa.ChunkedArray):
            cells = cells.combine_chunks()
        if not pa.types.is_list(cells.type) and not pa.types.is_large_list(cells.type):
            return None
        lengths = pc.fill_null(pc.list_value_length(cells), 0)
        return cls(lengths.to_numpy(zero_copy_only=False).astype(np.int64), cells.flatten())

    @cached_property
    def starts(self) -> Integers:
        """Place of the first element of each list; shape [runs]."""
        starts: Integers = np.cumsum(self.lengths) - self.lengths
        return starts

    @cached_property
    def owner(self) -> Integers:
        """The list that each element belongs to; shape [elements]."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def numbers(self) -> Floats:
        """The elements as numbers, NaN where null; shape [elements]."""
        floats = self.flat.cast(pa.float64(), safe=False)
        numbers: Floats = floats.to_numpy(zero_copy_only=False)
        return numbers

    def inner(self) -> Lists | None:
        """The elements themselves as lists; None where they are none."""
        return self._of_cells(self.flat)

    def pick(self, position: Integers) -> Floats:
        """One element of each list, NaN where the list has none there.

        Args:
            position: Which one, from 0; shape [runs].
        """
        there = (position >= 0) & (position < self.lengths)
        picked = np.full(len(self.lengths), np.nan)
        picked[there] = self.numbers[(self.starts + position)[there]]
        return picked

    def find(self, text: str) -> Integers:
        """Position of the first element that is this text, -1 for none; shape [runs]."""
        found = np.full(len(self.lengths), -1, dtype=np.int64)
        if pa.types.is_null(self.flat.type):
            return found
        equal = pc.fill_null(pc.equal(self.flat.cast(pa.string()), text), False)
        places = np.flatnonzero(equal.to_numpy(zero_copy_only=False))[::-1]  # the first one last
        found[self.owner[places]] = places - self.starts[self.owner[places]]
        return found


@dataclass(frozen=True)
class ConfusionMatrices:
    """The confusion matrix of each run, rows = truth; runs may have none, or several sizes."""

    classes: Integers
    """How many classes there are; 0 for a run without a matrix, or where a class has no samples;
    shape [runs]."""
    run: Integers
    """The run that each class belongs to; shape [rows of all matrices]."""
    totals: Floats
    """Samples of each class; shape [rows]."""
    recalls: Floats
    """Share of them that was recognized; shape [rows]."""

    @classmethod
    def of(cls, column: pd.Series) -> ConfusionMatrices | None:
        """Read a column; None where its cells are no matrices."""
        matrices = Lists.of(column)
        rows = None if matrices is None else matrices.inner()
        if matrices is None or rows is None:
            return None
        count = len(matrices.lengths)
        sums = np.bincount(rows.owner, weights=rows.numbers, minlength=len(rows.lengths))
        totals = sums.astype(np.float64)
        run = matrices.owner
        right = rows.pick(np.arange(len(run)) - matrices.starts[run])
        empty = np.bincount(run[~(totals > 0)], minlength=count) > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            recalls = right / totals
        return cls(np.where(empty, 0, matrices.lengths), run, totals, recalls)

    def smallest_class(self, recall: Floats | None = None) -> Floats:
        """Samples of the smallest class of each run, NaN without a matrix; shape [runs].

        Args:
            recall: Of the positive class of binary tasks; shape [runs]. Of two classes then the
                one that has it counts alone, if there is one: which class is the positive one is
                not recorded, its recall is.
        """
        counted = np.ones(len(self.run), dtype=np.bool_)
        if recall is not None:
            with np.errstate(invalid="ignore"):
                positive = np.abs(self.recalls - recall[self.run]) <= _SAME_RECALL
            positive &= self.classes[self.run] == 2
            has_one = np.bincount(self.run[positive], minlength=len(self.classes)) > 0
            counted = positive | ~has_one[self.run]
        smallest = np.full(len(self.classes), np.inf)
        np.minimum.at(smallest, self.run[counted], self.totals[counted])
        return np.where(self.classes > 0, smallest, np.nan)
