"""Ctrl-C: once to finish the running trial, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["drain_on_interrupt"]


@contextmanager
def drain_on_interrupt(drain: Callable[[], None]) -> Iterator[None]:
    """Call ``drain`` on the first SIGINT; raise KeyboardInterrupt on the next, and on SIGTERM.

    Only the main thread gets signals; in any other this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal interrupted
        if interrupted or number != signal.SIGINT:
            raise KeyboardInterrupt
        interrupted = True
        drain()

    before = {
        number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
