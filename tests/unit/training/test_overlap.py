from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from hypothesis import strategies as st
from loading_workloads import NeverHere
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset
from trial_runs import group_ranks

from ddp_sweep.training.overlap import count_overlap, sample_digest
from ddp_sweep.training.probes import OverlapCounts
from ddp_sweep.training.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


class Rows(Dataset[Any]):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows
        self.read = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        return self.rows[index]


def sets(copies: int, seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 2, 50)
    own = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)
    joined = [np.concatenate([a, b[:copies]]) for a, b in zip(own, train, strict=True)]
    return (
        TensorDataset(*map(torch.from_numpy, train)),
        TensorDataset(*map(torch.from_numpy, joined)),
    )


@pytest.mark.parametrize("copies", [0, 1, 7])
def test_copies_are_counted_whatever_holds_the_samples(copies: int) -> None:
    train, validation = sets(copies)
    listed = Rows([validation[index] for index in range(len(validation))])

    assert count_overlap(train, validation, ALONE) == copies
    assert count_overlap(train, listed, ALONE) == copies
    assert count_overlap(Rows([train[index] for index in range(50)]), validation, ALONE) == copies


@pytest.mark.parametrize("processes", [1, 2])
def test_loading_processes_read_what_this_one_must_not(processes: int) -> None:
    train, validation = sets(7)
    hidden = NeverHere(train), NeverHere(validation)

    assert count_overlap(*hidden, ALONE, processes) == 7
    assert count_overlap(NeverHere([object()]), NeverHere([1]), ALONE, processes) is None


def shared(rank: int, copies: int) -> int | None:
    ranks = group_ranks(rank, 3)
    assert ranks is not None
    train, validation = sets(copies)
    counts = OverlapCounts()
    if rank == 0:  # knows already what the others have to learn from it
        counts.of({"x": 1}, train, validation, ALONE)
    return counts.of({"x": 1}, train, validation, ranks) or counts.of(
        {"x": 2}, train, validation, ranks
    )


@pytest.mark.ddp
def test_ranks_share_the_reading_and_agree(pool: RankProcesses) -> None:
    assert pool.run(shared, 5) == [5, 5, 5]
    assert pool.run(shared, 0) == [0, 0, 0]


def test_the_same_data_set_is_read_once() -> None:
    train, validation = Rows([1, 2, 3]), Rows([3, 4])
    counts = OverlapCounts()

    assert counts.of({"size": 1}, train, validation, ALONE) == 1
    read = train.read
    assert counts.of({"size": 1}, train, validation, ALONE) == 1
    assert train.read == read
    assert counts.of({"size": 2}, train, validation, ALONE) == 1
    assert train.read > read


def test_what_would_take_too_long_or_has_no_known_content_is_unknown() -> None:
    seconds = itertools.count(0.0, step=100.0)
    rows = Rows(list(range(40)))

    assert count_overlap(rows, rows, ALONE, now=lambda: next(seconds)) is None
    assert rows.read == 2 * (1 + 32 + 32)
    assert count_overlap(Rows([object()]), Rows([1]), ALONE) is None
    assert count_overlap(Rows([np.array([object()])]), Rows([1]), ALONE) is None


class Flipped(Rows):
    """A coin turns each sample round at every reading."""

    def __init__(self, rows: list[Any]) -> None:
        super().__init__(rows)
        self.rng = np.random.default_rng(0)

    def __getitem__(self, index: int) -> Any:
        row = super().__getitem__(index)
        return row[::-1] if self.rng.random() < 0.5 else row


@pytest.mark.parametrize("processes", [0, 1])
def test_samples_that_are_never_the_same_are_not_counted(processes: int) -> None:
    rows = [[index, index + 1] for index in range(40)]

    for train, validation in ((Flipped, Rows), (Rows, Flipped)):
        assert count_overlap(train(rows), validation(rows), ALONE, processes) is None
    assert count_overlap(Rows(rows), Rows(rows), ALONE, processes) == 40


def counted_later(rank: int) -> list[int | None]:
    """Too slow for one rank, which is asked first; not for three that share the reading."""
    train, validation = sets(5)
    slow = Rows([train[index] for index in range(len(train))])
    counts = OverlapCounts()
    found = []
    for size, limit_s in ((1, -1.0), (1, 1e9), (3, 1e9), (2, -1.0)):
        ranks = group_ranks(rank, size)
        with mock.patch("ddp_sweep.training.overlap.MOST_S", limit_s):
            found.append(ranks and counts.of({}, slow, validation, ranks))
    return found


@pytest.mark.ddp
def test_what_few_ranks_had_no_time_for_is_counted_by_more(pool: RankProcesses) -> None:
    # What was not counted is not tried again by as few; what was, is known from then on.
    assert pool.run(counted_later)[0] == [None, None, 5, 5]


def test_only_digests_of_validation_samples_go_from_rank_to_rank() -> None:
    train, validation = sets(7)
    gathered: list[int] = []

    class Counting(Ranks):
        def gather_rows(self, rows: Tensor) -> Tensor:
            gathered.append(len(rows))
            return rows

    ranks = Counting(0, 1, torch.device("cpu"))
    assert count_overlap(train, validation, ranks) == 7
    assert gathered == [len(validation)]


PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def canonical(part: Any) -> Any:
    """What makes two samples the same, written down another way: their type and content."""
    if isinstance(part, dict):
        return ("dict", sorted((key, canonical(value)) for key, value in part.items()))
    if isinstance(part, list | tuple):
        return ("items", [canonical(item) for item in part])
    return (type(part).__name__, repr(part))


@hypothesis.given(PARTS, PARTS)
def test_digests_are_equal_where_the_content_is(left: Any, right: Any) -> None:
    same = repr(canonical(left)) == repr(canonical(right))

    assert (sample_digest(left) == sample_digest(right)) is same


def test_arrays_are_told_apart_by_type_shape_and_values() -> None:
    arrays = [
        np.zeros(4, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(2, np.float64),
        np.array([0, 0, 0, 1], np.float32),
        np.zeros(4, np.int32),
    ]

    assert len({sample_digest(array) for array in arrays}) == len(arrays)
    for array in arrays:
        assert sample_digest(torch.from_numpy(array)) == sample_digest(array)
        assert sample_digest((array, 1)) == sample_digest([array, 1])
    ordered = np.arange(6).reshape(2, 3)
    assert sample_digest(np.asfortranarray(ordered)) == sample_digest(ordered)
    assert sample_digest(torch.zeros(2, dtype=torch.bfloat16))
