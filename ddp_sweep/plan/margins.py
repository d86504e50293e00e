"""Margins that are finer than a validation set, or fewer seeds than a confirmation, can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ddp_sweep.spec.sections import QualitySettings

__all__ = ["too_few_to_confirm", "too_fine_margins"]

_FEWEST_SAMPLES = 2
"""A margin of fewer samples than this is passed or missed by the luck of a single one."""
_LEAST_TO_CONFIRM = 3
"""Runs a side from which the spread between seeds can be judged at all."""


def too_few_to_confirm(quality: QualitySettings) -> list[str]:
    """What a confirmation of so few seeds cannot show."""
    if not quality.margins or not 0 < quality.confirm_seeds < _LEAST_TO_CONFIRM:
        return []
    return [
        f"quality.confirm_seeds: {quality.confirm_seeds}: at least {_LEAST_TO_CONFIRM} fresh "
        "seeds are needed to confirm that quality held within the margins, and 10 are advised; "
        "with 0 nothing is confirmed"
    ]


def too_fine_margins(
    margins: Mapping[str, float | str],
    *,
    validation_samples: int,
    class_counts: Sequence[int] | None,
    positive: int | None,
) -> Iterator[str]:
    """A sentence for each margin that one or two validation samples decide.

    Args:
        margins: By metric; relative ones have no smallest step and are left out.
        validation_samples: Size of the validation set.
        class_counts: Validation samples of each class; None where they are not known.
        positive: Number of the positive class of a binary task.
    """
    for metric, margin in margins.items():
        found = _counted(metric, validation_samples, class_counts, positive)
        if isinstance(margin, str) or found is None:
            continue
        steps, of_what = found
        samples = margin * steps
        if samples < _FEWEST_SAMPLES:
            yield (
                f"{metric} margin {margin:g} is {samples:.2g} of your {of_what}: finer than this "
                f"validation set can show. Take a margin of at least "
                f"{_rounded_up(_FEWEST_SAMPLES / steps)}, or a larger validation set"
            )


def _counted(
    metric: str, samples: int, counts: Sequence[int] | None, positive: int | None
) -> tuple[float, str] | None:
    """How many samples a metric of 1 stands for, and what they are."""
    if metric == "accuracy":
        return samples, f"{samples:,} validation samples"
    if metric not in ("recall", "balanced_accuracy") or not counts:
        return None
    if metric == "recall" and positive is not None:
        return counts[positive], f"{counts[positive]:,} positives"
    # A mean over classes: one sample of the rarest class moves it most.
    rarest = min(counts)
    return rarest * len(counts), (
        f"{rarest:,} samples of the rarest of {len(counts)} classes, times {len(counts)} since "
        "the mean over classes counts"
    )


def _rounded_up(margin: float) -> str:
    """Two decimals, or as many as it takes.

    >>> _rounded_up(2 / 53), _rounded_up(2 / 3000)
    ('0.04', '0.0007')
    """
    digits = max(2, -math.floor(math.log10(margin)))
    return f"{math.ceil(margin * 10**digits) / 10**digits:g}"
