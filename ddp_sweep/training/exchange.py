"""How fast workers exchange gradients: a real all-reduce, timed."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

__all__ = ["Exchange", "measure_exchange"]

_WARM_UPS = 3
_SINGLE_NUMBERS = 20
_FIRST_BYTES, _LAST_BYTES = 2**18, 2**26
_LONG_ENOUGH_S = 0.25
_BYTES_PER_NUMBER = 4
_REPETITIONS = 3


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What an all-reduce took."""

    latency_s: float
    """Median time to add up one number."""
    message_bytes: int
    bandwidth_bit_per_s: float | None
    """What each worker sent, and received, a second; None for a single worker."""


def measure_exchange(
    rank: int, world_size: int, meeting_point: str, backend: str, timeout_s: float
) -> Exchange:
    """Meet the other ranks, add up numbers with them, and part again.

    The message grows until adding it up takes a quarter of a second, so that a slow network takes
    no longer than a fast one. For a message of ``S`` bytes each of ``n`` ranks of a ring sends
    ``2 S (n - 1) / n`` bytes (Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for
    clusters of workstations", 2009); with two ranks that is the message itself.

    Args:
        rank: Of this process.
        world_size: Number of processes that call this at the same time.
        meeting_point: ``host:port`` on which rank 0 will listen.
        backend: ``gloo``, or ``nccl`` with a GPU for each rank.
        timeout_s: For the meeting, and for each operation.

    Raises:
        RuntimeError: The ranks do not find each other, or lose each other.
    """
    # Ray shows a worker its own GPU alone, as the first.
    device = torch.device("cuda", 0) if backend == "nccl" else torch.device("cpu")
    dist.init_process_group(
        backend,
        init_method=f"tcp://{meeting_point}",
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=timeout_s),
        device_id=device if backend == "nccl" else None,
    )
    try:
        return _measure(world_size, device)
    finally:
        dist.destroy_process_group()


def _measure(
    world_size: int, device: torch.device, now: Callable[[], float] = time.perf_counter
) -> Exchange:
    def seconds(size_bytes: int) -> float:
        """Of the slowest rank, so that all ranks go on alike."""
        numbers = torch.ones(max(1, size_bytes // _BYTES_PER_NUMBER), device=device)
        dist.barrier()
        began = now()
        dist.all_reduce(numbers)
        # Reads a number, which a GPU gives only when it is there.
        total = numbers[-1].item()
        took = torch.tensor([now() - began], device=device)
        if total != world_size:
            raise RuntimeError(f"the sum of {world_size} ones came out as {total:g}")
        dist.all_reduce(took, op=dist.ReduceOp.MAX)
        return float(took.item())

    for _ in range(_WARM_UPS):
        seconds(_BYTES_PER_NUMBER)
    latency_s = statistics.median(seconds(_BYTES_PER_NUMBER) for _ in range(_SINGLE_NUMBERS))
    size_bytes = _FIRST_BYTES
    while seconds(size_bytes) < _LONG_ENOUGH_S and size_bytes < _LAST_BYTES:
        size_bytes *= 2
    took_s = statistics.median(seconds(size_bytes) for _ in range(_REPETITIONS))
    sent_bit = 8 * size_bytes * 2 * (world_size - 1) / world_size
    return Exchange(
        latency_s=latency_s,
        message_bytes=size_bytes,
        bandwidth_bit_per_s=sent_bit / took_s if world_size > 1 else None,
    )
