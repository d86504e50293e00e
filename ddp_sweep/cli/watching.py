"""Which view of a running sweep ``run`` shows, and how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from ddp_sweep.errors import DdpSweepError

if TYPE_CHECKING:
    from ddp_sweep.live import Observer

__all__ = ["Progress", "watching"]


class Progress(StrEnum):
    """What ``run`` prints to stderr while it works."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


@contextmanager
def watching(progress: Progress) -> Iterator[Observer | None]:
    """What shows the progress of a run; None where plain lines or silence are wanted."""
    if progress is Progress.JSON:
        with _json_lines() as observer:
            yield observer
    elif progress is Progress.RICH or (progress is Progress.AUTO and _on_a_terminal()):
        with _terminal_view(forced=progress is Progress.RICH) as observer:
            yield observer
    else:
        yield None


def _on_a_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


@contextmanager
def _terminal_view(*, forced: bool) -> Iterator[Observer]:
    from ddp_sweep.report.console import SafeConsole
    from ddp_sweep.report.live_terminal import TerminalView

    view = TerminalView(SafeConsole(stderr=True, force_terminal=True if forced else None))
    try:
        yield view
    finally:
        view.close()


@contextmanager
def _json_lines() -> Iterator[Observer]:
    """Every line of stderr is an object, also of errors and of what others print."""
    from ddp_sweep.report.live_json import JsonLines, MessageLines

    lines = JsonLines(sys.stderr)
    # What no branch below knows of ends the program as Python does it, with 1.
    exit_code, text = 1, None
    try:
        with contextlib.redirect_stderr(MessageLines(lines)):
            yield lines
        exit_code = 0
    except KeyboardInterrupt:
        exit_code = 130
        raise
    except typer.Exit as left:
        exit_code = left.exit_code
        raise
    except DdpSweepError as error:
        exit_code, text = error.exit_code, str(error)
        # Said in the last line; not to be printed as well.
        raise typer.Exit(error.exit_code) from None
    finally:
        lines.write("finished", exit_code=exit_code, message=text)
