"""Figures of quality that mislead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats

__all__ = ["ClassCounts", "accuracy_paradox"]

_MAJORITY = 0.75
_POOR_RECALL = 0.5
_CLOSE = 0.5


@dataclass(frozen=True)
class ClassCounts:
    """A confusion matrix, rows = truth, summed over runs."""

    matrix: Floats

    @property
    def accuracy(self) -> float:
        """Share of the samples that were classified right."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    @property
    def majority_share(self) -> float:
        """Accuracy of always saying the most frequent class."""
        return float(self.matrix.sum(axis=1).max() / self.matrix.sum())

    @property
    def recalls(self) -> Floats:
        """Of each class; NaN for a class without samples."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.diag(self.matrix) / self.matrix.sum(axis=1)
        return found

    @property
    def hidden_class(self) -> int | None:
        """The class that a high accuracy hides; None where it hides none.

        The most frequent class has three quarters of the samples or more, less than half of the
        way from its share to 1 is gained, and of another class less than half is found.
        """
        share = self.majority_share
        if share < _MAJORITY or self.accuracy - share >= _CLOSE * (1 - share):
            return None
        if self.accuracy < share - (1 - share):
            return None  # so far below that the accuracy itself warns
        worst = int(np.nanargmin(self.recalls))
        return worst if self.recalls[worst] < _POOR_RECALL else None


def accuracy_paradox(subject: Subject) -> Found:
    """An accuracy that never saying one class would give as well."""
    runs = subject.measured.runs
    if "confusion_matrix" not in runs:
        return
    doubtful = subject.measured.finished & _may_hide(subject)
    for position in subject.positions(doubtful):
        rows = np.flatnonzero(doubtful & (subject.measured.configuration == position))
        matrices = [
            np.stack([np.asarray(line, dtype=np.float64) for line in cell])
            for cell in runs["confusion_matrix"].iloc[rows]
            if cell is not None and np.ndim(cell) > 0
        ]
        if not matrices or len({matrix.shape for matrix in matrices}) > 1:
            continue
        counts = ClassCounts(np.sum(matrices, axis=0))
        hidden = counts.hidden_class
        if hidden is not None:
            yield int(position), _paradox(subject, rows, counts, hidden)


def _may_hide(subject: Subject) -> Booleans:
    """Runs whose accuracy is far above the mean recall of the classes; the others are clear."""
    accuracy, balanced = subject.column("accuracy"), subject.column("balanced_accuracy")
    return np.isnan(balanced) | (accuracy - balanced > 0.1)


def _paradox(
    subject: Subject,
    rows: np.typing.NDArray[np.int64],
    counts: ClassCounts,
    hidden: int,
) -> Finding:
    names = subject.measured.runs["class_names"].iloc[rows[0]]
    name = str(hidden) if names is None or not np.ndim(names) else str(list(names)[hidden])
    recalls = counts.recalls
    evidence = {
        "accuracy": counts.accuracy,
        "majority_share": counts.majority_share,
        "class": name,
        "recall": float(recalls[hidden]),
        "balanced_accuracy": float(np.nanmean(recalls)),
    }
    mcc = subject.column("mcc")[rows]
    if not np.isnan(mcc).all():
        evidence["mcc"] = float(np.nanmean(mcc))
    return Finding(
        kind="accuracy_paradox",
        severity=Severity.WARNING,
        message=(
            f"An accuracy of {100 * counts.accuracy:.1f} % looks good, but the most frequent "
            f"class alone has {100 * counts.majority_share:.1f} % of the samples, and of class "
            f"{name} only {100 * recalls[hidden]:.0f} % are found. Weigh that class more in the "
            f"loss, move the decision threshold, and set a floor for its recall."
        ),
        evidence=evidence,
    )
