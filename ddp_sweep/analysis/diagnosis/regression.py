"""What cost quality where some was lost: the batch, the workers or another setting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.diagnosis.factors import FACTORS
from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.metrics import better_sign, metric_values, parse_margins
from ddp_sweep.analysis.outcome import Finding, Severity, Verdict
from ddp_sweep.analysis.statistics.estimation import Floats
from ddp_sweep.analysis.wording import metric_name

__all__ = ["quality_regression"]

_JUDGED = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc")

_DID_IT = {
    "batch_size": "The batch size did it: ",
    "workers": "The number of workers did it, not the batch: ",
    "settings": "Neither the batch nor the number of workers did it, but another setting{named}: ",
}
_KEPT = "{twin} differs in that alone and keeps within the margin."
_LOST_TOO = {
    "batch_size": "{twin} has the same global batch and loses too much as well.",
    "workers": (
        "{twin} has as many workers and the reference's batch, and loses too much as well."
    ),
    "settings": "{twin} has the reference's workers and batch, and loses too much as well.",
}
_REMEDY = {
    "batch_size": " Try a smaller batch, or another learning rate for it.",
    "workers": (
        " Look at batch norm (training.synchronized_batch_norm) and at what a worker computes "
        "from its own share of a batch."
    ),
    "settings": "",
}
_UNKNOWN = (
    "Whether the batch size, the number of workers or another setting did it is not known: no "
    "configuration tried differs in one of them alone, neither from it nor from the reference."
)


@dataclass(frozen=True)
class _Cause:
    """One of `FACTORS`, or unknown, and the configuration that tells."""

    name: str
    twin: int | None = None
    twin_kept: bool = False
    """Whether the twin is good without the cause; else it is bad with the cause alone."""


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
    cause = _cause(subject, position, loss, margin)
    names = subject.standing.names
    return Finding(
        kind="quality_regression",
        severity=Severity.WARNING,
        message=(
            f"Its {metric_name(metric)} is {loss[position]:.3g} below that of "
            f"{names[subject.standing.reference]}; {margin:g} is allowed. "
            + _in_words(subject, position, cause)
        ),
        evidence={
            "metric": metric,
            "loss": float(loss[position]),
            "margin": margin,
            "cause": cause.name,
            "compared_with": None if cause.twin is None else names[cause.twin],
            "loss_there": None if cause.twin is None else float(loss[cause.twin]),
        },
    )


def _cause(subject: Subject, position: int, loss: Floats, margin: float) -> _Cause:
    """What did it, as far as one other configuration tells.

    Either one that differs in the cause alone and kept its quality, or one that has nothing but
    the cause unlike the reference and lost quality too.
    """
    reference = subject.standing.reference
    own = subject.factors.differ(position)
    others = subject.factors.differ(reference)
    kept = (own.sum(axis=0) == 1) & (loss <= margin)
    repeats = (others.sum(axis=0) == 1) & (others & ~own).any(axis=0) & own.any(axis=0)
    candidates = np.flatnonzero(kept | (repeats & (loss > margin)))
    if not len(candidates):
        return _Cause("unknown")
    # The reference itself is the plainest; then what ran on as many workers.
    distance = 2 * (candidates != reference) + others[0, candidates]
    twin = int(candidates[np.argmin(distance)])
    cause = own[:, twin] if kept[twin] else others[:, twin]
    return _Cause(FACTORS[int(np.argmax(cause))], twin, bool(kept[twin]))


def _in_words(subject: Subject, position: int, cause: _Cause) -> str:
    if cause.twin is None:
        return _UNKNOWN
    names = subject.standing.names
    against = cause.twin if cause.twin_kept else subject.standing.reference
    named = names.difference(position, against)
    seen = _KEPT if cause.twin_kept else _LOST_TOO[cause.name]
    text = _DID_IT[cause.name] + seen + _REMEDY[cause.name]
    return text.format(twin=names[cause.twin], named=f" ({named})" if named else "")
