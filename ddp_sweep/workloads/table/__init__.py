"""A table of your own, CSV or Parquet with a label column; no code. See TABLE.md beside this."""

from __future__ import annotations

from ddp_sweep.workloads.table.workload import Table

__all__ = ["Table"]
