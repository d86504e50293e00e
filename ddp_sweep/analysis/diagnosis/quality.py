"""Figures of quality that mislead."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats, Integers
from ddp_sweep.analysis.wording import count

__all__ = ["ClassCounts", "accuracy_paradox"]

_MAJORITY = 0.75
_POOR_RECALL = 0.5
_CLOSE = 0.5


@dataclass(frozen=True)
class ClassCounts:
    """A confusion matrix, rows = truth."""

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
    """An accuracy that never saying one class would give as well, in any finished run."""
    if "confusion_matrix" not in subject.measured.runs:
        return
    finished = subject.measured.finished
    for position in subject.positions(finished & _may_hide(subject)):
        rows = np.flatnonzero(finished & (subject.measured.configuration == position))
        runs = _class_counts(subject, rows)
        hidden = [one.hidden_class for one in runs]
        known = Counter(one for one in hidden if one is not None)
        if known:
            yield int(position), _paradox(subject, rows, runs, *known.most_common(1)[0])


def _may_hide(subject: Subject) -> Booleans:
    """Runs whose accuracy is far above the mean recall of the classes; the others are clear."""
    accuracy, balanced = subject.column("accuracy"), subject.column("balanced_accuracy")
    return np.isnan(balanced) | (accuracy - balanced > 0.1)


def _class_counts(subject: Subject, rows: Integers) -> list[ClassCounts]:
    """Of each of some runs that has them; none where they are not of the same classes."""
    matrices = [
        np.stack([np.asarray(line, dtype=np.float64) for line in cell])
        for cell in subject.measured.runs["confusion_matrix"].iloc[rows]
        if cell is not None and np.ndim(cell) > 0
    ]
    alike = len({matrix.shape for matrix in matrices}) == 1
    return [ClassCounts(matrix) for matrix in matrices] if alike else []


def _paradox(
    subject: Subject, rows: Integers, runs: list[ClassCounts], hidden: int, hiding: int
) -> Finding:
    """The figures are those of all runs; how many of them hide the class is said beside."""
    names = subject.measured.runs["class_names"].iloc[rows[0]]
    name = str(hidden) if names is None or not np.ndim(names) else str(list(names)[hidden])
    counts = ClassCounts(np.sum([run.matrix for run in runs], axis=0))
    recall = float(counts.recalls[hidden])
    evidence: dict[str, Any] = {
        "runs": hiding,
        "of_runs": len(runs),
        "accuracy": counts.accuracy,
        "majority_share": counts.majority_share,
        "class": name,
        "recall": recall,
        "balanced_accuracy": float(np.nanmean(counts.recalls)),
    }
    mcc = subject.column("mcc")[rows]
    if not np.isnan(mcc).all():
        evidence["mcc"] = float(np.nanmean(mcc))
    return Finding(
        kind="accuracy_paradox",
        severity=Severity.WARNING,
        message=(
            f"An accuracy of {100 * counts.accuracy:.1f} % looks good, but the most frequent "
            f"class alone has {100 * counts.majority_share:.1f} % of the samples. Of class {name} "
            f"{100 * recall:.0f} % are found, and in {hiding} of {count(len(runs), 'run')} less "
            "than half. Weigh that class more in the loss, move the decision threshold, and set "
            "a floor for its recall."
        ),
        evidence=evidence,
    )
