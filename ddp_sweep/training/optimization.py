"""Optimizers and the learning rate of each step."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import TrainingSettings
from ddp_sweep.training.states import State, content_of, state_in
from ddp_sweep.training.step_checks import listed
from ddp_sweep.workload import Workload

__all__ = [
    "LearningRate",
    "build_optimizer",
    "build_scheduler",
    "check_resumable",
    "rate_factor",
]

_MOMENTUM = 0.9


def build_optimizer(
    workload: Workload, model: nn.Module, settings: TrainingSettings, learning_rate: float
) -> Optimizer:
    """The workload's own optimizer, or SGD with momentum 0.9, or AdamW.

    Raises:
        WorkloadError: ``build_optimizer`` returned something else, or nothing can be trained.
    """
    own = getattr(workload, "build_optimizer", None)
    if own is not None:
        optimizer = own(model, learning_rate)
        if not isinstance(optimizer, Optimizer):
            raise WorkloadError(
                f"build_optimizer: expected a torch.optim.Optimizer, got an object of type "
                f"{type(optimizer).__name__}"
            )
        _check_parameters(optimizer, model)
        return optimizer
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise WorkloadError("build_model: no parameter of the model requires a gradient")
    options: dict[str, Any] = {"lr": learning_rate, "weight_decay": settings.weight_decay}
    # One kernel for all parameters instead of several for each.
    options["fused"] = all(p.is_floating_point() for p in parameters)
    if settings.optimizer == "adamw":
        return AdamW(parameters, **options)
    return SGD(parameters, momentum=_MOMENTUM, **options)


def _check_parameters(optimizer: Optimizer, model: nn.Module) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if left_out:
        raise WorkloadError(
            f"build_optimizer: the optimizer lacks {len(left_out)} of the model's trainable "
            f"parameters ({listed(left_out)}); give it all of them, or freeze those with "
            "requires_grad_(False) in build_model"
        )
    if held - {id(p) for p in model.parameters()}:
        raise WorkloadError(
            "build_optimizer: the optimizer holds parameters that are not of the model it was "
            "given; take them from the argument `model`"
        )


def build_scheduler(workload: Workload, optimizer: Optimizer, total_steps: int) -> Any:  # noqa: ANN401
    """The workload's own scheduler, whose ``step()`` is called after every step; None without.

    Raises:
        WorkloadError: ``build_scheduler`` returned something else.
    """
    own = getattr(workload, "build_scheduler", None)
    if own is None:
        return None
    scheduler = own(optimizer, total_steps)
    if not callable(getattr(scheduler, "step", None)):
        raise WorkloadError(
            f"build_scheduler: expected a torch.optim.lr_scheduler.LRScheduler, got an object of "
            f"type {type(scheduler).__name__}"
        )
    return scheduler


def check_resumable(optimizer: Optimizer, scheduler: Any) -> None:  # noqa: ANN401 - or None
    """Refuse an optimizer or a scheduler whose state cannot be kept in a checkpoint.

    Args:
        optimizer: Best after a step, which makes its state.
        scheduler: What ``build_scheduler`` returned; None without one.

    Raises:
        WorkloadError: It has no state to be kept, or one of other things than tensors and plain
            values.
    """
    for member, keeper in (("build_optimizer", optimizer), ("build_scheduler", scheduler)):
        lacking = [
            name
            for name in ("state_dict", "load_state_dict")
            if keeper is not None and not callable(getattr(keeper, name, None))
        ]
        if lacking:
            raise WorkloadError(
                f"{member}: {type(keeper).__name__} has no {' and no '.join(lacking)}, without "
                "which resources.checkpoint_every_s cannot go on from where a trial was; give it "
                "state_dict() and load_state_dict(state), or set checkpoint_every_s: null"
            )
        try:
            state_in(content_of({} if keeper is None else keeper.state_dict()))
        except Exception as error:
            said = str(error).strip().partition("\n")[0]
            raise WorkloadError(
                f"{member}: the state_dict of {type(keeper).__name__} cannot be kept for "
                f"resources.checkpoint_every_s ({said}); make it of tensors, numbers, texts, "
                "lists and dictionaries, or set checkpoint_every_s: null"
            ) from error


def rate_factor(step: int, total_steps: int, warmup_steps: int, schedule: str) -> float:
    """What the learning rate of a step (from 0) is multiplied by.

    Rises linearly over the warm-up (Goyal et al. 2017, arXiv:1706.02677, section 2.2), then stays
    (``constant``) or falls to 0 along half a cosine (Loshchilov and Hutter 2017,
    arXiv:1608.03983, equation 5).

    >>> [rate_factor(step, 8, 2, "constant") for step in range(3)]
    [0.5, 1.0, 1.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


class LearningRate:
    """Sets the rate of every step; the workload's own scheduler where it builds one."""

    def __init__(
        self,
        workload: Workload,
        optimizer: Optimizer,
        settings: TrainingSettings,
        *,
        warmup_fraction: float,
        total_steps: int,
    ) -> None:
        self._optimizer = optimizer
        self._base = [float(group["lr"]) for group in optimizer.param_groups]
        self._total_steps = total_steps
        self._warmup_steps = round(warmup_fraction * total_steps)
        self._schedule = settings.schedule
        self._factor = 1.0
        self._scheduler = build_scheduler(workload, optimizer, total_steps)
        self.before_step(0)

    @property
    def value(self) -> float:
        """Rate of the first parameter group."""
        return float(self._optimizer.param_groups[0]["lr"])

    def before_step(self, step: int) -> None:
        """Set the rate of a step, counted from 0."""
        if self._scheduler is not None:
            return
        factor = rate_factor(step, self._total_steps, self._warmup_steps, self._schedule)
        if factor != self._factor:
            self._factor = factor
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * factor

    def after_step(self) -> None:
        """Tell the workload's own scheduler that a step is done."""
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> State:
        """What the rates to come depend on, beside the number of the step."""
        own = None if self._scheduler is None else self._scheduler.state_dict()
        return {"factor": self._factor, "scheduler": own}

    def load_state_dict(self, state: State) -> None:
        """Go on from the state of another; the optimizer must have been given its own before."""
        self._factor = state["factor"]
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
