"""The sections of a sweep file that hold plain settings, with their defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ddp_sweep.spec.values import (
    AutoOrBool,
    AutoOrCount,
    AutoOrSize,
    AutoOrWarmup,
    Count,
    Margins,
    NonNegative,
    Numbers,
    OptionalNonNegative,
    OptionalPositive,
    OptionalSize,
    Positive,
    Size,
    Threshold,
)

__all__ = [
    "DataSettings",
    "DdpSettings",
    "QualitySettings",
    "ResourceSettings",
    "Section",
    "TrainingSettings",
]

OnOff = Annotated[bool, Field(description="true or false")]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, no conversion between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DdpSettings(Section):
    """Arguments handed to ``DistributedDataParallel``; null keeps PyTorch's own default."""

    bucket_cap_mb: OptionalPositive = None
    gradient_as_bucket_view: OnOff = False
    static_graph: OnOff = False
    find_unused_parameters: OnOff = False


class TrainingSettings(Section):
    """How a trial trains; any of these keys may be an axis of the sweep."""

    epochs: OptionalPositive = None
    """Passes over the training set; either this or ``samples`` is given."""
    samples: OptionalSize = None
    """Samples to train on."""
    learning_rate: Positive
    """The rate at ``reference_batch_size``, before scaling."""
    reference_batch_size: OptionalSize = 64
    """Global batch size at which ``learning_rate`` holds."""
    learning_rate_scaling: Annotated[
        Literal["none", "linear", "sqrt"], Field(description="none, linear or sqrt")
    ] = "linear"
    warmup_fraction: AutoOrWarmup = "auto"
    """Share of the optimizer steps; auto: 0.05 where the scaled rate exceeds the given one."""
    schedule: Annotated[Literal["constant", "cosine"], Field(description="constant or cosine")] = (
        "constant"
    )
    optimizer: Annotated[Literal["sgd", "adamw"], Field(description="sgd or adamw")] = "sgd"
    """Unless the workload builds its own; sgd has momentum 0.9."""
    weight_decay: NonNegative = 0.0
    max_gradient_norm: OptionalPositive = None
    precision: Annotated[
        Literal["float32", "bfloat16"], Field(description="float32 or bfloat16")
    ] = "float32"
    max_per_worker_batch_size: OptionalSize = None
    """A worker's share of a batch above this is split over several backward passes."""
    evaluations: Size = 10
    """Evaluations, evenly spaced over the samples of a trial."""
    record_every: Size = 1
    """Optimizer steps a row of the ``steps`` table."""
    compile: OnOff = False
    synchronized_batch_norm: OnOff = False
    ddp: DdpSettings = DdpSettings()


class DataSettings(Section):
    """How samples reach a worker."""

    loader_workers: AutoOrCount = "auto"
    evaluation_batch_size: AutoOrSize = "auto"
    pin_memory: AutoOrBool = "auto"


class QualitySettings(Section):
    """What a model must not lose by training faster."""

    target: Numbers = {}
    """Quality that ends the clock, by metric."""
    margins: Margins = {}
    """Largest acceptable loss by metric: absolute, or a share such as "2%"."""
    floors: Numbers = {}
    """Least acceptable value by metric; ``recall[1]`` is the recall of one class."""
    decision_threshold: Threshold = 0.5
    """Score from which a binary prediction is positive."""
    confirm_seeds: Count = 0
    """Fresh seeds for the winner and the quality reference after the sweep."""


class ResourceSettings(Section):
    """What the trials run on, and how long each may take."""

    device: Annotated[Literal["auto", "cpu", "gpu"], Field(description="auto, cpu or gpu")] = (
        "auto"
    )
    cpus_per_worker: Size = 1
    gpus_per_worker: Size = 1
    placement: Annotated[
        Literal["exclusive", "packed"], Field(description="exclusive or packed")
    ] = "exclusive"
    """exclusive: nothing else runs while a trial is timed."""
    max_workers: OptionalSize = None
    """What ``plan`` judges by without a cluster."""
    price_per_worker_hour: OptionalNonNegative = None
    start_timeout_s: Positive = 600.0
    stall_timeout_s: Positive = 600.0
    trial_timeout_s: OptionalPositive = None
    """Time from a trial's first step when it is given up; set-up and warm-up do not count."""
    checkpoint_every_s: OptionalPositive = None
    """Least time between two checkpoints, from which a trial goes on after a loss; null: none."""
    max_attempts: Size = 3
    placement_strategy: Annotated[
        Literal["pack", "spread"], Field(description="pack or spread")
    ] = "pack"
