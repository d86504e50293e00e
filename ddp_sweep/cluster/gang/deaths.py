"""Reads from Ray's errors which worker processes died, and of what."""

from __future__ import annotations

import re

from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

__all__ = ["deaths", "first_line"]

_EXIT_DETAIL = re.compile(r"Worker exit detail: (.*?)(?:\. |\n|$)")


def deaths(error: BaseException | None) -> dict[int, str]:
    """Ranks whose process Ray Train found dead, with the cause in a few words.

    Args:
        error: What ``TorchTrainer.fit`` raised; None where it raised nothing.
    """
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    return {
        rank: _cause(failure.health_check_failure)
        for rank, failure in failures.items()
        if isinstance(failure, WorkerHealthCheckFailedError)
    }


def first_line(error: BaseException) -> str:
    """Kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _cause(error: BaseException) -> str:
    found = _EXIT_DETAIL.search(str(error))
    if found:
        return f"the worker process died: {found.group(1)}"
    if isinstance(error, RayActorError):
        return "the worker process died"
    return first_line(error)
