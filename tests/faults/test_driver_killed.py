"""SIGKILL of the process that drives a sweep, at twenty moments; each time the sweep goes on."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray
from driver_processes import (
    SWEEP,
    WORKLOAD,
    Ended,
    RunProcess,
    attempt_files,
    ddp_sweep,
    end_agents_of_ray,
    fault_line,
    no_run_goes_on,  # noqa: F401 - for every test
    reading_all_the_while,
    wait_until,
)

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.results import load_results
from ddp_sweep.spec import load_spec

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

KILLS = 5
"""For each of four sweeps."""
OURS = ("Trainable", "RayTrainWorker", "TrainController", "Mailbox")


@dataclass(frozen=True)
class Moment:
    """When a run is killed: so long after something has happened."""

    after: str
    count: int
    delay_s: float

    def wait(self, run: RunProcess, folder: Path, before: set[str]) -> None:
        def happened() -> object:
            if not run.running or self.after == "its start":
                return True
            if self.after == "a trial was handed out":
                return under_way(folder) - before
            return len(stems(folder) - before) >= self.count

        wait_until(happened, f"{self}")
        time.sleep(self.delay_s)

    def __str__(self) -> str:
        count = f"{self.count} rows" if self.after == "rows" else self.after
        return f"{self.delay_s:.2f} s after {count}"


def moments(seed: int) -> list[Moment]:
    """While it starts, while the workers start or a trial runs, and around the end of trials."""
    draw = random.Random(seed)
    kinds = ["its start", "a trial was handed out", "rows", "rows", "rows"]
    draw.shuffle(kinds)
    longest_s = {"its start": 8.0, "a trial was handed out": 4.0, "rows": 0.3}
    return [Moment(kind, draw.randint(1, 3), draw.uniform(0, longest_s[kind])) for kind in kinds]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(WORKLOAD)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1, 2], seeds=9))
    return tmp_path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Ray for several sweeps, each of whose drivers dies many times."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1, 2], seeds=1))
    with quiet_driver(), connect(None, load_spec(folder / "sweep.yaml")):
        yield ray.get_runtime_context().gcs_address


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))]
)
def test_on_a_cluster_that_goes_on(sweep: Path, cluster: str, seed: int) -> None:
    def gone(_: list[psutil.Process]) -> str:
        began_s = time.monotonic()
        wait_until(lambda: not workers_of_sweeps(), "the workers of the killed run to end", 60)
        return f"its workers were gone {time.monotonic() - began_s:.1f} s later"

    killed_again_and_again(sweep, ["--address", cluster], moments(seed), gone)


@pytest.mark.long
def test_with_a_ray_of_its_own(sweep: Path) -> None:
    def gone(started: list[psutil.Process]) -> str:
        began_s = time.monotonic()
        by_themselves, ended = end_agents_of_ray(started)
        agents = f", ended here: Ray's {', '.join(ended)}" if ended else ""
        return f"{by_themselves} processes ended in {time.monotonic() - began_s:.1f} s{agents}"

    killed_again_and_again(sweep, [], moments(4), gone)


def killed_again_and_again(
    sweep: Path,
    arguments: list[str],
    moments: list[Moment],
    gone: Callable[[list[psutil.Process]], str],
) -> None:
    assert len(moments) == KILLS
    folder = sweep / "results" / "tiny"
    contents: dict[str, str] = {}
    with reading_all_the_while(folder, sweep):
        for number, moment in enumerate(moments):
            run = RunProcess(sweep, *arguments)
            moment.wait(run, folder, under_way(folder) | stems(folder))
            assert run.running, f"it ended before it could be killed: {run.said}"
            started = run.kill()
            died_s = time.monotonic()
            unheard = under_way(folder) - stems(folder)
            print(
                f"kill {number + 1}: process {run.pid} {moment}; it is gone, {gone(started)}; "
                f"{len(attempt_files(folder))} rows, under way: {len(unheard)}"
            )
            now = digests(folder)
            assert now.items() >= contents.items(), "a file was lost or changed"
            contents = now
        ended = go_on(sweep, arguments, folder, died_s)
        assert ended.exit_code == 0, ended.err
        assert digests(folder).items() >= contents.items()
    check(sweep, folder, len(moments))


def go_on(sweep: Path, arguments: list[str], folder: Path, died_s: float) -> Ended:
    """The run after the last kill, and how soon it sees what was lost and runs a trial."""
    unheard, known = under_way(folder) - stems(folder), stems(folder)
    run = RunProcess(sweep, *arguments)
    seen_s = None
    if unheard:
        wait_until(lambda: unheard <= stems(folder) or not run.running, "the lost attempt's row")
        seen_s = time.monotonic() - died_s
    wait_until(lambda: under_way(folder) - unheard or not run.running, "the next trial")
    next_s = time.monotonic() - died_s
    ended = run.finish()
    lost = len(known - stems(folder))
    fault_line("driver killed", "interrupted" if unheard else "-", seen_s, next_s, lost)
    return ended


def stems(folder: Path) -> set[str]:
    return {Path(name).stem for name in attempt_files(folder)}


def under_way(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "_attempts").glob("*.json")}


def workers_of_sweeps() -> list[int]:
    """Processes below this one's that run trials."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if command.startswith("ray::") and any(name in command for name in OURS):
            found.append(process.pid)
    return found


def digests(folder: Path) -> dict[str, str]:
    """Contents of every row that is written: none may ever change."""
    return {
        name: hashlib.sha256((folder / "trials" / name).read_bytes()).hexdigest()
        for name in attempt_files(folder)
    }


def check(sweep: Path, folder: Path, kills: int) -> None:
    """What is there is what a run without a fault would have left, and each attempt has a row."""
    plan = json.loads(ddp_sweep(sweep, "plan", "sweep.yaml", "--format", "json").out)["trials"]
    rows = load_results(folder).trials
    final = rows[rows["final"]]
    planned = {(trial["configuration_id"], trial["seed"]) for trial in plan}
    assert set(zip(final["configuration_id"], final["seed"], strict=True)) == planned
    assert len(final) == len(plan)
    assert set(final["status"]) == {"succeeded"}
    for _, attempts in rows.sort_values("attempt").groupby("trial_id"):
        # No number is missing, and a success is the last: it was not run again.
        assert list(attempts["attempt"]) == list(range(1, len(attempts) + 1))
        assert list(attempts["status"]) == ["interrupted"] * (len(attempts) - 1) + ["succeeded"]
    endings = Counter(rows["status"])
    assert endings["interrupted"] <= kills
    print(f"{len(plan)} trials planned; rows: {dict(endings)}")
    left = [file.name for file in folder.rglob("*") if file.name.endswith(".part")]
    assert left == []
    assert not (folder / "_lock").exists()
    assert list((folder / "_attempts").iterdir()) == []
    assert not (folder / "_quarantine").exists()
