"""From a chart to SVG and PNG: one look for all of them, and colours that follow the page."""

from __future__ import annotations

import functools
import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import vl_convert

from ddp_sweep.report.page.palette import FIXED, GRID, INK, MUTED, SCHEME
from ddp_sweep.shown_text import shown

__all__ = [
    "WIDTH",
    "Drawing",
    "color_scale",
    "for_page",
    "log_ticks",
    "measured_ticks",
    "records",
    "to_png",
    "to_svg",
]

Drawing: TypeAlias = (
    alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart
)
"""What a chart is before it is rendered."""

WIDTH = 760
"""Width of a chart that fills the page, in pixels, without its axes."""
_FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"
_TITLE_WIDTH = 88
_PNG_SCALE = 2.0
_PAINT = re.compile(r'(fill|stroke)="(#[0-9a-f]{6})"')
_ID = re.compile(r'\bid="([^"]+)"|url\(#([^)]+)\)')

_CONFIG: dict[str, Any] = {
    "aria": False,
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelOverlap": True,
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "legend": {
        "orient": "bottom",
        "direction": "vertical",
        "columns": 2,
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 740,
        "symbolStrokeWidth": 2.5,
        "symbolSize": 90,
        "symbolOpacity": 1,
    },
    "text": {"color": INK, "fontSize": 12},
    "title": {"color": INK, "fontSize": 13, "anchor": "start", "fontWeight": 600},
}


def records(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Rows for a chart; a number that is not finite has no place in one."""
    for row in rows:
        for value in row.values():
            assert not isinstance(value, float) or math.isfinite(value), row
    return alt.InlineData(values=[dict(row) for row in rows])


def color_scale(labels: Sequence[str], colours: Sequence[str]) -> alt.Scale:
    """A scale that gives each label its colour, in this order."""
    return alt.Scale(domain=list(labels), range=list(colours))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis.

    Examples:
        >>> log_ticks(0.9, 4.2)
        [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
        >>> log_ticks(0.93, 1.2)
        [0.95, 1.0, 1.05, 1.1, 1.15, 1.2]
        >>> log_ticks(3, 4000)
        [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]
        >>> log_ticks(0.15, 1.4)
        [0.2, 0.3, 0.5, 0.7, 1.0]
    """
    if high / low < 6:
        span = high - low
        raw = 10 ** math.floor(math.log10(span)) if span > 0 else low
        step = next(raw * m for m in (0.2, 0.5, 1, 2, 5) if span / (raw * m) <= 7) if span else raw
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [float(f"{k * step:.6g}") for k in range(first, last + 1)]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    mantissas: tuple[float, ...] = (1, 2, 5) if last - first <= 5 else (1,)
    if high / low < 40:
        mantissas = (1, 2, 3, 5, 7)
    ticks = [m * 10.0**power for power in range(first, last + 1) for m in mantissas]
    return [float(f"{tick:.6g}") for tick in ticks if low <= tick <= high]


def measured_ticks(values: Sequence[int], most: int = 14) -> list[int]:
    """The measured values for a logarithmic axis; of many, some that have room for a label.

    Examples:
        >>> measured_ticks([1, 2, 4, 8])
        [1, 2, 4, 8]
        >>> measured_ticks(range(1, 101), most=5)
        [1, 4, 13, 100]
    """
    ordered = sorted(values)
    if len(ordered) <= most:
        return ordered
    step = (ordered[-1] / ordered[0]) ** (1 / (most - 1)) * (1 - 1e-9)
    ticks = ordered[:1]
    for value in ordered:
        if value >= ticks[-1] * step and ordered[-1] >= value * step:
            ticks.append(value)
    return [*ticks, ordered[-1]]


def to_svg(chart: Drawing, title: str | None = None) -> str:
    """A chart as SVG in the colours of the light scheme, with its title above it if given."""
    specification = chart.to_dict()
    specification["config"] = _CONFIG
    if title is not None:
        lines = textwrap.wrap(title, _TITLE_WIDTH)
        specification["title"] = {"text": lines, "offset": 12}
        specification["background"] = "#ffffff"
    return vl_convert.vegalite_to_svg(json.dumps(_shown(specification)))


def _shown(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same with text as it is shown: of a control character the renderer would die."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {name: _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def to_png(svg: str) -> bytes:
    """The same picture in pixels, twice as large for sharp print."""
    return vl_convert.svg_to_png(svg, scale=_PNG_SCALE)


def for_page(svg: str, key: str) -> str:
    """The SVG as part of the page: named by its caption, in the colours of the page.

    Args:
        svg: What `to_svg` gave, without title.
        key: Unlike that of every other chart on the page; ids inside begin with it.
    """
    painted = _PAINT.sub(_as_variable, svg.replace('"#000"', f'"{INK}"'))
    own = _ID.sub(functools.partial(_with_prefix, key), painted)
    own = own.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "", 1)
    return own.replace(
        "<svg ", f'<svg role="img" aria-labelledby="{key}-title" aria-describedby="{key}-text" ', 1
    )


def _as_variable(match: re.Match[str]) -> str:
    attribute, colour = match.groups()
    if colour in FIXED:
        return match.group()
    return f'{attribute}="var(--{SCHEME[colour][0]})"'


def _with_prefix(key: str, match: re.Match[str]) -> str:
    identity, reference = match.groups()
    return f'id="{key}-{identity}"' if identity else f"url(#{key}-{reference})"
