from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_samples import trials

from ddp_sweep.errors import WorkloadError
from ddp_sweep.training.batches import BatchPlan, StepIndices, evaluation_shard


@st.composite
def plans(draw: st.DrawFn) -> list[BatchPlan]:
    """The plans of all ranks of a trial."""
    world_size = draw(st.integers(1, 5))
    per_worker = draw(st.integers(1, 7))
    accumulation = draw(st.integers(1, 3))
    num_samples = draw(st.integers(1, 90))
    budget = draw(st.integers(1, 3 * num_samples))
    seed = draw(st.integers(0, 3))
    return [
        BatchPlan(
            num_samples=num_samples,
            budget=budget,
            global_batch_size=world_size * per_worker * accumulation,
            per_worker_batch_size=per_worker,
            world_size=world_size,
            rank=rank,
            seed=seed,
        )
        for rank in range(world_size)
    ]


def plain_batches(plan: BatchPlan) -> list[np.ndarray]:
    """Batches of one process that knows nothing of ranks."""
    batches: list[np.ndarray] = []
    left, epoch = plan.budget, 0
    while left > 0:
        order = np.random.default_rng([plan.seed, epoch]).permutation(plan.num_samples)[:left]
        cuts = list(range(plan.global_batch_size, len(order), plan.global_batch_size))
        if plan.global_batch_size > 1 and cuts and cuts[-1] == len(order) - 1:
            del cuts[-1]  # a single sample is joined to the batch before
        batches += np.split(order, cuts)
        left -= len(order)
        epoch += 1
    return batches


def drawn(step: StepIndices) -> list[int]:
    return [] if step.idle else [int(i) for part in step.micro_batches for i in part]


@given(plans())
def test_ranks_share_the_batches_of_one_process(trial: list[BatchPlan]) -> None:
    expected = plain_batches(trial[0])
    steps = list(zip(*(plan.steps() for plan in trial), strict=True))
    assert [sorted(i for step in ranks for i in drawn(step)) for ranks in steps] == [
        sorted(batch.tolist()) for batch in expected
    ]
    assert [ranks[0].global_samples for ranks in steps] == [len(batch) for batch in expected]
    assert all(plan.total_steps == len(expected) for plan in trial)


@given(plans(), st.integers(0, 300))
def test_what_is_done_is_left_out_and_nothing_else(trial: list[BatchPlan], done: int) -> None:
    for plan in trial:
        whole, rest = list(plan.steps())[done:], list(plan.steps(done))
        assert [drawn(step) for step in rest] == [drawn(step) for step in whole]
        kinds = [(step.epoch, step.idle, step.global_samples) for step in rest]
        assert kinds == [(step.epoch, step.idle, step.global_samples) for step in whole]


@given(plans())
def test_no_sample_is_drawn_twice_in_an_epoch_and_the_budget_is_met(
    trial: list[BatchPlan],
) -> None:
    epochs: dict[int, list[int]] = {}
    for plan in trial:
        for step in plan.steps():
            epochs.setdefault(step.epoch, []).extend(drawn(step))
    assert all(len(samples) == len(set(samples)) for samples in epochs.values())
    assert sum(len(samples) for samples in epochs.values()) == trial[0].budget


@given(plans())
def test_a_rank_takes_every_nth_sample_in_pieces_that_fit(trial: list[BatchPlan]) -> None:
    for rank, plan in enumerate(trial):
        for batch, step in zip(plain_batches(plan), plan.steps(), strict=True):
            sizes = [len(part) for part in step.micro_batches]
            assert min(sizes) >= 1
            assert max(sizes) <= plan.per_worker_batch_size
            assert max(sizes) - min(sizes) <= 1
            if len(batch) >= 2 * plan.world_size:
                assert drawn(step) == batch[rank :: plan.world_size].tolist()


@given(plans())
def test_batch_norm_never_sees_a_single_sample(trial: list[BatchPlan]) -> None:
    """Where pieces of three fit, and more than one sample was asked for."""
    for plan in trial:
        if plan.per_worker_batch_size >= 3 and min(plan.budget, plan.num_samples) > 1:
            # Only a budget that ends with the first sample of an epoch leaves one alone.
            alone = plan.budget % plan.num_samples == 1
            steps = list(plan.steps())
            for step in steps[: len(steps) - alone]:
                assert min(len(part) for part in step.micro_batches) >= 2


@given(plans())
def test_an_idle_rank_takes_part_in_one_pass(trial: list[BatchPlan]) -> None:
    steps = zip(plain_batches(trial[0]), *(plan.steps() for plan in trial), strict=True)
    for batch, *ranks in steps:
        idle = [step.idle for step in ranks]
        assert sorted(idle) == idle
        assert not idle[0]
        if any(idle):
            assert len(batch) < 2 * len(ranks)
        assert all(len(step.micro_batches) == 1 for step in ranks if step.idle)


@given(plans())
def test_a_batch_with_more_passes_on_some_ranks_is_found(trial: list[BatchPlan]) -> None:
    """A layer that all ranks wait for at each pass would hang there."""
    steps = list(zip(*(plan.steps() for plan in trial), strict=True))
    uneven = {
        ranks[0].global_samples
        for ranks in steps
        if len({len(step.micro_batches) for step in ranks}) > 1
    }
    for plan in trial:
        assert plan.uneven_batch in uneven or (plan.uneven_batch is None and not uneven)


def test_synchronized_batch_norm_is_refused_where_ranks_would_wait_in_vain() -> None:
    asked = next(trial for trial in trials(seeds=1) if trial.world_size == 2)
    together = asked.training.model_copy(update={"synchronized_batch_norm": True})
    synchronized = replace(asked, training=together)
    # Batches of 8 on two workers; the last sample of 513 joins a batch, 5 and 4 samples.
    assert BatchPlan.of(synchronized, 512, 0).uneven_batch is None
    assert BatchPlan.of(asked, 513, 0).uneven_batch == 9
    for rank in (0, 1):
        with pytest.raises(WorkloadError, match=r"a batch of 9 samples .* 2 workers"):
            BatchPlan.of(synchronized, 513, rank)


def test_a_share_is_cut_evenly() -> None:
    plan = BatchPlan(
        num_samples=66,
        budget=66,
        global_batch_size=128,
        per_worker_batch_size=32,
        world_size=2,
        rank=0,
        seed=0,
    )
    assert [len(part) for part in next(plan.steps()).micro_batches] == [17, 16]


@given(plans())
def test_every_shape_of_a_trial_is_known_beforehand(trial: list[BatchPlan]) -> None:
    def shape(step: StepIndices) -> tuple[int, ...]:
        return (step.global_samples, *map(len, step.micro_batches))

    for plan in trial:
        known = [shape(step) for step in plan.distinct_shapes()]
        occurring = [shape(step) for step in plan.steps()]
        assert set(known) == set(occurring)
        assert len(known) == len(set(known))
        assert known[0] == max(occurring)


@given(st.integers(1, 60), st.integers(1, 7))
def test_evaluation_shards_hold_every_sample_once(samples: int, world_size: int) -> None:
    shards = [evaluation_shard(samples, rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shards).tolist()) == list(range(samples))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
