"""What an autoscaling cluster may become, and what it still lacks for a group of workers.

Ray tells nobody how far a cluster may grow. Where its autoscaler was started with a file
(``ray up``, ``ray start --autoscaling-config``), that file on the head node says it; some services
publish it within Ray as well. Where neither is so, a cluster is judged by what it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.state import state as ray_state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ddp_sweep.cluster.connection.presence import living_nodes, present_nodes

__all__ = [
    "NO_GROWTH",
    "Growth",
    "NodeResources",
    "NodeType",
    "alive_nodes",
    "growth_of",
    "may_become",
    "missing",
    "node_types",
    "read_config",
    "workers_on",
]

_MONITOR = ("autoscaler/_private/monitor.py", "autoscaler/v2/monitor.py")
_CONFIG_FLAG = "--autoscaling-config"
_ADDRESS_FLAG = "--gcs-address"
_HEAD = "node:__internal_head__"
_ASKING_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class NodeResources:
    """What one node offers in all, not what is free right now."""

    cpus: float
    gpus: float
    is_head: bool = False


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """A kind of nodes that an autoscaler may start."""

    name: str
    cpus: float
    gpus: float
    most: int
    """How many there may be, those that run already among them."""

    @property
    def resources(self) -> NodeResources:
        """Of one node."""
        return NodeResources(cpus=self.cpus, gpus=self.gpus)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How far a cluster may grow."""

    types: tuple[NodeType, ...] = ()
    """None where the cluster does not grow, or nobody knows how far."""
    most_nodes: int | None = None
    """Of all types together, without the head node."""


NO_GROWTH = Growth()


