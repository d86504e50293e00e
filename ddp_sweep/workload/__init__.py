"""What a user writes: a model, its data and its loss, and how such a workload is loaded."""

from ddp_sweep.workload.loading import code_version, load_workload
from ddp_sweep.workload.metrics import Metric, declared_metrics, directions
from ddp_sweep.workload.paths import located, path_options
from ddp_sweep.workload.protocol import EvaluationOutput, LossSum, Workload, WorkloadFactory
from ddp_sweep.workload.tasks import (
    Binary,
    LanguageModel,
    Multiclass,
    Regression,
    Task,
    class_names,
)
from ddp_sweep.workload.tracebacks import user_traceback

__all__ = [
    "Binary",
    "EvaluationOutput",
    "LanguageModel",
    "LossSum",
    "Metric",
    "Multiclass",
    "Regression",
    "Task",
    "Workload",
    "WorkloadFactory",
    "class_names",
    "code_version",
    "declared_metrics",
    "directions",
    "load_workload",
    "located",
    "path_options",
    "user_traceback",
]
