"""Plans: every cell once a block, ids that follow settings alone, limits with their reasons."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddp_sweep.errors import SpecError
from ddp_sweep.plan import Plan, Trial, build_plan, count_trials
from ddp_sweep.spec import Json, SweepSpec, parse_spec


def spec_of(
    sweep: Mapping[str, Any], *, training: Mapping[str, Any] | None = None, **rest: Any
) -> SweepSpec:
    return parse_spec(
        {
            "name": "t",
            "workload": "some.module:Thing",
            "sweep": sweep,
            "training": {"epochs": 1, "learning_rate": 0.1, **(training or {})},
            **rest,
        }
    )


def plan_of(spec: SweepSpec, capacity: int | None = None, samples: int = 10**9) -> Plan:
    return build_plan(spec, capacity=capacity, train_lengths=samples)


def only_trial(**settings: Any) -> Trial:
    [trial] = plan_of(spec_of(**{"seeds": 1, **settings})).trials
    return trial


@dataclass(frozen=True)
class Grid:
    axes: dict[str, list[Any]]
    seeds: list[int]
    exclude: list[dict[str, Any]]
    capacity: int | None
    samples: int

    def spec(self, order: list[str] | None = None) -> SweepSpec:
        axes = {name: self.axes[name] for name in order or self.axes}
        return spec_of({**axes, "exclude": self.exclude}, seeds=self.seeds)

    def plan(self, order: list[str] | None = None) -> Plan:
        return plan_of(self.spec(order), self.capacity, self.samples)


def distinct(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=most, unique=True)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    batch_axis = draw(st.sampled_from(["per_worker_batch_size", "global_batch_size"]))
    axes = {
        "world_size": draw(distinct(st.integers(1, 6))),
        batch_axis: draw(distinct(st.integers(1, 64))),
        "optimizer": draw(distinct(st.sampled_from(["sgd", "adamw"]), 2)),
        "workload_options.width": draw(distinct(st.integers(1, 9), 2)),
    }
    # Leave one cell in: the product of the last values.
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    exclude = draw(st.lists(st.sampled_from(cells), max_size=3)) if len(cells) > 1 else []
    return Grid(
        axes=axes,
        seeds=draw(distinct(st.integers(0, 99))),
        exclude=[cell for cell in exclude if cell != cells[-1]],
        capacity=draw(st.none() | st.integers(1, 6)),
        samples=draw(st.integers(1, 200)),
    )


@given(grids())
def test_every_cell_that_is_not_excluded_is_planned_once_a_seed(grid: Grid) -> None:
    batch_axis = "global_batch_size" if "global_batch_size" in grid.axes else None
    cells = [
        dict(zip(grid.axes, values, strict=True))
        for values in itertools.product(*grid.axes.values())
    ]
    expected = Counter(
        (cell["world_size"], cell["optimizer"], cell["workload_options.width"], batch, seed)
        for cell in cells
        if cell not in grid.exclude
        for batch in [
            cell["global_batch_size"]
            if batch_axis
            else cell["per_worker_batch_size"] * cell["world_size"]
        ]
        for seed in grid.seeds
    )
    plan = grid.plan()

    assert expected == Counter(
        (
            trial.world_size,
            trial.training.optimizer,
            trial.workload_options["width"],
            trial.global_batch_size,
            trial.seed,
        )
        for trial in [*plan.trials, *plan.infeasible]
    )
    assert count_trials(grid.spec()) == expected.total()
    assert plan.estimate.trials == len(plan.trials)


@given(grids())
def test_feasible_trials_keep_every_limit_and_infeasible_ones_break_one(grid: Grid) -> None:
    plan = grid.plan()

    for trial in plan.trials:
        assert trial.world_size <= (grid.capacity or trial.world_size)
        assert trial.global_batch_size <= grid.samples
        assert trial.global_batch_size == (
            trial.world_size * trial.per_worker_batch_size * trial.accumulation_steps
        )
    for trial in plan.infeasible:
        too_many = grid.capacity is not None and trial.world_size > grid.capacity
        too_large = trial.global_batch_size > grid.samples
        uneven = trial.global_batch_size % trial.world_size != 0
        assert too_many or too_large or uneven
        assert ("can run at once" in trial.reason) == too_many
        assert ("the training set has" in trial.reason) == too_large
        assert ("must be a multiple of" in trial.reason) == uneven
        assert (trial.per_worker_batch_size is None) == uneven


@given(grids())
def test_every_block_holds_each_configuration_once_in_its_own_place(grid: Grid) -> None:
    plan = grid.plan()
    blocks = [
        [trial for trial in plan.trials if trial.block == block]
        for block in range(len(grid.seeds))
    ]

    assert list(plan.trials) == [trial for block in blocks for trial in block]
    for seed, block in zip(grid.seeds, blocks, strict=True):
        assert {trial.seed for trial in block} <= {seed}
        assert [trial.position for trial in block] == list(range(len(block)))
        ids = [trial.configuration_id for trial in block]
        assert len(set(ids)) == len(ids)
        assert set(ids) == {trial.configuration_id for trial in blocks[0]}


@given(grids(), st.randoms(use_true_random=False))
def test_ids_are_unique_and_do_not_depend_on_the_order_of_axes(grid: Grid, random: Any) -> None:
    order = list(grid.axes)
    random.shuffle(order)
    plan, reordered = grid.plan(), grid.plan(order)
    trials = [*plan.trials, *plan.infeasible]

    assert len({trial.trial_id for trial in trials}) == len(trials)
    assert len({trial.configuration_id for trial in trials}) * len(grid.seeds) == len(trials)
    assert [trial.trial_id for trial in reordered.trials] == [t.trial_id for t in plan.trials]
    assert {trial.trial_id for trial in reordered.infeasible} == {
        trial.trial_id for trial in plan.infeasible
    }


@given(grids(), st.sampled_from(["world_size", "workload_options.width"]))
def test_another_value_on_an_axis_leaves_other_trials_as_they_were(grid: Grid, axis: str) -> None:
    more = spec_of(
        {**grid.axes, axis: [*grid.axes[axis], 77], "exclude": grid.exclude}, seeds=grid.seeds
    )
    before = [trial.trial_id for trial in grid.plan().trials]
    after = [trial.trial_id for trial in plan_of(more, grid.capacity, grid.samples).trials]

    # Not only the ids: the order among the trials there were stays as well.
    assert [trial_id for trial_id in after if trial_id in set(before)] == before


def test_blocks_differ_in_their_order() -> None:
    spec = spec_of({"world_size": [1], "global_batch_size": list(range(1, 21))}, seeds=6)
    trials = plan_of(spec).trials
    orders = {
        tuple(trial.configuration_id for trial in trials if trial.block == block)
        for block in range(6)
    }

    assert len(orders) == 6


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"name": "other"}, True),
        ({"quality": {"margins": {"recall": 0.1}, "floors": {"recall": 0.5}}}, True),
        ({"baseline": {"world_size": 2}}, True),
        ({"resources": {"price_per_worker_hour": 2, "trial_timeout_s": 60}}, True),
        ({"resources": {"cpus_per_worker": 2}}, False),
        ({"quality": {"decision_threshold": 0.4}}, False),
        ({"workload": "some.module:Other"}, False),
        ({"workload_options": {"depth": 2}}, False),
        ({"data": {"loader_workers": 2}}, False),
        ({"training": {"precision": "bfloat16"}}, False),
        ({"training": {"ddp": {"bucket_cap_mb": 1}}}, False),
    ],
)
def test_ids_follow_what_can_change_a_measurement(changed: dict[str, Any], same: bool) -> None:
    base: dict[str, Any] = {"sweep": {"world_size": [2], "global_batch_size": [64]}}

    one, other = only_trial(**base), only_trial(**base, **changed)
    assert (one.trial_id == other.trial_id) == same
    assert (one.configuration_id == other.configuration_id) == same


def test_ids_are_the_same_on_every_machine_and_in_every_version() -> None:
    # A change here makes every results folder that users have start anew.
    trial = only_trial(sweep={"world_size": [2], "global_batch_size": [64]})

    assert (trial.trial_id, trial.configuration_id) == (
        "eee54eaa1135",
        "476da9c138c9",
    )


def test_the_same_batch_has_the_same_id_by_either_axis() -> None:
    by_global = only_trial(sweep={"world_size": [2], "global_batch_size": [64]})
    by_worker = only_trial(sweep={"world_size": [2], "per_worker_batch_size": [32]})

    assert by_global.trial_id == by_worker.trial_id


def test_axes_reach_the_trial() -> None:
    trial = only_trial(
        sweep={
            "world_size": [1],
            "global_batch_size": [64],
            "learning_rate": [0.3],
            "samples": [500],
            "ddp": [{"bucket_cap_mb": 2}],
            "workload_options.width": [7],
        },
        training={"epochs": None},
        workload_options={"width": 1, "depth": 3},
    )

    assert trial.training.learning_rate == 0.3
    assert trial.training.samples == 500
    assert trial.training.ddp.bucket_cap_mb == 2
    assert trial.workload_options == {"width": 7, "depth": 3}
    assert trial.parameters["workload_options.width"] == 7
    assert "seed" not in trial.parameters
    json.dumps(trial.parameters, allow_nan=False)


@pytest.mark.parametrize(
    ("scaling", "global_batch_size", "expected"),
    [
        ("none", 256, 0.1),
        ("linear", 64, 0.1),
        ("linear", 256, 0.4),
        ("linear", 16, 0.025),
        ("sqrt", 256, 0.2),
        ("sqrt", 16, 0.05),
    ],
)
def test_learning_rates_scale_with_the_global_batch(
    scaling: str, global_batch_size: int, expected: float
) -> None:
    trial = only_trial(
        sweep={"world_size": [2], "global_batch_size": [global_batch_size]},
        training={"learning_rate_scaling": scaling, "reference_batch_size": 64},
    )

    assert trial.learning_rate == pytest.approx(expected, rel=1e-12)
    assert trial.training.learning_rate == 0.1
    # Warm-up is for rates above the one the user found to be stable.
    assert trial.warmup_fraction == (0.05 if expected > 0.1 else 0.0)


def test_a_given_warmup_is_kept() -> None:
    trial = only_trial(
        sweep={"world_size": [1], "global_batch_size": [32]}, training={"warmup_fraction": 0.2}
    )

    assert trial.warmup_fraction == 0.2


@given(st.integers(1, 5000), st.integers(1, 300))
def test_shares_above_the_limit_split_evenly_or_say_why_not(share: int, limit: int) -> None:
    spec = spec_of(
        {"world_size": [3], "per_worker_batch_size": [share]},
        training={"max_per_worker_batch_size": limit},
        seeds=1,
    )
    plan = plan_of(spec)
    # By brute force: the fewest parts that fit.
    parts = next(n for n in range(1, share + 1) if share % n == 0 and share // n <= limit)

    if parts > 1 and share / parts < limit / 2:
        [refused] = plan.infeasible
        assert f"{share} samples a worker asked for" in refused.reason
        advice = int(refused.reason.split(", as ")[1].split()[0])
        [advised] = plan_of(
            spec_of(
                {"world_size": [3], "per_worker_batch_size": [advice]},
                training={"max_per_worker_batch_size": limit},
                seeds=1,
            )
        ).trials
        assert advised.per_worker_batch_size <= limit
    else:
        [trial] = plan.trials
        assert trial.accumulation_steps == parts
        assert trial.per_worker_batch_size * parts == share
        assert trial.global_batch_size == 3 * share


def test_every_broken_limit_is_named_with_what_is_allowed() -> None:
    spec = spec_of({"world_size": [8], "global_batch_size": [100]}, seeds=[0, 5])
    plan = plan_of(spec, capacity=4, samples=90)

    assert [trial.seed for trial in plan.infeasible] == [0, 5]
    assert plan.infeasible[0].reason == (
        "8 workers asked for, at most 4 can run at once; "
        "a global batch of 100 samples asked for, the training set has 90; "
        "a global batch of 100 samples asked for, for 8 workers it must be a multiple of 8"
    )


def test_lengths_are_asked_for_once_for_each_set_of_options() -> None:
    asked: list[Mapping[str, Json]] = []

    def length(options: Mapping[str, Json]) -> int:
        asked.append(options)
        return 50 * int(str(options["width"]))

    spec = spec_of(
        {
            "world_size": [1, 2],
            "global_batch_size": [64, 32],
            "workload_options.width": [1, 2],
        },
        seeds=3,
    )
    plan = build_plan(spec, capacity=None, train_lengths=length)

    assert sorted(options["width"] for options in asked) == [1, 2]  # type: ignore[type-var]
    assert {trial.workload_options["width"] for trial in plan.infeasible} == {1}


def test_excluded_cells_may_be_named_by_either_batch_size() -> None:
    spec = spec_of(
        {
            "world_size": [1, 2],
            "global_batch_size": [64, 128],
            "exclude": [{"world_size": 2, "per_worker_batch_size": 32}],
        },
        seeds=1,
    )

    assert {(t.world_size, t.global_batch_size) for t in plan_of(spec).trials} == {
        (1, 64),
        (1, 128),
        (2, 128),
    }


def test_a_baseline_that_is_no_cell_and_an_empty_grid_are_refused() -> None:
    axes = {"world_size": [1, 2], "global_batch_size": [64]}

    with pytest.raises(SpecError, match=r"baseline: received .*swept are world_size: 1, 2"):
        count_trials(spec_of(axes, baseline={"world_size": 4}))
    with pytest.raises(SpecError, match=r"sweep.exclude: these cells leave none of the 2"):
        count_trials(spec_of({**axes, "exclude": [{"global_batch_size": 64}]}))
