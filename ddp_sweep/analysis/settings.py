"""The settings of a configuration, ready to paste: sizes, learning rate, a torchrun line."""

from __future__ import annotations

from typing import Any

from ddp_sweep.analysis.outcome import RankedConfiguration

__all__ = ["ready_to_paste", "torchrun_line"]


def ready_to_paste(entry: RankedConfiguration) -> dict[str, Any]:
    """What a training script needs to be given to train as the configuration did.

    ``learning_rate`` is the rate as scaled to the global batch; None where it is not known.
    """
    rate = entry.parameters.get("scaled_learning_rate", entry.parameters.get("learning_rate"))
    return {
        "world_size": entry.world_size,
        "per_worker_batch_size": entry.per_worker_batch_size,
        "accumulation_steps": entry.parameters.get("accumulation_steps"),
        "global_batch_size": entry.global_batch_size,
        "learning_rate": rate,
        "torchrun": torchrun_line(entry),
    }


def torchrun_line(entry: RankedConfiguration) -> str:
    """How PyTorch's own launcher starts as many workers.

    On several nodes each gets its share, the first ones the rest where it does not divide; then
    every node needs its own line, and this one is that of the nodes with the larger share.
    """
    if entry.world_size == 1:
        return "python train.py"
    nodes = entry.num_nodes or 1
    a_node = -(-entry.world_size // nodes)
    if nodes == 1:
        return f"torchrun --standalone --nproc-per-node {a_node} train.py"
    return (
        f"torchrun --nnodes {nodes} --nproc-per-node {a_node} --rdzv-backend c10d "
        "--rdzv-endpoint FIRST_HOST:29500 train.py"
    )
