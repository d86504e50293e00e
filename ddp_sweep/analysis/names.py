"""The name that people know a configuration by, made when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pandas as pd

from ddp_sweep.analysis.statistics.estimation import Integers
from ddp_sweep.analysis.wording import count, read_parameters

__all__ = ["Names", "Settings", "name_configurations"]

_SIZES = ("world_size", "per_worker_batch_size", "accumulation_steps", "global_batch_size")
_OTHERS = ("num_nodes", "learning_rate", "compute_precision")


class Settings(Sequence[dict[str, Any]]):
    """The settings of each configuration by name, null ones as None."""

    def __init__(self, settings: pd.DataFrame) -> None:
        """Take the table of `Measurements`, one row a configuration."""
        self._columns = {
            str(name): column.astype("object").where(column.notna(), None).to_numpy()
            for name, column in settings.items()
        }
        self._count = len(settings)
        sizes = settings.reindex(columns=list(_SIZES)).astype("Int64").astype("object")
        columns = [column.where(column.notna(), None).tolist() for _, column in sizes.items()]
        self.sizes: list[tuple[int | None, ...]] = list(zip(*columns, strict=True))
        """World size, batch of a worker, accumulation steps, global batch."""

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, position: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, position: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, position: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(self._count))]
        return {name: column[position] for name, column in self._columns.items()}


class Names(Sequence[str]):
    """A name for each configuration, unlike all others.

    Workers and batch, and where several share these the settings that tell them apart.
    """

    def __init__(self, settings: pd.DataFrame) -> None:
        """Take the table of `Measurements`, one row a configuration."""
        self.settings = Settings(settings)
        self._known: dict[int, dict[int, str]] = {}

    def __len__(self) -> int:
        return len(self.settings)

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        return self._size_name(position) + self.distinction(position)

    def distinction(self, position: int) -> str:
        """What tells it from others of the same workers and batch; empty where nothing need."""
        group = int(self._groups[position])
        if group not in self._known:
            self._known[group] = self._distinctions(self._members(group))
        return self._known[group][position]

    def difference(self, position: int, other: int) -> str:
        """What is set in one unlike in another, sizes apart: ``learning rate 1.0``."""
        return self._distinctions(np.array([position, other]))[position].removeprefix(", ")

    @cached_property
    def _groups(self) -> Integers:
        """The same number for configurations of the same workers and batch."""
        codes, _ = pd.factorize(np.array([_size_name(*sizes) for sizes in self.settings.sizes]))
        return np.asarray(codes, dtype=np.int64)

    def _members(self, group: int) -> Integers:
        order, starts = self._order
        return order[starts[group] : starts[group + 1]]

    @cached_property
    def _order(self) -> tuple[Integers, Integers]:
        """Configurations by group, and where each group begins."""
        sizes = np.bincount(self._groups)
        return np.argsort(self._groups, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])

    def _size_name(self, position: int) -> str:
        return _size_name(*self.settings.sizes[position])

    def _distinctions(self, positions: Integers) -> dict[int, str]:
        members = positions.tolist()
        if len(members) == 1:
            return {members[0]: ""}
        others = [_other_settings(self.settings[position]) for position in members]
        if len({other["num_nodes"] for other in others if "num_nodes" in other}) < 2:
            # Runs that never reached a worker have none; that tells nothing apart.
            others = [{k: v for k, v in o.items() if k != "num_nodes"} for o in others]
        return dict(zip(members, _differences(others), strict=True))


def name_configurations(settings: pd.DataFrame) -> Names:
    """A name for each configuration, unlike all others.

    Args:
        settings: One row a configuration, in the order of its number.
    """
    return Names(settings)


def _other_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting but the sizes, as plain values by dotted name."""
    found = {name: settings[name] for name in _OTHERS if settings.get(name) is not None}
    if "num_nodes" in found:
        found["num_nodes"] = int(found["num_nodes"])
    return found | _flatten(read_parameters(settings.get("parameters")))


def _size_name(
    world_size: int | None, batch: int | None, steps: int | None, total: int | None
) -> str:
    workers = count(world_size or 0, "worker")
    if batch is None:
        return workers if total is None else f"{workers} (global batch {total:,})"
    name = f"{workers} x {batch:,}"
    if steps is not None and steps > 1:
        name += f" x {steps} steps"
    return (
        name if total is None or world_size == steps == 1 else f"{name} (global batch {total:,})"
    )


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _differences(settings: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for found in settings for name in found)
    varying = [name for name in names if len({repr(found.get(name)) for found in settings}) > 1]
    return [
        "".join(f", {_leaf(name)} {found[name]}" for name in varying if name in found)
        for found in settings
    ]


def _leaf(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1].replace("_", " ")
