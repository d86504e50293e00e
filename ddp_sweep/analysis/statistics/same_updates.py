"""Which configurations make the same optimizer updates, so that only their speed can differ."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ddp_sweep.analysis.statistics.estimation import Booleans, Integers
from ddp_sweep.analysis.tables.columns import numbers, texts
from ddp_sweep.analysis.tables.measurements import Measurements

__all__ = ["GRADIENT_ROUNDING", "find_twins"]

GRADIENT_ROUNDING = 1e-5
"""Largest relative error of a synchronized float32 gradient that is rounding alone."""

_SAME = ("global_batch_size", "learning_rate", "compute_precision", "parameters")


def find_twins(measured: Measurements, reference: Integers) -> Integers:
    """The configuration whose updates each one repeats, -1 for none; shape [configurations].

    Twins differ in the number of workers (and in how these share the batch) alone: the same
    global batch, data order, schedule and every other setting, code included. Every finished run
    of both must have comparable loss traces and a synchronized gradient that is exact to rounding.
    The twin is the reference where it is among them, else the one of the fewest workers.

    Args:
        measured: The runs; tables of other tools record none of this and have no twins.
        reference: The quality reference of each configuration; twins share it.
    """
    twins = np.full(measured.count, -1, dtype=np.int64)
    if not measured.ours:
        return twins
    exact = _repeats_updates(measured)
    if not exact.any():
        return twins
    # The hash of the source counts; a commit elsewhere in the repository changes no update.
    hashes = pd.Series(texts(measured.runs, "code_version")).str.rpartition(":")[2]
    code = hashes.groupby(measured.configuration)
    exact &= (code.nunique() == 1).reindex(range(measured.count), fill_value=False).to_numpy()
    keys = measured.settings[list(_SAME)].assign(code_version=code.first(), reference=reference)
    members = np.flatnonzero(exact)
    alike = keys[exact].groupby(list(keys), dropna=False, sort=False).ngroup().to_numpy()
    # Configurations stand in order of the number of workers.
    _, first, kind = np.unique(alike, return_index=True, return_inverse=True)
    has_reference = np.bincount(kind, weights=members == reference[members]) > 0
    twins[members] = np.where(has_reference[kind], reference[members], members[first][kind])
    twins[twins == np.arange(measured.count)] = -1
    return twins


def _repeats_updates(measured: Measurements) -> Booleans:
    """Whether all finished runs of a configuration, at least one, updated exactly."""
    comparable = texts(measured.runs, "traces_comparable") == "True"
    with np.errstate(over="ignore", invalid="ignore"):
        exact = numbers(measured.runs, "gradient_error") <= GRADIENT_ROUNDING
    alone = numbers(measured.runs, "world_size") == 1
    good = comparable & (exact | alone)
    finished = measured.configuration[measured.finished]
    good = measured.configuration[measured.finished & good]
    total = np.bincount(finished, minlength=measured.count)
    exactly: Booleans = (total > 0) & (np.bincount(good, minlength=measured.count) == total)
    return exactly
