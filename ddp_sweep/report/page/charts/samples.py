"""Samples to the target against global batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from ddp_sweep.analysis.tables.measurements import Ending
from ddp_sweep.analysis.wording import count, ratio
from ddp_sweep.report.page.drawing import WIDTH, Drawing, log_ticks, measured_ticks, records
from ddp_sweep.report.page.emphasis import Emphasis
from ddp_sweep.report.page.figure import Missing
from ddp_sweep.report.page.marks import configuration_color
from ddp_sweep.report.page.material import Material

__all__ = ["SamplesDot", "SamplesInfo", "draw_samples", "samples_info"]

_HEIGHT = 260
_MOST_IN_WORDS = 12
_NOTABLE = 0.02
"""Difference of medians from which on it is worth a sentence."""


@dataclass(frozen=True, kw_only=True)
class SamplesDot:
    """A run that met the target."""

    name: str
    world_size: int
    batch: int
    samples: float


@dataclass(frozen=True, kw_only=True)
class SamplesInfo:
    """Every run that met the target, and how many did not."""

    dots: tuple[SamplesDot, ...]
    missed: int
    """Runs that ended without meeting the target, or failed."""
    title: str
    description: str
    notes: tuple[str, ...]


def samples_info(material: Material) -> SamplesInfo | Missing:
    """Samples as recorded at the evaluation that met the target."""
    measured = material.measured
    if not measured.to_target:
        return Missing(
            "Samples to a target were not measured, because no target was set (quality.target in "
            "the sweep file)."
        )
    dots = tuple(_dots(material))
    failed = int(measured.tally(Ending.MISSED, Ending.FAILED).sum())
    if not dots:
        reason = "no run met it" if failed else "the column samples_to_target is missing"
        return Missing(f"Samples to the target are not known: {reason}.")
    target = _target(material)
    return SamplesInfo(
        dots=dots,
        missed=failed,
        title=_title(dots, target),
        description=_description(dots, target),
        notes=tuple(_notes(failed)),
    )


def _dots(material: Material) -> Iterator[SamplesDot]:
    measured = material.measured
    needed = measured.samples_needed
    for row in np.flatnonzero(np.isfinite(needed)):
        entry = material.entries[int(measured.configuration[row])]
        batch = entry.global_batch_size or entry.per_worker_batch_size
        if batch is not None:
            yield SamplesDot(
                name=entry.name,
                world_size=entry.world_size,
                batch=batch,
                samples=float(needed[row]),
            )


def _target(material: Material) -> str:
    asked = material.ranking.conditions.target
    return ", ".join(f"{name} {value:g}" for name, value in asked.items()) or "The target"


def _medians(dots: Sequence[SamplesDot]) -> dict[int, float]:
    batches = sorted({dot.batch for dot in dots})
    return {b: float(np.median([d.samples for d in dots if d.batch == b])) for b in batches}


def _title(dots: Sequence[SamplesDot], target: str) -> str:
    medians = _medians(dots)
    first, last = min(medians), max(medians)
    if first == last:
        return f"{target} took a median of {medians[first]:,.0f} samples"
    if abs(medians[last] / medians[first] - 1) < _NOTABLE:
        return f"{target} takes as many samples at a global batch of {last:,} as at {first:,}"
    return (
        f"{target} takes {ratio(medians[last] / medians[first])}x as many samples at a global "
        f"batch of {last:,} as at {first:,}"
    )


def _description(dots: Sequence[SamplesDot], target: str) -> str:
    medians = list(_medians(dots).items())[:_MOST_IN_WORDS]
    words = ", ".join(f"batch {batch:,} {samples:,.0f}" for batch, samples in medians)
    return f"Median samples to {target}: {words}."


def _notes(failed: int) -> Iterator[str]:
    yield "Each dot is a run that met the target; both axes are logarithmic."
    if failed:
        yield f"{count(failed, 'run')} failed or never met the target, so they have no dot."


def draw_samples(info: SamplesInfo, emphasis: Emphasis) -> Drawing:
    """Both axes logarithmic, since batches double and samples multiply."""
    dots = sorted(info.dots, key=lambda dot: dot.name in emphasis)
    rows = [
        {"batch": dot.batch, "samples": dot.samples, "label": emphasis.legend_label(dot.name)}
        for dot in dots
    ]
    batches = sorted({dot.batch for dot in info.dots})
    low, high = min(d.samples for d in info.dots), max(d.samples for d in info.dots)
    low, high = low / 1.1, high * 1.1
    chart: Drawing = (
        alt.Chart(records(rows))
        .mark_circle(size=70, opacity=0.75)
        .encode(
            alt.X(
                "batch:Q",
                scale=alt.Scale(
                    type="log", base=2, domain=[batches[0] / 1.2, batches[-1] * 1.2], nice=False
                ),
                axis=alt.Axis(
                    values=measured_ticks(batches),
                    title="global batch, samples",
                    format=",d",
                    grid=False,
                ),
            ),
            alt.Y(
                "samples:Q",
                scale=alt.Scale(type="log", domain=[low, high], nice=False),
                axis=alt.Axis(
                    values=log_ticks(low, high), title="samples to the target", format=",~r"
                ),
            ),
            color=configuration_color(emphasis, {dot.name for dot in info.dots}),
        )
        .properties(width=WIDTH, height=_HEIGHT)
    )
    return chart
