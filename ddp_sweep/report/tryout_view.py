"""What a try-out showed, in words: shapes, sizes, speed, whether the loss falls."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddp_sweep.report.durations import duration
from ddp_sweep.schema import Status
from ddp_sweep.training.tried import TensorFacts, Tryout

__all__ = ["LossChange", "Trend", "TryoutView", "loss_change", "print_tryout", "view_tryout"]

_SHOWN_METRICS = (
    "accuracy",
    "recall",
    "precision",
    "auroc",
    "average_precision",
    "perplexity",
    "rmse",
    "mae",
    "r2",
    "val_loss",
)
_MUCH_WAITING = 0.3


class Trend(StrEnum):
    """Where the training loss goes over the few steps."""

    DOWN = "going down"
    UP = "going up"
    FLAT = "not clearly going down"
    UNKNOWN = "not known"


@dataclass(frozen=True, kw_only=True)
class TryoutView:
    """Everything that is printed."""

    heading: str
    rows: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    works: bool
    """Whether it ran to its end with a loss that is a number."""
    conclusion: str


@dataclass(frozen=True)
class LossChange:
    """Mean training losses of the first and of the last steps, and where they go."""

    trend: Trend
    first: float = math.nan
    last: float = math.nan
    steps: int = 0
    """Steps that each of the means is of."""


def loss_change(losses: Sequence[float]) -> LossChange:
    """Compare the mean of the last third of the losses with that of the first.

    A change counts from twice its standard error, by how much the losses scatter.

    Examples:
        >>> loss_change([2.3, 2.2, 2.1, 1.9, 1.8, 1.6]).trend
        <Trend.DOWN: 'going down'>
        >>> loss_change([2.3, 2.1, 2.4, 2.2, 2.3, 2.2]).trend
        <Trend.FLAT: 'not clearly going down'>
    """
    third = len(losses) // 3
    if third < 2 or not all(map(math.isfinite, losses)):
        return LossChange(Trend.UNKNOWN)
    first, last = losses[:third], losses[-third:]
    begin, end = statistics.fmean(first), statistics.fmean(last)
    scatter = math.sqrt((statistics.variance(first) + statistics.variance(last)) / third)
    trend = Trend.FLAT
    if abs(end - begin) > 2 * scatter:
        trend = Trend.DOWN if end < begin else Trend.UP
    return LossChange(trend, begin, end, third)


def view_tryout(tried: Tryout, sweep_file: str) -> TryoutView:
    """The info object behind the printed page.

    Args:
        tried: What was found.
        sweep_file: As the user named it, for the next command.
    """
    report = tried.report
    works = report.status is Status.SUCCEEDED
    conclusion = f"It runs. Next: ddp-sweep plan {sweep_file}"
    if not works:
        conclusion = f"It did not get to its end: {report.status_detail}"
    return TryoutView(
        heading=_heading(tried),
        rows=tuple(_rows(tried)),
        warnings=(*_own_warnings(tried), *tried.warnings),
        works=works,
        conclusion=conclusion,
    )


def print_tryout(tried: Tryout, sweep_file: str, console: Console) -> None:
    """Print the page; text of the user's is never taken for markup."""
    view = view_tryout(tried, sweep_file)
    console.print(Text(view.heading, style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, text in view.rows:
        table.add_row(Text(label, style="dim"), Text(text))
    console.print(table)
    for warning in view.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    style = "bold green" if view.works else "bold red"
    console.print(Text(view.conclusion, style=style), soft_wrap=True)


def _heading(tried: Tryout) -> str:
    trial, planned = tried.trial, tried.planned
    steps = tried.report.optimizer_steps or 0
    stands_for = "the smallest" if tried.cells > 1 else "the one"
    note = "" if planned.world_size == 1 else f", one worker's share of {planned.world_size}"
    return (
        f"{stands_for} of {tried.cells} configurations: 1 worker x {trial.global_batch_size}"
        f"{note}; {steps} steps and an evaluation in {duration(tried.seconds)}"
    ).capitalize()


def _rows(tried: Tryout) -> Iterator[tuple[str, str]]:
    report = tried.report
    yield "task", tried.task
    yield (
        "data",
        f"{tried.train_samples:,} samples to train on, {tried.validation_samples:,} to validate",
    )
    yield from tried.described.items()
    yield from ((tensor.name, _shape(tensor)) for tensor in tried.tensors)
    trained = tried.trainable_parameters
    share = "all trained" if trained == tried.parameters else f"{trained:,} of them trained"
    yield "parameters", f"{tried.parameters:,}, {share}"
    yield "memory", _memory(tried)
    yield "speed", _speed(tried)
    yield "loss", _loss(tried)
    if report.evaluations:
        yield "validation", _validation(tried)
    if report.traces_comparable is False:
        yield (
            "randomness",
            "batch norm, dropout or the like: losses of 1 and 2 workers will differ a little, "
            "and that is no fault",
        )


def _shape(tensor: TensorFacts) -> str:
    return f"{list(tensor.shape)} {tensor.dtype}"


def _memory(tried: Tryout) -> str:
    report = tried.report
    if report.peak_memory_bytes is None:
        return "not known"
    gib = report.peak_memory_bytes / 2**30
    what = "at most, Python and PyTorch included"
    if report.device_type == "cuda" and report.device_memory_bytes:
        what = f"at most, of {report.device_memory_bytes / 2**30:.0f} GiB"
    return f"{gib:.2f} GiB {what}"


def _speed(tried: Tryout) -> str:
    step_s = tried.report.step_time_median_s
    if not step_s or math.isnan(step_s):
        return "not known"
    rate = tried.trial.global_batch_size / step_s
    epoch_s = tried.train_samples / rate
    device = tried.report.device_name or "CPU"
    return (
        f"{_seconds(step_s)} a step, {rate:,.0f} samples/s on {device}; predicted for an epoch on "
        f"one worker: {duration(epoch_s)}"
    )


def _loss(tried: Tryout) -> str:
    losses = tried.losses
    if not losses:
        return "not known"
    change = loss_change(losses)
    if change.trend is Trend.UNKNOWN:
        return f"{change.trend}: {losses[0]:.4g} at first, {losses[-1]:.4g} at step {len(losses)}"
    return (
        f"{change.trend}: on average {_close(change.first, change.last)} in the first "
        f"{change.steps} steps, {_close(change.last, change.first)} in the last {change.steps} "
        f"of {len(losses)}"
    )


def _close(value: float, other: float) -> str:
    """Four digits, or all where four would show two different values as the same."""
    same = value != other and f"{value:.4g}" == f"{other:.4g}"
    return f"{value!r}" if same else f"{value:.4g}"


def _validation(tried: Tryout) -> str:
    quality = tried.report.evaluations[-1].quality
    shown = [
        f"{name.replace('_', ' ')} {quality[name]:.3g}"
        for name in (*_SHOWN_METRICS, *(n for n in quality if n.startswith("metric_")))
        if isinstance(quality.get(name), float)
    ]
    evaluated = tried.report.eval_samples or 0
    part = "" if evaluated == tried.validation_samples else f" (on {evaluated:,} of the samples)"
    return f"{', '.join(shown)}{part}"


def _own_warnings(tried: Tryout) -> Iterator[str]:
    report, trend = tried.report, loss_change(tried.losses).trend
    rate = tried.trial.learning_rate
    if report.status is Status.DIVERGED:
        yield f"a loss is no finite number; try a smaller learning rate than {rate:g}"
    elif trend is Trend.UP:
        yield (
            f"the loss goes up: the learning rate ({rate:g}) may be too large, or the loss has "
            "the wrong sign"
        )
    elif trend is Trend.FLAT:
        yield (
            f"the loss does not clearly go down in {len(tried.losses)} steps: that may be too "
            f"few, or the learning rate ({rate:g}) does not suit, or inputs and labels do not "
            "belong together"
        )
    steps, waited = report.optimizer_steps or 0, report.data_wait_s or 0.0
    busy = report.train_time_s or 0.0
    if steps and busy and waited / busy > _MUCH_WAITING:
        yield (
            f"{waited / busy:.0%} of the training time was waiting for samples: load faster, keep "
            "the data in memory as a TensorDataset, or set data.loader_workers"
        )
    if report.train_val_overlap:
        yield (
            f"{report.train_val_overlap:,} of {report.eval_samples or tried.validation_samples:,} "
            "validation samples are training samples as well: validation flatters the model; "
            "remove them from one of the two sets"
        )
    if tried.trainable_parameters == 0:
        yield "no parameter of the model is trained"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
