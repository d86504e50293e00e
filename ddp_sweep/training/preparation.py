"""What a workload does once on each node before its first trial: downloads, unpacking."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import torch.distributed as dist

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import Json, canonical_json
from ddp_sweep.workload import WorkloadFactory, user_traceback

__all__ = ["prepare", "prepare_nodes"]


def prepare(factory: WorkloadFactory, options: Mapping[str, Json]) -> None:
    """Call ``prepare`` of a workload that has it.

    The object is not used again: what ``prepare`` leaves behind, it leaves on the disk. It is
    called anew whenever workers start, so it should find out by itself that nothing is left to do.
    Where several groups of workers start on a host, one after another prepares.

    Raises:
        WorkloadError: It raised an error.
    """
    if isinstance(factory, type) and not hasattr(factory, "prepare"):
        return
    try:
        own = getattr(factory(**options), "prepare", None)
        if own is not None:
            with _alone_on_this_host():
                own()
    except (Exception, SystemExit) as error:
        raise WorkloadError(f"prepare raised an error:\n{user_traceback(error)}") from error


@contextmanager
def _alone_on_this_host() -> Iterator[None]:
    """Keep other processes out of the same; the lock ends with its process, and leaves no file."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def prepare_nodes(
    factory: WorkloadFactory,
    options: Iterable[Mapping[str, Json]],
    *,
    first_on_node: bool,
    alone: bool,
) -> dict[str, str]:
    """Let the lowest rank of each node prepare the workload while all others wait.

    Args:
        factory: Makes the workload.
        options: Each variant that trials are to come of.
        first_on_node: Whether this is the lowest rank of its node.
        alone: Whether there is no other rank, and so no process group.

    Returns:
        What went wrong on any node, by the canonical JSON of the variant; the same on every rank.
    """
    problems: dict[str, str] = {}
    for variant in options if first_on_node else ():
        try:
            prepare(factory, variant)
        except WorkloadError as error:
            problems[canonical_json(dict(variant))] = str(error)
    if alone:
        return problems
    everywhere: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(everywhere, problems)
    return {key: text for one in everywhere for key, text in one.items()}
