"""Sends a sweep to a cluster that runs elsewhere, and brings its results back.

``shipment`` says which files travel, ``checks`` looks at the cluster before anything is trained,
``jobs`` speaks with the cluster, ``following`` shows what a job prints, ``packing`` and
``fetching`` are the way back, ``submit`` is the whole course. ``manifests`` writes
what other schedulers read, and starts nothing.
"""

from __future__ import annotations

__all__ = ["RESUME_VARIABLE"]

RESUME_VARIABLE = "DDP_SWEEP_RESUME_COMMAND"
"""Environment variable with the command that started a run elsewhere, and goes on with it."""
