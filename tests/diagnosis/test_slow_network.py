"""A slow link between two hosts, and what the findings make of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from network_namespaces import TwoHosts, require_namespaces
from sweep_of_trials import all_kinds, finding, ranked
from trial_runs import request
from trials_frame import find
from two_host_trials import run_on

from ddp_sweep.workloads.digits import Digits

pytestmark = [pytest.mark.diagnosis, pytest.mark.ddp]

MEGABIT = 50
CHANNELS = 48


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    require_namespaces()
    with TwoHosts(f"{MEGABIT}mbit") as two:
        yield two


def test_a_slow_link_is_the_cause_of_a_low_speedup(hosts: TwoHosts, tmp_path: Path) -> None:
    workload, options = "ddp_sweep.workloads.digits:Digits", {"channels": CHANNELS}
    training = {"samples": 32 * 64, "evaluations": 2}
    wanted = [request(workload, size, 64, options=options, training=training) for size in (1, 2)]
    reports = iter(run_on(hosts, tmp_path, workload, wanted))

    ranking = ranked(tmp_path / "results", workload, wanted, lambda *_: next(reports))

    found = finding(find(ranking, 2), "low_speedup").evidence
    assert found["cause"] == "communication"
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.03)
    assert found["explained_step_time_s"] == pytest.approx(found["step_time_s"], rel=0.1)
    # Two workers send their gradients to each other once a step; the link gives no more than this.
    size = sum(p.numel() * 4 for p in Digits(CHANNELS).build_model().parameters())
    sent_s = 8 * size / (MEGABIT * 1e6)
    assert found["step_time_s"] > 0.9 * sent_s
    hidden_s = found["shares"]["computation"] * found["step_time_s"]
    assert found["shares"]["communication"] * found["step_time_s"] > 0.9 * sent_s - 2 * hidden_s
    assert found["communication_before_training"] > 0
    allowed = {"low_speedup", "edge_of_grid", "idle_cores", "noisy_measurement", "retrograde"}
    allowed |= {"within_one_start", "unequal_work", "weak_baseline"}
    assert all_kinds(ranking) <= allowed
