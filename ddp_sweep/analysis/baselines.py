"""The two configurations that others are measured against: one for quality, one for speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ddp_sweep.analysis.estimation import Booleans, Integers
from ddp_sweep.analysis.measurements import Ending, Measurements
from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.outcome import Verdict
from ddp_sweep.analysis.speedup import speedups
from ddp_sweep.analysis.verdict import Judgement
from ddp_sweep.analysis.wording import read_parameters
from ddp_sweep.errors import TableError

__all__ = ["fastest_of_smallest", "quality_reference", "same_sizes", "speed_baseline"]


def quality_reference(
    measured: Measurements, options: RankingOptions, names: Sequence[str]
) -> int:
    """The configuration whose quality must not be lost; fixed before anything was measured.

    The named baseline; else, of the smallest world size, the batch nearest (as a ratio) to
    ``reference_batch_size``; else its smallest batch. What could not even start is passed over.

    Raises:
        TableError: No configuration has the settings that were named, or none could start.
    """
    able = measured.tally(*(ending for ending in Ending if ending is not Ending.BROKEN)) > 0
    if not able.any():
        raise TableError("no configuration could run, so there is nothing to rank")
    if options.baseline is not None:
        able &= _named(measured.settings, options.baseline)
        if not able.any():
            raise TableError(
                f"no configuration that could run has {dict(options.baseline)}; "
                f"there are: {'; '.join(names[:20])}"
            )
    sizes = measured.settings["world_size"].to_numpy()
    candidates = np.flatnonzero(able & (sizes == sizes[able].min()))
    batches = measured.settings["global_batch_size"].to_numpy(np.float64, na_value=np.inf)
    distance = batches[candidates]
    if options.reference_batch_size is not None:
        distance = np.abs(np.log(distance / options.reference_batch_size))
    # Where several are equally near, the first in the order of settings.
    return int(candidates[np.argmin(distance)])


def speed_baseline(
    measured: Measurements,
    options: RankingOptions,
    reference: int,
    judgements: Sequence[Judgement],
    *,
    judged_quality: bool,
) -> int:
    """The configuration every speedup is relative to.

    The named one; else the fastest of the smallest world size whose quality held, so that no
    speedup is won against a badly chosen batch. Without quality data the fastest.

    Args:
        measured: The runs.
        options: May name one.
        reference: Number of the quality reference.
        judgements: Of every configuration.
        judged_quality: Whether there are margins and metrics to judge by.
    """
    if options.baseline is not None:
        return reference
    held = [judgement.verdict is Verdict.NON_INFERIOR for judgement in judgements]
    allowed = np.array(held) if judged_quality else np.ones(measured.count, dtype=np.bool_)
    allowed[reference] = True
    return fastest_of_smallest(measured, reference, allowed)


def fastest_of_smallest(measured: Measurements, reference: int, allowed: Booleans) -> int:
    """The fastest of those allowed with as many workers as the reference; else the reference."""
    sizes = measured.settings["world_size"].to_numpy()
    peers = np.flatnonzero(allowed & (sizes == sizes[reference]))
    for against in (reference, *peers):  # the first one whose own time is known
        ratios = speedups(measured, int(against)).speedup[peers]
        if not np.isnan(ratios).all():
            return int(peers[np.nanargmax(ratios)])
    return reference


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
