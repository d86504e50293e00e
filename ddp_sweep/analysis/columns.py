"""Checks and small completions of a table's columns, before anything is computed from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.errors import TableError

__all__ = ["fill_batch_sizes", "fill_nodes", "numbers", "require_columns", "texts"]

BATCH_COLUMNS = ("per_worker_batch_size", "global_batch_size")
TIME_COLUMNS = ("time_to_target_s", "train_time_s", "throughput_samples_per_s")


def require_columns(frame: pd.DataFrame) -> None:
    """Check that a table of another tool has the least columns a ranking needs.

    Raises:
        TableError: One is missing; the message names the columns received and allowed.
    """
    needed = (("world_size",), BATCH_COLUMNS, TIME_COLUMNS)
    missing = [" or ".join(names) for names in needed if not set(names) & set(frame.columns)]
    if missing:
        raise TableError(
            f"the table lacks a column {'; and one '.join(missing)}; "
            f"it has {', '.join(map(str, frame.columns))}. "
            "Rename the columns that hold these figures"
        )


def numbers(
    frame: pd.DataFrame, column: str, *, above: float | None = None, whole: bool = False
) -> npt.NDArray[np.float64]:
    """A column as floats, NaN where it is null or absent; shape [runs].

    Args:
        frame: The table.
        column: Its column.
        above: Every value must be larger.
        whole: Every value must be a whole number.

    Raises:
        TableError: A value is no finite number, not above the bound, or not whole.
    """
    if column not in frame:
        return np.full(len(frame), np.nan)
    given = frame[column]
    values = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = given.notna().to_numpy() & ~np.isfinite(values)
    allowed = "a finite number"
    if above is not None:
        wrong |= values <= above
        allowed += f" above {above:g}"
    if whole:
        wrong |= np.isfinite(values) & (values != np.floor(values))
        allowed = allowed.replace("finite", "whole")
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TableError(
            f"column {column}, row {row}: received {given.iloc[row]!r}, allowed is {allowed}, "
            "or nothing where it is not known"
        )
    return values


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
