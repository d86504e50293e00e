"""How many workers a cluster can hold now, and how many once it has grown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddp_sweep.cluster.connection.growth import (
    NO_GROWTH,
    Growth,
    alive_nodes,
    may_become,
    workers_on,
)

__all__ = ["Room"]


@dataclass(frozen=True, kw_only=True)
class Room:
    """Room for workers, whatever else runs there."""

    resources_per_worker: Mapping[str, float]
    growth: Growth = NO_GROWTH

    def present(self) -> int:
        """On the nodes that are there."""
        return sum(workers_on(node, self.resources_per_worker) for node in alive_nodes())

    def possible(self) -> int:
        """With the nodes that an autoscaler starts where they are asked for."""
        nodes = may_become(alive_nodes(), self.growth)
        return sum(workers_on(node, self.resources_per_worker) for node in nodes)
