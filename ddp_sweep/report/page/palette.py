"""The colours of every chart and of the page, for light and dark.

The series colours are those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, which
people with any common kind of colour blindness can tell apart. Every colour that a chart may use
stands here once, so that the page can replace it by the variable of its colour scheme.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BAND",
    "BLUES",
    "FIXED",
    "GRID",
    "INK",
    "MUTED",
    "NO_VALUE",
    "ORANGES",
    "OTHERS",
    "PARTS",
    "SCHEME",
    "SERIES",
    "Shade",
]

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d5dbe1"
OTHERS = "#a3abb4"
"""Configurations that are not emphasized."""
BAND = "#bfe3d0"
"""What lies within a margin."""
NO_VALUE = "#e4e7ea"
"""A cell of a heat map without a measurement."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#4a2377")
"""Configurations, the most important first; Okabe and Ito without yellow, black as violet."""
PARTS = ("#8c510a", "#35978f", "#c7d1da")
"""Parts of a step's time: waiting for data, communication, the rest."""

SCHEME: dict[str, tuple[str, str]] = {
    INK: ("ink", "#e6edf3"),
    MUTED: ("muted", "#9aa7b4"),
    GRID: ("grid", "#30363d"),
    OTHERS: ("others", "#66707b"),
    BAND: ("band", "#1d4533"),
    NO_VALUE: ("no-value", "#2b3138"),
    SERIES[0]: ("series-1", "#4aa8e0"),
    SERIES[1]: ("series-2", "#f07d35"),
    SERIES[2]: ("series-3", "#2ec497"),
    SERIES[3]: ("series-4", "#f2b733"),
    SERIES[4]: ("series-5", "#e39ac2"),
    SERIES[5]: ("series-6", "#9ad6fa"),
    SERIES[6]: ("series-7", "#8f63cf"),
    PARTS[0]: ("part-1", "#d08b3e"),
    PARTS[1]: ("part-2", "#4fb8b0"),
    PARTS[2]: ("part-3", "#4a545e"),
}
"""Colour of the light scheme: name of its variable, and its colour in the dark scheme."""


@dataclass(frozen=True)
class Shade:
    """A step of a scale of shades, and the colour of text on it."""

    fill: str
    text: str


_DARK_TEXT, _LIGHT_TEXT = "#0b0f14", "#ffffff"
BLUES = (
    Shade("#eef4fb", _DARK_TEXT),
    Shade("#d3e4f3", _DARK_TEXT),
    Shade("#aacfe6", _DARK_TEXT),
    Shade("#74b2d8", _DARK_TEXT),
    Shade("#2171b5", _LIGHT_TEXT),
    Shade("#08519c", _LIGHT_TEXT),
)
ORANGES = (
    Shade("#fff3e6", _DARK_TEXT),
    Shade("#fdd9b0", _DARK_TEXT),
    Shade("#fdb67a", _DARK_TEXT),
    Shade("#f59140", _DARK_TEXT),
    Shade("#b84a02", _LIGHT_TEXT),
    Shade("#7f2c04", _LIGHT_TEXT),
)
FIXED = frozenset(colour for shade in (*BLUES, *ORANGES) for colour in (shade.fill, shade.text))
"""Colours that stay as they are in both schemes: a shade and the text that is legible on it."""
