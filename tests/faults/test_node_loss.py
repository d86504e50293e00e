"""A node goes away in mid-trial: its trial is told so, and what still fits goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fault_scene
import pandas as pd
import pytest
from fault_scene import Marker, attempts, killing, run, sweep_over
from ray.cluster_utils import Cluster

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver

pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("nothing_left"),
]

PATIENCE_S = 60


@pytest.fixture
def cluster(tag: str) -> Iterator[Cluster]:  # noqa: ARG001 - its processes are to bear the tag
    """Two nodes with room for one worker each."""
    with quiet_driver():
        head = {"num_cpus": 1, "include_dashboard": True, "dashboard_port": free_port()}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def free_port() -> int:
    """Other clusters on this machine may hold the usual one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def spec_in(folder: Path) -> Any:
    return sweep_over(
        folder, "killed", world_sizes=(1, 2), seeds=2, start_timeout_s=PATIENCE_S, max_attempts=3
    )


def test_a_lost_node_costs_what_it_held_only(tmp_path: Path, cluster: Cluster) -> None:
    results, node = tmp_path / "results", next(iter(cluster.worker_nodes))
    raylet = node.all_processes["raylet"][0].process

    def raylet_of(_: Marker) -> int:
        # Not told to go: as when a host loses its power.
        return int(raylet.pid)

    with connect(cluster.address, spec_in(tmp_path)):
        with killing(tmp_path, raylet_of) as killed:
            outcome = run(spec_in(tmp_path), results)
        rows = attempts(results)
        fault_scene.seen("node lost", rows, killed.at_s, 4)
        show(rows)
        assert outcome.exit_code == 1
        final = rows[rows["final"]]
        assert set(final[final["world_size"] == 1]["status"]) == {"succeeded"}
        lost = rows[rows["status"] == "node_lost"]
        assert "is gone, or cannot be reached" in lost["status_detail"].iloc[0]
        # Once in mid-trial, once after a wait for the node; what comes later does not wait.
        without_room = lost[lost["started_at"].isna()]
        assert len(lost) == len(without_room) + 1
        assert without_room["status_detail"].str.contains("there is room for 1").all()
        assert set(without_room["trial_id"]) == set(lost["trial_id"])

    cluster.remove_node(node)
    cluster.add_node(num_cpus=1)
    with connect(cluster.address, spec_in(tmp_path)):
        again = run(spec_in(tmp_path), results)
    rows = attempts(results)
    assert again.exit_code == 0
    assert set(rows[rows["final"]]["status"]) == {"succeeded"}
    assert again.ran == lost["trial_id"].nunique()


def show(rows: pd.DataFrame) -> None:
    columns = ["world_size", "seed", "attempt", "status", "status_detail"]
    print(rows[columns].to_string(index=False))
