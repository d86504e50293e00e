"""Speedup against world size, with the ideal line and intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt

from ddp_sweep.analysis import RankedConfiguration, Ranking
from ddp_sweep.analysis.wording import count, ratio
from ddp_sweep.report.page.drawing import WIDTH, Drawing, log_ticks, measured_ticks, records
from ddp_sweep.report.page.emphasis import OTHER, Emphasis, Outcome, outcome
from ddp_sweep.report.page.figure import Missing, enumerate_names
from ddp_sweep.report.page.marks import configuration_color, outcome_shape
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import GRID, MUTED

__all__ = ["SpeedupInfo", "SpeedupPoint", "draw_speedup", "speedup_info"]

_WIDEST_GROUP = 0.6
"""Room for the configurations of one world size side by side, in doublings."""
_MOST_LINES = 12
_MOST_BARS = 30
_HEIGHT = 340
_MOST_IN_WORDS = 12


@dataclass(frozen=True, kw_only=True)
class SpeedupPoint:
    """One configuration."""

    name: str
    world_size: int
    series: str
    """Those of one series differ in their number of workers only."""
    speedup: float
    low: float | None
    """Ends of the 90 % interval; None where there is none."""
    high: float | None
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class SpeedupInfo:
    """Speedup of every configuration that has one."""

    points: tuple[SpeedupPoint, ...]
    """In order of rank."""
    ideal: tuple[tuple[int, float], ...]
    """World size and the speedup that would be ideal: relative to the baseline's world size."""
    title: str
    description: str
    notes: tuple[str, ...]


def speedup_info(material: Material) -> SpeedupInfo | Missing:
    """The speedups as ranked; without any there is nothing to draw."""
    ranking = material.ranking
    points = tuple(_points(ranking.configurations))
    if not points:
        return Missing(
            "No speedup could be measured: no configuration has a time that can be compared with "
            f"that of {ranking.baseline.name}."
        )
    first = ranking.baseline.world_size
    ideal = tuple((size, size / first) for size in sorted({p.world_size for p in points}))
    return SpeedupInfo(
        points=points,
        ideal=ideal,
        title=_title(ranking, points),
        description=_description(points),
        notes=tuple(_notes(ranking, points)),
    )


def _points(entries: Sequence[RankedConfiguration]) -> Iterator[SpeedupPoint]:
    for entry in entries:
        if entry.speedup is not None:
            batch = entry.global_batch_size or entry.per_worker_batch_size
            yield SpeedupPoint(
                name=entry.name,
                world_size=entry.world_size,
                series=f"{batch}{entry.distinction}",
                speedup=entry.speedup,
                low=entry.speedup_low,
                high=entry.speedup_high,
                outcome=outcome(entry),
            )


def _title(ranking: Ranking, points: Sequence[SpeedupPoint]) -> str:
    baseline = ranking.baseline
    shown = ranking.recommendation.fastest
    if shown is None or shown is baseline or shown.speedup is None:
        best = max(points, key=lambda point: point.speedup)
        if best.name == baseline.name:
            return f"No configuration is faster than {baseline.name}"
        return (
            f"{best.name} is measured at {ratio(best.speedup)}x the speed of {baseline.name}, "
            f"but is not recommended ({_why_not(best)})"
        )
    text = f"{shown.name} trains {ratio(shown.speedup)}x as fast as {baseline.name}"
    if shown.world_size == baseline.world_size:
        return text
    return f"{text}; {shown.world_size / baseline.world_size:g}x would be ideal"


def _why_not(point: SpeedupPoint) -> str:
    if point.outcome not in (Outcome.HELD, Outcome.WITHIN):
        unknown = point.outcome is Outcome.UNKNOWN
        return "whether its quality held is not yet known" if unknown else str(point.outcome)
    return "the interval reaches below 1" if point.low is not None else "no interval"


def _description(points: Sequence[SpeedupPoint]) -> str:
    words = [_in_words(point) for point in points[:_MOST_IN_WORDS]]
    more = len(points) - len(words)
    rest = f"; {more:,} more in the table of configurations" if more else ""
    return f"Speedup with its 90 % interval, in order of rank: {'; '.join(words)}{rest}."


def _in_words(point: SpeedupPoint) -> str:
    text = f"{point.name} {ratio(point.speedup)}"
    if point.low is not None and point.high is not None and point.low != point.high:
        text += f" ({ratio(point.low)} to {ratio(point.high)})"
    return f"{text}, {point.outcome}"


