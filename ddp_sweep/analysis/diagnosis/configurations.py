"""Findings about single configurations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from ddp_sweep.analysis.diagnosis.integrity import (
    unequal_work,
    unsynchronized_replicas,
    wrong_gradient_averaging,
)
from ddp_sweep.analysis.diagnosis.quality import accuracy_paradox
from ddp_sweep.analysis.diagnosis.regression import quality_regression
from ddp_sweep.analysis.diagnosis.speed import low_speedup
from ddp_sweep.analysis.diagnosis.subject import Subject
from ddp_sweep.analysis.diagnosis.training import overfitting, unstable_training
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.statistics.estimation import Integers
from ddp_sweep.analysis.tables.sources import Source
from ddp_sweep.analysis.verdicts.standing import Standing

__all__ = ["diagnose_configurations"]

_CHECKS = (
    unsynchronized_replicas,
    wrong_gradient_averaging,
    unequal_work,
    unstable_training,
    overfitting,
    accuracy_paradox,
    quality_regression,
    low_speedup,
)
_LOOKED_AT = 1000
"""The first in rank order that are looked at one by one; nobody reads on beyond them."""
_GRAVITY = [Severity.ERROR, Severity.WARNING, Severity.INFO]


def diagnose_configurations(
    standing: Standing, source: Source, options: RankingOptions
) -> Mapping[int, tuple[Finding, ...]]:
    """Findings by number of the configuration, the gravest first; those without any are absent.

    Of many configurations only the first thousand in rank order are looked at, and the two that
    all are compared with.

    Args:
        standing: Where every configuration stands.
        source: Where the runs come from.
        options: What they were judged by.
    """
    subject = Subject(
        standing=standing,
        options=options,
        evals=source.evals,
        steps=source.steps,
        only=_looked_at(standing),
    )
    found: dict[int, list[Finding]] = defaultdict(list)
    for check in _CHECKS:
        for position, finding in check(subject):
            found[position].append(finding)
    return {
        position: tuple(sorted(findings, key=lambda one: _GRAVITY.index(one.severity)))
        for position, findings in found.items()
    }


def _looked_at(standing: Standing) -> Integers | None:
    if standing.measured.count <= _LOOKED_AT:
        return None
    return np.union1d(standing.order[:_LOOKED_AT], [standing.reference, standing.baseline])
