"""Try a workload in this process: one worker, a few steps, an evaluation; no Ray."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ddp_sweep.errors import CapacityError, SpecError, WorkloadError
from ddp_sweep.plan import Plan, Trial
from ddp_sweep.plan.margins import too_fine_margins
from ddp_sweep.spec import Json, ResourceSettings, SweepSpec
from ddp_sweep.training.host_load import HostLoadMeter
from ddp_sweep.training.inspection import Inspected, WorkloadFacts
from ddp_sweep.training.isolation import ProcessState
from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.trial import RankTrial
from ddp_sweep.training.tried import Tryout
from ddp_sweep.training.watching import Watch
from ddp_sweep.workload import (
    Binary,
    LanguageModel,
    Multiclass,
    Task,
    WorkloadFactory,
    class_names,
    user_traceback,
)

__all__ = ["STEPS", "choose_trial", "fine_margin_warnings", "has_gpu_for", "try_device", "try_out"]

STEPS = 20
"""Optimizer steps of a try-out."""
_MOST_EVALUATED = 2_000
_MOST_NAMED = 10
_TRAINING = "training and evaluating"


def choose_trial(plan: Plan, spec: SweepSpec) -> Trial:
    """The smallest trial of a plan: fewest workers, then smallest batch.

    Raises:
        SpecError: None can run; says why.
    """
    if not plan.trials:
        reason = plan.infeasible[0].reason
        raise SpecError([spec.problem(("sweep",), f"none of these trials can run: {reason}")])
    return min(
        plan.trials,
        key=lambda trial: (trial.world_size, trial.global_batch_size, trial.configuration_id),
    )


def try_device(resources: ResourceSettings) -> torch.device:
    """The device that one worker of the sweep would use on this machine.

    Raises:
        CapacityError: A GPU is asked for and this machine has none.
    """
    if resources.device == "gpu" and not torch.cuda.is_available():
        raise CapacityError(
            "resources.device: gpu, and this machine has none that PyTorch can use; try on one "
            "that has, or change the file for now: device: cpu"
        )
    return torch.device("cuda", 0) if has_gpu_for(resources) else torch.device("cpu")


def has_gpu_for(resources: ResourceSettings) -> bool:
    """Whether a worker of the sweep would use a GPU of this machine."""
    return resources.device != "cpu" and torch.cuda.is_available()


def try_out(
    spec: SweepSpec,
    factory: WorkloadFactory,
    plan_for: Callable[[Callable[[Mapping[str, Json]], int]], Plan],
    *,
    say: Callable[[str], None],
    find_nan: bool = False,
) -> Tryout:
    """Run a few steps and an evaluation of the smallest trial, with one worker.

    The workload is looked over first, as before a sweep, so most faults are found within a moment.

    Args:
        spec: The sweep file.
        factory: Makes the workload; its path options know where they start.
        plan_for: Makes the plan from a function that gives the training samples for options.
        say: Gets a word at each stage.
        find_nan: Let PyTorch name the operation whose gradient became NaN; slow.

    Raises:
        CapacityError: A GPU is asked for and there is none.
        SpecError: No trial of the sweep can run, or it asks for what the workload lacks.
        WorkloadError: The workload raised, or returned something else than it should.
    """
    began = time.perf_counter()
    device = try_device(spec.resources)
    watch = Watch(factory)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        say("looking at the workload")
        inspected = Inspected(spec, watch)
        plan = plan_for(lambda options: inspected(options).train_samples)
        planned = choose_trial(plan, spec)
        facts = inspected(planned.workload_options)
        watch.most_validation_samples = _MOST_EVALUATED
        trial = _shortened(planned, facts.train_samples)
        threads = spec.resources.cpus_per_worker
        with _one_worker(device, threads), torch.autograd.set_detect_anomaly(find_nan):
            report = _run(spec, trial, watch, device, say)
    sizes = [(p.numel(), p.requires_grad) for p in watch.parameters()]
    return Tryout(
        trial=trial,
        planned=planned,
        cells=len({one.configuration_id for one in plan.trials}),
        task=_in_words(facts.task),
        train_samples=facts.train_samples,
        validation_samples=facts.validation_samples,
        tensors=watch.tensors,
        parameters=sum(size for size, _ in sizes),
        trainable_parameters=sum(size for size, trained in sizes if trained),
        report=report,
        described=watch.described(),
        seconds=time.perf_counter() - began,
        warnings=(
            *dict.fromkeys(str(one.message) for one in caught),
            *fine_margin_warnings(spec, facts),
        ),
    )


def fine_margin_warnings(spec: SweepSpec, facts: WorkloadFacts) -> list[str]:
    """Margins of the sweep file that one or two of the validation samples decide."""
    task = facts.task
    return list(
        too_fine_margins(
            spec.quality.margins,
            validation_samples=facts.validation_samples,
            class_counts=facts.validation_class_counts,
            positive=task.positive if isinstance(task, Binary) else None,
        )
    )


def _shortened(planned: Trial, train_samples: int) -> Trial:
    """One worker's share of a trial, for a few steps, evaluated once at their end."""
    settings = planned.training
    batch = planned.per_worker_batch_size * planned.accumulation_steps
    budget = settings.samples or round((settings.epochs or 0) * train_samples)
    few = {
        "epochs": None,
        "samples": max(1, min(STEPS * batch, budget)),
        "evaluations": 1,
        "record_every": 1,
    }
    return replace(
        planned,
        world_size=1,
        global_batch_size=batch,
        training=settings.model_copy(update=few),
    )


