"""Adds up a one on each of two Ray nodes: python two_node_sum.py ADDRESS (ray|ours).

``ray``: with Ray's own settings of torch; ``ours``: with those of a sweep.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchConfig, TorchTrainer

from ddp_sweep.cluster.gang.backend import NodeTorchConfig

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def _add_up() -> dict[str, Any]:
    ones = torch.ones(1)
    dist.all_reduce(ones)
    return {"sum": ones.item(), **{name: os.environ.get(name) for name in _VARIABLES}}


def main() -> None:
    """Print what came out, as JSON, or why nothing did."""
    address, settings = sys.argv[1:]
    kind = TorchConfig if settings == "ray" else NodeTorchConfig
    ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
    trainer = TorchTrainer(
        _add_up,
        torch_config=kind(backend="gloo", timeout_s=20),
        scaling_config=ray.train.ScalingConfig(num_workers=2, placement_strategy="STRICT_SPREAD"),
        run_config=ray.train.RunConfig(
            name=settings,
            storage_path=os.environ["TMPDIR"],
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        print(json.dumps(trainer.fit().return_value))
    except Exception:  # noqa: BLE001 - printed with all that led to it, and the test reads it
        print(traceback.format_exc())
        sys.exit(1)


if __name__ == "__main__":
    main()
