"""The TorchTrainer of a gang."""

from __future__ import annotations

import ray.train
from ray.actor import ActorHandle

from ddp_sweep.cluster.gang.backend import LeanTorchTrainer, NodeTorchConfig
from ddp_sweep.cluster.gang.mailbox import Mailbox
from ddp_sweep.cluster.gang.serving import GangSettings, serve

__all__ = ["strict_trainer"]


def strict_trainer(
    settings: GangSettings, gang_id: str, mailbox: ActorHandle[Mailbox]
) -> LeanTorchTrainer:
    """A trainer whose train function serves trials, and which Ray never starts again by itself.

    Args:
        settings: What the gang needs to start.
        gang_id: Name that no other gang has; an equal one would make Ray take up the old run.
        mailbox: Where its ranks get their trials.
    """
    use_gpu = settings.resources_per_worker.get("GPU", 0) > 0
    strict = ray.train.FailureConfig(
        # Ray must not start the train function again by itself.
        max_failures=0,
        controller_failure_limit=0,  # type: ignore[call-arg]
        max_preemption_failures=0,
    )
    return LeanTorchTrainer(
        serve,
        train_loop_config={"gang": settings, "mailbox": mailbox},
        torch_config=NodeTorchConfig(
            backend="nccl" if use_gpu else "gloo",
            # Our own deadlines come first and know more.
            timeout_s=int(2 * max(settings.stall_timeout_s, settings.start_timeout_s)) + 60,
            spread=settings.placement_strategy == "SPREAD",
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.world_size,
            use_gpu=use_gpu,
            resources_per_worker=settings.resources_per_worker,
            placement_strategy=settings.placement_strategy,
        ),
        run_config=ray.train.RunConfig(
            name=gang_id, storage_path=str(settings.storage), failure_config=strict
        ),
    )
