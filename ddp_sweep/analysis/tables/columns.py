"""Checks and small completions of a table's columns, before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyarrow.types import is_list

from ddp_sweep.errors import ColumnError, TableError
from ddp_sweep.schema import METRIC_PREFIX, TRIALS

__all__ = [
    "fill_batch_sizes",
    "fill_nodes",
    "is_analysed",
    "is_known_column",
    "needed_columns",
    "numbers",
    "require_columns",
    "texts",
]

BATCH_COLUMNS = ("per_worker_batch_size", "global_batch_size")
TIME_COLUMNS = ("time_to_target_s", "train_time_s", "throughput_samples_per_s")
_NEEDED = (("world_size",), BATCH_COLUMNS, TIME_COLUMNS)
"""Columns of which a table must have one each."""

SETTINGS = (
    "world_size",
    "global_batch_size",
    "per_worker_batch_size",
    "accumulation_steps",
    "learning_rate",
    "num_nodes",
    "compute_precision",
    "parameters",
    "configuration_id",
)
"""Columns whose values make a configuration, in the order that breaks ties."""

LIST_COLUMNS = frozenset(name for name in TRIALS.names if is_list(TRIALS.field(name).type))
"""Columns whose cells are lists; in a CSV file they are text, and of no use."""
_KNOWN = frozenset(TRIALS.names) | {"final"}
_NOT_ANALYSED = frozenset(
    {
        "startup_time_s",
        "wall_time_s",
        "eval_time_s",
        "energy_wh",
        "epochs",
        "started_at",
        "finished_at",
        "torch_version",
        "ray_version",
        "ddp_sweep_version",
        "position",
    }
)
"""Measurements that no verdict rests on; left unread, they cost nothing."""


def is_known_column(name: str) -> bool:
    """Whether a column of a table of runs has a meaning here."""
    return name in _KNOWN or (name.startswith(METRIC_PREFIX) and name != METRIC_PREFIX)


def is_analysed(name: str) -> bool:
    """Whether anything is computed from a column."""
    return is_known_column(name) and name not in _NOT_ANALYSED


def needed_columns() -> str:
    """The least columns of a table, in words."""
    return ", ".join(" or ".join(wanted) for wanted in _NEEDED)


def require_columns(names: Sequence[str], received: Sequence[str]) -> None:
    """Check that a table of another tool has the least columns a ranking needs.

    Args:
        names: Its columns, under our names.
        received: All its columns, as it names them.

    Raises:
        TableError: One is missing; the message names the columns received and allowed.
    """
    missing = [" or ".join(wanted) for wanted in _NEEDED if not set(wanted) & set(names)]
    if missing:
        example = missing[0].partition(" ")[0]
        raise TableError(
            f"the table lacks a column {'; and one '.join(missing)}; "
            f"it has {', '.join(received)}. "
            f"Say which columns hold these figures: --columns {example}=NAME"
        )


def numbers(
    frame: pd.DataFrame,
    column: str,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    whole: bool = False,
) -> npt.NDArray[np.float64]:
    """A column as floats, NaN where it is null or absent; shape [runs].

    Args:
        frame: The table.
        column: Its column.
        above: Every value must be larger.
        least: Every value must be as large.
        most: Every value must be as small.
        whole: Every value must be a whole number.

    Raises:
        ColumnError: A value is no finite number, not above the bound, or not whole.
    """
    if column not in frame:
        return np.full(len(frame), np.nan)
    given = frame[column]
    values = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = given.notna().to_numpy() & ~np.isfinite(values)
    if pd.api.types.is_bool_dtype(given):
        wrong = given.notna().to_numpy(copy=True)
    allowed = "a finite number"
    if above is not None:
        wrong |= values <= above
        allowed += f" above {above:g}"
    if least is not None:
        wrong |= values < least
        allowed += f" of at least {least:g}"
    if most is not None:
        wrong |= values > most
        allowed += f" of at most {most:g}" if least is None else f" and at most {most:g}"
    if whole:
        wrong |= np.isfinite(values) & (values != np.floor(values))
        allowed = allowed.replace("finite", "whole")
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ColumnError(
            column,
            f", row {given.index[row]}: received {_shown(given.iloc[row])}, "
            f"allowed is {allowed}, "
            "or nothing where it is not known",
        )
    return values


def _shown(value: Any) -> str:  # noqa: ANN401 - a cell of a column
    """A cell as it is written, not as numpy represents it."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def texts(frame: pd.DataFrame, column: str) -> npt.NDArray[np.str_]:
    """A column as text, empty where it is null or absent; shape [runs]."""
    if column not in frame:
        return np.full(len(frame), "")
    return frame[column].astype("object").where(frame[column].notna(), "").to_numpy(dtype=np.str_)


def fill_batch_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the global batch size where it follows from the batch of a worker.

    The other way round it does not follow: the share of a worker may have been accumulated.
    """
    if "global_batch_size" in frame or "per_worker_batch_size" not in frame:
        return frame
    steps = frame.get("accumulation_steps", 1)
    return frame.assign(
        global_batch_size=frame["world_size"] * frame["per_worker_batch_size"] * steps
    )


def fill_nodes(frame: pd.DataFrame) -> pd.DataFrame:
    """Give attempts that never reached a worker the number of nodes of their configuration.

    They count against the configuration's other runs. Where those ran on several numbers of nodes
    nobody knows which one was meant, and the attempts stay a group of their own.
    """
    if "num_nodes" not in frame or "configuration_id" not in frame:
        return frame
    nodes = frame.groupby("configuration_id")["num_nodes"]
    only = nodes.transform("max").where(nodes.transform("nunique") == 1)
    return frame.assign(num_nodes=frame["num_nodes"].fillna(only))
