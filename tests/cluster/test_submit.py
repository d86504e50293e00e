"""Sweeps sent to a real Ray head of this machine, which does not have ddp_sweep installed.

The submitter is a process of its own that knows the head's HTTP address and token alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from gated_sweep import write_gated_sweep
from ray_head import RayHead, free_port, ray_head

from ddp_sweep.results import load_results
from ddp_sweep.schema import TABLES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(num_cpus=2) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The submitter's folder."""
    write_gated_sweep(tmp_path)
    return tmp_path


def start(here: Path, head: RayHead, *arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ddp_sweep.cli", *arguments],
        cwd=here,
        env=environment | {"RAY_AUTH_TOKEN": head.token, "HOME": str(here / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(here: Path, head: RayHead, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(here, head, *arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def submit(here: Path, head: RayHead, *more: str) -> subprocess.CompletedProcess[str]:
    return call(here, head, "submit", "sweep.yaml", "--address", head.dashboard, *more)


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """What a process says until it says something."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"ended without saying {pattern}: {said}")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "_lock"
    }


def test_a_job_is_followed_left_fetched_and_taken_up_again(here: Path, head: RayHead) -> None:
    gate = here / "gate" / "closed"
    gate.touch()
    command = ("submit", "sweep.yaml", "--address", head.dashboard)
    first = start(here, head, *command)
    job = re.findall(r"job (\S+) on", read_until(first, r"was started"))[0]
    read_until(first, r"^\[1 of 2\] .*succeeded")
    fetch = ("submit", "--address", head.dashboard, "--fetch", job)

    # What there is so far, from another process.
    partly = call(here, head, *fetch, "--output", "partly")
    assert partly.returncode == 0, partly.stderr
    assert "is still running" in partly.stderr
    assert len(load_results(here / "partly").trials) == 1
    status = call(here, head, "status", "partly")
    assert status.returncode == 0, status.stderr

    # Another sweep for the same results is refused while this one writes them.
    other = call(here, head, *command, "--set", "training.epochs=2")
    assert other.returncode == 2
    assert f"job {job} writes to ~/ddp-sweep-results/tumours" in other.stderr

    # Ctrl-C leaves the job alone and says how to go on.
    first.send_signal(signal.SIGINT)
    _, said = first.communicate()
    assert first.returncode == 130
    assert "The job goes on without this program" in said
    assert f"--fetch {job}" in said
    assert f"ray job stop --address {head.dashboard} {job}" in said

    # The same command takes it up again.
    again = start(here, head, *command)
    read_until(again, rf"job {job} .* runs this sweep already")
    gate.unlink()
    out, said = again.communicate()
    assert again.returncode == 0, said
    assert "2 of 2 trials have a result" in said
    assert "1 worker x 32" in out
    fetched = contents(here / "results" / "tumours")
    assert {name for name in fetched if name.startswith("trials/")} > {
        name for name in contents(here / "partly") if name.startswith("trials/")
    }

    # Fetching again changes nothing, and every file is the one on the head.
    for _ in range(2):
        repeated = call(here, head, *fetch)
        assert repeated.returncode == 0, repeated.stderr
        assert ", 0 of them new" in repeated.stderr
        assert contents(here / "results" / "tumours") == fetched
    assert contents(head.home / "ddp-sweep-results" / "tumours") == fetched

    # Submitting again: nothing is left to run.
    done = call(here, head, *command)
    assert done.returncode == 0, done.stderr
    assert "All 2 trials were done" in done.stderr

    _equals_a_direct_run(here, head)


def _equals_a_direct_run(here: Path, head: RayHead) -> None:
    """In keys and schema, and for every command that reads a results folder."""
    direct = call(here, head, "run", "sweep.yaml", "--output", "direct")
    assert direct.returncode == 0, direct.stderr
    ours, theirs = (load_results(here / place) for place in ("results/tumours", "direct"))

    keys = ["configuration_id", "trial_id", "seed", "attempt", "status"]
    assert set(ours.trials[keys].itertuples(index=False, name=None)) == set(
        theirs.trials[keys].itertuples(index=False, name=None)
    )
    assert ours.spec == theirs.spec
    for table in TABLES:
        schemas = [
            pq.read_schema(next((here / place / table).glob("*.parquet")))
            for place in ("results/tumours", "direct")
        ]
        assert schemas[0].equals(schemas[1], check_metadata=True)
        assert list(getattr(ours, table).columns) == list(getattr(theirs, table).columns)
        assert len(getattr(ours, table)) == len(getattr(theirs, table))
    for command in (["rank", "--format", "json"], ["status", "--format", "json"], ["report"]):
        read = call(here, head, command[0], "results/tumours", *command[1:])
        assert read.returncode == 0, read.stderr
        if command[-1] == "json":
            json.loads(read.stdout)


def test_a_workload_that_fails_gives_its_message_and_exit_code(here: Path, head: RayHead) -> None:
    failed = submit(
        here,
        head,
        "--set",
        "name=failing",
        "--set",
        "workload_options.fault=true",
        *("--set", "sweep.world_size=[1]"),
    )

    assert failed.returncode == 1, failed.stderr
    trials = load_results(here / "results" / "failing").trials
    assert trials["status"].tolist() == ["workload_error"]
    assert "this loss cannot be had" in trials["status_detail"].iloc[0]
    assert "this loss cannot be had" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_data_that_a_node_lacks_is_named_before_anything_is_trained(
    here: Path, head: RayHead
) -> None:
    absent = submit(here, head, "--set", "workload_options.gate=/nowhere/data")

    assert absent.returncode == 3
    assert "workload_options.gate: /nowhere/data is not there" in absent.stderr
    assert "every node" in absent.stderr
    assert "--set workload_options.gate=/absolute/path" in absent.stderr
    assert "--ship FILE" in absent.stderr
    assert "starting workers" not in absent.stderr


TABLE = """
name: table
workload: ddp_sweep.workloads.table:Table
workload_options: {path: rows.csv, label: y}
sweep: {world_size: [1], global_batch_size: [32]}
seeds: 1
training: {epochs: 1, learning_rate: 0.05, reference_batch_size: 32, evaluations: 1}
resources: {device: cpu}
"""


def test_a_small_table_goes_along_when_it_is_asked_for(here: Path, head: RayHead) -> None:
    rows = "".join(f"{number % 7},{number % 3},{int(number % 7 > 3)}\n" for number in range(400))
    (here / "rows.csv").write_text(f"a,b,y\n{rows}")
    (here / "sweep.yaml").write_text(TABLE)

    alone = submit(here, head)
    assert alone.returncode == 3
    assert "workload_options.path: rows.csv, relative to the sweep file" in alone.stderr
    along = submit(here, head, "--ship", "rows.csv")
    assert along.returncode == 0, along.stderr
    assert load_results(here / "results" / "table").trials["status"].tolist() == ["succeeded"]


def test_every_wrong_address_is_explained(here: Path, head: RayHead) -> None:
    cases = [
        ("ray://127.0.0.1:10001", 2, "allowed: http://HOST:8265"),
        ("auto", 2, "allowed: http://HOST:8265"),
        (f"http://127.0.0.1:{free_port()}", 3, "no Ray dashboard answers at"),
        (head.gcs, 3, "not the one that nodes join by"),
    ]
    for address, code, words in cases:
        refused = call(here, head, "submit", "sweep.yaml", "--address", address)
        assert refused.returncode == code, (address, refused.stderr)
        assert words in refused.stderr, address
        assert "Traceback" not in refused.stderr, address


def test_a_token_that_is_wrong_or_missing_is_asked_for(here: Path, head: RayHead) -> None:
    for token in ("0" * 64, ""):
        stranger = RayHead(dashboard=head.dashboard, gcs=head.gcs, token=token, home=head.home)
        refused = call(here, stranger, "submit", "sweep.yaml", "--address", head.dashboard)
        assert refused.returncode == 3, refused.stderr
        assert "asks for its token" in refused.stderr
        assert "export RAY_AUTH_TOKEN" in refused.stderr


def test_a_job_that_is_not_there_or_no_sweep_is_named(here: Path, head: RayHead) -> None:
    missing = call(here, head, "submit", "--address", head.dashboard, "--fetch", "raysubmit_x")
    assert missing.returncode == 3
    assert "knows no job raysubmit_x" in missing.stderr
