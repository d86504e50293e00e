"""Hosts that resolve their own name to loopback, and hosts that share no disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from network_namespaces import INTERFACE, require_namespaces
from two_ray_nodes import HEAD, OTHER, RayNodes, two_ray_nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TESTS = Path(__file__).parents[1]
SWEEP = TESTS.parent / "sweeps" / "quickstart.yaml"
SUM = TESTS / "two_node_sum.py"
SAMPLES, BATCH, SEEDS = 1437, 128, 2


@pytest.fixture
def misnamed() -> Iterator[RayNodes]:
    require_namespaces()
    with two_ray_nodes(own_name_is_loopback=True) as both:
        yield both


def test_a_host_name_that_is_loopback_no_longer_parts_the_workers(misnamed: RayNodes) -> None:
    for host in (HEAD, OTHER):
        name = misnamed.hosts.names[host]
        assert "127.0.0.1" in misnamed.run(host, ["getent", "ahostsv4", name]).out

    words = [sys.executable, str(SUM), misnamed.address]
    off = misnamed.run(HEAD, [*words, "ray"])
    assert off.code == 1, off
    assert "connectFullMesh" in off.out or "Connection refused" in off.out, off
    assert "127.0.0.1" in off.out, off

    on = misnamed.run(HEAD, [*words, "ours"])
    assert on.code == 0, on
    assert json.loads(on.out.splitlines()[-1]) == {
        "sum": 2.0,
        "GLOO_SOCKET_IFNAME": INTERFACE,
        "NCCL_SOCKET_IFNAME": f"={INTERFACE}",
    }


@pytest.fixture
def diskless() -> Iterator[RayNodes]:
    """A head that offers no CPU, and a node for the workers that sees none of the head's files."""
    require_namespaces()
    with two_ray_nodes(start=False) as both:
        both.hosts.mount_empty(OTHER, both.scratch)
        # What start_other parts further has to be there on this disk as well.
        assert both.run(OTHER, ["mkdir", str(both.scratch / str(HEAD))], folder=TESTS).code == 0
        both.start_head(cpus=0)
        both.start_other(cpus=2)
        yield both


def test_results_arrive_whole_from_workers_without_a_shared_disk(diskless: RayNodes) -> None:
    folder = diskless.scratch / "results"
    settings = (f"seeds={SEEDS}", "training.epochs=1", f"sweep.global_batch_size=[{BATCH}]")
    words = ["ddp-sweep", "run", str(SWEEP), "--address", diskless.address]
    words += ["--output", str(folder), *(w for one in settings for w in ("--set", one))]
    ended = diskless.run(HEAD, words)
    assert ended.code == 0, ended

    # The workers' host knows nothing of the folder, nor of anything else the sweep wrote.
    there = diskless.run(OTHER, ["find", str(diskless.scratch), "-name", "*.parquet"])
    assert there.out == "", there
    assert diskless.run(OTHER, ["test", "-e", str(folder)]).code != 0
    trials, evals, steps = (pd.read_parquet(folder / t) for t in ("trials", "evals", "steps"))
    assert sorted(trials["world_size"]) == [1] * SEEDS + [2] * SEEDS
    assert set(trials["status"]) == {"succeeded"}
    per_trial = -(-SAMPLES // BATCH)
    assert set(trials["optimizer_steps"]) == {per_trial}
    assert evals.groupby("trial_id")["samples"].max().eq(SAMPLES).all()
    assert set(evals["trial_id"]) == set(trials["trial_id"])
    for world_size in (1, 2):
        own = steps[steps["world_size"] == world_size]
        ranks = own.groupby(["trial_id", "rank"])["optimizer_step"].apply(list)
        assert len(ranks) == SEEDS * world_size
        assert all(sorted(each) == list(range(1, per_trial + 1)) for each in ranks)
    name = diskless.hosts.names[OTHER]
    assert steps["node"].str.startswith(f"{name}/").all()

    print(f"{len(trials)} trials, {len(evals)} evaluations, {len(steps)} steps")
