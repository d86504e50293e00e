"""The colours can be told apart, also by people with a colour blindness."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from ddp_sweep.report.page.palette import BLUES, INK, MUTED, ORANGES, SCHEME, SERIES

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
SEEN_WITH = {
    "usual sight": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
LEAST_DISTANCE = 11.0
"""In CIELAB; 2.3 is just noticeable side by side."""

Floats = npt.NDArray[np.float64]


def linear(colour: str) -> Floats:
    channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    bright, dark = sorted(
        (float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other)), reverse=True
    )
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SEEN_WITH)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_series_can_be_told_apart(sight: str, scheme: str) -> None:
    colours = [c if scheme == "light" else SCHEME[c][1] for c in SERIES]
    seen = [lab(SEEN_WITH[sight] @ linear(colour)) for colour in colours]

    for (a, one), (b, other) in itertools.combinations(enumerate(seen), 2):
        assert np.linalg.norm(one - other) > LEAST_DISTANCE, (colours[a], colours[b])


@pytest.mark.parametrize(("ground", "place"), [("#ffffff", 0), ("#0d1117", 1)])
def test_text_is_legible_in_both_schemes(ground: str, place: int) -> None:
    for colour in (INK, MUTED):
        assert contrast((colour, SCHEME[colour][1])[place], ground) >= 4.5
    for colour in SERIES:
        assert contrast((colour, SCHEME[colour][1])[place], ground) >= 2


def test_text_on_a_shade_is_legible() -> None:
    for shade in (*BLUES, *ORANGES):
        assert contrast(shade.fill, shade.text) >= 4.5
