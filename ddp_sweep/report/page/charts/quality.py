"""Quality against global batch size, with the margin as a band and every seed as a dot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
from ddp_sweep.report.page.palette import BAND, MUTED

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
    panels = tuple(_panel(material, metric) for metric in metrics)
    panels = tuple(panel for panel in panels if panel.dots)
    if not panels:
        return Missing("No quality was measured: no finished run has a value of any metric.")
    judged = any(panel.margin is not None for panel in panels)
    return QualityInfo(
        panels=panels,
        batch_title=_batch_title(material),
        title=_title(material, panels[0]),
        description=" ".join(_in_words(panel) for panel in panels),
        notes=tuple(_notes(material, judged=judged)),
    )


def _metrics(found: dict[str, MetricComparison] | object) -> list[str]:
    assert isinstance(found, dict)
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
    comparison = material.ranking.reference.metrics[metric]
    own = [dot.value for dot in dots if dot.name == material.ranking.reference.name]
    reference = float(np.mean(own)) if own else None
    margin = None if comparison.margin is None else Margin.parse(metric, comparison.margin)
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
    if panel.reference is None:
        return f"{_capital(panel.label)} of the quality reference was not measured"
    if panel.margin is None:
        return f"{_capital(panel.label)} by global batch; no margin was set to judge it by"
    if fastest is None:
        return f"No configuration is recommended on the {panel.label} of these runs"
    if fastest is reference:
        return f"{_capital(panel.label)} is judged against {reference.name}, which is recommended"
    mean = np.mean([dot.value for dot in panel.dots if dot.name == fastest.name])
    return (
        f"{fastest.name} has a mean {panel.label} of {mean:.4g}, the reference "
        f"{panel.reference:.4g}; up to {panel.margin} less counts as held"
        if (better_sign(panel.metric) or 1) > 0
        else f"{fastest.name} has a mean {panel.label} of {mean:.4g}, the reference "
        f"{panel.reference:.4g}; up to {panel.margin} more counts as held"
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _in_words(panel: QualityPanel) -> str:
    batches = sorted({dot.batch for dot in panel.dots})
    means = [
        f"batch {batch:,} {np.mean([d.value for d in panel.dots if d.batch == batch]):.4g}"
        for batch in batches[:12]
    ]
    return f"Mean {panel.label} by batch: {', '.join(means)}."


def _notes(material: Material, *, judged: bool) -> Iterator[str]:
    measured = material.measured
    words = "Each dot is a run (one seed); the line is the mean of the quality reference"
    yield words + (
        ", and the band reaches from it as far as the margin allows." if judged else "."
    )
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
        for dot in panel.dots
    ]
    scale = alt.Scale(zero=False, nice=True)
    title = alt.Axis(title=panel.label, tickCount=6)
    layers = [layer.encode(alt.Y("low:Q", scale=scale, axis=title)) for layer in _levels(panel)]
    batches = [f"{batch:,}" for batch in sorted({dot.batch for dot in panel.dots})]
    # Grey first, so that no emphasized dot lies under it.
    rows.sort(key=lambda row: row["label"] in emphasis.scale(set())[0])
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
    if panel.reference is None:
        return
    if panel.margin_end is not None:
        row = {"low": panel.margin_end, "high": panel.reference}
        yield alt.Chart(records([row])).mark_rect(color=BAND, opacity=0.6).encode(y2="high:Q")
    yield alt.Chart(records([{"low": panel.reference}])).mark_rule(color=MUTED, strokeWidth=1.5)
