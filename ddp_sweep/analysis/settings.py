"""The settings of a configuration, ready to paste: sizes, learning rate, a torchrun line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddp_sweep.analysis.outcome import RankedConfiguration

__all__ = ["ready_to_paste", "sweep_file_settings", "torchrun_line"]

_OPTION = "workload_options."


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


def torchrun_line(entry: RankedConfiguration) -> str | None:
    """How PyTorch's own launcher starts as many workers; to be run on every node.

    None where the workers do not divide among the nodes: then no one line is right for all. Where
    the number of nodes is not known it is taken to be 1.
    """
    nodes = entry.num_nodes or 1
    workers, rest = divmod(entry.world_size, nodes)
    if rest:
        return None
    if nodes == 1:
        return f"torchrun --standalone --nproc-per-node {workers} train.py"
    return (
        f"torchrun --nnodes {nodes} --nproc-per-node {workers} --rdzv-backend c10d "
        "--rdzv-endpoint FIRST_HOST:29500 train.py"
    )


def sweep_file_settings(entry: RankedConfiguration) -> dict[str, Any] | None:
    """The sections of a sweep file that has this configuration alone; defaults are left out.

    None for a run of another tool, and where the global batch is not known.
    """
    # Only here, since loading them takes a while and a ranking needs none of them.
    from ddp_sweep.spec import DataSettings, QualitySettings, ResourceSettings, TrainingSettings

    known = entry.parameters
    if "workload" not in known or entry.global_batch_size is None:
        return None
    options = {
        name.removeprefix(_OPTION): value
        for name, value in known.items()
        if name.startswith(_OPTION)
    }
    sections: dict[str, Any] = {
        "workload": known["workload"],
        "workload_options": options,
        "sweep": {
            "world_size": [entry.world_size],
            "global_batch_size": [entry.global_batch_size],
        },
        # Without a default of its own, a learning rate always stands in the file.
        "training": _not_default(known, TrainingSettings(learning_rate=1).model_dump(mode="json"))
        | {"learning_rate": known.get("learning_rate")},
        "data": _not_default(known.get("data") or {}, DataSettings().model_dump(mode="json")),
        "quality": _not_default(known, QualitySettings().model_dump(mode="json")),
        "resources": _not_default(known, ResourceSettings().model_dump(mode="json")),
    }
    return {name: section for name, section in sections.items() if section}


def _not_default(known: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: known[name]
        for name, default in defaults.items()
        if name in known and known[name] != default
    }
