"""What the nodes are like: processors, GPUs, memory, disks, clocks, and other load."""

from __future__ import annotations

from ddp_sweep.checkup.facts import ClusterFacts
from ddp_sweep.checkup.problem import Found, Gravity, Problem

__all__ = ["RULES"]

_MEBIBYTE, _GIBIBYTE = 2**20, 2**30
_CLOCK_WARNING_S, _CLOCK_PROBLEM_S = 1.0, 300.0
"""Object stores and access tokens refuse clocks that are off by minutes."""
_NOTABLE_LOAD = 0.25


def _gpus(facts: ClusterFacts) -> Found:
    models = sorted({model for node in facts.nodes for model in node.gpu_models or ()})
    if len(models) > 1:
        yield Problem(
            kind="mixed_gpus",
            gravity=Gravity.WARNING,
            message=f"GPUs of {len(models)} models: {', '.join(models)}. The slowest sets the "
            "pace of each step, and runs on different ones cannot be compared.",
            remedy="Make a cluster of one model, or run each model's nodes as a cluster.",
        )
    for node in facts.nodes:
        present = len(node.gpu_models or ())
        if present and node.gpus < present:
            yield Problem(
                kind="idle_gpus",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{present} GPUs are there, of which Ray offers {node.gpus:g}.",
                remedy=f"Start Ray there with --num-gpus={present}, if they are meant to be used.",
            )
        torch = node.versions.torch if node.versions else None
        if node.gpus and torch and torch.endswith("+cpu"):
            yield Problem(
                kind="torch_without_gpu",
                gravity=Gravity.PROBLEM,
                node=node.label,
                message=f"torch {torch} cannot use the GPUs of this node.",
                remedy="Install torch for your GPU with the command that pytorch.org gives.",
            )


def _folder(facts: ClusterFacts) -> Found:
    folder = facts.folder
    if folder.unwritable_because is not None:
        yield Problem(
            kind="results_folder",
            gravity=Gravity.PROBLEM,
            message=f"Results cannot be written to {folder.path}: {folder.unwritable_because}",
            remedy="Give another folder with --output, or let the user that Ray runs as on this "
            "node write there.",
        )
    elif folder.free_bytes is not None and folder.free_bytes < _GIBIBYTE:
        little = folder.free_bytes < 100 * _MEBIBYTE
        yield Problem(
            kind="free_space",
            gravity=Gravity.PROBLEM if little else Gravity.WARNING,
            message=f"{folder.free_bytes / _MEBIBYTE:,.0f} MiB are free for results in "
            f"{folder.path}.",
            remedy="Make room, or give a folder on another disk with --output.",
        )


def _clocks(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        offset_s, doubt_s = node.clock_offset_s, node.clock_uncertainty_s
        if offset_s is None or doubt_s is None or abs(offset_s) - doubt_s <= _CLOCK_WARNING_S:
            continue
        far = abs(offset_s) - doubt_s > _CLOCK_PROBLEM_S
        yield Problem(
            kind="clock",
            gravity=Gravity.PROBLEM if far else Gravity.WARNING,
            node=node.label,
            message=f"Its clock is {abs(offset_s):,.1f} s {'ahead' if offset_s > 0 else 'behind'} "
            "of this node's. Times within a trial do not depend on it; logs and access to "
            "storage do.",
            remedy="Let chrony or systemd-timesyncd set the clocks of all nodes.",
        )


def _cores(facts: ClusterFacts) -> Found:
    local = facts.address is None
    for node in facts.nodes:
        if node.cores is None or not node.can_work:
            continue
        asked: float | None = None if local else node.cpus
        if local and facts.largest_world_size is not None:
            asked = facts.largest_world_size * (facts.cpus_per_worker or 1)
        if asked is not None and asked > node.cores:
            who = "The sweep asks for" if local else "Ray offers"
            yield Problem(
                kind="oversubscribed",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{who} {asked:g} CPUs where {node.cores} physical cores can be used: "
                "workers would share cores, and such runs make no claim about a speedup.",
                remedy="Ask for fewer workers."
                if local
                else f"Start Ray there with --num-cpus={node.cores}.",
            )


def _load(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        if node.load is not None and node.load > _NOTABLE_LOAD:
            yield Problem(
                kind="other_load",
                gravity=Gravity.WARNING,
                node=node.label,
                message=f"{100 * node.load:.0f} % of its processors are busy with something else; "
                "whatever is timed there takes longer.",
                remedy="End what else runs there (`top` shows it), or wait for it.",
            )


def _shared_memory(facts: ClusterFacts) -> Found:
    for node in facts.nodes:
        size = node.shared_memory_bytes
        if size is not None and size < _GIBIBYTE and node.can_work:
            little = size < 256 * _MEBIBYTE
            yield Problem(
                kind="shared_memory",
                gravity=Gravity.PROBLEM if little else Gravity.WARNING,
                node=node.label,
                message=f"/dev/shm has {size / _MEBIBYTE:,.0f} MiB; data loaders hand batches "
                "over in it, and die when it is full.",
                remedy="Start the container with --shm-size=8g, or mount a larger tmpfs there.",
            )


RULES = (_gpus, _folder, _clocks, _cores, _load, _shared_memory)
