"""Validation samples that also are training samples, counted by the content of the samples.

Exact copies only: a sample that was cropped, recoded or reworded is another sample here.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ddp_sweep.training.ranks import Ranks

__all__ = ["count_overlap", "sample_digest"]

MOST_S = 10.0
"""Estimated time above which the samples are not read only to be compared."""

_TRIED = 32
_READ_TOGETHER = 256
"""Samples that a loading process reads between two messages."""
_DIGEST_BYTES = 16
_Digests = NDArray[np.int64]


def count_overlap(
    train: Dataset[Any],
    validation: Dataset[Any],
    ranks: Ranks,
    processes: int = 0,
    now: Callable[[], float] = time.perf_counter,
) -> int | None:
    """Count the validation samples whose whole content occurs among the training samples.

    Every rank reads its share of both sets; all ranks call it together and get the same answer.

    Args:
        train: Training set.
        validation: Validation set.
        ranks: The ranks of the trial.
        processes: Processes that load samples which are not in memory. With any, this process
            reads none: a data set may open its file at the first, and processes that are forked
            off later would share the position in it.
        now: Clock in seconds.

    Returns:
        None where samples are of a kind whose content cannot be compared, where a data set returns
        another sample when it is asked again, or where reading them all would take longer than
        ``MOST_S``.
    """
    data = [(dataset, _share(dataset, ranks)) for dataset in (train, validation)]
    estimates = [
        _seconds_each(dataset, share, processes, now) * len(share) for dataset, share in data
    ]
    if not ranks.largest(sum(estimates) / max(1, processes)) <= MOST_S:
        return None
    known, own_seen = (_digests(dataset, share, processes) for dataset, share in data)
    if ranks.smallest(float(known is not None and own_seen is not None)) == 0.0:
        return None
    assert known is not None and own_seen is not None
    seen = ranks.gather_rows(torch.from_numpy(own_seen).to(ranks.device)).cpu().numpy()
    # Among the training samples that each rank has read itself, so that none has to hold all.
    # First halves are compared first: they are numbers, which takes a third of the time.
    known = known[np.isin(known[:, 0], seen[:, 0])]
    found = torch.from_numpy(np.isin(_whole(seen), _whole(known)))
    return int(ranks.max_(found.to(ranks.device, torch.int32)).sum())


def _share(dataset: Dataset[Any], ranks: Ranks) -> NDArray[np.int64]:
    return np.arange(ranks.rank, len(dataset), ranks.world_size)  # type: ignore[arg-type]


def _whole(digests: _Digests) -> NDArray[np.void]:
    """Each digest as one value, which numpy sorts and compares."""
    return np.ascontiguousarray(digests).view(f"V{_DIGEST_BYTES}").ravel()


def _seconds_each(
    dataset: Dataset[Any],
    share: NDArray[np.int64],
    processes: int,
    now: Callable[[], float],
) -> float:
    """Time to read a sample; infinite where its content is not known or never the same."""
    tried = share[:_TRIED]
    # The first sample alone before, since what loads samples takes a moment to start.
    batches = [share[:1], tried, tried]
    try:
        digests = _digest_batches(dataset, batches, min(1, processes))
        next(digests)
        began = now()
        first = next(digests)
        each = (now() - began) / max(1, len(tried))
        return each if next(digests) == first else math.inf
    except TypeError:
        return math.inf


def _digests(dataset: Dataset[Any], share: NDArray[np.int64], processes: int) -> _Digests | None:
    """Digests of the samples, shape [samples, 2]; None where one cannot be had."""
    cuts = range(_READ_TOGETHER, len(share), _READ_TOGETHER)
    try:
        found = b"".join(_digest_batches(dataset, np.split(share, cuts), processes))
    except TypeError:
        return None
    return np.frombuffer(found, dtype=np.int64).reshape(-1, 2).copy()


def _digest_batches(
    dataset: Dataset[Any], batches: Sequence[NDArray[np.int64]], processes: int
) -> Iterator[bytes]:
    """The digests of each batch of samples, one after the other.

    Raises (when it is iterated over):
        TypeError: A sample is of a kind whose content is not known.
    """
    if type(dataset) is TensorDataset:
        return (_tensor_rows(dataset, batch) for batch in batches)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=processes,
        collate_fn=_joined_digests,
        # Its own, since the seeds of loading processes would else be drawn from the global one.
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


def _joined_digests(samples: list[Any]) -> bytes:
    return b"".join(map(sample_digest, samples))


def _tensor_rows(dataset: TensorDataset, share: NDArray[np.int64]) -> bytes:
    """The same digests as from the samples one by one, without making a tensor for each row."""
    columns = [_to_array(tensor) for tensor in dataset.tensors]
    heads = [_head(column[0]) for column in columns] if len(share) else []
    found = []
    for index in share:
        digest = hashlib.blake2b(b"(", digest_size=_DIGEST_BYTES)
        for head, column in zip(heads, columns, strict=True):
            digest.update(head)
            digest.update(column[index].tobytes())
        digest.update(b")")
        found.append(digest.digest())
    return b"".join(found)


def sample_digest(sample: Any) -> bytes:  # noqa: ANN401 - a sample is what the user makes it
    """Hash of the content of a sample: tensors, arrays, numbers, texts, nested in any way.

    A tensor and an array of the same type, shape and values are the same; so are a tuple and a
    list of the same items.

    Raises:
        TypeError: A part is of a kind whose content is not known.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    _add(sample, digest.update)
    return digest.digest()


def _add(part: Any, update: Callable[[bytes], None]) -> None:  # noqa: ANN401 - any nesting
    if isinstance(part, Tensor | np.ndarray | np.generic) or hasattr(part, "__array_interface__"):
        array = _to_array(part) if isinstance(part, Tensor) else np.asarray(part)
        if array.dtype.hasobject:
            raise TypeError("an array of objects")
        update(_head(array))
        update(array.tobytes())
    elif part is None or isinstance(part, bool | int | float | complex | str | bytes):
        text = part if isinstance(part, bytes) else repr(part).encode()
        update(f"<{type(part).__name__} {len(text)}>".encode())
        update(text)
    elif isinstance(part, Mapping):
        update(b"{")
        for key in sorted(part, key=repr):
            _add(key, update)
            _add(part[key], update)
        update(b"}")
    elif isinstance(part, Sequence):
        update(b"(")
        for item in part:
            _add(item, update)
        update(b")")
    else:
        raise TypeError(f"a part of type {type(part).__name__}")


def _to_array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return tensor.numpy()


def _head(array: NDArray[Any] | np.generic) -> bytes:
    """Type and shape, so that the bytes of different arrays are not taken for each other."""
    return f"<{array.dtype.str} {array.shape}>".encode()
