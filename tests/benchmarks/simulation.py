"""Simulated sweeps whose truth is known, for benchmarks of the verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__found_ = ["PAIRINGS", "Floats", "Report", "averaged", "noise", "trials"]

Floats = npt.NDArray[np.float64]

RUNS_AT_ONCE = 400_000
SKEW = 0.5
"""Standard deviation of the logarithm of a skewed value."""
PAIRINGS: Mapping[str, float | None] = {"paired r=0": 0, "r=.5": 0.5, "r=.9": 0.9, "Welch": None}


class Report:
    """Prints one figure a line and counts the misses."""

    def __init__(self) -> None:
        self.missed = 0

    def heading(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def figure(
        self, label: str, value: float, low: float | None = None, high: float | None = None
    ) -> None:
        """A figure beside its bounds."""
        bounds = "" if low is None and high is None else f"  [{low or 0:g}, {high or 1:g}]"
        kept = (low is None or value >= low) and (high is None or value <= high)
        self.missed += not kept
        print(f"  {label:58s} {value:7.4f}{bounds}{'' if kept else '  MISSED'}", flush=True)


def noise(
    generator: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    correlation: float | None,
    skewed: bool,
) -> Floats:
    """Mean 0, standard deviation 1; [sweeps, configurations, seeds], correlated within a seed."""
    own = generator.normal(size=shape)
    if correlation:
        shared = generator.normal(size=(shape[0], 1, shape[2]))
        own = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    if not skewed:
        return own
    variance = np.exp(SKEW**2) * (np.exp(SKEW**2) - 1)
    return (np.exp(SKEW * own) - np.exp(SKEW**2 / 2)) / np.sqrt(variance)


def trials(
    values: Mapping[str, Floats], *, paired: bool = True, first_seed: int = 0, session: str = "1"
) -> pd.DataFrame:
    """One row a run; configuration k has 2^k workers.

    Args:
        values: Columns; shape [sweeps, configurations, seeds], NaN for a run that was not made.
        paired: Whether the seeds and blocks of all configurations are the same.
        first_seed: Seeds are numbered from here.
        session: The session that made the runs.
    """
    shape = next(iter(values.values())).shape
    sweep, configuration, seed = (axis.ravel() for axis in np.indices(shape))
    seed = first_seed + seed + (0 if paired else 10_000 * configuration)
    frame = pd.DataFrame(
        {
            "sweep": sweep,
            "configuration_id": configuration,
            "trial_id": configuration * 1_000_000 + seed,
            "attempt": 1,
            "status": "succeeded",
            "world_size": 1 + configuration,
            "global_batch_size": 64,
            "num_nodes": 1,
            "seed": seed,
            "block": seed,
            "session_id": session,
        }
    )
    frame = frame.assign(**{name: column.ravel() for name, column in values.items()})
    return frame.dropna(subset=list(values))


_cells = itertools.count()


def chunks(repetitions: int, runs: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Numbers of sweeps that fit into memory, each with a generator of its own."""
    cell = next(_cells)
    size = max(1, min(repetitions, RUNS_AT_ONCE // runs))
    for start in range(0, repetitions, size):
        yield min(size, repetitions - start), np.random.default_rng([cell, start])


def averaged(cell: Callable[[int, np.random.Generator], Mapping[str, Any]], **size: int) -> Any:
    """Mean of each figure over all chunks: of every sweep that has it."""
    parts: dict[str, list[Floats]] = {}
    for count, generator in chunks(**size):
        for name, values in cell(count, generator).items():
            parts.setdefault(name, []).append(np.asarray(values, dtype=np.float64))
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return {name: float(found.mean()) if len(found) else np.nan for name, found in whole.items()}
