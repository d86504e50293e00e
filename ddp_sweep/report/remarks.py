"""What is said beside the table: the advice, what it rests on, and where to go from here."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ddp_sweep.analysis.metrics import COST_METRICS
from ddp_sweep.analysis.outcome import (
    RankedConfiguration,
    Ranking,
    RecommendationStatus,
    Verdict,
)
from ddp_sweep.analysis.wording import count, ratio

__all__ = ["advice", "caveats", "commands"]

_MOST_OF_A_KIND = 3


def advice(ranking: Ranking) -> str:
    """One sentence: what to take, or why nothing can be recommended yet."""
    reason = ranking.recommendation.reason
    if ranking.recommendation.status is RecommendationStatus.NONE:
        reason = f"Nothing to recommend yet: {reason}"
    return reason.rstrip(".") + "."


def caveats(ranking: Ranking) -> tuple[str, ...]:
    """What the advice rests on and what was not measured, in plain sentences."""
    return (
        *_on_the_choice(ranking),
        *_reasons(ranking),
        *(finding.message for finding in ranking.findings),
        *_on_configurations(ranking),
        *_on_quality(ranking),
    )


def commands(ranking: Ranking) -> tuple[tuple[str, str], ...]:
    """Commands that go on from here, each with what it gives; none for a frame in memory."""
    source = ranking.conditions.source
    if source is None:
        return ()
    found = [(f"ddp-sweep rank {shlex.quote(source)} --format json", "every figure, for scripts")]
    if Path(source).is_dir():
        code = f"import ddp_sweep; print(ddp_sweep.load_results({json.dumps(source)}).trials)"
        found.append((f"python -c {shlex.quote(code)}", "every measurement, in pandas"))
    return tuple(found)


def _on_the_choice(ranking: Ranking) -> Iterator[str]:
    chosen = ranking.recommendation
    fastest, cheapest = chosen.fastest, chosen.cheapest
    if fastest is None:
        return
    if fastest is not ranking.baseline and chosen.status is RecommendationStatus.PROVISIONAL:
        yield (
            "The advice is provisional: it was picked as the fastest of these same runs, so "
            "expect a little less speedup from new ones."
        )
    if chosen.tied_with:
        names = ", ".join(entry.name for entry in chosen.tied_with[:_MOST_OF_A_KIND])
        more = len(chosen.tied_with) - _MOST_OF_A_KIND
        names += f" and {more} more" if more > 0 else ""
        yield f"As fast, as far as these runs can tell: {names}."
    if cheapest is not None and cheapest is not fastest:
        text = f"Cheapest: {cheapest.name}"
        if fastest.cost_ratio and cheapest.cost_ratio:
            times = ratio(fastest.cost_ratio / cheapest.cost_ratio)
            text += f"; {fastest.name} costs {times}x as much"
        yield f"{text}."


def _reasons(ranking: Ranking) -> Iterator[str]:
    """Why configurations are undecided, failed or too costly; those of one reason together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for entry in ranking.configurations:
        too_costly = entry.verdict is Verdict.INFERIOR and "cost" in entry.reason
        if too_costly or entry.verdict in (Verdict.INCONCLUSIVE, Verdict.FAILED):
            alike[entry.reason].append(entry.name)
    said = advice(ranking)
    for reason, names in alike.items():
        if len(names) == 1 and reason.partition(": ")[2] in said:
            continue
        who = names[0] if len(names) == 1 else count(len(names), "configuration")
        verb = "" if reason.startswith("did not") else "is " if len(names) == 1 else "are "
        yield f"{who} {verb}{reason}."


def _on_configurations(ranking: Ranking) -> Iterator[str]:
    """Findings about single configurations, at most a few of each kind."""
    seen: dict[str, int] = defaultdict(int)
    worth_it = (Verdict.BASELINE, Verdict.NON_INFERIOR, Verdict.INCONCLUSIVE)
    for entry in (found for found in ranking.configurations if found.verdict in worth_it):
        for finding in entry.findings:
            seen[finding.kind] += 1
            if seen[finding.kind] <= _MOST_OF_A_KIND and not _said_above(ranking, finding.kind):
                yield f"{entry.name}: {finding.message[0].lower()}{finding.message[1:]}"


def _said_above(ranking: Ranking, kind: str) -> bool:
    """A finding about the whole ranking says the same about all of them."""
    return kind == "no_speedup_claim" and any(
        finding.kind in ("oversubscribed", "packed") for finding in ranking.findings
    )


def _on_quality(ranking: Ranking) -> Iterator[str]:
    if any(_judged(entry) for entry in ranking.configurations):
        yield (
            "Quality was judged on this validation set; how far that holds for other data was not "
            "measured."
        )


def _judged(entry: RankedConfiguration) -> bool:
    return any(
        found.p_value is not None and name not in COST_METRICS
        for name, found in entry.metrics.items()
    )
