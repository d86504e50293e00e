from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from ddp_sweep.cluster.connection.growth import Growth, NodeType
from ddp_sweep.cluster.connection.presence import lost_nodes, present_nodes
from ddp_sweep.cluster.gang.room import Room

HERE = "127.0.0.1"


@pytest.fixture
def listening() -> Iterator[int]:
    """Port of a node that is there."""
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """Port of a node that has gone without a word."""
    with socket.create_server((HERE, 0)) as server:
        return int(server.getsockname()[1])


def node(name: str, port: int, *, alive: bool = True) -> dict[str, Any]:
    return {
        "NodeID": name,
        "Alive": alive,
        "NodeManagerAddress": HERE,
        "NodeManagerPort": port,
        "Resources": {"CPU": 4.0},
    }


@pytest.fixture
def three(listening: int, closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers, one that does not, and one that the cluster has given up."""
    listed = [node("a", listening), node("b", closed), node("c", listening, alive=False)]
    monkeypatch.setattr(ray, "nodes", lambda: listed)


@pytest.mark.usefixtures("three")
def test_a_node_that_does_not_answer_is_gone_before_the_cluster_says_so() -> None:
    assert [one["NodeID"] for one in present_nodes()] == ["a"]
    assert lost_nodes(frozenset("abc")) == frozenset("bc")


@pytest.mark.usefixtures("three")
def test_room_is_that_of_nodes_which_are_there_and_of_those_that_may_come() -> None:
    worker = {"CPU": 2.0}
    assert Room(resources_per_worker=worker).present() == 2
    assert Room(resources_per_worker=worker).possible() == 2
    growth = Growth(types=(NodeType(name="big", cpus=8, gpus=0, most=2),))
    grown = Room(resources_per_worker=worker, growth=growth)
    assert (grown.present(), grown.possible()) == (2, 2 + 2 * 4)
