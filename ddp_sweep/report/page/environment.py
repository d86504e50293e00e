"""What one needs to know to run it again: machine, versions, code and settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ddp_sweep.report.page.material import Material
from ddp_sweep.report.view import RankingView

__all__ = ["Environment", "environment"]

_MOST_VALUES = 6
_COLUMNS = {
    "device_type": "Device",
    "device_name": "Device name",
    "accelerator": "Accelerator",
    "num_nodes": "Nodes",
    "physical_cores": "Physical cores",
    "threads_per_worker": "Threads of a worker",
    "placement": "Placement",
    "compute_precision": "Precision",
    "torch_version": "torch",
    "ray_version": "Ray",
    "ddp_sweep_version": "ddp-sweep",
    "code_version": "Code of the workload",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where and with what the runs were made, and how to repeat them."""

    facts: tuple[tuple[str, str], ...]
    """Name and value; several values where the runs differ."""
    spec_text: str | None
    repeat: str | None
    """Command that runs the settings above, saved as a file."""
    commands: tuple[tuple[str, str], ...]
    """Commands that go on from these results: what each gives, and the command."""


def environment(material: Material, view: RankingView) -> Environment:
    """Everything that the source tells of it."""
    return Environment(
        facts=tuple(_facts(material)),
        spec_text=material.spec_text,
        repeat=None if material.spec_text is None else "ddp-sweep run sweep.yaml",
        commands=tuple((gives, command) for command, gives in view.commands),
    )


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    if material.ranking.conditions.source is not None:
        yield "Source", material.ranking.conditions.source
    runs = material.attempts
    for column, name in _COLUMNS.items():
        if column in runs:
            values = sorted(runs[column].dropna().astype(str).unique())
            if values:
                more = len(values) - _MOST_VALUES
                yield (
                    name,
                    ", ".join(values[:_MOST_VALUES]) + (f", {more} more" if more > 0 else ""),
                )
    if {"started_at", "finished_at"} <= set(runs):
        first, last = runs["started_at"].min(), runs["finished_at"].max()
        if not (pd.isna(first) or pd.isna(last)):
            yield "Run between", f"{first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC"
