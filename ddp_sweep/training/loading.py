"""From indices to batches on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from ddp_sweep.errors import WorkloadError
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.augmentation import AugmentedDataset
from ddp_sweep.training.batches import Draw, Indices
from ddp_sweep.workload import Workload

__all__ = ["BatchSource", "loading_processes", "move_batch"]


def loading_processes(settings: DataSettings, device: torch.device) -> int:
    """Processes that load a data set whose samples are not in memory; 0 where this one does."""
    if settings.loader_workers != "auto":
        return settings.loader_workers
    # On a CPU a loading process would take the cores that the training is timed on.
    return 0 if device.type == "cpu" else 2


class BatchSource:
    """Delivers the batches of one data set, in the order asked for.

    Tensors in memory are indexed a whole batch at a time; anything else goes through a DataLoader.
    Where there are loading processes, this one never reads a sample: a data set may open its file
    at the first, and processes that are forked off later would share the position in it.

    Args:
        dataset: Map-style data set.
        workload: For its ``collate`` and ``augment``, where it has them.
        settings: ``loader_workers`` and ``pin_memory``.
        device: Where the batches are needed.
        augmentation_seed: Seed of the trial, for the training set, which alone is augmented;
            None for a validation set.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        workload: Workload,
        settings: DataSettings,
        device: torch.device,
        *,
        augmentation_seed: int | None = None,
    ) -> None:
        self._collate = getattr(workload, "collate", None)
        augment = getattr(workload, "augment", None)
        self._augmented = augment is not None and augmentation_seed is not None
        if augment is not None and augmentation_seed is not None:
            dataset = AugmentedDataset(dataset, augment, augmentation_seed)
        self._dataset = dataset
        self._device = device
        # A subclass may compute its samples; an augmented data set does.
        self._in_memory = type(dataset) is TensorDataset and self._collate is None
        self._loader_workers = self._resolve_workers(settings)
        # Memory is pinned for copies to a GPU; there is nothing to pin it for on a CPU.
        self._pin = device.type == "cuda" and settings.pin_memory is not False
        self._kept: DataLoader[Any] | None = None

    def _resolve_workers(self, settings: DataSettings) -> int:
        return 0 if self._in_memory else loading_processes(settings, self._device)

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    @property
    def loader_workers(self) -> int:
        """Processes that load samples; 0 where this process does."""
        return self._loader_workers

    def stream(self, draws: Iterable[Draw]) -> Iterator[Any]:
        """The batches of a sequence of draws, on the host; fetched ahead by loading processes."""
        if self._in_memory:
            return (self._cut_out(indices) for indices, _ in draws)
        keys = (self._keys(indices, epoch) for indices, epoch in draws)
        return iter(self._loader(keys, processes=self._loader_workers))

    def move(self, batch: Any) -> Any:  # noqa: ANN401 - the user's batch
        """A batch of :meth:`stream` on the device."""
        return move_batch(batch, self._device)

    def stream_again(self, batches: Sequence[Indices]) -> Iterator[Any]:
        """The same batches at every call; loading processes stay until :meth:`close`."""
        if self._in_memory:
            return (self.move(self._cut_out(indices)) for indices in batches)
        if self._kept is None:
            keys = [self._keys(indices, 0) for indices in batches]
            self._kept = self._loader(
                keys, processes=self._loader_workers, stay=self._loader_workers > 0
            )
        return map(self.move, self._kept)

    def close(self) -> None:
        """End the loading processes that were kept."""
        # They end with the last reference to the loader's iterator.
        self._kept = None

    def stream_few(self, draws: Iterable[Draw]) -> Iterator[Any]:
        """A few batches on the device, loaded by one process at most.

        Two would start with equal generators, so that chance in the data set would look like none.
        """
        if self._in_memory:
            return (self.move(self._cut_out(indices)) for indices, _ in draws)
        keys = (self._keys(indices, epoch) for indices, epoch in draws)
        loader = self._loader(keys, processes=min(1, self._loader_workers))
        return map(self.move, loader)

    def fetch(self, indices: Indices, epoch: int = 0) -> Any:  # noqa: ANN401 - the user's batch
        """One batch."""
        return next(self.stream_few([(indices, epoch)]))

    def _cut_out(self, indices: Indices) -> Any:  # noqa: ANN401 - the user's batch
        assert isinstance(self._dataset, TensorDataset)
        rows = torch.from_numpy(indices)
        batch = tuple(tensor[rows] for tensor in self._dataset.tensors)
        if self._pin:
            # What is cut out is pageable, and copying that to a GPU waits for the GPU.
            batch = tuple(part if part.is_cuda else part.pin_memory() for part in batch)
        return batch

    def _keys(self, indices: Indices, epoch: int) -> list[Any]:
        rows: list[int] = indices.tolist()
        return [(epoch, row) for row in rows] if self._augmented else rows

    def _loader(
        self, keys: Iterable[list[Any]], *, processes: int, stay: bool = False
    ) -> DataLoader[Any]:
        return DataLoader(
            self._dataset,
            batch_sampler=_Sampler(keys),
            num_workers=processes,
            collate_fn=self._collate or _stacked,
            pin_memory=self._pin,
            persistent_workers=stay,
            # The seeds of loading processes come from here and not from the global generator,
            # whose numbers (dropout) would else depend on how many loaders were started.
            generator=torch.Generator().manual_seed(0),
        )


def _stacked(samples: list[Any]) -> Any:  # noqa: ANN401 - a batch of whatever the samples are
    """A batch as PyTorch makes it of samples of equal shape."""
    try:
        return default_collate(samples)
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise WorkloadError(
            f"{len(samples)} samples of the data set do not make a batch ({said}): give your "
            "workload collate(samples) -> batch, which may pad them to one length"
        ) from error


class _Sampler:
    """A batch sampler over given batches of keys."""

    def __init__(self, batches: Iterable[list[Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self._batches)


def move_batch(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - any nesting
    """Bring every tensor of a batch (nested tuples, lists, dicts) to a device."""
    if isinstance(batch, Tensor):
        # The host must not read what a GPU is still sending.
        non_blocking = device.type != "cpu"
        return batch if batch.device == device else batch.to(device, non_blocking=non_blocking)
    if isinstance(batch, dict):
        return {key: move_batch(value, device) for key, value in batch.items()}
    if hasattr(batch, "to"):
        return batch.to(device)  # a packed sequence, a tokenizer's batch
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        moved = [move_batch(value, device) for value in batch]
        is_named = hasattr(batch, "_fields")
        return type(batch)(*moved) if is_named else type(batch)(moved)  # type: ignore[call-arg]
    return batch
