"""Which configuration to take: provisional at best until fresh seeds have confirmed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis.outcome import RecommendationStatus
from ddp_sweep.analysis.quality import ALPHA
from ddp_sweep.analysis.speedup import speedups
from ddp_sweep.analysis.standing import Standing

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recommendation, with configurations by number."""

    status: RecommendationStatus
    reason: str
    fastest: int | None = None
    cheapest: int | None = None
    pareto: Sequence[int] = ()
    tied_with: Sequence[int] = ()


def choose(standing: Standing) -> Choice:
    """Recommend the fastest configuration whose quality held, if the data show one.

    Of those of known quality the one of the largest speedup wins whose interval lies above 1, or
    that has none. Where no other was shown to be faster, the baseline itself is the answer, unless
    one of unknown quality looks faster: then nothing can be recommended yet.
    """
    winner = _winner(standing)
    pareto, cheapest = _pareto(standing), _cheapest(standing)
    if winner is None:
        return Choice(
            status=RecommendationStatus.NONE,
            reason=_why_none(standing),
            cheapest=None,
            pareto=pareto,
        )
    return Choice(
        status=RecommendationStatus.PROVISIONAL,
        reason=_why(standing, winner),
        fastest=winner,
        cheapest=cheapest,
        pareto=pareto,
        tied_with=_tied(standing, winner),
    )


def _winner(standing: Standing) -> int | None:
    speed = standing.speed
    for position in standing.candidates:
        low = speed.low[position]
        proven = low > 1 if not np.isnan(low) else speed.speedup[position] > 1
        if position != standing.baseline and proven:
            return int(position)
    alone = standing.baseline in standing.candidates and standing.faster_unknown is None
    return standing.baseline if alone else None


def _tied(standing: Standing, winner: int) -> list[int]:
    """Those that a direct comparison, corrected for their number, can't tell from the winner."""
    others = [int(position) for position in standing.candidates if position != winner]
    if not others:
        return []
    confidence = 1 - 2 * ALPHA / len(others)
    against_winner = speedups(standing.measured, winner, confidence)
    return [position for position in others if not against_winner.high[position] < 1]


def _cheapest(standing: Standing) -> int | None:
    costs = standing.cost_ratio[standing.candidates]
    if np.isnan(costs).all():
        return None
    return int(standing.candidates[np.nanargmin(costs)])


def _pareto(standing: Standing) -> list[int]:
    """Candidates that no other beats in both speed and cost, fastest first."""
    front: list[int] = []
    least_cost = np.inf
    for position in sorted(standing.candidates, key=lambda p: _speed_then_cost(standing, p)):
        if standing.cost_ratio[position] < least_cost:
            least_cost = standing.cost_ratio[position]
            front.append(int(position))
    return front


def _speed_then_cost(standing: Standing, position: int) -> tuple[float, float]:
    return -standing.speed.speedup[position], standing.cost_ratio[position]


def _why(standing: Standing, winner: int) -> str:
    name, baseline = standing.names[winner], standing.names[standing.baseline]
    if winner == standing.baseline:
        return f"{name}: no other configuration that qualifies was shown to be faster"
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


def _why_none(standing: Standing) -> str:
    unknown = standing.faster_unknown
    if unknown is not None:
        reason = standing.judgements[unknown].reason.removeprefix("not yet known: ")
        return (
            f"{standing.names[unknown]} is {standing.speedup_text(unknown)} faster than "
            f"{standing.names[standing.baseline]}, but whether its quality held is not yet known: "
            f"{reason}"
        )
    if np.isnan(standing.speed.speedup).all():
        return f"no speedup could be measured against {standing.names[standing.baseline]}"
    baseline = standing.judgements[standing.baseline].reason
    return f"no configuration qualifies; {standing.names[standing.baseline]}: {baseline}"
