"""The sweep file: what it may say, and what is wrong with one that says something else."""

from __future__ import annotations

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
