"""A worker process: set up once, then one trial after another."""

from __future__ import annotations

import gc
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from ddp_sweep.errors import WorkloadError
from ddp_sweep.schema import Status
from ddp_sweep.spec import canonical_json
from ddp_sweep.training.checkpoints import CheckpointStore
from ddp_sweep.training.context import Progress
from ddp_sweep.training.host_load import HostLoadMeter
from ddp_sweep.training.isolation import ProcessState
from ddp_sweep.training.memory import is_out_of_memory
from ddp_sweep.training.messages import RankFailure, RankReport, TrialRequest, WorkerSetup
from ddp_sweep.training.preparation import prepare_nodes
from ddp_sweep.training.probes import OverlapCounts
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.trial import RankTrial
from ddp_sweep.workload import WorkloadFactory, load_workload, located, user_traceback

__all__ = ["Worker"]

_DIED = re.compile(
    # A collective whose peer is gone; gloo's errors begin with the place in its own source.
    r"Connection closed by peer|Connection reset by peer|Broken pipe"
    r"|third_party/gloo/|Gloo connect"
    # A loading process that was killed, as the kernel does where memory runs out.
    r"|DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)"
)
"""In a RuntimeError of a rank that is not itself to blame: the trial may be tried again."""


class Worker:
    """One rank of a group of processes that runs trials of several world sizes.

    All ranks construct it together: each takes part in making a process group for every world
    size, also for those it is not in.

    Args:
        setup: What the trials to come have in common.
        rank: Rank of this process in the default process group, which must be there already if
            any world size is above 1.
        emit_progress: Gets a dictionary now and then; must not block.
        node: Name of the node this process runs on; that of the host if None.
        factory: Makes the workload; loaded as ``setup`` names it if None.

    Raises:
        WorkloadError: The workload cannot be loaded.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        rank: int,
        *,
        emit_progress: Callable[[Progress], None],
        node: str | None = None,
        factory: WorkloadFactory | None = None,
    ) -> None:
        self._emit = emit_progress
        self._rank = rank
        self._node = node or socket.gethostname()
        self._factory = located(
            factory or load_workload(setup.workload, setup.base_dir), setup.base_dir
        )
        torch.set_num_threads(setup.threads)
        # The compiler's own threads and processes would take cores from other workers and outlive
        # the trial. Read when torch imports its compiler, which it does at its first use.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        device = _device(setup)
        self._ranks = {size: _ranks(size, rank, device) for size in sorted(setup.world_sizes)}
        here = _processes_here(self._node, max(setup.world_sizes))
        self._load_meter = HostLoadMeter(here)
        self._state = ProcessState(device)
        # Before any trial is handed over, so that no clock of a trial runs meanwhile.
        self._unprepared = prepare_nodes(
            self._factory,
            setup.workload_options,
            first_on_node=here[0] == os.getpid(),
            alone=max(setup.world_sizes) == 1,
        )
        self._state.restore()
        self._overlaps = OverlapCounts()
        self._first = True
        self._keep_what_is_loaded()

    def run(self, request: TrialRequest, checkpoints: CheckpointStore | None = None) -> RankReport:
        """Run one attempt on this rank, which must be among the ranks of the trial.

        Args:
            request: What to do.
            checkpoints: Where checkpoints go, and where one to go on from may be; None for none.

        Raises:
            Exception: The workload's own errors; see :meth:`describe_failure`.
        """
        ranks = self._ranks[request.trial.world_size]
        assert ranks is not None
        problem = self._unprepared.get(canonical_json(dict(request.trial.workload_options)))
        if problem is not None:
            raise WorkloadError(problem)
        identity = {"trial_id": request.trial.trial_id, "attempt": request.attempt}
        trial = RankTrial(
            request,
            self._factory,
            ranks,
            node=self._node,
            load_meter=self._load_meter,
            emit_progress=lambda progress: self._emit(identity | progress),
            overlaps=self._overlaps,
            checkpoints=checkpoints,
        )
        report = trial.run()
        del trial
        ended = time.perf_counter()
        self._state.restore()
        if self._first:
            self._first = False
            self._keep_what_is_loaded()
        seconds = report.seconds | {"clean_up": time.perf_counter() - ended}
        return replace(report, recycle_reason=self._state.recycle_reason(), seconds=seconds)

    def _keep_what_is_loaded(self) -> None:
        """Exempt what imports have left in memory from the collections before every trial.

        They would otherwise take longer than all else between two trials. Done before the first
        trial and after it, since libraries import and cache much at their first use.
        """
        gc.collect()
        gc.freeze()

    def describe_failure(self, error: BaseException) -> RankFailure:
        """What an exception that left :meth:`run` means.

        A rank that lost a peer or a loading process reports ``worker_died``: the cause lies
        elsewhere.
        """
        detail = str(error) if isinstance(error, WorkloadError) else user_traceback(error)
        return RankFailure(rank=self._rank, status=_status(error), detail=detail)


def _status(error: BaseException) -> Status:
    if is_out_of_memory(error):
        return Status.OUT_OF_MEMORY
    # A workload's own lost connection (a download, a data base) is an OSError.
    lost = isinstance(error, RuntimeError) and _DIED.search(str(error)) is not None
    # Then /dev/shm is too small for the loading processes, and will be the next time.
    if lost and "Bus error" in f"{error} {error.__cause__}":
        return Status.WORKLOAD_ERROR
    if isinstance(error, dist.DistError) or lost:
        return Status.WORKER_DIED
    return Status.WORKLOAD_ERROR


def _device(setup: WorkerSetup) -> torch.device:
    if setup.device_type == "cpu":
        return torch.device("cpu")
    # Ray has made the first of this worker's own GPUs the current one; it may see its peers' too.
    return torch.device("cuda", torch.cuda.current_device())


def _processes_here(node: str, world_size: int) -> list[int]:
    """Ids of the processes of all ranks on this node, that of the lowest rank first."""
    if world_size == 1:
        return [os.getpid()]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, (node, os.getpid()))
    return [pid for where, pid in everyone if where == node]


def _ranks(world_size: int, rank: int, device: torch.device) -> Ranks | None:
    """This rank's view of a trial of a world size; None where it takes no part."""
    group = None
    if world_size > 1:
        # Called by all ranks, also those outside, in the same order: PyTorch demands it.
        group = dist.new_group(list(range(world_size)))
    return Ranks(rank, world_size, device, group) if rank < world_size else None
