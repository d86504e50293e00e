"""What the live view of a sweep says, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ddp_sweep.live import FailureGroup, SweepOverview
from ddp_sweep.live.overview import RunningTrial
from ddp_sweep.live.wording import STATUS_WORDS, clock_text, duration_text, progress_text
from ddp_sweep.report.front_runner import FrontRunner, Quality
from ddp_sweep.report.live_grid import GridView, view_grid
from ddp_sweep.shown_text import harmless

__all__ = ["LiveView", "view_live"]

_MOST_FAILURES = 4
_MOST_RUNNING = 4


@dataclass(frozen=True, kw_only=True)
class LiveView:
    """Everything that is shown of a running sweep."""

    heading: str
    """Name, and how many trials are done."""
    done: float
    """Trials, the running one by its share."""
    planned: int | None
    """None while that is not known."""
    time: str
    """Since the run began, and how much is left."""
    grid: GridView | None
    now: tuple[str, ...]
    """What runs, a line each."""
    front: str | None
    """Who is ahead."""
    front_quality: Quality | None
    failures: tuple[str, ...]


def view_live(
    overview: SweepOverview, front: FrontRunner | None, grid: GridView | None = None
) -> LiveView:
    """The info object behind the live view, and behind ``status``.

    Args:
        overview: Where the sweep stands.
        front: Who is ahead, where that is known.
        grid: Of the same cells and front runner, where it is there already.
    """
    fractions = [one.progress.fraction for one in overview.running if one.progress]
    if grid is None and overview.cells:
        outcomes = {} if front is None else front.cells
        grid = view_grid(overview.cells, overview.batch_axis, outcomes)
    return LiveView(
        heading=_heading(overview),
        done=overview.done + sum(min(one or 0.0, 1.0) for one in fractions),
        planned=overview.planned,
        time=_time(overview),
        grid=grid,
        now=tuple(_now(overview)),
        # At the end the ranking follows, which says more.
        front=None if front is None or overview.stage == "ended" else _front(front),
        front_quality=None if front is None else front.quality,
        failures=tuple(_failures(overview.failures)),
    )


def _heading(overview: SweepOverview) -> str:
    if overview.planned is None:
        return overview.sweep
    return f"{overview.sweep}: {overview.done} of {overview.planned} trials"


def _time(overview: SweepOverview) -> str:
    parts = [] if overview.elapsed_s is None else [clock_text(overview.elapsed_s)]
    left_s = overview.time_left_s
    if overview.stage != "ended" and overview.left != 0:
        unknown = "time left not yet known"
        parts.append(unknown if left_s is None else f"about {duration_text(left_s)} left")
    return ", ".join(parts)


def _now(overview: SweepOverview) -> Iterator[str]:
    if not overview.running:
        if overview.left == 0 and overview.stage == "running":
            yield "letting the workers go"
        elif overview.stage in _IDLE:
            yield _IDLE[overview.stage]
        return
    shown = overview.running[:_MOST_RUNNING]
    texts = [_running(one) for one in shown]
    if len(shown) < len(overview.running):
        texts[-1] += f"; and {len(overview.running) - len(shown)} more"
    if overview.stage == "stopping":
        what = "it" if len(overview.running) == 1 else "these"
        texts[-1] += f"; stopping after {what}, Ctrl-C again stops at once"
    yield from texts


def _running(one: RunningTrial) -> str:
    trial = one.trial
    again = f" (attempt {one.attempt})" if one.attempt > 1 else ""
    return f"{trial.name}, seed {trial.seed}{again}: {progress_text(trial, one.progress)}"


_IDLE = {
    "connecting": "connecting to the cluster",
    "starting workers": "starting workers",
    "running": "between two trials",
    "stopping": "stopping",
}


def _front(front: FrontRunner) -> str:
    trials = f"{front.trials} trial" + ("" if front.trials == 1 else "s")
    after = f"(after {trials})"
    if front.is_baseline:
        return f"{front.name}, the baseline: none shown to be faster yet {after}"
    speedup = "speed unknown" if front.speedup is None else f"{front.speedup:.2f}x"
    if front.speedup_low is not None and front.speedup_high is not None:
        speedup += f" [{front.speedup_low:.2f}, {front.speedup_high:.2f}]"
    quality = front.quality.value
    if front.quality is Quality.UNKNOWN:
        quality = f"quality {quality}"
    return f"{front.name}: {speedup} against {front.baseline}, {quality} {after}"


def _failures(groups: Sequence[FailureGroup]) -> Iterator[str]:
    for group in groups[:_MOST_FAILURES]:
        text = f"{group.configuration}: {STATUS_WORDS[group.status]}"
        text += f" in {group.count} of {group.of} trials"
        yield f"{text} ({harmless(group.cause)})" if group.cause else text
    if len(groups) > _MOST_FAILURES:
        yield f"... and {len(groups) - _MOST_FAILURES} more"
