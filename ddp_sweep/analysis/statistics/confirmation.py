"""Whether fresh seeds bear out what was chosen: on runs that had no part in the choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Integers
from ddp_sweep.analysis.statistics.looks import Looks, look_alpha, runs_only
from ddp_sweep.analysis.statistics.loss_tests import Demands, Verdicts
from ddp_sweep.analysis.statistics.quality import judge_losses
from ddp_sweep.analysis.statistics.same_updates import find_twins
from ddp_sweep.analysis.statistics.speedup import Speedups, speedups
from ddp_sweep.analysis.tables.measurements import Ending, Measurements
from ddp_sweep.analysis.verdicts.verdict import Judge, Judgements

__all__ = ["Confirmation", "Confirmations", "confirm"]


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """One round of fresh runs, judged on its own."""

    number: int
    """Counted from 1; each is judged at half the level of the one before."""
    judge: Judge
    judgements: Judgements
    speed: Speedups
    """On the fresh runs; against the earlier runs of a baseline that has no fresh ones."""
    tried: Booleans
    """Configurations that ran afresh, the quality reference left out; shape [configurations]."""

    is_baseline: Booleans
    """Configurations that speedups are relative to; shape [configurations]."""

    @property
    def passed(self) -> Booleans:
        """Quality held, and a speedup was shown where there can be one; [configurations]."""
        held: Booleans = self.judgements.verdict == Verdict.NON_INFERIOR
        return self.tried & held & ((self.speed.low > 1) | self.is_baseline)


@dataclass(frozen=True, kw_only=True)
class Confirmations:
    """What all confirmations together say; shape [configurations]."""

    rounds: tuple[Confirmation, ...] = ()
    latest: Integers
    """Index of the last round that a configuration ran in, -1 for none."""
    passed: Booleans
    refuted: Booleans
    """Tried, and quality or speedup was not borne out."""
    verdict: Verdicts
    """Of the fresh runs where it was refuted: lost, did not finish, or not yet known."""

    def of(self, position: int) -> Confirmation | None:
        """The last round that a configuration ran in."""
        index = int(self.latest[position])
        return None if index < 0 else self.rounds[index]


def confirm(
    measured: Measurements,
    looks: Looks,
    reference: Integers,
    baseline: Integers,
    demands: Demands,
) -> Confirmations:
    """Judge the runs of every confirmation on their own, the k-th at .05 / 2^(k-1).

    Args:
        measured: All runs.
        looks: Which runs are of which confirmation.
        reference: The quality reference of each configuration.
        baseline: The speed baseline of each configuration.
        demands: Margins and floors.
    """
    count = measured.count
    latest = np.full(count, -1, dtype=np.int64)
    passed = np.zeros(count, dtype=np.bool_)
    verdict = np.full(count, Verdict.INCONCLUSIVE.value, dtype="<U16")
    rounds = []
    for number in range(1, int(looks.confirmation.max(initial=0)) + 1):
        one = _confirm_once(measured, looks, reference, baseline, demands, number)
        rounds.append(one)
        latest[one.tried] = number - 1
        passed = np.where(one.tried, one.passed, passed)
        against = np.isin(one.judgements.verdict, [Verdict.INFERIOR.value, Verdict.FAILED.value])
        found = np.where(against, one.judgements.verdict, Verdict.INCONCLUSIVE.value)
        verdict = np.where(one.tried, found, verdict)
    return Confirmations(
        rounds=tuple(rounds),
        latest=latest,
        passed=passed,
        refuted=(latest >= 0) & ~passed,
        verdict=verdict,
    )


def _confirm_once(
    measured: Measurements,
    looks: Looks,
    reference: Integers,
    baseline: Integers,
    demands: Demands,
    number: int,
) -> Confirmation:
    chosen = looks.confirmation == number
    fresh = runs_only(measured, chosen)
    judge = Judge(
        measured=fresh,
        reference=reference,
        tests=judge_losses(fresh, reference, demands, alpha=look_alpha(number)),
        twins=find_twins(fresh, reference),
    )
    runs = fresh.tally(*(ending for ending in Ending if ending is not Ending.LOST))
    numbers = np.arange(measured.count)
    # Where the baseline has no fresh runs, the ones that made it the baseline are compared with:
    # it was picked as the fastest, so they make the speedup look smaller, not larger.
    is_baseline: Booleans = np.isin(numbers, baseline)
    lent = is_baseline & (fresh.tally(Ending.FINISHED) == 0)
    with_baseline = chosen | (lent[measured.configuration] & (looks.look > 0))
    return Confirmation(
        number=number,
        judge=judge,
        judgements=judge.judge(),
        speed=speedups(runs_only(measured, with_baseline), baseline),
        tried=(runs > 0) & (numbers != reference),
        is_baseline=is_baseline,
    )
