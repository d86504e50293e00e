"""SIGKILL of a driver at thirty moments of its bookkeeping; no cluster, trials of no time.

Where the process dies between two system calls is chance: many deaths, each soon after another.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from driver_processes import fault_line, reading_all_the_while
from plan_samples import plan

from ddp_sweep.results import ResultsFolder, load_results

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KILLS = 30
SEEDS = 60
DRIVER = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

sys.path.insert(0, sys.argv[3])
from plan_samples import FACTS, plan, spec

from ddp_sweep.cluster.driver.attempts import Attempts
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import locked
from ddp_sweep.results.quarantine import quarantine_curves, quarantine_rows
from ddp_sweep.results.whole_files import remove_leftovers
from ddp_sweep.schema import Status

folder = ResultsFolder(Path(sys.argv[1]))
reporter = Reporter(folder, replace(FACTS, session_id=str(psutil.Process().pid)))
attempts = Attempts(folder, reporter)
with locked(folder):
    folder.spec_file.write_text("name: sample\\n")
    remove_leftovers([folder.trials, folder.evals, folder.steps, folder.attempts])
    moved = quarantine_rows(folder)
    attempts.settle()
    assert not moved + quarantine_curves(folder)
    ledger = Ledger(folder.read(("trials",)))
    pending = ledger.pending(plan(int(sys.argv[2])).trials)
    print("begun", flush=True)
    for trial in pending:
        attempt = ledger.attempts_made.get(trial.trial_id, 0) + 1
        attempts.begin(trial, attempt)
        ended = AttemptResult(
            trial=trial, attempt=attempt, status=Status.SUCCEEDED, finished_at=datetime.now(UTC)
        )
        reporter.commit(ended)
        attempts.end(trial.trial_id, attempt)
"""


def test_killed_at_any_moment_of_its_bookkeeping(tmp_path: Path) -> None:
    folder, draw = ResultsFolder(tmp_path / "results"), random.Random(7)
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", DRIVER, str(folder.path), str(SEEDS), str(tests)]
    moments: Counter[str] = Counter()
    with reading_all_the_while(folder.path, tmp_path):
        for _ in range(KILLS):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
                assert driver.stdout is not None
                driver.stdout.readline()
                time.sleep(draw.uniform(0, 0.05))
                driver.kill()
                driver.wait()
            assert not psutil.pid_exists(driver.pid)
            moments[_caught(folder)] += 1
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    rows = load_results(folder.path).trials
    final = rows[rows["final"]]
    planned = {(trial.configuration_id, trial.seed) for trial in plan(SEEDS).trials}
    assert set(zip(final["configuration_id"], final["seed"], strict=True)) == planned
    assert len(final) == len(planned)
    for _, attempts in rows.sort_values("attempt").groupby("trial_id"):
        assert list(attempts["attempt"]) == list(range(1, len(attempts) + 1))
        assert list(attempts["status"]) == ["interrupted"] * (len(attempts) - 1) + ["succeeded"]
    assert not list(folder.path.rglob("*.part"))
    assert list(folder.attempts.iterdir()) == []
    assert not folder.lock_file.exists()
    print(f"{KILLS} processes killed, each gone: {dict(moments)}")
    fault_line("driver killed in its bookkeeping", "interrupted", None, None, 0)


def _caught(folder: ResultsFolder) -> str:
    """What the process was doing, as far as its files tell."""
    if list(folder.path.rglob("*.part")):
        return "a file half written"
    if folder.attempts_without_row():
        return "an attempt without its row"
    return "an attempt to be struck off" if list(folder.attempts.glob("*")) else "between trials"
