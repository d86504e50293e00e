"""The sweep file: what it may say, and what is wrong with one that says something else.

Names are resolved on first use: judging results needs the table of metrics, and none of the models
that a sweep file is checked with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddp_sweep.spec.axes import SweepAxes
    from ddp_sweep.spec.loading import load_spec, parse_spec
    from ddp_sweep.spec.metrics import METRICS, Metric, split_class
    from ddp_sweep.spec.sections import (
        DataSettings,
        DdpSettings,
        QualitySettings,
        ResourceSettings,
        TrainingSettings,
    )
    from ddp_sweep.spec.sweep_spec import SweepSpec
    from ddp_sweep.spec.values import Json, canonical_json

__all__ = [
    "METRICS",
    "DataSettings",
    "DdpSettings",
    "Json",
    "Metric",
    "QualitySettings",
    "ResourceSettings",
    "SweepAxes",
    "SweepSpec",
    "TrainingSettings",
    "canonical_json",
    "load_spec",
    "parse_spec",
    "split_class",
]

_HOMES = {
    "axes": ("SweepAxes",),
    "loading": ("load_spec", "parse_spec"),
    "metrics": ("METRICS", "Metric", "split_class"),
    "sections": (
        "DataSettings",
        "DdpSettings",
        "QualitySettings",
        "ResourceSettings",
        "TrainingSettings",
    ),
    "sweep_spec": ("SweepSpec",),
    "values": ("Json", "canonical_json"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as wide as the package's names
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
