"""What a gang needs of torch and of Ray Train beyond their defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback

__all__ = ["LeanTorchTrainer", "NodeTorchConfig", "interface_of"]

_BACKEND = TorchConfig().backend_cls


def interface_of(address: str) -> str | None:
    """Name of this host's network interface that has an address; None where none has it."""
    interfaces: dict[str, list[Any]] = psutil.net_if_addrs()
    for name, entries in interfaces.items():
        if any(entry.address == address for entry in entries):
            return name
    return None


def _choose_interface() -> None:
    name = interface_of(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    if name is not None:
        # What the user has set stays.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)


class _NodeTorchBackend(_BACKEND):  # type: ignore[misc, valid-type]
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: TorchConfig) -> None:
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray's ``TorchConfig``, on the network interface that bears the Ray node's address.

    Gloo and NCCL otherwise take the interface that the host's own name resolves to. On hosts
    where that is loopback, ranks on two nodes look for each other at 127.0.0.1.
    """

    @property
    def backend_cls(self) -> type[Any]:
        """The class Ray sets up the process group with."""
        return _NodeTorchBackend


class LeanTorchTrainer(TorchTrainer):
    """``TorchTrainer`` without the actor that serves Ray Data sets.

    It is started for every trainer, also for those without Ray Data: 2.5 s of the start of a
    gang on two cores, and one more process beside the trials that are timed.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [one for one in callbacks if not isinstance(one, DatasetsCallback)]
