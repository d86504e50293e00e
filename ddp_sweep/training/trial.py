"""One attempt at one trial on one rank, from a fresh workload to a report."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from ddp_sweep.training.checkpoints import Checkpoints, CheckpointStore
from ddp_sweep.training.context import Progress, Stopped, TrialContext
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.host_load import HostLoadMeter
from ddp_sweep.training.integrity import DrawCounter
from ddp_sweep.training.loading import loading_processes
from ddp_sweep.training.loop import train
from ddp_sweep.training.memory import PeakMemory
from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.optimization import LearningRate
from ddp_sweep.training.power import PowerMeter
from ddp_sweep.training.probes import OverlapCounts, TrialProbes
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.recording import StepRecorder
from ddp_sweep.training.replicas import ReplicaChecks
from ddp_sweep.training.snapshot import Snapshot
from ddp_sweep.training.stopwatch import Stopwatch
from ddp_sweep.training.timing import SynchronizationClock
from ddp_sweep.training.training_state import TrainingState
from ddp_sweep.training.trial_parts import TrialParts
from ddp_sweep.training.trial_report import BeforeTraining, Ending, rank_report
from ddp_sweep.workload import WorkloadFactory, declared_metrics, directions

__all__ = ["RankTrial"]


class RankTrial:
    """One rank of one attempt: set-up, probes and warm-up, training, and what was measured.

    Args:
        request: What to do.
        factory: Makes the workload.
        ranks: The ranks of the trial.
        node: Name of the node this rank runs on.
        load_meter: Tells how busy others have kept the host since the trial before.
        emit_progress: Gets a dictionary now and then; must not block.
        overlaps: What earlier trials of this process have counted.
        checkpoints: Where checkpoints go, and where one to go on from may be; None for none.

    Raises:
        WorkloadError: The workload returned something else than it should.
        Exception: Whatever the workload raises.
    """

    def __init__(
        self,
        request: TrialRequest,
        factory: WorkloadFactory,
        ranks: Ranks,
        *,
        node: str,
        load_meter: HostLoadMeter,
        emit_progress: Callable[[Progress], None],
        overlaps: OverlapCounts | None = None,
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        self._request = request
        self._ranks = ranks
        self._emit = emit_progress
        self._node = node
        self._load_meter = load_meter
        self._overlaps = overlaps or OverlapCounts()
        self._checkpoints = Checkpoints(checkpoints, ranks)
        self._before = BeforeTraining()
        self._watch = Stopwatch()
        self._emit({"stage": "building"})
        self._peak = PeakMemory(ranks.device)
        with self._watch.timed("build"):
            self._parts = TrialParts.build(request, factory, ranks, emit_progress)
        self._replicas = ReplicaChecks(self._parts.model, ranks)
        self._peak.note()

    def run(self) -> RankReport:
        """Probe, warm up, train and report."""
        with closing(self._parts.evaluator):
            gradient_step, training = self._get_ready()
            with self._watch.timed("collect_garbage"):
                gc.collect()
            # The copies that were made until here are ours, not the trial's.
            self._peak.resume()
            training.power.start()
            ending = self._train(training, gradient_step)
            training.power.stop()
            with self._watch.timed("report"):
                return rank_report(
                    self._parts,
                    training,
                    self._before,
                    ending,
                    ranks=self._ranks,
                    node=self._node,
                    has_probes=self._request.probes,
                    remark=self._checkpoints.remark(),
                    seconds=self._watch.seconds,
                )

    def _get_ready(self) -> tuple[GradientStep, TrainingState]:
        """Try everything out, then go to where the training starts from."""
        parts = self._parts
        snapshot = Snapshot(parts.model, parts.optimizer, self._ranks.device)
        gradient_step = self._try_out(snapshot)
        with self._watch.timed("restore"):
            return gradient_step, self._starting_point(snapshot)

    def _try_out(self, snapshot: Snapshot) -> GradientStep:
        """Probe and warm up; the snapshot is put back at the end."""
        parts, request, ranks = self._parts, self._request, self._ranks
        self._emit({"stage": "warming up"})
        with self._watch.timed("probes"):
            probes = self._probes() if request.probes else None
            gradient_step = parts.gradient_step(request, ranks)
            if probes is not None:
                self._before = replace(self._before, probed=probes.finish(gradient_step))
                snapshot.restore()
                del probes
        with self._watch.timed("overlap"):
            self._count_overlap()
            snapshot.restore()
        with self._watch.timed("warm_up"):
            self._warm_up(gradient_step)
        # After the first steps, and what the training starts from.
        self._check_replicas()
        snapshot.restore()
        self._check_replicas()
        other_load = ranks.largest(self._load_meter.take())
        self._before = replace(self._before, other_load=other_load)
        return gradient_step

    def _probes(self) -> TrialProbes:
        parts = self._parts
        first = next(parts.plan.steps())
        return TrialProbes(
            self._request.trial,
            parts.model,
            parts.step,
            parts.source,
            first,
            parts.plan.total_steps,
            self._ranks,
        )

    def _count_overlap(self) -> None:
        """Once for each data set, not for each trial."""
        if self._request.probes:
            options = dict(self._request.trial.workload_options)
            processes = loading_processes(self._request.data, self._ranks.device)
            count = self._overlaps.of(options, *self._parts.data, self._ranks, processes)
            self._before = replace(self._before, train_val_overlap=count)

    def _check_replicas(self, *, with_buffers: bool = False) -> None:
        if self._request.probes:
            with self._watch.timed("replicas"):
                self._replicas.check(with_buffers=with_buffers)

    def _warm_up(self, gradient_step: GradientStep) -> None:
        """Run every shape of the trial once, that of the largest batch twice.

        The second time DDP has its final buckets; the restored optimizer has no state again.
        """
        parts = self._parts
        shapes = parts.plan.distinct_shapes()
        steps = [shapes[0], *shapes]
        draws = itertools.chain.from_iterable(step.draws() for step in steps)
        batches = parts.source.stream_few(draws)
        for step in steps:
            parts.optimizer.zero_grad()
            gradient_step.run(step, batches)
            parts.optimizer.step()

    def _starting_point(self, snapshot: Snapshot) -> TrainingState:
        """The training as an earlier attempt left it, or one that has not begun."""
        found, peak_bytes = self._replicas.state_dict(), self._peak.largest_bytes
        training = self._training()
        if self._checkpoints.restore(training):
            return training
        # One rank has failed, others have not: nothing of the checkpoint may stay on any.
        snapshot.restore()
        self._replicas = ReplicaChecks(self._parts.model, self._ranks, **found)
        self._peak.largest_bytes = peak_bytes
        return self._training()

    def _training(self) -> TrainingState:
        """The state of a training that has not begun."""
        request, parts, ranks = self._request, self._parts, self._ranks
        settings = request.trial.training
        return TrainingState(
            model=parts.model,
            optimizer=parts.optimizer,
            rate=LearningRate(
                parts.workload,
                parts.optimizer,
                settings,
                warmup_fraction=request.trial.warmup_fraction,
                total_steps=parts.plan.total_steps,
            ),
            context=TrialContext(
                ranks,
                parts.evaluator,
                StepRecorder(settings.record_every, ranks.device),
                budget=parts.plan.budget,
                evaluations=settings.evaluations,
                target=dict(request.quality.target),
                declared=directions(declared_metrics(parts.workload)),
                timeout_s=request.trial_timeout_s,
                emit_progress=self._emit,
                wants_checkpoint=self._checkpoints.wanted,
            ),
            draws=DrawCounter(parts.plan.num_samples, ranks),
            replicas=self._replicas,
            peak=self._peak,
            power=PowerMeter(ranks.device),
            device=ranks.device,
            synchronization=SynchronizationClock(ranks) if request.probes else None,
        )

    def _train(self, training: TrainingState, gradient_step: GradientStep) -> Ending:
        def save() -> None:
            # A difference that restoring would mend without a word.
            self._check_replicas()
            with self._watch.timed("checkpoints"):
                self._checkpoints.take(training)

        self._checkpoints.begin()
        try:
            train(
                training,
                self._parts.plan,
                self._parts.source,
                gradient_step,
                parameters=self._parts.parameters,
                max_gradient_norm=self._request.trial.training.max_gradient_norm,
                before_last_evaluation=lambda: self._check_replicas(with_buffers=True),
                save=save,
            )
        except Stopped as stopped:
            training.context.clock.stop()
            return Ending(status=stopped.status, detail=stopped.detail)
        return Ending()
