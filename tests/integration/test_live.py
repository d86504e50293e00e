"""A running sweep as others see it: an observer in the same process, ``status`` from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_ranks
import pytest
import ray
from fake_ranks import run, sweep_over

from ddp_sweep.live import Event, SweepOverview, TrialProgressed, TrialStarted
from ddp_sweep.report.run_status import run_status
from ddp_sweep.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]


class Watcher:
    """Opens the gate once it has seen the running trial; then it breaks."""

    def __init__(self, folder: Path, gate: Path) -> None:
        self.folder, self.gate = folder, gate
        self.events: list[Event] = []
        self.overviews: list[SweepOverview] = []
        self.status: dict[str, Any] | None = None
        self.closed = False

    def observe(self, event: Event, overview: SweepOverview) -> None:
        self.events.append(event)
        self.overviews.append(overview)
        # Nothing but this lets the trial go on.
        heard = event.progress.values() if isinstance(event, TrialProgressed) else ()
        if any(progress.stage == "begun" for progress in heard):
            self.status = run_status(load_results(self.folder)).to_json()
            (self.gate / "go").touch()
            raise ValueError("broken view")

    def close(self) -> None:
        self.closed = True


def test_a_running_trial_is_seen_and_a_view_that_breaks_does_not_end_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    folder, gate = tmp_path / "results", tmp_path / "gate"
    gate.mkdir()
    watcher = Watcher(folder, gate)
    try:
        outcome = run(sweep_over(f"wait:{gate}", "none", world_sizes=(1,)), folder, watcher)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(fake_ranks)

    assert outcome.exit_code == 0
    assert sorted(load_results(folder).trials["status"]) == ["succeeded", "succeeded"]
    # Plain lines take over.
    assert watcher.closed
    err = capsys.readouterr().err
    assert "the view of the progress failed (ValueError: broken view); lines follow" in err
    assert "[2 of 2] 1 worker x 4, seed 0" in err
    assert err.count("succeeded") in (1, 2)  # by which of the two came first

    started = [event for event in watcher.events if isinstance(event, TrialStarted)]
    assert watcher.status is not None
    assert watcher.status["runs"] is True
    assert [one["trial_id"] for one in watcher.status["running"]] == [started[-1].trial_id]
    assert (watcher.status["planned"], watcher.status["by_status"].get("failed")) == (2, None)
    after = run_status(load_results(folder)).to_json()
    assert (after["runs"], after["running"], after["left"]) == (False, [], 0)
