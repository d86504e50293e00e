"""What verbs print with: data to stdout, warnings to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from ddp_sweep.analysis import Ranking

__all__ = ["print_json", "show_ranking", "stdout", "warn"]


def stdout() -> Console:
    """The terminal, or what stands in for it."""
    return Console(highlight=False)


def print_json(value: object) -> None:
    """JSON types only; NaN and infinity are refused."""
    print(json.dumps(value, indent=2, allow_nan=False))


def show_ranking(ranking: Ranking) -> None:
    """The table for people."""
    from ddp_sweep.report.terminal import print_ranking

    print_ranking(ranking, stdout())


def warn(problems: Iterable[str]) -> None:
    """A line on stderr for each."""
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
