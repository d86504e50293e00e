"""Have workers on all nodes exchange something, as those of a trial would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ddp_sweep.checkup import ExchangeFacts, NodeFacts

__all__ = ["measure_exchanges"]

_START_S = 60.0
_MEETING_S = 30.0
_ALL_S = 120.0
"""For a whole exchange: the meeting, and under a minute of messages even at 1 Mbit/s."""


def measure_exchanges(
    nodes: Sequence[NodeFacts], *, use_gpus: bool, say: Callable[[str], None]
) -> tuple[ExchangeFacts, ...]:
    """One exchange with gloo, and one with NCCL where there are GPUs.

    Args:
        nodes: Those that answer. One worker on each that may have workers; where that is only
            one, two workers on it (one for each GPU that it has, at most two).
        use_gpus: Whether workers would compute on GPUs.
        say: Is told what is being done.
    """
    found = []
    workers = [node.node_id for node in nodes if node.can_work]
    if workers:
        found.append(_exchange("gloo", workers if len(workers) > 1 else workers * 2, say))
    with_gpu = [node for node in nodes if node.gpus >= 1]
    if with_gpu and use_gpus:
        ids = [node.node_id for node in with_gpu]
        if len(ids) == 1:
            ids *= min(2, int(with_gpu[0].gpus))
        found.append(_exchange("nccl", ids, say))
    return tuple(found)


def _exchange(backend: str, node_ids: Sequence[str], say: Callable[[str], None]) -> ExchangeFacts:
    count, nodes = len(node_ids), len(set(node_ids))
    say(f"exchanging with {backend}: {count} workers on {nodes} node{'s' if nodes > 1 else ''}")
    actors = [_worker_on(node_id, gpus=1 if backend == "nccl" else 0) for node_id in node_ids]
    facts: dict[str, Any] = {"backend": backend, "workers": count, "nodes": nodes}
    try:
        points = [actor.meeting_point.remote() for actor in actors]
        _, missing = ray.wait(points, num_returns=count, timeout=_START_S)
        if missing:
            return ExchangeFacts(**facts, failed_because=_not_started(len(missing), backend))
        meeting_point = ray.get(points)[0]
        calls = [
            actor.exchange.remote(rank, count, meeting_point, backend, _MEETING_S)
            for rank, actor in enumerate(actors)
        ]
        ready, _ = ray.wait(calls, num_returns=count, timeout=_ALL_S)
        if len(ready) < count:
            because = f"no end within {_ALL_S:.0f} s."
            return ExchangeFacts(**facts, failed_because=because)
        measured = ray.get(calls)[0]
    except ray.exceptions.RayError as error:
        return ExchangeFacts(**facts, failed_because=_last_line(error))
    finally:
        for actor in actors:
            ray.kill(actor)
    return ExchangeFacts(
        **facts,
        latency_s=measured.latency_s,
        message_bytes=measured.message_bytes,
        bandwidth_bit_per_s=measured.bandwidth_bit_per_s,
    )


def _worker_on(node_id: str, *, gpus: int) -> Any:  # noqa: ANN401 - a handle of an actor
    # Imported here: with it comes torch, which a look at the rest does without.
    from ddp_sweep.cluster.doctor.exchange_worker import ExchangeWorker

    return (
        ray.remote(ExchangeWorker)
        .options(
            num_cpus=0,
            num_gpus=gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        )
        .remote()
    )


def _not_started(missing: int, backend: str) -> str:
    busy = "; are its GPUs in use (`ray status`)?" if backend == "nccl" else "."
    return f"{missing} of the workers did not start within {_START_S:.0f} s{busy}"


def _last_line(error: Exception) -> str:
    """What an error in a worker says, without the way it took."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
