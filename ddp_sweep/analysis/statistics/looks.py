"""Which runs a verdict may rest on, where seeds were added after a look at the results.

Testing all runs again whenever some were added lets a configuration that lost quality pass in the
end: each look is another chance. So each look is judged on its fresh runs alone, at half the
level of the one before; all looks together pass wrongly at most 2 x .05 of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Integers
from ddp_sweep.analysis.statistics.loss_tests import Demands, LossTests, Verdicts, merge
from ddp_sweep.analysis.statistics.quality import ALPHA, judge_losses
from ddp_sweep.analysis.tables.columns import numbers, texts
from ddp_sweep.analysis.tables.measurements import Measurements
from ddp_sweep.results import SeedAddition, SeedPurpose

__all__ = ["Looks", "deciding_looks", "judge_looks", "look_alpha", "runs_only"]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What each run was made for."""

    look: Integers
    """1 for the runs of the sweep, 2 for the first seeds added, and so on; 0 for the runs of a
    confirmation; shape [runs]."""
    confirmation: Integers
    """1 for the runs of the first confirmation, and so on; 0 for all others; shape [runs]."""
    count: int
    """How many looks there were."""

    @classmethod
    def of(cls, measured: Measurements, additions: Sequence[SeedAddition]) -> Looks:
        """Find the addition that each run belongs to: by seed and configuration, the first one.

        Runs that none accounts for belong to the sweep.
        """
        look = np.ones(len(measured.configuration), dtype=np.int64)
        confirmation = np.zeros_like(look)
        open_runs = np.ones(len(look), dtype=np.bool_)
        looks = confirmations = 0
        for addition in additions:
            runs = open_runs & _belongs(measured, addition)
            open_runs &= ~runs
            if addition.purpose is SeedPurpose.CONFIRMATION:
                confirmations += 1
                look[runs], confirmation[runs] = 0, confirmations
            elif addition.purpose is SeedPurpose.MORE_SEEDS:
                looks = max(looks, 1) + 1
                look[runs] = looks
        return cls(look=look, confirmation=confirmation, count=max(looks, 1))


def look_alpha(number: int) -> float:
    """Level of the one-sided tests at a look, or at a confirmation, counted from 1.

    Examples:
        >>> [look_alpha(number) for number in (1, 2, 3)]
        [0.05, 0.025, 0.0125]
    """
    return float(ALPHA / 2 ** (number - 1))


def runs_only(measured: Measurements, keep: Booleans) -> Measurements:
    """The same configurations with some of their runs.

    Args:
        measured: All runs.
        keep: Which ones to keep; shape [runs].
    """
    if keep.all():
        return measured
    arrays = (
        "configuration", "ending", "time_s", "samples_needed", "cost", "time_pair",
        "quality_pair", "untimed",
    )  # fmt: skip
    return replace(
        measured,
        runs=measured.runs[keep],
        quality=measured.quality[keep],
        **{name: getattr(measured, name)[keep] for name in arrays},
    )


def judge_looks(
    measured: Measurements, looks: Looks, reference: Integers, demands: Demands
) -> tuple[LossTests, Integers]:
    """Test every configuration at the look that decides about it.

    Args:
        measured: The runs, without those of confirmations.
        looks: Which run is of which look.
        reference: The quality reference of each configuration.
        demands: Margins and floors.

    Returns:
        The results at the deciding look, and its number; shape [configurations].
    """
    next_alpha = look_alpha(looks.count + 1)
    together = judge_losses(measured, reference, demands, next_alpha=next_alpha)
    if looks.count == 1:
        return together, np.ones(measured.count, dtype=np.int64)
    run_look = looks.look[looks.look > 0]
    found: list[LossTests] = []
    judgeable = np.zeros((looks.count, measured.count), dtype=np.bool_)
    for number in range(1, looks.count + 1):
        fresh = runs_only(measured, run_look == number)
        found.append(judge_losses(fresh, reference, demands, alpha=look_alpha(number)))
        runs = np.bincount(fresh.configuration[fresh.finished], minlength=measured.count)
        judgeable[number - 1] = (runs > 0) & (runs[reference] > 0)
    deciding = deciding_looks(np.array([tests.verdicts() for tests in found]), judgeable)
    return merge(together, found, deciding), deciding + 1


def deciding_looks(verdicts: Verdicts, judgeable: Booleans) -> Integers:
    """Index of the look that decides about each configuration; shape [configurations].

    The first one that shows that quality held or was lost. A later one that shows a loss takes
    the place of one that held: fresh evidence against a configuration is never passed over, but a
    loss is not undone by trying again. Where none decides, the last one with runs to compare.

    Args:
        verdicts: At every look; shape [looks, configurations].
        judgeable: Whether there were fresh runs on both sides; the same shape.
    """
    held = (verdicts == Verdict.NON_INFERIOR) & judgeable
    lost = (verdicts == Verdict.INFERIOR) & judgeable
    last = len(verdicts) - 1 - np.argmax(judgeable[::-1], axis=0)
    last = np.where(judgeable.any(axis=0), last, 0)
    first_lost = np.where(lost.any(axis=0), np.argmax(lost, axis=0), -1)
    first_held = np.where(held.any(axis=0), np.argmax(held, axis=0), last)
    deciding: Integers = np.where(first_lost >= 0, first_lost, first_held)
    return deciding


def _belongs(measured: Measurements, addition: SeedAddition) -> Booleans:
    if "seed" not in measured.runs:
        return np.zeros(len(measured.runs), dtype=np.bool_)
    belongs: Booleans = np.isin(numbers(measured.runs, "seed"), addition.seeds)
    if addition.configuration_ids is not None:
        ids = texts(measured.runs, "configuration_id")
        belongs &= np.isin(ids, list(addition.configuration_ids))
    return belongs
