"""What is said beside the table: the advice, what it rests on, and where to go from here."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ddp_sweep.analysis.metrics import COST_METRICS, Margin
from ddp_sweep.analysis.outcome import (
    RankedConfiguration,
    Ranking,
    RecommendationStatus,
    Verdict,
)
from ddp_sweep.analysis.wording import count, difference_text, metric_name, ratio

__all__ = ["advice", "caveats", "commands", "over_cost", "seeds_text", "speedup_text"]

_MOST_OF_A_KIND = 3
_MOST_REASONS = 10
_LOOKED_AT = 1000
"""Configurations, from the first rank on, that remarks are made about."""
_OPTIONS = (
    ("--baseline", "baseline", True),
    ("--margin", "margins", False),
    ("--target", "target", True),
    ("--columns", "columns", True),
    ("--where", "where", False),
)
"""Options of ``rank`` with the arguments they stand for; whether one holds all pairs."""


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
        *_beyond_this_set(ranking),
        *_too_costly(ranking),
        *_reasons(ranking),
        *_more_seeds(ranking),
        *(finding.message for finding in ranking.findings),
        *_on_configurations(ranking),
        *_on_quality(ranking),
    )


def commands(ranking: Ranking) -> tuple[tuple[str, str], ...]:
    """Commands that go on from here, each with what it gives; none for a frame in memory."""
    source = ranking.conditions.source
    if source is None:
        return ()
    words = ["ddp-sweep", "rank", source, *_options(ranking.conditions.asked), "--format", "json"]
    found = [(shlex.join(words), "every figure, for scripts")]
    if Path(source).is_dir():
        code = f"import ddp_sweep; print(ddp_sweep.load_results({json.dumps(source)}).trials)"
        found.append((f"python -c {shlex.quote(code)}", "every measurement, in pandas"))
    return tuple(found)


def _options(asked: Mapping[str, Any]) -> Iterator[str]:
    """What a ranking was asked, as options of ``rank``."""
    for option, name, together in _OPTIONS:
        pairs = [
            f"{key}={one}"
            for key, value in asked.get(name, {}).items()
            for one in (value if isinstance(value, list | tuple | set) else [value])
        ]
        for text in [",".join(pairs)] if together and pairs else pairs:
            yield from (option, text)
    if "pair_by" in asked:
        yield from ("--pair-by", asked["pair_by"])


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
    """Why configurations are undecided or failed; those of one reason together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for entry in islice(ranking.configurations, _LOOKED_AT):
        if entry.verdict in (Verdict.INCONCLUSIVE, Verdict.FAILED):
            alike[entry.reason].append(entry.name)
    said = advice(ranking)
    for reason, names in islice(alike.items(), _MOST_REASONS):
        outcome, _, why = reason.partition(": ")
        if why in said:
            if len(names) > 1:
                reason = f"{outcome}, for the same reason"
            else:
                continue
        who = names[0] if len(names) == 1 else count(len(names), "configuration")
        verb = "" if reason.startswith("did not") else "is " if len(names) == 1 else "are "
        yield f"{who} {verb}{reason}."
    if len(alike) > _MOST_REASONS:
        more = count(len(alike) - _MOST_REASONS, "more reason")
        yield f"{more} of this kind: see --format json."


def _too_costly(ranking: Ranking) -> Iterator[str]:
    """Configurations that are over a margin on cost alone: dear, and nothing worse than that."""
    found = [entry for entry in islice(ranking.configurations, _LOOKED_AT) if over_cost(entry)]
    for entry in found[:1]:
        how_fast = "" if entry.speedup is None else f" is {speedup_text(entry)} as fast, and"
        target = " at the same target" if ranking.conditions.to_target else ""
        yield (
            f"{entry.name}{how_fast} is over the margin on cost{target}: "
            f"{entry.reason.partition(': ')[2]}. That is a price to pay, not a loss of quality."
        )
    if len(found) > 1:
        yield f"The same is true of {count(len(found) - 1, 'other configuration')}."


def _more_seeds(ranking: Ranking) -> Iterator[str]:
    """What would decide about the undecided: how many seeds, and the command that runs them."""
    first = islice(ranking.configurations, _LOOKED_AT)
    known = [entry for entry in first if entry.seeds_needed is not None]
    if not known:
        return
    faster = [entry for entry in known if entry.speedup is not None and entry.speedup > 1] or known
    named = "; ".join(
        f"{entry.name}: {seeds_text(entry.seeds_needed)}" for entry in faster[:_MOST_OF_A_KIND]
    )
    yield (f"How many more seeds would probably tell, if nothing is lost in truth: {named}.")
    source = ranking.conditions.source
    if source is not None and Path(source).is_dir():
        most = max(entry.seeds_needed or 0 for entry in faster[:_MOST_OF_A_KIND])
        yield (
            "To run them, with the sweep file in the place of SWEEP: "
            f"`ddp-sweep run SWEEP --more-seeds {most} --only undecided`."
        )


def _beyond_this_set(ranking: Ranking) -> Iterator[str]:
    """The wider interval of the configuration advised, where it was worked out."""
    entry = ranking.recommendation.fastest
    if entry is None or entry is ranking.reference:
        return
    for name, found in entry.metrics.items():
        if found.margin is None or found.population_low is None or found.population_high is None:
            continue
        margin = Margin.parse(name, found.margin)
        here = difference_text(found.difference, found.low, found.high, margin)
        elsewhere = difference_text(
            found.difference, found.population_low, found.population_high, margin
        )
        yield (
            f"{entry.name}, {metric_name(name)}: {here} on this validation set; {elsewhere} for "
            "other data like it."
        )


def _on_configurations(ranking: Ranking) -> Iterator[str]:
    """Findings about single configurations, at most a few of each kind."""
    seen: dict[str, int] = defaultdict(int)
    worth_it = (Verdict.BASELINE, Verdict.NON_INFERIOR, Verdict.INCONCLUSIVE)
    first = islice(ranking.configurations, _LOOKED_AT)
    for entry in (found for found in first if found.verdict in worth_it):
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
    judged = [entry for entry in islice(ranking.configurations, _LOOKED_AT) if _judged(entry)]
    if judged and not any(_known_beyond(entry) for entry in judged):
        yield (
            "Quality was judged on this validation set; how far that holds for other data was not "
            "measured."
        )


def _known_beyond(entry: RankedConfiguration) -> bool:
    return any(found.population_low is not None for found in entry.metrics.values())


def _judged(entry: RankedConfiguration) -> bool:
    return any(
        found.p_value is not None and name not in COST_METRICS
        for name, found in entry.metrics.items()
    )


def over_cost(entry: RankedConfiguration) -> bool:
    """Whether a margin on cost was passed, and none on quality."""
    lost = {name for name, found in entry.metrics.items() if found.verdict is Verdict.INFERIOR}
    return entry.verdict is Verdict.INFERIOR and bool(lost) and COST_METRICS.issuperset(lost)


def speedup_text(entry: RankedConfiguration) -> str:
    """Speedup with its interval, ``1.83x [1.78, 1.88]``; an end that is not known is ``?``."""
    if entry.speedup is None:
        return "-"
    ends = ["?" if end is None else ratio(end) for end in (entry.speedup_low, entry.speedup_high)]
    interval = "" if ends == ["?", "?"] else f" [{', '.join(ends)}]"
    return f"{ratio(entry.speedup)}x{interval}"


def seeds_text(seeds: int | None) -> str:
    """How many more seeds are expected to decide, ``4 more seeds``."""
    return "" if seeds is None else f"{seeds:,} more seed{'' if seeds == 1 else 's'}"
