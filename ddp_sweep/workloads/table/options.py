"""What may be asked of the table workload, checked before the table is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ddp_sweep.errors import WorkloadError

__all__ = ["Scalar", "Split", "TableOptions", "did_you_mean"]

Scalar: TypeAlias = str | int | float | bool
_SPLITS = ("random", "time", "group")
_TASKS = ("auto", "binary", "multiclass", "regression")


@dataclass(frozen=True, kw_only=True)
class Split:
    """How rows are shared out between training and validation."""

    by: Literal["random", "time", "group"] = "random"
    """random keeps the share of each class; time trains on the past; group keeps groups whole."""
    column: str | None = None
    """Of the time or the group."""
    validation: float = 0.2
    """Share of the rows (of the groups, with ``group``) that is kept for validation."""
    seed: int = 0
    """Of the shuffle; never the trial's seed."""

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> Split:
        """From the mapping in a sweep file.

        Raises:
            WorkloadError: A key or a value that is not allowed.
        """
        values = dict(given or {})
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise WorkloadError(
                    f"split.{key}: no such setting{did_you_mean(str(key), names)}; allowed: "
                    f"{', '.join(names)}"
                )
        split = cls(**values)
        if split.by not in _SPLITS:
            raise WorkloadError(f"split.by: received {split.by!r}; allowed: {', '.join(_SPLITS)}")
        if (split.column is None) != (split.by == "random"):
            need = "needs a column" if split.by != "random" else "has no column"
            raise WorkloadError(
                f"split: by: {split.by} {need}; for example {{by: time, column: day}}, "
                "{by: group, column: customer} or {by: random}"
            )
        share = split.validation
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise WorkloadError(
                f"split.validation: received {share!r}; allowed: a share between 0 and 1, such "
                "as 0.2"
            )
        return split


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Everything that decides what a table becomes; hashable, so that tables can be cached."""

    path: Path
    label: str
    task: str = "auto"
    positive: Scalar | None = None
    features: tuple[str, ...] | None = None
    """None for every column that is not left out."""
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    """Numeric columns whose numbers are names, such as a postcode."""
    split: Split = Split()
    separator: str = ","

    def __post_init__(self) -> None:
        if self.task not in _TASKS:
            raise WorkloadError(f"task: received {self.task!r}; allowed: {', '.join(_TASKS)}")
        if self.features is not None and self.drop:
            raise WorkloadError(
                "give features (what is used) or drop (what is left out), not both"
            )
        if self.label in self.drop or self.label in (self.features or ()):
            raise WorkloadError(
                f"label {self.label!r} stands among features or drop; the label is never a "
                "feature, remove it there"
            )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'label'?``, or nothing where no name is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
