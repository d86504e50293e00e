"""What a look at a cluster finds. Whatever could not be learned is None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "ClusterFacts",
    "ExchangeFacts",
    "FolderFacts",
    "InterfaceFacts",
    "NodeFacts",
    "Versions",
    "clock_offset",
]


@dataclass(frozen=True, kw_only=True)
class Versions:
    """What is installed where workers would run."""

    python: str | None
    ray: str | None
    torch: str | None
    ddp_sweep: str | None
    source: str | None
    """Hash of the source of this package: one version may stand for several states of it."""


@dataclass(frozen=True, kw_only=True)
class InterfaceFacts:
    """The network interface that ranks on a node will use."""

    gloo: str | None
    """As gloo is told; None: nothing is set, and it follows the host's own name."""
    nccl: str | None
    """As NCCL is told, ``=`` before the name where it is the whole name."""
    set_by_user: bool
    """Whether the node's own environment said so, and not the node's address."""
    addresses: tuple[str, ...]
    """Of gloo's interface, in the order in which gloo finds them; empty: no such interface."""
    is_up: bool | None
    speed_bit_per_s: float | None
    """Of the link, as the interface states it."""


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One node."""

    node_id: str
    name: str | None
    """Of the host."""
    address: str
    """What Ray knows it by."""
    cpus: float
    """What Ray offers on it, as for ``gpus``."""
    gpus: float
    is_driver: bool
    """Whether the sweep would be started here, and its results be written here."""
    silent_because: str | None = None
    """Why nothing could be learned of it; then all of the following is None."""
    versions: Versions | None = None
    interface: InterfaceFacts | None = None
    gpu_models: tuple[str, ...] | None = None
    clock_offset_s: float | None = None
    """This node's clock less that of the driver's node."""
    clock_uncertainty_s: float | None = None
    cores: int | None = None
    """Physical ones that a process may use: the host's, or its container's share of them."""
    hardware_threads: int | None = None
    load: float | None = None
    """Share of the host's processors that was busy while nothing was asked of it, 0 to 1."""
    shared_memory_bytes: int | None = None
    """Size of /dev/shm."""

    @property
    def can_work(self) -> bool:
        """Whether Ray may place workers on it."""
        return self.cpus > 0 or self.gpus > 0

    @property
    def label(self) -> str:
        """Name and address."""
        return f"{self.name} ({self.address})" if self.name else self.address


@dataclass(frozen=True, kw_only=True)
class ExchangeFacts:
    """A real all-reduce among workers, one on each node that may have some."""

    backend: str
    """gloo or nccl."""
    workers: int
    nodes: int
    """Hosts that took part; with one, its workers talked to each other on it."""
    failed_because: str | None = None
    latency_s: float | None = None
    """Median time to add up a single number."""
    message_bytes: int | None = None
    """What was added up to measure the bandwidth."""
    bandwidth_bit_per_s: float | None = None
    """What each worker sent and received a second; None for a single worker."""


@dataclass(frozen=True, kw_only=True)
class FolderFacts:
    """The results folder, from the process that would write it."""

    path: str
    unwritable_because: str | None
    free_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """All that was found."""

    address: str | None
    """None: Ray was started on this machine for the purpose."""
    here: Versions
    """Of the process that starts a sweep."""
    nodes: tuple[NodeFacts, ...]
    exchanges: tuple[ExchangeFacts, ...]
    folder: FolderFacts
    dashboard: bool
    token: bool
    """Whether Ray asks who connects."""
    largest_world_size: int | None = None
    """Of the sweep that was named; None without one."""
    cpus_per_worker: int | None = None


def clock_offset(round_trips: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """How far another clock is ahead, and how much that may be off, in seconds.

    From round trips as (own clock before, the other clock, own clock after). The other clock was
    read somewhere between, so the shortest trip knows best: its middle is off by at most half of
    it (Cristian, "Probabilistic clock synchronization", 1989).

    Examples:
        >>> clock_offset([(0.0, 105.0, 8.0), (10.0, 111.5, 11.0)])
        (101.0, 0.5)
    """
    before, there, after = min(round_trips, key=lambda trip: trip[2] - trip[0])
    return there - (before + after) / 2, (after - before) / 2
