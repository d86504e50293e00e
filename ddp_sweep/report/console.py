"""The terminal, as everything here prints to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ddp_sweep.shown_text import shown

__all__ = ["SafeConsole"]


class SafeConsole(Console):
    """A console that takes no orders from the text it prints.

    Text has no markup: what is bold or in colour is so by the style it is given. Control
    characters are written out before anything is laid out, so that tables stay straight.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of rich's console
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Called by rich for everything, also for what stands in something else."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else shown(segment.text)
            yield segment if text == segment.text else segment._replace(text=text)
