"""Time against cost, with the front that no other configuration beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from ddp_sweep.analysis import Ranking
from ddp_sweep.analysis.wording import ratio
from ddp_sweep.report.page.drawing import WIDTH, Drawing, log_ticks, records
from ddp_sweep.report.page.emphasis import Emphasis, Outcome, outcome
from ddp_sweep.report.page.figure import Missing, enumerate_names
from ddp_sweep.report.page.marks import color_of, outcome_shape
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import INK, MUTED, OTHERS

__all__ = ["TradeoffInfo", "TradeoffPoint", "draw_tradeoff", "tradeoff_info"]

_HEIGHT = 320
_MOST_IN_WORDS = 12
_MOST_REASONS = 8


@dataclass(frozen=True, kw_only=True)
class TradeoffPoint:
    """One configuration; the baseline's time and cost are 1."""

    name: str
    time_ratio: float
    cost_ratio: float
    outcome: Outcome
    on_front: bool
    reason: str
    """Why it is rejected, or what is known of its quality."""

    @property
    def rejected(self) -> bool:
        """Its quality was lost, or it failed: no speed makes up for that."""
        return self.outcome in (Outcome.LOST, Outcome.OVER, Outcome.FAILED)


@dataclass(frozen=True, kw_only=True)
class TradeoffInfo:
    """Every configuration that has both a time and a cost."""

    points: tuple[TradeoffPoint, ...]
    """In order of rank."""
    cost_title: str
    title: str
    description: str
    notes: tuple[str, ...]


def tradeoff_info(material: Material) -> TradeoffInfo | Missing:
    """Time and cost relative to the baseline, as ranked."""
    ranking = material.ranking
    front = {entry.name for entry in ranking.recommendation.pareto}
    points = tuple(
        TradeoffPoint(
            name=entry.name,
            time_ratio=1 / entry.speedup,
            cost_ratio=entry.cost_ratio,
            outcome=outcome(entry),
            on_front=entry.name in front,
            reason=entry.reason,
        )
        for entry in ranking.configurations
        if entry.speedup and entry.cost_ratio
    )
    if not points:
        return Missing("No configuration has both a time and a cost that can be compared.")
    return TradeoffInfo(
        points=points,
        cost_title="cost" if _priced(material) else "worker-hours",
        title=_title(ranking),
        description=_description(points),
        notes=tuple(_notes(ranking, points)),
    )


def _priced(material: Material) -> bool:
    runs = material.measured.runs
    priced = "cost" in runs and bool(runs["cost"].notna().any())
    return priced and not material.measured.to_target


def _title(ranking: Ranking) -> str:
    chosen = ranking.recommendation
    if chosen.fastest is None:
        return "Time and cost of the configurations tried; none is recommended yet"
    cheapest = chosen.cheapest or chosen.fastest
    if cheapest is chosen.fastest:
        if chosen.fastest is ranking.baseline:
            return f"{cheapest.name} is the cheapest, and no other was shown to be faster"
        return f"{cheapest.name} is both the fastest and the cheapest of those that qualify"
    text = f"{chosen.fastest.name} is the fastest that qualifies, {cheapest.name} the cheapest"
    if chosen.fastest.cost_ratio and cheapest.cost_ratio:
        times = ratio(chosen.fastest.cost_ratio / cheapest.cost_ratio)
        text += f"; speed costs {times}x as much"
    return text


def _description(points: Sequence[TradeoffPoint]) -> str:
    words = [
        f"{point.name} {ratio(point.time_ratio)} of the time at {ratio(point.cost_ratio)} of the "
        f"cost, {point.outcome}"
        for point in points[:_MOST_IN_WORDS]
    ]
    more = len(points) - len(words)
    rest = f"; {more:,} more in the table of configurations" if more else ""
    return f"Relative to the baseline: {'; '.join(words)}{rest}."


def _notes(ranking: Ranking, points: Sequence[TradeoffPoint]) -> Iterator[str]:
    yield (
        "Better is down and to the left. The line joins those of known quality that no other "
        "beats in both."
    )
    rejected = [point for point in points if point.rejected]
    for point in rejected[:_MOST_REASONS]:
        yield f"Rejected, in grey: {point.name} ({point.reason})."
    if len(rejected) > _MOST_REASONS:
        yield (
            f"{len(rejected) - _MOST_REASONS:,} more were rejected; the table of configurations "
            "says why."
        )
    shown = {point.name for point in points}
    without = [entry.name for entry in ranking.configurations if entry.name not in shown]
    if without:
        yield f"Without a time, so not on the chart: {enumerate_names(without)}."


def draw_tradeoff(info: TradeoffInfo, emphasis: Emphasis) -> Drawing:
    """Both axes logarithmic: twice the time is as far as half of it."""
    x, y = _axes(info)
    names = {point.name for point in info.points if not point.rejected}
    labels, colours = emphasis.scale(names)
    rejected = [_row(point, "rejected") for point in info.points if point.rejected]
    others = [
        _row(point, emphasis.legend_label(point.name))
        for point in info.points
        if not point.rejected
    ]
    if rejected:
        labels, colours = [*labels, "rejected"], [*colours, OTHERS]
    color = color_of(labels, colours)
    shape = outcome_shape({point.outcome for point in info.points})
    rows = [*rejected, *sorted(others, key=lambda row: row["label"] != "other configurations")]
    layers = [
        alt.Chart(records([{"x": 1.0}])).mark_rule(color=MUTED, strokeWidth=1).encode(x),
        alt.Chart(records([{"y": 1.0}])).mark_rule(color=MUTED, strokeWidth=1).encode(y),
        alt.Chart(records([_row(point, "") for point in info.points if point.on_front]))
        .mark_line(color=INK, strokeWidth=1.5, opacity=0.7)
        .encode(x, y),
        alt.Chart(records(rows))
        .mark_point(size=100, filled=True, opacity=1)
        .encode(x, y, color=color, shape=shape),
    ]
    if 0 < len(rejected) <= _MOST_REASONS:
        layers.append(
            alt.Chart(records(rejected))
            .mark_text(align="left", dx=9, color=MUTED, fontSize=11)
            .encode(x, y, text="outcome:N")
        )
    return alt.layer(*layers).properties(width=WIDTH, height=_HEIGHT)


def _row(point: TradeoffPoint, label: str) -> dict[str, float | str]:
    return {
        "x": point.time_ratio,
        "y": point.cost_ratio,
        "label": label,
        "outcome": point.outcome.value,
    }


def _axes(info: TradeoffInfo) -> tuple[alt.X, alt.Y]:
    times = [1.0, *(point.time_ratio for point in info.points)]
    costs = [1.0, *(point.cost_ratio for point in info.points)]
    low, high = min(times) / 1.1, max(times) * 1.25
    least, most = min(costs) / 1.1, max(costs) * 1.1
    return (
        alt.X(
            "x:Q",
            scale=alt.Scale(type="log", domain=[low, high], nice=False),
            axis=alt.Axis(
                values=log_ticks(low, high), title="training time, baseline = 1", format="~r"
            ),
        ),
        alt.Y(
            "y:Q",
            scale=alt.Scale(type="log", domain=[least, most], nice=False),
            axis=alt.Axis(
                values=log_ticks(least, most),
                title=f"{info.cost_title}, baseline = 1",
                format="~r",
            ),
        ),
    )
