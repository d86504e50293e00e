"""Margins that cannot mean what they seem to: too fine for the validation set, or too wide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddp_sweep.analysis.metrics import Margin, resolution
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import margin_text, metric_name
from ddp_sweep.spec.metrics import METRICS, split_class

__all__ = ["margin_findings"]


def margin_findings(standing: Standing) -> Iterator[Finding]:
    """Findings about the margins that were asked for, in the light of what was measured."""
    reference = standing.reference
    for name, found in standing.assessment.tests.tested.items():
        margin = found.margin
        assert margin is not None
        if not margin.relative:
            yield from _finer_than_a_sample(standing.measured, reference, name, margin)
            yield from _wider_than_the_error(name, margin, float(found.value[reference]))


def _finer_than_a_sample(
    measured: Measurements, reference: int, name: str, margin: Margin
) -> Iterator[Finding]:
    if METRICS.get(split_class(name)[0]) is None or METRICS[split_class(name)[0]].high != 1:
        return
    runs = np.flatnonzero(measured.finished & (measured.configuration == reference))[:1]
    steps = resolution(measured.quality.iloc[runs], name)
    if not len(steps) or np.isnan(steps[0]) or steps[0] <= margin.value:
        return
    step = float(steps[0])
    yield Finding(
        kind="margin_below_one_sample",
        severity=Severity.WARNING,
        message=(
            f"The margin of {metric_name(name)}, {margin_text(margin)}, is finer than a single "
            f"validation sample, which makes {step:.2g}: whether quality held hangs on one "
            "sample. Widen the margin or validate on more samples."
        ),
        evidence={"metric": name, "margin": margin.value, "one_sample": step},
    )


def _wider_than_the_error(name: str, margin: Margin, value: float) -> Iterator[Finding]:
    """A margin as large as all that is left to lose says nothing was lost, whatever happens."""
    metric = METRICS.get(split_class(name)[0])
    if metric is None or metric.high != 1 or np.isnan(value) or 1 - value >= margin.value:
        return
    yield Finding(
        kind="margin_above_error",
        severity=Severity.WARNING,
        message=(
            f"The margin of {metric_name(name)}, {margin_text(margin)}, is larger than the error "
            f"of the quality reference, {1 - value:.2g}: the error may more than double and still "
            "count as held. Narrow the margin."
        ),
        evidence={"metric": name, "margin": margin.value, "error": 1 - value},
    )
