"""Connect to a cluster, and find out what it can hold."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ray

from ddp_sweep.cluster.connection.environment import cluster_variables
from ddp_sweep.cluster.connection.growth import (
    NO_GROWTH,
    Growth,
    NodeResources,
    alive_nodes,
    may_become,
    node_types,
    workers_on,
)
from ddp_sweep.errors import AddressError, CapacityError
from ddp_sweep.spec import ResourceSettings, SweepSpec
from ddp_sweep.training.host_load import usable_cores

__all__ = [
    "ClusterConnection",
    "connect",
    "describe_nodes",
    "join",
    "largest_world_size",
    "resolve_device",
    "resources_per_worker",
]

_CONNECT_TIMEOUT_S = 10.0

DeviceType = Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class ClusterConnection:
    """A cluster this process is connected to."""

    device_type: DeviceType
    """What the workers compute on."""
    capacity: int
    """The largest world size that the cluster can hold, once it has grown as far as it may."""
    nodes: tuple[NodeResources, ...]
    """Those that are there."""
    growth: Growth = NO_GROWTH
    """How far it may grow."""


@contextmanager
def connect(address: str | None, spec: SweepSpec) -> Iterator[ClusterConnection]:
    """Connect to Ray, for as long as the context lasts.

    Args:
        address: ``host:port`` or ``auto`` for a cluster that runs; None starts Ray on this
            machine and stops it at the end. Where this process is connected already, that
            connection is used, and kept.
        spec: Says what the workers need.

    Raises:
        AddressError: The address is one of the Ray client.
        CapacityError: There is no such cluster, or it lacks the device asked for.
    """
    with join(
        address, local_cpus=_local_cpus(spec), start_timeout_s=spec.resources.start_timeout_s
    ):
        yield _describe(spec)


@contextmanager
def join(
    address: str | None, *, local_cpus: int | None = None, start_timeout_s: float = 600
) -> Iterator[None]:
    """Be connected to Ray, for as long as the context lasts.

    Args:
        address: As in :func:`connect`.
        local_cpus: CPUs of a Ray that is started on this machine; None: as many as it has.
        start_timeout_s: How long a group of workers may take to start.

    Raises:
        AddressError: The address is one of the Ray client.
        CapacityError: There is no such cluster.
    """
    if address is not None and address.startswith("ray://"):
        raise AddressError(
            f"address {address!r}: the Ray client (ray://) is not supported, Ray advises against "
            "it for training. Run on a node of the cluster with --address auto, or give the "
            "host:port of its head node"
        )
    ours = not ray.is_initialized()
    if ours:
        _initialize(address, local_cpus, start_timeout_s)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def resolve_device(resources: ResourceSettings, nodes: Sequence[NodeResources]) -> DeviceType:
    """What ``device: auto`` means here, and whether ``device: gpu`` can be had.

    Raises:
        CapacityError: A GPU is asked for and there is none.
    """
    gpus = sum(node.gpus for node in nodes)
    if resources.device == "gpu" and not gpus:
        raise CapacityError(
            f"device: gpu was asked for, but the cluster has {describe_nodes(nodes)}. Use "
            "device: cpu or auto, or give the --address of a cluster with GPUs"
        )
    return "cuda" if gpus and resources.device != "cpu" else "cpu"


def largest_world_size(
    resources: ResourceSettings, nodes: Sequence[NodeResources], device_type: DeviceType
) -> int:
    """How many workers fit, each on one node as a whole."""
    worker = resources_per_worker(resources, device_type)
    return sum(workers_on(node, worker) for node in nodes)


def resources_per_worker(resources: ResourceSettings, device_type: DeviceType) -> dict[str, float]:
    """What Ray is to reserve for one worker."""
    asked: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if device_type == "cuda":
        asked["GPU"] = resources.gpus_per_worker
    return asked


def describe_nodes(nodes: Sequence[NodeResources]) -> str:
    """What a cluster has, in words.

    >>> describe_nodes([NodeResources(cpus=8, gpus=0), NodeResources(cpus=8, gpus=1)])
    '16 CPUs and 1 GPU on 2 nodes'
    """
    cpus = _count(sum(node.cpus for node in nodes), "CPU")
    gpus = sum(node.gpus for node in nodes)
    return (
        f"{cpus} and {_count(gpus, 'GPU') if gpus else 'no GPU'} on {_count(len(nodes), 'node')}"
    )


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _require_listener(address: str) -> None:
    """Fail at once where nothing listens; Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> CapacityError:
    where = "Ray could not be started here" if address is None else f"no cluster at {address}"
    return CapacityError(
        f"{where}: {error}\nCheck the address and that `ray status` works there (other hosts "
        "also need the cluster's token in RAY_AUTH_TOKEN), or leave --address out to run on "
        "this machine"
    )


def _initialize(address: str | None, local_cpus: int | None, start_timeout_s: float) -> None:
    variables = cluster_variables(start_timeout_s=start_timeout_s)
    settings: dict[str, Any] = {
        "runtime_env": {"env_vars": variables},
        "log_to_driver": False,
        "logging_level": "CRITICAL",
        "configure_logging": False,
    }
    if address is None:
        settings |= {
            "num_cpus": local_cpus,
            # Without the dashboard nobody cleans up after Ray Train processes that were killed.
            "include_dashboard": True,
        }
    else:
        _require_listener(address)
    try:
        ray.init(address=address or "local", **settings)
    except Exception as error:  # where a node is slow to start, Ray raises a bare one
        raise _no_cluster(address, error) from error


def _local_cpus(spec: SweepSpec) -> int:
    """CPUs that Ray is told this machine has.

    On a machine of one's own more workers than cores are allowed, and marked as such. Ray gets no
    more than they need, unless further trials may run beside them.
    """
    asked = max(spec.sweep.world_size) * spec.resources.cpus_per_worker
    return max(asked, usable_cores()) if spec.resources.placement == "packed" else asked


def _describe(spec: SweepSpec) -> ClusterConnection:
    nodes, growth = alive_nodes(), node_types()
    at_its_largest = may_become(nodes, growth)
    device_type = resolve_device(spec.resources, at_its_largest)
    capacity = largest_world_size(spec.resources, at_its_largest, device_type)
    if capacity == 0:
        raise CapacityError(
            f"the cluster has {describe_nodes(at_its_largest)}, too little for one worker of "
            f"{spec.resources.cpus_per_worker} CPUs; lower cpus_per_worker or gpus_per_worker"
        )
    return ClusterConnection(
        device_type=device_type, capacity=capacity, nodes=nodes, growth=growth
    )
