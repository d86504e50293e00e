"""What ranks print until the moment of their death is in the log of the trial."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import fake_ranks
import pytest
import ray
import talking_ranks
from command_line import call
from fake_ranks import sweep_over
from talking_ranks import run_talking

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.results import load_results
from ddp_sweep.results.logs import LogLine, TrialLogs, read_line

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    for module in (fake_ranks, talking_ranks):
        ray.cloudpickle.register_pickle_by_value(module)
    with quiet_driver(), connect(None, sweep_over("none")):
        yield
    for module in (fake_ranks, talking_ranks):
        ray.cloudpickle.unregister_pickle_by_value(module)


def log_of(folder: Path, fault: str) -> tuple[str, list[LogLine]]:
    """The id of the trial that had a fault, and the lines of its log."""
    trials = load_results(folder).trials
    [trial_id] = trials[trials["parameters"].str.contains(f'"{fault}"')]["trial_id"].unique()
    text = TrialLogs(folder / "_logs").file(trial_id, 1).read_text(encoding="utf-8")
    return trial_id, [read_line(line) for line in text.splitlines()]


def said(lines: list[LogLine], rank: int) -> list[str]:
    return [line.text for line in lines if line.rank == rank]


def test_the_last_words_of_the_dead_are_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_talking(tmp_path, "none", "kill", "crash", "raise", "recycle")
    assert outcome.exit_code == 1
    plain_lines = capsys.readouterr().err

    for fault in ("none", "kill", "crash", "raise", "recycle"):
        _, lines = log_of(tmp_path, fault)
        assert lines[0].text.startswith(f"# 2 workers x 4, fault {fault}, seed 0, attempt 1 of")
        assert f"rank 0 meets {fault}, attempt 1" in said(lines, 0)
        assert f"rank 1 meets {fault}, attempt 1" in said(lines, 1)
        assert lines[-1].ends_the_log
        # Each said it once: what was sent and what was read afterwards do not overlap.
        assert sum("meets" in line.text for line in lines) == 2
    _, crashed = log_of(tmp_path, "crash")
    assert any(one.startswith("about to crash") for one in said(crashed, 1))
    assert any("Segmentation fault" in one for one in said(crashed, 1))
    assert any("talking_ranks.py" in one and " _talk" in one for one in said(crashed, 1))
    _, raised = log_of(tmp_path, "raise")
    assert "ValueError: asked to" in said(raised, 1)
    _, recycled = log_of(tmp_path, "recycle")
    assert "# rank 1 needs a new process: asked to" in [line.text for line in recycled]

    # What a group of workers says while it starts is in the log of its first trial.
    gangs = load_results(tmp_path).trials["gang_id"].nunique()
    logs = [
        file.path.read_text(encoding="utf-8") for file in TrialLogs(tmp_path / "_logs").files()
    ]
    assert sum(text.count(" | worker 1 starts\n") for text in logs) == gangs
    assert not list((tmp_path / "_logs").glob("starting*"))

    # The line of the failure shows them, with the command that shows all.
    killed_id, _ = log_of(tmp_path, "kill")
    assert "  | about to be killed" in plain_lines
    assert f"logs {tmp_path} {killed_id[:6]}" in plain_lines
    shown = call(monkeypatch, capsys, "logs", tmp_path, killed_id[:6], "--rank", "1")
    assert shown.code == 0
    assert " rank 1 | about to be killed\n" in shown.out
    assert " rank 0 | " not in shown.out
    listed = call(monkeypatch, capsys, "logs", tmp_path).out
    assert listed.index("lost a worker") < listed.index("succeeded")
    assert "about to be killed" in listed


def test_a_rank_that_is_stuck_in_c_says_where(tmp_path: Path) -> None:
    run_talking(tmp_path, "stuck", stall_timeout_s=5)

    [status] = load_results(tmp_path).trials["status"]
    assert status == "timed_out"
    _, lines = log_of(tmp_path, "stuck")
    assert "about to be stuck" in said(lines, 1)
    assert any("talking_ranks.py" in one and " _talk" in one for one in said(lines, 1))
    # Its peer waited for it in the all-reduce.
    assert any("all_reduce" in one for one in said(lines, 0))


def test_much_output_is_bounded_and_its_end_is_there(tmp_path: Path) -> None:
    assert run_talking(tmp_path, "many").exit_code == 0
    trial_id, lines = log_of(tmp_path, "many")
    many = [one for one in said(lines, 1) if one.startswith("line ")]
    assert many[0].startswith("line 0 ")
    assert many[-1].startswith("line 99999 ")
    numbers = [int(one.split()[1]) for one in many]
    assert [(one, later) for one, later in pairwise(numbers) if later <= one] == []
    assert TrialLogs(tmp_path / "_logs").file(trial_id, 1).stat().st_size < 12_000_000
