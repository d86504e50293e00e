"""Ray Tune drives the schedule: a searcher hands out attempts, a thin trainable runs them.

Tune keeps one process, the lane, and gives it one attempt after another; where trials run side by
side, as many lanes as the schedule hands out attempts at a time. Its own results, retries and
checkpoints are not used: the files of the reporter are the ledger.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from ddp_sweep.cluster.gang.gang import Gang
from ddp_sweep.cluster.gang.room import Room
from ddp_sweep.cluster.gang.serving import GangSettings
from ddp_sweep.cluster.lane.headroom import Headroom
from ddp_sweep.cluster.lane.lane import Lane
from ddp_sweep.cluster.lane.schedule import Assignment, Schedule
from ddp_sweep.errors import CapacityError, DdpSweepError, WorkloadError, WriteError
from ddp_sweep.reporter import AttemptResult
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import TrialRequest

__all__ = ["Ended", "LaneBlueprint", "run_schedule"]


@dataclass(frozen=True, kw_only=True)
class LaneBlueprint:
    """All a lane needs, wherever its process starts."""

    requests: tuple[TrialRequest, ...]
    """One for each trial of the schedule, in its order; the attempt is filled in."""
    gang: GangSettings
    commit: Callable[[AttemptResult], None]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended, as the driver hears of it."""

    status: str
    status_detail: str | None = None
    wall_time_s: float | None = None
    startup_time_s: float | None = None
    """Time to start the workers right before it; None where they were there already."""
    began: bool = True
    """False where there never were workers to run it."""
    workers: str | None = None
    """Name of the group of workers that ran it, or should have; None where nobody knows."""
    commit_error: str | None = None
    """Why its rows could not be written, where that is so."""


