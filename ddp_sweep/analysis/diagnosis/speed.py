"""Why more workers are not as much faster as they are more, and what was left idle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ddp_sweep.analysis.diagnosis.step_shares import StepParts, step_parts
from ddp_sweep.analysis.diagnosis.subject import Found, Subject
from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.wording import count, ratio

__all__ = ["idle_cores", "low_speedup"]

_LOW_EFFICIENCY = 0.8
_FRACTIONS = ("communication_fraction", "data_wait_fraction")

_CAUSES = {
    "communication": (
        "exchanging gradients",
        "A larger batch a worker (or accumulation, training.max_per_worker_batch_size) makes "
        "exchanges rarer; a faster network makes them shorter.",
    ),
    "data_wait": (
        "waiting for data",
        "Raise data.loader_workers, or make the data set faster.",
    ),
    "stragglers": (
        "waiting for slower workers",
        "Look for other load, or for work that is dealt out unevenly.",
    ),
    "too_little_work": (
        "overhead of steps that are small for a worker",
        "Give each worker more samples a step: a larger global batch, or fewer workers.",
    ),
    "oversubscribed_cores": (
        "workers in each other's way on the same cores, caches and memory",
        "Use fewer workers on a machine, and no more than it has physical cores for.",
    ),
    "slower_computation": (
        "computation slower than the baseline's",
        "Compare the models of the devices and their clocks under load; what exchanging gradients "
        "takes from computation beside it is in this too, where it was not timed.",
    ),
}
"""Each cause, in words and with its remedy; shares of a step in evidence bear these names."""


class _Cores(StrEnum):
    """How the workers of a configuration share the cores of a machine."""

    OVERSUBSCRIBED = "oversubscribed"
    """More threads than cores."""
    SHARED = "shared"
    """More workers on a machine than the baseline has: caches and memory are shared as well."""
    OWN = "own"
    """As the baseline's do, or they compute on devices of their own."""


def low_speedup(subject: Subject) -> Found:
    """More workers that are much less faster than they are more, with the cause."""
    if not subject.measured.ours:
        return
    pace = np.exp(subject.mean(np.log(subject.seconds_a_sample)))
    base = subject.standing.baseline
    with np.errstate(divide="ignore", invalid="ignore"):
        speedup = pace[base] / pace
        efficiency = speedup / (subject.world_size / subject.world_size[base])
    low = (subject.world_size > subject.world_size[base]) & (efficiency < _LOW_EFFICIENCY)
    if not low.any():
        return
    alone = step_parts(subject, base)
    cores = _cores(subject)
    columns = {name: subject.mean(subject.column(name)) for name in _FRACTIONS}
    columns["slowest_over_others"] = subject.mean(subject.slowest_over_others)
    for position in np.flatnonzero(low):
        yield (
            int(position),
            _finding(
                subject,
                int(position),
                float(speedup[position]),
                alone,
                {name: float(values[position]) for name, values in columns.items()},
                _Cores(cores[position]),
            ),
        )


def _cores(subject: Subject) -> npt.NDArray[np.str_]:
    """How the workers of each configuration share cores."""
    on_cpu = subject.text("device_type") == "cpu"
    positions = np.arange(subject.measured.count)
    too_few = subject.positions(on_cpu & (subject.text("oversubscribed") == "True"))
    per_node = subject.world_size / subject.num_nodes
    more = per_node > per_node[subject.standing.baseline]
    shared = more & np.isin(positions, subject.positions(on_cpu))
    cores = np.where(shared, _Cores.SHARED.value, _Cores.OWN.value)
    return np.where(np.isin(positions, too_few), _Cores.OVERSUBSCRIBED.value, cores)


