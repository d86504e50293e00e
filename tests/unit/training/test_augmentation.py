from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from torch.utils.data import TensorDataset
from training_workloads import Augmented, Layers
from trial_runs import request, run_trial

from ddp_sweep.spec import DataSettings
from ddp_sweep.training.augmentation import sample_generator
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.messages import RankReport

AUGMENTED = "training_workloads:Augmented"
CPU = torch.device("cpu")

Run = Callable[..., tuple[RankReport, list[str]]]


@pytest.fixture
def run(pool: RankProcesses, tmp_path: Path) -> Run:
    """Runs a trial; returns its report and the hashes of what it saw, step by step."""
    count = 0

    def trial(
        world_size: int, loader_workers: int = 0, seed: int = 0, **options: bool
    ) -> tuple[RankReport, list[str]]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        wanted = request(
            AUGMENTED,
            world_size,
            30,
            seed=seed,
            options={"folder": str(folder), **options},
            training={"epochs": 2, "max_per_worker_batch_size": 5},
            data={"loader_workers": loader_workers},
        )
        report: RankReport = pool.run(run_trial, AUGMENTED, wanted)[0]
        return report, sorted(
            line for file in folder.iterdir() for line in file.read_text().splitlines()
        )

    return trial


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(
    ("loader_workers", "options"),
    [
        (0, {}),
        (0, {"in_place": True}),
        (0, {"listed": True}),
        (2, {"listed": True}),
    ],
    ids=["in memory", "in place", "one by one", "loading processes"],
)
def test_the_same_augmented_batches_whoever_loads_them(
    run: Run, world_size: int, loader_workers: int, options: dict[str, bool]
) -> None:
    _, expected = run(1)
    report, seen = run(world_size, loader_workers, **options)
    # 101 samples in each of 2 epochs and 41 at the evaluation.
    assert len(expected) == 2 * 101 + 41
    assert seen == expected
    # The same noise for the same sample: losses of world sizes can be compared.
    assert report.traces_comparable is True
    assert report.recycle_reason is None


@pytest.mark.ddp
def test_epochs_samples_and_seeds_are_augmented_differently_and_validation_not_at_all(
    run: Run,
) -> None:
    _, seen = run(1)
    _, other = run(1, seed=1)
    trained = [line.split()[-1] for line in seen if line.startswith("train")]
    assert len(set(trained)) == 2 * 101
    assert not set(trained) & {line.split()[-1] for line in other if line.startswith("train")}
    points = Layers("plain").build_data()[1].tensors[0]
    raw = {hashlib.sha256(point.numpy().tobytes()).hexdigest() for point in points}
    assert raw == {line.split()[-1] for line in seen if line.startswith("validation")}


def test_the_generator_of_a_sample_depends_on_nothing_else() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 11, 1), (0, 1, 11), (1, 1, 1)]
    first = [torch.rand(8, generator=sample_generator(*key)) for key in keys]
    torch.manual_seed(3)
    again = [torch.rand(8, generator=sample_generator(*key)) for key in reversed(keys)]
    np.testing.assert_array_equal(first, again[::-1])
    assert len({tuple(numbers.tolist()) for numbers in first}) == len(keys)
    # Uniform over samples, not only within one: 0.5 +- 5 standard errors.
    means = [float(torch.rand((), generator=sample_generator(0, 0, i))) for i in range(4000)]
    assert abs(np.mean(means) - 0.5) < 5 * 0.2887 / np.sqrt(4000)


def test_augmenting_touches_neither_the_data_set_nor_the_global_generators(
    tmp_path: Path,
) -> None:
    workload = Augmented(str(tmp_path), in_place=True)
    data: TensorDataset = workload.build_data()[0]
    before = data.tensors[0].clone()
    source = BatchSource(data, workload, DataSettings(), CPU, augmentation_seed=0)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    points, _ = source.fetch(np.arange(5), 1)
    for _ in source.stream([(np.arange(5), 0), (np.arange(3), 1)]):
        pass
    assert not torch.equal(points, before[:5])
    assert torch.equal(data.tensors[0], before)
    assert torch.equal(torch.get_rng_state(), state)


class Named(Layers):
    """Augments only where it must: a validation set shares the workload, not the chance."""

    def augment(self, sample: Any, _generator: torch.Generator) -> Any:
        return sample[0] + 100.0, sample[1]


def test_a_source_without_a_seed_does_not_augment() -> None:
    workload = Named("plain")
    data = workload.build_data()[1]
    plain = BatchSource(data, workload, DataSettings(), CPU)
    assert torch.equal(plain.fetch(np.arange(41))[0], data.tensors[0])
    moved = BatchSource(data, workload, DataSettings(), CPU, augmentation_seed=0)
    assert torch.equal(moved.fetch(np.arange(41))[0], data.tensors[0] + 100.0)
