"""What a validation set adds to the uncertainty: it is itself a sample of the data to come."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ddp_sweep.analysis.metrics import class_totals, metric_values
from ddp_sweep.analysis.statistics.estimation import Floats, Integers, Moments
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.spec.metrics import split_class

__all__ = ["SamplingError", "ValidationSample"]

_BYTES_AT_ONCE = 2**26


class SamplingError(NamedTuple):
    """Variance of a difference that is due to the choice of validation samples.

    Shape [configurations], NaN where it is not known.
    """

    variance: Floats
    degrees_of_freedom: Floats


class _Disagreement(NamedTuple):
    """How differently two configurations treat the same samples; shape [configurations].

    Of each validation sample: the share of runs of the one that got it right minus that of the
    other.
    """

    samples: Floats
    variance: Floats
    squares: Floats
    """Sum over the samples."""


@dataclass(frozen=True)
class ValidationSample:
    """The validation set as a sample, for comparisons of configurations with their reference."""

    measured: Measurements
    reference: Integers
    """The quality reference of each configuration."""

    def error(self, metric: str) -> SamplingError | None:
        """Sampling error of the difference in a metric; None where nothing was recorded for it.

        - Accuracy: both sides saw the same samples, so the variance is that of the differences
          between the shares of runs that got a sample right, over the number of samples.
        - Recall of a class: which samples are of the class is not recorded. Two upper bounds of
          the variance are, and the smaller one is taken: that of two independent samples,
          r (1 - r) / (n - 1) on both sides; and that of the case where all samples that the two
          sides treat differently are of this class.
        - Macro recall and balanced accuracy: the mean over the classes.
        """
        name, label = split_class(metric)
        if name == "accuracy":
            found = self._disagreement
            if found is None:
                return None
            return SamplingError(found.variance / found.samples, found.samples - 1)
        if name in ("recall", "balanced_accuracy"):
            return self._of_recall(name, label)
        return None

    @cached_property
    def _runs(self) -> Integers:
        """Positions of the finished runs, by configuration."""
        finished = np.flatnonzero(self.measured.finished)
        order = np.argsort(self.measured.configuration[finished], kind="stable")
        return finished[order]

    @cached_property
    def _sizes(self) -> Integers:
        return np.bincount(self.measured.configuration[self._runs], minlength=self.measured.count)

    @cached_property
    def _starts(self) -> Integers:
        return np.cumsum(self._sizes) - self._sizes

    @cached_property
    def _lengths(self) -> Integers:
        """Validation samples of each configuration; 0 where a run does not tell which were right.

        Every finished run must have its bits, and all the same number of them.
        """
        count = self.measured.count
        if "correct_bits" not in self.measured.quality:
            return np.zeros(count, dtype=np.int64)
        cells = self.measured.quality["correct_bits"].to_numpy()[self._runs]
        samples = metric_values(self.measured.quality, "eval_samples")[self._runs]
        samples = np.where(samples > 1, samples, 0).astype(np.int64)
        whole = [
            isinstance(cell, bytes) and len(cell) == (size + 7) // 8
            for cell, size in zip(cells, samples, strict=True)
        ]
        groups = self.measured.configuration[self._runs]
        largest, smallest = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
        samples = np.where(whole, samples, 0)
        np.maximum.at(largest, groups, samples)
        np.minimum.at(smallest, groups, samples)
        return np.where(largest == smallest, largest, 0)

    @cached_property
    def _disagreement(self) -> _Disagreement | None:
        lengths, reference = self._lengths, self.reference
        same = (lengths > 0) & (lengths == lengths[reference])
        if not same.any():
            return None
        found = _Disagreement(*(np.full(len(lengths), np.nan) for _ in range(3)))
        for length in np.unique(lengths[same]):
            alike = np.flatnonzero(same & (lengths == length))
            largest = int(self._sizes[np.union1d(alike, reference[alike])].max())
            pieces = 1 + len(alike) * largest * int(length) * 2 // _BYTES_AT_ONCE
            for some in np.array_split(alike, min(pieces, len(alike))):
                others, position = np.unique(reference[some], return_inverse=True)
                differences = self._shares(some, int(length))
                differences -= self._shares(others, int(length))[position]
                found.samples[some] = length
                found.variance[some] = differences.var(axis=1, ddof=1)
                found.squares[some] = (differences**2).sum(axis=1)
        return found

    def _shares(self, configurations: Integers, length: int) -> Floats:
        """Share of the runs that got each sample right; shape [configurations, samples]."""
        sizes = self._sizes[configurations]
        ends = np.cumsum(sizes)
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
        runs = self._runs[np.repeat(self._starts[configurations], sizes) + within]
        cells = self.measured.quality["correct_bits"].to_numpy()[runs]
        packed = np.frombuffer(b"".join(cells), dtype=np.uint8).reshape(len(runs), -1)
        right = np.unpackbits(packed, axis=1, count=length)
        shares = np.empty((len(configurations), length))
        for size in np.unique(sizes):  # runs of equal number stand as one block, summed at once
            alike = sizes == size
            block = right[np.repeat(alike, sizes)].reshape(-1, size, length)
            shares[alike] = block.sum(axis=1, dtype=np.int32) / size
        return shares

    def _of_recall(self, name: str, label: str | None) -> SamplingError | None:
        """Mean over the classes that the metric averages, one or all, of independent errors."""
        totals = self._totals(name, label)
        if totals is None:
            return None
        recalls = self._recalls(name, label, totals)
        disagreement = self._disagreement
        variance, freedom = np.zeros(len(totals)), np.full(len(totals), np.nan)
        for position in range(totals.shape[1]):
            samples, recall = totals[:, position], recalls[position]
            with np.errstate(invalid="ignore", divide="ignore"):
                binomial = recall * (1 - recall) / (samples - 1)
                one = binomial + binomial[self.reference]
                if disagreement is not None:
                    one = np.fmin(one, disagreement.squares / samples**2)
            variance += one
            freedom = np.fmin(freedom, samples - 1)
        return SamplingError(variance / totals.shape[1] ** 2, freedom)

    def _totals(self, name: str, label: str | None) -> Floats | None:
        """Samples of each class that counts, by that of the reference's first run.

        Shape [configurations, classes]; None where no reference has a confusion matrix.
        """
        if "confusion_matrix" not in self.measured.quality:
            return None
        references = np.unique(self.reference)
        references = references[self._sizes[references] > 0]
        rows = self.measured.quality.iloc[self._runs[self._starts[references]]]
        found = [class_totals(row, name, label) for _, row in rows.iterrows()]
        widths = {len(totals) for totals in found if totals is not None}
        if len(widths) != 1:
            return None
        by_configuration = np.full((self.measured.count, widths.pop()), np.nan)
        for reference, totals in zip(references, found, strict=True):
            if totals is not None:
                by_configuration[reference] = totals
        samples = self._by_configuration(metric_values(self.measured.quality, "eval_samples"))
        same = samples == samples[self.reference]
        return np.where(same[:, None], by_configuration[self.reference], np.nan)

    def _recalls(self, name: str, label: str | None, totals: Floats) -> list[Floats]:
        classes = totals.shape[1]
        metric = name if label is None else f"{name}[{label}]"
        names = [metric] if classes == 1 else [f"recall[{k}]" for k in range(classes)]
        return [
            self._by_configuration(metric_values(self.measured.quality, found)) for found in names
        ]

    def _by_configuration(self, values: Floats) -> Floats:
        known = np.where(self.measured.finished, values, np.nan)
        return Moments.of(known, self.measured.configuration, self.measured.count).mean
