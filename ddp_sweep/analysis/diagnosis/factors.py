"""What may tell one configuration's training from another's, each thing by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers

__all__ = ["FACTORS", "Factors"]

FACTORS = ("workers", "batch_size", "settings")
"""What can differ, in the order of the rows of `Factors.differ`."""


@dataclass(frozen=True)
class Factors:
    """Workers, global batch and all other settings; arrays with one entry a configuration."""

    workers: Floats
    batches: Floats
    """NaN where it is unknown, which differs from everything."""
    rates: Integers
    """The same number for equal learning rates; they follow the batch where they are scaled."""
    others: Integers
    """The same number where precision and parameters are equal."""

    @classmethod
    def of(cls, settings: pd.DataFrame, workers: Floats, batches: Floats) -> Factors:
        """From the settings of every configuration."""
        return cls(
            workers,
            batches,
            _codes(settings, "learning_rate"),
            _codes(settings, "compute_precision", "parameters"),
        )

    def differ(self, position: int) -> Booleans:
        """In which of `FACTORS` each differs from one of them; shape [3, configurations]."""
        batches = self.batches != self.batches[position]
        # A rate that the same batch does not explain was set.
        rates = ~batches & (self.rates != self.rates[position])
        return np.array(
            [
                self.workers != self.workers[position],
                batches,
                rates | (self.others != self.others[position]),
            ]
        )


def _codes(settings: pd.DataFrame, *columns: str) -> Integers:
    """The same number for rows that are alike in some columns, unknown ones included."""
    known = settings.reindex(columns=list(columns))
    groups = known.groupby(list(columns), dropna=False, sort=False)
    return np.asarray(groups.ngroup(), dtype=np.int64)