def _run(
    spec: SweepSpec,
    trial: Trial,
    factory: WorkloadFactory,
    device: torch.device,
    say: Callable[[str], None],
) -> RankReport:
    request = TrialRequest(
        trial=trial, attempt=1, data=spec.data, quality=spec.quality, probes=spec.probes
    )
    stages: list[str] = []

    def emit(progress: dict[str, Any]) -> None:
        # Evaluation tells of itself only when it lasts, so it is no stage of its own.
        stage = progress.get("stage", _TRAINING)
        stage = _TRAINING if stage == "evaluating" else str(stage)
        if stage not in stages:
            stages.append(stage)
            say(stage)

    try:
        return RankTrial(
            request,
            factory,
            Ranks(0, 1, device),
            node=socket.gethostname(),
            load_meter=HostLoadMeter([os.getpid()]),
            emit_progress=emit,
        ).run()
    except WorkloadError:
        raise
    except Exception as error:
        during = stages[-1] if stages else "building"
        raise WorkloadError(
            f"while {during}{_memory_hint(error, trial)}:\n{user_traceback(error)}"
        ) from error


def _memory_hint(error: Exception, trial: Trial) -> str:
    if not isinstance(error, torch.OutOfMemoryError | MemoryError):
        return ""
    return (
        f", out of memory at {trial.per_worker_batch_size} samples a backward pass (a smaller "
        "batch, or training.max_per_worker_batch_size, needs less)"
    )


@contextmanager
def _one_worker(device: torch.device, threads: int) -> Iterator[None]:
    """The settings of a worker process, put back afterwards."""
    state = ProcessState(device)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        state.restore()


def _in_words(task: Task) -> str:
    names = class_names(task)
    if isinstance(task, Binary):
        assert names is not None
        return f"binary, the positive class is {names[task.positive]}{_numbered(names)}"
    if isinstance(task, Multiclass):
        return f"multiclass, {task.num_classes} classes{_numbered(names or [])}"
    return "language model" if isinstance(task, LanguageModel) else "regression"


def _numbered(names: Sequence[str]) -> str:
    """Names beside the numbers that floors and margins may use as well, where they differ."""
    if list(names) == list(map(str, range(len(names)))):
        return ""
    shown = [f"{number} = {name}" for number, name in enumerate(names[:_MOST_NAMED])]
    return f" ({', '.join(shown)}{', ...' if len(names) > _MOST_NAMED else ''})"
