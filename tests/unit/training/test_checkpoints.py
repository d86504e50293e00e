"""A training that goes on from a checkpoint against one that was never interrupted."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_runs import (
    run_from_checkpoint,
    run_on_full_disk,
    run_until_lost,
    steps_kept,
)
from ddp_processes import RankProcesses
from resumable_workloads import Everything, OwnParts, Unkept
from trial_runs import request, run_trial

from ddp_sweep.errors import WorkloadError
from ddp_sweep.schema import Status
from ddp_sweep.training import power
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.training.messages import RankReport, TrialRequest
from ddp_sweep.training.power import PowerReading
from ddp_sweep.training.states import content_of, state_in

pytestmark = pytest.mark.ddp

EVERYTHING = "resumable_workloads:Everything"
OWN_PARTS = "resumable_workloads:OwnParts"
LAYERS = "training_workloads:Layers"
TOKENS = "token_workloads:Tokens"
UNRESTORED = "resumable_workloads:Unrestored"

CASES: dict[str, dict[str, Any]] = {
    "sgd with momentum": {"workload": LAYERS, "options": {"kind": "plain"}},
    "adamw, cosine, warm-up": {
        "workload": LAYERS,
        "options": {"kind": "dropout"},
        "training": {"optimizer": "adamw", "schedule": "cosine", "warmup_fraction": 0.5},
    },
    "batch norm, dropout, augmentation, chance": {"workload": EVERYTHING},
    "loading processes": {"workload": EVERYTHING, "data": {"loader_workers": 2}},
    "optimizer and scheduler of its own": {"workload": OWN_PARTS},
    "accumulation and clipping": {
        "workload": LAYERS,
        "options": {"kind": "dropout"},
        "batch": 8,
        "training": {"max_per_worker_batch_size": 2, "max_gradient_norm": 0.5},
    },
    "language model": {"workload": TOKENS, "training": {"record_every": 3}},
    "a target that is met": {
        "workload": LAYERS,
        "options": {"kind": "batch_norm"},
        "quality": {"target": {"val_loss": 0.6}},
    },
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    """Processes that have seen nothing of what the first ones did."""
    with RankProcesses(2, tmp_path_factory.mktemp("others")) as processes:
        yield processes


def wanted_for(case: dict[str, Any], world_size: int) -> TrialRequest:
    # 101 training samples in batches of 10: the one that is left over is joined to the batch
    # before it, and the last batch of all is cut to 4.
    training = {"samples": 286, "evaluations": 4, **case.get("training", {})}
    return request(
        case["workload"],
        world_size,
        case.get("batch", 10),
        seed=5,
        options=case.get("options"),
        training=training,
        data=case.get("data"),
        quality=case.get("quality"),
    )


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_trial_that_was_lost_twice_ends_as_if_nothing_had_happened(
    pool: RankProcesses,
    others: RankProcesses,
    case: dict[str, Any],
    world_size: int,
    tmp_path: Path,
) -> None:
    workload, wanted = case["workload"], wanted_for(case, world_size)
    whole = pool.run(run_trial, workload, wanted)[:world_size]

    first = pool.run(run_until_lost, workload, wanted, tmp_path, 2)[:world_size]
    second = others.run(run_until_lost, workload, wanted, tmp_path, 15)[:world_size]
    assert set(first) == {steps_kept(tmp_path)[1]}, "ranks have saved at different steps"
    assert 15 <= second[0] < whole[0].optimizer_steps
    resumed = pool.run(run_from_checkpoint, workload, wanted, tmp_path)[:world_size]

    for (report, steps), reference in zip(resumed, whole, strict=True):
        assert min(steps) > second[0], "steps that were kept were trained again"
        assert report.status_detail == f"went on from step {second[0]} of attempt 1"
        assert_same(report, reference)


TIMES = {
    *("train_time_s", "eval_time_s", "time_to_target_s", "step_time_median_s", "step_time_p95_s"),
    *("data_wait_s", "own_step_time_median_s", "exposed_communication_s", "other_load"),
    *("peak_memory_bytes", "seconds"),
}
"""What no two runs have in common."""


def assert_same(report: RankReport, reference: RankReport) -> None:
    """All that is not a time is equal to the last bit."""
    assert report.status is Status.SUCCEEDED
    for field in dataclasses.fields(RankReport):
        value, other = getattr(report, field.name), getattr(reference, field.name)
        match field.name:
            case "steps":
                assert_same_steps(value, other)
            case "evaluations":
                assert [plain(one) for one in value] == [plain(one) for one in other]
            case "status_detail":
                assert other is None
            case name if name in TIMES:
                assert (value is None) == (other is None), name
            case name:
                assert value == other, name


def plain(evaluation: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(evaluation)
    return {name: value for name, value in fields.items() if not name.endswith("_time_s")}


def assert_same_steps(steps: Any, reference: Any) -> None:
    for name in ("optimizer_step", "samples", "train_loss", "learning_rate"):
        np.testing.assert_array_equal(getattr(steps, name), getattr(reference, name), name)
    for name in ("step_time_s", "data_wait_s", "communication_s"):
        assert len(getattr(steps, name)) == len(reference.samples)
        assert (getattr(steps, name) >= 0).all()
    assert steps.train_loss[0] != steps.train_loss[-1]


def test_times_are_those_of_the_steps_that_were_kept(pool: RankProcesses, tmp_path: Path) -> None:
    case = CASES["batch norm, dropout, augmentation, chance"]
    wanted = wanted_for(case, 2)
    pool.run(run_until_lost, EVERYTHING, wanted, tmp_path, 5)
    report, _ = pool.run(run_from_checkpoint, EVERYTHING, wanted, tmp_path)[0]

    steps = report.steps
    assert len(steps.step_time_s) == report.optimizer_steps == 29
    # The clock runs in steps and in nothing else; it is the slowest rank's.
    assert report.train_time_s >= steps.step_time_s.sum()
    at = {e.optimizer_step: e.train_time_s for e in report.evaluations}
    assert sorted(at.values()) == [at[step] for step in sorted(at)]
    assert report.train_time_s == at[29]
    assert report.eval_time_s == sum(e.eval_time_s for e in report.evaluations)


def metered(rank: int, run: Any, *arguments: Any) -> Any:
    """Let every reading of the counters find a watt-hour more than the one before."""
    readings = itertools.count(rank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            power, "read_cpu", lambda: PowerReading(energy_mj=next(readings) * 3_600_000)
        )
        return run(rank, *arguments)


def test_energy_is_that_of_the_steps_that_were_kept(pool: RankProcesses, tmp_path: Path) -> None:
    wanted = wanted_for(CASES["sgd with momentum"], 2)
    pool.run(metered, run_until_lost, LAYERS, wanted, tmp_path, 5)
    resumed = pool.run(metered, run_from_checkpoint, LAYERS, wanted, tmp_path)[:2]
    # Read at the start, at each checkpoint and at the end; never for one that was not kept.
    for report, _ in resumed:
        assert report.energy_wh == len(steps_kept(tmp_path)) + 1


def test_processes_that_were_killed_are_gone_on_from(
    pool: RankProcesses, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = wanted_for(CASES["batch norm, dropout, augmentation, chance"], 2)
    whole = pool.run(run_trial, EVERYTHING, wanted)[:2]
    with RankProcesses(2, tmp_path_factory.mktemp("killed")) as processes:
        with pytest.raises((EOFError, ConnectionResetError)):
            processes.run(run_until_lost, EVERYTHING, wanted, tmp_path, 8, True)
        assert processes.exit_codes == [-signal.SIGKILL] * 2
    assert 8 <= steps_kept(tmp_path)[-1] < 29
    resumed = pool.run(run_from_checkpoint, EVERYTHING, wanted, tmp_path)[:2]
    for (report, _), reference in zip(resumed, whole, strict=True):
        assert_same(report, reference)


def made_elsewhere(file: Path) -> None:
    state = state_in(file.read_bytes())
    state["made_by"]["PyTorch"] = "1.0"
    file.write_bytes(content_of(state))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda file: os.truncate(file, 1000), "it cannot be read"),
        (lambda file: file.write_bytes(b"foreign"), "it cannot be read"),
        (made_elsewhere, "made on another system (PyTorch 1.0 then, "),
    ],
    ids=["truncated", "foreign", "another PyTorch"],
)
def test_what_one_rank_cannot_use_none_uses(
    pool: RankProcesses, tmp_path: Path, spoil: Any, cause: str
) -> None:
    case = CASES["adamw, cosine, warm-up"]
    wanted = wanted_for(case, 2)
    step = pool.run(run_until_lost, LAYERS, wanted, tmp_path, 5)[0]
    spoil(tmp_path / f"{step}-1")
    whole = pool.run(run_trial, LAYERS, wanted)[:2]
    resumed = pool.run(run_from_checkpoint, LAYERS, wanted, tmp_path)[:2]

    details = [report.status_detail for report, _ in resumed]
    said = f"began from the first step; the checkpoint at step {step} was not used: "
    assert details[0] == f"{said}another worker could not read its part"
    assert details[1].startswith(said + cause)
    for (report, steps), reference in zip(resumed, whole, strict=True):
        assert steps[0] == 1, "did not begin anew"
        assert_same(report, reference)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("optimizer", "IndexError: tuple index out of range"),
        ("scheduler", "KeyError: 'last_lr'"),
    ],
)
@pytest.mark.parametrize("on_rank", [0, 1])
def test_what_one_rank_cannot_put_back_is_undone_on_all(
    pool: RankProcesses, tmp_path: Path, what: str, error: str, on_rank: int
) -> None:
    case = {"workload": UNRESTORED, "options": {"what": what, "on_rank": on_rank}}
    wanted = wanted_for(case, 2)
    whole = pool.run(run_trial, UNRESTORED, wanted)[:2]
    step = pool.run(run_until_lost, UNRESTORED, wanted, tmp_path, 5)[0]
    resumed = pool.run(run_from_checkpoint, UNRESTORED, wanted, tmp_path)[:2]

    details = [report.status_detail for report, _ in resumed]
    said = f"began from the first step; the checkpoint at step {step} was not used: "
    assert details[on_rank] == f"{said}it cannot be put back ({error})"
    assert details[1 - on_rank] == f"{said}another worker could not put back its part"
    for (report, steps), reference in zip(resumed, whole, strict=True):
        assert steps[0] == 1, "did not begin anew"
        assert_same(report, reference)


def differing_elsewhere(file: Path) -> None:
    state = state_in(file.read_bytes())
    state["own"]["replicas"]["parameters"] = {"0.weight": 7.0}
    state["own"]["peak_memory_bytes"] = 2**60
    del state["own"]["random"]
    file.write_bytes(content_of(state))


def test_what_was_found_in_steps_that_are_undone_counts_no_more(
    pool: RankProcesses, tmp_path: Path
) -> None:
    wanted = wanted_for(CASES["sgd with momentum"], 2)
    step = pool.run(run_until_lost, LAYERS, wanted, tmp_path, 5)[0]
    differing_elsewhere(tmp_path / f"{step}-1")
    resumed = pool.run(run_from_checkpoint, LAYERS, wanted, tmp_path)[:2]
    for report, _ in resumed:
        assert report.status_detail.startswith("began from the first step; ")
        assert report.replica_divergence == 0.0
        assert report.peak_memory_bytes < 2**60


def test_a_trial_that_is_never_lost_is_not_changed_by_its_checkpoints(
    pool: RankProcesses, tmp_path: Path
) -> None:
    case = CASES["batch norm, dropout, augmentation, chance"]
    wanted = wanted_for(case, 2)
    whole = pool.run(run_trial, EVERYTHING, wanted)[:2]
    saving = pool.run(run_from_checkpoint, EVERYTHING, wanted, tmp_path)[:2]
    for (report, steps), reference in zip(saving, whole, strict=True):
        assert len(steps) >= 4
        assert steps[-1] < 29, "nothing is left to do after the last step"
        assert report.status_detail is None
        assert_same(report, reference)


def test_a_checkpoint_that_cannot_be_kept_costs_no_trial(
    pool: RankProcesses, tmp_path: Path
) -> None:
    wanted = wanted_for(CASES["sgd with momentum"], 2)
    whole = pool.run(run_trial, LAYERS, wanted)[:2]
    reports = pool.run(run_on_full_disk, LAYERS, wanted, tmp_path)[:2]
    for report, reference in zip(reports, whole, strict=True):
        assert_same(report, reference)
    assert reports[0].status_detail is None
    full = "was not kept: OSError: [Errno 28] No space left on device"
    assert reports[1].status_detail.startswith(f"the checkpoint at step 1 {full}; the checkpoint")
    assert reports[1].status_detail.endswith("more like these")
    # Whoever waits for all parts of one has to hear that there will be none.
    for step in steps_kept(tmp_path):
        assert (tmp_path / f"{step}-0").stat().st_size > 1000
        assert (
            (tmp_path / f"{step}-1")
            .read_text()
            .startswith(f"the checkpoint at step {step} {full}")
        )


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no state", ("build_scheduler", "_Bare has no state_dict and no load_state_dict")),
        ("opaque", ("build_scheduler", "the state_dict of _Opaque cannot be kept")),
        ("optimizer", ("build_optimizer", "_DeafOptimizer has no load_state_dict")),
    ],
)
def test_what_has_no_state_to_be_kept_is_refused_only_where_it_is_needed(
    what: str, words: tuple[str, ...]
) -> None:
    inspect_workload(Unkept, {"what": what})
    with pytest.raises(WorkloadError) as caught:
        inspect_workload(Unkept, {"what": what}, resumable=True)
    for word in (*words, "checkpoint_every_s: null"):
        assert word in str(caught.value)
    for sound in (Everything, OwnParts):
        inspect_workload(sound, {}, resumable=True)
