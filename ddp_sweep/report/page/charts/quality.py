"""Quality against global batch size, with the margin as a band and every seed as a dot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import altair as alt
import numpy as np

from ddp_sweep.analysis import MetricComparison
from ddp_sweep.analysis.metrics import COST_METRICS, Margin, better_sign, metric_values
from ddp_sweep.analysis.wording import count, margin_text, metric_name
from ddp_sweep.report.page.drawing import WIDTH, Drawing, records
from ddp_sweep.report.page.emphasis import Emphasis
from ddp_sweep.report.page.figure import Missing
from ddp_sweep.report.page.marks import configuration_color
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import BAND, INK, MUTED

__all__ = ["QualityDot", "QualityInfo", "QualityPanel", "draw_quality", "quality_info"]

_WITHOUT_MARGINS = ("accuracy", "recall", "perplexity", "val_loss", "rmse", "mae")
_PANEL_HEIGHT = 210
_MOST_PANELS = 4


@dataclass(frozen=True, kw_only=True)
class QualityDot:
    """One run."""

    name: str
    """Of its configuration."""
    world_size: int
    batch: int
    value: float


@dataclass(frozen=True, kw_only=True)
class QualityPanel:
    """One metric."""

    metric: str
    label: str
    dots: tuple[QualityDot, ...]
    reference: float | None
    """Mean of the quality reference."""
    margin_end: float | None
    """The value that lies a whole margin on the worse side of the reference."""
    margin: str | None
    """As a reader compares it: ``0.01`` or ``2 %``."""
    floor: float | None = None
    """The least acceptable value, where the sweep file sets one."""


@dataclass(frozen=True, kw_only=True)
class QualityInfo:
    """Metrics with a margin; where none was set, the two that say most."""

    panels: tuple[QualityPanel, ...]
    batch_title: str
    title: str
    description: str
    notes: tuple[str, ...]


def quality_info(material: Material) -> QualityInfo | Missing:
    """Every finished run, at the evaluation that quality is judged by."""
    metrics = _metrics(material.ranking.reference.metrics)
    panels = _with_floors(material, [_panel(material, metric) for metric in metrics])
    if not panels:
        return Missing("No quality was measured: no finished run has a value of any metric.")
    return QualityInfo(
        panels=panels,
        batch_title=_batch_title(material),
        title=_title(material, panels[0]),
        description=" ".join(_in_words(panel) for panel in panels),
        notes=tuple(_notes(material, panels)),
    )


def _with_floors(material: Material, panels: list[QualityPanel]) -> tuple[QualityPanel, ...]:
    """Each floor in the panel of the same values (recall is that of class 1), or in its own."""
    for metric, floor in material.ranking.conditions.floors.items():
        own = _panel(material, metric)
        same = [place for place, panel in enumerate(panels) if panel.dots == own.dots]
        if same:
            panels[same[0]] = replace(panels[same[0]], floor=floor)
        else:
            panels.append(replace(own, floor=floor))
    return tuple(panel for panel in panels if panel.dots)[:_MOST_PANELS]


def _metrics(found: Mapping[str, MetricComparison]) -> list[str]:
    judged = [
        name
        for name, comparison in found.items()
        if comparison.margin is not None and name not in COST_METRICS
    ]
    return judged[:_MOST_PANELS] or [name for name in _WITHOUT_MARGINS if name in found][:2]


def _batch_title(material: Material) -> str:
    whole = all(entry.global_batch_size for entry in material.entries)
    return "global batch, samples" if whole else "batch of a worker, samples"


def _panel(material: Material, metric: str) -> QualityPanel:
    measured = material.measured
    values = metric_values(measured.quality, metric)
    dots = []
    for row in np.flatnonzero(measured.finished & ~np.isnan(values)):
        entry = material.entries[int(measured.configuration[row])]
        batch = entry.global_batch_size or entry.per_worker_batch_size
        if batch is not None:
            dots.append(
                QualityDot(
                    name=entry.name,
                    world_size=entry.world_size,
                    batch=batch,
                    value=float(values[row]),
                )
            )
    own = [dot.value for dot in dots if dot.name == material.ranking.reference.name]
    reference = float(np.mean(own)) if own else None
    # A metric of a floor alone is not compared with the reference.
    comparison = material.ranking.reference.metrics.get(metric)
    asked = None if comparison is None else comparison.margin
    margin = None if asked is None else Margin.parse(metric, asked)
    return QualityPanel(
        metric=metric,
        label=metric_name(metric),
        dots=tuple(dots),
        reference=reference,
        margin_end=None if margin is None else _margin_end(metric, reference, margin),
        margin=None if margin is None else margin_text(margin),
    )


def _margin_end(metric: str, reference: float | None, margin: Margin) -> float | None:
    sign = better_sign(metric) or 1
    if reference is None:
        return None
    if margin.relative:
        # The margin is one on the log scale, so that a loss of 2 % is a factor of 1.02.
        return float(reference * (1 + margin.value) ** -sign)
    return reference - sign * margin.value


def _title(material: Material, panel: QualityPanel) -> str:
    fastest, reference = material.ranking.recommendation.fastest, material.ranking.reference
    means = _means(panel)
    if fastest is None or fastest is reference or not {fastest.name, reference.name} <= set(means):
        return _range(panel, means, reference.name)
    text = (
        f"{fastest.name} has a mean {panel.label} of {means[fastest.name]:.4g}, the reference "
        f"{means[reference.name]:.4g}"
    )
    if panel.margin is None:
        return text
    worse = "less" if (better_sign(panel.metric) or 1) > 0 else "more"
    return f"{text}; up to {panel.margin} {worse} counts as held"


def _means(panel: QualityPanel) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for dot in panel.dots:
        values[dot.name].append(dot.value)
    return {name: float(np.mean(found)) for name, found in values.items()}


def _range(panel: QualityPanel, means: dict[str, float], reference: str) -> str:
    low, high = min(means.values()), max(means.values())
    if len(means) == 1:
        return f"{_capital(panel.label)} is {low:.4g} on average"
    text = f"Mean {panel.label} lies between {low:.4g} and {high:.4g}"
    return f"{text}; the reference has {means[reference]:.4g}" if reference in means else text


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _in_words(panel: QualityPanel) -> str:
    batches = sorted({dot.batch for dot in panel.dots})
    means = [
        f"batch {batch:,} {np.mean([d.value for d in panel.dots if d.batch == batch]):.4g}"
        for batch in batches[:12]
    ]
    return f"Mean {panel.label} by batch: {', '.join(means)}."


def _notes(material: Material, panels: tuple[QualityPanel, ...]) -> Iterator[str]:
    measured = material.measured
    judged = any(panel.margin is not None for panel in panels)
    words = "Each dot is a run (one seed); the line is the mean of the quality reference"
    yield words + (
        ", and the band reaches from it as far as the margin allows." if judged else "."
    )
    floors = [f"{panel.label} {panel.floor:g}" for panel in panels if panel.floor is not None]
    if floors:
        yield f"Dashed: the least acceptable value ({', '.join(floors)})."
    gone = len(measured.runs) - int(measured.finished.sum())
    if gone:
        yield f"{count(gone, 'run')} did not finish or missed the target, so they have no dot."


def draw_quality(info: QualityInfo, emphasis: Emphasis) -> Drawing:
    """A panel for each metric, all over the same batches."""
    chart: Drawing = alt.vconcat(
        *(_draw(panel, info.batch_title, emphasis) for panel in info.panels), spacing=24
    ).resolve_scale(color="shared")
    return chart


def _draw(panel: QualityPanel, batch_title: str, emphasis: Emphasis) -> Drawing:
    rows = [
        {
            "batch": f"{dot.batch:,}",
            "workers": dot.world_size,
            "value": dot.value,
            "label": emphasis.legend_label(dot.name),
        }
        # Grey first, so that no emphasized dot lies under it.
        for dot in sorted(panel.dots, key=lambda dot: dot.name in emphasis)
    ]
    scale = alt.Scale(zero=False, nice=True)
    title = alt.Axis(title=panel.label, tickCount=6)
    layers = [layer.encode(alt.Y("low:Q", scale=scale, axis=title)) for layer in _levels(panel)]
    batches = [f"{batch:,}" for batch in sorted({dot.batch for dot in panel.dots})]
    dots = alt.Chart(records(rows)).mark_circle(size=70, opacity=0.75)
    layers.append(
        dots.encode(
            alt.X("batch:N", sort=batches, axis=alt.Axis(title=batch_title, labelAngle=0)),
            alt.Y("value:Q", scale=scale, axis=title),
            xOffset=alt.XOffset("workers:O"),
            color=configuration_color(emphasis, {dot.name for dot in panel.dots}),
        )
    )
    return alt.layer(*layers).properties(width=WIDTH, height=_PANEL_HEIGHT)


def _levels(panel: QualityPanel) -> Iterator[alt.Chart]:
    if panel.floor is not None:
        floor = alt.Chart(records([{"low": panel.floor}]))
        yield floor.mark_rule(color=INK, strokeWidth=1.5, strokeDash=[5, 4])
    if panel.reference is None:
        return
    if panel.margin_end is not None:
        row = {"low": panel.margin_end, "high": panel.reference}
        yield alt.Chart(records([row])).mark_rect(color=BAND, opacity=0.6).encode(y2="high:Q")
    yield alt.Chart(records([{"low": panel.reference}])).mark_rule(color=MUTED, strokeWidth=1.5)
