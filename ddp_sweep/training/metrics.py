"""Metrics from sufficient statistics: a confusion matrix, sums, or all scores. Numpy only.

Never an average of averages. An undefined quotient is 0 where scikit-learn says 0 (precision
without a predicted positive), so that a model that predicts nothing does not drop out of a mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RegressionSums",
    "auroc",
    "average_precision",
    "classification_metrics",
    "perplexity",
    "regression_metrics",
    "score_metrics",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def classification_metrics(confusion: Ints, positive: int | None) -> dict[str, Any]:
    """Metrics of a confusion matrix.

    Args:
        confusion: Counts, shape [classes, classes], rows are the truth.
        positive: Binary task: the class of precision, recall and F1. None: macro averages over
            the classes that occur in the truth or in the predictions.

    Returns:
        accuracy, balanced_accuracy, precision, recall, f1, mcc, per_class_precision,
        per_class_recall (None for a class that no sample has) and confusion_matrix.

    >>> m = classification_metrics(np.array([[95, 5], [10, 90]]), positive=1)
    >>> round(m["precision"], 3), round(m["recall"], 3), round(m["f1"], 3)
    (0.947, 0.9, 0.923)
    """
    hits = np.diag(confusion).astype(np.float64)
    truth = confusion.sum(axis=1).astype(np.float64)
    predicted = confusion.sum(axis=0).astype(np.float64)
    recall = _quotient(hits, truth)
    precision = _quotient(hits, predicted)
    f1 = _quotient(2 * hits, truth + predicted)
    occurs = truth + predicted > 0
    chosen = np.flatnonzero(occurs) if positive is None else np.array([positive])
    return {
        "accuracy": float(hits.sum() / truth.sum()),
        "balanced_accuracy": float(recall[truth > 0].mean()),
        "precision": float(precision[chosen].mean()),
        "recall": float(recall[chosen].mean()),
        "f1": float(f1[chosen].mean()),
        "mcc": _matthews(hits, truth, predicted),
        "per_class_precision": precision.tolist(),
        "per_class_recall": [float(r) if n else None for r, n in zip(recall, truth, strict=True)],
        "confusion_matrix": confusion.tolist(),
    }


def _quotient(numerator: Floats, denominator: Floats) -> Floats:
    result = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _matthews(hits: Floats, truth: Floats, predicted: Floats) -> float:
    """Matthews correlation of several classes (J. Gorodkin 2004, Comput. Biol. Chem. 28)."""
    samples = truth.sum()
    covariance = hits.sum() * samples - truth @ predicted
    spread = np.sqrt(samples**2 - truth @ truth) * np.sqrt(samples**2 - predicted @ predicted)
    return float(covariance / spread) if spread > 0 else 0.0


@dataclass(frozen=True)
class RegressionSums:
    """Sums over all validation samples.

    Attributes:
        count: Samples.
        absolute: Sum of the absolute errors.
        squared: Sum of the squared errors.
        deviation: Sum of the squared deviations of the targets from their mean.
    """

    count: int
    absolute: float
    squared: float
    deviation: float


def regression_metrics(sums: RegressionSums) -> dict[str, float | None]:
    """mae, rmse and r2 = 1 - squared error / squared deviation of the targets.

    r2 is None where all targets are equal: there is no deviation to explain.
    """
    return {
        "mae": sums.absolute / sums.count,
        "rmse": float(np.sqrt(sums.squared / sums.count)),
        "r2": 1 - sums.squared / sums.deviation if sums.deviation > 0 else None,
    }


def perplexity(loss: float, tokens: float) -> float | None:
    """exp(loss / tokens) of a summed loss in nats; None without tokens, or too large for a float.

    >>> round(perplexity(2 * np.log(50), tokens=2), 9)
    50.0
    """
    try:
        return math.exp(loss / tokens) if tokens else None
    except OverflowError:
        return None


def score_metrics(targets: Ints, scores: Floats, positive: int | None) -> dict[str, float | None]:
    """Areas under the ROC and the precision-recall curve; of several classes the macro mean.

    Of several classes each is taken against all others.

    Args:
        targets: Labels, shape [samples].
        scores: Binary: probability of label 1, shape [samples]. Else shape [samples, classes].
        positive: Binary task: the positive label.

    Returns:
        None where a class that counts has no sample, or no other sample, or where a score is no
        number: there is no curve then.
    """
    if not np.isfinite(scores).all():
        return {"auroc": None, "average_precision": None}
    if positive is not None:
        truths = [targets == positive]
        columns = [scores if positive == 1 else 1 - scores]
    else:
        truths = [targets == label for label in range(scores.shape[1])]
        columns = list(scores.T)
    if any(truth.all() or not truth.any() for truth in truths):
        return {"auroc": None, "average_precision": None}
    pairs = list(zip(truths, columns, strict=True))
    return {
        "auroc": float(np.mean([auroc(*pair) for pair in pairs])),
        "average_precision": float(np.mean([average_precision(*pair) for pair in pairs])),
    }


def auroc(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve by the trapezoidal rule, equal scores taken together."""
    true_positives, false_positives = _cumulative(truth, scores)
    tpr = np.concatenate([[0.0], true_positives / true_positives[-1]])
    fpr = np.concatenate([[0.0], false_positives / false_positives[-1]])
    return float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))


def average_precision(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Sum of precision x gain in recall over the distinct scores, no interpolation."""
    true_positives, false_positives = _cumulative(truth, scores)
    precision = true_positives / (true_positives + false_positives)
    recall = np.concatenate([[0.0], true_positives / true_positives[-1]])
    return float(np.sum(np.diff(recall) * precision))


def _cumulative(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """True and false positives at every distinct score, from the largest score down."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true_positives = np.cumsum(hits)[ends].astype(np.float64)
    return true_positives, ends + 1 - true_positives
