"""What ended a trial: from what was seen to a status. Decides only; others act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ddp_sweep.schema import STALLED, Status
from ddp_sweep.training.messages import RankFailure, RankReport

__all__ = ["Evidence", "Failure", "GangOutcome", "judge", "no_room", "not_started"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of a trial that did not end as it should."""

    failures: tuple[RankFailure, ...] = ()
    """Exceptions that ranks reported, in order of arrival."""
    deaths: Mapping[int, str] = field(default_factory=dict)
    """Ranks whose process was gone before we ended any, with the cause."""
    lost_nodes: Mapping[int, str] = field(default_factory=dict)
    """Ranks whose node the cluster has given up, with the node's id."""
    silent_s: float | None = None
    """Seconds without a sign of life, where that ended the wait."""
    last_progress: Mapping[str, Any] | None = None
    """What the last sign of life said."""
    gang_error: str | None = None
    """Why the group of workers ended as a whole, where it did."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a trial failed."""

    status: Status
    detail: str
    rank: int | None = None
    """The rank that caused it, where one did."""


@dataclass(frozen=True, kw_only=True)
class GangOutcome:
    """How a trial ended in a gang: reports of all its ranks, or a failure."""

    reports: tuple[RankReport, ...] = ()
    """In rank order. With a failure: those of the ranks that delivered all the same."""
    failure: Failure | None = None


def judge(evidence: Evidence) -> Failure:
    """Find what caused a failure among what followed from it.

    A rank whose process died says nothing, while its peers report lost connections. So a lost
    node comes before a death, a death before an exception, and an exception of a rank's own
    before that of a rank which only lost its peers (status ``worker_died``).
    """
    spoke = {failure.rank for failure in evidence.failures}
    for rank, node in sorted(evidence.lost_nodes.items()):
        detail = f"rank {rank}: its node {node[:8]} is gone, or cannot be reached any more"
        return Failure(status=Status.NODE_LOST, rank=rank, detail=detail)
    for rank, cause in sorted(evidence.deaths.items()):
        if rank not in spoke:
            return Failure(status=Status.WORKER_DIED, rank=rank, detail=f"rank {rank}: {cause}")
    for failure in sorted(evidence.failures, key=lambda one: one.status == Status.WORKER_DIED):
        detail = f"rank {failure.rank}: {failure.detail}"
        return Failure(status=failure.status, rank=failure.rank, detail=detail)
    if evidence.silent_s is not None:
        return Failure(status=Status.TIMED_OUT, detail=_stalled(evidence.silent_s, evidence))
    cause = evidence.gang_error or "the group of workers ended without an error"
    return Failure(status=Status.WORKER_DIED, detail=cause)


def no_room(needed: int, room: int) -> Failure:
    """A trial that the cluster could hold when the sweep began, and cannot hold now."""
    return Failure(
        status=Status.NODE_LOST,
        detail=f"nodes of the cluster are gone: {needed} workers are needed, and there is room "
        f"for {room}. Once the nodes are back, run the same command again",
    )


def not_started(waited_s: float, lacking: str | None = None) -> Failure:
    """A group of workers that was not there in time.

    Args:
        waited_s: How long it was waited for.
        lacking: What the cluster lacks for it; None where nothing.
    """
    why = (
        "see whether something else holds the cluster's CPUs or GPUs, or raise "
        "resources.start_timeout_s"
        if lacking is None
        else f"the cluster still lacks {lacking}"
    )
    detail = f"{STALLED}the workers did not start within {waited_s:.0f} s; {why}"
    return Failure(status=Status.TIMED_OUT, detail=detail)


def _stalled(silent_s: float, evidence: Evidence) -> str:
    return (
        f"{STALLED}no progress for {silent_s:.0f} s, last seen: {_seen(evidence.last_progress)}; "
        "raise resources.stall_timeout_s if the workload may take so long for one thing"
    )


def _seen(progress: Mapping[str, Any] | None) -> str:
    """Progress of a trial in words.

    >>> _seen({"optimizer_step": 12, "samples": 384, "budget": 512, "train_loss": 0.5})
    'step 12, 384 of 512 samples'
    """
    told = progress or {}
    parts = [str(told["stage"])] if "stage" in told else []
    if "optimizer_step" in told:
        parts.append(f"step {told['optimizer_step']}")
    if "samples" in told and "budget" in told:
        parts.append(f"{told['samples']} of {told['budget']} samples")
    return ", ".join(parts) or "nothing"
