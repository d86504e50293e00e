"""One attempt at one trial on one rank, from a fresh workload to a report."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ddp_sweep.schema import Status
from ddp_sweep.training.batch_steps import evaluation_step, is_weighted, training_step
from ddp_sweep.training.batches import BatchPlan
from ddp_sweep.training.context import Progress, Stopped, TrialContext
from ddp_sweep.training.evaluation import Evaluator
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.hardware import device_name
from ddp_sweep.training.host_load import HostLoadMeter, usable_cores
from ddp_sweep.training.integrity import DrawCounter
from ddp_sweep.training.isolation import seed_everything
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.loop import train
from ddp_sweep.training.memory import (
    available_memory_bytes,
    peak_memory_bytes,
    reset_peak_memory,
)
from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.model import build_model, wrap_model
from ddp_sweep.training.optimization import LearningRate, build_optimizer
from ddp_sweep.training.power import PowerMeter
from ddp_sweep.training.probes import OverlapCounts, ProbeResults, TrialProbes
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.recording import StepRecorder
from ddp_sweep.training.replicas import ReplicaChecks
from ddp_sweep.training.snapshot import Snapshot
from ddp_sweep.training.timing import SynchronizationClock
from ddp_sweep.workload import LanguageModel, WorkloadFactory, declared_metrics, directions

__all__ = ["RankTrial"]

_LARGEST_AUTO_EVALUATION_BATCH = 256


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
    ) -> None:
        self._began = time.perf_counter()
        self._request = request
        self._trial = request.trial
        self._settings = request.trial.training
        self._ranks = ranks
        self._emit = emit_progress
        self._node = node
        self._load_meter = load_meter
        self._overlaps = overlaps or OverlapCounts()
        self._overlap: int | None = None
        self._probed = ProbeResults()
        self._other_load: float | None = None
        self.seconds: dict[str, float] = {}
        self._emit({"stage": "building"})
        reset_peak_memory(ranks.device)
        with self._timed("build"):
            self._build(factory)
        self._build_peak_bytes = peak_memory_bytes(ranks.device)

    def _build(self, factory: WorkloadFactory) -> None:
        trial, device = self._trial, self._ranks.device
        # Splits must not depend on the trial's seed, even where the workload forgot its own.
        seed_everything(0)
        workload = factory(**trial.workload_options)
        train_data, validation_data = workload.build_data()
        seed_everything(trial.seed)
        model = build_model(workload, self._ranks, self._settings)
        # Ranks draw different random numbers (dropout) from here on; rank 0 those of one worker.
        seed_everything(trial.seed + 1_000_003 * self._ranks.rank)
        self._workload, self._model = workload, model
        self._data = (train_data, validation_data)
        self._replicas = ReplicaChecks(model, self._ranks)
        self._source = BatchSource(
            train_data, workload, self._request.data, device, augmentation_seed=trial.seed
        )
        self._plan = BatchPlan.of(trial, len(self._source), self._ranks.rank)
        self._optimizer = build_optimizer(workload, model, self._settings, trial.learning_rate)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._step = training_step(workload, device, self._settings.precision)
        self._evaluator = self._build_evaluator(validation_data)

    def _build_gradient_step(self) -> GradientStep:
        return GradientStep(
            wrap_model(self._model, self._ranks, self._settings),
            self._step,
            self._parameters,
            self._ranks,
            weighted=is_weighted(self._workload),
        )

    def _build_evaluator(self, validation_data: Dataset[Any]) -> Evaluator:
        chosen = self._request.data.evaluation_batch_size
        # Without gradients several times the training batch fits into the same memory.
        automatic = min(_LARGEST_AUTO_EVALUATION_BATCH, 4 * self._trial.per_worker_batch_size)
        return Evaluator(
            self._model,
            BatchSource(validation_data, self._workload, self._request.data, self._ranks.device),
            evaluation_step(
                self._workload,
                self._ranks.device,
                self._settings.precision,
                self._request.quality.decision_threshold,
            ),
            self._workload.task,
            batch_size=automatic if chosen == "auto" else chosen,
            ranks=self._ranks,
            metrics=declared_metrics(self._workload),
            emit_progress=self._emit,
        )

    def run(self) -> RankReport:
        """Probe, warm up, train and report."""
        with closing(self._evaluator):
            return self._run()

    def _run(self) -> RankReport:
        self._emit({"stage": "warming up"})
        snapshot = Snapshot(self._model, self._optimizer)
        with self._timed("probes"):
            probes = self._probes() if self._request.probes else None
            gradient_step = self._build_gradient_step()
            if probes is not None:
                self._probed = probes.finish(gradient_step)
                snapshot.restore()
                del probes
        with self._timed("overlap"):
            self._count_overlap()
            snapshot.restore()
        with self._timed("warm_up"):
            self._warm_up(gradient_step)
        # After the first steps, and what the training starts from.
        self._check_replicas()
        snapshot.restore()
        self._check_replicas()
        del snapshot
        self._other_load = self._ranks.largest(self._load_meter.take())
        with self._timed("collect_garbage"):
            gc.collect()
        # The copies that the probes and the warm-up made are ours, not the trial's.
        reset_peak_memory(self._ranks.device)
        self._power = PowerMeter(self._ranks.device)
        return self._train(gradient_step)

    def _probes(self) -> TrialProbes:
        first = next(self._plan.steps())
        return TrialProbes(self._trial, self._model, self._step, self._source, first, self._ranks)

    def _count_overlap(self) -> None:
        """Once for each data set, not for each trial."""
        if self._request.probes:
            options = dict(self._trial.workload_options)
            self._overlap = self._overlaps.of(options, *self._data, self._ranks)

    def _check_replicas(self, *, with_buffers: bool = False) -> None:
        if self._request.probes:
            with self._timed("replicas"):
                self._replicas.check(with_buffers=with_buffers)

    def _warm_up(self, gradient_step: GradientStep) -> None:
        """Run every shape of the trial once, that of the largest batch twice.

        The second time DDP has its final buckets; the restored optimizer has no state again.
        """
        shapes = self._plan.distinct_shapes()
        for step in [shapes[0], *shapes]:
            self._optimizer.zero_grad()
            gradient_step.run(step, (self._source.fetch(*draw) for draw in step.draws()))
            self._optimizer.step()

    def _train(self, gradient_step: GradientStep) -> RankReport:
        request, settings = self._request, self._settings
        timeout = request.trial_timeout_s
        context = TrialContext(
            self._ranks,
            self._evaluator,
            StepRecorder(settings.record_every, self._ranks.device),
            budget=self._plan.budget,
            evaluations=settings.evaluations,
            target=dict(request.quality.target),
            declared=directions(declared_metrics(self._workload)),
            deadline=None if timeout is None else self._began + timeout,
            emit_progress=self._emit,
        )
        rate = LearningRate(
            self._workload,
            self._optimizer,
            settings,
            warmup_fraction=self._trial.warmup_fraction,
            total_steps=self._plan.total_steps,
        )
        draws = DrawCounter(self._plan.num_samples, self._ranks)
        synchronization = SynchronizationClock(self._ranks) if request.probes else None
        status, detail = Status.SUCCEEDED, None
        try:
            train(
                context,
                self._plan,
                self._source,
                gradient_step,
                self._optimizer,
                rate,
                draws,
                parameters=self._parameters,
                max_gradient_norm=settings.max_gradient_norm,
                synchronization=synchronization,
            )
        except Stopped as stopped:
            status, detail = stopped.status, stopped.detail
            context.clock.stop()
        self._power.stop()
        with self._timed("report"):
            epochs, rest = divmod(context.samples, self._plan.num_samples)
            draws.close(epochs + (rest > 0), complete=rest == 0)
            waits_s = None if synchronization is None else synchronization.waits_s()
            return self._report(context, draws, status, detail, waits_s)

    def _report(
        self,
        context: TrialContext,
        draws: DrawCounter,
        status: Status,
        detail: str | None,
        waits_s: NDArray[np.float64] | None,
    ) -> RankReport:
        ranks, device = self._ranks, self._ranks.device
        times = context.clock.step_times_s()
        own_weight = context.losses.own_weight
        least = ranks.smallest(own_weight)
        imbalance = ranks.largest(own_weight) / least if least > 0 else None
        self._check_replicas(with_buffers=True)
        own_times = None if waits_s is None else times - waits_s[: len(times)]
        throttled = self._power.detail(ranks)
        return RankReport(
            rank=ranks.rank,
            node=self._node,
            status=status,
            status_detail=detail or self._replicas.detail or throttled,
            epochs=context.samples / self._plan.num_samples,
            optimizer_steps=context.steps,
            samples=context.samples,
            tokens=self._tokens(context),
            train_time_s=context.clock.train_time_s,
            eval_time_s=sum(e.eval_time_s for e in context.evaluations),
            time_to_target_s=context.time_to_target_s,
            samples_to_target=context.samples_to_target,
            step_time_median_s=float(np.median(times)),
            step_time_p95_s=float(np.quantile(times, 0.95)),
            data_wait_s=sum(context.clock.data_wait_s),
            own_step_time_median_s=_median(own_times),
            exposed_communication_s=self._probed.exposed_communication_s,
            peak_memory_bytes=self._peak_memory_bytes(),
            device_memory_bytes=available_memory_bytes(device),
            energy_wh=self._power.energy_wh,
            evaluations=tuple(context.evaluations) if ranks.rank == 0 else (),
            best_epoch=context.best_epoch,
            steps=context.recorder.record(
                context.losses, times, context.clock.data_wait_s, waits_s
            ),
            eval_samples=context.eval_samples,
            expected_eval_samples=self._evaluator.num_samples,
            traces_comparable=self._probed.traces_comparable,
            gradient_error=self._probed.gradient_error,
            replica_divergence=self._replicas.divergence if self._request.probes else None,
            train_val_overlap=self._overlap,
            duplicate_samples=draws.duplicates,
            batch_imbalance=imbalance,
            other_load=self._other_load,
            device_type=device.type,
            device_name=device_name(device),
            physical_cores=usable_cores(),
            threads=torch.get_num_threads(),
            torch_version=torch.__version__,
            seconds=self.seconds,
        )

    def _tokens(self, context: TrialContext) -> int | None:
        """Tokens that counted, of all ranks: what a language model's losses are weighed by."""
        is_language = isinstance(self._workload.task, LanguageModel)
        return round(sum(context.losses.weights)) if is_language else None

    def _peak_memory_bytes(self) -> int | None:
        """Peak of set-up, training and evaluation; None where it cannot be read."""
        peaks = (self._build_peak_bytes, peak_memory_bytes(self._ranks.device))
        return max((peak for peak in peaks if peak is not None), default=None)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        self.seconds[part] = self.seconds.get(part, 0.0) + spent


def _median(values: NDArray[np.float64] | None) -> float | None:
    """None where nothing is known."""
    if values is None or np.isnan(values).all():
        return None
    return float(np.nanmedian(values))
