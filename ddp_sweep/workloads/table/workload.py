"""The workload: options in, tensors, model and loss out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from ddp_sweep.errors import DataWarning, WorkloadError
from ddp_sweep.workload import (
    Binary,
    LossSum,
    Multiclass,
    Regression,
    Task,
    class_names,
)
from ddp_sweep.workloads.table.columns import choose_columns
from ddp_sweep.workloads.table.description import describe_table
from ddp_sweep.workloads.table.encoding import Encoder
from ddp_sweep.workloads.table.labels import read_labels
from ddp_sweep.workloads.table.leaks import find_leaks
from ddp_sweep.workloads.table.model import TableModel
from ddp_sweep.workloads.table.options import (
    Scalar,
    Split,
    TableOptions,
    read_names,
    require_sizes,
)
from ddp_sweep.workloads.table.reading import read_table
from ddp_sweep.workloads.table.splitting import split_rows

__all__ = ["Table"]


class Table:
    """Predict the label column of a CSV or Parquet file from its other columns.

    Args:
        path: The file; relative to the sweep file.
        label: The column to predict.
        task: ``auto``, ``binary``, ``multiclass`` or ``regression``.
        positive: Of two classes the one whose recall and precision are reported.
        features: Columns to use, or the name of one; all others if not given.
        drop: Columns to leave out, or the name of one.
        categorical: Columns of numbers that are names, such as a postcode.
        split: ``{by: random | time | group, column: ..., validation: 0.2, seed: 0}``; also
            ``random`` alone.
        class_weight: How much a positive row counts in the training loss, a mapping from classes
            to weights, or ``balanced``.
        hidden: Widths of the hidden layers.
        embedding: Width of the embedding of a category; by the number of categories if not given.
        dropout: Share of hidden units left out in training.
        separator: Of a CSV file.
    """

    def __init__(
        self,
        path: Path,
        label: str,
        *,
        task: str = "auto",
        positive: Scalar | None = None,
        features: Sequence[str] | str | None = None,
        drop: Sequence[str] | str = (),
        categorical: Sequence[str] | str = (),
        split: Mapping[str, Any] | str | None = None,
        class_weight: float | str | Mapping[str, float] | None = None,
        hidden: Sequence[int] | int = (64, 64),
        embedding: int | None = None,
        dropout: float = 0.0,
        separator: str = ",",
    ) -> None:
        if not isinstance(path, str | Path):
            raise WorkloadError(f"path: received {path!r}; allowed: the path of a file")
        options = TableOptions(
            path=Path(path),
            label=str(label) if isinstance(label, int) else label,
            task=task,
            positive=positive,
            features=None if features is None else read_names("features", features),
            drop=read_names("drop", drop),
            categorical=read_names("categorical", categorical),
            split=Split.parse(split),
            separator=separator,
        )
        widths = require_sizes(hidden, embedding, dropout)
        self._table = _read(options)
        self.task = self._table.task
        self._hidden, self._embedding, self._dropout = widths, embedding, dropout
        if class_weight is not None:
            self._weights = _class_weights(class_weight, self._table)
            # Only where rows weigh differently: a sum of weights over all workers takes time.
            self.training_step = self._weighted_step

    def build_model(self) -> nn.Module:
        """The multilayer perceptron that fits the table's columns."""
        table = self._table
        return TableModel(
            table.numbers,
            table.category_counts,
            self.task.num_classes if isinstance(self.task, Multiclass) else 1,
            hidden=self._hidden,
            embedding=self._embedding,
            dropout=self._dropout,
            centre=table.centre,
            scale=table.scale,
        )

    def build_data(self) -> tuple[TensorDataset, TensorDataset]:
        """Training and validation rows; warns of what seems to leak between them."""
        for note in self._table.notes:
            warnings.warn(note, DataWarning, stacklevel=2)
        return self._table.train, self._table.validation

    def describe(self) -> dict[str, str]:
        """How each column was read, missing values, labels on both sides, where a split cuts."""
        return dict(self._table.description)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each row; of a regression the squared error in label deviations."""
        if isinstance(self.task, Binary):
            return functional.binary_cross_entropy_with_logits(
                outputs.squeeze(1), targets.float(), reduction="none"
            )
        if isinstance(self.task, Multiclass):
            return functional.cross_entropy(outputs, targets, reduction="none")
        return ((outputs.squeeze(1) - targets) / self._table.scale).square()

    def _weighted_step(self, model: nn.Module, batch: Any) -> LossSum:  # noqa: ANN401
        inputs, targets = batch
        weights = self._weights.to(targets.device)[targets]
        losses = self.loss(model(inputs).float(), targets)
        return LossSum((losses * weights).sum(), weights.sum())


@dataclass(frozen=True, kw_only=True)
class _ReadTable:
    """A table as tensors."""

    task: Task
    train: TensorDataset
    validation: TensorDataset
    numbers: int
    category_counts: tuple[int, ...]
    centre: float
    scale: float
    notes: tuple[str, ...]
    description: Mapping[str, str]


def _read(options: TableOptions) -> _ReadTable:
    try:
        changed = options.path.stat().st_mtime_ns
    except OSError:
        changed = 0  # the reader says what is wrong
    return _read_once(options, changed)


@lru_cache(maxsize=2)
def _read_once(options: TableOptions, changed: int) -> _ReadTable:  # noqa: ARG001 - part of the key
    frame = read_table(options.path, options.separator)
    columns = choose_columns(frame, options)
    labels = read_labels(frame, options)
    train, validation = split_rows(frame, labels, options.split)
    encoder = Encoder(frame.iloc[train], columns)
    kind = np.float32 if isinstance(labels.task, Regression) else np.int64
    sets = []
    for rows in (train, validation):
        inputs = torch.from_numpy(encoder.encode(frame.iloc[rows]).astype(np.float32))
        sets.append(TensorDataset(inputs, torch.from_numpy(labels.values[rows].astype(kind))))
    regression = isinstance(labels.task, Regression)
    deviation = float(labels.values[train].std()) if regression else 1.0
    return _ReadTable(
        task=labels.task,
        train=sets[0],
        validation=sets[1],
        numbers=sets[0].tensors[0].shape[1] - len(columns.categorical),
        category_counts=encoder.category_counts,
        centre=float(labels.values[train].mean()) if regression else 0.0,
        scale=deviation or 1.0,
        notes=(
            *labels.notes,
            *columns.notes,
            *find_leaks(frame, columns, labels, train, validation),
        ),
        description=describe_table(frame, options, columns, labels, (train, validation)),
    )


def _class_weights(given: float | str | Mapping[str, float], table: _ReadTable) -> Tensor:
    """Weight of each class, float32, shape [classes].

    Raises:
        WorkloadError: It does not fit the task.
    """
    if isinstance(table.task, Regression):
        raise WorkloadError("class_weight: a regression has no classes")
    names = class_names(table.task) or []
    if given == "balanced":
        counts = torch.bincount(table.train.tensors[1], minlength=len(names)).float()
        return counts.sum() / (len(names) * counts)
    if isinstance(given, int | float) and isinstance(table.task, Binary) and given > 0:
        weights = torch.ones(2)
        weights[table.task.positive] = float(given)
        return weights
    if isinstance(given, Mapping) and all(str(name) in names for name in given):
        return torch.tensor([float(given.get(name, 1.0)) for name in names])
    raise WorkloadError(
        f"class_weight: received {given!r}; allowed: balanced, a number above 0 for the positive "
        f"of two classes, or a mapping from classes ({', '.join(names[:8])}) to weights"
    )
