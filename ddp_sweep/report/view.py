"""A ranking in the words and figures that people read; renderers only draw it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ddp_sweep.analysis.metrics import COST_METRICS, Margin
from ddp_sweep.analysis.outcome import (
    Evidence,
    MetricComparison,
    RankedConfiguration,
    Ranking,
    RecommendationStatus,
    Verdict,
)
from ddp_sweep.analysis.wording import difference_text, margin_text, short_difference_text
from ddp_sweep.report.remarks import advice, caveats, commands, over_cost, seeds_text, speedup_text

__all__ = ["MetricColumn", "RankingView", "RowView", "Tone", "view_ranking"]

_SHOWN_WITHOUT_MARGINS = ("accuracy", "recall", "perplexity", "val_loss", "rmse", "mae")
_LONGEST_TABLE = 20
_FLOOR_WORDS = {
    Verdict.NON_INFERIOR: "met",
    Verdict.INFERIOR: "not met",
    Verdict.INCONCLUSIVE: "not yet known",
}


class Tone(StrEnum):
    """How a row is meant, for colours."""

    PLAIN = "plain"
    HELD = "held"
    UNKNOWN = "unknown"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """Heading of a metric."""

    name: str
    margin: str
    """"margin 0.01", or that there is none."""


@dataclass(frozen=True, kw_only=True)
class RowView:
    """A configuration as one row."""

    sizes: str
    """``2 x 64 = 128``, padded so that the numbers of all rows stand below each other."""
    distinction: str
    """Settings that tell it from others of the same sizes, or empty."""
    speedup: str
    efficiency: str
    metrics: tuple[str, ...]
    """Difference to the quality reference with its interval, ``+0.001 [-0.002, +0.004]``."""
    short_metrics: tuple[str, ...]
    """The same in less room, ``+0.001 ±0.003``."""
    outcome: str
    tone: Tone
    recommended: bool


@dataclass(frozen=True, kw_only=True)
class RankingView:
    """Everything that is printed."""

    heading: str
    """What speed and quality are relative to."""
    levels: tuple[str, ...]
    """How good the quality reference is itself, and what is demanded at least."""
    sizes_title: tuple[str, str]
    metric_columns: tuple[MetricColumn, ...]
    rows: tuple[RowView, ...]
    left_out: int
    """Configurations beyond the longest table."""
    advice: str
    """One sentence: what to take, or why nothing can be recommended yet."""
    decided: bool
    """Whether the advice is to take something."""
    caveats: tuple[str, ...]
    """What the advice rests on, and what was not measured."""
    commands: tuple[tuple[str, str], ...]
    """What goes on from here: a command that exists, and what it gives."""


def view_ranking(ranking: Ranking) -> RankingView:
    """The info object behind the table at the end of ``run`` and of ``rank``."""
    shown = ranking.configurations[:_LONGEST_TABLE]
    metrics = _metrics(ranking)
    columns = tuple(_column(name, ranking.baseline.metrics[name]) for name in metrics)
    sizes = _sizes(shown)
    rows = [_row(entry, size, metrics, ranking) for entry, size in zip(shown, sizes, strict=True)]
    return RankingView(
        heading=_heading(ranking),
        levels=(*_reference_level(ranking, metrics), *_floor_levels(ranking)),
        sizes_title=(
            ("workers x batch", "= global batch")
            if _all_batches(shown)
            else ("workers,", "global batch")
        ),
        metric_columns=columns,
        rows=tuple(rows),
        left_out=len(ranking.configurations) - len(shown),
        advice=advice(ranking),
        decided=ranking.recommendation.status is not RecommendationStatus.NONE,
        caveats=caveats(ranking),
        commands=commands(ranking),
    )


def _heading(ranking: Ranking) -> str:
    speed, quality = ranking.baseline.name, ranking.reference.name
    time = "time to the target" if ranking.conditions.to_target else "training time"
    margins = set(ranking.conditions.margins)
    what = "cost" if margins and COST_METRICS.issuperset(margins) else "quality"
    if speed == quality:
        return f"Speedup in {time}, and {what}, against {speed}"
    return f"Speedup in {time} against {speed}; {what} against {quality}"


def _reference_level(ranking: Ranking, metrics: Sequence[str]) -> Iterator[str]:
    """A difference alone says nothing of a model that is useless to begin with."""
    reference = ranking.reference
    found = {name: reference.metrics[name].value for name in metrics if name in reference.metrics}
    known = [f"{_title(name)} {value:.4g}" for name, value in found.items() if value is not None]
    if known:
        yield f"{reference.name} itself: {', '.join(known)}"


def _floor_levels(ranking: Ranking) -> Iterator[str]:
    """Each floor, with the configurations by what is known of them."""
    for name in ranking.reference.floors:
        said: dict[str, list[str]] = {words: [] for words in _FLOOR_WORDS.values()}
        for entry in ranking.configurations[:_LONGEST_TABLE]:
            check = entry.floors[name]
            if check.value is not None:
                words = _FLOOR_WORDS.get(check.verdict, "not yet known")
                said[words].append(f"{entry.name} {check.value:.3g}")
        listed = "; ".join(f"{words}: {', '.join(who)}" for words, who in said.items() if who)
        yield f"{name} must be at least {ranking.reference.floors[name].floor:g}. {listed}".strip()


def _metrics(ranking: Ranking) -> list[str]:
    """Metrics with a margin; where no margin was set, the two that say most."""
    found = ranking.baseline.metrics
    judged = [name for name, comparison in found.items() if comparison.margin is not None]
    return judged or [name for name in _SHOWN_WITHOUT_MARGINS if name in found][:2]


def _column(name: str, comparison: MetricComparison) -> MetricColumn:
    if comparison.margin is None:
        return MetricColumn(name=_title(name), margin="no margin set")
    margin = Margin.parse(name, comparison.margin)
    return MetricColumn(name=_title(name), margin=f"margin {margin_text(margin)}")


def _title(metric: str) -> str:
    return metric.removeprefix("metric_").replace("val_", "validation ").replace("_", " ")


def _all_batches(entries: Sequence[RankedConfiguration]) -> bool:
    return all(
        entry.per_worker_batch_size is not None and entry.global_batch_size is not None
        for entry in entries
    )


def _sizes(entries: Sequence[RankedConfiguration]) -> list[str]:
    """Workers, batch and global batch, each as wide as the widest of its column."""
    if _all_batches(entries):
        cells = [
            (f"{entry.world_size}", _batch(entry), f"{entry.global_batch_size:,}")
            for entry in entries
        ]
        form = "{0:>{a}} x {1:>{b}} = {2:>{c}}"
    else:
        cells = [
            (f"{entry.world_size:,}", "", _integer(entry.global_batch_size)) for entry in entries
        ]
        form = "{0:>{a}}, {2:>{c}}"
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [form.format(*cell, a=widths[0], b=widths[1], c=widths[2]) for cell in cells]


def _batch(entry: RankedConfiguration) -> str:
    steps = entry.parameters.get("accumulation_steps")
    batch = f"{entry.per_worker_batch_size:,}"
    return batch if steps in (None, 1) else f"{batch} x {steps}"


def _integer(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _row(
    entry: RankedConfiguration, sizes: str, metrics: Sequence[str], ranking: Ranking
) -> RowView:
    is_baseline = entry is ranking.baseline
    outcome, tone = _outcome(entry, ranking)
    compared = entry is not ranking.reference
    return RowView(
        sizes=sizes,
        distinction=entry.distinction.removeprefix(", "),
        speedup="1x" if is_baseline and entry.speedup is not None else speedup_text(entry),
        efficiency=(
            "-" if entry.scaling_efficiency is None else f"{100 * entry.scaling_efficiency:.0f} %"
        ),
        metrics=tuple(
            _difference(name, entry.metrics[name], difference_text) if compared else "-"
            for name in metrics
        ),
        short_metrics=tuple(
            _difference(name, entry.metrics[name], short_difference_text) if compared else "-"
            for name in metrics
        ),
        outcome=outcome,
        tone=tone,
        recommended=entry is ranking.recommendation.fastest,
    )


def _difference(
    name: str,
    found: MetricComparison,
    text: Callable[[float | None, float | None, float | None, Margin], str],
) -> str:
    if found.difference is None:
        return "-"
    # Without a margin there is no scale to round to but a percentage point.
    margin = Margin.parse(name, 0.01 if found.margin is None else found.margin)
    return text(found.difference, found.low, found.high, margin)


def _outcome(entry: RankedConfiguration, ranking: Ranking) -> tuple[str, Tone]:
    if entry is ranking.reference and entry.verdict in (Verdict.BASELINE, Verdict.NON_INFERIOR):
        return ("baseline" if entry is ranking.baseline else "quality reference"), Tone.PLAIN
    if entry.verdict is Verdict.BASELINE:
        words = entry.reason.partition("; ")[2].partition(":")[0]
        return f"baseline, {words}", Tone.PLAIN
    if over_cost(entry):
        return "over the cost margin", Tone.UNKNOWN
    words = entry.reason.partition(":")[0]
    if entry.verdict is Verdict.INCONCLUSIVE and entry.seeds_needed is not None:
        words += f", {seeds_text(entry.seeds_needed)} would tell (expected)"
    if entry.verdict is Verdict.NON_INFERIOR:
        if entry.evidence is Evidence.SAME_UPDATES:
            words += f", same updates as {entry.same_updates_as}"
        return words, Tone.HELD
    return words, Tone.UNKNOWN if entry.verdict is Verdict.INCONCLUSIVE else Tone.LOST
