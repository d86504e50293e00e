"""Workloads whose samples may be read by loading processes alone."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset, TensorDataset, get_worker_info
from training_workloads import Layers

__all__ = ["NeverHere", "ReadElsewhere"]


class NeverHere(Dataset[Any]):
    """Rows that no process but a loading one may read."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        assert get_worker_info() is not None, "read by the process that trains"
        return self.rows[index]


class ReadElsewhere(Layers):
    """Training and validation rows that the process which trains must not read."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__(kind)

    def build_data(self) -> Any:
        train, validation = super().build_data()
        assert isinstance(train, TensorDataset)
        return NeverHere(train), NeverHere(validation)
