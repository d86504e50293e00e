"""Which columns and rows of a table are ranked: foreign names, conditions on rows, pairing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ddp_sweep.analysis.tables.columns import is_analysed, is_known_column, needed_columns
from ddp_sweep.analysis.wording import read_parameters
from ddp_sweep.errors import ColumnError, TableError
from ddp_sweep.schema import METRIC_PREFIX, TRIALS
from ddp_sweep.spec.nearest import unknown_name

__all__ = ["Selection"]

Booleans = npt.NDArray[np.bool_]
_Value = TypeVar("_Value")

_SHOWN = 10
"""Values of a column that a message names at most."""
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is taken from a table before anything is computed from it."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Our names and those that the table has in their place, ``{"world_size": "config/gpus"}``."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Value that a column must have, or a list of values of which it must have one."""
    pair_by: str | None = None
    """Column whose equal values mark runs that belong together; tables of other tools only."""

    def our_name(self, name: str) -> str:
        """Our name of a column that may be named as the table does."""
        return {theirs: ours for ours, theirs in self.columns.items()}.get(name, name)

    def translated(self, named: Mapping[str, _Value] | None) -> dict[str, _Value] | None:
        """The same values under our names."""
        return None if named is None else {self.our_name(key): named[key] for key in named}

    def in_their_words(self, error: ColumnError) -> ColumnError:
        """The same error under the name that the table has for the column."""
        return ColumnError(self._their_name(error.column), error.problem)

    def needed(self, names: Sequence[str]) -> list[str]:
        """Those of a table's columns that are read, in its order.

        Raises:
            TableError: The table lacks a column that is named, or has one twice; or a column is
                named that has no meaning here.
        """
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"the table has the column {name} twice; rename one of them")
        self._check_columns(names)
        wanted = {*self.columns.values(), *map(self._their_name, self.where)}
        if self.pair_by is not None:
            wanted.add(self._their_name(self.pair_by))
            if self._their_name(self.pair_by) not in names:
                problem = self._unknown(self.pair_by, names)
                raise TableError(f'pair by "{self.pair_by}": {problem}')
        for name in self.where:
            if self._their_name(name) not in names and "parameters" not in names:
                raise TableError(f'where: "{name}": {self._unknown(name, names)}')
        hidden = self.columns.keys() - wanted
        return [
            name
            for name in names
            if name in wanted or name == "final" or (is_analysed(name) and name not in hidden)
        ]

    def rows(self, frame: pd.DataFrame) -> Booleans:
        """Which rows of a table, under its own names, meet every condition.

        Raises:
            TableError: There is no such setting, a column's values are of another kind, or no
                row is left.
        """
        chosen = np.ones(len(frame), dtype=np.bool_)
        for name, value in self.where.items():
            column = self._column(frame, name)
            wanted = list(value) if isinstance(value, list | tuple | set) else [value]
            met = np.zeros(len(frame), dtype=np.bool_)
            for one in wanted:
                met |= _equals(column, one, name)
            if not met.any():
                raise TableError(
                    f"where: no row has {name} = {_listed(wanted)}; "
                    f"{name} has {_listed(column.dropna().unique().tolist())}"
                )
            chosen &= met
        if not chosen.any():
            alone = "; ".join(f"{name} = {value}" for name, value in self.where.items())
            raise TableError(
                f"where: no row meets all of {alone}, though some meet each of them alone; "
                "leave one out"
            )
        return chosen

    def renamed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table under our names; a column that is mapped takes the place of one so named."""
        hidden = [
            ours for ours, theirs in self.columns.items() if ours in frame and ours != theirs
        ]
        back = {theirs: ours for ours, theirs in self.columns.items()}
        return frame.drop(columns=hidden).rename(columns=back)

    def pairs(self, runs: pd.DataFrame) -> pd.Series[Any] | None:
        """The values that runs pair by, of a table under our names; None where they do not."""
        return None if self.pair_by is None else runs[self.our_name(self.pair_by)]

    def in_words(self) -> str:
        """The conditions on rows, ``state = finished and epochs = 90``."""
        return " and ".join(f"{name} = {_plain(value)}" for name, value in self.where.items())

    def _check_columns(self, names: Sequence[str]) -> None:
        for ours, theirs in self.columns.items():
            if not is_known_column(ours):
                raise TableError(f"columns: {_no_name_of_ours(ours, theirs, names)}")
            if theirs not in names:
                raise TableError(f'columns: "{theirs}": {unknown_name("column", theirs, names)}')
        named = list(self.columns.values())
        for name in named:
            if named.count(name) > 1:
                both = [ours for ours, found in self.columns.items() if found == name]
                raise TableError(
                    f'columns: "{name}" stands for both {" and ".join(both)}; '
                    "name a column of the table once"
                )

    def _unknown(self, name: str, names: Sequence[str]) -> str:
        return unknown_name("column", name, [*names, *self.columns])

    def _their_name(self, name: str) -> str:
        return self.columns.get(name, name)

    def _column(self, frame: pd.DataFrame, name: str) -> pd.Series[Any]:
        """A column by our name or theirs, else a setting in the column ``parameters``."""
        theirs = self._their_name(name)
        if theirs in frame:
            return frame[theirs]
        found: list[dict[str, Any]] = []
        if "parameters" in frame:
            found = [read_parameters(text) for text in frame["parameters"]]
        if any(name in settings for settings in found):
            values = [settings.get(name) for settings in found]
            return pd.Series(values, index=frame.index).infer_objects()
        settings = dict.fromkeys(key for known in found for key in known)
        problem = unknown_name("column or setting", name, [*map(str, frame.columns), *settings])
        raise TableError(f'where: "{name}": {problem}')


def _equals(column: pd.Series[Any], value: Any, name: str) -> Booleans:  # noqa: ANN401 - a cell
    """Which values equal one that may be written as text: the column decides how it is read."""
    column = column.convert_dtypes()
    if pd.api.types.is_bool_dtype(column):
        truth = _TRUTH.get(str(value).strip().lower())
        if truth is None:
            raise TableError(f"where: {name} holds true and false; received {value!r}")
        return (column == truth).fillna(False).to_numpy(dtype=np.bool_)
    if pd.api.types.is_numeric_dtype(column):
        number = _number(value)
        if number is None:
            raise TableError(f"where: {name} holds numbers; received {value!r}")
        return (column == number).fillna(False).to_numpy(dtype=np.bool_)
    texts = column.astype("object").map(str, na_action="ignore")
    return (texts == str(value)).to_numpy(dtype=np.bool_)


def _no_name_of_ours(ours: str, theirs: str, names: Sequence[str]) -> str:
    if is_known_column(theirs) and ours in names and theirs not in names:
        return f'"{ours}={theirs}" is turned round; our name stands first: {theirs}={ours}'
    near = difflib.get_close_matches(ours, TRIALS.names, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return (
        f'"{ours}": unknown column; {hint}needed are {needed_columns()}; '
        f"a metric of your own is {METRIC_PREFIX}<name>"
    )


def _number(value: Any) -> float | None:  # noqa: ANN401 - a value of any kind
    """A number, whole where it can be: seeds may be larger than what a float holds exactly."""
    for read in (int, float):
        try:
            number = read(value) if isinstance(value, str) else value
        except ValueError:
            continue
        if isinstance(number, int | float) and not isinstance(number, bool):
            return number if math.isfinite(number) else None
    return None


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN])) or "no value"
    more = len(values) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _plain(value: Any) -> str:  # noqa: ANN401 - a value of any kind
    return " or ".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)
