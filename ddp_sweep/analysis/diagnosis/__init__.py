"""What a reader should know before trusting the figures: each pitfall with its evidence.

One module a family of pitfalls. ``overview`` collects those of the ranking as a whole,
``configurations`` those of single configurations.
"""

from __future__ import annotations

from ddp_sweep.analysis.diagnosis.configurations import diagnose_configurations
from ddp_sweep.analysis.diagnosis.overview import diagnose

__all__ = ["diagnose", "diagnose_configurations"]
