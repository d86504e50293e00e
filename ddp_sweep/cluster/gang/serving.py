"""What runs inside each rank of a gang: serve trials from the mailbox until there are no more."""

from __future__ import annotations

import faulthandler
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
import torch.distributed as dist
from ray.train.v2._internal.execution.context import get_train_context

from ddp_sweep.cluster.connection.growth import NO_GROWTH, Growth
from ddp_sweep.cluster.gang.last_words import STACKS_SIGNAL
from ddp_sweep.cluster.gang.mailbox import Job, Member
from ddp_sweep.cluster.gang.output import OutputCapture
from ddp_sweep.cluster.gang.rank_checkpoints import RankCheckpoints
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.errors import WorkloadError
from ddp_sweep.results.logs import TrialLogs
from ddp_sweep.schema import Status
from ddp_sweep.training.checkpoints import CheckpointStore
from ddp_sweep.training.messages import RankFailure, RankReport, TrialRequest, WorkerSetup
from ddp_sweep.workload import user_traceback

__all__ = ["GangSettings", "RankWorker", "WorkerFactory", "serve"]

_STDERR = 2
"""Not ``sys.stderr``, which a workload may have replaced."""


class RankWorker(Protocol):
    """What runs trials in the process of one rank."""

    def run(self, request: TrialRequest, checkpoints: CheckpointStore | None = None) -> RankReport:
        """Run one attempt; all ranks of the trial call this at the same time."""
        ...

    def describe_failure(self, error: BaseException) -> RankFailure:
        """Turn an exception that left :meth:`run` into a status and a text."""
        ...


class WorkerFactory(Protocol):
    """Makes the worker of a rank, on all ranks at the same time; must be picklable."""

    def __call__(
        self,
        setup: WorkerSetup,
        rank: int,
        *,
        emit_progress: Callable[[dict[str, Any]], None],
        node: str,
    ) -> RankWorker:
        """The worker of this rank."""
        ...


@dataclass(frozen=True, kw_only=True)
class GangSettings:
    """What a gang needs to start."""

    world_size: int
    """Number of ranks; the largest world size of the trials to come."""
    setup: WorkerSetup
    worker_factory: WorkerFactory
    resources_per_worker: dict[str, float]
    """``{"CPU": 1}``, or with a ``GPU`` entry where ranks compute on GPUs."""
    placement_strategy: str
    """Ray's name: ``PACK`` or ``SPREAD``."""
    start_timeout_s: float
    stall_timeout_s: float
    growth: Growth = NO_GROWTH
    """How far the cluster may grow, to say what is waited for."""
    storage: Path
    """Scratch folder for what Ray Train insists on writing."""
    logs: TrialLogs | None = None
    """Where to write what the ranks print; None: nowhere."""
    checkpoints: CheckpointShelf | None = None
    """Where checkpoints go; None where none are taken."""

    def limited(self, most: int) -> GangSettings:
        """The same for a gang of at most so many ranks, and the world sizes that fit it."""
        sizes = tuple(size for size in self.setup.world_sizes if size <= most)
        return replace(self, world_size=max(sizes), setup=replace(self.setup, world_sizes=sizes))


def serve(config: dict[str, Any]) -> None:
    """The train function: on every rank, serve jobs until there are no more."""
    mailbox = config["mailbox"]
    # Not Ray Train's number of this worker: see NodeTorchConfig.
    rank = dist.get_rank()
    # A crash leaves its stack among what was printed, a hang those of all threads.
    faulthandler.enable(_STDERR, all_threads=False)
    faulthandler.register(STACKS_SIGNAL, _STDERR)
    with OutputCapture(lambda piece: mailbox.printed.remote(rank, piece)) as output:
        if ray.get(mailbox.join.remote(_this_member(rank, output))):
            _serve(config["gang"], mailbox, rank, output)


def _serve(settings: GangSettings, mailbox: Any, rank: int, output: OutputCapture) -> None:  # noqa: ANN401 - an actor
    key: str | None = None

    def emit_progress(progress: dict[str, Any]) -> None:
        mailbox.emit_progress.remote(key, progress)

    try:
        with output.listening(), _printed_errors():
            worker = settings.worker_factory(
                settings.setup, rank, emit_progress=emit_progress, node=_node_name()
            )
    except Exception as error:
        ray.get(mailbox.deliver.remote(None, _start_failure(error, rank)))
        raise
    while (job := ray.get(mailbox.next_job.remote(rank))) is not None:
        key = job.key
        with output.listening():
            result = _run(worker, rank, job, RankCheckpoints.of(job, rank, mailbox))
        if isinstance(result, RankReport) and result.recycle_reason:
            mailbox.note.remote(f"rank {rank} needs a new process: {result.recycle_reason}")
        # Waited for, so that what is delivered is there even if this process dies next.
        ray.get(mailbox.deliver.remote(key, result))


def _run(
    worker: RankWorker, rank: int, job: Job, checkpoints: RankCheckpoints | None
) -> RankReport | RankFailure:
    try:
        with _printed_errors():
            return worker.run(job.request, checkpoints)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a workload is one
        return _described(worker, rank, error)


def _described(worker: RankWorker, rank: int, error: BaseException) -> RankFailure:
    """What an error means; one whose own text cannot be had is the workload's."""
    try:
        return worker.describe_failure(error)
    except Exception:  # noqa: BLE001 - it would pass for a death of this process
        detail = user_traceback(error)
        return RankFailure(rank=rank, status=Status.WORKLOAD_ERROR, detail=detail)


@contextmanager
def _printed_errors() -> Iterator[None]:
    """Print the whole of a traceback for the log; what is told of it has the user's lines only."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a stderr that was closed, an error that cannot be shown
            traceback.print_exc()
        raise


def _this_member(rank: int, output: OutputCapture) -> Member:
    context = ray.get_runtime_context()
    return Member(
        rank=rank,
        train_rank=ray.train.get_context().get_world_rank(),
        actor=context.current_actor,
        controller=get_train_context().controller_actor,
        pid=os.getpid(),
        node_id=context.get_node_id(),
        group=ray.util.get_current_placement_group(),
        node=_node_name(),
        output=output.files,
    )


def _node_name() -> str:
    # Two Ray nodes may share a host or an address; the id tells them apart.
    return f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"


def _start_failure(error: BaseException, rank: int) -> RankFailure:
    # A workload that cannot be loaded here stays so; whatever else fails may be better next time.
    own = isinstance(error, WorkloadError)
    status = Status.WORKLOAD_ERROR if own else Status.WORKER_DIED
    detail = str(error) if own else user_traceback(error)
    return RankFailure(rank=rank, status=status, detail=f"while starting: {detail}")
