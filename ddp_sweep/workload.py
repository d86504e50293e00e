"""What a user writes: a model, its data and its loss, and how such a workload is loaded.

A workload is any class with the four members of :class:`Workload`; no base class is needed. It
knows nothing of Ray, of DDP or of this tool's training loop.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Protocol, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ddp_sweep.errors import WorkloadError

__all__ = [
    "Binary",
    "EvaluationOutput",
    "LossSum",
    "Multiclass",
    "Regression",
    "Task",
    "Workload",
    "WorkloadFactory",
    "class_names",
    "code_version",
    "load_workload",
    "user_traceback",
]

_CLASSIFICATION_METRICS = (
    *("accuracy", "balanced_accuracy", "precision", "recall"),
    *("f1", "mcc", "auroc", "average_precision"),
)
_LOSSES = ("train_loss", "val_loss")

# Folders of files whose lines are left out of a user's traceback.
_OURS, _IMPORTS, _TORCH = (
    str(Path(file).parent) + os.sep for file in (__file__, importlib.__file__, torch.__file__)
)
_BUNDLED = str(Path(__file__).parent / "workloads") + os.sep


@dataclass(frozen=True)
class Binary:
    """Two classes, labels 0 and 1; the model returns one logit a sample, that of label 1.

    ``positive`` is the label whose precision, recall and F1 are reported.
    """

    positive: int = 1
    class_names: Sequence[str] | None = None
    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, *_CLASSIFICATION_METRICS)

    def __post_init__(self) -> None:
        if self.positive not in (0, 1):
            raise ValueError(f"Binary(positive={self.positive!r}): a label, 0 or 1, is allowed")
        _check_names(self, 2)

    @property
    def num_classes(self) -> int:
        """Always 2."""
        return 2


@dataclass(frozen=True)
class Multiclass:
    """Labels 0 to ``num_classes - 1``; the model returns logits of shape [batch, num_classes]."""

    num_classes: int
    class_names: Sequence[str] | None = None
    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, *_CLASSIFICATION_METRICS)

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"Multiclass({self.num_classes!r}): at least 2 classes are needed")
        _check_names(self, self.num_classes)


@dataclass(frozen=True)
class Regression:
    """One value a sample; the model returns shape [batch] or [batch, 1]."""

    metrics: ClassVar[tuple[str, ...]] = (*_LOSSES, "mae", "rmse", "r2")


Task: TypeAlias = Binary | Multiclass | Regression


@dataclass(frozen=True)
class LossSum:
    """Loss of a batch as a sum and the weight it is to be divided by.

    The gradient of an optimizer step is the sum of ``total`` over the whole global batch divided
    by the sum of ``weight`` over it, whatever the number of workers.
    """

    total: Tensor
    """Sum of the weighted losses, a scalar with gradient."""
    weight: Tensor | float
    """Sum of the weights: samples, class weights, unmasked tokens."""


@dataclass(frozen=True)
class EvaluationOutput:
    """What a model made of one validation batch.

    Attributes:
        loss_sum: Sum of the weighted losses, a scalar.
        weight: Sum of the weights.
        targets: Labels, shape [batch].
        scores: Probabilities. Binary: of label 1, shape [batch]. Multiclass: [batch, classes].
        predictions: Labels or values, shape [batch]; derived from ``scores`` where not given.
    """

    loss_sum: Tensor
    weight: Tensor | float
    targets: Tensor
    scores: Tensor | None = None
    predictions: Tensor | None = None


class Workload(Protocol):
    """The four members every workload has.

    Optional members, used where present: ``training_step(model, batch) -> LossSum``,
    ``evaluation_step(model, batch) -> EvaluationOutput``,
    ``build_optimizer(model, learning_rate) -> Optimizer``,
    ``build_scheduler(optimizer, total_steps) -> LRScheduler``, ``collate(samples) -> batch``.
    """

    @property
    def task(self) -> Task:
        """What is to be predicted; a plain attribute will do."""
        ...

    def build_model(self) -> nn.Module:
        """A fresh model; global generators are seeded with the trial's seed beforehand."""
        ...

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        """Training and validation data, map-style; the split never depends on a trial's seed."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses of the samples, shape [batch]; no mean, no sum."""
        ...


