"""How many workers and which batch size train a PyTorch model fastest without losing quality.

Names are resolved on first use, so that judging results loads neither torch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddp_sweep.api import Ranking, rank, run_sweep
    from ddp_sweep.cluster.driver.agenda import Additions
    from ddp_sweep.cluster.driver.sweep import SweepOutcome
    from ddp_sweep.errors import DataWarning
    from ddp_sweep.results import Results, load_results
    from ddp_sweep.spec import SweepSpec, load_spec
    from ddp_sweep.workload import (
        Binary,
        EvaluationOutput,
        LanguageModel,
        LossSum,
        Metric,
        Multiclass,
        Regression,
        Workload,
    )

__all__ = [
    "Additions",
    "Binary",
    "DataWarning",
    "EvaluationOutput",
    "LanguageModel",
    "LossSum",
    "Metric",
    "Multiclass",
    "Ranking",
    "Regression",
    "Results",
    "SweepOutcome",
    "SweepSpec",
    "Workload",
    "__version__",
    "load_results",
    "load_spec",
    "rank",
    "run_sweep",
]

__version__ = "0.1.0"

_HOMES = {
    "ddp_sweep.api": ("Ranking", "rank", "run_sweep"),
    "ddp_sweep.cluster.driver.agenda": ("Additions",),
    "ddp_sweep.cluster.driver.sweep": ("SweepOutcome",),
    "ddp_sweep.errors": ("DataWarning",),
    "ddp_sweep.results": ("Results", "load_results"),
    "ddp_sweep.spec": ("SweepSpec", "load_spec"),
    "ddp_sweep.workload": (
        "Binary",
        "EvaluationOutput",
        "LanguageModel",
        "LossSum",
        "Metric",
        "Multiclass",
        "Regression",
        "Workload",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as wide as the public API
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
