"""Conditions between several keys of a sweep file.

They read the file as it was written, not the finished models: so all broken rules can be listed
together with all bad values, whichever other problems the file has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ddp_sweep.spec.axes import BATCH_AXES, OPTION_PREFIX
from ddp_sweep.spec.document import KeyPath
from ddp_sweep.spec.metrics import floor_problem, margin_problem, target_problem
from ddp_sweep.spec.nearest import unknown_name
from ddp_sweep.spec.sections import TrainingSettings

__all__ = ["broken_rules"]

Problem = tuple[KeyPath, str]


def broken_rules(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    """Every condition between keys that does not hold, with the place to mend it."""
    yield from _batch_axis(raw)
    yield from _budget(raw)
    yield from _scaling(raw)
    yield from _static_graph(raw)
    yield from _cells(raw)
    yield from _metrics(raw)


def _section(raw: Mapping[Any, Any], name: str) -> Mapping[Any, Any]:
    section = raw.get(name)
    return section if isinstance(section, Mapping) else {}


def _training_values(raw: Mapping[Any, Any], key: str) -> list[Any]:
    """Every value that a trial of the sweep could have for a key of ``training``."""
    axis = _section(raw, "sweep").get(key)
    if isinstance(axis, list | tuple):
        return list(axis)
    default = TrainingSettings.model_fields[key].get_default(call_default_factory=True)
    return [_section(raw, "training").get(key, default)]


def _batch_axis(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    sweep = _section(raw, "sweep")
    if not sweep:
        return
    given = [axis for axis in BATCH_AXES if sweep.get(axis) is not None]
    if len(given) == 2:
        yield (
            ("sweep", BATCH_AXES[1]),
            f"received both {BATCH_AXES[0]} and {BATCH_AXES[1]}; remove one of them, the other "
            "follows from it and the world size",
        )
    elif not given:
        yield ("sweep",), f"missing {BATCH_AXES[0]} or {BATCH_AXES[1]}, such as [32, 128]"


def _budget(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    sweep, training = _section(raw, "sweep"), _section(raw, "training")
    given = []
    for key in ("epochs", "samples"):
        if training.get(key) is not None or sweep.get(key) is not None:
            given.append(key)
        axis = sweep.get(key)
        if isinstance(axis, list | tuple) and None in axis:
            yield ("sweep", key), "received null; allowed: numbers above 0, one for each trial"
    if len(given) == 2:
        place = "training" if training.get("samples") is not None else "sweep"
        yield (place, "samples"), "received both epochs and samples; give one of them"
    elif not given and isinstance(raw.get("training"), Mapping):
        yield ("training",), "missing epochs (such as 8) or samples (such as 50000)"


def _scaling(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    scalings = [v for v in _training_values(raw, "learning_rate_scaling") if v != "none"]
    if scalings and None in _training_values(raw, "reference_batch_size"):
        yield (
            ("training", "reference_batch_size"),
            f"received null with learning_rate_scaling: {scalings[0]}; give the global batch size "
            "at which learning_rate holds, or learning_rate_scaling: none",
        )


def _static_graph(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    static = any(
        isinstance(ddp, Mapping) and ddp.get("static_graph") is True
        for ddp in _training_values(raw, "ddp")
    )
    limits = _training_values(raw, "max_per_worker_batch_size")
    if static and any(limit is not None for limit in limits):
        yield (
            ("training", "ddp", "static_graph"),
            "received true with max_per_worker_batch_size; PyTorch's static graph fails when "
            "gradients are accumulated: set static_graph: false or remove the limit",
        )


def _cells(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    """Keys of ``baseline`` and ``exclude``: what tells the cells of this sweep apart."""
    sweep = _section(raw, "sweep")
    keys = ["world_size", *BATCH_AXES]
    keys += [
        key
        for key in sweep
        if key in TrainingSettings.model_fields or str(key).startswith(OPTION_PREFIX)
    ]
    excluded = sweep.get("exclude")
    cells: list[tuple[KeyPath, Any]] = [(("baseline",), raw.get("baseline"))]
    if isinstance(excluded, list | tuple):
        cells += [(("sweep", "exclude", at), cell) for at, cell in enumerate(excluded)]
    for path, cell in cells:
        if not isinstance(cell, Mapping):
            continue
        if not cell:
            yield path, f"received no keys; allowed: {', '.join(keys)}"
        for key in cell:
            if key not in keys:
                yield (*path, key), unknown_name("key", str(key), keys)


def _metrics(raw: Mapping[Any, Any]) -> Iterator[Problem]:
    judges: dict[str, Callable[[str, object], str | None]] = {
        "target": target_problem,
        "margins": margin_problem,
        "floors": floor_problem,
    }
    quality = _section(raw, "quality")
    for section, judge in judges.items():
        for name, value in _section(quality, section).items():
            message = judge(str(name), value)
            if message is not None:
                yield ("quality", section, name), message