def _finding(
    subject: Subject,
    position: int,
    speedup: float,
    alone: StepParts | None,
    columns: Mapping[str, float],
    cores: _Cores,
) -> Finding:
    workers = subject.world_size[position] / subject.world_size[subject.standing.baseline]
    message = f"{ratio(speedup)}x as many samples a second with {workers:.3g}x the workers."
    evidence: dict[str, Any] = {
        "speedup": speedup,
        "efficiency": float(speedup / workers),
        "cause": None,
    }
    parts = step_parts(subject, position)
    shares: Mapping[str, float]
    if parts is not None:
        shares = _shares(parts, alone, cores)
        evidence |= {
            "step_time_s": parts.step_time_s,
            "explained_step_time_s": parts.explained_s,
        }
    else:
        shares = _shares_of_columns(columns)
    if shares:
        lost = {name: share for name, share in shares.items() if name in _CAUSES}
        cause = max(lost, key=lambda name: lost[name])
        evidence |= {"shares": dict(shares), "cause": cause}
        message += f" {_in_words(shares)}. {_CAUSES[cause][1]}"
    probed = columns["communication_fraction"]
    if not np.isnan(probed):
        evidence["communication_before_training"] = probed
    return Finding(kind="low_speedup", severity=Severity.INFO, message=message, evidence=evidence)


def _shares(parts: StepParts, alone: StepParts | None, cores: _Cores) -> dict[str, float]:
    """Parts of a step as shares of it.

    Computation counts as far as the baseline would have spent it on as many samples. What goes
    beyond is what exchanging gradients takes from computation, as far as that was timed; the rest
    is overhead that a smaller share of samples does not shrink; or, where a worker has as many
    samples as the baseline's or the cores are too few, workers in each other's way on the same
    cores, and slower computation where they have cores or devices of their own.
    """
    useful_s, beyond = parts.computation_s, "too_little_work"
    if alone is not None:
        each_s = alone.computation_s / alone.samples_per_worker
        useful_s = min(useful_s, each_s * parts.samples_per_worker)
        if cores is _Cores.OVERSUBSCRIBED:
            beyond = "oversubscribed_cores"
        elif parts.samples_per_worker >= alone.samples_per_worker:
            beyond = "slower_computation" if cores is _Cores.OWN else "oversubscribed_cores"
    beyond_s = parts.computation_s - useful_s
    hidden_s = np.nan_to_num(parts.synchronization_s - parts.communication_s)
    hidden_s = float(np.clip(hidden_s, 0.0, beyond_s))
    seconds = {
        "computation": useful_s,
        "communication": parts.communication_s + hidden_s,
        "data_wait": parts.data_wait_s,
        "stragglers": parts.stragglers_s,
        beyond: beyond_s - hidden_s,
    }
    return {name: value / parts.explained_s for name, value in seconds.items()}


def _shares_of_columns(columns: Mapping[str, float]) -> dict[str, float]:
    """What the trials table alone tells; empty where it does not tell enough."""
    communication, wait = (columns[name] for name in _FRACTIONS)
    lead = columns["slowest_over_others"]
    if np.isnan(communication + wait + lead):
        return {}
    behind = max(0.0, 1 - communication - wait) * (1 - 1 / lead)
    return {
        "computation": max(0.0, 1 - communication - wait - behind),
        "communication": communication,
        "data_wait": wait,
        "stragglers": behind,
    }


def _in_words(shares: Mapping[str, float]) -> str:
    lost = sorted(
        (name for name in shares if name in _CAUSES and shares[name] >= 0.01),
        key=lambda name: -shares[name],
    )
    said = [f"{100 * shares[name]:.0f} % {_CAUSES[name][0]}" for name in lost]
    useful = f"{100 * shares['computation']:.0f} % of a step is computation"
    return ", ".join([useful, *said])


def idle_cores(subject: Subject) -> Iterator[Finding]:
    """Cores that one worker could have had, so that part of a speedup is theirs."""
    cores, threads = subject.column("physical_cores"), subject.column("threads_per_worker")
    workers = subject.column("world_size")
    fewest = np.nanmin(workers)
    used = np.where(
        (workers == fewest) & (subject.text("device_type") == "cpu"), workers * threads, np.nan
    )
    if np.isnan(used + cores).all() or np.nanmax(used) >= np.nanmax(cores):
        return
    most, had = int(np.nanmax(cores)), int(np.nanmax(used))
    had_each, could_have = had // int(fewest), most // int(fewest)
    if could_have <= had_each:
        return  # the rest does not divide among the workers
    who = count(int(fewest), "worker")
    yield Finding(
        kind="idle_cores",
        severity=Severity.INFO,
        message=(
            f"{who} on all {most} cores was not measured: the smallest configuration used {had}. "
            "It may be faster than it looks here, and speedups smaller; run it with "
            f"resources.cpus_per_worker: {could_have} to see."
        ),
        evidence={"cores": most, "used": had, "world_size": int(fewest)},
    )
