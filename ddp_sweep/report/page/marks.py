"""Parts that several charts draw alike."""

from __future__ import annotations

import altair as alt

from ddp_sweep.report.page.drawing import color_scale
from ddp_sweep.report.page.emphasis import Emphasis, Outcome
from ddp_sweep.report.page.palette import INK

__all__ = ["color_of", "configuration_color", "outcome_shape"]


_HALF_A_LINE = 56
"""Characters of a label that leave room for another beside it."""
_SHAPES = {
    Outcome.HELD: "circle",
    Outcome.WITHIN: "circle",
    Outcome.UNKNOWN: "diamond",
    Outcome.LOST: "cross",
    Outcome.OVER: "cross",
    Outcome.FAILED: "triangle-down",
}


_KEY = alt.Legend(orient="top", columns=4, symbolFillColor=INK, symbolStrokeColor=INK)


def outcome_shape(outcomes: set[Outcome]) -> alt.Shape:
    """Outcomes by shape, so that colour is free for the configurations."""
    shown = [found for found in Outcome if found in outcomes]
    return alt.Shape(
        "outcome:N",
        scale=alt.Scale(domain=[str(o) for o in shown], range=[_SHAPES[o] for o in shown]),
        # Where all is well, there is nothing to tell apart.
        legend=None if shown == [Outcome.HELD] else _KEY,
    )


def configuration_color(emphasis: Emphasis, names: set[str]) -> alt.Color:
    """The same colour for the same configuration on every chart; field ``label``."""
    return color_of(*emphasis.scale(names))


def color_of(labels: list[str], colours: list[str]) -> alt.Color:
    """A legend of these labels, in two columns where they are short enough."""
    columns = 2 if max(map(len, labels), default=0) <= _HALF_A_LINE else 1
    return alt.Color(
        "label:N", scale=color_scale(labels, colours), legend=alt.Legend(columns=columns)
    )
