"""What is decided about a job before it is sent, on the head, and after its end; without a Ray."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from ray.job_submission import JobStatus

from ddp_sweep.cluster.submission import checks
from ddp_sweep.cluster.submission.jobs import Job
from ddp_sweep.cluster.submission.shipment import Shipment
from ddp_sweep.cluster.submission.submit import Submission, exit_code_of
from ddp_sweep.errors import ClusterRefusedError
from ddp_sweep.spec import load_spec

ROOT = Path(__file__).parents[3]
FINE = {"python": "/usr/bin/python", "version": "3.11.7", "missing": [], "absent": []}


def submission(**changes: Any) -> Submission:
    shipment = Shipment(sweep_file="sweep/my sweep.yaml", files=())
    fields = {"name": "own", "shipment": shipment, "results": "~/r/own", "resume_command": "x"}
    return Submission(**{**fields, **changes})


@pytest.mark.parametrize("results", ["~/a folder/own", "/shared/it's", "$HOME/x"])
def test_the_entrypoint_means_to_a_shell_what_was_asked(results: str, tmp_path: Path) -> None:
    sent = submission(
        results=results,
        overrides=("quality.margins={accuracy: 0.01}",),
        run_options=("--more-seeds", "2"),
    )
    # A program that prints its arguments takes the place of Python.
    (tmp_path / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&2\n')
    (tmp_path / "python").chmod(0o755)
    run = subprocess.run(
        ["sh", "-c", sent.entrypoint],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/home/me"},
        capture_output=True,
        text=True,
        check=True,
    )
    check, command = run.stderr.split("-m\n")[1:]

    sweep = ["sweep/my sweep.yaml", "--set", "quality.margins={accuracy: 0.01}"]
    assert check.splitlines() == ["ddp_sweep.cluster.submission.checks", *sweep]
    assert command.splitlines() == [
        *("ddp_sweep.cli", "run", *sweep, "--more-seeds", "2", "--address", "auto"),
        *("--progress", "plain", "--output", results.replace("~/", "/home/me/")),
    ]


def test_a_check_that_fails_gives_its_exit_code_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho ran >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    run = subprocess.run(
        ["sh", "-c", submission().entrypoint],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stderr) == (3, "ran\n")


def job(
    status: JobStatus, exit_code: int | None = None, message: str = "", node_id: str | None = None
) -> Job:
    return Job(job_id="j", status=status, message=message, exit_code=exit_code, node_id=node_id)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (job(JobStatus.SUCCEEDED, 0), 0),
        (job(JobStatus.FAILED, 1), 1),
        (job(JobStatus.FAILED, 2), 2),
        (job(JobStatus.FAILED, 3), 3),
        (job(JobStatus.FAILED, 130), 130),
        (job(JobStatus.FAILED, 255), 255),
        (job(JobStatus.STOPPED, -15), 130),
    ],
)
def test_the_exit_code_of_the_sweep_is_that_of_the_job(ended: Job, code: int) -> None:
    said: list[str] = []

    assert exit_code_of(ended, said.append) == code
    assert bool(said) == (ended.status == JobStatus.STOPPED)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (job(JobStatus.FAILED, -9), "killed by signal 9"),
        (job(JobStatus.FAILED, 137), "killed by signal 9"),  # as a shell says it
        (job(JobStatus.FAILED, 143), "killed by signal 15"),
        (
            job(JobStatus.FAILED, message="Job supervisor actor died: node died", node_id="n"),
            "Job supervisor actor died: node died",
        ),
    ],
)
def test_a_job_that_died_may_have_results_and_the_same_command_goes_on(
    ended: Job, words: str
) -> None:
    said: list[str] = []

    assert exit_code_of(ended, said.append) == 1
    assert words in said[0]
    assert "the same command goes on" in said[0]


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (
            job(
                JobStatus.FAILED,
                message="runtime_env setup failed: Failed to set up runtime environment.\n"
                "Traceback (most recent call last):\n  File 'x', line 1\n"
                "OSError: No space left on device",
            ),
            "OSError: No space left on device",
        ),
        (job(JobStatus.FAILED, 127), "there is no `python` on the head node"),
        (job(JobStatus.FAILED), "no reason given"),
    ],
)
def test_a_job_that_never_began_is_a_matter_of_the_cluster(ended: Job, words: str) -> None:
    with pytest.raises(ClusterRefusedError, match=words) as refused:
        exit_code_of(ended, print)

    assert refused.value.exit_code == 3
    assert "Traceback" not in str(refused.value)


def test_everything_that_the_project_needs_is_looked_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = tomllib.loads(text)["project"]["dependencies"]

    assert set(checks.REQUIRED) == {Requirement(one).name for one in needed}
    assert checks.findings_here(())["missing"] == []


def test_the_checks_need_nothing_that_they_look_for() -> None:
    """In a Python with no package at all they name what is missing, and how to get it."""
    python = Path(sys.base_prefix) / "bin" / "python3"
    run = subprocess.run(
        [python, "-I", "-S", "-c", _RUN_CHECKS, str(ROOT), "sweep.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 3, run.stderr
    assert "the head node lacks aiohttp, altair" in run.stderr
    assert "-m pip install ." in run.stderr
    assert "Traceback" not in run.stderr


_RUN_CHECKS = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("ddp_sweep.cluster.submission.checks", run_name="__main__")
"""


