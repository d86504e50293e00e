"""The answer that stands first: one sentence for someone who reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ddp_sweep.analysis import (
    Finding,
    RankedConfiguration,
    Ranking,
    RecommendationStatus,
    Severity,
    Verdict,
)
from ddp_sweep.analysis.tables.columns import numbers
from ddp_sweep.analysis.wording import count, ratio
from ddp_sweep.report.page.emphasis import Outcome, outcome
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.view import RankingView

__all__ = ["Answer", "Fact", "Remark", "answer", "remarks"]

_STATUS = {
    RecommendationStatus.CONFIRMED: "confirmed on fresh runs",
    RecommendationStatus.PROVISIONAL: "provisional",
    RecommendationStatus.NONE: "no recommendation yet",
}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A figure that stands large below the sentence."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to take, how sure that is, and the figures that matter to someone who decides."""

    status: str
    decided: bool
    sentence: str
    evidence: str
    """The same with the figures of each metric."""
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something to know before trusting a figure."""

    severity: str
    """error, warning or note."""
    message: str


def answer(material: Material, view: RankingView) -> Answer:
    """The recommendation in words, or why there is none."""
    ranking = material.ranking
    chosen = ranking.recommendation
    sentence = view.advice
    if chosen.fastest is not None:
        sentence = _sentence(chosen.fastest, ranking)
    return Answer(
        status=_STATUS[chosen.status],
        decided=view.decided,
        sentence=sentence,
        # Of the baseline itself the advice says no more than the sentence.
        evidence="" if chosen.fastest in (None, ranking.baseline) else view.advice,
        facts=tuple(_facts(material)),
    )


def _sentence(fastest: RankedConfiguration, ranking: Ranking) -> str:
    baseline = ranking.baseline
    if fastest is baseline:
        return f"Train with {_in_full(fastest)}: {_why_baseline(ranking)}."
    text = (
        f"Train with {_in_full(fastest)}: that is {ratio(fastest.speedup or 1)} times as fast as "
        f"{baseline.name}"
    )
    if fastest.speedup_low is not None and fastest.speedup_high is not None:
        text += f" (90 % interval {ratio(fastest.speedup_low)} to {ratio(fastest.speedup_high)})"
    found = outcome(fastest)
    text += f", with {found}" if found is Outcome.HELD else f", {found}"
    if fastest.cost_ratio is not None:
        text += f", at {ratio(fastest.cost_ratio)} times its cost"
    advised = ranking.recommendation.advised
    if advised is not None and advised is not fastest:
        text += f". {advised.name} takes hardly longer and is cheaper: take that one instead"
    return f"{text}."


def _why_baseline(ranking: Ranking) -> str:
    others = [entry for entry in ranking.configurations if entry is not ranking.baseline]
    if not others:
        return "it is the only configuration that was run"
    if not any(entry.verdict is Verdict.NON_INFERIOR for entry in others):
        return "no other configuration qualifies"
    return "none of the other configurations that qualify was shown to be faster"


def _in_full(entry: RankedConfiguration) -> str:
    """A configuration as one would say it to someone new.

    The rest of its name, where others have the same sizes, follows.
    """
    workers = count(entry.world_size, "worker")
    steps = entry.parameters.get("accumulation_steps")
    if entry.per_worker_batch_size is None or steps not in (None, 1):
        return entry.name
    text = f"{workers} and batches of {entry.per_worker_batch_size:,}"
    if entry.world_size > 1:
        text += " each"
        if entry.global_batch_size is not None:
            text += f" (global batch {entry.global_batch_size:,})"
    return text + entry.distinction


def _facts(material: Material) -> Iterator[Fact]:
    ranking = material.ranking
    fastest = ranking.recommendation.fastest
    if fastest is not None:
        if fastest.speedup is not None:
            yield _speedup(fastest, ranking)
        yield Fact(label="Quality", value=str(outcome(fastest)), detail=_basis(fastest, ranking))
        if fastest.cost_ratio is not None and fastest is not ranking.baseline:
            yield Fact(
                label="Cost",
                value=f"{ratio(fastest.cost_ratio)}x",
                detail=f"relative to {ranking.baseline.name}",
            )
        yield from _time(material, fastest)
        yield from _advised(ranking, fastest)
    runs = len(material.measured.runs)
    finished = int(material.measured.finished.sum())
    yield Fact(
        label="Runs",
        value=f"{finished:,} of {runs:,}",
        detail=f"gave a full measurement; {count(len(material.entries), 'configuration')}",
    )


def _time(material: Material, fastest: RankedConfiguration) -> Iterator[Fact]:
    measured = material.measured
    column = "time_to_target_s" if measured.to_target else "train_time_s"
    own = (measured.configuration == material.entries.index(fastest)) & measured.finished
    seconds = numbers(measured.runs, column)[own]
    if len(seconds) and not np.isnan(seconds).any():
        until = "to the target" if measured.to_target else "in training steps"
        runs = count(len(seconds), "run")
        yield Fact(
            label="Time", value=_duration(float(seconds.mean())), detail=f"{until}, mean of {runs}"
        )


def _advised(ranking: Ranking, fastest: RankedConfiguration) -> Iterator[Fact]:
    """A cheaper configuration that takes hardly longer."""
    advised = ranking.recommendation.advised
    if advised is None or advised is fastest or not (advised.cost_ratio and fastest.cost_ratio):
        return
    share = ratio(advised.cost_ratio / fastest.cost_ratio)
    yield Fact(
        label="Cheaper, hardly slower", value=f"{share}x the cost", detail=f"with {advised.name}"
    )


def _duration(seconds: float) -> str:
    """A time in the unit a person would use.

    Examples:
        >>> _duration(1.234), _duration(42), _duration(90), _duration(5400), _duration(259200)
        ('1.23 s', '42 s', '1.5 min', '1.5 h', '3 days')
    """
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400:.3g} days"


def _basis(fastest: RankedConfiguration, ranking: Ranking) -> str:
    if fastest is ranking.reference:
        return "it is the quality reference"
    if fastest.same_updates_as is not None:
        return f"same updates as {fastest.same_updates_as}"
    return f"against {ranking.reference.name}"


def _speedup(fastest: RankedConfiguration, ranking: Ranking) -> Fact:
    interval = ""
    if fastest.speedup_low is not None and fastest.speedup_high is not None:
        interval = f"{ratio(fastest.speedup_low)} to {ratio(fastest.speedup_high)}, "
    if fastest is ranking.baseline:
        return Fact(label="Speedup", value="1x", detail="it is the baseline itself")
    return Fact(
        label="Speedup",
        value=f"{ratio(fastest.speedup or 1)}x",
        detail=f"{interval}against {ranking.baseline.name}",
    )


def remarks(ranking: Ranking, view: RankingView) -> tuple[Remark, ...]:
    """What stands beside the ranking on a terminal, each with its weight."""
    found: list[Finding] = [*ranking.findings]
    for entry in ranking.configurations:
        found += entry.findings
    weights = {finding.message: finding.severity for finding in found}
    return tuple(
        Remark(severity=_weight(weights, sentence), message=sentence) for sentence in view.caveats
    )


def _weight(weights: dict[str, Severity], sentence: str) -> str:
    severity = next(
        (
            found
            for message, found in weights.items()
            if sentence == message or sentence.endswith(message[1:])
        ),
        Severity.INFO,
    )
    return "note" if severity is Severity.INFO else str(severity)
