"""What an autoscaling cluster may become, from files as they are written for Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ddp_sweep.cluster.connection.capacity import (
    largest_world_size,
    resolve_device,
    resources_per_worker,
)
from ddp_sweep.cluster.connection.growth import (
    NO_GROWTH,
    NodeResources,
    growth_of,
    may_become,
    missing,
    read_config,
)
from ddp_sweep.spec import ResourceSettings

HEAD = NodeResources(cpus=4, gpus=0, is_head=True)
GPU_NODE = NodeResources(cpus=8, gpus=1)
FOUR_GPUS = NodeResources(cpus=32, gpus=4)
CONFIG = """
cluster_name: gpus
max_workers: 6
provider: {type: aws, region: eu-central-1}
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 4}
    node_config: {InstanceType: m5.xlarge}
  single:
    min_workers: 0
    max_workers: 8
    resources: {CPU: 8, GPU: 1}
  four:
    max_workers: 2
    resources: {CPU: 32, GPU: 4}
  unknown:
    max_workers: 3
    node_config: {InstanceType: whatever}
"""


def config(**changes: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(CONFIG)
    return loaded | changes


def sizes(device: str, nodes: tuple[NodeResources, ...]) -> int:
    settings = ResourceSettings.model_validate({"device": device})
    return largest_world_size(settings, nodes, resolve_device(settings, nodes))


def test_a_head_without_gpus_may_become_a_cluster_with_some() -> None:
    largest = may_become((HEAD,), growth_of(config()))
    # Six nodes in all: two with four GPUs, four with one.
    assert sizes("auto", largest) == 2 * 4 + 4 * 1
    assert resolve_device(ResourceSettings(), largest) == "cuda"
    assert sizes("cpu", largest) == 4 + 2 * 32 + 4 * 8


def test_what_runs_already_is_not_counted_twice() -> None:
    growth = growth_of(config())
    whole = sizes("gpu", may_become((HEAD,), growth))
    assert sizes("gpu", may_become((HEAD, FOUR_GPUS, GPU_NODE), growth)) == whole
    full = (HEAD, FOUR_GPUS, FOUR_GPUS, *[GPU_NODE] * 4)
    assert may_become(full, growth) == full
    # More than the file allows is there all the same: somebody started it by hand.
    assert may_become((*full, GPU_NODE), growth) == (*full, GPU_NODE)


def test_a_cluster_that_does_not_grow_is_what_it_is() -> None:
    assert may_become((HEAD, GPU_NODE), NO_GROWTH) == (HEAD, GPU_NODE)
    assert growth_of({}) == NO_GROWTH
    assert may_become((HEAD,), growth_of(config(max_workers=0))) == (HEAD,)


@pytest.mark.parametrize(
    ("nodes", "world_size", "lacks"),
    [
        ((HEAD,), 8, "2 more nodes with 4 GPUs each"),
        ((HEAD,), 3, "1 more node with 4 GPUs"),
        ((HEAD, FOUR_GPUS, FOUR_GPUS), 9, "1 more node with 1 GPU"),
        ((HEAD, FOUR_GPUS, FOUR_GPUS), 10, "2 more nodes with 1 GPU each"),
        ((HEAD,), 9, "2 more nodes with 4 GPUs each and 1 more node with 1 GPU"),
        (
            (HEAD,),
            13,
            "2 more nodes with 4 GPUs each and 4 more nodes with 1 GPU each and "
            "room for 1 more worker",
        ),
        ((HEAD, FOUR_GPUS, FOUR_GPUS), 8, None),
    ],
)
def test_what_is_missing_is_said_in_nodes(
    nodes: tuple[NodeResources, ...], world_size: int, lacks: str | None
) -> None:
    worker = resources_per_worker(ResourceSettings(), "cuda")
    assert missing(nodes, growth_of(config()), worker, world_size) == lacks


def test_where_no_node_can_come_the_room_is_missing() -> None:
    worker = resources_per_worker(ResourceSettings(cpus_per_worker=2), "cpu")
    assert missing((HEAD,), NO_GROWTH, worker, 3) == "room for 1 more worker"
    assert missing((HEAD,), NO_GROWTH, worker, 5) == "room for 3 more workers"
    assert missing((HEAD,), NO_GROWTH, worker, 2) is None


def test_the_file_is_that_of_the_autoscaler_of_this_cluster(tmp_path: Path) -> None:
    """Of a process that bears the autoscaler's name and arguments."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    monitor = tmp_path / "autoscaler" / "_private" / "monitor.py"
    monitor.parent.mkdir(parents=True)
    monitor.write_text("import time\nprint('here', flush=True)\ntime.sleep(600)\n")
    command = [sys.executable, str(monitor), "--gcs-address=10.0.0.1:6379"]
    with subprocess.Popen(
        [*command, f"--autoscaling-config={file}"], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = read_config("10.0.0.1:6379")
            by_another_name = read_config("127.0.0.1:6379")
            other = read_config("10.0.0.1:6380")
            file.write_text("{")
            broken = read_config("10.0.0.1:6379")
        finally:
            process.kill()
    assert found is not None
    assert growth_of(found) == growth_of(config())
    # Nothing else of the file travels: it may hold keys.
    assert set(found) == {"head_node_type", "max_workers", "available_node_types"}
    assert by_another_name == found
    assert other is None
    assert broken is None
