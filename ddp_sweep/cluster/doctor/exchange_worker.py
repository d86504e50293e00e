"""One rank of the exchange that is measured between nodes."""

from __future__ import annotations

import socket

import ray

from ddp_sweep.cluster.gang.interfaces import choose_interface
from ddp_sweep.training.exchange import Exchange, measure_exchange

__all__ = ["ExchangeWorker"]


class ExchangeWorker:
    """An actor that stands where a worker of a sweep would, set up as that would be."""

    def meeting_point(self) -> str:
        """An address and a free port of this node, as ``host:port``."""
        address = _own_address()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as found:
            found.bind((address, 0))
            port = found.getsockname()[1]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    def exchange(
        self, rank: int, world_size: int, meeting_point: str, backend: str, timeout_s: float
    ) -> Exchange:
        """Take part; all ranks are called at the same time."""
        choose_interface(_own_address())
        return measure_exchange(rank, world_size, meeting_point, backend, timeout_s)


def _own_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
