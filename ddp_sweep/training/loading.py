"""From indices to batches on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from ddp_sweep.spec import DataSettings
from ddp_sweep.training.batches import Indices
from ddp_sweep.workload import Workload

__all__ = ["BatchSource", "move_batch"]


class BatchSource:
    """Delivers the batches of one data set, in the order asked for.

    Tensors in memory are indexed a whole batch at a time; anything else goes through a DataLoader.

    Args:
        dataset: Map-style data set.
        workload: For its ``collate``, where it has one.
        settings: ``loader_workers`` and ``pin_memory``.
        device: Where the batches are needed.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        workload: Workload,
        settings: DataSettings,
        device: torch.device,
    ) -> None:
        self._dataset = dataset
        self._collate = getattr(workload, "collate", None)
        self._device = device
        self._in_memory = type(dataset) is TensorDataset and self._collate is None
        self._loader_workers = self._resolve_workers(settings)
        self._pin = settings.pin_memory
        if self._pin == "auto":
            self._pin = device.type == "cuda"

    def _resolve_workers(self, settings: DataSettings) -> int:
        if settings.loader_workers != "auto":
            return settings.loader_workers
        # On a CPU a loading process would take the cores that the training is timed on.
        return 0 if self._in_memory or self._device.type == "cpu" else 2

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def stream(self, batches: Iterable[Indices]) -> Iterator[Any]:
        """The batches of a sequence of indices, fetched ahead by loading processes if any."""
        if self._in_memory:
            return (self.fetch(indices) for indices in batches)
        loader: DataLoader[Any] = DataLoader(
            self._dataset,
            batch_sampler=_Sampler(batches),
            num_workers=self._loader_workers,
            collate_fn=self._collate,
            pin_memory=bool(self._pin),
        )
        return (move_batch(batch, self._device) for batch in loader)

    def fetch(self, indices: Indices) -> Any:  # noqa: ANN401 - a batch is what the user makes it
        """One batch, at once and in this process."""
        if self._in_memory:
            assert isinstance(self._dataset, TensorDataset)
            rows = torch.from_numpy(indices)
            batch: Any = tuple(tensor[rows] for tensor in self._dataset.tensors)
        else:
            collate = self._collate or default_collate
            batch = collate([self._dataset[int(index)] for index in indices])
        return move_batch(batch, self._device)


class _Sampler:
    """A batch sampler over a given sequence; the loader asks for it only once."""

    def __init__(self, batches: Iterable[Indices]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return (indices.tolist() for indices in self._batches)


def move_batch(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - any nesting
    """Bring every tensor of a batch (nested tuples, lists, dicts) to a device."""
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: move_batch(value, device) for key, value in batch.items()}
    if hasattr(batch, "to"):
        return batch.to(device)  # a packed sequence, a tokenizer's batch
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        moved = [move_batch(value, device) for value in batch]
        is_named = hasattr(batch, "_fields")
        return type(batch)(*moved) if is_named else type(batch)(moved)  # type: ignore[call-arg]
    return batch
