"""What verbs print with: data to stdout, warnings to stderr."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ddp_sweep.errors import DataWarning, ResultsWarning
from ddp_sweep.shown_text import shown

if TYPE_CHECKING:
    from rich.console import Console

    from ddp_sweep.analysis import Ranking

__all__ = ["plain_warnings", "print_json", "show_ranking", "stdout", "warn"]


def stdout() -> Console:
    """The terminal, or what stands in for it."""
    from ddp_sweep.report.console import SafeConsole

    return SafeConsole()


def print_json(value: object) -> None:
    """JSON types only; NaN and infinity are refused."""
    print(json.dumps(value, indent=2, allow_nan=False))


def show_ranking(ranking: Ranking) -> None:
    """The table for people."""
    from ddp_sweep.report.terminal import print_ranking

    print_ranking(ranking, stdout())


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print what is said of data and of files as a sentence, without a line of our source."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, DataWarning | ResultsWarning):
            warn([str(message)])
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def warn(problems: Iterable[str]) -> None:
    """A line on stderr for each."""
    for problem in problems:
        print(f"warning: {shown(problem)}", file=sys.stderr)
