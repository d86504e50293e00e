"""What all charts of the page share: an info object first, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["ChartInfo", "Missing", "enumerate_names", "percent"]


class ChartInfo(Protocol):
    """The numbers behind a chart, and what they show in words."""

    @property
    def title(self) -> str:
        """What is seen, in a sentence."""

    @property
    def description(self) -> str:
        """The figures in words, for those who do not see the chart."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not on the chart, and how it is to be read."""


@dataclass(frozen=True)
class Missing:
    """A chart that the measurements do not allow."""

    reason: str
    """Which measurement is missing, in a plain sentence."""


def enumerate_names(names: list[str], most: int = 4) -> str:
    """Names in a sentence, the rest as their number.

    Examples:
        >>> enumerate_names(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def percent(share: float) -> str:
    """A share as people read it.

    Examples:
        >>> percent(0.831), percent(0.0042)
        ('83 %', '0.4 %')
    """
    return f"{100 * share:.0f} %" if abs(share) >= 0.1 or share == 0 else f"{100 * share:.1f} %"