def test_each_node_is_named_with_what_it_lacks() -> None:
    nodes = {
        "node 10.0.0.1": FINE,
        "node 10.0.0.2": {**FINE, "absent": ["/data/x"]},
        "node 10.0.0.3": {**FINE, "missing": ["torch"], "absent": ["/data/x"]},
        "node 10.0.0.4": {**FINE, "version": "3.9.2"},
    }
    found = checks.problems(nodes, {"/data/x": "workload_options.path"})

    assert len(found) == 3
    assert "node 10.0.0.4 has Python 3.9.2" in found[0]
    assert found[1].startswith("node 10.0.0.3 lacks torch")
    assert "not there, or cannot be read, on node 10.0.0.2, node 10.0.0.3." in found[2]
    assert "--set workload_options.path=" in found[2]
    assert checks.problems({"node 10.0.0.1": FINE}, {"/data/x": "workload_options.path"}) == []


def test_a_path_beside_the_sweep_file_is_named_as_the_user_wrote_it() -> None:
    paths = {"/there/sweep": "", "/there/sweep/rows.csv": "workload_options.path"}
    [problem] = checks.problems({"n": {**FINE, "absent": ["/there/sweep/rows.csv"]}}, paths)

    assert "workload_options.path: rows.csv, relative to the sweep file, is not there" in problem
    [moved] = checks.problems({"n": {**FINE, "absent": ["/there/sweep"]}}, paths)
    assert "--temp-dir" in moved


def test_paths_are_found_whether_a_file_a_folder_or_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    there = [str(tmp_path / "a.txt"), str(tmp_path), str(tmp_path / "*.txt")]
    absent = [str(tmp_path / "b.txt"), str(tmp_path / "*.csv")]

    assert checks.findings_here([*there, *absent])["absent"] == absent


def test_the_paths_of_a_sweep_are_its_options_annotated_so_swept_ones_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "name: x\nworkload: ddp_sweep.workloads.text:Text\n"
        "workload_options: {files: [a.txt, /data/b.txt], layers: 1}\n"
        "sweep: {world_size: [1], global_batch_size: [8],"
        " workload_options.files: [[c/*.txt], [d.txt]]}\n"
        "training: {epochs: 1, learning_rate: 0.1}\n"
    )
    found = checks.paths_to_read(load_spec(tmp_path / "sweep.yaml"))

    assert set(found.values()) == {"workload_options.files"}
    assert {"/data/b.txt", str(tmp_path / "c/*.txt"), str(tmp_path / "d.txt")} <= set(found)
