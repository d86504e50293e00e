"""A warm group of DDP workers: one TorchTrainer that runs one trial after another.

Starting a TorchTrainer costs seconds (actors, a placement group, ``import torch``, the process
group). Its train function therefore does not run one trial, it serves trials from a mailbox until
the gang is closed. A trial of a smaller world size runs on the first ranks while the others wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psutil
import ray
from ray.util import remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ddp_sweep.cluster.connection.growth import alive_nodes, missing
from ddp_sweep.cluster.connection.presence import lost_nodes
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.gang.deaths import deaths, end_of_actor, end_of_gang
from ddp_sweep.cluster.gang.failures import (
    Evidence,
    Failure,
    GangOutcome,
    judge,
    no_room,
    not_started,
)
from ddp_sweep.cluster.gang.last_words import ask_for_stacks, collect_last_words
from ddp_sweep.cluster.gang.mailbox import Collected, Job, Mailbox, Member, Origin
from ddp_sweep.cluster.gang.room import Room
from ddp_sweep.cluster.gang.serving import GangSettings
from ddp_sweep.cluster.gang.trainer import strict_trainer
from ddp_sweep.cluster.gang.trial_log import TrialLog
from ddp_sweep.live.wording import WAITING
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import TrialRequest

__all__ = ["Gang"]

_PEER_GRACE_S = 1.0
"""For peers of a rank that raised, to tell what they saw."""
_DEATH_GRACE_S = 10.0
"""For Ray to notice a death, after ranks have lost a peer that said nothing."""
_LOOK_S = 2.0
"""Between two looks at what a cluster lacks, while workers do not start."""
_ABORT_STEP_S = 5.0
"""For each step of an abort to take effect before the next, harsher one."""


@dataclass
class _Fit:
    """``TorchTrainer.fit`` in a thread of its own, since it lasts as long as the gang."""

    thread: threading.Thread
    errors: list[BaseException] = field(default_factory=list)


class Gang:
    """One warm group of workers.

    Start it, run trials one after another, close it; after a failure abort it. Not thread-safe.

    Args:
        settings: What it needs to start.
        gang_id: Name that no other gang has.
        limit: Ranks it may have at most; None for as many as the settings say.
    """

    def __init__(self, settings: GangSettings, gang_id: str, limit: int | None = None) -> None:
        self.gang_id = gang_id
        self._settings = settings if limit is None else settings.limited(limit)
        self._room = Room(
            resources_per_worker=settings.resources_per_worker, growth=settings.growth
        )
        self._members: tuple[Member, ...] = ()
        self._processes: list[psutil.Process] = []
        self._mailbox: Any = None
        self._fit: _Fit | None = None
        self._mailbox_lost: str | None = None
        """Why the mailbox is gone, where it is."""

    @property
    def world_size(self) -> int:
        """Number of ranks, and so the largest world size of a trial."""
        return self._settings.world_size

    @property
    def alive(self) -> bool:
        """Whether the workers are there, as far as is known."""
        return self._fit is not None and self._fit.thread.is_alive()

    def start(self) -> Failure | None:
        """Start the workers and wait until all are ready; a failure where they are not."""
        settings = self._settings
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = (
            ray.remote(Mailbox)
            .options(num_cpus=0, scheduling_strategy=here)
            .remote(
                settings.world_size,
                board=ProgressBoard(settings.storage, group=_here()),
                log=settings.logs and TrialLog(settings.logs, self.gang_id),
                shelf=settings.checkpoints,
            )
        )
        self._fit = self._start_fit()
        started, lacking = self._wait_for_start()
        self._members = started.members
        self._processes = _processes_here(started.members)
        if started.complete and not started.failures and not started.gang_ended:
            return None
        if not started.failures and self._room.possible() < self.world_size:
            return no_room(self.world_size, self._room.present())
        if started.silent_s is not None:
            return not_started(started.silent_s, lacking)
        return judge(self._evidence(started))

    def _wait_for_start(self) -> tuple[Collected, str | None]:
        """Wait for the workers, and tell what of the cluster is waited for; that at the end."""
        settings = self._settings
        gives_up = datetime.now() + timedelta(seconds=settings.start_timeout_s)  # noqa: DTZ005
        began = self._mailbox.collect_start.remote(settings.start_timeout_s)
        told: str | None = None
        while not ray.wait([began], timeout=_LOOK_S)[0]:
            if self._room.possible() < self.world_size:
                # Nodes have gone; what they leave is for another group of workers, once those
                # that had come are ended.
                had_come = self._ask(self._mailbox.collect_start.remote(0.0)).members
                return Collected(members=had_come), None
            lacking = missing(
                alive_nodes(), settings.growth, settings.resources_per_worker, settings.world_size
            )
            if lacking != told:
                told = lacking
                text = lacking and f"{WAITING}{lacking}; gives up at {gives_up:%H:%M}"
                self._mailbox.waits_for.remote(text)
        return self._ask(began), told

    def run(self, request: TrialRequest) -> GangOutcome:
        """Run one attempt on the first ranks and wait for its end.

        After an outcome with a failure the gang is of no more use: abort it.
        """
        trial = request.trial
        key = f"{self.gang_id}/{trial.trial_id}/{request.attempt}"
        origin, passed_over = self._origin(request)
        job = Job(
            key=key,
            world_size=trial.world_size,
            request=request,
            origin=origin,
            passed_over=passed_over,
        )
        seen = self._ask(self._mailbox.run.remote(job, self._settings.stall_timeout_s))
        if seen.failures:
            seen = self._settled(seen)
        if seen.silent_s is not None:
            self._mailbox.note.remote("no progress: what each rank was doing follows, by thread")
            ask_for_stacks(one.source for one in self._members[: trial.world_size])
        reports = tuple(seen.reports[rank] for rank in sorted(seen.reports))
        if seen.complete and not seen.failures:
            return GangOutcome(reports=reports)
        return GangOutcome(reports=reports, failure=judge(self._evidence(seen)))

    def _origin(self, request: TrialRequest) -> tuple[Origin | None, tuple[str, ...]]:
        """What an attempt goes on from, and why it does not from what else there is."""
        shelf = self._settings.checkpoints
        if shelf is None or request.checkpoint_every_s is None:
            return None, ()
        kept, passed_over = shelf.find(request)
        if kept is None:
            return None, passed_over
        parts = tuple(ray.put(part) for part in kept.parts)
        return Origin(attempt=kept.attempt, step=kept.step, parts=parts), passed_over

    def close(self) -> bool:
        """Let the workers go and wait until they are gone; False where that took an abort."""
        if self._fit is None:
            return True
        self._mailbox.close.remote()
        self._fit.thread.join(_ABORT_STEP_S * 2)
        if self._fit.thread.is_alive():
            self.abort()
            return False
        self._wait_gone()
        ray.kill(self._mailbox)
        return True

    def abort(self) -> bool:
        """End the workers by force; False where Ray Train could not be ended from here.

        Then the process this runs in has to end as well, which takes everything along.
        """
        if self._fit is None:
            return True
        for member in self._members:
            ray.kill(member.actor)
        self._fit.thread.join(_ABORT_STEP_S)
        if self._fit.thread.is_alive() and self._members:
            ray.kill(self._members[0].controller)
            self._fit.thread.join(_ABORT_STEP_S)
        self._wait_gone()
        self._free_resources()
        # Without the mailbox nobody knows where to read on.
        with suppress(ray.exceptions.RayError):
            collect_last_words(ray.get(self._mailbox.unread.remote(), timeout=_ABORT_STEP_S))
        ray.kill(self._mailbox)
        return not self._fit.thread.is_alive()

    def _free_resources(self) -> None:
        """Where Ray Train was killed, nobody else does so soon."""
        groups = {one.group.id: one.group for one in self._members if one.group is not None}
        for group in groups.values():
            with suppress(ray.exceptions.RayError):
                remove_placement_group(group)

    def _start_fit(self) -> _Fit:
        trainer = strict_trainer(self._settings, self.gang_id, self._mailbox)
        mailbox = self._mailbox

        def fit() -> None:
            try:
                trainer.fit()
            except Exception as error:  # noqa: BLE001 - whatever ended the gang is evidence
                errors.append(error)
            mailbox.gang_ended.remote()

        errors: list[BaseException] = []
        thread = threading.Thread(target=fit, name=f"gang-{self.gang_id}", daemon=True)
        thread.start()
        return _Fit(thread=thread, errors=errors)

    def _ask(self, reference: ray.ObjectRef[Collected]) -> Collected:
        """Wait for the mailbox; its own death counts as the end of the gang."""
        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            self._mailbox_lost = end_of_actor(error, "the process that the workers report to died")
            return Collected(gang_ended=True)

    def _settled(self, seen: Collected) -> Collected:
        own = any(failure.status != Status.WORKER_DIED for failure in seen.failures)
        return self._ask(self._mailbox.settle.remote(_PEER_GRACE_S if own else _DEATH_GRACE_S))

    def _evidence(self, seen: Collected) -> Evidence:
        assert self._fit is not None
        if seen.gang_ended:
            self._fit.thread.join(_ABORT_STEP_S)
        error = self._fit.errors[0] if self._fit.errors else None
        return Evidence(
            failures=seen.failures,
            deaths=self._ranks_of(deaths(error)),
            lost_nodes=self._lost_nodes() if seen.gang_ended or seen.silent_s else {},
            silent_s=seen.silent_s,
            last_progress=seen.progress,
            gang_error=self._mailbox_lost or (None if error is None else end_of_gang(error)),
        )

    def _ranks_of(self, by_train_rank: Mapping[int, str]) -> dict[int, str]:
        """The same by our ranks; before a rank has joined, Ray Train's number has to do."""
        ranks = {member.train_rank: member.rank for member in self._members}
        return {ranks.get(one, one): cause for one, cause in by_train_rank.items()}

    def _lost_nodes(self) -> dict[int, str]:
        gone = lost_nodes(frozenset(one.node_id for one in self._members))
        return {one.rank: one.node_id for one in self._members if one.node_id in gone}

    def _wait_gone(self) -> None:
        # Processes on other nodes: their resources are free only once they are gone, and the
        # next gang needs those.
        psutil.wait_procs(self._processes, timeout=_ABORT_STEP_S)


def _here() -> str:
    """This process, which has one gang at a time."""
    return str(os.getpid())


def _processes_here(members: tuple[Member, ...]) -> list[psutil.Process]:
    here = ray.get_runtime_context().get_node_id()
    found = []
    for member in members:
        if member.node_id == here:
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(member.pid))
    return found
