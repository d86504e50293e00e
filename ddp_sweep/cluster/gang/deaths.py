"""Reads from Ray's errors which worker processes died, and of what."""

from __future__ import annotations

import re

from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

__all__ = ["NO_MEMORY", "deaths", "end_of_actor", "end_of_gang"]

NO_MEMORY = (
    "the process was ended because its host ran out of memory; use fewer workers a host, a "
    "smaller per_worker_batch_size or fewer loader_workers, or hosts with more memory"
)
_KILLED = (
    "the worker process died without a word: killed (by hand, or for want of memory), crashed in "
    "native code, or ended by os._exit"
)
_EXIT_DETAIL = re.compile(r"Worker exit detail: (.*?)(?:\. |\n|$)")
_LOW_ON_MEMORY = "low on memory"
"""In the message of a process that Ray's memory monitor ended."""


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


def end_of_gang(error: BaseException) -> str:
    """Why the group of workers ended as a whole, in a few words."""
    return end_of_actor(error, "the process of Ray Train that watches the workers died")


def end_of_actor(error: BaseException, usual: str) -> str:
    """Why an actor is gone, in a few words.

    Args:
        error: What a call of it raised.
        usual: What to say of a death that Ray knows no cause of.
    """
    if _was_memory(error):
        return NO_MEMORY
    return usual if isinstance(error, RayActorError) else _first_line(error)


def _first_line(error: BaseException) -> str:
    """Kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _cause(error: BaseException) -> str:
    if _was_memory(error):
        return NO_MEMORY
    found = _EXIT_DETAIL.search(str(error))
    if found and "connection error" not in found.group(1):
        return f"the worker process died: {found.group(1)}"
    if isinstance(error, RayActorError):
        return _KILLED
    return _first_line(error)


def _was_memory(error: BaseException) -> bool:
    return isinstance(error, OutOfMemoryError) or _LOW_ON_MEMORY in str(error)
