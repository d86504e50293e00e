"""The two configurations that others are measured against: one for quality, one for speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.analysis.names import name_configurations
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.statistics.estimation import Booleans, Integers
from ddp_sweep.analysis.statistics.speedup import speedups
from ddp_sweep.analysis.tables.measurements import Ending, Measurements
from ddp_sweep.analysis.verdicts.verdict import Judgements
from ddp_sweep.analysis.wording import read_parameters
from ddp_sweep.errors import TableError

__all__ = ["fastest_of_smallest", "quality_references", "same_sizes", "speed_baselines"]


def quality_references(
    measured: Measurements, options: RankingOptions, sweep: Integers
) -> Integers:
    """The configuration whose quality must not be lost; fixed before anything was measured.

    The named baseline; else, of the smallest world size, the batch nearest (as a ratio) to
    ``reference_batch_size``; else its smallest batch. What could not even start is passed over.

    Args:
        measured: The runs.
        options: May name one.
        sweep: The sweep of each configuration, 0 and up; shape [configurations].

    Returns:
        The reference of each configuration, shared by those of a sweep; shape [configurations].

    Raises:
        TableError: No configuration has the settings that were named, or none could start.
    """
    able = measured.tally(*(ending for ending in Ending if ending is not Ending.BROKEN)) > 0
    if not _each_sweep_has(able, sweep):
        raise TableError("no configuration could run, so there is nothing to rank")
    if options.baseline is not None:
        able &= _named(measured.settings, options.baseline)
        if not _each_sweep_has(able, sweep):
            names = name_configurations(measured.settings.iloc[:20])
            raise TableError(
                f"no configuration that could run has {dict(options.baseline)}; "
                f"there are: {'; '.join(names)}"
            )
    sizes = measured.settings["world_size"].to_numpy(np.float64)
    batches = measured.settings["global_batch_size"].to_numpy(np.float64, na_value=np.inf)
    distance = batches
    if options.reference_batch_size is not None:
        distance = np.abs(np.log(batches / options.reference_batch_size))
    # Where several are equally near, the first in the order of settings.
    return _first(sweep, [~able, sizes, distance])


def speed_baselines(
    measured: Measurements,
    options: RankingOptions,
    reference: Integers,
    judgements: Judgements,
    *,
    judged_quality: bool,
) -> Integers:
    """The configuration every speedup is relative to.

    The named one; else the fastest of the smallest world size whose quality held, so that no
    speedup is won against a badly chosen batch. Without quality data the fastest.

    Args:
        measured: The runs.
        options: May name one.
        reference: The quality reference of each configuration.
        judgements: Of every configuration.
        judged_quality: Whether there are margins and metrics to judge by.

    Returns:
        The baseline of each configuration; shape [configurations].
    """
    if options.baseline is not None:
        return reference
    held = judgements.verdict == Verdict.NON_INFERIOR
    return fastest_of_smallest(measured, reference, held if judged_quality else np.ones_like(held))


def fastest_of_smallest(
    measured: Measurements, reference: Integers, allowed: Booleans
) -> Integers:
    """The fastest of those allowed with as many workers as the reference; else the reference.

    Args:
        measured: The runs.
        reference: The configuration that each one is to be compared with otherwise.
        allowed: Which may be chosen; shape [configurations].
    """
    numbers = np.arange(measured.count)
    sizes = measured.settings["world_size"].to_numpy()
    peers = (allowed & (sizes == sizes[reference])) | (numbers == reference)
    known = ~np.isnan(speedups(measured, numbers).speedup)
    # Relative to the reference, or where its own time is not known to the first that has one.
    against = _first(reference, [~(peers & known), numbers != reference])
    ratios = speedups(measured, against).speedup
    chosen = _first(reference, [~(peers & ~np.isnan(ratios)), -ratios])
    return np.where(np.isnan(ratios[chosen]), reference, chosen)


def _first(groups: Integers, keys: Sequence[npt.NDArray[Any]]) -> Integers:
    """For each configuration the first of its group by the keys, then by number."""
    order = np.lexsort([*reversed(keys), groups])
    _, start, member = np.unique(groups[order], return_index=True, return_inverse=True)
    first = np.empty(len(groups), dtype=np.int64)
    first[order] = order[start][member]
    return first


def _each_sweep_has(wanted: Booleans, sweep: Integers) -> bool:
    return bool((np.bincount(sweep, weights=wanted) > 0).all())


def same_sizes(measured: Measurements, configuration: int) -> Integers:
    """Other configurations of the same number of workers and the same global batch."""
    sizes = measured.settings.reindex(columns=["world_size", "global_batch_size"])
    alike = (sizes == sizes.iloc[configuration]).all(axis=1).to_numpy(dtype=np.bool_, copy=True)
    alike[configuration] = False
    return np.flatnonzero(alike)


def _named(settings: pd.DataFrame, baseline: Mapping[str, Any]) -> Booleans:
    """Which configurations have every one of the settings, as a column or as written."""
    texts = settings["parameters"] if "parameters" in settings else [None] * len(settings)
    written = [read_parameters(text) for text in texts]
    match = np.ones(len(settings), dtype=np.bool_)
    for key, wanted in baseline.items():
        if any(key in known for known in written):
            # As written in the sweep file; the column learning_rate holds the scaled one.
            found = np.array([key in known and known[key] == wanted for known in written])
        elif key in settings:
            found = (settings[key] == wanted).fillna(False).to_numpy(dtype=np.bool_)
        else:
            found = np.zeros(len(settings), dtype=np.bool_)
        match &= found
    return match
