"""What is examined: the runs of a sweep with where their configurations stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.analysis.diagnosis.factors import Factors
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import Finding
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.statistics.looks import runs_only
from ddp_sweep.analysis.tables.columns import numbers, texts
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.analysis.verdicts.standing import Standing

__all__ = ["Found", "Subject"]

Found = Iterator[tuple[int, Finding]]
"""Findings with the number of the configuration that each is about."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The info object that every family of findings starts from."""

    standing: Standing
    options: RankingOptions
    evals: pd.DataFrame | None = None
    """One row an evaluation; None where the source has none."""
    steps: pd.DataFrame | None = None
    """One row a rank and interval of steps; None where the source has none."""

    only: Integers | None = None
    """Numbers of the configurations looked at; None for all."""

    @cached_property
    def measured(self) -> Measurements:
        """The runs looked at, and which configuration each belongs to."""
        measured = self.standing.measured
        if self.only is None:
            return measured
        return runs_only(measured, np.isin(measured.configuration, self.only))

    def column(self, name: str) -> Floats:
        """A column of the runs as floats, NaN where it is unknown; shape [runs]."""
        return numbers(self.measured.runs, name)

    def text(self, name: str) -> npt.NDArray[np.str_]:
        """A column of the runs as text, empty where it is unknown; shape [runs]."""
        return texts(self.measured.runs, name)

    @cached_property
    def world_size(self) -> Floats:
        """Of every configuration."""
        return self.measured.settings["world_size"].to_numpy(dtype=np.float64)

    @cached_property
    def global_batch_size(self) -> Floats:
        """Of every configuration, NaN where it is unknown."""
        column = self.measured.settings.get("global_batch_size")
        if column is None:
            return np.full(self.measured.count, np.nan)
        return column.to_numpy(dtype=np.float64, na_value=np.nan)

    @cached_property
    def num_nodes(self) -> Floats:
        """Of every configuration, 1 where it is unknown."""
        column = self.measured.settings.get("num_nodes")
        if column is None:
            return np.ones(self.measured.count)
        return column.to_numpy(dtype=np.float64, na_value=1.0)

    @cached_property
    def factors(self) -> Factors:
        """What may tell the training of one configuration from that of another."""
        return Factors.of(self.measured.settings, self.world_size, self.global_batch_size)

    @cached_property
    def seconds_a_sample(self) -> Floats:
        """Time of the whole training by its samples; shape [runs], NaN where unknown.

        Of finished runs that no others ran beside; also of those on too few cores, which make no
        claim of a speedup but can say why.
        """
        time_s, samples = self.column("train_time_s"), self.column("samples")
        usable = self.measured.finished & (self.text("placement") != "packed")
        with np.errstate(divide="ignore", invalid="ignore"):
            found = time_s / samples
        return np.where(usable & (found > 0) & np.isfinite(found), found, np.nan)

    @cached_property
    def slowest_over_others(self) -> Floats:
        """Own time of the slowest worker of a run / that of the middle one; of two, of the faster.

        ``straggler_ratio`` is relative to the median, which of two is their mean and holds half
        of the slower one's delay.
        """
        ratio = self.column("straggler_ratio")
        two = (self.column("world_size") == 2) & (ratio < 2)
        return np.divide(ratio, 2 - ratio, out=ratio.copy(), where=two)

    def positions(self, runs: Booleans) -> Integers:
        """Configurations with any of the marked runs."""
        return np.unique(self.measured.configuration[runs])

    def largest(self, values: Floats) -> Floats:
        """The largest known value of each configuration's runs, NaN where none is known."""
        return self._by_configuration(values, "max")

    def mean(self, values: Floats) -> Floats:
        """The mean of each configuration's known values."""
        return self._by_configuration(values, "mean")

    def _by_configuration(self, values: Floats, how: str) -> Floats:
        grouped = pd.Series(values).groupby(self.measured.configuration).agg(how)
        found: Floats = grouped.reindex(range(self.measured.count)).to_numpy(dtype=np.float64)
        return found

    def finished_keys(self) -> pd.DataFrame:
        """``trial_id``, ``attempt``, ``seed`` and ``configuration`` of the finished runs."""
        runs = self.measured.runs
        names = [name for name in ("trial_id", "attempt", "seed") if name in runs]
        keys = runs[names].assign(configuration=self.measured.configuration)
        return keys[self.measured.finished]
