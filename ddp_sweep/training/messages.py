"""What travels between the driver and a worker: requests there, reports back.

Everything here is plain data that can be pickled; nothing holds a tensor or a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddp_sweep.plan import Trial
from ddp_sweep.schema import Status
from ddp_sweep.spec import DataSettings, Json, QualitySettings

__all__ = ["Evaluation", "RankFailure", "RankReport", "StepRecord", "TrialRequest", "WorkerSetup"]


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """What a worker process needs once, before its first trial."""

    workload: str
    """``module:attribute`` or ``path/to/file.py:attribute``."""
    base_dir: Path | None
    """Folder that a relative path in ``workload`` starts from."""
    world_sizes: tuple[int, ...]
    """World sizes of the trials to come; a process group is made for each."""
    device_type: Literal["cpu", "cuda"]
    threads: int
    """Threads torch may use in this worker."""
    workload_options: tuple[Mapping[str, Json], ...] = ()
    """Options of the trials to come, each once; the workload is prepared for each."""


@dataclass(frozen=True, kw_only=True)
class TrialRequest:
    """One attempt at one trial, as every rank gets it."""

    trial: Trial
    attempt: int
    data: DataSettings
    quality: QualitySettings
    probes: bool = True
    trial_timeout_s: float | None = None
    checkpoint_every_s: float | None = None
    """Least time between two checkpoints; None for none."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation on the whole validation set; the same on every rank."""

    epoch: float
    optimizer_step: int
    samples: int
    train_time_s: float
    """Time of the training steps before this evaluation, of the slowest rank."""
    eval_time_s: float
    quality: dict[str, Any]
    """Quality columns of :mod:`ddp_sweep.schema`; a metric the task lacks is absent."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """Recorded intervals of optimizer steps on one rank; arrays of one length."""

    optimizer_step: NDArray[np.int64]
    """Steps done at the end of the interval, from 1."""
    samples: NDArray[np.int64]
    """Samples of all ranks at the end of the interval."""
    train_loss: NDArray[np.float64]
    """Loss of the global batches of the interval, each sample weighed the same."""
    step_time_s: NDArray[np.float64]
    """Mean time of a step of the interval on this rank."""
    data_wait_s: NDArray[np.float64]
    """Mean time a step of the interval waited for its samples on this rank."""
    communication_s: NDArray[np.float64]
    """Mean time a step of the interval waited on this rank, its own gradients done, for those of
    the others: communication that nothing hid, and slower ranks. NaN where not measured."""
    learning_rate: NDArray[np.float64]
    """Rate of the last step of the interval."""
    memory_bytes: NDArray[np.float64]
    """Memory of this rank at the end of the interval, NaN where it was not read."""


@dataclass(frozen=True, kw_only=True)
class RankReport:
    """What one rank measured in one attempt.

    Figures of the whole trial (loss, times, quality, integrity) are reduced over all ranks before
    they get here and are the same in every rank's report; memory and step times are the rank's.
    """

    rank: int
    node: str
    status: Status
    status_detail: str | None = None
    epochs: float | None = None
    optimizer_steps: int | None = None
    samples: int | None = None
    tokens: int | None = None
    """Targets of a language model that counted, of all samples trained on."""
    train_time_s: float | None = None
    eval_time_s: float | None = None
    time_to_target_s: float | None = None
    samples_to_target: int | None = None
    step_time_median_s: float | None = None
    step_time_p95_s: float | None = None
    data_wait_s: float | None = None
    """Time this rank waited for samples over all steps."""
    own_step_time_median_s: float | None = None
    """As ``step_time_median_s``, without the time a step waited for the other ranks: all ranks
    leave a synchronized step together, so that whole step times cannot tell who was slow."""
    exposed_communication_s: float | None = None
    """What synchronizing adds to a step that computes alone, timed before the training."""
    peak_memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    energy_wh: float | None = None
    """Of this rank's GPU, from the begin of the training until its end, without what was spent on
    steps that were lost."""
    evaluations: tuple[Evaluation, ...] = ()
    """Of rank 0; empty in the reports of other ranks."""
    best_epoch: float | None = None
    steps: StepRecord | None = None
    eval_samples: int | None = None
    expected_eval_samples: int | None = None
    traces_comparable: bool | None = None
    gradient_error: float | None = None
    replica_divergence: float | None = None
    train_val_overlap: int | None = None
    duplicate_samples: int | None = None
    batch_imbalance: float | None = None
    other_load: float | None = None
    device_type: str | None = None
    device_name: str | None = None
    physical_cores: int | None = None
    threads: int | None = None
    torch_version: str | None = None
    recycle_reason: str | None = None
    """Why this process should not run another trial; None where it may."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time of each part of the trial that is neither training nor evaluation."""


@dataclass(frozen=True, kw_only=True)
class RankFailure:
    """An exception that ended a trial on one rank."""

    rank: int
    status: Status
    detail: str
    """The message and the user's part of the traceback."""
