"""Findings about lost speedup and idle cores: what raises them, with what evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from diagnosed_tables import ONE, TWO, in_folder, ranked, with_columns
from sweep_of_trials import all_kinds, finding
from trials_frame import Cell, find, rows

from ddp_sweep.analysis import Severity, rank


def step(own_s: float, wait_s: float, sync_s: float, rank: int, at: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "optimizer_step": at,
        "train_loss": 1.0,
        "step_time_s": own_s + wait_s + sync_s,
        "data_wait_s": wait_s,
        "communication_s": sync_s,
    }


@dataclass(frozen=True)
class Planted:
    own_s: tuple[float, float]
    wait_s: tuple[float, float]
    communication_s: float
    cause: str
    oversubscribed: bool = False
    exchange_s: float | None = None
    """Of a step, as timed with the exchange of gradients and without; None: not timed."""
    taken_s: float = 0.0
    """What of it the exchange takes from computation beside it."""


@pytest.mark.parametrize(
    "planted",
    [
        Planted((0.05, 0.05), (0.0, 0.0), 0.06, "communication"),
        Planted((0.05, 0.05), (0.08, 0.08), 0.01, "data_wait"),
        Planted((0.05, 0.15), (0.0, 0.0), 0.01, "stragglers"),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "too_little_work"),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "oversubscribed_cores", True),
        # Less than what was waited for says nothing; more was taken from computation, as far as
        # computation was slower than the baseline's.
        Planted((0.05, 0.05), (0.0, 0.0), 0.06, "communication", exchange_s=0.02),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "communication", exchange_s=0.04, taken_s=0.03),
        Planted((0.09, 0.09), (0.0, 0.0), 0.01, "communication", exchange_s=0.08, taken_s=0.04),
    ],
    ids=str,
)
def test_a_low_speedup_comes_with_its_cause_in_shares_of_the_step(
    tmp_path: Path, planted: Planted
) -> None:
    """The baseline computes 0.1 s for 64 samples, so 0.05 s are due to the 32 of a worker."""
    steps_done, alone_s = 10, 0.1
    own = [sum(pair) for pair in zip(planted.own_s, planted.wait_s, strict=True)]
    step_s = max(own) + planted.communication_s
    one = with_columns(
        ONE, train_time_s=steps_done * alone_s, optimizer_steps=steps_done, samples=640
    )
    two = with_columns(
        TWO,
        train_time_s=steps_done * step_s,
        optimizer_steps=steps_done,
        samples=640,
        oversubscribed=planted.oversubscribed,
        communication_fraction=planted.exchange_s and planted.exchange_s / step_s,
    )
    records = rows([one, two], 2)
    ats = range(1, steps_done + 1)
    by_size = {
        1: [step(alone_s, 0.0, 0.0, 0, at) for at in ats],
        2: [
            step(planted.own_s[r], planted.wait_s[r], step_s - own[r], r, at)
            for at in ats
            for r in (0, 1)
        ],
    }
    steps = {record["trial_id"]: by_size[record["world_size"]] for record in records}

    found = finding(find(rank(in_folder(tmp_path, records, steps=steps)), 2), "low_speedup")

    shares, evidence = found.evidence["shares"], found.evidence
    assert evidence["cause"] == planted.cause
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    assert evidence["explained_step_time_s"] == pytest.approx(evidence["step_time_s"])
    assert evidence["step_time_s"] == pytest.approx(step_s)
    assert shares["computation"] * step_s == pytest.approx(0.05)
    exchange_s = planted.communication_s + planted.taken_s
    assert shares["communication"] * step_s == pytest.approx(exchange_s)
    assert shares["data_wait"] * step_s == pytest.approx(planted.wait_s[0])
    late_s = max(planted.own_s) - min(planted.own_s)
    assert shares["stragglers"] * step_s == pytest.approx(late_s)
    assert evidence["speedup"] == pytest.approx(alone_s / step_s)
    assert found.severity is Severity.INFO


@pytest.mark.parametrize(
    ("device", "nodes", "cause"),
    [
        ("cuda", 8, "slower_computation"),
        ("cuda", 1, "slower_computation"),
        ("cpu", 8, "slower_computation"),
        ("cpu", 1, "oversubscribed_cores"),
    ],
)
def test_computation_slower_over_as_many_samples_is_blamed_on_cores_only_where_they_are_shared(
    tmp_path: Path, device: str, nodes: int, cause: str
) -> None:
    """Weak scaling: 64 samples a worker throughout, 0.1 s of the baseline and 0.145 s of 8."""
    done = {"optimizer_steps": 10, "device_type": device, "physical_cores": 64}
    one = with_columns(ONE, train_time_s=1.0, samples=640, **done)
    eight = Cell(
        world_size=8,
        batch=64,
        columns={"train_time_s": 1.5, "samples": 5120, "num_nodes": nodes, **done},
    )
    steps_of = {
        1: [step(0.1, 0, 0, 0, at) for at in range(1, 11)],
        8: [step(0.145, 0, 0.005, rank_, at) for at in range(1, 11) for rank_ in range(8)],
    }
    records = rows([one, eight], 2)
    steps = {record["trial_id"]: steps_of[record["world_size"]] for record in records}

    found = finding(find(rank(in_folder(tmp_path, records, steps=steps)), 8), "low_speedup")

    assert found.evidence["cause"] == cause
    assert found.evidence["shares"][cause] == pytest.approx(0.3)
    assert ("physical cores" in found.message) is (cause == "oversubscribed_cores")


def test_a_good_speedup_needs_no_excuse() -> None:
    assert "low_speedup" not in all_kinds(ranked(ONE, TWO))


@pytest.mark.parametrize(
    ("cores", "threads", "idle"), [(8, 1, True), (8, 8, False), (1, 1, False)]
)
def test_cores_that_one_worker_could_have_had(cores: int, threads: int, idle: bool) -> None:
    alone = with_columns(ONE, physical_cores=cores, threads_per_worker=threads)
    ranking = ranked(alone, with_columns(TWO, physical_cores=cores))

    assert ("idle_cores" in all_kinds(ranking)) is idle
    if idle:
        evidence = finding(ranking, "idle_cores").evidence
        assert evidence == {"cores": 8, "used": 1, "world_size": 1}


def test_cores_that_do_not_divide_among_the_workers_are_not_idle() -> None:
    cells = [Cell(world_size=size, batch=32, columns={"threads_per_worker": 2}) for size in (3, 4)]
    more = [with_columns(cell, physical_cores=9) for cell in cells]

    assert "idle_cores" not in all_kinds(ranked(*cells))
    assert "cpus_per_worker: 3" in finding(ranked(*more), "idle_cores").message
