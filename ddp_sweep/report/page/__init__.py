"""One page with the answer, its evidence and every measurement: gather, compute, draw, write.

`build_report` is the way in. Each chart has an info object first; drawing it is a step of its own.
"""

from __future__ import annotations

from ddp_sweep.report.page.build import Report, build_report

__all__ = ["Report", "build_report"]
