"""Figures of quality that mislead, and what cost quality where some was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.metrics import better_sign, metric_values, parse_margins
from ddp_sweep.analysis.outcome import Finding, Severity, Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Floats
from ddp_sweep.analysis.wording import metric_name

__all__ = ["ClassCounts", "accuracy_paradox", "quality_regression"]

_MAJORITY = 0.75
_POOR_RECALL = 0.5
_CLOSE = 0.5
_JUDGED = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc")


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


def quality_regression(subject: Subject) -> Found:
    """What cost quality, where a metric is below the reference by more than its margin."""
    standing = subject.standing
    lost = standing.assessment.judgements.verdict == Verdict.INFERIOR
    if not lost.any():
        return
    for metric, margin in parse_margins(subject.options.margins).items():
        sign = better_sign(metric, subject.measured.declared)
        if metric.partition("[")[0] not in _JUDGED or sign is None or margin.relative:
            continue
        finished = subject.measured.finished
        values = metric_values(subject.measured.quality, metric)
        means = subject.mean(np.where(finished, values, np.nan))
        loss = sign * (means[standing.reference] - means)
        for position in np.flatnonzero(lost & (loss > margin.value)):
            yield int(position), _regression(subject, int(position), metric, loss, margin.value)


def _regression(
    subject: Subject, position: int, metric: str, loss: Floats, margin: float
) -> Finding:
    cause, twin = _cause(subject, position, loss, margin)
    names = subject.standing.names
    explained = {
        "batch_size": (
            "The batch size did it: {twin} has the same global batch and loses as much. Try a "
            "smaller batch, or another learning rate for it."
        ),
        "workers": (
            "The number of workers did it, not the batch: {twin} does not lose as much. Look at "
            "batch norm (training.synchronized_batch_norm) and at what a worker computes from "
            "its own share of a batch."
        ),
        "unknown": (
            "Whether the batch size or the number of workers did it is not known: the same "
            "global batch was not tried with as few workers as the reference has."
        ),
    }
    if subject.world_size[position] == subject.world_size[subject.standing.reference]:
        told = "The batch size did it: the number of workers is that of the reference."
    else:
        told = explained[cause].format(twin="" if twin is None else names[twin])
    return Finding(
        kind="quality_regression",
        severity=Severity.WARNING,
        message=(
            f"Its {metric_name(metric)} is {loss[position]:.3g} below that of "
            f"{names[subject.standing.reference]}; {margin:g} is allowed. {told}"
        ),
        evidence={
            "metric": metric,
            "loss": float(loss[position]),
            "margin": margin,
            "cause": cause,
            "compared_with": None if twin is None else names[twin],
            "loss_there": None if twin is None else float(loss[twin]),
        },
    )


def _cause(subject: Subject, position: int, loss: Floats, margin: float) -> tuple[str, int | None]:
    """Batch size or workers, and the configuration that tells them apart."""
    reference = subject.standing.reference
    workers, batches = subject.world_size, subject.global_batch_size
    if workers[position] == workers[reference]:
        return "batch_size", reference
    if batches[position] == batches[reference]:
        return "workers", reference
    known = ~np.isnan(loss)
    same_batch = (workers == workers[reference]) & (batches == batches[position]) & known
    if same_batch.any():
        twin = int(np.flatnonzero(same_batch)[0])
        return ("batch_size" if loss[twin] > margin else "workers"), twin
    same_workers = (workers == workers[position]) & (batches == batches[reference]) & known
    if same_workers.any():
        twin = int(np.flatnonzero(same_workers)[0])
        if loss[twin] > margin:
            return "workers", twin
    return "unknown", None