WorkloadFactory: TypeAlias = Callable[..., Workload]
"""A workload class, or a function that returns a workload; called with ``workload_options``."""


def class_names(task: Task) -> list[str] | None:
    """Names of the classes in label order, ``"0"``, ``"1"`` where none are given.

    >>> class_names(Multiclass(3))
    ['0', '1', '2']
    """
    if isinstance(task, Regression):
        return None
    return list(task.class_names or map(str, range(task.num_classes)))


def _check_names(task: Binary | Multiclass, expected: int) -> None:
    if task.class_names is not None and len(task.class_names) != expected:
        raise ValueError(
            f"{type(task).__name__}: class_names has {len(task.class_names)} names "
            f"for {expected} classes"
        )


def load_workload(target: str, base_dir: Path | None = None) -> WorkloadFactory:
    """Import what a sweep file names as its workload.

    Args:
        target: ``package.module:attribute`` or ``path/to/file.py:attribute``.
        base_dir: Folder that a relative file path starts from; the current one if None.

    Raises:
        WorkloadError: The form is wrong, the module cannot be imported (with its own traceback),
            or it has no such attribute.
    """
    place, separator, attribute = target.rpartition(":")
    if not separator or not place or not attribute.isidentifier():
        raise WorkloadError(
            f"workload {target!r}: expected module:attribute or path/to/file.py:attribute"
        )
    if place.endswith(".py"):
        module = _import_file((base_dir or Path.cwd()) / place, target)
    else:
        module = _import_module(place, target)
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(attribute, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WorkloadError(f"workload {target!r}: {place} has no {attribute!r}{hint}")
    if not callable(factory):
        raise WorkloadError(
            f"workload {target!r}: {attribute} is of type {type(factory).__name__}; expected a "
            "class, or a function that returns a workload"
        )
    return cast("WorkloadFactory", factory)


def _import_module(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise WorkloadError(
                f"workload {target!r}: no module named {error.name!r} can be found; give a file "
                "as path/to/file.py:attribute, or install the package"
            ) from None
        raise _import_failed(target, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(target, error) from error


def _import_file(path: Path, target: str) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise WorkloadError(f"workload {target!r}: there is no file {path}")
    # One name a path: two files called workload.py must not be taken for each other.
    name = f"ddp_sweep_workload_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"workload {target!r}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As with `python file.py`, modules that lie beside the file can be imported.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_failed(target, error) from error
    return module


def _import_failed(target: str, error: BaseException) -> WorkloadError:
    return WorkloadError(f"workload {target!r} cannot be imported:\n{user_traceback(error)}")


def user_traceback(error: BaseException, *, frames: int = 5) -> str:
    """The last frames of an error's traceback that a user can do something about.

    Those of this tool and of the import system are left out, and those of torch unless there are
    no others.
    """
    kept = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_BUNDLED)
        or not frame.filename.startswith((_OURS, _IMPORTS, "<frozen"))
    ]
    users = [frame for frame in kept if not frame.filename.startswith(_TORCH)]
    shown = (users or kept)[-frames:]
    lines = traceback.format_list(shown) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()


def code_version(factory: WorkloadFactory) -> str:
    """Git commit of the folder a workload lies in and a hash of its source file, ``commit:hash``.

    Either part is ``unknown`` where it cannot be had: no repository, or no source file.
    """
    try:
        source = inspect.getsourcefile(factory)
    except TypeError:  # neither a class nor a function: partial(...), an object with __call__
        source = None
    if source is None or not Path(source).is_file():
        return "unknown:unknown"
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12]
    command = ["git", "-C", str(Path(source).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return f"unknown:{digest}"
    return f"{git.stdout.strip() if git.returncode == 0 else 'unknown'}:{digest}"