class LaneTrainable(tune.Trainable):
    """Hands attempts to a lane; every step is one attempt."""

    def setup(self, config: dict[str, Any], blueprint: LaneBlueprint | None = None) -> None:
        """Called by Tune once in a process."""
        assert blueprint is not None
        self._assigned = config
        self._requests = blueprint.requests
        gang = blueprint.gang
        room = Room(resources_per_worker=gang.resources_per_worker, growth=gang.growth)
        self._lane = Lane(
            lambda limit: Gang(gang, uuid.uuid4().hex[:8], limit),
            blueprint.commit,
            Headroom(room, gang.start_timeout_s),
        )

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called by Tune before each further attempt; True: this process can be kept."""
        self._assigned = new_config
        return True

    def step(self) -> dict[str, Any]:
        """Run the attempt assigned; Tune counts it as done with its first result."""
        request = self._requests[self._assigned["index"]]
        try:
            result = self._lane.run(
                replace(request, attempt=self._assigned["attempt"]),
                fresh_workers=self._assigned["fresh_workers"],
            )
        except DdpSweepError as error:
            ended = Ended(status=Status.INTERRUPTED, commit_error=str(error))
            return asdict(ended) | {"done": True}
        if self._lane.broken:
            # What is left of the workers ends only with this process. The attempt is committed.
            os._exit(1)
        ended = Ended(
            status=result.status,
            status_detail=result.status_detail,
            wall_time_s=result.wall_time_s,
            startup_time_s=result.startup_time_s,
            began=result.started_at is not None,
            workers=result.gang_id,
        )
        return asdict(ended) | {"done": True}

    def cleanup(self) -> None:
        """Called by Tune before it ends the process."""
        self._lane.close()


class ScheduleSearcher(Searcher):
    """Offers Tune what the schedule hands out.

    Args:
        schedule: Decides what comes next.
        on_start: Told of each attempt that is handed out; an error of a user's keeps it from
            being begun, and ends the schedule.
        on_end: Told of each attempt that has ended, and whether it will be tried again.
        recover: Finds out how an attempt ended whose lane died, and writes it down.
    """

    def __init__(
        self,
        schedule: Schedule,
        on_start: Callable[[Assignment], None],
        on_end: Callable[[Assignment, Ended, bool], None],
        recover: Callable[[Assignment], Ended],
    ) -> None:
        super().__init__()
        self.fatal: DdpSweepError | None = None
        """Why no further trial can be run, where that is so."""
        self._schedule = schedule
        self._on_start = on_start
        self._on_end = on_end
        self._recover = recover
        self._assigned: dict[str, Assignment] = {}
        """What runs, by the id that Tune gave it."""

    @property
    def side_by_side(self) -> int:
        """How many attempts may run at once."""
        return self._schedule.side_by_side

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - a dict, a constant or None
        """The next attempt, nothing for now, or that nothing is left."""
        if self._schedule.finished:
            return Searcher.FINISHED
        if not self._schedule.ready:
            # Not ahead of time: a retry comes right after the attempt that failed.
            return None
        assignment = self._schedule.next()
        try:
            self._on_start(assignment)
        except DdpSweepError as error:
            self.fatal = error
            self._schedule.withdraw(assignment)
            return Searcher.FINISHED
        self._assigned[trial_id] = assignment
        return {
            "index": assignment.index,
            "attempt": assignment.attempt,
            "fresh_workers": assignment.fresh_workers,
        }

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,
    ) -> None:
        """Take note of an attempt's end."""
        assignment = self._assigned.pop(trial_id)
        if error or result is None or "status" not in result:
            ended = self._recovered(assignment)
        else:
            ended = Ended(**{one.name: result[one.name] for one in fields(Ended)})
        # Workers that did not start, and nodes that did not come back, have had all the time that
        # start_timeout_s allows.
        final = not ended.began and ended.status in (Status.TIMED_OUT, Status.NODE_LOST)
        again = self._schedule.ended(assignment, ended.status, ended.status_detail, final=final)
        self.fatal = self.fatal or _fatal(ended, again)
        if self.fatal:
            self._schedule.drain()
        self._on_end(assignment, ended, again and not self._schedule.finished)

    def _recovered(self, assignment: Assignment) -> Ended:
        try:
            return self._recover(assignment)
        except DdpSweepError as error:
            return Ended(status=Status.INTERRUPTED, commit_error=str(error))

    def save(self, checkpoint_path: str) -> None:
        """Tune's state is never read again; an empty file satisfies it."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Not used: a resumed sweep is a new schedule over what the results folder lacks."""
        raise NotImplementedError(checkpoint_path)


def _fatal(ended: Ended, again: bool) -> DdpSweepError | None:
    if ended.commit_error is not None:
        return WriteError(ended.commit_error)
    if ended.began or again or ended.status == Status.NODE_LOST:
        return None
    # What kept the workers of this trial from starting would keep those of the next.
    message = f"the workers could not be started: {ended.status_detail}"
    own = ended.status == Status.WORKLOAD_ERROR
    return WorkloadError(message) if own else CapacityError(message)


def run_schedule(searcher: ScheduleSearcher, blueprint: LaneBlueprint, storage: Path) -> None:
    """Run attempts until the schedule is finished; returns when the workers are gone.

    Args:
        searcher: Offers the attempts.
        blueprint: How to run them.
        storage: Scratch folder for what Tune insists on writing.
    """
    trainable = tune.with_parameters(LaneTrainable, blueprint=blueprint)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _on_this_node()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            # Without it Tune starts one process at a time, and short trials never fill the rest.
            max_concurrent_trials=searcher.side_by_side if searcher.side_by_side > 1 else None,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()


def _on_this_node() -> tune.PlacementGroupFactory:
    """Resources that exist only here, so that results reach this node's disk.

    The address alone is not enough where nodes share one, and a CPU is not to be had on a head
    node that offers none.
    """
    node_id = ray.get_runtime_context().get_node_id()
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return tune.PlacementGroupFactory(
        [{f"node:{address}": 0.001}], bundle_label_selector=[{"ray.io/node-id": node_id}]
    )