def _notes(ranking: Ranking, points: Sequence[SpeedupPoint]) -> Iterator[str]:
    bars = "Bars are 90 % intervals"
    bars += " of the configurations in colour" if len(points) > _MOST_BARS else ""
    lines = "; thin lines join configurations of the same global batch"
    yield f"{bars}{lines if _is_joined(points) else ''}; both axes are logarithmic."
    shown = {point.name for point in points}
    without = [entry.name for entry in ranking.configurations if entry.name not in shown]
    if without:
        yield f"Without a speedup, so not on the chart: {enumerate_names(without)}."
    if len({point.world_size for point in points}) == 1:
        workers = count(points[0].world_size, "worker")
        yield f"Only {workers} was tried, so nothing is known about scaling."
    bare = [p.name for p in points if p.low is None and p.name != ranking.baseline.name]
    if bare:
        yield (
            "Without an interval, because of a single run or of runs that failed: "
            f"{enumerate_names(bare)}."
        )


def _is_joined(points: Sequence[SpeedupPoint]) -> bool:
    """More lines than these would be a thicket."""
    series = {point.series for point in points}
    return len(series) <= _MOST_LINES and len(series) < len(points)


def draw_speedup(info: SpeedupInfo, emphasis: Emphasis) -> Drawing:
    """Both axes logarithmic; configurations of one world size stand side by side."""
    offsets = _side_by_side(info.points)
    rows = [
        {
            "x": point.world_size * 2 ** offsets[point.name],
            "speedup": point.speedup,
            "low": point.low or point.speedup,
            "high": point.high or point.speedup,
            "label": emphasis.legend_label(point.name),
            "series": point.series,
            "outcome": point.outcome.value,
        }
        for point in sorted(info.points, key=lambda point: point.name in emphasis)
    ]
    x, y = _axes(info)
    color = configuration_color(emphasis, {point.name for point in info.points})
    shape = outcome_shape({point.outcome for point in info.points})
    base = alt.Chart(records(rows))
    layers = [*_background(info, x, y)]
    # Bars of many grey points would hide the ones in colour.
    barred = rows if len(rows) <= _MOST_BARS else [r for r in rows if r["label"] != OTHER]
    with_bars = alt.Chart(records(barred))
    if _is_joined(info.points):
        layers.append(
            base.mark_line(color=MUTED, strokeWidth=1, opacity=0.6).encode(x, y, detail="series:N")
        )
    layers += [
        with_bars.mark_rule(strokeWidth=2.5).encode(
            x, y=_y("low", info), y2="high:Q", color=color
        ),
        base.mark_point(size=80, filled=True, opacity=1).encode(x, y, color=color, shape=shape),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=_HEIGHT)


def _background(info: SpeedupInfo, x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    one = alt.Chart(records([{"speedup": 1.0}]))
    yield one.mark_rule(color=MUTED, strokeWidth=1).encode(y=y)
    if len(info.ideal) > 1:
        rows = [{"x": size, "speedup": ideal} for size, ideal in info.ideal]
        line = alt.Chart(records(rows))
        yield line.mark_line(color=MUTED, strokeDash=[6, 4], strokeWidth=1.5).encode(x, y)
        last = alt.Chart(records(rows[-1:]))
        yield last.mark_text(text="ideal", align="right", dx=-8, dy=-8, color=MUTED).encode(x, y)


def _axes(info: SpeedupInfo) -> tuple[alt.X, alt.Y]:
    sizes = sorted({point.world_size for point in info.points})
    half = 2 ** (_WIDEST_GROUP / 2 + 0.15)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(
            type="log", base=2, domain=[sizes[0] / half, sizes[-1] * half], nice=False
        ),
        axis=alt.Axis(
            values=measured_ticks(sizes), title="workers (world size)", format=",d", grid=False
        ),
    )
    return x, _y("speedup", info)


def _y(field: str, info: SpeedupInfo) -> alt.Y:
    values = [1.0, *(ideal for _, ideal in info.ideal)]
    values += [p.low or p.speedup for p in info.points]
    values += [p.high or p.speedup for p in info.points]
    low, high = min(values) / 1.04, max(values) * 1.08
    return alt.Y(
        f"{field}:Q",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(
            values=log_ticks(low, high),
            title="speedup, times as fast",
            format="~r",
            gridColor=GRID,
        ),
    )


def _side_by_side(points: Sequence[SpeedupPoint]) -> dict[str, float]:
    """Offset of each configuration from its world size, in doublings."""
    groups: dict[int, list[SpeedupPoint]] = defaultdict(list)
    for point in points:
        groups[point.world_size].append(point)
    offsets = {}
    for group in groups.values():
        step = min(0.09, _WIDEST_GROUP / len(group))
        ordered = sorted(group, key=lambda point: (len(point.series), point.series))
        for place, point in enumerate(ordered):
            offsets[point.name] = step * (place - (len(group) - 1) / 2)
    return offsets
