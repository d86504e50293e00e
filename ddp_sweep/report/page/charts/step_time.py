"""Where the time of an optimizer step goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from ddp_sweep.analysis.tables.columns import numbers
from ddp_sweep.report.page.drawing import WIDTH, Drawing, color_scale, records
from ddp_sweep.report.page.emphasis import Emphasis, emphasize
from ddp_sweep.report.page.figure import Missing, percent
from ddp_sweep.report.page.material import Material
from ddp_sweep.report.page.palette import PARTS

__all__ = ["StepTimeBar", "StepTimeInfo", "draw_step_time", "step_time_info"]

_MOST_BARS = 20
_BAR_HEIGHT = 24
_SHARES = ["step_s", "data_wait", "communication"]
_WAIT, _COMMUNICATION, _REST = "waiting for data", "communication", "the rest"


@dataclass(frozen=True, kw_only=True)
class StepTimeBar:
    """One configuration; means over its finished runs."""

    name: str
    step_ms: float
    """Training time / optimizer steps."""
    data_wait: float
    """Share of the training time that the slowest worker waited for data."""
    communication: float | None
    """Share that was spent in communication; None where that was not measured."""

    @property
    def rest(self) -> float:
        """Share of the forward and backward pass, and of all that was not measured apart."""
        return max(0.0, 1 - self.data_wait - (self.communication or 0))


@dataclass(frozen=True, kw_only=True)
class StepTimeInfo:
    """The configurations whose steps were timed, in order of rank."""

    bars: tuple[StepTimeBar, ...]
    with_communication: bool
    title: str
    description: str
    notes: tuple[str, ...]


def step_time_info(material: Material) -> StepTimeInfo | Missing:
    """Means of the fractions recorded with each trial."""
    means = _means(material)
    if means.empty:
        return Missing(
            "Where the time of a step goes was not measured: the runs hold no share of time spent "
            "waiting for data (data_wait_fraction)."
        )
    emphasis = emphasize(material.ranking)
    timed = [number for number in material.order if number in means.index]
    first = [number for number in timed if material.entries[number].name in emphasis]
    chosen = set([*first, *(n for n in timed if n not in set(first))][:_MOST_BARS])
    bars = tuple(
        _bar(material.entries[number].name, *means.loc[number, _SHARES])
        for number in timed
        if number in chosen
    )
    with_communication = any(bar.communication is not None for bar in bars)
    return StepTimeInfo(
        bars=bars,
        with_communication=with_communication,
        title=_title(bars),
        description=_description(bars),
        notes=tuple(_notes(with_communication, len(timed) - len(bars))),
    )


def _means(material: Material) -> pd.DataFrame:
    """By number of the configuration: step_s, data_wait and communication."""
    measured = material.measured
    steps = numbers(material.runs, "optimizer_steps")
    shares = pd.DataFrame(
        {
            "configuration": measured.configuration,
            "step_s": numbers(material.runs, "train_time_s") / np.where(steps > 0, steps, np.nan),
            "data_wait": numbers(material.runs, "data_wait_fraction"),
            "communication": numbers(material.runs, "communication_fraction"),
        }
    )
    means = shares[measured.finished].groupby("configuration").mean()
    return means.dropna(subset=["step_s", "data_wait"])


def _bar(name: str, step_s: float, data_wait: float, communication: float) -> StepTimeBar:
    return StepTimeBar(
        name=name,
        step_ms=1000 * float(step_s),
        data_wait=float(data_wait),
        communication=None if np.isnan(communication) else float(communication),
    )


def _title(bars: Sequence[StepTimeBar]) -> str:
    worst = max(bars, key=lambda bar: bar.data_wait)
    if worst.data_wait < 0.05:
        text = f"No configuration waits for data more than {percent(worst.data_wait)} of its time"
    else:
        text = f"{worst.name} waits for data {percent(worst.data_wait)} of its time"
    talking = [bar for bar in bars if bar.communication is not None]
    if not talking:
        return text
    most = max(talking, key=lambda bar: bar.communication or 0)
    return f"{text}; communication takes up to {percent(most.communication or 0)} ({most.name})"


def _description(bars: Sequence[StepTimeBar]) -> str:
    words = []
    for bar in bars[:12]:
        text = f"{bar.name} {bar.step_ms:.3g} ms a step, {percent(bar.data_wait)} waiting for data"
        if bar.communication is not None:
            text += f", {percent(bar.communication)} communication"
        words.append(text)
    return "; ".join(words) + "."


def _notes(with_communication: bool, left_out: int) -> Iterator[str]:
    if not with_communication:
        yield (
            "The time spent in communication was not measured; it is part of the rest, with the "
            "forward and backward pass."
        )
    if left_out:
        yield f"{left_out:,} configurations of lower rank are left out."


def draw_step_time(info: StepTimeInfo, emphasis: Emphasis) -> Drawing:
    """A bar for each configuration, as long as its mean step."""
    parts = [_WAIT, _REST]
    colours = [PARTS[0], PARTS[2]]
    if info.with_communication:
        parts, colours = [_WAIT, _COMMUNICATION, _REST], [*PARTS]
    labels = [emphasis.label(bar.name) for bar in info.bars]
    rows = [
        {"bar": label, "part": part, "order": parts.index(part), "ms": bar.step_ms * share}
        for label, bar in zip(labels, info.bars, strict=True)
        for part, share in _parts(bar)
    ]
    chart: Drawing = (
        alt.Chart(records(rows))
        .mark_bar(height={"band": 0.72})
        .encode(
            alt.X("ms:Q", axis=alt.Axis(title="mean time of an optimizer step, ms")),
            alt.Y(
                "bar:N",
                sort=labels,
                axis=alt.Axis(title=None, labelLimit=330, ticks=False, domain=False),
            ),
            color=alt.Color(
                "part:N", scale=color_scale(parts, colours), legend=alt.Legend(columns=3)
            ),
            order="order:Q",
        )
        .properties(width=WIDTH - 240, height=_BAR_HEIGHT * len(info.bars))
    )
    return chart


def _parts(bar: StepTimeBar) -> Iterator[tuple[str, float]]:
    yield _WAIT, bar.data_wait
    if bar.communication is not None:
        yield _COMMUNICATION, bar.communication
    yield _REST, bar.rest
