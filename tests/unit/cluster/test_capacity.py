from __future__ import annotations

import pytest
from plan_samples import spec

from ddp_sweep.cluster.connection.capacity import (
    NodeResources,
    connect,
    largest_world_size,
    resolve_device,
)
from ddp_sweep.errors import AddressError, CapacityError
from ddp_sweep.spec import ResourceSettings

CPU_NODE = NodeResources(cpus=8, gpus=0)
GPU_NODE = NodeResources(cpus=8, gpus=4)


@pytest.mark.parametrize(
    ("settings", "nodes", "device_type", "size"),
    [
        ({}, [CPU_NODE], "cpu", 8),
        ({"cpus_per_worker": 3}, [CPU_NODE, CPU_NODE], "cpu", 4),
        ({"cpus_per_worker": 9}, [CPU_NODE, CPU_NODE], "cpu", 0),
        ({}, [GPU_NODE, CPU_NODE], "cuda", 4),
        ({"gpus_per_worker": 3}, [GPU_NODE, GPU_NODE], "cuda", 2),
        ({"cpus_per_worker": 4}, [GPU_NODE], "cuda", 2),
        ({"device": "cpu"}, [GPU_NODE], "cpu", 8),
    ],
)
def test_workers_fit_on_one_node_each(
    settings: dict[str, object], nodes: list[NodeResources], device_type: str, size: int
) -> None:
    resources = ResourceSettings.model_validate(settings)
    device = resolve_device(resources, nodes)
    assert device == device_type
    assert largest_world_size(resources, nodes, device) == size


def test_a_gpu_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(CapacityError, match="16 CPUs and no GPU on 2 nodes"):
        resolve_device(ResourceSettings(device="gpu"), [CPU_NODE, CPU_NODE])


def test_the_ray_client_is_refused_with_the_reason() -> None:
    with (
        pytest.raises(AddressError, match=r"ray://.*advises against"),
        connect("ray://10.0.0.1:10001", spec()),
    ):
        pass
