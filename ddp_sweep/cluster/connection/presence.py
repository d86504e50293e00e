"""Which nodes of the cluster are there now: some may have gone since the sweep began."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import ray

__all__ = ["living_nodes", "lost_nodes", "present_nodes"]

_ANSWER_S = 2.0
"""For a node to accept a connection; one that is there does so in milliseconds."""


def living_nodes() -> list[dict[str, Any]]:
    """Ray's entries of the nodes that the cluster has not given up."""
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in listed if node["Alive"]]


def present_nodes() -> list[dict[str, Any]]:
    """Ray's entries of the nodes that are there.

    Each is asked itself as well: the cluster gives a node up only after many seconds.
    """
    return list(filter(_answers, living_nodes()))


def lost_nodes(node_ids: frozenset[str]) -> frozenset[str]:
    """Those of some nodes that are gone."""
    return node_ids - {node["NodeID"] for node in present_nodes()}


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        place = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(place, _ANSWER_S).close()
    except OSError:
        return False
    return True
