"""Many sweeps judged at once, each within itself, as one frame: for simulations and overviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ddp_sweep.analysis.options import RankingOptions
from ddp_sweep.analysis.tables.measurements import measure
from ddp_sweep.analysis.tables.sources import open_source
from ddp_sweep.analysis.verdicts.assessment import Assessment, assess
from ddp_sweep.errors import TableError
from ddp_sweep.results import SeedAddition

__all__ = ["rank_many"]

_NEEDED = ("trial_id", "configuration_id", "attempt", "status")


def rank_many(
    trials: pd.DataFrame,
    *,
    by: str = "sweep",
    margins: Mapping[str, float | str] | None = None,
    floors: Mapping[str, float] | None = None,
    baseline: Mapping[str, Any] | None = None,
    reference_batch_size: float | None = None,
    additions: Sequence[SeedAddition] = (),
) -> pd.DataFrame:
    """Rank the configurations of every sweep in a trials table, in one pass and without words.

    Each sweep gets exactly what `rank` would say of it alone.

    Args:
        trials: Rows of the trials table of any number of sweeps.
        by: The column that tells the sweeps apart.
        margins: The largest loss of a metric that counts as none.
        floors: The least acceptable value of a metric.
        baseline: Settings of the configuration to compare with, the same in every sweep.
        reference_batch_size: Global batch nearest to which the quality reference is chosen.
        additions: Which seeds were added to every configuration of every sweep, and why.

    Returns:
        One row a configuration, in order of rank within its sweep: the sweep, configuration_id,
        settings, verdict, evidence, look, speedup with its interval, seeds_needed, for each metric
        ``<metric>_difference``, ``_low``, ``_high``, ``_population_low``, ``_population_high``,
        ``_p_value``, ``_verdict``, ``_seeds_needed``, and whether it is the ``winner``, with the
        ``status`` of the recommendation and the ``fresh_speedup`` of a confirmation.

    Raises:
        TableError: It is no trials table, or holds something that cannot be.
    """
    if lacking := [name for name in (by, *_NEEDED) if name not in trials]:
        raise TableError(
            f"the table lacks the columns {', '.join(lacking)}; many sweeps at once are ranked "
            "from a trials table, with a column that tells the sweeps apart"
        )
    own = {
        name: trials.groupby([by, name], dropna=False).ngroup()
        for name in ("trial_id", "configuration_id")
    }
    labels = trials[[by, "configuration_id"]].groupby(own["configuration_id"]).first()
    source = open_source(trials.assign(**own))
    options = RankingOptions().overridden(
        margins=margins,
        floors=floors,
        baseline=baseline,
        reference_batch_size=reference_batch_size,
    )
    measured = measure(source, options)
    labels = labels.loc[measured.settings["configuration_id"]].reset_index(drop=True)
    sweep = pd.factorize(labels[by])[0].astype(np.int64)
    found = assess(measured, options, additions=additions, sweep=sweep)
    table = pd.concat([labels, _figures(found)], axis=1)
    return table.iloc[found.order].reset_index(drop=True)


def _figures(found: Assessment) -> pd.DataFrame:
    settings = found.measured.settings
    numbers = np.arange(found.measured.count)
    winner = found.winners[found.sweep] == numbers
    status = np.array([status.value for status in found.statuses])[found.sweep]
    columns = {
        "world_size": settings["world_size"],
        "global_batch_size": settings["global_batch_size"],
        "baseline": found.baseline == numbers,
        "reference": found.reference == numbers,
        "verdict": found.judgements.verdict,
        "evidence": found.judgements.evidence,
        "look": found.look,
        "speedup": found.speed.speedup,
        "speedup_low": found.speed.low,
        "speedup_high": found.speed.high,
        "seeds_needed": found.seeds_needed,
        "winner": winner,
        "status": np.where(winner, status, ""),
        "fresh_speedup": _fresh_speedups(found),
    }
    figures = (
        "difference", "low", "high", "population_low", "population_high", "p_value", "verdict",
        "seeds_needed",
    )  # fmt: skip
    for name, tested in found.tests.metrics.items():
        columns |= {f"{name}_{figure}": getattr(tested, figure) for figure in figures}
    return pd.DataFrame(columns)


def _fresh_speedups(found: Assessment) -> np.ndarray[Any, np.dtype[np.float64]]:
    speedups = np.full(found.measured.count, np.nan)
    for number, one in enumerate(found.confirmations.rounds):
        chosen = found.confirmations.latest == number
        speedups[chosen] = one.speed.speedup[chosen]
    return speedups
