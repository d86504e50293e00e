"""What may be asked of the table workload, checked before the table is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias, cast

from ddp_sweep.errors import WorkloadError

__all__ = ["Scalar", "Split", "TableOptions", "did_you_mean", "read_names", "require_sizes"]

Scalar: TypeAlias = str | int | float | bool
_ONE = (str, int, float, bool, type(None))
_SPLITS = ("random", "time", "group")
_SPLIT_EXAMPLES = "random, {by: time, column: day} or {by: group, column: customer}"
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
    def parse(cls, given: object) -> Split:
        """From what stands in a sweep file: a mapping, or a text where that says it all.

        Raises:
            WorkloadError: A key or a value that is not allowed.
        """
        given = {"by": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping | None):
            raise WorkloadError(f"split: received {given!r}; allowed: {_SPLIT_EXAMPLES}")
        values = dict(given or {})
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise WorkloadError(
                    f"split.{key}: no such setting{did_you_mean(str(key), names)}; allowed: "
                    f"{', '.join(names)}"
                )
        if values.get("column") is not None:
            values["column"] = str(values["column"])
        split = cls(**values)
        split._check()
        return split

    def _check(self) -> None:
        if self.by not in _SPLITS:
            near = did_you_mean(str(self.by), _SPLITS)
            raise WorkloadError(
                f"split.by: received {self.by!r}{near}; allowed: {', '.join(_SPLITS)}"
            )
        if (self.column is None) != (self.by == "random"):
            need = "needs a column" if self.by != "random" else "has no column"
            raise WorkloadError(f"split: by: {self.by} {need}; for example {_SPLIT_EXAMPLES}")
        share = self.validation
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise WorkloadError(
                f"split.validation: received {share!r}; allowed: a share between 0 and 1, such "
                "as 0.2"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise WorkloadError(
                f"split.seed: received {self.seed!r}; allowed: a whole number from 0"
            )


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
        for key in ("label", "separator", "positive"):
            value = getattr(self, key)
            if not isinstance(value, str) and (key != "positive" or not isinstance(value, _ONE)):
                what = "one of the label's values" if key == "positive" else "a text"
                raise WorkloadError(f"{key}: received {value!r}; allowed: {what}")
        if self.features is not None and self.drop:
            raise WorkloadError(
                "give features (what is used) or drop (what is left out), not both"
            )
        if self.label in self.drop or self.label in (self.features or ()):
            raise WorkloadError(
                f"label {self.label!r} stands among features or drop; the label is never a "
                "feature, remove it there"
            )


def read_names(key: str, given: object) -> tuple[str, ...]:
    """The columns that an option names: a list of them, or one.

    Examples:
        >>> read_names("drop", "day"), read_names("drop", ["day", 3]), read_names("drop", None)
        (('day',), ('day', '3'), ())

    Raises:
        WorkloadError: It is something else.
    """
    names = () if given is None else given if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
        raise WorkloadError(
            f"{key}: received {given!r}; allowed: the name of a column, or a list of names"
        )
    return tuple(map(str, names))


def require_sizes(hidden: object, embedding: object, dropout: object) -> tuple[int, ...]:
    """Refuse sizes that no model can have; the widths of the hidden layers.

    Raises:
        WorkloadError: Names the option and what is allowed.
    """
    widths = tuple(hidden) if isinstance(hidden, list | tuple) else (hidden,)
    if not all(map(_is_size, widths)):
        raise WorkloadError(
            f"hidden: received {hidden!r}; allowed: a list of whole numbers above 0, such as "
            "[64, 64]"
        )
    if embedding is not None and not _is_size(embedding):
        raise WorkloadError(f"embedding: received {embedding!r}; allowed: a whole number above 0")
    number = isinstance(dropout, int | float) and not isinstance(dropout, bool)
    if not number or not 0 <= cast("float", dropout) < 1:
        raise WorkloadError(f"dropout: received {dropout!r}; allowed: a share from 0 to below 1")
    return cast("tuple[int, ...]", widths)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'label'?``, or nothing where no name is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
