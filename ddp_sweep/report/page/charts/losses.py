"""Loss curves against steps, samples and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from ddp_sweep.report.page.drawing import WIDTH, Drawing, records
from ddp_sweep.report.page.emphasis import Emphasis, emphasize
from ddp_sweep.report.page.figure import Missing
from ddp_sweep.report.page.marks import configuration_color
from ddp_sweep.report.page.material import Material

__all__ = ["LossCurve", "LossInfo", "LossPoint", "draw_losses", "losses_info"]

BINS = 60
"""Points of a curve at most: a curve of a hundred thousand steps is as long on the page."""
_MOST_OTHERS = 20
"""Curves in grey; more would be a smear."""
_HEIGHT = 190
_AXES = (("step", "optimizer steps"), ("samples", "samples"), ("seconds", "training time, s"))


@dataclass(frozen=True, kw_only=True)
class LossPoint:
    """Means over the seeds, and over the steps that fall on one point."""

    step: float
    samples: float
    seconds: float | None
    """Training time, evaluations not included; None where no evaluation tells it."""
    loss: float


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """One configuration."""

    name: str
    points: tuple[LossPoint, ...]


@dataclass(frozen=True, kw_only=True)
class LossInfo:
    """Curves of the emphasized configurations and of some others."""

    training: tuple[LossCurve, ...]
    """From the optimizer steps; empty where they were not recorded."""
    validation: tuple[LossCurve, ...]
    """From the evaluations."""
    title: str
    description: str
    notes: tuple[str, ...]


def losses_info(material: Material) -> LossInfo | Missing:
    """Losses of the global batch at every step, and on the validation set."""
    shown, left_out = _shown(material)
    training = _curves(material, _training(material), shown)
    validation = _curves(material, _validation(material), shown)
    if not training and not validation:
        return Missing(
            "Loss curves need the losses of the optimizer steps or of the evaluations, and the "
            "source holds neither."
        )
    return LossInfo(
        training=training,
        validation=validation,
        title=_title(material, validation, training),
        description=_description(
            validation or training, "validation" if validation else "training"
        ),
        notes=tuple(_notes(training, validation, left_out)),
    )


def _shown(material: Material) -> tuple[set[str], int]:
    emphasis = emphasize(material.ranking)
    others = [e.name for e in material.ranking.configurations if e.name not in emphasis]
    return {*emphasis.colours, *others[:_MOST_OTHERS]}, max(0, len(others) - _MOST_OTHERS)


def _training(material: Material) -> pd.DataFrame:
    """Loss at each recorded step of one rank: it is that of the global batch on all of them."""
    steps = material.steps
    if "train_loss" not in steps or steps.empty:
        return pd.DataFrame()
    first = steps.groupby(["trial_id", "attempt"])["rank"].transform("min")
    rows = steps[(steps["rank"] == first) & np.isfinite(steps["train_loss"].astype("float64"))]
    return pd.DataFrame(
        {
            "configuration": rows["configuration"],
            "step": rows["optimizer_step"].astype("float64"),
            "samples": rows["samples"].astype("float64"),
            "seconds": _seconds(rows, material.evals),
            "loss": rows["train_loss"].astype("float64"),
        }
    )


def _seconds(rows: pd.DataFrame, evals: pd.DataFrame) -> pd.Series[float]:
    """Training time at each step, on a straight line between the evaluations of its run."""
    seconds = pd.Series(np.nan, index=rows.index)
    if "train_time_s" not in evals:
        return seconds
    keys = ["trial_id", "attempt"]
    known = evals.dropna(subset=["samples", "train_time_s"]).sort_values("samples")
    clocks = dict(iter(known.groupby(keys)))
    for run, steps in rows.groupby(keys):
        clock = clocks.get(run)
        if clock is not None:
            samples = np.append(0.0, clock["samples"].to_numpy(dtype=np.float64))
            times = np.append(0.0, clock["train_time_s"].to_numpy(dtype=np.float64))
            at = steps["samples"].to_numpy(dtype=np.float64)
            seconds[steps.index] = np.interp(at, samples, times, right=np.nan)
    return seconds


def _validation(material: Material) -> pd.DataFrame:
    evals = material.evals
    if "val_loss" not in evals:
        return pd.DataFrame()
    rows = evals[np.isfinite(evals["val_loss"].astype("float64")) & evals["samples"].notna()]
    return pd.DataFrame(
        {
            "configuration": rows["configuration"],
            "step": rows["optimizer_step"].astype("float64"),
            "samples": rows["samples"].astype("float64"),
            "seconds": rows["train_time_s"].astype("float64"),
            "loss": rows["val_loss"].astype("float64"),
        }
    )


def _curves(material: Material, rows: pd.DataFrame, shown: set[str]) -> tuple[LossCurve, ...]:
    """Means over equal spans of samples, so that the length of a curve is bounded."""
    if rows.empty:
        return ()
    last = rows.groupby("configuration")["samples"].transform("max")
    share = rows["samples"] / last.where(last > 0)
    bins = np.ceil(share * BINS - 1e-9).clip(lower=0)
    means = rows.assign(bin=bins).dropna(subset=["bin"]).groupby(["configuration", "bin"]).mean()
    found = {number: means.loc[number] for number in means.index.unique("configuration")}
    return tuple(
        LossCurve(name=material.entries[number].name, points=tuple(_points(found[number])))
        for number in material.order
        if number in found and material.entries[number].name in shown
    )


def _points(means: pd.DataFrame) -> Iterator[LossPoint]:
    columns = ["step", "samples", "seconds", "loss"]
    for step, samples, seconds, loss in means[columns].itertuples(index=False):
        yield LossPoint(
            step=float(step),
            samples=float(samples),
            seconds=None if np.isnan(seconds) else float(seconds),
            loss=float(loss),
        )


def _title(
    material: Material, validation: Sequence[LossCurve], training: Sequence[LossCurve]
) -> str:
    curves, kind = (validation, "validation") if validation else (training, "training")
    ends = {curve.name: curve.points[-1].loss for curve in curves}
    fastest, reference = material.ranking.recommendation.fastest, material.ranking.reference
    if fastest is not None and fastest.name in ends and fastest is not reference:
        text = f"The {kind} loss of {fastest.name} ends at {ends[fastest.name]:.3g}"
        if reference.name in ends:
            text += f", that of the reference {reference.name} at {ends[reference.name]:.3g}"
        return text
    best = min(ends, key=lambda name: ends[name])
    return f"The lowest {kind} loss at the end is {ends[best]:.3g}, of {best}"


def _description(curves: Sequence[LossCurve], kind: str) -> str:
    words = [
        f"{curve.name} from {curve.points[0].loss:.3g} to {curve.points[-1].loss:.3g}"
        for curve in curves[:8]
    ]
    return f"Mean {kind} loss from the first point to the last: {'; '.join(words)}."


def _notes(
    training: Sequence[LossCurve], validation: Sequence[LossCurve], left_out: int
) -> Iterator[str]:
    yield (
        "Curves are means over the seeds; each point of a training curve is the mean of the steps "
        f"in one of {BINS} equal spans of samples."
    )
    if not training:
        yield "The losses of the optimizer steps were not recorded: only validation is shown."
    if not validation:
        yield "No validation loss was recorded: only training is shown."
    if not any(_timed(curves) for curves in (training, validation)):
        yield "Without evaluations the seconds at a step are not known."
    if left_out:
        yield f"{left_out:,} configurations of lower rank are left out."


def _timed(curves: Sequence[LossCurve]) -> bool:
    return any(point.seconds is not None for curve in curves for point in curve.points)


def draw_losses(info: LossInfo, emphasis: Emphasis) -> Drawing:
    """A row for each kind of loss, a column for each way to count progress."""
    kinds = [("training loss", info.training), ("validation loss", info.validation)]
    rows = [_row(kind, curves, emphasis) for kind, curves in kinds if curves]
    chart: Drawing = alt.vconcat(*rows, spacing=20).resolve_scale(color="shared")
    return chart


def _row(kind: str, curves: Sequence[LossCurve], emphasis: Emphasis) -> Drawing:
    axes = _AXES if _timed(curves) else _AXES[:2]
    lowest = min(point.loss for curve in curves for point in curve.points)
    panels = [
        _panel(
            curves,
            field,
            title,
            emphasis,
            alt.Y(
                "loss:Q",
                scale=alt.Scale(type="log" if lowest > 0 else "linear", zero=False, nice=False),
                axis=alt.Axis(title=kind if place == 0 else None, tickCount=5, format="~r"),
            ),
        )
        for place, (field, title) in enumerate(axes)
    ]
    return alt.hconcat(*panels, spacing=14)


def _panel(
    curves: Sequence[LossCurve], field: str, title: str, emphasis: Emphasis, y: alt.Y
) -> Drawing:
    # The important ones last, so that they lie on top.
    order = [*emphasis.colours]
    ranked = sorted(
        curves, key=lambda c: -order.index(c.name) if c.name in emphasis else -len(order)
    )
    rows = [
        {
            "x": getattr(point, field),
            "loss": point.loss,
            "curve": place,
            "label": emphasis.legend_label(curve.name),
        }
        for place, curve in enumerate(ranked)
        for point in curve.points
        if getattr(point, field) is not None
    ]
    chart: Drawing = (
        alt.Chart(records(rows))
        .mark_line(strokeWidth=1.8, interpolate="linear")
        .encode(
            alt.X("x:Q", axis=alt.Axis(title=title, tickCount=4, format="~s", grid=False)),
            y,
            color=configuration_color(emphasis, {curve.name for curve in curves}),
            detail="curve:O",
        )
        .properties(width=(WIDTH - 90) // 3, height=_HEIGHT)
    )
    return chart
