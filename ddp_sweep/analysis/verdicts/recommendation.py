"""Which configuration to take: provisional at best until fresh seeds have confirmed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.outcome import Finding, RecommendationStatus, Severity
from ddp_sweep.analysis.statistics.quality import ALPHA
from ddp_sweep.analysis.statistics.speedup import Speedups, speedups
from ddp_sweep.analysis.tables.columns import texts
from ddp_sweep.analysis.verdicts.standing import Standing
from ddp_sweep.analysis.wording import count, ratio

__all__ = ["NEARLY_AS_FAST", "Choice", "choose", "fresh_figures"]

NEARLY_AS_FAST = 1.05
"""A cheaper configuration is advised that takes at most this times the time of the fastest."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recommendation, with configurations by number."""

    status: RecommendationStatus
    reason: str
    fastest: int | None = None
    cheapest: int | None = None
    pareto: Sequence[int] = ()
    tied_with: Sequence[int] = ()
    advised: int | None = None
    """Cheaper than the fastest, and shown to be nearly as fast."""
    next_candidate: int | None = None
    """What to confirm next, where fresh seeds did not confirm the one before."""


def choose(standing: Standing) -> Choice:
    """Recommend the fastest configuration whose quality held, if the data show one.

    Of those of known quality the one of the largest speedup wins whose interval lies above 1, or
    that has none. Where no other was shown to be faster, the baseline itself is the answer, unless
    one of unknown quality looks faster: then nothing can be recommended yet. Where fresh seeds
    did not confirm a choice, nothing is recommended until they confirm another one.
    """
    winner, status = standing.winner, standing.assessment.statuses[0]
    pareto = _pareto(standing)
    if winner is None or status is RecommendationStatus.NONE:
        return Choice(
            status=RecommendationStatus.NONE,
            reason=_why_none(standing, winner),
            pareto=pareto,
            next_candidate=winner,
        )
    others = standing.candidates[standing.candidates != winner]
    # Corrected for the number of comparisons.
    confidence = 1 - 2 * ALPHA / max(len(others), 1)
    against_winner = speedups(standing.measured, winner, confidence)
    advised = _advised(standing, winner, others, against_winner)
    return Choice(
        status=status,
        reason=_why(standing, winner, status) + _advice(standing, winner, advised),
        fastest=winner,
        cheapest=_cheapest(standing),
        pareto=pareto,
        tied_with=[int(p) for p in others if not against_winner.high[p] < 1],
        advised=advised,
    )


def _advised(
    standing: Standing, winner: int, others: Sequence[int], against_winner: Speedups
) -> int | None:
    """The cheapest of those that are cheaper and were shown to take at most 5 % longer."""
    cost = standing.cost_ratio
    near = [
        int(position)
        for position in others
        if cost[position] < cost[winner] and against_winner.low[position] > 1 / NEARLY_AS_FAST
    ]
    return min(near, key=lambda position: float(cost[position]), default=None)


def _advice(standing: Standing, winner: int, advised: int | None) -> str:
    if advised is None:
        return ""
    saving = standing.cost_ratio[winner] / standing.cost_ratio[advised]
    percent = f"{100 * (NEARLY_AS_FAST - 1):.0f} %"
    return (
        f". {standing.names[advised]} takes at most {percent} longer, and "
        f"{standing.names[winner]} costs {ratio(saving)}x as much: take the cheaper one"
    )


def _cheapest(standing: Standing) -> int | None:
    costs = standing.cost_ratio[standing.candidates]
    if np.isnan(costs).all():
        return None
    return int(standing.candidates[np.nanargmin(costs)])


def _pareto(standing: Standing) -> list[int]:
    """Candidates that no other beats in both speed and cost, fastest first."""
    front: list[int] = []
    least_cost = np.inf
    speed, cost = standing.speed.speedup, standing.cost_ratio
    candidates = standing.candidates
    for position in candidates[np.lexsort((cost[candidates], -speed[candidates]))]:
        if cost[position] < least_cost:
            least_cost = cost[position]
            front.append(int(position))
    return front


def _why(standing: Standing, winner: int, status: RecommendationStatus) -> str:
    name, baseline = standing.names[winner], standing.names[standing.baseline]
    if winner == standing.baseline:
        return f"{name}: no other configuration that qualifies was shown to be faster"
    if status is RecommendationStatus.CONFIRMED:
        return (
            f"{name}: {standing.fresh_speedup_text(winner)} faster than {baseline}; "
            f"{standing.fresh_reason(winner)}; confirmed by fresh seeds"
        )
    sentence = (
        f"{name}: {standing.speedup_text(winner)} faster than {baseline}; "
        f"{standing.judgements[winner].reason}"
    )
    unknown = standing.faster_unknown
    if unknown is not None and standing.speed.speedup[unknown] > standing.speed.speedup[winner]:
        sentence += (
            f". {standing.names[unknown]} may be faster still "
            f"({standing.speedup_text(unknown)}), but whether its quality holds is not yet known"
        )
    return sentence


def _why_none(standing: Standing, candidate: int | None) -> str:
    refuted = np.flatnonzero(standing.assessment.confirmations.refuted)
    if len(refuted):
        return _why_refuted(standing, [int(position) for position in refuted], candidate)
    unknown = standing.faster_unknown
    if unknown is not None:
        reason = standing.judgements[unknown].reason.removeprefix("not yet known: ")
        return (
            f"{standing.names[unknown]} is {standing.speedup_text(unknown)} faster than "
            f"{standing.names[standing.baseline]}, but whether its quality held is not yet known: "
            f"{reason}"
        )
    if np.isnan(standing.speed.speedup).all():
        baseline = standing.names[standing.baseline]
        if (texts(standing.measured.runs, "placement") == "packed").any():
            return (
                f"no speedup against {baseline} is claimed: trials ran side by side (placement: "
                "packed), so their times were taken while others ran. The verdicts on quality "
                "hold all the same; for speed run with placement: exclusive"
            )
        return f"no speedup could be measured against {baseline}"
    baseline = standing.judgements[standing.baseline].reason
    return f"no configuration qualifies; {standing.names[standing.baseline]}: {baseline}"


def _why_refuted(standing: Standing, refuted: Sequence[int], candidate: int | None) -> str:
    last = refuted[int(np.argmax(standing.assessment.confirmations.latest[list(refuted)]))]
    sentence = (
        f"fresh seeds did not confirm {standing.names[last]} ({standing.judgements[last].reason})"
    )
    if candidate is None:
        return sentence
    if candidate == standing.baseline:
        return f"{sentence}; nothing else was shown to be faster than {standing.names[candidate]}"
    return (
        f"{sentence}; next: {standing.names[candidate]}, "
        f"{standing.speedup_text(candidate)} faster, yet to be confirmed"
    )


def fresh_figures(standing: Standing, position: int) -> Iterator[Finding]:
    """The finding that the figures of a confirmed winner are those of its fresh runs."""
    status = standing.assessment.statuses[0]
    if position != standing.winner or status is not RecommendationStatus.CONFIRMED:
        return
    found = standing.assessment.confirmations.of(position)
    assert found is not None
    runs = int(found.judge.runs[position])
    yield Finding(
        kind="confirmed_by_fresh_seeds",
        severity=Severity.INFO,
        message=(
            f"Its speedup and quality are those of {count(runs, 'fresh run')}; the ones that "
            f"chose it showed {standing.speedup_text(position)}."
        ),
        evidence={
            "fresh_runs": runs,
            "selected_speedup": float(standing.speed.speedup[position]),
        },
    )
