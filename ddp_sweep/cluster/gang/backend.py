"""What a gang needs of torch and of Ray Train beyond their defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray
import torch.distributed as dist
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.execution.controller.placement_group_cleaner import (
    PlacementGroupCleaner,
)

from ddp_sweep.cluster.gang.interfaces import choose_interface
from ddp_sweep.cluster.gang.rank_order import rank_order

__all__ = ["LeanTorchTrainer", "NodeTorchConfig"]

_BACKEND = TorchConfig().backend_cls


def _choose_interface() -> None:
    choose_interface(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


class _Reordered:
    """A worker group whose worker number i is another one's number ``order[i]``."""

    def __init__(self, worker_group: BaseWorkerGroup, order: list[int]) -> None:
        self._group = worker_group
        self._order = order

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a worker group has
        return getattr(self._group, name)

    def __len__(self) -> int:
        return len(self._order)

    def execute_single(self, worker_index: int, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        return self._group.execute_single(self._order[worker_index], *arguments, **named)

    def execute_single_async(self, worker_index: int, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        return self._group.execute_single_async(self._order[worker_index], *arguments, **named)


def _tell_rank() -> None:
    # Ray Train has set its own number of the worker, before there was a process group.
    os.environ["RANK"] = str(dist.get_rank())


class _NodeTorchBackend(_BACKEND):  # type: ignore[misc, valid-type]
    def on_start(self, worker_group: Any, backend_config: NodeTorchConfig) -> None:  # noqa: ANN401
        worker_group.execute(_choose_interface)
        nodes = [worker.metadata.node_id for worker in worker_group.get_workers()]
        order = rank_order(nodes, spread=backend_config.spread)
        super().on_start(_Reordered(worker_group, order), backend_config)
        worker_group.execute(_tell_rank)


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray's ``TorchConfig``, on the network interface that bears the Ray node's address.

    Each worker sets it for itself, before the process group is made: nodes may name theirs
    differently.

    The ranks of the process group are in the order of :func:`rank_order` and not those that Ray
    Train has given its workers: ask torch.
    """

    spread: bool = False
    """Whether the first ranks are to lie on as many nodes as possible; else on as few."""

    @property
    def backend_cls(self) -> type[Any]:
        """The class Ray sets up the process group with."""
        return _NodeTorchBackend


class _Cleaner(PlacementGroupCleanerCallback):
    """Ray's own, which frees the resources of a group whose controller was killed.

    Told which cluster is meant: it otherwise looks for one on its host, and ends itself where it
    finds several.
    """

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ANN401, ARG002
        context = ray.get_runtime_context()
        self._controller_actor_id = context.get_actor_id()
        cleaner: Any = ray.remote(PlacementGroupCleaner)
        self._cleaner: Any = cleaner.options(
            num_cpus=0,
            lifetime="detached",
            resources={HEAD_NODE_RESOURCE_NAME: 0.001},
            # Not among the resources of the process that this is called in.
            scheduling_strategy="DEFAULT",
            runtime_env={"env_vars": {"RAY_ADDRESS": context.gcs_address}},
        ).remote(
            controller_actor_id=self._controller_actor_id,
            check_interval_s=self._check_interval_s,
            get_actor_timeout_s=self._get_actor_timeout_s,
            stop_timeout=self._stop_timeout,
        )
        self._cleaner.start_monitoring.remote()


class LeanTorchTrainer(TorchTrainer):
    """``TorchTrainer`` without the actor that serves Ray Data sets.

    It is started for every trainer, also for those without Ray Data: 2.5 s of the start of a
    gang on two cores, and one more process beside the trials that are timed.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        replaced = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [one for one in callbacks if not isinstance(one, replaced)] + [_Cleaner()]
