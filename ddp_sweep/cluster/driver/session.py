"""One run of a sweep on a cluster: from connecting until the workers are gone again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ddp_sweep.cluster.connection.capacity import (
    ClusterConnection,
    connect,
    largest_world_size,
    resources_per_worker,
)
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.connection.growth import alive_nodes
from ddp_sweep.cluster.driver.agenda import Confirmation
from ddp_sweep.cluster.driver.attempts import Attempts, CommitForDriver
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.interrupts import drain_on_interrupt
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.log_keeping import LogKeeper
from ddp_sweep.cluster.driver.progress import attempt_of, plan_of
from ddp_sweep.cluster.driver.recovery import Recovery
from ddp_sweep.cluster.driver.scratch import scratch_folder
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.gang.serving import GangSettings, WorkerFactory
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.cluster.lane.schedule import Assignment, Schedule
from ddp_sweep.cluster.lane.tuning import Ended, LaneBlueprint, ScheduleSearcher, run_schedule
from ddp_sweep.errors import CapacityError
from ddp_sweep.live import (
    Connecting,
    Notice,
    Stopping,
    SweepEnded,
    TrialEnded,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.plan import Plan, Trial, waves
from ddp_sweep.reporter import Reporter
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import Holder
from ddp_sweep.results.logs import TrialLogs
from ddp_sweep.schema import Status
from ddp_sweep.spec import Json, SweepSpec, canonical_json
from ddp_sweep.training.messages import TrialRequest, WorkerSetup

__all__ = ["Session"]


@dataclass
class Session:
    """One run of a sweep, from connecting to the cluster until it is left again."""

    spec: SweepSpec
    folder: ResultsFolder
    reporter: Reporter
    plan_for: Callable[[int | None], Plan]
    worker_factory: WorkerFactory
    feed: Feed
    """Is told of everything that happens, and passes it on."""
    only_failed: bool = False
    """Whether trials that did not succeed run anew, and nothing else."""
    confirm: Callable[[], Confirmation] = Confirmation
    """Adds the seeds of a confirmation to the plan, where one is due once the sweep is done."""
    stopping: bool = False
    """Whether the user asked for an end."""
    fell_short: str | None = None
    """What the cluster was waited for in vain, in words; the trials it holds have run."""
    ran: int = 0
    plan: Plan | None = None
    schedule: Schedule | None = None
    logs: LogKeeper | None = None

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.folder, self.reporter)
        self._recover = Recovery(self.reporter, self._attempts, self.feed)

    def run(self, address: str | None) -> bool:
        """Run what is pending; whether it was interrupted."""
        interrupted = False
        self.feed.tell(Connecting(sweep=self.spec.name, folder=self.folder.path))
        try:
            with quiet_driver(), connect(address, self.spec) as cluster:
                interrupted = self._run_on(cluster)
        except KeyboardInterrupt:
            interrupted = True
        finally:  # `status` tells a run that gave up from one that was killed
            try:
                # Only now that the workers are gone can no result come any more.
                for assignment in () if self.schedule is None else self.schedule.running:
                    ended = self._recover(
                        assignment, Status.INTERRUPTED, "the run was interrupted"
                    )
                    if self.logs is not None:
                        self.logs.end(assignment, ended)
            finally:
                self.feed.tell(SweepEnded(interrupted=interrupted))
        return interrupted

    def _run_on(self, cluster: ClusterConnection) -> bool:
        """Run what is pending, then what confirms its outcome; whether it was interrupted."""
        if self._run_those(Ledger.pending, cluster, only_failed=self.only_failed):
            return True
        assert self.plan is not None
        if Ledger(self.folder.read(("trials",))).unfinished(self.plan.trials):
            return False
        confirming = self.confirm()
        if self.stopping:  # the next run begins with what was added
            self.plan = self.plan_for(cluster.capacity)
            return confirming.due
        if confirming.said is not None:
            self.feed.tell(Notice(text=confirming.said))
        # Not what was lost for good: it has had its attempts in this session.
        return confirming.due and self._run_those(Ledger.unfinished, cluster)

    def _run_those(
        self,
        choose: Callable[[Ledger, Sequence[Trial]], tuple[Trial, ...]],
        cluster: ClusterConnection,
        *,
        only_failed: bool = False,
    ) -> bool:
        plan = self.plan = self.plan_for(cluster.capacity)
        results = self.folder.read(("trials",))
        ledger = Ledger(results, only_failed=only_failed)
        for infeasible in ledger.newly_infeasible(plan.infeasible):
            attempt = ledger.attempts_made.get(infeasible.trial_id, 0) + 1
            self.reporter.commit_infeasible(infeasible, datetime.now(UTC), attempt)
        self._discard_checkpoints(ledger)
        pending = choose(ledger, plan.trials)
        planned = plan_of(self.spec, plan, pending, results.trials, cluster.capacity)
        self.feed.tell_and_wait(planned)
        if not pending:
            return False
        self.logs = LogKeeper.of(self.folder, planned.trials)
        parts = waves(pending, self.spec.resources.placement, cluster.capacity)
        for number, wave in enumerate(parts, start=1):
            schedule = self.schedule = Schedule(
                wave.trials,
                ledger.attempts_made,
                self.spec.resources.max_attempts,
                wave.side_by_side or 1,
            )
            try:
                interrupted = self._drive(schedule, wave.trials, cluster)
            except CapacityError as error:
                smaller = self._what_it_became(cluster, error, min(t.world_size for t in pending))
                return self._run_those(choose, smaller, only_failed=only_failed)
            if interrupted:
                return True
            if self.stopping:
                return number < len(parts)
        return False

    def _what_it_became(
        self, cluster: ClusterConnection, error: CapacityError, least: int
    ) -> ClusterConnection:
        """The cluster as it is, where it did not grow but holds some of the trials.

        Raises:
            CapacityError: The given one, where there is nothing to be gained by going on.
        """
        nodes = alive_nodes() if cluster.growth.types else cluster.nodes
        fits = largest_world_size(self.spec.resources, nodes, cluster.device_type)
        if not (cluster.growth.types and least <= fits < cluster.capacity):
            raise error
        self.fell_short = str(error)
        said = f"{error}; going on with the trials of {fits} workers or fewer"
        self.feed.tell(Notice(text=said))
        return replace(cluster, nodes=nodes, capacity=fits)

    def _drive(
        self,
        schedule: Schedule,
        pending: tuple[Trial, ...],
        cluster: ClusterConnection,
    ) -> bool:
        logs = self.logs
        assert logs is not None
        interrupted = False

        def drain() -> None:
            nonlocal interrupted
            interrupted = self.stopping = True
            schedule.drain()
            self.feed.tell(Stopping())

        def on_start(assignment: Assignment) -> None:
            trial_id, attempt = assignment.trial.trial_id, assignment.attempt
            self._attempts.begin(assignment.trial, attempt)
            logs.begin(assignment)
            self.feed.tell(TrialStarted(trial_id=trial_id, attempt=attempt))

        def on_end(assignment: Assignment, ended: Ended, again: bool) -> None:
            self.ran += 1
            if ended.commit_error is None:
                self._attempts.end(assignment.trial.trial_id, assignment.attempt)
            attempt = attempt_of(assignment, ended, datetime.now(UTC))
            if not (again or attempt.to_rerun):
                self._shelf.discard(assignment.trial.trial_id)
            output = logs.end(assignment, ended)
            self.feed.tell_and_wait(TrialEnded(attempt=attempt, again=again, output=output))

        searcher = ScheduleSearcher(schedule, on_start, on_end, self._recover)
        with scratch_folder() as scratch, drain_on_interrupt(drain):
            self.feed.board = ProgressBoard(scratch)
            self.feed.tell_and_wait(WorkersStarting(pending=len(pending)))
            run_schedule(searcher, self._blueprint(pending, cluster, scratch), scratch)
        if searcher.fatal is not None:
            raise searcher.fatal
        return interrupted and schedule.remaining > 0

    @property
    def _shelf(self) -> CheckpointShelf:
        return CheckpointShelf(self.folder, self.reporter.facts.code_version)

    def _discard_checkpoints(self, ledger: Ledger) -> None:
        """Remove those of trials that have their result: a driver may have died in between."""
        for trial_id in self._shelf.trials():
            last = ledger.last(trial_id)
            if last is not None and not last.to_rerun:
                self._shelf.discard(trial_id)

    def _blueprint(
        self, pending: tuple[Trial, ...], cluster: ClusterConnection, scratch: Path
    ) -> LaneBlueprint:
        spec, plan = self.spec, self.plan
        assert plan is not None
        # All that share workers and not only what is pending: a resumed sweep measures as the
        # first did.
        shared = plan.trials if spec.resources.placement == "exclusive" else pending
        world_sizes = tuple(sorted({trial.world_size for trial in shared}))
        requests = tuple(
            TrialRequest(
                trial=trial,
                attempt=0,
                data=spec.data,
                quality=spec.quality,
                probes=spec.probes,
                trial_timeout_s=spec.resources.trial_timeout_s,
                checkpoint_every_s=spec.resources.checkpoint_every_s,
            )
            for trial in pending
        )
        gang = GangSettings(
            world_size=max(world_sizes),
            setup=WorkerSetup(
                workload=spec.workload,
                base_dir=spec.base_dir,
                world_sizes=world_sizes,
                device_type=cluster.device_type,
                threads=spec.resources.cpus_per_worker,
                workload_options=_each_once(trial.workload_options for trial in pending),
            ),
            worker_factory=self.worker_factory,
            resources_per_worker=resources_per_worker(spec.resources, cluster.device_type),
            placement_strategy=spec.resources.placement_strategy.upper(),
            start_timeout_s=spec.resources.start_timeout_s,
            stall_timeout_s=spec.resources.stall_timeout_s,
            growth=cluster.growth,
            storage=scratch,
            logs=TrialLogs(self.folder.logs),
            checkpoints=None if spec.resources.checkpoint_every_s is None else self._shelf,
        )
        commit = CommitForDriver(self.reporter, Holder.myself())
        return LaneBlueprint(requests=requests, gang=gang, commit=commit)


def _each_once(options: Iterable[Mapping[str, Json]]) -> tuple[Mapping[str, Json], ...]:
    return tuple({canonical_json(dict(variant)): variant for variant in options}.values())
