"""Several Ray nodes on this machine: where the ranks of a trial lie, and what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fake_ranks
import pytest
import ray
from fake_ranks import run, sweep_over
from ray.cluster_utils import Cluster

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SIZES = (1, 2, 3, 4)
WORKERS = (1, 2, 2)
"""CPUs of the nodes beside the head, which has none."""


@pytest.fixture(scope="module", autouse=True)
def _nodes() -> Iterator[None]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    try:
        for cpus in WORKERS:
            cluster.add_node(num_cpus=cpus)
        with (
            quiet_driver(),
            connect(cluster.address, sweep_over("none", world_sizes=SIZES)) as found,
        ):
            assert found.capacity == sum(WORKERS)
            yield
    finally:
        ray.cloudpickle.unregister_pickle_by_value(fake_ranks)
        cluster.shutdown()


@pytest.mark.parametrize(
    ("strategy", "nodes"),
    [
        # The first ranks fill the nodes with two CPUs.
        ("pack", {1: 1, 2: 1, 3: 2, 4: 2}),
        # Every node has a rank before one has two.
        ("spread", {1: 1, 2: 2, 3: 3, 4: 3}),
    ],
)
def test_workers_lie_on_as_few_or_as_many_nodes_as_asked(
    tmp_path: Path, strategy: str, nodes: dict[int, int]
) -> None:
    spec = sweep_over("none", world_sizes=SIZES, placement_strategy=strategy)
    outcome = run(spec, tmp_path)

    trials = load_results(tmp_path).trials
    assert outcome.exit_code == 0, trials[["status", "status_detail"]].to_string()
    found = dict(zip(trials["world_size"], trials["num_nodes"], strict=True))
    assert found == nodes
    # Every rank met the others: the numbers of ranks that torch knows are ours.
    assert (trials["samples"] == trials["world_size"]).all()


def test_the_rank_that_died_is_named_by_our_number(tmp_path: Path) -> None:
    """Ray Train numbers the workers differently where they are spread."""
    spec = sweep_over("exit", world_sizes=(4,), placement_strategy="spread", max_attempts=1)
    run(spec, tmp_path)

    (detail,) = load_results(tmp_path).trials["status_detail"]
    assert detail.startswith("rank 1: the worker process died")
