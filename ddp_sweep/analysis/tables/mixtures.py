"""Runs of another tool that differ in more than the columns tell that are ranked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ddp_sweep.analysis.outcome import Finding, Severity
from ddp_sweep.analysis.tables.columns import SETTINGS, TIME_COLUMNS, is_known_column
from ddp_sweep.analysis.wording import ratio

__all__ = ["mixtures"]

_MOST_KINDS = 10
"""Values of a column that says what was trained; names of runs have more."""
_EXPLAINED = 0.9
"""Share of the variance of log times within configurations."""
_NOTABLE_RATIO = 1.2


def mixtures(runs: pd.DataFrame) -> Iterator[Finding]:
    """Columns in words that explain why runs of one configuration took so different times.

    Args:
        runs: Every column of a table, under our names where they are known.
    """
    present = [name for name in SETTINGS if name in runs]
    time = next(name for name in TIME_COLUMNS if name in runs)
    figures = pd.to_numeric(runs[time], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(figures) & (figures > 0)
    runs, logs = runs[known], pd.Series(np.log(figures[known]), index=runs.index[known])
    configuration = runs.groupby(present, dropna=False, sort=False).ngroup()
    for name in runs:
        words = runs[name]
        kind = pd.api.types.infer_dtype(words, skipna=True)
        if is_known_column(str(name)) or kind not in ("string", "boolean"):
            continue
        if not 2 <= words.nunique() <= _MOST_KINDS:
            continue
        found = _slowdown(logs, configuration, words)
        if found >= _NOTABLE_RATIO:
            shown = words.dropna().unique().tolist()
            yield Finding(
                kind="mixed_runs",
                severity=Severity.WARNING,
                message=(
                    f"Runs of one configuration differ in {name} ({', '.join(map(str, shown))}), "
                    f"and their times by {ratio(found)}x accordingly: they are not repetitions "
                    f'of the same. Rank each alone: --where "{name}={shown[0]}".'
                ),
                evidence={"column": str(name), "values": shown, "time_ratio": found},
            )


def _slowdown(
    logs: pd.Series[float], configuration: pd.Series[int], words: pd.Series[str]
) -> float:
    """Ratio of the slowest kind to the fastest, averaged over configurations that hold several.

    1 where no configuration repeats its kinds, or where they do not explain the times.
    """
    cells = pd.DataFrame({"log": logs, "configuration": configuration, "kind": words}).dropna()
    means = cells.groupby(["configuration", "kind"])["log"].agg(["mean", "count"])
    several = means.groupby("configuration")["count"].agg(["size", "min"])
    mixed = several.index[(several["size"] > 1) & (several["min"] > 1)]
    cells = cells[cells["configuration"].isin(mixed)]
    if cells.empty:
        return 1.0
    whole = cells["log"] - cells.groupby("configuration")["log"].transform("mean")
    rest = cells["log"] - cells.groupby(["configuration", "kind"])["log"].transform("mean")
    if (rest**2).sum() > (1 - _EXPLAINED) * (whole**2).sum():
        return 1.0
    ends = means.loc[mixed].groupby("configuration")["mean"].agg(["min", "max"])
    return float(np.exp((ends["max"] - ends["min"]).mean()))