def workers_on(node: NodeResources, worker: Mapping[str, float]) -> int:
    """How many workers fit on a node, each as a whole.

    >>> workers_on(NodeResources(cpus=8, gpus=4), {"CPU": 3, "GPU": 1})
    2
    """
    offered = {"CPU": node.cpus, "GPU": node.gpus}
    return int(min(offered[name] // amount for name, amount in worker.items()))


def may_become(nodes: Sequence[NodeResources], growth: Growth) -> tuple[NodeResources, ...]:
    """The nodes of the cluster at its largest.

    Nodes that are there count as such; a type's further ones are those that the autoscaler may
    start beside as many running nodes as look like it. Where the limit of all types together
    binds, the largest nodes are started.
    """
    rest = [node for node in nodes if not node.is_head]
    room = None if growth.most_nodes is None else max(0, growth.most_nodes - len(rest))
    more: list[NodeResources] = []
    for kind in sorted(growth.types, key=lambda one: (one.gpus, one.cpus), reverse=True):
        alike = sum((one.cpus, one.gpus) == (kind.cpus, kind.gpus) for one in rest)
        more += [kind.resources] * max(0, kind.most - alike)
    return (*nodes, *(more if room is None else more[:room]))


def missing(
    nodes: Sequence[NodeResources],
    growth: Growth,
    worker: Mapping[str, float],
    world_size: int,
) -> str | None:
    """What the cluster lacks for so many workers, in words; None where nothing.

    Args:
        nodes: Those that are there.
        growth: How far it may grow.
        worker: Resources of one worker.
        world_size: Workers that are to run at once.
    """
    lacking = world_size - sum(workers_on(node, worker) for node in nodes)
    wanted: Counter[tuple[str, NodeResources]] = Counter()
    for node in may_become(nodes, growth)[len(nodes) :]:
        each = workers_on(node, worker)
        if lacking > 0 and each:
            wanted["GPU" if worker.get("GPU") else "CPU", node] += 1
            lacking -= each
    parts = [_more_nodes(*kind, count) for kind, count in wanted.items()]
    if lacking > 0:
        parts.append(f"room for {lacking} more {'worker' if lacking == 1 else 'workers'}")
    return " and ".join(parts) or None


def _more_nodes(name: str, node: NodeResources, count: int) -> str:
    amount = node.gpus if name == "GPU" else node.cpus
    what = f"{amount:g} {name}{'' if amount == 1 else 's'}"
    return f"1 more node with {what}" if count == 1 else f"{count} more nodes with {what} each"


def alive_nodes() -> tuple[NodeResources, ...]:
    """The nodes of the cluster that this process is connected to."""
    return tuple(_node(entry["Resources"]) for entry in present_nodes())


def _node(resources: Mapping[str, float]) -> NodeResources:
    return NodeResources(
        cpus=resources.get("CPU", 0), gpus=resources.get("GPU", 0), is_head=_HEAD in resources
    )


def growth_of(config: Mapping[str, Any]) -> Growth:
    """What the file of an autoscaler allows.

    The type of the head node is left out: there is one of it, and it runs. So are types whose
    resources the file leaves to be found out.

    Args:
        config: The file as it was read; see Ray's "Cluster YAML Configuration Options".
    """
    head = config.get("head_node_type")
    most = config.get("max_workers")
    types = []
    for name, kind in (config.get("available_node_types") or {}).items():
        resources = kind.get("resources") or {}
        if name == head or not resources:
            continue
        own = kind.get("max_workers", most)
        types.append(
            NodeType(
                name=str(name),
                cpus=float(resources.get("CPU", 0)),
                gpus=float(resources.get("GPU", 0)),
                most=int(own if own is not None else 0),
            )
        )
    return Growth(types=tuple(types), most_nodes=None if most is None else int(most))


def node_types() -> Growth:
    """How far the cluster that this process is connected to may grow, as far as is known."""
    published = ray_state.get_cluster_config()
    if published is not None and published.node_group_configs:
        return Growth(types=tuple(_published(published.node_group_configs)))
    head = _head_node()
    if head is None:
        return Growth()
    address = ray.get_runtime_context().gcs_address
    if head == ray.get_runtime_context().get_node_id():
        config = read_config(address)
    else:
        config = _asked_of(head, address)
    return Growth() if config is None else growth_of(config)


def _published(groups: Iterable[Any]) -> Iterator[NodeType]:
    for group in groups:
        resources = dict(group.resources)
        # -1 stands for no limit.
        most = group.max_count if group.max_count >= 0 else 2**31
        yield NodeType(
            name=group.name,
            cpus=float(resources.get("CPU", 0)),
            gpus=float(resources.get("GPU", 0)),
            most=most,
        )


def _head_node() -> str | None:
    ids = [node["NodeID"] for node in living_nodes() if _HEAD in node["Resources"]]
    return str(ids[0]) if ids else None


def _asked_of(head: str, address: str) -> dict[str, Any] | None:
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    task = ray.remote(read_config).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    reference = task.remote(address)
    try:
        found: dict[str, Any] | None = ray.get(reference, timeout=_ASKING_TIMEOUT_S)
    except ray.exceptions.RayError:  # the head may lack this package
        ray.cancel(reference, force=True)
        return None
    return found


def read_config(address: str) -> dict[str, Any] | None:
    """The part of the autoscaler's file that says how far the cluster may grow.

    None where no autoscaler with a file runs on this host for the cluster at ``address``. The
    rest of the file may hold what must not travel.

    The autoscaler may know the head by another of its addresses, so the port tells clusters
    apart.
    """
    port = address.rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        words: list[str] = process.info["cmdline"] or []
        options = dict(
            word.split("=", 1) for word in words if word.startswith("--") and "=" in word
        )
        file = options.get(_CONFIG_FLAG)
        if (
            file is not None
            and any(word.endswith(_MONITOR) for word in words)
            and options.get(_ADDRESS_FLAG, "").rpartition(":")[2] == port
        ):
            return _allowance(Path(file).expanduser())
    return None


def _allowance(file: Path) -> dict[str, Any] | None:
    try:
        config = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, YAMLError):
        return None
    keys = ("head_node_type", "max_workers", "available_node_types")
    return (
        {key: config[key] for key in keys if key in config} if isinstance(config, dict) else None
    )
