"""Parts that several charts draw alike."""

from __future__ import annotations

import altair as alt

from ddp_sweep.report.page.drawing import color_scale
from ddp_sweep.report.page.emphasis import Emphasis, Outcome

__all__ = ["configuration_color", "outcome_shape"]


def outcome_shape(outcomes: set[Outcome]) -> alt.Shape:
    """Outcomes by shape, so that colour is free for the configurations."""
    shapes = dict(zip(Outcome, ("circle", "diamond", "cross", "triangle-down"), strict=True))
    shown = [found for found in Outcome if found in outcomes]
    return alt.Shape(
        "outcome:N",
        scale=alt.Scale(domain=[str(o) for o in shown], range=[shapes[o] for o in shown]),
        # A single outcome needs no key; the table says it.
        legend=alt.Legend(orient="top", columns=4) if len(shown) > 1 else None,
    )


def configuration_color(emphasis: Emphasis, names: set[str]) -> alt.Color:
    """The same colour for the same configuration on every chart; field ``label``."""
    return alt.Color("label:N", scale=color_scale(*emphasis.scale(names)))
