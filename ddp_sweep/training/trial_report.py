"""From the state of a training at its end to what one rank reports of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ddp_sweep.schema import Status
from ddp_sweep.training.context import TrialContext
from ddp_sweep.training.hardware import device_name
from ddp_sweep.training.host_load import usable_cores
from ddp_sweep.training.memory import available_memory_bytes
from ddp_sweep.training.messages import RankReport
from ddp_sweep.training.probes import ProbeResults
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.training_state import TrainingState
from ddp_sweep.training.trial_parts import TrialParts
from ddp_sweep.workload import LanguageModel, Workload

__all__ = ["BeforeTraining", "Ending", "rank_report"]


@dataclass(frozen=True, kw_only=True)
class BeforeTraining:
    """What was found out before the clock of a trial started; None is unknown."""

    probed: ProbeResults = field(default_factory=ProbeResults)
    train_val_overlap: int | None = None
    other_load: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a training ended."""

    status: Status = Status.SUCCEEDED
    detail: str | None = None


def rank_report(
    parts: TrialParts,
    training: TrainingState,
    before: BeforeTraining,
    ending: Ending,
    *,
    ranks: Ranks,
    node: str,
    has_probes: bool,
    remark: str | None,
    seconds: dict[str, float],
) -> RankReport:
    """What one rank measured; all ranks call it together.

    Args:
        parts: What the trial was made of.
        training: Its state at the end.
        before: What was found out before.
        ending: How it ended.
        ranks: The ranks of the trial.
        node: Name of the node of this rank.
        has_probes: Whether the trial was probed.
        remark: What there is to say of it where nothing else is.
        seconds: Time of each part that is neither training nor evaluation.
    """
    context, draws, replicas = training.context, training.draws, training.replicas
    epochs, rest = divmod(context.samples, parts.plan.num_samples)
    draws.close(epochs + (rest > 0), complete=rest == 0)
    waits = training.synchronization
    waits_s = None if waits is None else waits.waits_s()
    if has_probes:  # once more, for a trial that ended before its last evaluation
        replicas.check(with_buffers=True)
    training.peak.note()
    throttled = training.power.detail(ranks)
    times = context.clock.step_times_s()
    own_times = None if waits_s is None else times - waits_s[: len(times)]
    return RankReport(
        rank=ranks.rank,
        node=node,
        status=ending.status,
        status_detail=ending.detail or replicas.detail or remark or throttled,
        epochs=context.samples / parts.plan.num_samples,
        optimizer_steps=context.steps,
        samples=context.samples,
        tokens=_tokens(parts.workload, context),
        train_time_s=context.clock.train_time_s,
        eval_time_s=sum(e.eval_time_s for e in context.evaluations),
        time_to_target_s=context.time_to_target_s,
        samples_to_target=context.samples_to_target,
        step_time_median_s=float(np.median(times)),
        step_time_p95_s=float(np.quantile(times, 0.95)),
        data_wait_s=sum(context.clock.data_wait_s),
        own_step_time_median_s=_median(own_times),
        exposed_communication_s=before.probed.exposed_communication_s,
        peak_memory_bytes=training.peak.largest_bytes,
        device_memory_bytes=available_memory_bytes(ranks.device),
        energy_wh=training.power.energy_wh,
        evaluations=tuple(context.evaluations) if ranks.rank == 0 else (),
        best_epoch=context.best_epoch,
        steps=context.recorder.record(context.losses, times, context.clock.data_wait_s, waits_s),
        eval_samples=context.eval_samples,
        expected_eval_samples=parts.evaluator.num_samples,
        traces_comparable=before.probed.traces_comparable,
        gradient_error=before.probed.gradient_error,
        replica_divergence=replicas.divergence if has_probes else None,
        train_val_overlap=before.train_val_overlap,
        duplicate_samples=draws.duplicates,
        batch_imbalance=_imbalance(context.losses.own_weight, ranks),
        other_load=before.other_load,
        device_type=ranks.device.type,
        device_name=device_name(ranks.device),
        physical_cores=usable_cores(),
        threads=torch.get_num_threads(),
        torch_version=torch.__version__,
        seconds=seconds,
    )


def _imbalance(own_weight: float, ranks: Ranks) -> float | None:
    """Largest weight of a rank / smallest; None where a rank had none."""
    least = ranks.smallest(own_weight)
    most = ranks.largest(own_weight)
    return most / least if least > 0 else None


def _tokens(workload: Workload, context: TrialContext) -> int | None:
    """Tokens that counted, of all ranks: what a language model's losses are weighed by."""
    is_language = isinstance(workload.task, LanguageModel)
    return round(sum(context.losses.weights)) if is_language else None


def _median(values: NDArray[np.float64] | None) -> float | None:
    """None where nothing is known."""
    if values is None or np.isnan(values).all():
        return None
    return float(np.nanmedian(values))
